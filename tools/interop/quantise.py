"""llama.cpp quantises the same source as `nurture quantize` and loads what both wrote.

    python tools/interop/quantise.py SOURCE.gguf OUT_FOLDER NURTURE   # packages: requirements-llama.txt

SOURCE is F16 or F32. Writes OUT/{type}.ours.gguf and OUT/{type}.llama.gguf, loads both in llama.cpp and prints whether they
load, their sizes, the types of their tensors and llama.cpp's perplexity of a text, if one is given as fourth argument.
"""

import ctypes
import math
import pathlib
import subprocess
import sys

import llama_cpp
import numpy as np

TYPES = {"q8_0": 7, "q4_0": 2, "q4_1": 3, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}


def perplexity(model, text, window=512, most=20):
    """llama.cpp's rule: windows without overlap, the second half counts."""
    tokens = model.tokenize(text, add_bos=False)
    nll = count = 0
    vocab = model.n_vocab()
    for start in range(0, min(len(tokens) - window, window * most) + 1, window):
        model.reset()
        part = tokens[start : start + window]
        model.eval(part)
        rows = np.ctypeslib.as_array(model._ctx.get_logits(), shape=(window * vocab,)).reshape(window, vocab)
        rows = rows[window // 2 : -1].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        log = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        nll -= log[np.arange(len(log)), part[window // 2 + 1 :]].sum()
        count += len(log)
    return math.exp(nll / count)


def main(source, out, nurture, text=None):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, ftype in TYPES.items():
        ours, theirs = out / f"{name}.ours.gguf", out / f"{name}.llama.gguf"
        subprocess.run([nurture, "quantize", source, str(ours), "--type", name, "--force"], check=True)
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = ftype
        code = llama_cpp.llama_model_quantize(source.encode(), str(theirs).encode(), ctypes.byref(params))
        assert code == 0, f"llama.cpp does not quantise to {name}: {code}"
        line = [f"{name:7}"]
        for path in (ours, theirs):
            model = llama_cpp.Llama(str(path), n_ctx=512, logits_all=True, verbose=False, n_threads=2)
            line.append(f"{path.stat().st_size:>10} bytes")
            if text:
                line.append(f"perplexity {perplexity(model, pathlib.Path(text).read_bytes(), most=int(sys.argv[5]) if len(sys.argv) > 5 else 20):.4f}")
            model.close()
        print("  ".join(line), flush=True)


main(*sys.argv[1:5])
