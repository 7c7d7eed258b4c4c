#!/usr/bin/env python3
"""Streaming chat clients against any OpenAI endpoint: tokens a second in all, time to the first token, time between tokens.

    python bench/peers/serve_clients.py http://127.0.0.1:8080/v1 MODEL --clients 8 --tokens 64

Only the standard library. Each client sends one request after another, `--rounds` of them, greedy, each with a question of its own,
so that no answer is taken from a cache of whole prompts. A token is a streamed piece of text; where the server tells the
usage, that counts.
"""

import argparse
import json
import statistics
import threading
import time
import urllib.request

TOPICS = "rain,rivers,bread,clocks,bees,bridges,glass,tea,maps,whales,sand,trains,salt,wool,stars,ink".split(",")


def one(url, model, key, question, tokens, out):
    body = {
        "model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": tokens,
        "stream": True, "stream_options": {"include_usage": True},
    }
    head = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url + "/chat/completions", json.dumps(body).encode(), head)
    begin, times, usage = time.perf_counter(), [], None
    with urllib.request.urlopen(request, timeout=600) as response:
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"])
            usage = event.get("usage") or usage
            if any(c["delta"].get("content") for c in event["choices"]):
                times.append(time.perf_counter())
    out.append({
        "first": times[0] - begin,
        "pauses": [b - a for a, b in zip(times, times[1:])],
        "tokens": usage["completion_tokens"] if usage else len(times),
    })


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--key", default="none")
    args = parser.parse_args()
    out, failed = [], []

    def client(i):
        for r in range(args.rounds):
            topic = TOPICS[(i + r * args.clients) % len(TOPICS)]
            question = f"Client {i}, question {r}: write a long paragraph about {topic}."
            try:
                one(args.url, args.model, args.key, question, args.tokens, out)
            except Exception as e:
                failed.append(repr(e))

    one(args.url, args.model, args.key, "Hello.", 4, [])  # warm
    begin = time.perf_counter()
    threads = [threading.Thread(target=client, args=(i,)) for i in range(args.clients)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    seconds = time.perf_counter() - begin
    first, pauses = [r["first"] for r in out], [p for r in out for p in r["pauses"]]
    print(json.dumps({
        "clients": args.clients, "requests": len(out), "failed": failed, "seconds": round(seconds, 2),
        "tokens_per_second": round(sum(r["tokens"] for r in out) / seconds, 1),
        "first_token_median_s": round(statistics.median(first), 3), "first_token_p95_s": round(percentile(first, 0.95), 3),
        "between_median_ms": round(statistics.median(pauses) * 1e3, 1), "between_p95_ms": round(percentile(pauses, 0.95) * 1e3, 1),
    }))


main()
