"""Cleans a jsonl file of questions and answers with pandas and datasketch, as `nurture prepare --no-tokens` does.

    python bench/peers/prepare_pandas.py make rows.jsonl 100000      # writes the file that both clean
    python bench/peers/prepare_pandas.py rows.jsonl                  # this peer: prints seconds, rows a second, memory
    nurture prepare rows.toml --no-tokens                            # ours; rows.toml is written beside the file

Both even out Unicode and white space, drop exact duplicates, replace telephone numbers, e-mail addresses and identity cards,
and drop near duplicates (Jaccard of windows of five words or Chinese characters, at least 0.8). The peer's expressions for
personal data check no digits and cover three of our six kinds, and it looks for no secrets: it does less.
Needs pandas and datasketch; versions are printed.
"""
import json
import random
import re
import resource
import sys
import time
import unicodedata

RECIPE = """[model]
base = "unused"
[data]
train = ["{name}"]
[data.clean]
near_duplicates = "drop"
personal = "redact"
secrets = "redact"
"""


def make(path, rows):
    """Rows of both languages; one in ten nearly repeats an earlier one, one in fifty holds a number or an address."""
    chance = random.Random(7)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(8000)]
    made = []
    with open(path, "w", encoding="utf-8") as out:
        for row in range(rows):
            if row % 10 == 9:
                text = chance.choice(made[-1000:]) + " indeed"
            elif row % 3 == 0:
                text = "".join(chr(chance.randint(0x4E00, 0x5FFF)) for _ in range(120)) + "。"
            else:
                text = " ".join(chance.choices(words, k=60)) + "."
            made.append(text)
            if len(made) > 4000:
                del made[:2000]
            if row % 50 == 7:
                text += " 13%09d a%d@example.com" % (chance.randrange(10**9), row)
            json.dump({"question": text, "answer": "answer %d" % (row % 1000)}, out, ensure_ascii=False)
            out.write("\n")
    with open(path.rsplit(".", 1)[0] + ".toml", "w", encoding="utf-8") as out:
        out.write(RECIPE.format(name=path.rsplit("/", 1)[-1]))


SPACE = re.compile(r"[ \t\u00a0\u3000]+\n|[ \t]+$")
PATTERNS = [
    (re.compile(r"(?<!\w)[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "EMAIL"),
    (re.compile(r"(?<!\w)\d{17}[\dXx](?!\w)"), "ID_CARD"),
    (re.compile(r"(?<!\w)1[3-9]\d{9}(?!\w)"), "PHONE"),
]
UNIT = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")


def clean(path):
    import datasketch
    import pandas as pd

    start = time.perf_counter()
    table = pd.read_json(path, lines=True)
    rows = len(table)
    known = {}

    def redact(text):
        for pattern, name in PATTERNS:
            text = pattern.sub(lambda m: known.setdefault(m.group(), f"[{name}_{len(known) + 1}]"), text)
        return text

    for column in ("question", "answer"):
        table[column] = table[column].map(lambda t: redact(SPACE.sub("\n", unicodedata.normalize("NFC", t)).strip()))
    table = table.drop_duplicates()
    exact = rows - len(table)
    index = datasketch.MinHashLSH(threshold=0.8, num_perm=128)
    kept = []
    for row, (question, answer) in enumerate(zip(table["question"], table["answer"])):
        units = [u.encode() for u in UNIT.findall((question + " " + answer).lower())]
        windows = [b" ".join(units[i : i + 5]) for i in range(max(len(units) - 4, 1))]
        sketch = datasketch.MinHash(num_perm=128, seed=1)
        sketch.update_batch(windows)
        if not index.query(sketch):
            index.insert(row, sketch)
            kept.append(row)
    seconds = time.perf_counter() - start
    near = len(table) - len(kept)
    print(f"pandas {pd.__version__}, datasketch {datasketch.__version__}, Python {sys.version.split()[0]}")
    print(f"{rows} rows: {len(kept)} kept, {exact} exact and {near} near duplicates, {len(known)} values replaced")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{seconds:.1f} s, {rows / seconds:.0f} rows/s, peak {peak:.2f} GB")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        clean(sys.argv[1])
