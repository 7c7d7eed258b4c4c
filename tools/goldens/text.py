"""Reference tokens, decodings and chat renders for crates/text, made by tokenizers, transformers and jinja2.

    python tools/goldens/text.py --models DIR [--out crates/text/tests/goldens]

DIR holds SmolLM2-135M-Instruct.Q4_1.gguf and gemma-3-270m-q4_k_m.gguf. The strings are not stored: strings(n) below
and crates/text/tests/common/strings.rs make the same ones from the same generator, and only a hash of the token ids
is kept for every hundred of them, beside a few cases in full.
"""

import argparse
import hashlib
import json
import struct
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import generate_merges

STRINGS, DECODINGS, BLOCK = 12_000, 3_000, 100
MASK = (1 << 64) - 1


class Random:
    """Knuth's 64-bit linear congruential generator; the upper 32 bits are given out."""

    def __init__(self, seed):
        self.state = seed & MASK
        self.below(1)

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK
        return (self.state >> 32) % n


# Inclusive ranges of code points for single random characters.
RANGES = [(0x20, 0x7E), (0x4E00, 0x9FFF), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x900, 0xDFF),
          (0x1F300, 0x1FAFF), (0xAC00, 0xD7A3), (0x2000, 0x2BFF), (0x0, 0x1F), (0x10000, 0x10FFFF), (0x3040, 0x30FF)]


def strings(count, fragments):
    """`count` strings: fragments of mixed kinds, single random characters, runs of one character."""
    kinds = list(fragments.values())
    out = []
    for i in range(count):
        r = Random(i)
        parts = []
        focus = r.below(len(kinds) * 2)  # half of the strings stay with one kind, half mix
        for _ in range(1 + r.below(24)):
            what = r.below(10)
            if what == 0:
                low, high = RANGES[r.below(len(RANGES))]
                parts.append(chr(low + r.below(high - low + 1)))
            elif what == 1:
                kind = kinds[r.below(len(kinds))]
                fragment = kind[r.below(len(kind))]
                parts.append(fragment[:1] * (1 + r.below(40)))
            else:
                kind = kinds[focus] if focus < len(kinds) else kinds[r.below(len(kinds))]
                parts.append(kind[r.below(len(kind))])
            if r.below(3) == 0:
                parts.append(" ")
        out.append("".join(parts))
    return out


def id_lists(count, vocab):
    """Random ids, so that decoding meets every kind of broken UTF-8."""
    out = []
    for i in range(count):
        r = Random(1_000_000 + i)
        low_only = r.below(2)  # byte tokens have low ids in both vocabularies
        out.append([r.below(600 if low_only else vocab) for _ in range(1 + r.below(20))])
    return out


def hashes(items, to_bytes):
    out = []
    for at in range(0, len(items), BLOCK):
        h = hashlib.sha256()
        for item in items[at:at + BLOCK]:
            data = to_bytes(item)
            h.update(struct.pack("<I", len(data)) + data)
        out.append(h.hexdigest()[:16])
    return out


def ids_bytes(ids):
    return struct.pack(f"<{len(ids)}I", *ids)


def record(tok, texts, full=0, split=True, decode=True):
    """Hashes of encodings with and without special tokens, and of decodings."""
    out = {}
    tok.encode_special_tokens = False
    parsed = [tok.encode(t, add_special_tokens=False).ids for t in texts]
    out["parsed"] = hashes(parsed, ids_bytes)
    if full:
        picks = list(range(0, len(texts), len(texts) // full))[:full]
        out["full"] = [[i, parsed[i]] for i in picks]
    if split:
        tok.encode_special_tokens = True
        out["split"] = hashes([tok.encode(t, add_special_tokens=False).ids for t in texts], ids_bytes)
        tok.encode_special_tokens = False
    if decode:
        size = tok.get_vocab_size()
        lists = id_lists(DECODINGS, size)
        out["vocab_size"] = size
        out["decoded"] = hashes([tok.decode(x, skip_special_tokens=False) for x in lists], str.encode)
        out["plain"] = hashes([tok.decode(x, skip_special_tokens=True) for x in lists], str.encode)
    return out


def keys(path):
    fields = gguf.GGUFReader(str(path)).fields
    get = lambda key: fields[key].contents()
    return get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type"), fields


def smollm2(path):
    """The pipeline of SmolLM2's tokenizer.json over the vocabulary in the GGUF file."""
    tokens, types, fields = keys(path)
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer = digits_gpt2()
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, types) if k == 3])
    return tok


