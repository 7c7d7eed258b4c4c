"""Blocks of every quantised type with the values that the `gguf` package (0.19) decodes from them.

    python tools/goldens/quants.py crates/kernels/tests/goldens/quants.txt

A line a type: name, the bytes of a few blocks in hex, their values as float32 in hex (little-endian).
"""

import sys

import gguf
import numpy as np

# where a block keeps its half-float scales
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def main(path):
    rng = np.random.default_rng(20)
    lines = []
    for name, at in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        values, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (512 // values // (2 if values == 256 else 4), size), dtype=np.uint8)
        for a in at:
            scale = (rng.uniform(-0.3, 0.7, len(blocks)) * 0.02).astype(np.float16)
            blocks[:, a : a + 2] = scale.view(np.uint8).reshape(-1, 2)
        floats = gguf.dequantize(blocks, kind).astype("<f4").reshape(-1)
        lines.append(f"{name} {blocks.tobytes().hex()} {floats.tobytes().hex()}\n")
    with open(path, "w") as f:
        f.writelines(lines)


main(sys.argv[1])
