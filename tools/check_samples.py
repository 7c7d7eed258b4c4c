#!/usr/bin/env python3
"""Check the sample data that ships with the project.

    python3 tools/check_samples.py            every folder below samples/ that has a train.jsonl
    python3 tools/check_samples.py FOLDER...  only these

An exam is worth something only if the answers cannot be found in the training set by wording alone.
For each folder this verifies:

* every line is one JSON object with exactly the expected fields, non-empty, well-formed Unicode (NFC, no control characters);
* train and exam have the same set of categories, at least MIN_EXAM exam items and balanced within BALANCE in each file;
* no two texts are equal after normalising (case, punctuation, spacing) or nearly equal (shared character trigrams);
* no word 5-gram occurs in two rows, neither between train and exam nor within one file;
* answers.jsonl and answers_exam.jsonl, where present, keep the same rules for their questions, and every accepted
  answer of the answer exam is really taught by some reply in answers.jsonl and stands in handbook.md.

The general texts (samples/general/*.txt, documents separated by a line =====) are checked for encoding, empty and repeated
paragraphs and documents. It also prints how much of the exam a naive Bayes over single words gets right: what wording alone gives away.

A text that is mostly Han characters has no spaces between words; there a unit is one character and a shared run counts
from HAN_RUN characters on. Standard library only. Exit code 0 when all holds, 1 otherwise.
"""

import json
import math
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

