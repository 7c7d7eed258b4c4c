"""What an exam of pinyin -> words can reach at best, and what counting alone reaches: yardsticks for recipes/pinyin.toml.

    python bench/pinyin.py cedict.tsv runs/NAME/eval/words.tuned.jsonl [more.jsonl ...]
    python bench/pinyin.py --learnt cedict.tsv runs/NAME/eval/words.tuned.jsonl     # the rows that are learnt, as text

The first exam file says which readings were held out (its `question`s); every other row of the dictionary is taken as learnt.
Answers of an encoder-decoder stand in `greedy` and `beams`, those of a decoder in `answer`. Two ways to count:

- by reading: each reading once, right where the answer is any word that has it (the most that can be had is 100 %);
- by row: each row of the dictionary is an item, right where the answer is the word of that very row. An answer for each reading
  is all there is, so at most one row of each reading is right: the homophones' cap.

The yardstick is a table of counts: for each syllable its characters, and pairs of neighbours, searched by Viterbi.
"""

import json
import math
import random
import sys
from collections import Counter, defaultdict


def key(reading):
    return " ".join(reading.split()).lower()


def wilson(k, n, z=1.959964):
    p, d = k / n, 1 + z * z / n
    mid, half = (p + z * z / (2 * n)) / d, z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return f"{k} of {n}: {100 * p:.1f} % [{100 * (mid - half):.1f}, {100 * (mid + half):.1f}]"


class Counts:
    """Characters of a syllable, after the character before: counts, interpolated."""

    def __init__(self, rows):
        self.by_syllable, self.after = defaultdict(Counter), defaultdict(Counter)
        for word, reading in rows:
            syllables = reading.split()
            if len(syllables) != len(word):
                continue
            before = "^"
            for c, s in zip(word, syllables):
                self.by_syllable[s][c] += 1
                self.after[before, s][c] += 1
                before = c

    def word(self, reading, neighbours=True):
        best = {"^": (0.0, "")}
        for s in reading.split():
            chars = self.by_syllable.get(s)
            if not chars:
                return ""
            total, found = sum(chars.values()), {}
            for before, (score, text) in best.items():
                seen = self.after.get((before, s)) or {}
                near = sum(seen.values()) if neighbours else 0
                for c, n in chars.items():
                    # the more often the neighbour was seen, the more its counts weigh
                    p = (n / total * 4 + (seen.get(c, 0) if neighbours else 0)) / (4 + near)
                    if c not in found or found[c][0] < score + math.log(p):
                        found[c] = (score + math.log(p), text + c)
            best = found
        return max(best.values())[1]


def main():
    learnt_only = sys.argv[1] == "--learnt"
    if learnt_only:
        del sys.argv[1]
    rows = [line.rstrip("\n").split("\t")[:2] for line in open(sys.argv[1], encoding="utf-8")]
    rows = list(dict.fromkeys((word, key(reading)) for word, reading in rows))
    exams = [(path, [json.loads(line) for line in open(path, encoding="utf-8")]) for path in sys.argv[2:]]
    asked = {key(item["question"]) for item in exams[0][1]}
    words = defaultdict(set)
    for word, reading in rows:
        if reading in asked:
            words[reading].add(word)
    learnt = [row for row in rows if row[1] not in asked]
    if learnt_only:
        print("\n".join(f"{reading}\n{word}" for word, reading in learnt))
        return
    spelled = {c for word, _ in learnt for c in word}
    counted = sum(len(w) for w in words.values())
    print(f"{len(learnt)} rows learnt, {counted} held out, with {len(words)} readings")
    print("by row, one answer for each reading, at most:", wilson(len(words), counted))
    reachable = sum(any(set(w) <= spelled for w in all) for all in words.values())
    print("readings with a word all of whose characters were learnt:", wilson(reachable, len(words)))

    def marks(name, answers):
        right = sum(answers.get(r, "") in words[r] for r in words)
        print(f"{name}\n   by reading {wilson(right, len(words))}\n   by row     {wilson(right, counted)}")
        for size in (1, 2, 3, 4):
            of = [r for r in words if len(r.split()) == size]
            if of:
                print(f"     {size} syllables: {wilson(sum(answers.get(r, '') in words[r] for r in of), len(of))}")
        return {r: answers.get(r, "") in words[r] for r in words}

    table, all_marks = Counts(learnt), []
    for name, neighbours in (("counts, each syllable alone", False), ("counts, with the neighbour", True)):
        all_marks.append((name, marks(name, {r: table.word(r, neighbours) for r in words})))
    for path, items in exams:
        kinds = [("greedy", "greedy"), ("beams", "beams")] if "beams" in items[0] else [("", "answer")]
        for label, field in kinds:
            said = {}
            for item in items:
                value = item[field]
                said.setdefault(key(item["question"]), (value[0][0] if field == "beams" else value).strip())
            all_marks.append((f"{path} {label}", marks(f"{path} {label}", said)))
    rng, readings = random.Random(1), list(words)
    last = all_marks[1:]
    for i, (a, x) in enumerate(last):
        for b, y in last[i + 1 :]:
            gaps = [x[r] - y[r] for r in readings]
            n = len(gaps)
            means = sorted(sum(rng.choices(gaps, k=n)) / n for _ in range(1000))
            print(f"{a} less {b}: {100 * sum(gaps) / n:+.1f} points [{100 * means[25]:+.1f}, {100 * means[974]:+.1f}]")


if __name__ == "__main__":
    main()
