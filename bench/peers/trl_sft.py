"""Examples per second of TRL's SFTTrainer on a CPU, LoRA rank 16 on all linears, float32, as one JSON object.

torch 2.15.0, transformers 5.23.0, peft 0.21.2, trl 1.16.0, datasets 5.2.0, gguf 0.19.0; setting up: bench/README.md.

    cargo run --release -p nurture --example sft_speed -- MODEL.gguf DATA.jsonl --out FOLDER     # ours; writes what this reads
    python bench/peers/trl_sft.py MODEL.gguf FOLDER [--micro 4] [--steps 2] [--threads 2]

Both train on the same token ids and loss masks (`FOLDER/tokens.jsonl`) from the same first adapter (`FOLDER/adapter`), 16
examples a step in the file's order, AdamW at the same constant rate: the losses of the steps must agree, and stand in both
outputs.

Of TRL's settings the ones that are fast on a CPU: no gradient checkpointing (its default), float32 (bfloat16 is emulated),
attention by SDPA, its chunked loss, glibc told to keep its memory, and of `--micro` sequences a forward pass (with
accumulation to 16; the loss is the mean over all trained tokens of the step) whichever is best on the data: more are
padded to the longest of them. Packing is left out: without FlashAttention it would let sequences see each other.
"""

import argparse
import ctypes
import json
import pathlib
import resource
import statistics
import sys
import time

# keep freed memory: fresh pages cost PyTorch a sixth of its speed (M_MMAP_MAX, M_TRIM_THRESHOLD)
libc = ctypes.CDLL(None)
if hasattr(libc, "mallopt"):
    libc.mallopt(-4, 0)
    libc.mallopt(-1, -1)

import datasets
import peft
import torch
import transformers
import trl

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "goldens"))
import gguf_to_torch

BATCH = 16


class Clock(transformers.TrainerCallback):
    """Seconds and loss of each optimiser step."""

    def __init__(self):
        self.seconds, self.losses = [], []

    def on_step_begin(self, *_args, **_more):
        self.began = time.perf_counter()

    def on_step_end(self, *_args, **_more):
        self.seconds.append(time.perf_counter() - self.began)

    def on_log(self, _args, _state, _control, logs=None, **_more):
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


class InOrder(trl.SFTTrainer):
    """Takes the examples in the order of the file."""

    def _get_train_sampler(self, *_args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--micro", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--rate", type=float, default=1e-3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()

    rows = [json.loads(line) for line in (options.folder / "tokens.jsonl").read_text().splitlines()]
    data = datasets.Dataset.from_list(rows[:options.steps * BATCH])
    model = gguf_to_torch.load(options.model)
    model.config._attn_implementation = options.attention
    model.config.use_cache = False
    model = peft.PeftModel.from_pretrained(model, options.folder / "adapter", is_trainable=True)
    tokenizer = gguf_to_torch.tokenizer(options.model)
    clock = Clock()
    trainer = InOrder(
        model=model, train_dataset=data, processing_class=tokenizer, callbacks=[clock],
        args=trl.SFTConfig(
            output_dir=str(options.folder / "trl"), use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False,
            per_device_train_batch_size=options.micro, gradient_accumulation_steps=BATCH // options.micro,
            max_steps=options.steps, learning_rate=options.rate, lr_scheduler_type="constant", weight_decay=0.0,
            max_grad_norm=1.0, max_length=None, packing=False, completion_only_loss=True, logging_steps=1,
            save_strategy="no", report_to="none", disable_tqdm=True, optim="adamw_torch",
        ),
    )
    trainer.train()
    rates = [BATCH / seconds for seconds in clock.seconds]
    tokens = [sum(len(row["input_ids"]) for row in rows[n * BATCH:(n + 1) * BATCH]) for n in range(options.steps)]
    print(json.dumps({
        "engine": "trl",
        "version": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__, "trl": trl.__version__},
        "model": options.model, "method": "lora", "data": str(options.folder), "batch": BATCH, "micro_batch": options.micro,
        "attention": options.attention,
        "threads": options.threads, "steps": options.steps,
        "examples_s": statistics.median(rates),
        "tok_s": statistics.median(t / s for t, s in zip(tokens, clock.seconds)),
        "seconds": clock.seconds, "losses": clock.losses,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
