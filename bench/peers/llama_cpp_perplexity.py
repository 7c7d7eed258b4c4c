"""Perplexity of a GGUF file on a text by llama.cpp, by the rule of its perplexity tool, as one JSON object.

llama-cpp-python 0.3.36 (built from source for this machine), Python 3.11; setting up: bench/README.md.

    python bench/peers/llama_cpp_perplexity.py MODEL.gguf TEXT --windows 60 [--threads 2]

The rule: the whole text is tokenised (BOS first where the vocabulary adds it), cut into windows of 512 tokens, BOS stands
in place of a window's first token where the vocabulary adds it, and the second half is scored: 255 predictions a window.
The cross-entropy is summed in float64. Weights stay quantised and activations are rounded to 8 bits, as llama.cpp does it.
"""

import argparse
import hashlib
import json
import math
import pathlib

import llama_cpp
import numpy as np

from llama_cpp_model import Model

WINDOW = 512


def window_nll(model, ids):
    """Summed negative log likelihood of ids[257..512] given what precedes each."""
    model.clear()
    model.decode(ids, 0, WINDOW // 2)
    logits = model.logits(WINDOW // 2)[:-1].astype(np.float64)
    targets = np.array(ids[WINDOW // 2 + 1 :])
    peak = logits.max(axis=1)
    log_sum = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    return float((log_sum - logits[np.arange(len(targets)), targets]).sum()), len(targets)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--windows", type=int, default=None, help="the first N windows; all if left out")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    model = Model(options.model, options.threads, WINDOW)
    ids = model.tokenize(pathlib.Path(options.text).read_bytes().decode("utf-8"))
    windows = len(ids) // WINDOW
    if options.windows is not None:
        windows = min(windows, options.windows)
    if windows == 0:
        raise SystemExit(f"{options.text} has {len(ids)} tokens, fewer than one window of {WINDOW}")
    bos = model.bos()
    sums, count = [], 0
    for n in range(windows):
        window = ids[n * WINDOW : (n + 1) * WINDOW]
        if bos is not None:
            window[0] = bos
        nll, scored = window_nll(model, window)
        sums.append(nll)
        count += scored
    used = np.array(ids[: windows * WINDOW], dtype="<u4")
    print(json.dumps({
        "engine": "llama.cpp", "version": f"llama-cpp-python {llama_cpp.__version__}",
        "model": pathlib.Path(options.model).name, "text": pathlib.Path(options.text).name, "windows": windows,
        "count": count, "ids_sha256": hashlib.sha256(used.tobytes()).hexdigest(),
        "nll_sums_first_4": sums[:4], "nll_sum": sum(sums), "perplexity": math.exp(sum(sums) / count),
    }))


if __name__ == "__main__":
    main()
