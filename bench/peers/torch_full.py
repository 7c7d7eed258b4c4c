"""Speed and memory of full fine-tuning with PyTorch on a CPU, as one JSON object.

torch 2.15.0, transformers 5.23.0, Python 3.11; setting up: bench/README.md.

    python bench/peers/torch_full.py [--shape gpt2-124m] [--threads 2] [--batch 4] [--seq 512] [--steps 3] [--attention eager]
        [--checkpointing] [--save FOLDER]

The shape of SmolLM2-135M or of GPT-2 with 124 million parameters, with random weights (speed does not depend on them), float32, every
parameter trained, loss on every token, AdamW; a step is forward, backward, clipping and update. One step warms up and is not counted.
The same figures as `nurture bench train --method full`, which reads what `--save` writes. Run it with nothing else at work: a busy
neighbour falsifies it.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import transformers

# Useful operations of a token of SmolLM2 at 512: products forward, to their inputs and to their weights, attention.
USEFUL_GFLOP_A_TOKEN = 0.860


def smollm2():
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, head_dim=64, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )


def gpt2():
    return transformers.GPT2LMHeadModel, transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)


SHAPES = {"smollm2-135m": smollm2, "gpt2-124m": gpt2}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--save", help="writes the random model to this folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="eager")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing: less memory, slower")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    kind, config = SHAPES[options.shape]()
    config._attn_implementation = options.attention
    model = kind(config)
    if options.save:
        model.save_pretrained(options.save)
    if options.checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    ids = torch.randint(0, config.vocab_size, (options.batch, options.seq))

    def step():
        began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return time.perf_counter() - began, loss.item()

    step()
    times, loss = [], None
    for _ in range(options.steps):
        seconds, loss = step()
        times.append(options.batch * options.seq / seconds)
    tok_s = statistics.median(times)
    print(json.dumps({
        "engine": "torch",
        "version": {"torch": torch.__version__, "transformers": transformers.__version__},
        "model": f"{options.shape} shape, random weights, float32", "method": "full",
        "batch": options.batch, "seq": options.seq, "threads": options.threads,
        "attention": options.attention, "checkpointing": options.checkpointing, "steps": options.steps,
        "tok_s": tok_s,
        "gflops": tok_s * USEFUL_GFLOP_A_TOKEN if options.seq == 512 and options.shape == "smollm2-135m" else None,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": loss,
        "spread": {"tok_s": {"min": min(times), "median": tok_s, "max": max(times)}},
    }))


if __name__ == "__main__":
    main()
