"""Tiny random GPT-2 and Qwen 3 mixture-of-experts checkpoints with their logits, losses and gradients.

Makes, below `crates/model/tests/goldens/`, one Hugging Face folder each, of the files that `tiny_families.py` describes but
without adapters and without a second dialect of the configuration:

    gpt2        layer norms, learned positions, biases, an MLP without gate, matrices with their inputs as rows
    qwen3_moe   five experts of which two work on each token; the loss has the balancing term beside the cross-entropy:
                loss_sum + targets · router_aux_loss_coef · (load_balancing_loss_func over both sequences)

Truth is a float64 run on weights that are exact float32 numbers, as there. Gradients stand under the names of the file; those of
experts, which transformers 5 fuses in memory, are parted again.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, safetensors 0.8.0. Seeded: a second run writes the same values.

    python tools/goldens/tiny_brains.py
"""

import json
import math
import shutil
import sys

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_families import IGNORE, OUT, everything_float64, examples, max_difference, max_relative_to_peak, write_json
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

BALANCE = 0.3  # far above what is usual, so that its gradient counts


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=160, n_embd=32, n_layer=2, n_head=4, n_inner=72, n_positions=64, layer_norm_epsilon=1e-5,
        activation_function="gelu_new", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2,
    )
    return config, transformers.GPT2LMHeadModel


def qwen3_moe():
    config = transformers.Qwen3MoeConfig(
        vocab_size=160, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, bos_token_id=1, eos_token_id=2,
        num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24, norm_topk_prob=True,
        router_aux_loss_coef=BALANCE, decoder_sparse_step=1, mlp_only_layers=[],
    )
    config._experts_implementation = "eager"
    return config, transformers.Qwen3MoeForCausalLM


BRAINS = {"gpt2": gpt2, "qwen3_moe": qwen3_moe}


def randomise(model, generator):
    """Weights of a size that makes every part count."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
            if "norm" in name or ".ln_" in name:
                centre = 0.0 if name.endswith(".bias") else 1.0
                weight.copy_(centre + 0.25 * noise)
            elif name.endswith(".bias"):
                weight.copy_(0.3 * noise)
            elif any(part in name for part in ("embed_tokens", "lm_head", "wte", "wpe")):
                weight.copy_(0.3 * noise)
            else:
                # GPT-2's matrices have their inputs first, all others last
                inputs = weight.shape[0] if "transformer.h" in name else weight.shape[-1]
                weight.copy_(noise / math.sqrt(inputs))


def run(model, sequences):
    """Logits of each sequence, losses, the balancing term (or None) and the gradients of the whole."""
    model.zero_grad(set_to_none=True)
    model.eval()
    experts = getattr(model.config, "num_experts", 0)
    logits, losses, routed = [], [], []
    for ids, mask in sequences:
        out = model(input_ids=ids[None], use_cache=False, **({"output_router_logits": True} if experts else {}))
        targets = torch.where(mask[1:] == 1, ids[1:], torch.tensor(IGNORE))
        losses.append(torch.nn.functional.cross_entropy(out.logits[0][:-1], targets, ignore_index=IGNORE, reduction="sum"))
        logits.append(out.logits[0].detach())
        routed.append(out.router_logits if experts else ())
    whole, balance = sum(losses), None
    if experts:
        layers = tuple(torch.cat([r.reshape(-1, experts) for r in layer]) for layer in zip(*routed))
        balance = load_balancing_loss_func(layers, experts, model.config.num_experts_per_tok)
        whole = whole + sum(int(mask[1:].sum()) for _, mask in sequences) * model.config.router_aux_loss_coef * balance
        balance = float(balance)
    whole.backward()
    grads = {name: p.grad.detach().clone() for name, p in model.named_parameters()}
    return logits, [float(loss) for loss in losses], balance, float(whole), grads


def parted(tensors, config):
    """Names and shapes of the file from those in memory."""
    out = {}
    for name, value in tensors.items():
        if name.endswith("experts.gate_up_proj"):
            for e, both in enumerate(value):
                start, f = name.removesuffix("gate_up_proj"), config.moe_intermediate_size
                out[f"{start}{e}.gate_proj.weight"] = both[:f]
                out[f"{start}{e}.up_proj.weight"] = both[f:]
        elif name.endswith("experts.down_proj"):
            for e, one in enumerate(value):
                out[f"{name.removesuffix('down_proj')}{e}.down_proj.weight"] = one
        else:
            out[name] = value
    return out


def check_by_finite_difference(model, sequences, grads):
    generator = torch.Generator().manual_seed(5)
    h = 1e-6
    for name, weight in model.named_parameters():
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        expected = (grads[name] * direction).sum().item()
        with torch.no_grad():
            weight.add_(h * direction)
        up = run(model, sequences)[3]
        with torch.no_grad():
            weight.sub_(2 * h * direction)
        down = run(model, sequences)[3]
        with torch.no_grad():
            weight.add_(h * direction)
        measured = (up - down) / (2 * h)
        assert abs(measured - expected) < 1e-5 * max(abs(expected), grads[name].norm().item()), (name, measured, expected)


def make(name, seed):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    config, kind = BRAINS[name]()
    config._attn_implementation = "eager"
    model = kind(config)
    randomise(model, generator)
    weights = {k: v.detach().clone() for k, v in model.named_parameters()}
    sequences = examples(config.vocab_size, generator)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = sorted(file.keys())
    assert stored == sorted(parted(weights, config)), "the file has other names"

    rounded = run(model, sequences)
    with everything_float64():
        exact = kind(config)
        exact.load_state_dict({k: v.double() for k, v in weights.items()}, strict=False)
        exact.tie_weights()
        exact.double()
        truth = run(exact, sequences)
        check_by_finite_difference(exact, sequences, truth[4])
    tensors = {}
    for n, (ids, mask) in enumerate(sequences):
        tensors[f"logits.{n}"] = truth[0][n].to(torch.float32).contiguous()
    for key, grad in parted(truth[4], config).items():
        tensors[f"grad.{key}"] = grad.to(torch.float32).contiguous()
    save_file(tensors, folder / "golden.safetensors")
    write_json(folder / "golden.json", {
        "made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "truth": "float64 run on float32 weights, rounded to float32 once; gradients are of loss_sum and the balancing term",
        "ids": [ids.tolist() for ids, _ in sequences],
        "mask": [mask.tolist() for _, mask in sequences],
        "loss_sum": sum(truth[1]),
        "balance": truth[2],
        "whole": truth[3],
        "float32_run": {
            "max_abs_difference_logits": max_difference(rounded[0], truth[0]),
            "max_difference_grad_over_tensor_peak": max_relative_to_peak(rounded[4], truth[4]),
        },
    })
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(name, size, "bytes", json.loads((folder / "golden.json").read_text())["float32_run"], truth[2])


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(BRAINS)
    for seed, brain in enumerate(BRAINS):
        if brain in wanted:
            make(brain, 2000 + seed)
