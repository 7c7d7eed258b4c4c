"""Writes a GGUF file of a published shape with random quantised weights, for measuring speed and memory without a download.

gguf 0.19.0, numpy 2.4.6, Python 3.11; setting up: bench/README.md. Its tokenizer knows
single bytes, and a made-up name for each other token.

    python bench/random_model.py SHAPE OUT.gguf [--type Q4_0]

Shapes: qwen3-0.6b, qwen2.5-1.5b. Products read the same bytes whatever they say, so the speed is that of a real model.
"""

import argparse

import gguf
import numpy as np

# architecture, width, MLP, blocks, heads, key/value heads, head width, vocabulary, tied head
SHAPES = {
    "qwen3-0.6b": ("qwen3", 1024, 3072, 28, 16, 8, 128, 151936, True),
    "qwen2.5-1.5b": ("qwen2", 1536, 8960, 28, 12, 2, 128, 151936, True),
}
# floats of a block, its bytes, places of the half-precision scales
BLOCKS = {
    "Q4_0": (32, 18, [0]),
    "Q4_1": (32, 20, [0, 2]),
    "Q8_0": (32, 34, [0]),
    "Q2_K": (256, 84, [80, 82]),
    "Q3_K": (256, 110, [108]),
    "Q4_K": (256, 144, [0, 2]),
    "Q5_K": (256, 176, [0, 2]),
    "Q6_K": (256, 210, [208]),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("out")
    parser.add_argument("--type", choices=sorted(BLOCKS), default="Q4_0")
    options = parser.parse_args()
    arch, width, mlp, blocks, heads, kv_heads, head, vocab, tied = SHAPES[options.shape]
    floats, size, scales = BLOCKS[options.type]
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(options.out, arch)
    writer.add_name(f"{options.shape} shape, random weights")
    writer.add_context_length(32768)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(mlp)
    writer.add_block_count(blocks)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(vocab)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(letters + ["ab"] + [f"<{n}>" for n in range(vocab - 257)])
    writer.add_token_types([1] * vocab)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(vocab - 1)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)

    def weight(name, rows, cols):
        raw = rng.integers(0, 256, (rows, cols // floats, size), dtype=np.uint8)
        scale = np.array([0.5 / (7 * cols**0.5 * (32 if options.type.endswith("_K") else 1))], dtype=np.float16).view(np.uint8)
        for place in scales:
            raw[:, :, place : place + 2] = scale
        writer.add_tensor(name, raw.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType[options.type])

    def vector(name, length, value=1.0):
        writer.add_tensor(name, np.full(length, value, dtype=np.float32))

    weight("token_embd.weight", vocab, width)
    vector("output_norm.weight", width)
    if not tied:
        weight("output.weight", vocab, width)
    for n in range(blocks):
        block = f"blk.{n}."
        vector(block + "attn_norm.weight", width)
        vector(block + "ffn_norm.weight", width)
        for part, rows in (("attn_q", heads * head), ("attn_k", kv_heads * head), ("attn_v", kv_heads * head)):
            weight(block + part + ".weight", rows, width)
            if arch == "qwen2":
                vector(block + part + ".bias", rows, 0.0)
        if arch == "qwen3":
            vector(block + "attn_q_norm.weight", head)
            vector(block + "attn_k_norm.weight", head)
        weight(block + "attn_output.weight", width, heads * head)
        weight(block + "ffn_gate.weight", mlp, width)
        weight(block + "ffn_up.weight", mlp, width)
        weight(block + "ffn_down.weight", width, mlp)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
