"""Tiny random encoder-decoders with their logits, losses, gradients and what `generate` makes of them.

Makes, below `crates/model/tests/goldens/`, one Hugging Face folder each:

    t5          relu, the head is the embedding and its input scaled, as in T5 of 2019
    t5_gated    gated-gelu, a head of its own, more blocks in the decoder than in the encoder, as in T5 1.1, Flan-T5 and mT5
    marian      the Transformer of 2017: norms behind the parts, sinusoidal positions, biases; separate vocabularies

Truth is a float64 run on weights that are exact float32 numbers. `golden.json` holds sources, targets, losses, and for each
source the greedy continuation and the best of four beams for two length penalties, with its score; `golden.safetensors`
logits and gradients of the summed loss.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, safetensors 0.8.0. Seeded: a second run writes the same values.

    python tools/goldens/tiny_seq2seq.py
"""

import math
import shutil

import torch
import transformers
from safetensors.torch import save_file
from tiny_families import OUT, everything_float64, max_relative_to_peak, write_json

BEAMS = 4
PENALTIES = [0.5, 2.0]
LONGEST = 12


def t5():
    config = transformers.T5Config(
        vocab_size=48, d_model=32, d_kv=12, d_ff=72, num_layers=2, num_heads=3, relative_attention_num_buckets=8,
        relative_attention_max_distance=9, dropout_rate=0.0, layer_norm_epsilon=1e-6, feed_forward_proj="relu",
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )
    return config, transformers.T5ForConditionalGeneration


def t5_gated():
    config = transformers.T5Config(
        vocab_size=48, d_model=32, d_kv=8, d_ff=72, num_layers=1, num_decoder_layers=2, num_heads=4,
        relative_attention_num_buckets=8, relative_attention_max_distance=9, dropout_rate=0.0,
        layer_norm_epsilon=1e-6, feed_forward_proj="gated-gelu", decoder_start_token_id=0, pad_token_id=0,
        eos_token_id=1, tie_word_embeddings=False,
    )
    return config, transformers.T5ForConditionalGeneration


def marian():
    config = transformers.MarianConfig(
        vocab_size=40, decoder_vocab_size=48, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=72, decoder_ffn_dim=72, max_position_embeddings=64,
        activation_function="relu", dropout=0.0, scale_embedding=True, share_encoder_decoder_embeddings=False,
        decoder_start_token_id=0, pad_token_id=39, eos_token_id=1, forced_eos_token_id=None,
    )
    return config, transformers.MarianMTModel


MODELS = {"t5": t5, "t5_gated": t5_gated, "marian": marian}


def randomise(model, generator):
    """Weights of a size that makes every part count."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
            if "embed_positions" in name:
                continue
            if "norm" in name:
                weight.copy_((0.0 if name.endswith(".bias") else 1.0) + 0.25 * noise)
            elif name.endswith(".bias"):
                weight.copy_(0.3 * noise)
            elif any(part in name for part in ("embed_tokens", "shared", "lm_head")):
                weight.copy_(noise * (0.7 if "t5" in model.config.model_type else 0.3))
                weight[1] *= 2.0  # so that some texts end early
            elif "relative_attention_bias" in name:
                weight.copy_(noise)
            else:
                # T5 does not divide its scores by the root of the head's width
                small = 0.5 if name.endswith(("q.weight", "k.weight")) else 1.0
                weight.copy_(small * noise / math.sqrt(weight.shape[-1]))


def pairs(config, generator):
    # PyTorch keeps gradients from the row of the token that fills: it stands nowhere
    top = config.pad_token_id or config.vocab_size
    out = []
    for n, m in ((14, 5), (3, 9), (1, 12), (7, 1)):
        source = torch.randint(2, top, (n,), generator=generator)
        target = torch.randint(2, top, (m,), generator=generator)
        out.append((torch.cat([source, torch.tensor([1])]), torch.cat([target, torch.tensor([1])])))
    return out


def run(model, items):
    """Logits and loss of each pair, and the gradients of the whole."""
    model.zero_grad(set_to_none=True)
    model.eval()
    logits, losses = [], []
    for source, target in items:
        given = torch.cat([torch.tensor([model.config.decoder_start_token_id or 0]), target[:-1]])
        out = model(input_ids=source[None], decoder_input_ids=given[None], use_cache=False)
        losses.append(torch.nn.functional.cross_entropy(out.logits[0], target, reduction="sum"))
        logits.append(out.logits[0].detach())
    sum(losses).backward()
    grads = {n: p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None and "embed_positions" not in n}
    return logits, [float(loss) for loss in losses], grads


def written(model, items):
    out = []
    common = dict(max_new_tokens=LONGEST, pad_token_id=model.config.pad_token_id, eos_token_id=1, decoder_start_token_id=0, do_sample=False, use_cache=False)
    for source, _ in items:
        one = {"greedy": model.generate(source[None], **common)[0, 1:].tolist(), "beams": []}
        for penalty in PENALTIES:
            best = model.generate(
                source[None], num_beams=BEAMS, length_penalty=penalty, early_stopping=False, return_dict_in_generate=True,
                output_scores=True, num_return_sequences=BEAMS, **common,
            )
            rows = [row[1:].tolist() for row in best.sequences]
            rows = [row[: row.index(1) + 1] if 1 in row else row for row in rows]
            one["beams"].append({"penalty": penalty, "rows": rows, "scores": best.sequences_scores.tolist()})
        out.append(one)
    return out


def make(name, seed):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    config, kind = MODELS[name]()
    config._attn_implementation = "eager"
    model = kind(config)
    if name == "t5_gated":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    randomise(model, generator)
    items = pairs(config, generator)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    again = kind.from_pretrained(folder, attn_implementation="eager").eval()
    for (a, x), (b, y) in zip(model.named_parameters(), again.named_parameters()):
        assert a == b and torch.equal(x, y), a

    rounded = run(again, items)
    exact_model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64).eval()
    with everything_float64():
        exact = run(exact_model, items)
        texts = written(exact_model, items)
    for a, b in zip(rounded[0], exact[0]):
        assert max_relative_to_peak({"": a}, {"": b}) < 2e-5, name
    tensors = {f"logits.{i}": v.float().contiguous() for i, v in enumerate(exact[0])}
    tensors |= {f"grad.{k}": v.float().contiguous() for k, v in exact[2].items()}
    save_file(tensors, folder / "golden.safetensors")
    write_json(folder / "golden.json", {
        "sources": [s.tolist() for s, _ in items], "targets": [t.tolist() for _, t in items], "losses": exact[1],
        "longest": LONGEST, "written": texts,
    })
    for path in folder.iterdir():
        path.chmod(0o644)
    print(name, [round(x, 3) for x in exact[1]], [[len(r) for r in w["beams"][0]["rows"]] for w in texts])


if __name__ == "__main__":
    for number, name in enumerate(MODELS):
        make(name, 100 + number)
