"""Speed of llama.cpp on a GGUF file: prefill of 512 tokens and decode of 128, as one JSON object.

llama-cpp-python 0.3.36 (built from source for this machine), Python 3.11; setting up: bench/README.md.

    python bench/peers/llama_cpp_infer.py MODEL.gguf [--prompt 512] [--gen 128] [--threads 2] [--repeats 5]

Prefill is one batch with the logits of its last token; `decode_tok_s` follows it (positions 512..639), and
`decode_empty_tok_s` starts from an empty context, as llama-bench does it. Tokens are arbitrary ids: no sampling is timed.
Medians of the repeats, with the least and greatest beside them. Run it with nothing else at work.
"""

import argparse
import json
import pathlib
import resource
import statistics
import time

import llama_cpp

from llama_cpp_model import Model


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    assert options.prompt <= 512, "one batch holds 512 tokens"

    began = time.perf_counter()
    model = Model(options.model, options.threads, options.prompt + options.gen)
    load = time.perf_counter() - began
    ids = [1000 + (n * 7919) % (model.n_vocab - 2000) for n in range(options.prompt + options.gen)]

    def prefill():
        model.clear()
        began = time.perf_counter()
        model.decode(ids[: options.prompt], 0, options.prompt - 1)
        model.logits(1)
        return time.perf_counter() - began

    def decode(start):
        began = time.perf_counter()
        for n in range(options.gen):
            model.decode([ids[n]], start + n, 0)
            model.logits(1)
        return time.perf_counter() - began

    first = prefill()
    prefills, decodes, empties = [], [], []
    for _ in range(options.repeats):
        prefills.append(options.prompt / prefill())
        decodes.append(options.gen / decode(options.prompt))
        model.clear()
        empties.append(options.gen / decode(0))
    print(json.dumps({
        "engine": "llama.cpp", "version": f"llama-cpp-python {llama_cpp.__version__}",
        "system": llama_cpp.llama_print_system_info().decode().strip(),
        "model": pathlib.Path(options.model).name, "threads": options.threads, "prompt": options.prompt, "gen": options.gen,
        "prefill_tok_s": statistics.median(prefills), "decode_tok_s": statistics.median(decodes),
        "decode_empty_tok_s": statistics.median(empties),
        "load_s": load, "first_token_s": first,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "repeats": options.repeats,
        "spread": {"prefill_tok_s": spread(prefills), "decode_tok_s": spread(decodes), "decode_empty_tok_s": spread(empties)},
    }))


if __name__ == "__main__":
    main()
