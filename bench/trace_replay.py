"""Replays a load trace against any OpenAI-compatible server and tells how it bears it: time to the first token, time between
tokens, goodput.

  python3 bench/trace_replay.py TRACE --url http://127.0.0.1:8080/v1 --model base --rate 0.5 --seconds 120

TRACE is a csv with `TIMESTAMP,ContextTokens,GeneratedTokens` (Azure LLM inference 2023) or a jsonl with `timestamp` (ms),
`input_length`, `output_length` and `hash_ids` of blocks of 512 tokens that prompts share (Mooncake). Traces come from large machines,
so they are scaled: arrivals keep their pattern but are stretched to `--rate` requests a second on average, lengths are multiplied by
`--scale` and bounded by `--context`. Shared blocks stay shared. Prompts are token ids drawn by hash, so no tokenizer is needed; the end of
a text is ignored (`ignore_eos`), so each answer has its traced length. A request is good when its first token came within
`--slo-first` and its tokens, on average, within `--slo-token` seconds of each other; goodput counts the tokens of good requests.
Standard library alone.
"""

import argparse
import csv
import datetime
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse


def load(path):
    """Rows of (seconds, prompt tokens, new tokens, shared blocks)."""
    rows = []
    if path.endswith(".csv"):
        with open(path, newline="") as f:
            for row in csv.DictReader(f):
                when = datetime.datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
                rows.append((when, int(row["ContextTokens"]), int(row["GeneratedTokens"]), []))
    else:
        with open(path) as f:
            for line in f:
                row = json.loads(line)
                rows.append((row["timestamp"] / 1000, row["input_length"], row["output_length"], row["hash_ids"]))
    rows.sort(key=lambda r: r[0])
    return rows


def prompt(index, length, blocks, scale, vocab):
    """Token ids: those of shared blocks by the block, the rest by the request."""
    ids, size = [], max(1, int(512 * scale))
    for block in blocks:
        if len(ids) >= length:
            break
        rng = random.Random(f"block {block}")
        ids += [rng.randrange(1000, vocab) for _ in range(size)]
    # what lies in the last block is the request's own
    if blocks:
        ids = ids[: max(0, len(ids) - size)]
    rng = random.Random(f"request {index}")
    ids = ids[:length]
    return ids + [rng.randrange(1000, vocab) for _ in range(length - len(ids))]


def one(args, url, index, row, out):
    _, length, new, blocks = row
    new = max(1, min(int(new * args.scale), args.context // 2))
    length = max(4, min(int(length * args.scale), args.context - new - 1))
    body = {"model": args.model, "prompt": prompt(index, length, blocks, args.scale, args.vocab), "max_tokens": new,
            "stream": True, "ignore_eos": True, "temperature": 0, "logprobs": 0}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {args.key}"} if args.key else {})
    body["stream_options"] = {"include_usage": True}
    begin, times, status, told = time.monotonic(), [], 0, 0
    try:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname, url.port, timeout=args.timeout)
        connection.request("POST", url.path.rstrip("/") + "/completions", json.dumps(body), headers)
        response = connection.getresponse()
        status = response.status
        for line in response:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                told = (event.get("usage") or {}).get("completion_tokens", told)
                choice = (event["choices"] or [{}])[0]
                figures = choice.get("logprobs") or {}
                # servers that tell no figures send an event a token
                tokens = len(figures["tokens"]) if figures.get("tokens") is not None else bool(choice.get("text"))
                times += [time.monotonic()] * tokens
        connection.close()
    except OSError as e:
        status = repr(e)
    out.append((begin, times, length, new, status, max(told, len(times))))


def percentiles(values, digits=3):
    values = sorted(values)
    if not values:
        return None
    at = lambda p: round(values[min(len(values) - 1, int(p * len(values)))], digits)
    return {"p50": at(0.5), "p90": at(0.9), "p95": at(0.95), "p99": at(0.99), "max": round(values[-1], digits)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--key")
    parser.add_argument("--rate", type=float, default=0.5, help="requests a second on average")
    parser.add_argument("--seconds", type=float, default=120, help="how long requests are sent")
    parser.add_argument("--scale", type=float, default=0.125, help="lengths are multiplied by this")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--vocab", type=int, default=49000, help="token ids are drawn below this")
    parser.add_argument("--skip", type=int, default=0, help="rows of the trace to leave out at its beginning")
    parser.add_argument("--slo-first", type=float, default=5.0)
    parser.add_argument("--slo-token", type=float, default=0.25)
    parser.add_argument("--timeout", type=float, default=600)
    args = parser.parse_args()
    rows = load(args.trace)[args.skip: args.skip + max(2, int(args.rate * args.seconds))]
    span = rows[-1][0] - rows[0][0]
    stretch = (len(rows) / args.rate) / span if span else 0
    url, out, threads = urllib.parse.urlparse(args.url), [], []
    begin = time.monotonic()
    for index, row in enumerate(rows):
        time.sleep(max(0, begin + (row[0] - rows[0][0]) * stretch - time.monotonic()))
        thread = threading.Thread(target=one, args=(args, url, index + args.skip, row, out))
        thread.start()
        threads.append(thread)
    [t.join() for t in threads]
    whole = time.monotonic() - begin
    done = [o for o in out if o[4] == 200 and o[1] and o[5] >= o[3]]
    first = [times[0] - at for at, times, *_ in done]
    between = [b - a for _, times, *_ in done for a, b in zip(times, times[1:])]
    mean = lambda times: (times[-1] - times[0]) / max(1, len(times) - 1)
    good = [o for o in done if o[1][0] - o[0] <= args.slo_first and mean(o[1]) <= args.slo_token]
    others = {}
    for o in out:
        if o not in done:
            others[str(o[4])] = others.get(str(o[4]), 0) + 1
    print(json.dumps({
        "trace": args.trace.rsplit("/", 1)[-1], "rate": args.rate, "scale": args.scale, "requests": len(out),
        "whole": len(done), "not_whole": others, "seconds": round(whole, 1),
        "prompt_tokens": sum(o[2] for o in done), "new_tokens": sum(o[3] for o in done),
        "new_tokens_per_second": round(sum(o[3] for o in done) / whole, 1),
        "first_token_s": percentiles(first), "inter_token_s": percentiles(between, 4),
        "good": len(good), "goodput_tokens_per_second": round(sum(o[3] for o in good) / whole, 1),
        "slo": {"first_s": args.slo_first, "token_s": args.slo_token},
    }, indent=1))
    sys.exit(0 if len(done) == len(out) else 1)


if __name__ == "__main__":
    main()
