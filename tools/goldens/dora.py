"""DoRA on the tiny checkpoints of `tiny_families.py`, by PEFT: logits, loss and the gradient of A, B and the magnitudes.

Makes `crates/model/tests/goldens/dora/{llama,qwen2}/`: the adapter as PEFT saves it, and `golden.safetensors`,
`golden_lora.json` as `tiny_families.py` does. A and B are random, the magnitudes are moved away from the lengths they
would begin with. float64 from end to end, rounded once. (The derivative is not checked by finite differences here: PEFT
counts the length in the denominator as a constant.)

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0.

    python tools/goldens/dora.py
"""

import json
import shutil

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tiny_families import FAMILIES, LORA_TARGETS, OUT, describe, everything_float64, pack, run, write_json

TO = OUT / "dora"


def make(name):
    folder = TO / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config, kind = FAMILIES[name]()
    config._attn_implementation = "eager"
    weights = load_file(OUT / name / "model.safetensors")
    golden = json.loads((OUT / name / "golden.json").read_text())
    sequences = [(torch.tensor(i), torch.tensor(m)) for i, m in zip(golden["ids"], golden["mask"])]
    lora = LoraConfig(
        r=4, lora_alpha=8, target_modules=LORA_TARGETS, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", use_dora=True
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
                p.copy_(p * (1 + 0.2 * noise) if "magnitude" in parameter else 0.2 * noise)
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
        return parameter.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")

    save_file(pack(sequences, truth, rename), folder / "golden.safetensors")
    write_json(folder / "golden_lora.json", describe(sequences, truth, rounded))
    print(name, sum(truth[2]), sorted(load_file(folder / "adapter_model.safetensors"))[:3])


def main():
    transformers.logging.set_verbosity_error()
    for name in ["llama", "qwen2"]:
        make(name)


if __name__ == "__main__":
    main()
