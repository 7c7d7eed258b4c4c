"""The sums of samples/addition: lessons, practice and exam, no pair in two of them; of three digits, and (`two_*`) of two.

    python samples/addition/make.py

A question is `347+85=`... written with three digits each (`347+085`), its answer four digits, the last one first: 432 is
`2340`. A carry then goes the way the text goes; with the first digit first, so small a network does not learn it from so few
lessons. The vocabulary is learnt from `text.txt`, where every digit stands alone, so that no token holds two of them.
"""

import random
from pathlib import Path

HERE = Path(__file__).parent
TWO = {"two_lessons.csv": 1500, "two_practice.csv": 2000, "two_exam.csv": 300}
SIZES = {"lessons.csv": 3000, "practice.csv": 4000, "exam.csv": 500}


def row(a, b):
    return f"{a:03d}+{b:03d},{a + b:04d}"[:8] + f"{a + b:04d}"[::-1]


def spaced(number, digits):
    return " ".join(f"{number:0{digits}d}")


def two_digits():
    """Sums of two digits with spaces between all signs, so that any vocabulary reads each digit by itself."""
    rng = random.Random(20261130)
    pairs = rng.sample(range(10_000), sum(TWO.values()))
    for name, size in TWO.items():
        own, pairs = pairs[:size], pairs[size:]
        lines = ["question,answer"]
        for a, b in (divmod(p, 100) for p in own):
            lines.append(f"{spaced(a, 2)} + {spaced(b, 2)} =,{spaced(a + b, 3)[::-1]}")
        (HERE / name).write_text("\n".join(lines) + "\n")


def main():
    rng = random.Random(20261129)
    pairs = rng.sample(range(1_000_000), sum(SIZES.values()))
    for name, size in SIZES.items():
        own, pairs = pairs[:size], pairs[size:]
        lines = ["question,answer"] + [row(*divmod(p, 1000)) for p in own]
        (HERE / name).write_text("\n".join(lines) + "\n")
    two_digits()
    # what the vocabulary is learnt from, and how sums look: digits and signs one by one
    words = [" ".join(str(rng.randrange(10)) for _ in range(12)) + " + = " for _ in range(1500)]
    parts = ["\n".join(words[i : i + 10]) for i in range(0, len(words), 10)]
    (HERE / "text.txt").write_text("\n=====\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
