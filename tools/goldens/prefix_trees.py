"""Sequences that share beginnings, with the exact gradient of their summed loss: each sequence computed for itself.

Makes `crates/train/tests/goldens/trees/FAMILY.json` and `FAMILY.safetensors` for the tiny checkpoints and adapters that
`tiny_families.py` has written (run that one first). An engine that lays the sequences out as a prefix tree must get the
same losses and the same gradients.

The truth is made as in `tiny_families.py`: float64 from end to end, autograd checked by finite differences, rounded to
float32 once. The sequences are the same in every family: two trunks, branches of three levels, endings inside runs,
repetitions, branches right behind a trained token, and tokens that one sequence learns and another only reads. The
trunks are longer than gemma3's window of 8.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0.

    python tools/goldens/prefix_trees.py
"""

import json
import pathlib

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

import tiny_families as tiny

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates" / "train" / "tests" / "goldens" / "trees"


def sequences():
    generator = torch.Generator().manual_seed(77)

    def draw(length):
        return torch.randint(3, 150, (length,), generator=generator).tolist()

    trunk, other, left, right, deep = draw(19), draw(11), draw(9), draw(6), draw(13)
    plan = [
        # tokens, the first trained one, whether every second one of them is left out
        (trunk + left + draw(5), 19, False),
        (trunk + left + draw(7), 10, False),
        (trunk + left, 20, True),
        (trunk + left + deep + draw(3), 28, False),
        (trunk + left + deep + draw(4), 1, True),
        (trunk + right + draw(2), 19, False),
        (trunk + right, 1, False),
        (trunk + right, 19, False),
        (trunk + right, 19, False),
        (trunk, 12, False),
        (other + draw(8), 11, False),
        (other + draw(8), 5, True),
        (draw(10), 1, False),
    ]
    out = []
    for ids, first, thinned in plan:
        mask = [int(at >= first and not (thinned and at % 2 == 0)) for at in range(len(ids))]
        out.append((torch.tensor(ids), torch.tensor(mask)))
    return out


def make(name):
    folder = tiny.OUT / name
    config, kind = tiny.FAMILIES[name]()
    config._attn_implementation = "eager"
    weights = load_file(folder / "model.safetensors")
    adapter = load_file(folder / "lora" / "adapter_model.safetensors")
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=tiny.LORA_TARGETS, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    rows = sequences()
    _, _, losses, grads = tiny.run_in_float64(config, kind, weights, rows, (lora, adapter))
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = {n.replace(".default.weight", ".weight"): g.to(torch.float32).contiguous() for n, g in grads.items()}
    save_file(tensors, OUT / f"{name}.safetensors")
    (OUT / f"{name}.json").write_text(json.dumps({
        "truth": "float64 run of each sequence for itself; gradients are of the sum of all losses",
        "ids": [ids.tolist() for ids, _ in rows],
        "mask": [mask.tolist() for _, mask in rows],
        "loss_sums": losses,
    }) + "\n")
    print(name, sum(losses), "tokens", sum(len(ids) for ids, _ in rows))


if __name__ == "__main__":
    for family in tiny.FAMILIES:
        make(family)
