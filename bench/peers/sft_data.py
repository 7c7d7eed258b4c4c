"""Conversations for the comparison of supervised fine-tuning on real data, as JSON lines of messages.

    python bench/peers/sft_data.py banking77 BANKING77_FOLDER OUT.jsonl [--count 64]
    python bench/peers/sft_data.py alpaca ALPACA.jsonl OUT.jsonl [--count 64]

banking77: `train.csv` (text, category) and `categories.json`; the list of all 77 labels stands in the system prompt, the
answer is the label in words. alpaca: rows with `instruction`, `input`, `output`. The rows are drawn with a fixed seed.
"""

import argparse
import csv
import json
import pathlib
import random


def turns(system, user, assistant):
    head = [{"role": "system", "content": system}] if system else []
    return {"messages": [*head, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def banking77(folder):
    words = lambda label: label.replace("_", " ")
    labels = sorted(words(label) for label in json.loads((folder / "categories.json").read_text()))
    system = "Name the intent of the customer's message. It is one of: " + ", ".join(labels) + "."
    with open(folder / "train.csv", newline="") as file:
        return [turns(system, row["text"], words(row["category"])) for row in csv.DictReader(file)]


def alpaca(path):
    rows = map(json.loads, path.read_text().splitlines())
    return [turns(None, "\n\n".join(filter(None, [row["instruction"], row["input"]])), row["output"]) for row in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["banking77", "alpaca"])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=64)
    options = parser.parse_args()
    rows = {"banking77": banking77, "alpaca": alpaca}[options.kind](options.source)
    random.Random(1).shuffle(rows)
    options.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:options.count]))


if __name__ == "__main__":
    main()
