"""The titles of samples/verse: what poems are to be about, and which word must stand in them.

    python samples/verse/make.py

Titles are put together here from seasons, places and what one does there. No title stands in both files.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
TIMES = ["春", "秋", "曉", "暮", "夜", "雨後", "雪後", "月下", "九月", "清明"]
PLACES = ["山", "江", "湖", "林", "村", "城", "園", "樓", "溪", "寺", "海", "關"]
DEEDS = ["行", "望", "懷友", "獨坐", "歸", "宿", "送客", "聞鐘"]
ASK = "題：{title}。作五言絕句，詩中有“{word}”字。"


def main():
    titles = [(t + p + d, p) for t in TIMES for p in PLACES for d in DEEDS]
    random.Random(20).shuffle(titles)
    parts = {"practice": (titles[:240], "word"), "exam": (titles[240:304], "form")}
    for name, (rows, answer) in parts.items():
        with (HERE / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            for title, word in rows:
                row = {"question": ASK.format(title=title, word=word), "answer": word if answer == "word" else "5x4"}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


main()
