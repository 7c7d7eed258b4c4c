"""A GGUF adapter by `nurture export --to gguf-lora` in llama.cpp, beside the base and the merged file.

    python tools/interop/gguf_lora.py BASE.gguf ADAPTER.gguf [MERGED.gguf]   # packages: requirements-llama.txt

Prints the largest difference of the logits at the end of a prompt: adapter against base (it does something), and adapter
against the merged file (it does the same).
"""

import sys

import llama_cpp
import numpy as np

PROMPT = "<|im_start|>user\nMy lamp does not turn on.<|im_end|>\n<|im_start|>assistant\n"


def logits(path, adapter=None):
    model = llama_cpp.Llama(path, lora_path=adapter, n_ctx=256, logits_all=True, verbose=False, n_threads=2)
    tokens = model.tokenize(PROMPT.encode(), add_bos=False, special=True)
    model.eval(tokens)
    rows = np.ctypeslib.as_array(model._ctx.get_logits(), shape=(len(tokens) * model.n_vocab(),))
    rows = rows.reshape(len(tokens), -1).copy()
    model.close()
    return rows


def main(base, adapter, merged=None):
    a, b = logits(base, adapter), logits(base)
    top = np.abs(b).max()
    print(f"adapter against base: {np.abs(a - b).max() / top:.3e} of the largest logit")
    if merged:
        c = logits(merged)
        print(f"adapter against merged: {np.abs(a - c).max() / top:.3e}, same greedy tokens {(a.argmax(1) == c.argmax(1)).mean():.3f}")


main(*sys.argv[1:])
