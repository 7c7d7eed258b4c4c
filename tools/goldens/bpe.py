"""Vocabularies trained by Hugging Face's tokenizers, and their tokens, for crates/text/tests/train_bpe.rs.

    python tools/goldens/bpe.py [--out crates/text/tests/goldens]

The text is that of samples/general and samples/keep, English and Chinese. The words are split as in tokenizer/pre.rs
under the name deepseek-v3. Merges are kept whole, tokens as one hash of all strings of text.py.
"""

import argparse
import hashlib
import json
from pathlib import Path

import text as shared
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]
FILES = ["general/en.txt", "general/zh.txt", "keep/en.txt", "keep/zh.txt"]
PATTERNS = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
STRINGS = 2_000


def train(texts, vocab, longest):
    tok = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in PATTERNS]
    tok.pre_tokenizer = pre_tokenizers.Sequence(splits + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    # pieces shorter than max_token_length are made
    most = {} if longest is None else {"max_token_length": longest + 1}
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab, min_frequency=2, special_tokens=SPECIALS,
                                                       initial_alphabet=alphabet, show_progress=False, **most))
    return tok


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=ROOT / "crates/text/tests/goldens")
    args = parser.parse_args()
    texts = [(ROOT / "samples" / f).read_text() for f in FILES]
    fragments = json.loads((args.out / "fragments.json").read_text())
    strings = shared.strings(STRINGS, fragments)
    golden = {"files": FILES, "strings": STRINGS, "cases": []}
    for vocab, longest in [(1200, None), (3000, None), (1200, 6)]:
        tok = train(texts, vocab, longest)
        merges = json.loads(tok.to_str())["model"]["merges"]
        ids = [tok.encode(s, add_special_tokens=False).ids for s in strings]
        digest = hashlib.sha256(b"".join(i.to_bytes(4, "little") for line in ids for i in line)).hexdigest()
        golden["cases"].append({"vocab": vocab, "longest": longest, "size": tok.get_vocab_size(),
                                "merges": [" ".join(m) for m in merges], "ids": digest})
    (args.out / "bpe.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print([(c["vocab"], c["longest"], c["size"], len(c["merges"])) for c in golden["cases"]])


main()
