"""The losses of 200 AdamW steps of a tiny GPT-2 in PyTorch, from the checkpoint of `tiny_brains.py`.

Makes `crates/train/tests/goldens/loss_curve.json`. Each step reads four new sequences of 48 tokens and learns every next token; the
rate warms up over 20 steps and falls along a cosine to a tenth. Matrices decay, norms and biases do not; the norm is clipped to 1.
The text is made by a small generator that the test repeats: the next token is one of four that follow from the one before, so a
loss of ln 4 is all that can be learnt. Truth is a float64 run; `float32_off` says how far PyTorch's own float32 run is from it.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, safetensors 0.8.0. A second run writes the same values.

    python tools/goldens/loss_curve.py
"""

import json
import math
import pathlib

import torch
import transformers
from safetensors.torch import load_file

from tiny_brains import gpt2
from tiny_families import OUT, everything_float64

TO = pathlib.Path(__file__).resolve().parents[2] / "crates" / "train" / "tests" / "goldens" / "loss_curve.json"
STEPS, BATCH, LENGTH, VOCAB = 200, 4, 48, 160
RATE, WARMUP, DECAY, CLIP = 1e-2, 20, 0.1, 1.0


def rate(step):
    """Of step 1, 2, …"""
    if step <= WARMUP:
        return RATE * step / WARMUP
    part = (step - WARMUP) / (STEPS - WARMUP)
    return RATE * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * part)))


def text():
    """All tokens of the run, in order."""
    state, token, tokens = 1, 7, []
    for _ in range(STEPS * BATCH * LENGTH):
        state = (state * 1664525 + 1013904223) % 2**32
        token = (5 * token + 3 + (state >> 30)) % VOCAB
        tokens.append(token)
    return tokens


def run(weights, dtype):
    config, kind = gpt2()
    config._attn_implementation = "eager"
    model = kind(config)
    model.load_state_dict({k: v.to(dtype) for k, v in weights.items()}, strict=False)
    model.tie_weights()
    model.to(dtype)
    model.eval()
    groups = [
        {"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.dim() != 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    batches = torch.tensor(text()).view(STEPS, BATCH, LENGTH)
    losses = []
    for step, ids in enumerate(batches, 1):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        optimiser.zero_grad()
        logits = model(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), ids[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        losses.append(loss.item())
        optimiser.step()
    return losses


def main():
    transformers.logging.set_verbosity_error()
    weights = load_file(OUT / "gpt2" / "model.safetensors")
    with everything_float64():
        truth = run(weights, torch.float64)
    single = run(weights, torch.float32)
    off = max(abs(a - b) for a, b in zip(single, truth))
    TO.write_text(json.dumps({"float32_off": off, "losses": [round(v, 7) for v in truth]}).replace('"losses"', '\n"losses"') + "\n")
    print(truth[0], truth[99], truth[-1], "float32 off by", off)


if __name__ == "__main__":
    main()
