#!/usr/bin/env python3
"""Check the Chinese samples, and write the GB18030 copy of the training rows.

    python3 tools/check_samples_zh.py                   check everything; exit status 1 on any fault
    python3 tools/check_samples_zh.py --write-gb18030   write train.gb18030.csv from train.jsonl, then check
    python3 tools/check_samples_zh.py --baseline        also print how far letters alone lead (naive Bayes)

Needs Python 3.10 or later and nothing else. What is promised, and therefore checked:

* every line is a JSON object with exactly the fields its file should have;
* training and exam have the same categories, balanced within BALANCE of their mean;
* no text stands twice, and no two texts are near duplicates (in a file or across the two);
* no exam text shares OVERLAP characters in a row with a training text, once punctuation and spaces
  are removed and each name in NAMES is folded into one character;
* the GB18030 file holds exactly the training rows and is not valid UTF-8;
* the first accepted answer of an exam question, and every figure of a training answer, is in the handbook;
* the general text is long enough, in documents that are not empty and not repeated.
"""

import argparse
import collections
import csv
import io
import itertools
import json
import math
import pathlib
import re
import sys
import unicodedata

SAMPLES = pathlib.Path(__file__).resolve().parent.parent / "samples"
DESK = SAMPLES / "qinghe-desk"

OVERLAP = 7  # characters in a row that an exam text may not share with a training text
NEAR = 0.6  # Jaccard similarity of character pairs from which two texts are near duplicates
BALANCE = 0.3  # a category's count may differ from the mean by this fraction
MIN_TRAIN, MIN_EXAM_EACH = 380, 8
MIN_ANSWERS, MIN_ANSWERS_EXAM = 50, 25
GENERAL_CHARS = (8_000, 10_500)  # without white space and document separators

# Names both sets may share. Longer names first: each is folded into one character before comparing.
NAMES = [
    "芯享订阅", "年度装", "两年装", "清禾", "禾水", "芯享",
    "RO-2L", "RO-2", "PC-1", "AC-3", "TC-1", "TDS", "App",
    "T1", "Q3", "Q5", "E1", "E3", "E6",
]  # fmt: skip

faults = []


def fault(where, what):
    faults.append(f"{where}: {what}")


def read_jsonl(path, fields):
    """Rows of a JSON-lines file; a line that breaks the rule is a fault and is left out."""
    rows = []
    for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n")[:-1], 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            fault(f"{path.name}:{number}", f"not JSON ({error})")
            continue
        if not isinstance(row, dict) or set(row) != set(fields):
            fault(f"{path.name}:{number}", f"fields must be {sorted(fields)}")
            continue
        rows.append(row)
    return rows


def normal(text):
    """Letters and digits only, names folded into one private-use character each."""
    for index, name in enumerate(NAMES):
        text = text.replace(name, chr(0xE000 + index))
    keep = (c for c in text.lower() if c.isalnum() or unicodedata.category(c) == "Co")
    return "".join(keep)


def grams(text, length):
    return {text[i : i + length] for i in range(len(text) - length + 1)}


def similar(a, b):
    a, b = grams(normal(a), 2), grams(normal(b), 2)
    return len(a & b) / max(1, len(a | b))


def check_no_overlap(train, exam, train_name, exam_name):
    seen = collections.defaultdict(list)
    for index, text in enumerate(train):
        for gram in grams(normal(text), OVERLAP):
            seen[gram].append(index)
    for text in exam:
        for gram in sorted(grams(normal(text), OVERLAP)):
            for index in seen.get(gram, ()):
                fault(exam_name, f"「{text}」 shares 「{gram}」 with {train_name} 「{train[index]}」")


def check_no_near_duplicates(texts):
    """texts: (file, text) pairs of both sets together."""
    for (file_a, a), (file_b, b) in itertools.combinations(texts, 2):
        if normal(a) == normal(b):
            fault(file_a, f"「{a}」 stands again in {file_b}")
        elif similar(a, b) >= NEAR:
            fault(file_a, f"「{a}」 is a near duplicate of 「{b}」 in {file_b}")


def check_labels():
    fields = ("text", "category")
    sets = {name: read_jsonl(DESK / name, fields) for name in ("train.jsonl", "exam.jsonl")}
    counts = {}
    for name, rows in sets.items():
        for row in rows:
            if not all(isinstance(row[f], str) and row[f] == row[f].strip() != "" for f in fields):
                fault(name, f"empty or untrimmed field in {row}")
        counts[name] = collections.Counter(row["category"] for row in rows)
        mean = len(rows) / max(1, len(counts[name]))
        for category, count in counts[name].items():
            if abs(count - mean) > BALANCE * mean:
                fault(name, f"{category} has {count} rows, the mean is {mean:.1f}")
    train, exam = sets["train.jsonl"], sets["exam.jsonl"]
    if set(counts["train.jsonl"]) != set(counts["exam.jsonl"]):
        fault("exam.jsonl", "categories differ from those of train.jsonl")
    if len(train) < MIN_TRAIN:
        fault("train.jsonl", f"{len(train)} rows, at least {MIN_TRAIN} are promised")
    for category, count in counts["exam.jsonl"].items():
        if count < MIN_EXAM_EACH:
            fault("exam.jsonl", f"{category} has only {count} rows")
    texts = {name: [row["text"] for row in rows] for name, rows in sets.items()}
    check_no_overlap(texts["train.jsonl"], texts["exam.jsonl"], "train.jsonl", "exam.jsonl")
    check_no_near_duplicates([(name, text) for name in texts for text in texts[name]])
    for name in sets:
        lengths = sorted(map(len, texts[name]))
        middle = lengths[len(lengths) // 2]
        print(f"{name}: {len(lengths)} rows, {len(counts[name])} categories of "
              f"{min(counts[name].values())}–{max(counts[name].values())}, "
              f"{lengths[0]}–{lengths[-1]} characters, median {middle}")  # fmt: skip
    return train, exam


def gb18030_bytes(train):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["text", "category"])
    writer.writerows([row["text"], row["category"]] for row in train)
    return out.getvalue().encode("gb18030")


