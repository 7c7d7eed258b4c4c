"""GGUF file -> transformers model in float32, by our own mapping of names and layouts.

Used by `real_models.py`; needs torch 2.15.0, transformers 5.23.0, gguf 0.19.0. Run directly, it compares itself with the
loader inside transformers, tensor by tensor:

    python tools/goldens/gguf_to_torch.py MODEL.gguf

Two layouts differ between the worlds:
* files of architecture `llama` hold the rows of attn_q and attn_k interleaved (pairs of a rotation are neighbours: row
  2i and 2i + 1 of a head); transformers rotates halves (row i and i + head_dim / 2), so the rows go back;
* `gemma3` files hold norm weights with their 1 already added; transformers adds it itself.
"""

import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers

BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
FFN_NORM = {
    "llama": {"ffn_norm": "post_attention_layernorm"},
    "gemma3": {
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def checkpoint_name(arch, name):
    stem, _, kind = name.rpartition(".")
    if stem in TOP_NAMES:
        return f"{TOP_NAMES[stem]}.{kind}"
    _, layer, part = stem.split(".")
    part = {**BLOCK_NAMES, **FFN_NORM[arch]}[part]
    return f"model.layers.{layer}.{part}.{kind}"


def uninterleave(weight, heads):
    """[heads * (half, pair)] rows to [heads * (pair, half)] rows."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def make_config(arch, key, vocab):
    common = dict(
        vocab_size=vocab,
        hidden_size=key("embedding_length"),
        intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"),
        num_attention_heads=key("attention.head_count"),
        num_key_value_heads=key("attention.head_count_kv"),
        max_position_embeddings=key("context_length"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
        tie_word_embeddings=True,
    )
    theta = key("rope.freq_base")
    if arch == "llama":
        return transformers.LlamaConfig(
            **common, head_dim=key("rope.dimension_count"), rope_parameters={"rope_type": "default", "rope_theta": theta}
        ), transformers.LlamaForCausalLM
    # The file names neither the local base nor the pattern: 10,000, and every sixth layer global.
    return transformers.Gemma3TextConfig(
        **common,
        head_dim=key("attention.key_length"),
        query_pre_attn_scalar=key("attention.key_length"),
        sliding_window=key("attention.sliding_window"),
        layer_types=["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(key("block_count"))],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "default", "rope_theta": theta},
        },
    ), transformers.Gemma3ForCausalLM


def load(path):
    """Returns the model (float32, eager attention, evaluation mode)."""
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    key = lambda name: reader.fields[f"{arch}.{name}"].contents()
    weights = {}
    for tensor in reader.tensors:
        value = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if arch == "llama" and ".attn_q." in tensor.name:
            value = uninterleave(value, key("attention.head_count"))
        if arch == "llama" and ".attn_k." in tensor.name:
            value = uninterleave(value, key("attention.head_count_kv"))
        if arch == "gemma3" and tensor.name.endswith("norm.weight"):
            value = value - np.float32(1.0)
        weights[checkpoint_name(arch, tensor.name)] = torch.from_numpy(np.ascontiguousarray(value))
    config, kind = make_config(arch, key, weights["model.embed_tokens.weight"].shape[0])
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = kind(config)
    model.to_empty(device="cpu")
    # Buffers (rotary frequencies, embedding scale) are not in the file: take them from a model made on the CPU.
    small = kind(type(config)(**{**config.to_dict(), "vocab_size": 8, "intermediate_size": 8, "pad_token_id": 0}))
    for (name, buffer), (other, made) in zip(model.named_buffers(), small.named_buffers(), strict=True):
        assert name == other and buffer.shape == made.shape
        buffer.copy_(made)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    model.tie_weights()
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.config._attn_implementation = "eager"
    return model.eval()


def tokenizer(path):
    path = pathlib.Path(path)
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


if __name__ == "__main__":
    path = pathlib.Path(sys.argv[1])
    ours = load(path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    other = dict(theirs.named_parameters())
    worst = max(((p - other[n]).abs().max().item(), n) for n, p in ours.named_parameters())
    ids = torch.arange(100, 140)[None]
    with torch.no_grad():
        gap = (ours(ids).logits - theirs(ids).logits).abs().max().item()
    print(f"{type(ours).__name__}: greatest weight difference {worst}, greatest logit difference {gap}")
