"""The loss of a reward model on one batch, by TRL's own loss code, with the exact gradient of a LoRA adapter and of its head.

Makes, for the tiny qwen3 checkpoint and adapter that `tiny_families.py` has written (run that one first):

    crates/train/tests/goldens/reward.json           rows, rewards, losses
    crates/train/tests/goldens/reward.safetensors    gradients
    crates/train/tests/goldens/reward/               the adapter with its head, as PEFT saves it (`SEQ_CLS`)

What runs is TRL's `RewardTrainer.compute_loss` on a trainer that was given only what it reads. The network behind it is
transformers' `Qwen3ForSequenceClassification` with one label and PEFT's adapter, in float64; a sequence's reward is read at its
last token.

    python tools/goldens/reward.py --check FOLDER ROWS

loads an adapter folder that Nurture wrote on the same checkpoint with PEFT and compares the rewards of the rows with those
in ROWS (`[[reward, …]]` in the order of `reward.json`, better before worse).

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, peft 0.21.2, trl 1.16.0.

    python tools/goldens/reward.py
"""

import collections
import json
import shutil
import sys
import types

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from trl import RewardTrainer

import preference
import tiny_families as tiny

OUT = preference.OUT


def network(weights):
    config, _ = tiny.FAMILIES["qwen3"]()
    config._attn_implementation = "eager"
    config.num_labels = 1
    config.pad_token_id = 0
    model = transformers.Qwen3ForSequenceClassification(config)
    missing = model.load_state_dict({k: v.double() for k, v in weights.items()}, strict=False).missing_keys
    assert missing == ["score.weight"], missing
    return model


def pad(rows):
    width = max(map(len, rows))
    full = lambda make: torch.tensor([make(r) + [0] * (width - len(r)) for r in rows])  # noqa: E731
    return {"input_ids": full(list), "attention_mask": full(lambda r: [1] * len(r))}


def batch():
    rows = preference.batch()
    assert all(0 not in p + c + r for p, c, r in rows)
    return rows, pad([p + c for p, c, _ in rows] + [p + r for p, _, r in rows])


def main():
    folder = tiny.OUT / "qwen3"
    weights = load_file(folder / "model.safetensors")
    adapter = load_file(folder / "lora" / "adapter_model.safetensors")
    rows, inputs = batch()
    cases, tensors = [], {}
    with tiny.everything_float64():
        lora = LoraConfig(r=4, lora_alpha=8, target_modules=tiny.LORA_TARGETS, lora_dropout=0.0, bias="none", task_type="SEQ_CLS")
        model = get_peft_model(network(weights), lora, autocast_adapter_dtype=False).double().train()
        named = {
            n.replace(".modules_to_save.default", "").replace(".default.weight", ".weight"): p
            for n, p in model.named_parameters() if p.requires_grad
        }
        head = 0.3 * torch.randn(1, weights["model.norm.weight"].numel(), generator=torch.Generator().manual_seed(7))
        with torch.no_grad():
            for name, p in named.items():
                p.copy_((head if "score" in name else adapter[name]).double())
        for center in [None, 0.05]:
            trainer = object.__new__(RewardTrainer)
            same = lambda x: x  # noqa: E731
            trainer.accelerator = types.SimpleNamespace(gather=same, gather_for_metrics=same)
            trainer.model = model
            trainer.args = types.SimpleNamespace(center_rewards_coefficient=center)
            trainer._metrics = {"train": collections.defaultdict(list)}
            trainer._total_train_tokens, trainer._tp_size = 0, 1
            loss, outputs = trainer.compute_loss(model, dict(inputs), return_outputs=True)
            model.zero_grad()
            loss.backward()
            name = f"center-{center or 0}"
            tensors |= {f"{name}/{n}": p.grad.clone() for n, p in named.items()}
            metrics = trainer._metrics["train"]
            worth = outputs.logits.squeeze(-1).tolist()
            cases.append({
                "name": name, "center": center or 0.0, "value": loss.item(), "accuracy": metrics["accuracy"][-1],
                "margin": metrics["margin"][-1], "rewards": [[worth[i], worth[i + len(rows)]] for i in range(len(rows))],
            })
            print(cases[-1])
    shutil.rmtree(OUT / "reward", ignore_errors=True)
    model.to(torch.float32).save_pretrained(OUT / "reward")
    (OUT / "reward" / "README.md").unlink(missing_ok=True)
    save_file({n: t.to(torch.float32).contiguous() for n, t in tensors.items()}, OUT / "reward.safetensors")
    (OUT / "reward.json").write_text(json.dumps({
        "truth": "TRL 1.16.0's loss code on a float64 network; gradients of the loss by the adapter and its head",
        "rows": [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows],
        "cases": cases,
    }) + "\n")


def check(folder, rows):
    weights = load_file(tiny.OUT / "qwen3" / "model.safetensors")
    model = PeftModel.from_pretrained(network(weights), folder).eval()
    with torch.no_grad():
        got = model(**batch()[1]).logits.squeeze(-1)
    want = torch.tensor(json.load(open(rows))).T.reshape(-1)
    print("greatest difference", (got - want).abs().max().item(), "of rewards up to", want.abs().max().item())
    assert torch.allclose(got, want, atol=1e-5)


if __name__ == "__main__":
    check(*sys.argv[2:]) if sys.argv[1:2] == ["--check"] else main()