def byte_level(**kwargs):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **kwargs)


def digits_gpt2():
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)])


def pattern(regex):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(regex), behavior="isolated"), byte_level(use_regex=False)])


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def pre_variants(path):
    """SmolLM2's vocabulary split in the ways of other families: tests the patterns against Python's regex engine."""
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as qwen2
    from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX as qwen35
    for name, pre, nfc, ignore in [("gpt-2", byte_level(use_regex=True), False, False),
                                   ("llama-bpe", pattern(LLAMA3), False, True),
                                   ("qwen2", pattern(qwen2), True, False),
                                   ("qwen35", pattern(qwen35), True, False)]:
        tok = smollm2(path)
        tok.pre_tokenizer = pre
        tok.model.ignore_merges = ignore
        if nfc:
            tok.normalizer = normalizers.NFC()
        yield name, tok


def gemma(path):
    """What transformers makes of the GGUF file."""
    return AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)._tokenizer


def tiny_byte_level(texts):
    """A small tokenizer.json of Llama 3's build, trained here."""
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = pattern(LLAMA3)
    tok.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=special,
        show_progress=False))
    tok.add_tokens([AddedToken("<think>", normalized=False), AddedToken("Wi-Fi", single_word=True, normalized=True)])
    tok.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False)])
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    return tok


def tiny_vocabulary(texts):
    """A small SentencePiece-style vocabulary: specials, bytes, wholes by rank, characters."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=900, limit_alphabet=300, show_progress=False))
    learned = [t for t, _ in sorted(trained.get_vocab().items(), key=lambda x: x[1])]
    chars, wholes = [t for t in learned if len(t) == 1], [t for t in learned if len(t) > 1]
    chars = [c for c in chars if c.isprintable() or c == "▁"]
    special = ["<unk>", "<s>", "</s>"]
    tokens = special + [f"<0x{b:02X}>" for b in range(256)] + wholes + chars
    types = [2, 3, 3] + [6] * 256 + [1] * (len(wholes) + len(chars))
    scores = [0.0] * 259 + [float(-i) for i in range(len(wholes) + len(chars))]
    return {"tokens": tokens, "types": types, "scores": scores}


def tiny_sentence_piece(listed, prefix):
    """Llama 2's pipeline (prefix) or Gemma's over it, merges by transformers."""
    tokens, scores, special = listed["tokens"], listed["scores"], listed["tokens"][:3]
    vocab = {t: i for i, t in enumerate(tokens)}
    # Without the skipped ones, merges would build </s> out of plain text: the one place where we differ on purpose.
    merges = generate_merges(vocab, dict(zip(tokens, scores)), skip_tokens=special)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", "▁")
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tok.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + strip)
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special[1:]])
    return tok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("crates/text/tests/goldens"))
    args = parser.parse_args()
    fragments = json.loads((args.out / "fragments.json").read_text())
    texts = strings(STRINGS, fragments)

    smol_path = args.models / "SmolLM2-135M-Instruct.Q4_1.gguf"
    gemma_path = args.models / "gemma-3-270m-q4_k_m.gguf"
    golden = {"strings": STRINGS, "decodings": DECODINGS, "block": BLOCK, "samples": texts[:3]}
    golden["smollm2"] = record(smollm2(smol_path), texts, full=200)
    for name, tok in pre_variants(smol_path):
        golden[name] = record(tok, texts, split=False, decode=False)
    golden["gemma3"] = record(gemma(gemma_path), texts, full=200)

    small = texts[:4000]
    tok = tiny_byte_level(small)
    tok.save(str(args.out / "tiny-byte-level.json"), pretty=False)
    golden["tiny-byte-level"] = record(tok, texts)
    listed = tiny_vocabulary(small)
    (args.out / "tiny-sentence-piece.json").write_text(json.dumps(listed, ensure_ascii=False) + "\n")
    for name, prefix in [("tiny-prefix", True), ("tiny-no-prefix", False)]:
        tok = tiny_sentence_piece(listed, prefix)
        golden[name] = record(tok, texts)
        if prefix:
            tok.save(str(args.out / "tiny-prefix.json"), pretty=False)
    (args.out / "tokens.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