def check_gb18030(train):
    path = DESK / "train.gb18030.csv"
    data = path.read_bytes()
    if data != gb18030_bytes(train):
        fault(path.name, "does not hold the rows of train.jsonl; write it again with --write-gb18030")
    try:
        data.decode("utf-8")
        fault(path.name, "is valid UTF-8, so it shows nothing about GB18030")
    except UnicodeDecodeError:
        pass
    wide = sum(len(c.encode("gb18030")) == 4 for c in data.decode("gb18030"))
    if wide == 0:
        fault(path.name, "has no four-byte character")
    print(f"{path.name}: {len(data)} bytes, {wide} four-byte characters")


def check_answers():
    handbook = re.sub(r"\s", "", (DESK / "handbook.md").read_text("utf-8"))
    train = read_jsonl(DESK / "answers.jsonl", ("messages",))
    exam = read_jsonl(DESK / "answers_exam.jsonl", ("question", "answer"))
    questions = []
    for row in train:
        if [m.get("role") for m in row["messages"]] != ["user", "assistant"]:
            fault("answers.jsonl", f"roles must be user, assistant: {row}")
            continue
        question, answer = (m["content"] for m in row["messages"])
        questions.append(question)
        for figure in re.findall(r"[0-9][0-9.:\-]*[0-9]|[0-9]", answer):
            if not re.search(rf"(?<![0-9.]){re.escape(figure)}(?![0-9.])", handbook):
                fault("answers.jsonl", f"「{figure}」 of 「{answer}」 is not in the handbook")
    for row in exam:
        accepted = row["answer"]
        if not accepted or not all(isinstance(a, str) and a.strip() for a in accepted):
            fault("answers_exam.jsonl", f"「{row['question']}」 needs accepted answers")
        elif re.sub(r"\s", "", accepted[0]) not in handbook:
            fault("answers_exam.jsonl", f"「{accepted[0]}」 is not in the handbook")
    asked = [row["question"] for row in exam]
    check_no_overlap(questions, asked, "answers.jsonl", "answers_exam.jsonl")
    both = [("answers.jsonl", q) for q in questions] + [("answers_exam.jsonl", q) for q in asked]
    check_no_near_duplicates(both)
    if len(train) < MIN_ANSWERS or len(exam) < MIN_ANSWERS_EXAM:
        fault("answers", f"{len(train)} and {len(exam)} rows are too few")
    print(f"answers.jsonl: {len(train)} rows; answers_exam.jsonl: {len(exam)} rows")


def check_general():
    path = SAMPLES / "general" / "zh.txt"
    documents = [d.strip() for d in path.read_text("utf-8").split("\n=====\n")]
    if not all(documents) or len(set(documents)) != len(documents):
        fault(path.name, "an empty or repeated document")
    if any("=====" in d for d in documents):
        fault(path.name, "a separator that does not stand on a line of its own")
    size = sum(len(re.sub(r"\s", "", d)) for d in documents)
    low, high = GENERAL_CHARS
    if not low <= size <= high:
        fault(path.name, f"{size} characters, {low} to {high} are promised")
    print(f"general/zh.txt: {len(documents)} documents, {size} characters without white space")


def baseline(train, exam):
    """Naive Bayes over single characters and pairs, add-one smoothing: no understanding, only letters."""
    counts, vocabulary = collections.defaultdict(collections.Counter), set()
    features = lambda text: list(normal(text)) + [*map("".join, zip(normal(text), normal(text)[1:]))]
    for row in train:
        counts[row["category"]].update(features(row["text"]))
        vocabulary.update(features(row["text"]))
    right = 0
    for row in exam:
        known = [f for f in features(row["text"]) if f in vocabulary]
        score = lambda c: sum(
            math.log((counts[c][f] + 1) / (counts[c].total() + len(vocabulary))) for f in known
        )
        right += max(sorted(counts), key=score) == row["category"]
    print(f"baseline: naive Bayes on letters gets {right} of {len(exam)} ({right / len(exam):.1%})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write-gb18030", action="store_true", help="write train.gb18030.csv first")
    parser.add_argument("--baseline", action="store_true", help="print a letters-only baseline")
    options = parser.parse_args()
    train, exam = check_labels()
    if options.write_gb18030:
        (DESK / "train.gb18030.csv").write_bytes(gb18030_bytes(train))
    check_gb18030(train)
    check_answers()
    check_general()
    if options.baseline:
        baseline(train, exam)
    for line in faults:
        print("FAULT", line, file=sys.stderr)
    print("faults:", len(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
