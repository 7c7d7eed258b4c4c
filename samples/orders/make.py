"""The orders of samples/orders: a sentence, and the schema that its JSON form must follow.

    python samples/orders/make.py

Names, goods and sentences are made up here. No pair of name and goods stands in both files. What is to be done with an order the
recipe's system text says, with two examples: recipes/orders.toml.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
NAMES = [
    "Anna Lindqvist", "Omar Haddad", "Mei Tanaka", "Joao Pereira", "Ruth Okafor", "Pavel Novak", "Ines Duarte", "Liu Yang",
    "Sara Holm", "Dev Anand", "Nora Keller", "Tomas Vega", "Aisha Bello", "Erik Sand", "Lea Marchand", "Kofi Mensah",
]
GOODS = [
    "green tea", "printer paper", "blue ink", "desk lamps", "coffee filters", "wool socks", "garden seeds", "candles",
    "notebooks", "olive oil", "batteries", "bath towels", "envelopes", "honey jars", "light bulbs", "chalk sticks",
]
SENTENCES = [
    "{name} would like {n} {goods}.",
    "Please send {n} {goods} to {name}.",
    "{n} {goods} for {name}, as last month.",
    "Order from {name}: {goods}, {n} of them.",
]


def row(rng, name, goods):
    n = rng.randint(2, 40)
    schema = {
        "type": "object",
        "properties": {"name": {"const": name}, "goods": {"const": goods}, "quantity": {"const": n}},
        "required": ["name", "goods", "quantity"],
        "additionalProperties": False,
    }
    text = rng.choice(SENTENCES).format(name=name, goods=goods, n=n)
    return {"question": f"Order: {text}\nJSON:", "answer": json.dumps(schema, separators=(",", ":"))}


def main():
    rng = random.Random(7)
    pairs = [(name, goods) for name in NAMES for goods in GOODS]
    rng.shuffle(pairs)
    for name, own in [("practice.jsonl", pairs[:156]), ("exam.jsonl", pairs[156:])]:
        lines = [json.dumps(row(rng, *pair)) for pair in own]
        (HERE / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
