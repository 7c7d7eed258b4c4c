"""Tiny random checkpoints of every model family, with their exact logits, losses and gradients.

Makes, below `crates/model/tests/goldens/`, one Hugging Face folder a family:

    llama  llama3_rope  qwen2  qwen3  gemma3
      config.json            as transformers 5 writes it (`rope_parameters`, `dtype`)
      config.v4.json         the same model in the transformers 4 dialect (`rope_theta`, `rope_scaling`, `torch_dtype`)
      model.safetensors      F32 weights under their Hugging Face names
      golden.safetensors     what a correct engine must compute from them
      golden.json            scalars in full precision, ids and masks again, accuracy notes
      lora/adapter_config.json, lora/adapter_model.safetensors      a PEFT adapter, A and B both non-zero
      lora/golden_lora.safetensors, lora/golden_lora.json           the same with the adapter applied

How the truth is made: the network runs in float64 (every float32 cast inside transformers is redirected to float64 for
the run, rotary frequencies included) on weights that are exact float32 numbers; the results are rounded to float32 once.
The float32 run is made too, and the greatest differences stand in the JSON files, as a measure of what rounding alone does.
Two sequences are computed separately and their losses are added: an engine that packs them must get the same numbers.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0. Seeded: a second run writes the same values.

    python tools/goldens/tiny_families.py            # all families, a few seconds
    python tools/goldens/tiny_families.py qwen3      # one
"""

import contextlib
import copy
import json
import math
import pathlib
import shutil
import sys
import warnings

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates" / "model" / "tests" / "goldens"
LENGTHS = (23, 17)
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORE = -100

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
# PEFT looks for the base model on the hub by its name; there is none.
warnings.filterwarnings("ignore")


def llama(**changes):
    keys = dict(
        vocab_size=160, hidden_size=48, intermediate_size=48, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )
    keys.update(changes)
    return transformers.LlamaConfig(**keys), transformers.LlamaForCausalLM


def llama3_rope():
    # With head_dim 16 the wavelengths are 6.3, 32, 167, 860, ...: the first stays, the second is interpolated smoothly
    # (16 < 32 < 64), the others are stretched by the factor. All three branches of the rule are taken.
    return llama(
        hidden_size=32, intermediate_size=80, num_attention_heads=4, head_dim=16, max_position_embeddings=512,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
        },
    )


def qwen2():
    config = transformers.Qwen2Config(
        vocab_size=150, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, bos_token_id=1, eos_token_id=2,
    )
    return config, transformers.Qwen2ForCausalLM


def qwen3():
    config = transformers.Qwen3Config(
        vocab_size=160, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, bos_token_id=1, eos_token_id=2,
    )
    return config, transformers.Qwen3ForCausalLM


def gemma3():
    # query_pre_attn_scalar differs from head_dim, so that a scale taken from the wrong key is found; the window of 8
    # is shorter than both sequences.
    config = transformers.Gemma3TextConfig(
        vocab_size=160, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=256, rms_norm_eps=1e-6, query_pre_attn_scalar=24,
        sliding_window=8, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
        },
        tie_word_embeddings=True, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )
    return config, transformers.Gemma3ForCausalLM


FAMILIES = {"llama": llama, "llama3_rope": llama3_rope, "qwen2": qwen2, "qwen3": qwen3, "gemma3": gemma3}


