"""What `generate` makes of the tiny Llama by beam search.

Writes `crates/infer/tests/goldens/beams_llama.json`: for each prompt and length penalty the rows of four beams, best first, with their
scores. The network is the one that `tiny_families.py` made; truth is a float64 run.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0.

    python tools/goldens/beams_decoder.py
"""

import pathlib

import torch
import transformers
from tiny_families import OUT, everything_float64, write_json

PROMPTS = [[5, 17, 33, 80], [9], [120, 3, 3, 47, 61, 12, 99]]
ENDS = [30, 76]
PENALTIES = [0.5, 2.0]
LONGEST = 10


def main():
    model = transformers.AutoModelForCausalLM.from_pretrained(OUT / "llama", attn_implementation="eager", dtype=torch.float64).eval()
    written = []
    with everything_float64():
        for prompt in PROMPTS:
            for penalty in PENALTIES:
                best = model.generate(
                    torch.tensor([prompt]), num_beams=4, num_return_sequences=4, length_penalty=penalty, early_stopping=False,
                    max_new_tokens=LONGEST, pad_token_id=0, eos_token_id=ENDS, do_sample=False, return_dict_in_generate=True,
                    output_scores=True,
                )
                rows = [row[len(prompt):].tolist() for row in best.sequences]
                cut = lambda row: next((row[: i + 1] for i, t in enumerate(row) if t in ENDS), row)
                written.append({
                    "prompt": prompt, "penalty": penalty, "rows": [cut(r) for r in rows], "scores": best.sequences_scores.tolist(),
                })
    print([[len(r) for r in w["rows"]] for w in written])
    path = pathlib.Path(__file__).resolve().parents[2] / "crates/infer/tests/goldens/beams_llama.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"ends": ENDS, "longest": LONGEST, "written": written})


if __name__ == "__main__":
    main()
