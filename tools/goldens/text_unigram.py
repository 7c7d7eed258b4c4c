"""Reference tokens of Unigram vocabularies (T5, mT5) for crates/text, made by tokenizers; vocabulary and normaliser by sentencepiece.

    python tools/goldens/text_unigram.py [--out crates/text/tests/goldens]

Writes tiny-unigram.json, a tokenizer.json of T5's build with a small vocabulary and a small table of normal forms, and unigram.json: hashes
of tokens and decodings, for T5's pipeline, mT5's, and one where bytes stand in for what is unknown. The strings are those of text.py.
"""

import argparse
import base64
import io
import json
from pathlib import Path

import sentencepiece
from text import BLOCK, DECODINGS, STRINGS, hashes, ids_bytes, record, strings
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

# A table of normal forms: full width, ligatures, composed letters, spaces; longest match first, as NFKC has it.
FORMS = (
    [(chr(c), chr(c - 0xFEE0)) for c in range(0xFF01, 0xFF5F)]
    + [("ﬁ", "fi"), ("　", " "), ("\u00a0", " "), ("\t", " "), ("\n", " "), ("\r", " "), ("…", "..."), ("e\u0301", "é")]
    + [("A\u030a", "Å"), ("ﷺ", "صلى الله عليه وسلم"), ("\u200b", ""), ("\u00ad", ""), ("ﾊ", "ハ"), ("ﾝ", "ン"), ("１️⃣", "1")]
    + [("Ǆ", "DŽ"), ("㎏", "kg"), ("①", "1"), ("\u1100\u1161\u11a8", "각")]
)
SPECIAL = ["<pad>", "</s>", "<unk>"]
EXTRA = [f"<extra_id_{i}>" for i in range(5)]


def field(data, wanted):
    """The last bytes with this number among the fields of a protobuf message."""
    at, found = 0, None

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        match key & 7:
            case 0:
                number()
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                size = number()
                if key >> 3 == wanted:
                    found = data[at:at + size]
                at += size
    return found


def train(texts, folder):
    """Pieces with scores and the table of normal forms."""
    rules = folder / "forms.tsv"
    hexes = lambda s: " ".join(f"{ord(c):x}" for c in s)
    rules.write_text("".join(f"{hexes(a)}\t{hexes(b)}\n" for a, b in FORMS))
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(t for t in texts if t.strip()), model_writer=out, vocab_size=1400, model_type="unigram",
        character_coverage=0.98, byte_fallback=True, normalization_rule_tsv=str(rules), pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, num_threads=1, minloglevel=2)
    rules.unlink()
    sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    vocab = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())]
    return vocab, field(field(out.getvalue(), 3), 2)


def pipeline(vocab, forms, name):
    tok = Tokenizer(models.Unigram(vocab, unk_id=2, byte_fallback=name == "bytes"))
    forms = normalizers.Precompiled(forms)
    metaspace = dict(replacement="▁", prepend_scheme="always")
    if name == "t5":
        tok.normalizer = forms
        tok.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**metaspace)])
    else:
        tok.normalizer = normalizers.Sequence([forms, normalizers.Replace(Regex(" {2,}"), " ")])
        tok.pre_tokenizer = pre_tokenizers.Metaspace(**metaspace)
    tok.decoder = decoders.Metaspace(**metaspace)
    if name == "bytes":
        tok.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("crates/text/tests/goldens"))
    args = parser.parse_args()
    texts = strings(STRINGS, json.loads((args.out / "fragments.json").read_text()))
    vocab, forms = train(texts[:4000], args.out)
    golden = {"strings": STRINGS, "decodings": DECODINGS, "block": BLOCK, "samples": texts[:3]}
    # out of any text's reach, as special tokens are with us
    unreachable = [(f"\U0010fff0{p}", s) if p in SPECIAL else (p, s) for p, s in vocab]
    for name in ["t5", "mt5", "bytes"]:
        tok = pipeline(vocab, forms, name)
        tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL + EXTRA])
        tok.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        golden[name] = record(tok, texts, full=100, split=False)
        plain = pipeline(unreachable, forms, name)
        golden[name]["split"] = hashes([plain.encode(t, add_special_tokens=False).ids for t in texts], ids_bytes)
        whole = json.loads(tok.to_str())
        if name == "t5":
            (args.out / "tiny-unigram.json").write_text(json.dumps(whole, ensure_ascii=False) + "\n")
        else:
            kept = {k: whole[k] for k in ["normalizer", "pre_tokenizer", "decoder"]}
            kept["normalizer"]["normalizers"][0] = None  # the table of tiny-unigram.json
            golden[name]["parts"] = kept
    golden["forms"] = len(base64.b64encode(forms))
    (args.out / "unigram.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
