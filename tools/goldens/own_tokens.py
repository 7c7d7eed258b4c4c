"""Tokens of an adapter's own on the tiny checkpoints of `tiny_families.py`, by PEFT (`trainable_token_indices`): logits, loss
and the gradient of A, B and the rows.

Makes `crates/model/tests/goldens/own_tokens/{llama,gemma3}/`: the adapter as PEFT saves it, and `golden.safetensors`,
`golden_lora.json` as `tiny_families.py` does. Gemma's head is its embedding, so that the rows are columns of the head too.
A and B are random, the rows are moved away from the base's. float64 from end to end, rounded once.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, peft 0.21.2, safetensors 0.8.0.

    python tools/goldens/own_tokens.py
"""

import json
import shutil

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tiny_families import FAMILIES, LORA_TARGETS, OUT, describe, everything_float64, pack, run, write_json

TO = OUT / "own_tokens"


def make(name):
    folder = TO / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config, kind = FAMILIES[name]()
    config._attn_implementation = "eager"
    weights = load_file(OUT / name / "model.safetensors")
    golden = json.loads((OUT / name / "golden.json").read_text())
    sequences = [(torch.tensor(i), torch.tensor(m)) for i, m in zip(golden["ids"], golden["mask"])]
    # read, foretold, and one that does not occur; not in order
    first = golden["ids"][0]
    own = [first[5], first[2], next(t for t in range(3, 64) if all(t not in i for i in golden["ids"]))]
    lora = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=LORA_TARGETS,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        trainable_token_indices=own,
    )

    def build():
        model = kind(config)
        model.load_state_dict({k: v.to(model.dtype) for k, v in weights.items()}, strict=False)
        model.tie_weights()
        return get_peft_model(model, lora, autocast_adapter_dtype=False)

    tuned = build()
    generator = torch.Generator().manual_seed(11)
    tensors = {}
    with torch.no_grad():
        for parameter, p in tuned.named_parameters():
            if p.requires_grad:
                noise = torch.randn(p.shape, generator=generator)
                p.copy_(p + 0.1 * noise if "tokens" in parameter else 0.2 * noise)
                tensors[parameter] = p.detach().clone()
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    rounded = run(tuned, sequences)
    with everything_float64():
        model = build().double()
        with torch.no_grad():
            for parameter, p in model.named_parameters():
                if p.requires_grad:
                    p.copy_(tensors[parameter].double())
        truth = run(model, sequences)

    def rename(parameter):
        return parameter.replace(".default", "")

    save_file(pack(sequences, truth, rename), folder / "golden.safetensors")
    write_json(folder / "golden_lora.json", describe(sequences, truth, rounded))
    print(name, sum(truth[2]), sorted(load_file(folder / "adapter_model.safetensors"))[:3])


def main():
    transformers.logging.set_verbosity_error()
    for name in ["llama", "gemma3"]:
        make(name)


if __name__ == "__main__":
    main()
