"""What `llama_cpp_infer.py` and `ik_llama_infer.py` have in common: the same work, timed the same way, one JSON object.

Prefill is one prompt with the logits of its last token, in parts of 512; `decode_tok_s` follows it, and
`decode_empty_tok_s` starts from an empty context, as llama-bench does it. Tokens are arbitrary ids: no sampling is timed.
Medians of the repeats, with the least and greatest beside them. Run it with nothing else at work.
"""

import argparse
import json
import pathlib
import resource
import statistics
import time

PART = 512  # tokens of one call while a prompt is read


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    return parser


def measure(load, facts, asked):
    """`load(path, threads, n_ctx)` gives an engine with `n_vocab`, `clear()`, `decode(ids, start, wanted)`, `logits(rows)`."""
    began = time.perf_counter()
    model = load(asked.model, asked.threads, max(asked.prompt, PART) + asked.gen)
    loaded = time.perf_counter() - began
    ids = [1000 + (n * 7919) % (model.n_vocab - 2000) for n in range(max(asked.prompt, asked.gen))]

    def prefill():
        model.clear()
        began = time.perf_counter()
        for start in range(0, asked.prompt, PART):
            part = ids[start : min(start + PART, asked.prompt)]
            last = start + len(part) == asked.prompt
            model.decode(part, start, len(part) - 1 if last else len(part))
        model.logits(1)
        return time.perf_counter() - began

    def decode(start):
        began = time.perf_counter()
        for n in range(asked.gen):
            model.decode([ids[n]], start + n, 0)
            model.logits(1)
        return time.perf_counter() - began

    first = prefill()
    prefills, decodes, empties = [], [], []
    for _ in range(asked.repeats):
        prefills.append(asked.prompt / prefill())
        decodes.append(asked.gen / decode(asked.prompt))
        model.clear()
        empties.append(asked.gen / decode(0))
    print(json.dumps(facts | {
        "model": pathlib.Path(asked.model).name, "threads": asked.threads, "prompt": asked.prompt, "gen": asked.gen,
        "prefill_tok_s": statistics.median(prefills), "decode_tok_s": statistics.median(decodes),
        "decode_empty_tok_s": statistics.median(empties),
        "load_s": loaded, "first_token_s": first,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "repeats": asked.repeats,
        "spread": {"prefill_tok_s": spread(prefills), "decode_tok_s": spread(decodes), "decode_empty_tok_s": spread(empties)},
    }))