def to_v4(config: dict) -> dict:
    """The same configuration in the keys that transformers 4 wrote (and that most published models still carry)."""
    old = copy.deepcopy(config)
    old["transformers_version"] = "4.57.1"
    old["torch_dtype"] = old.pop("dtype")
    rope = old.pop("rope_parameters")
    if old["model_type"] == "gemma3_text":
        old["rope_theta"] = rope["full_attention"]["rope_theta"]
        old["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        old["rope_scaling"] = None
        # The oldest dialect: a number instead of the list. Every second layer is global.
        old.pop("layer_types", None)
        old.pop("_sliding_window_pattern", None)
        old["sliding_window_pattern"] = 2
    else:
        old["rope_theta"] = rope.pop("rope_theta")
        old["rope_scaling"] = None if rope["rope_type"] == "default" else rope
        old.pop("layer_types", None)
    return old


def randomise(model, generator):
    """Weights of a size that makes every part count: attention far from uniform, norms and biases far from trivial."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
            if "norm" in name:
                centre = 0.0 if model.config.model_type == "gemma3_text" else 1.0
                weight.copy_(centre + 0.25 * noise)
            elif name.endswith(".bias"):
                weight.copy_(0.3 * noise)
            elif "embed_tokens" in name or "lm_head" in name:
                weight.copy_(0.3 * noise)
            else:
                gain = 2.0 if ("q_proj" in name or "k_proj" in name) else 1.0
                weight.copy_(noise * gain / math.sqrt(weight.shape[1]))


@contextlib.contextmanager
def everything_float64():
    """Redirects the float32 casts inside transformers, so that the run is float64 from end to end."""
    saved = torch.float32, torch.float, torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = saved
        torch.set_default_dtype(saved[0])


def examples(vocab, generator):
    """Two sequences of ids and their loss masks. mask[t] = 1: the token at t is trained, i.e. predicted from t - 1."""
    out = []
    for n, length in enumerate(LENGTHS):
        ids = torch.randint(3, vocab, (length,), generator=generator)
        ids[-1] = vocab - 1  # the last row of the vocabulary takes part
        mask = (torch.rand(length, generator=generator) < 0.6).long()
        mask[0] = 0
        mask[-1] = 1
        if n == 0:
            mask[1:6] = 0  # a prompt without loss
        out.append((ids, mask))
    return out


def run(model, sequences):
    """Logits and final hidden state of each sequence, summed loss, gradient of the summed loss."""
    model.zero_grad(set_to_none=True)
    model.eval()
    logits, hidden, losses = [], [], []
    for ids, mask in sequences:
        captured = {}
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        handle = base.model.norm.register_forward_hook(lambda _m, _i, o: captured.update(hidden=o))
        out = model(input_ids=ids[None], use_cache=False).logits[0]
        handle.remove()
        targets = torch.where(mask[1:] == 1, ids[1:], torch.tensor(IGNORE))
        loss = torch.nn.functional.cross_entropy(out[:-1], targets, ignore_index=IGNORE, reduction="sum")
        loss.backward()
        logits.append(out.detach())
        hidden.append(captured["hidden"][0].detach())
        losses.append(loss.item())
    grads = {name: p.grad.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    return logits, hidden, losses, grads


def run_in_float64(config, kind, weights, sequences, adapter=None):
    """A fresh float64 model on exactly these float32 weights (a fresh one, because buffers are made when it is built)."""
    with everything_float64():
        model = kind(config)
        model.load_state_dict({k: v.double() for k, v in weights.items()}, strict=False)
        model.tie_weights()
        if adapter is not None:
            lora_config, tensors = adapter
            model = get_peft_model(model, lora_config, autocast_adapter_dtype=False)
            set_adapter(model, {k: v.double() for k, v in tensors.items()})
        model.double()
        result = run(model, sequences)
        check_by_finite_difference(model, sequences, result)
        return result


def check_by_finite_difference(model, sequences, result):
    """Autograd against (L(w + h) - L(w - h)) / 2h in one random direction per parameter."""
    _, _, _, grads = result
    generator = torch.Generator().manual_seed(5)
    h = 1e-6

    def loss():
        with torch.no_grad():
            total = 0.0
            for ids, mask in sequences:
                out = model(input_ids=ids[None], use_cache=False).logits[0]
                targets = torch.where(mask[1:] == 1, ids[1:], torch.tensor(IGNORE))
                total += torch.nn.functional.cross_entropy(out[:-1], targets, ignore_index=IGNORE, reduction="sum").item()
            return total

    for name, weight in model.named_parameters():
        if name not in grads:
            continue
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        expected = (grads[name] * direction).sum().item()
        with torch.no_grad():
            weight.add_(h * direction)
            up = loss()
            weight.sub_(2 * h * direction)
            down = loss()
            weight.add_(h * direction)
        measured = (up - down) / (2 * h)
        scale = max(abs(expected), grads[name].norm().item())
        assert abs(measured - expected) < 1e-5 * scale, (name, measured, expected)


def set_adapter(model, tensors):
    """Puts tensors named as in adapter_model.safetensors into a PEFT model."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name.replace(".weight", ".default.weight")].copy_(tensor)


def max_difference(a, b):
    """Greatest |a - b| over lists of tensors or dictionaries of them."""
    pairs = [(a[k], b[k]) for k in a] if isinstance(a, dict) else list(zip(a, b))
    return max((x.double() - y.double()).abs().max().item() for x, y in pairs)


def max_relative_to_peak(a, b):
    return max(((a[k].double() - b[k].double()).abs().max() / b[k].double().abs().max()).item() for k in a)


def pack(sequences, truth, rename=lambda name: name):
    logits, hidden, _, grads = truth
    tensors = {}
    for n, (ids, mask) in enumerate(sequences):
        tensors[f"ids.{n}"] = ids.int()
        tensors[f"mask.{n}"] = mask.int()
        tensors[f"logits.{n}"] = logits[n].to(torch.float32).contiguous()
        tensors[f"hidden.{n}"] = hidden[n].to(torch.float32).contiguous()
    for name, grad in grads.items():
        tensors[f"grad.{rename(name)}"] = grad.to(torch.float32).contiguous()
    return tensors


def describe(sequences, truth, rounded):
    """The scalars and the measure of what float32 rounding alone does."""
    targets = [int(mask[1:].sum()) for _, mask in sequences]
    return {
        "made_with": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__, "peft": peft.__version__},
        "truth": "float64 run on float32 weights, rounded to float32 once; gradients are of loss_sum",
        "ids": [ids.tolist() for ids, _ in sequences],
        "mask": [mask.tolist() for _, mask in sequences],
        "targets": targets,
        "loss_sums": truth[2],
        "loss_sum": sum(truth[2]),
        "loss_mean": sum(truth[2]) / sum(targets),
        "float32_run": {
            "loss_sum": sum(rounded[2]),
            "max_abs_difference_logits": max_difference(rounded[0], truth[0]),
            "max_abs_difference_hidden": max_difference(rounded[1], truth[1]),
            "max_abs_difference_grad": max_difference(rounded[3], truth[3]),
            "max_difference_grad_over_tensor_peak": max_relative_to_peak(rounded[3], truth[3]),
        },
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def make(name, seed):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "lora").mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)

    config, kind = FAMILIES[name]()
    config._attn_implementation = "eager"
    model = kind(config)
    randomise(model, generator)
    weights = {k: v.detach().clone() for k, v in model.named_parameters()}
    sequences = examples(config.vocab_size, generator)

    model.save_pretrained(folder)
    # It would only repeat the special ids.
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    old = to_v4(written)
    write_json(folder / "config.v4.json", old)
    check_dialects_agree(folder, kind, sequences, old)

    rounded = run(model, sequences)
    truth = run_in_float64(config, kind, weights, sequences)
    save_file(pack(sequences, truth), folder / "golden.safetensors")
    write_json(folder / "golden.json", describe(sequences, truth, rounded))

    # The adapter: B is zero when PEFT makes it, and half of the backward pass would go unseen.
    lora_config = LoraConfig(r=4, lora_alpha=8, target_modules=LORA_TARGETS, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, lora_config)
    adapter = {}
    for parameter, weight in tuned.named_parameters():
        if not weight.requires_grad:
            continue
        gain = 1.0 / math.sqrt(weight.shape[1]) if "lora_A" in parameter else 0.1
        key = parameter.replace(".default.weight", ".weight")
        adapter[key] = torch.randn(weight.shape, generator=generator, dtype=torch.float32) * gain
    set_adapter(tuned, adapter)
    tuned.peft_config["default"].base_model_name_or_path = f"tiny-{name}"
    tuned.save_pretrained(folder / "lora", save_embedding_layers=False)
    (folder / "lora" / "README.md").unlink(missing_ok=True)
    # PEFT keeps the targets in a set and writes them in a new order each time.
    written = json.loads((folder / "lora" / "adapter_config.json").read_text())
    written["target_modules"].sort()
    write_json(folder / "lora" / "adapter_config.json", written)
    in_file = lambda parameter: parameter.replace(".default.weight", ".weight")

    rounded = run(tuned, sequences)
    truth = run_in_float64(config, kind, weights, sequences, (lora_config, adapter))
    save_file(pack(sequences, truth, in_file), folder / "lora" / "golden_lora.safetensors")
    write_json(folder / "lora" / "golden_lora.json", describe(sequences, truth, rounded))

    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    report = json.loads((folder / "golden.json").read_text())
    print(f"{name}: {size} bytes, loss_mean {report['loss_mean']:.6f}, {report['float32_run']}")


def check_dialects_agree(folder, kind, sequences, old):
    """transformers reads its own old dialect: both folders must give the same logits, bit for bit."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    results = []
    for keys in (json.loads((folder / "config.json").read_text()), old):
        config = transformers.AutoConfig.for_model(**keys)
        config._attn_implementation = "eager"
        model = kind(config).float()
        model.load_state_dict(weights, strict=False)
        model.tie_weights()
        with torch.no_grad():
            results.append(model.eval()(input_ids=sequences[0][0][None]).logits)
    assert torch.equal(*results), "the two config dialects disagree"


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(FAMILIES)
    for seed, family in enumerate(FAMILIES):
        if family in wanted:
            make(family, 1000 + seed)
