"""Ten AdamW steps of a whole tiny network in PyTorch, from the checkpoints of `tiny_families.py`.

Makes `crates/train/tests/goldens/full_steps.json`: for each family the loss and the gradient norm of each step, and of
each tensor after the last one its norm and 24 samples. Each step learns from both sequences; the loss is the mean over
their trained tokens. float64 from end to end; matrices decay, norms and biases do not; the norm is clipped to 1.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0. Seeded by its inputs: a second run writes the same values.

    python tools/goldens/full_steps.py
"""

import json
import pathlib

import torch
import transformers
from safetensors.torch import load_file

from tiny_families import FAMILIES, IGNORE, OUT, everything_float64

TO = pathlib.Path(__file__).resolve().parents[2] / "crates" / "train" / "tests" / "goldens" / "full_steps.json"
STEPS, RATE, DECAY, CLIP, SAMPLES = 10, 3e-3, 0.1, 1.0, 24


def sampled(t, j, count):
    """Flat index of sample `j` of tensor `t`."""
    return (j * 7919 + t * 104729) % count


def run(name):
    config, kind = FAMILIES[name]()
    config._attn_implementation = "eager"
    golden = json.loads((OUT / name / "golden.json").read_text())
    weights = load_file(OUT / name / "model.safetensors")
    with everything_float64():
        model = kind(config)
        model.load_state_dict({k: v.double() for k, v in weights.items()}, strict=False)
        model.tie_weights()
        model.double()
        model.eval()
        named = list(model.named_parameters())
        groups = [
            {"params": [p for _, p in named if p.dim() == 2], "weight_decay": DECAY},
            {"params": [p for _, p in named if p.dim() != 2], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1e-8)
        losses, norms = [], []
        count = sum(golden["targets"])
        for _ in range(STEPS):
            optimiser.zero_grad()
            total = 0.0
            for ids, mask in zip(golden["ids"], golden["mask"]):
                ids, mask = torch.tensor(ids), torch.tensor(mask)
                out = model(input_ids=ids[None], use_cache=False).logits[0]
                targets = torch.where(mask[1:] == 1, ids[1:], torch.tensor(IGNORE))
                loss = torch.nn.functional.cross_entropy(out[:-1], targets, ignore_index=IGNORE, reduction="sum") / count
                loss.backward()
                total += loss.item()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
            losses.append(total)
            optimiser.step()
    tensors = []
    for t, (tensor, p) in enumerate(named):
        flat = p.detach().flatten()
        samples = [flat[sampled(t, j, len(flat))].item() for j in range(SAMPLES)]
        tensors.append({"name": tensor, "l2": flat.norm().item(), "samples": samples})
    return {"losses": losses, "grad_norms": norms, "tensors": tensors}


def main():
    transformers.logging.set_verbosity_error()
    result = {
        "made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "steps": STEPS, "rate": RATE, "weight_decay": DECAY, "clip": CLIP,
        "families": {name: run(name) for name in ["llama", "qwen2", "qwen3", "gemma3"]},
    }
    text = json.dumps(result)
    TO.write_text(text.replace('{"name"', '\n{"name"').replace('"llama"', '\n"llama"') + "\n")
    print(TO.stat().st_size, {k: v["losses"][-1] for k, v in result["families"].items()})


if __name__ == "__main__":
    main()
