"""What `nurture export` wrote, opened by transformers and peft: logits against each other.

    python tools/interop/exports.py HF_FOLDER [PEFT_FOLDER HF_BASE_FOLDER]   # packages: requirements-torch.txt

HF_FOLDER is a merged export (--to hf --type f32); HF_BASE_FOLDER the same base without the adapter (`nurture export BASE --to
hf`), PEFT_FOLDER the adapter (--to peft). Prints the largest difference of the logits of the merged network and of base +
adapter in peft, relative to the largest logit, and whether greedy tokens agree.
"""

import json
import sys

import torch
import transformers

PROMPTS = ["Why is the sky blue?", "My lamp does not turn on.", "用一句话介绍北京。"]


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def main(merged, adapter=None, base=None):
    config = json.load(open(f"{merged}/config.json"))
    print("dialect:", "v5" if "rope_parameters" in config else "v4", "| transformers", transformers.__version__)
    tokenizer = transformers.AutoTokenizer.from_pretrained(merged)
    model = load(merged)
    other = None
    if adapter:
        import peft

        other = peft.PeftModel.from_pretrained(load(base), adapter).eval()
        print("peft", peft.__version__)
    for prompt in PROMPTS:
        messages = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        ids = ids["input_ids"]
        with torch.no_grad():
            a = model(ids).logits
            line = f"{prompt}: {ids.shape[1]} tokens, next {tokenizer.decode(a[0, -1].argmax())!r}"
            if other is not None:
                b = other(ids).logits
                worst = ((a - b).abs().max() / b.abs().max()).item()
                same = (a.argmax(-1) == b.argmax(-1)).float().mean().item()
                line += f"; merged against peft: {worst:.2e}, same greedy tokens {100 * same:.1f} %"
        print(line)


main(*sys.argv[1:])
