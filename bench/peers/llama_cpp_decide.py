"""Decisions a second of llama.cpp that generates the label, one question at a time, as one JSON object.

llama-cpp-python 0.3.36 (built from source for this machine), Python 3.11; setting up: bench/README.md.

    cargo run --release -p nurture --example decide_speed -- MODEL.gguf BANKING77_FOLDER --out ITEMS.jsonl
    python bench/peers/llama_cpp_decide.py MODEL.gguf ITEMS.jsonl [--threads 2] [--count 60]

Both engines read the same tokens. The prompts' common beginning (the list of 77 labels) is computed once and stays in the
cache, as llama.cpp's server does with `cache_prompt`. Three rates:

`labels_per_s`     as many decoding steps as the label has tokens (its end included): what a perfectly obedient model takes
`free_per_s`       greedy generation until the end of the turn, at most 16 tokens: what this model does
`uncached_per_s`   as the first, but with the whole prompt computed for each question
"""

import argparse
import json
import pathlib
import time

import llama_cpp
import numpy as np

from llama_cpp_model import Model

MOST = 16


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("items", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    items = [json.loads(line) for line in options.items.read_text().splitlines()][: options.count]
    model = Model(options.model, options.threads, max(len(i["prompt"]) for i in items) + 32)
    memory = llama_cpp.llama_get_memory(model.context)

    def read(ids, start):
        """Prefill; logits of the last token only."""
        for at in range(0, len(ids), 512):
            part = ids[at : at + 512]
            model.decode(part, start + at, len(part) - 1)

    def best():
        return int(np.argmax(model.logits(1)[0]))

    def decide(item, cached, steps):
        kept = item["shared"] if cached else 0
        llama_cpp.llama_memory_seq_rm(memory, 0, kept, -1)
        read(item["prompt"][kept:], kept)
        position, made = len(item["prompt"]), 0
        while True:
            token = best()
            made += 1
            if made >= (steps or MOST) or (steps is None and llama_cpp.llama_vocab_is_eog(model.vocab, token)):
                return made
            model.decode([token], position, 0)
            position += 1

    def rate(cached, free, some):
        model.clear()
        read(items[0]["prompt"][: items[0]["shared"]], 0)
        made, began = 0, time.perf_counter()
        for item in some:
            made += decide(item, cached, None if free else len(item["label"]))
        return len(some) / (time.perf_counter() - began), made / len(some)

    rate(True, False, items[:3])
    labels, label_tokens = rate(True, False, items)
    free, free_tokens = rate(True, True, items)
    uncached, _ = rate(False, False, items[:8])
    print(json.dumps({
        "engine": "llama.cpp", "version": f"llama-cpp-python {llama_cpp.__version__}",
        "model": pathlib.Path(options.model).name, "threads": options.threads, "items": len(items),
        "labels_per_s": labels, "label_tokens": label_tokens, "free_per_s": free, "free_tokens": free_tokens,
        "uncached_per_s": uncached,
    }))


if __name__ == "__main__":
    main()
