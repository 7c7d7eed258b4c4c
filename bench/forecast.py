"""Forecast against outcome: memory and time of training, over recipes of different kinds.

    python3 bench/forecast.py [--binary target/release/nurture] [--repeat 3] [--only NAME,...] [--steps 8]

Needs the models `smollm2-135m-instruct` and `gemma-3-270m` in the store (NURTURE_HOME; `nurture pull` brings them), and
nothing beside Python's own library. Prints one row a recipe: medians over the repetitions, and the worst time.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent.parent
SAMPLES = HERE / "samples"
LORA = 'adapter = { rank = 16 }\nkeep = { share = 0.0 }\n'
SMOL, GEMMA = "smollm2-135m-instruct", "gemma-3-270m"
SYSTEM = 'system = "Sort the letter into one of these categories: {labels}. Answer with the category alone."\n'

# name, base, rows, batch, keys of [data], keys of [train]
RECIPES = [
    ("lora-short", SMOL, "letters", 16, "", LORA),
    ("lora-long", SMOL, "pages", 4, "", LORA),
    ("lora-long-micro-2048", SMOL, "pages", 4, "", LORA + "micro_tokens = 2048\n"),
    ("lora-micro-256", SMOL, "letters", 16, "", LORA + "micro_tokens = 256\n"),
    ("labels-shared", SMOL, "letters", 16, SYSTEM, LORA),
    ("keep", SMOL, "letters", 16, "", "adapter = { rank = 16 }\n"),
    ("keep-large", SMOL, "letters", 4, "", "adapter = { rank = 16 }\nkeep = { share = 4.0 }\n"),
    ("rank-2-qv", SMOL, "letters", 16, "",
     'adapter = { rank = 2, targets = ["q_proj", "v_proj"] }\nkeep = { share = 0.0 }\n'),
    ("dora", SMOL, "letters", 16, "", "adapter = { rank = 8, dora = true }\nkeep = { share = 0.0 }\n"),
    ("rank-64-8bit-ema", SMOL, "letters", 16, "",
     'adapter = { rank = 64 }\noptimiser = "adamw8bit"\nema = 0.9\nkeep = { share = 0.0 }\n'),
    ("lora-recompute", SMOL, "pages", 4, "", LORA + "recompute = true\nmicro_tokens = 2048\n"),
    ("full", SMOL, "letters", 16, "", "keep = { share = 0.0 }\n"),
    ("full-8bit-recompute", SMOL, "pages", 4, "",
     'optimiser = "adamw8bit"\nrecompute = true\nkeep = { share = 0.0 }\n'),
    ("dpo", SMOL, "pairs", 8, "", LORA + 'method = "dpo"\n'),
    ("orpo", SMOL, "pairs", 8, "", LORA + 'method = "orpo"\n'),
    ("reward", SMOL, "pairs", 8, "", LORA + 'method = "reward"\n'),
    # marks that differ from answer to answer: where all of a group are alike, nothing is learnt from it, and less time goes by
    ("grpo", SMOL, "orders", 8, "",
     LORA + 'method = "grpo"\nrewards = [{ kind = "length", max = 10, fall = 300 }]\n'
     'practice = { loss = "dr_grpo", samples = 8, max_tokens = 32 }\n'),
    ("ppo", SMOL, "orders", 8, "",
     LORA + 'method = "grpo"\nrewards = [{ kind = "length", max = 10, fall = 300 }]\npractice = { loss = "ppo", samples = 4, max_tokens = 32 }\n'),
    ("gemma-zh", GEMMA, "letters-zh", 8, "", LORA),
    ("gemma-zh-keep", GEMMA, "letters-zh", 8, "", "adapter = { rank = 8 }\n"),
]

FILES = {
    "letters": "lumen-desk/train.jsonl", "letters-zh": "qinghe-desk/train.jsonl",
    "pairs": "lumen-desk/preference.jsonl", "orders": "orders/practice.jsonl",
}


def rows(kind, folder):
    """Path and number of rows of a data file."""
    if kind == "pages":
        text = (SAMPLES / "keep/en.txt").read_text() + (SAMPLES / "general/en.txt").read_text()
        pages = [{"text": text[at : at + 3000]} for at in range(0, len(text), 3000)]
        path = folder / "pages.jsonl"
        path.write_text("".join(json.dumps(p) + "\n" for p in pages))
    else:
        path = SAMPLES / FILES[kind]
    return path, sum(1 for line in path.read_text().splitlines() if line.strip())


def one(binary, recipe, steps, run):
    name, base, kind, batch, data, train = recipe
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        path, count = rows(kind, folder)
        book = f'{{ path = "{path}", kind = "question_answer" }}' if kind == "orders" else f'"{path}"'
        text = f'[model]\nbase = "{base}"\n[data]\ntrain = [{book}]\n{data}[train]\n{train}'
        text += f"batch = {batch}\nepochs = {steps * batch / count}\n[eval]\nbreadth = []\n"
        (folder / "r.toml").write_text(text)
        done = subprocess.run([binary, "train", "r.toml"], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{name}: {done.stderr}")
        read = lambda file: json.loads((folder / "runs/r" / file).read_text())
        return read("forecast.json"), read("outcome.json")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--binary", default=str(HERE / "target/release/nurture"))
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--steps", type=int, default=8)
    p.add_argument("--only", default="")
    p.add_argument("--table", action="store_true", help="print the memory table too")
    a = p.parse_args()
    a.binary = str(pathlib.Path(a.binary).resolve())
    only = [n for n in a.only.split(",") if n]
    print("| recipe | memory forecast | peak | off | time forecast | came | off | worst |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for recipe in RECIPES:
        if only and recipe[0] not in only:
            continue
        results = [one(a.binary, recipe, a.steps, n) for n in range(a.repeat)]
        memory = [(f["memory_bytes"] / 1e9, o["peak_rss"] / 1e9) for f, o in results]
        times = [(f["seconds"], o["seconds"]) for f, o in results]
        off = lambda pairs: [100 * (f / o - 1) for f, o in pairs]
        m, t = statistics.median, [*zip(*times)]
        g = [*zip(*memory)]
        print(
            f"| {recipe[0]} | {m(g[0]):.3f} GB | {m(g[1]):.3f} | {m(off(memory)):+.1f} % "
            f"| {m(t[0]):.1f} s | {m(t[1]):.1f} | {m(off(times)):+.0f} % | {max(off(times), key=abs):+.0f} % |",
            flush=True,
        )
        if a.table:
            for row in results[0][0]["memory"]:
                print(f"    {row['bytes'] / 1e6:9.1f} MB {row['name']}")


main()
