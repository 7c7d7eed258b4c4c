"""Preference losses on one batch, by TRL's own loss code, with the exact gradient of a LoRA adapter.

Makes `crates/train/tests/goldens/preference.json` and `preference.safetensors` for the tiny qwen3 checkpoint and adapter that
`tiny_families.py` has written (run that one first).

What runs is TRL's: `DPOTrainer._compute_loss` (sigmoid, hinge, ipo, robust), `KTOTrainer._compute_loss`,
`CPOTrainer.cpo_loss` (simpo) and `ORPOTrainer.odds_ratio_loss`, on trainers that were given only what these functions read. The
network behind them is transformers' and PEFT's in float64 (TRL casts ORPO's log-probabilities to float32); the reference is
the same network with the adapter off. To ORPO's odds ratio the mean loss of the better answers' tokens is added: TRL counts the
tokens of the prompt there too, the paper (Hong et al. 2024, equation 6) and we do not.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, peft 0.21.2, trl 1.16.0.

    python tools/goldens/preference.py
"""

import collections
import json
import pathlib
import types

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

import tiny_families as tiny

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates" / "train" / "tests" / "goldens"
PAIRS = 4


def batch():
    """Better and worse answers; some begin alike, lengths differ."""
    generator = torch.Generator().manual_seed(91)

    def draw(length):
        return torch.randint(3, 150, (length,), generator=generator).tolist()

    rows = []
    for alike, better, worse in [(0, 5, 9), (3, 4, 2), (1, 8, 8), (0, 2, 6)]:
        prompt, begin = draw(11), draw(alike)
        rows.append((prompt, begin + draw(better), begin + draw(worse)))
    return rows


class Network:
    """Called as TRL calls a model; gives what its losses read."""

    training = True

    def __init__(self, model):
        self.model = model

    def __call__(self, input_ids, attention_mask, labels, **_):
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits[:, :-1]
        logp = torch.log_softmax(logits, -1)
        targets = labels[:, 1:]
        picked = logp.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        zeros = torch.zeros_like(picked)
        log_probs = torch.where(targets == -100, zeros, picked)
        return types.SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def trainer(kind, network, **settings):
    out = object.__new__(kind)
    same = lambda x: x  # noqa: E731
    out.accelerator = types.SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same)
    out.model = network
    out._metrics = {"train": collections.defaultdict(list)}
    out._total_train_tokens = 0
    out._tp_size = 1
    out.aux_loss_enabled = False
    out.precompute_ref_logps = True
    for key, value in settings.items():
        setattr(out, key, value)
    return out


def pad(rows):
    """`(prompt, answer)` rows as TRL's collator pads them."""
    width = max(len(p) + len(a) for p, a in rows)
    full = lambda make: torch.tensor([make(p, a) + [0] * (width - len(p) - len(a)) for p, a in rows])  # noqa: E731
    return {
        "input_ids": full(lambda p, a: p + a),
        "attention_mask": full(lambda p, a: [1] * (len(p) + len(a))),
        "completion_mask": full(lambda p, a: [0] * len(p) + [1] * len(a)),
    }


def sums(network, inputs):
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
    return network(inputs["input_ids"], inputs["attention_mask"], labels).log_probs.sum(-1)


