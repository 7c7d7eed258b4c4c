"""Speed and memory of LoRA training with PyTorch + PEFT on a CPU, as one JSON object.

torch 2.15.0, transformers 5.23.0, peft 0.21.2, Python 3.11; setting up: bench/README.md.

    python bench/peers/torch_peft_lora.py [--threads 2] [--batch 4] [--seq 512] [--rank 16] [--steps 3] [--attention sdpa]

The shape of SmolLM2-135M with random weights (speed does not depend on them), float32, LoRA on all seven projections,
loss on every token, AdamW; a step is forward, backward and update. One step warms up and is not counted. No gradient
checkpointing: it would save memory and cost speed. Run it with nothing else at work: a busy neighbour falsifies it.
"""

import argparse
import json
import resource
import statistics
import time

import peft
import torch
import transformers

# Useful operations of a trained token: frozen products forward and to their inputs, LoRA, attention, vocabulary; at 512.
USEFUL_GFLOP_A_TOKEN = 0.591


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, head_dim=64, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )
    config._attn_implementation = options.attention
    model = peft.get_peft_model(transformers.LlamaForCausalLM(config), peft.LoraConfig(
        r=options.rank, lora_alpha=2 * options.rank, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    ))
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
    ids = torch.randint(0, config.vocab_size, (options.batch, options.seq))

    def step():
        began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimiser.step()
        return time.perf_counter() - began, loss.item()

    step()
    times, loss = [], None
    for _ in range(options.steps):
        seconds, loss = step()
        times.append(options.batch * options.seq / seconds)
    tok_s = statistics.median(times)
    print(json.dumps({
        "engine": "torch+peft",
        "version": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
        "model": "SmolLM2-135M shape, random weights, float32", "method": "lora", "targets": "all seven projections",
        "rank": options.rank, "batch": options.batch, "seq": options.seq, "threads": options.threads,
        "attention": options.attention, "steps": options.steps,
        "tok_s": tok_s,
        "gflops": tok_s * USEFUL_GFLOP_A_TOKEN if (options.seq, options.rank) == (512, 16) else None,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": loss,
        "spread": {"tok_s": {"min": min(times), "median": tok_s, "max": max(times)}},
    }))


if __name__ == "__main__":
    main()
