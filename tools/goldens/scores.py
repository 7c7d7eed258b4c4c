"""Scores by the field's reference packages, for crates/eval/tests/goldens.rs.

    pip install sacrebleu==2.6.0 rouge-score==0.1.2 jsonschema==4.26.0 jieba==0.42.1
    python tools/goldens/scores.py [--out crates/eval/tests/goldens/scores.json]

The texts are our own; answers are made from references by dropping, doubling and swapping words, with a fixed seed.
Chinese ROUGE is rouge-score with characters as words, or with jieba's.
"""

import argparse
import json
import random
from importlib.metadata import version
from pathlib import Path

import jieba
from jsonschema import Draft202012Validator
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

ROOT = Path(__file__).resolve().parents[2]

ENGLISH = [
    "The lamp is switched off by holding the button for 3 seconds.",
    "Orders above $1,250.50 are delivered free of charge, within 2-3 working days.",
    "\"Don't panic,\" she said; the well-known guide (second edition) agrees.",
    "Return the item within 45 days & keep the receipt: e-mail us at help@example.org.",
    "A cafe, a naive facade and 12% of the rest.",
    "Rust's ownership rules are checked at compile time, not at run time.",
    "It rained, and rained, and rained again until the river rose 1.5 metres.",
    "No.",
]
CHINESE = [
    "长按按钮三秒即可关闭台灯。",
    "订单满1,250.50元免运费，2-3个工作日内送达。",
    "她说：“别慌”，那本有名的指南（第二版）也这么说。",
    "请在45天内退货，并保留收据：发邮件到help@example.org。",
    "劳动合同期限三个月以上不满一年的，试用期不得超过一个月。",
    "下雨了，又下雨了，河水涨了1.5米。",
    "不行。",
]
SCHEMAS = [
    ({"type": "object", "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
      "required": ["name"], "additionalProperties": False},
     [{"name": "Li", "age": 3}, {"name": ""}, {"age": 3}, {"name": "Li", "age": 3.0}, {"name": "Li", "age": 3.5}, {"name": "Li", "x": 1}, "Li", None]),
    ({"type": "array", "items": {"enum": ["red", "green", 1, None]}, "minItems": 1, "maxItems": 3, "uniqueItems": True},
     [["red"], [], ["red", "red"], [1, 1.0], [1.0], [None, "green", 1], ["blue"], [True], ["red", "green", 1, None]]),
    ({"anyOf": [{"type": "string", "pattern": "^[a-z]+$"}, {"type": "number", "multipleOf": 0.5, "exclusiveMaximum": 10}]},
     ["abc", "ABC", 9.5, 10, 9.7, -0.5, True, []]),
    ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, [2, 3, 6, 5, "x", 0]),
    ({"$defs": {"node": {"type": "object", "required": ["v"], "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}}},
      "$ref": "#/$defs/node"},
     [{"v": 1}, {"v": 1, "next": {"v": 2}}, {"v": 1, "next": {"v": "2"}}, {"v": 1, "next": {}}]),
    ({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": {"type": "boolean"}, "contains": {"const": 7}},
     [["a", 7], ["a", 7, True], ["a", 7, 1], ["a"], [7, 7], ["a", 7.0, False]]),
    ({"if": {"properties": {"kind": {"const": "card"}}, "required": ["kind"]}, "then": {"required": ["number"]}, "else": {"required": ["iban"]}},
     [{"kind": "card", "number": 1}, {"kind": "card"}, {"iban": 1}, {"kind": "cash"}, 3]),
    ({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": {"type": "integer"}, "propertyNames": {"maxLength": 4},
      "minProperties": 1, "maxProperties": 2, "dependentRequired": {"a": ["b"]}},
     [{"x-a": "1"}, {"x-a": 1}, {"b": 1}, {"a": 1}, {"a": 1, "b": 2}, {"long-name": 1}, {}, {"b": 1, "c": 2, "d": 3}]),
    ({"not": {"type": ["string", "null"]}, "allOf": [{"minimum": 2}, {"maximum": 4}]}, [3, 1, 5, "x", None, [], 2.0]),
    ({"type": "string", "maxLength": 3}, ["三个字", "四个字了", "\U0001f600\U0001f600\U0001f600"]),
    (True, [1, None]),
    (False, [1, None]),
    ({"const": {"a": [1, 2.0]}}, [{"a": [1, 2]}, {"a": [1.0, 2]}, {"a": [2, 1]}, {"a": [True, 2]}]),
]


def worse(rng, text, chinese):
    parts = list(text) if chinese else text.split(" ")
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(parts)) if parts else 0
        what = rng.randrange(4)
        if what == 0 and parts:
            del parts[at]
        elif what == 1 and parts:
            parts.insert(at, parts[at])
        elif what == 2 and len(parts) > 1:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            parts.insert(at, rng.choice(["又", "，", "1.5"] if chinese else ["again", ",", "1.5"]))
    return "".join(parts) if chinese else " ".join(parts)


class Characters:
    def tokenize(self, text):
        return [c for c in text.lower() if c.isalnum() and ord(c) >= 0x3400]


class Jieba:
    def tokenize(self, text):
        return [w for w in jieba.cut(text.lower()) if any(c.isalnum() for c in w)]


def likeness(pairs, chinese):
    bleu = BLEU(tokenize="zh" if chinese else "13a", effective_order=True)
    corpus = BLEU(tokenize="zh" if chinese else "13a")
    chrf = CHRF()
    kinds = ["rouge1", "rouge2", "rougeL"]
    rouge = rouge_scorer.RougeScorer(kinds, tokenizer=Characters() if chinese else None)
    by_words = rouge_scorer.RougeScorer(kinds, tokenizer=Jieba()) if chinese else None
    out = []
    for answer, references in pairs:
        row = {"answer": answer, "references": references,
               "bleu": bleu.sentence_score(answer, references).score / 100,
               "chrf": chrf.sentence_score(answer, references).score / 100}
        for kind in kinds:
            row[kind] = max(rouge.score(r, answer)[kind].fmeasure for r in references)
            if by_words:
                row[kind + "_jieba"] = max(by_words.score(r, answer)[kind].fmeasure for r in references)
        out.append(row)
    # sacrebleu wants as many references for each answer
    one = [(a, r[:1]) for a, r in pairs]
    answers, streams = [a for a, _ in one], [[r[0] for _, r in one]]
    return {"pairs": out, "corpus_bleu": corpus.corpus_score(answers, streams).score / 100,
            "corpus_chrf": chrf.corpus_score(answers, streams).score / 100}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=ROOT / "crates/eval/tests/goldens/scores.json")
    rng = random.Random(7)
    out = {"made_by": {p: version(p) for p in ["sacrebleu", "rouge-score", "jsonschema", "jieba"]}}
    for name, texts in [("en", ENGLISH), ("zh", CHINESE)]:
        chinese = name == "zh"
        pairs = [(texts[0], [texts[0]]), ("", [texts[0]]), (texts[1], [texts[2]]), (texts[-1], [texts[0]])]
        for text in texts:
            for _ in range(4):
                references = [text] + ([worse(rng, text, chinese)] if rng.random() < 0.4 else [])
                pairs.append((worse(rng, text, chinese), references))
        # characters only where all of a text counts by characters
        if chinese:
            pairs = [("".join(c for c in a if ord(c) > 0x7f), ["".join(c for c in r if ord(c) > 0x7f) for r in rs]) for a, rs in pairs]
        out[name] = likeness(pairs, chinese)
    # what mixes scripts, by BLEU, chrF and jieba's words alone
    by_words = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Jieba())
    mixed = [("满1,250.50元免运费", ["订单满1,250.50元，免运费。"]), ("第3-5条“甲”，见help@example.org。", ["第3-5条“乙”，见 help@example.org。"]),
             ("南京市长江大桥全长4.6公里，建成于1968年", ["1968年，南京长江大桥建成，全长4.589 km"])]
    zh = BLEU(tokenize="zh", effective_order=True)
    out["mixed"] = [{"answer": a, "references": r, "bleu": zh.sentence_score(a, r).score / 100,
                     "chrf": CHRF().sentence_score(a, r).score / 100,
                     **{k + "_jieba": v.fmeasure for k, v in by_words.score(r[0], a).items()}} for a, r in mixed]
    out["schemas"] = [{"schema": s, "values": [{"value": v, "valid": Draft202012Validator(s).is_valid(v)} for v in values]}
                      for s, values in SCHEMAS]
    path = parser.parse_args().out
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