def run(weights, adapter):
    config, kind = tiny.FAMILIES["qwen3"]()
    config._attn_implementation = "eager"
    model = kind(config)
    model.load_state_dict({k: v.double() for k, v in weights.items()}, strict=False)
    model.tie_weights()
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=tiny.LORA_TARGETS, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora, autocast_adapter_dtype=False).double().train()
    named = {n.replace(".default.weight", ".weight"): p for n, p in model.named_parameters() if "lora_" in n}
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(adapter[name].double())
    network = Network(model)
    rows = batch()
    chosen, rejected = [(p, c) for p, c, _ in rows], [(p, r) for p, _, r in rows]
    inputs = pad(chosen + rejected)
    with torch.no_grad(), model.disable_adapter():
        reference = sums(network, inputs)
    cases, tensors = [], {}

    def keep(name, settings, loss, rewards):
        model.zero_grad()
        loss.backward()
        for n, p in named.items():
            tensors[f"{name}/{n}"] = p.grad.clone()
        cases.append({"name": name, **settings, "value": loss.item(), "rewards": rewards})
        print(name, loss.item(), rewards)

    def of(t):
        m = t._metrics["train"]
        last = lambda key: m[key][-1] if m[key] else None  # noqa: E731
        return {k: last(f"rewards/{k}") for k in ["chosen", "rejected", "margins", "accuracies"]} | {"kl": last("kl")}

    def of_pairs(c, r):
        return {"chosen": c.mean().item(), "rejected": r.mean().item(), "margins": (c - r).mean().item(),
                "accuracies": (c > r).double().mean().item(), "kl": None}

    for loss, smoothing in [("sigmoid", 0.0), ("hinge", 0.0), ("ipo", 0.0), ("robust", 0.1)]:
        beta = 0.3
        t = trainer(DPOTrainer, network, loss_types=[loss], loss_weights=[1.0], beta=beta, label_smoothing=smoothing,
                    f_divergence_type="reverse_kl", ld_alpha=None, use_weighting=False)
        given = dict(inputs, ref_chosen_logps=reference[:PAIRS], ref_rejected_logps=reference[PAIRS:])
        value = t._compute_loss(network, given, False)
        keep(f"dpo-{loss}", {"method": "dpo", "loss": loss, "beta": beta, "label_smoothing": smoothing}, value, of(t))

    # KTO: answers one by one, better and worse in turn, and each moved on to the next prompt
    turn = [row for pair in zip(chosen, rejected) for row in pair]
    moved = [(p, turn[i - 1][1]) for i, (p, _) in enumerate(turn)]
    one, kl = pad(turn), pad(moved)
    with torch.no_grad(), model.disable_adapter():
        ref, ref_kl = sums(network, one), sums(network, kl)
    given = dict(one, label=torch.tensor([i % 2 == 0 for i in range(2 * PAIRS)]), ref_logps=ref, ref_KL_logps=ref_kl,
                 **{f"KL_{k}": v for k, v in kl.items()})
    settings = {"method": "kto", "beta": 0.3, "desirable": 1.0, "undesirable": 1.25}
    t = trainer(KTOTrainer, network, loss_type="kto", beta=0.3, calculate_KL=True, desirable_weight=1.0, undesirable_weight=1.25)
    keep("kto", settings, t._compute_loss(network, given, False), of(t))

    lengths = inputs["completion_mask"].sum(-1)
    for beta, gamma, smoothing in [(2.0, 1.0, 0.0), (2.0, 0.5, 0.1)]:
        mean = sums(network, inputs) / lengths
        t = trainer(CPOTrainer, network, loss_type="simpo", beta=beta, simpo_gamma=gamma, label_smoothing=smoothing, alpha=0.0)
        losses, c, r = t.cpo_loss(mean[:PAIRS], mean[PAIRS:])
        settings = {"method": "simpo", "beta": beta, "gamma": gamma, "label_smoothing": smoothing}
        keep(f"simpo-{smoothing}", settings, losses.mean(), of_pairs(c, r))

    whole = sums(network, inputs)
    mean = whole / lengths
    t = trainer(ORPOTrainer, network, beta=0.25)
    losses, c, r, _, _ = t.odds_ratio_loss(mean[:PAIRS], mean[PAIRS:])
    nll = -whole[:PAIRS].sum() / lengths[:PAIRS].sum()
    keep("orpo", {"method": "orpo", "beta": 0.25}, nll - losses.mean(), of_pairs(c, r))

    return rows, cases, tensors


def main():
    folder = tiny.OUT / "qwen3"
    weights = load_file(folder / "model.safetensors")
    adapter = load_file(folder / "lora" / "adapter_model.safetensors")
    with tiny.everything_float64():
        rows, cases, tensors = run(weights, adapter)
    save_file({n: t.to(torch.float32).contiguous() for n, t in tensors.items()}, OUT / "preference.safetensors")
    (OUT / "preference.json").write_text(json.dumps({
        "truth": "TRL 1.16.0's loss code on a float64 network; gradients of the loss by the adapter",
        "rows": [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows],
        "cases": cases,
    }) + "\n")


if __name__ == "__main__":
    main()
