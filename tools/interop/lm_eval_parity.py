"""Exams of `nurture eval` against lm-evaluation-harness on the same model and items: choice and perplexity.

    pip install "lm_eval[api]" torch transformers
    nurture export smollm2-135m-instruct hf-folder --to hf        # for its tokenizer; lm-eval counts tokens itself
    nurture serve --model smollm2-135m-instruct --name base --exact --port 8080
    python tools/interop/lm_eval_parity.py http://127.0.0.1:8080 base hf-folder --nurture target/release/nurture

lm-eval asks through `/v1/completions` (`echo`, `logprobs`). Choice: accuracy by likelihood and by likelihood a character
(`acc`, `acc_norm`), questions as plain text. Perplexity: bits per byte of documents shorter than a window; lm-eval also scores
a document's first token after an end token, so here the harness' own sum without that token stands beside ours. Exits
with 1 where a choice differs by more than 0.1 point, the bits per byte by more than 0.1 %, or the log-likelihood of an answer by
more than 0.001.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

ROOT = Path(__file__).resolve().parents[2]


def choices():
    """Items made from the answers of a sample: which of four answers belongs to the question?"""
    rows = [json.loads(l) for l in (ROOT / "samples/lumen-desk/answers_exam.jsonl").read_text().splitlines()]
    pairs = []
    for row in rows:
        turns = row.get("messages")
        q, a = (turns[-2]["content"], turns[-1]["content"]) if turns else (row["question"], row["answer"])
        pairs.append((q.strip(), (a[0] if isinstance(a, list) else a).strip()))
    items = []
    for i, (question, answer) in enumerate(pairs):
        others = []
        for k in range(1, len(pairs)):
            other = pairs[(i + 7 * k) % len(pairs)][1]
            if other != answer and other not in others:
                others.append(other)
            if len(others) == 3:
                break
        options = others[: i % 4] + [answer] + others[i % 4 :]
        items.append({"question": f"Question: {question}\nAnswer:", "options": options, "answer": i % 4})
    return items


def documents():
    text = (ROOT / "samples/general/en.txt").read_text()
    parts = [p.strip() for p in text.split("\n=====\n")]
    return [p for p in parts if 80 < len(p) < 600][:12]


def harness(args, items, texts):
    lm = LocalCompletionsAPI(base_url=args.url + "/v1/completions", model=args.model, tokenizer=args.tokenizer,
                             tokenizer_backend="huggingface", tokenized_requests=False, num_concurrent=1, max_length=2048)
    ask = lambda kind, rows: [Instance(request_type=kind, doc={}, arguments=r, idx=i) for i, r in enumerate(rows)]
    flat = [(i["question"], " " + o) for i in items for o in i["options"]]
    got = [ll for ll, _ in lm.loglikelihood(ask("loglikelihood", flat))]
    acc = norm = at = 0
    for item in items:
        lls = got[at : at + len(item["options"])]
        at += len(item["options"])
        best = lambda v: max(range(len(v)), key=v.__getitem__)
        acc += best(lls) == item["answer"]
        norm += best([l / len(o) for l, o in zip(lls, item["options"])]) == item["answer"]
    # the first token is context, as in a text read by `nurture eval`
    heads = []
    for t in texts:
        first = lm.tok_encode(t)[:1]
        heads.append(lm.tokenizer.decode(first))
    parts = [(h, t[len(h):]) for h, t in zip(heads, texts)]
    lls = [ll for ll, _ in lm.loglikelihood(ask("loglikelihood", parts))]
    bits = -sum(lls) / math.log(2) / sum(len(rest.encode()) for _, rest in parts)
    return {"acc": acc / len(items), "acc_norm": norm / len(items), "bits_per_byte": bits}, got


def ours(args, items, texts):
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        (home / "choice.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items))
        (home / "text.txt").write_text("\n=====\n".join(texts))
        (home / "train.jsonl").write_text(json.dumps({"question": "What is a lamp?", "answer": "A light."}) + "\n")
        exam = lambda name, pick: (f'{{ path = "choice.jsonl", name = "{name}", kind = "choice", options_as = "texts", ask = "plain", '
                                   f'pick = "{pick}", user = "question", options = ["options"], answer = "answer", items = {len(items)} }}')
        (home / "parity.toml").write_text(f"""
[model]
base = "{args.base}"
[data]
train = ["train.jsonl"]
[train]
epochs = 1
adapter = {{ kind = "lora", rank = 1 }}
[eval]
gate = "nothing"
breadth = ["text.txt"]
depth = [{exam("acc", "likelihood")}, {exam("acc_norm", "per_char")}]
""")
        subprocess.run([args.nurture, "run", "parity.toml"], cwd=home, check=True, stdout=subprocess.DEVNULL)
        read = lambda name: json.loads((home / "runs/parity/eval" / name).read_text())
        lines = (home / "runs/parity/eval/acc.base.jsonl").read_text().splitlines()
        return {"acc": read("acc.base.json")["accuracy"], "acc_norm": read("acc_norm.base.json")["accuracy"],
                "bits_per_byte": read("text.base.json")["bits_per_byte"]}, [json.loads(l) for l in lines]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("tokenizer")
    parser.add_argument("--nurture", default="nurture")
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--items", type=int, default=40)
    args = parser.parse_args()
    items, texts = choices()[: args.items], documents()
    (theirs, given), (own, answers) = harness(args, items, texts), ours(args, items, texts)
    print(f"lm_eval {lm_eval.__version__}, {len(items)} items, {len(texts)} documents")
    bad = False
    for key in theirs:
        a, b = theirs[key], own[key]
        off = abs(a - b) > 0.001 if key != "bits_per_byte" else abs(a / b - 1) > 0.001
        bad |= off
        print(f"{key:14} lm-eval {a:.5f}   nurture {b:.5f}{'   DIFFERS' if off else ''}")
    # of each item the answer that `nurture eval` took, with its log-likelihood, against the harness' figure for that answer
    apart = [abs(given[4 * i + item["options"].index(a["answer"])] - a["logprob"]) for i, (item, a) in enumerate(zip(items, answers))]
    print(f"log-likelihoods of {len(apart)} answers: at most {max(apart):.2e} apart")
    bad |= len(apart) != len(items) or max(apart) > 1e-3
    sys.exit(bad)


if __name__ == "__main__":
    main()
