"""Articles of Chinese laws as a labelled exam: which law is this article from?

    python3 docs/examples/articles.py FOLDER OUT

FOLDER holds one Markdown file a law (or a book of a code), each article a paragraph that begins with its number. OUT gets
train.jsonl and exam.jsonl with `text` and `law`. The number of the article is left out and the text cut at 80 characters.
Every fifth article by its hash is an exam item, at most 20 of a law. Amendments, and laws with fewer than 30 articles, are left out.
"""

import hashlib
import json
import pathlib
import re
import sys

folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
article = re.compile(r"^第[一二三四五六七八九十百千零〇]+条(?:之[一二三四五六七八九十]+)?[\s　]+(.+)$")
newest = {}  # of several versions of a law the last one
for path in sorted(folder.glob("*.md")):
    if path.name == "README.md" or "修正案" in path.name:
        continue
    name = path.stem.split("__")[-1]
    newest[re.sub(r"\(.*\)$", "", name)] = path
rows = {"train": [], "exam": []}
for law, path in newest.items():
    texts = [m[1][:80] for line in path.read_text("utf-8").splitlines() if (m := article.match(line.strip()))]
    texts = [t for t in dict.fromkeys(texts) if len(t) >= 12]
    if len(texts) < 30:
        continue
    examined = 0
    for text in texts:
        held = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 == 0
        examined += held
        if not held or examined <= 20:
            rows["exam" if held else "train"].append({"text": text, "law": law})
for name, part in rows.items():
    with open(out / f"{name}.jsonl", "w", encoding="utf-8") as file:
        for row in part:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{name}: {len(part)} articles of {len({r['law'] for r in part})} laws")