MIN_EXAM = 8  # exam items per category
BALANCE = 0.30  # a category may differ from the mean size by this share
WORD_RUN = 5
HAN_RUN = 8
NEAR = 0.60  # Jaccard similarity of character trigrams from which two texts count as the same
UNIT = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff]+(?:['\u2019][^\W_]+)*")


def units(text):
    return UNIT.findall(unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'"))


def runs(text):
    """Every sequence of neighbouring units that must not be shared with another row."""
    us = units(text)
    han = sum(1 for u in us if "\u3400" <= u[0] <= "\u9fff")
    n = HAN_RUN if han * 2 > len(us) else WORD_RUN
    return {tuple(us[i : i + n]) for i in range(len(us) - n + 1)}


def trigrams(text):
    s = " ".join(units(text))
    return {s[i : i + 3] for i in range(len(s) - 2)} or {s}


def by_wording(train, exam):
    """Share of the exam that multinomial naive Bayes over sets of units gets right (smoothing 0.1)."""
    sizes, counts = Counter(), {}
    for _, text, category in train:
        sizes[category] += 1
        counts.setdefault(category, Counter()).update(set(units(text)))
    floor = 0.1 * len(set().union(*counts.values()))
    totals = {category: sum(words.values()) + floor for category, words in counts.items()}

    def score(words, category):
        return math.log(sizes[category]) + sum(math.log((counts[category][w] + 0.1) / totals[category]) for w in words)

    right = sum(max(sorted(counts), key=lambda c: score(set(units(text)), c)) == truth for _, text, truth in exam)
    return right / len(exam)


class Folder:
    """One sample folder and what was found wrong in it."""

    def __init__(self, path):
        self.path = path
        self.faults = []

    def fault(self, where, what):
        self.faults.append(f"{self.path.name}/{where}: {what}")

    def rows(self, name, fields):
        """Rows as (place, object); rows that cannot be used are reported and left out."""
        good = []
        try:
            text = (self.path / name).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.fault(name, error)
            return good
        if not text.endswith("\n"):
            self.fault(name, "last line has no newline")
        for number, line in enumerate(text.splitlines(), 1):
            where = f"{name}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                self.fault(where, f"not JSON: {error}")
                continue
            if not isinstance(row, dict) or set(row) != fields:
                self.fault(where, f"fields should be {sorted(fields)}")
                continue
            if unicodedata.normalize("NFC", line) != line or any(unicodedata.category(c) in ("Cc", "Cs", "Co") for c in line):
                self.fault(where, "not NFC, or a control, surrogate or private character")
            good.append((where, row))
        return good

    def labelled(self, name):
        good = []
        for where, row in self.rows(name, {"text", "category"}):
            if all(isinstance(row[key], str) and row[key].strip() == row[key] != "" for key in row):
                good.append((where, row["text"], row["category"]))
            else:
                self.fault(where, "text and category must be trimmed, non-empty strings")
        return good

    def balanced(self, name, counts):
        mean = sum(counts.values()) / max(len(counts), 1)
        for category, count in counts.items():
            if abs(count - mean) > BALANCE * mean:
                self.fault(name, f"{category} has {count} rows, the mean is {mean:.1f}")

    def distinct(self, texts):
        """No two of (place, text) are alike. Returns the most similar pair's similarity."""
        seen_runs, grams, highest = {}, [], 0.0
        for where, text in texts:
            for run in runs(text):
                other = seen_runs.setdefault(run, where)
                if other != where:
                    self.fault(where, f"shares \"{' '.join(run)}\" with {other}")
            mine = trigrams(text)
            for other, theirs in grams:
                similarity = len(mine & theirs) / len(mine | theirs)
                highest = max(highest, similarity)
                if similarity >= NEAR:
                    self.fault(where, f"nearly the same as {other} (similarity {similarity:.2f})")
            grams.append((where, mine))
        return highest

    def check_labels(self):
        train, exam = self.labelled("train.jsonl"), self.labelled("exam.jsonl")
        train_counts, exam_counts = (Counter(c for _, _, c in rows) for rows in (train, exam))
        for category in sorted(set(train_counts) ^ set(exam_counts)):
            self.fault("exam.jsonl", f"category {category} is not in both files")
        for category, count in exam_counts.items():
            if count < MIN_EXAM:
                self.fault("exam.jsonl", f"{category} has {count} rows, {MIN_EXAM} are needed")
        self.balanced("train.jsonl", train_counts)
        self.balanced("exam.jsonl", exam_counts)
        highest = self.distinct([(where, text) for where, text, _ in train + exam])
        print(f"{self.path.name}: {len(train)} train, {len(exam)} exam, {len(train_counts)} categories, highest similarity of two texts {highest:.2f}")
        if train and exam:
            print(f"  naive Bayes over words: {100 * by_wording(train, exam):.1f} % of the exam, chance {100 / len(train_counts):.1f} %")
        for category in sorted(train_counts):
            print(f"  {category:24} {train_counts[category]:4} train {exam_counts[category]:4} exam")

    def check_answers(self):
        questions, replies = [], []
        for where, row in self.rows("answers.jsonl", {"messages"}):
            roles = [m.get("role") for m in row["messages"]]
            if roles not in (["user", "assistant"], ["system", "user", "assistant"]) or not all(m.get("content", "").strip() for m in row["messages"]):
                self.fault(where, "wants [system,] user, assistant, each with content")
                continue
            questions.append((where, row["messages"][-2]["content"]))
            replies.append(row["messages"][-1]["content"].casefold())
        handbook = (self.path / "handbook.md").read_text(encoding="utf-8").casefold()
        exam = self.rows("answers_exam.jsonl", {"question", "answer"})
        for where, row in exam:
            accepted = row["answer"]
            if not (isinstance(accepted, list) and accepted and all(isinstance(a, str) and a.strip() for a in accepted)):
                self.fault(where, "answer must be a list of strings")
                continue
            questions.append((where, row["question"]))
            for place, texts in (("answers.jsonl", replies), ("handbook.md", [handbook])):
                if not any(accepted[0].casefold() in text for text in texts):
                    self.fault(where, f"\"{accepted[0]}\" is nowhere in {place}")
        highest = self.distinct(questions)
        print(f"  {len(replies)} answers, {len(exam)} answer exam, highest similarity of two questions {highest:.2f}")


def check_text(path):
    """Faults of one general text."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    faults = []
    if "\ufffd" in text or "\r" in text or unicodedata.normalize("NFC", text) != text:
        faults.append(f"{path.name}: wants UTF-8, NFC, and plain newlines")
    documents = text.rstrip("\n").split("\n=====\n")
    faults += [f"{path.name}: document {i} is empty" for i, d in enumerate(documents, 1) if not d.strip()]
    paragraphs = Counter(p.strip() for d in documents for p in d.split("\n\n"))
    faults += [f"{path.name}: repeated {n} times: {p[:40]!r}" for p, n in paragraphs.items() if n > 1]
    print(f"general/{path.name}: {len(documents)} documents, {len(paragraphs)} paragraphs, {len(units(text))} words or characters")
    return faults


def main(arguments):
    samples = Path(__file__).resolve().parent.parent / "samples"
    paths = [Path(a).resolve() for a in arguments] or sorted(p.parent for p in samples.glob("*/train.jsonl"))
    if not paths:
        print(f"nothing to check below {samples}")
        return 1
    faults = []
    for path in paths:
        folder = Folder(path)
        folder.check_labels()
        if (path / "answers.jsonl").exists():
            folder.check_answers()
        faults += folder.faults
    if not arguments:
        for path in sorted((samples / "general").glob("*.txt")):
            faults += check_text(path)
    for fault in faults:
        print(f"fault: {fault}")
    print(f"{len(faults)} faults" if faults else "all holds")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
