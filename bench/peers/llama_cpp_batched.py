"""Many sequences at once in llama.cpp: prompts of 128 tokens, 64 new tokens each, as one JSON object.

llama-cpp-python 0.3.36 (built from source for this machine), Python 3.11; setting up: bench/README.md.

    python bench/peers/llama_cpp_batched.py MODEL.gguf [--parallel 1,4,8,16,32] [--prompt 128] [--gen 64] [--threads 2] [--repeats 3]

As llama.cpp's own batched bench: every sequence has its own prompt, all prompts are read, then each step decodes one
token of every sequence in one batch, whose logits are computed and of which the greatest is taken (numpy, a few percent;
`--no-pick` leaves it out and takes arbitrary ids). `decode_tok_s` is the total rate of the steps, `first_token_s` the median time to a
sequence's first token when all arrive at once. Medians of the repeats. Run it with nothing else at work.
"""

import argparse
import ctypes
import json
import pathlib
import statistics
import time

import llama_cpp
import numpy as np

QUIET = llama_cpp.llama_log_callback(lambda level, text, data: None)


def context_of(model, sequences, tokens, threads, flash):
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = sequences * tokens
    options.n_seq_max = sequences
    options.n_batch = options.n_ubatch = 512
    options.n_threads = options.n_threads_batch = threads
    options.flash_attn_type = flash
    options.kv_unified = False
    context = llama_cpp.llama_init_from_model(model, options)
    if not context:
        raise SystemExit("llama.cpp cannot make a context")
    return context


def run(context, vocab, batch, sequences, prompt, new, pick):
    memory = llama_cpp.llama_get_memory(context)
    llama_cpp.llama_memory_clear(memory, True)
    firsts, last = [], [0] * sequences
    began = time.perf_counter()

    def decode(rows):
        """rows: (token, position, sequence, whether its logits are wanted)"""
        batch.n_tokens = len(rows)
        for n, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[n] = token
            batch.pos[n] = position
            batch.n_seq_id[n] = 1
            batch.seq_id[n][0] = sequence
            batch.logits[n] = wanted
        code = llama_cpp.llama_decode(context, batch)
        if code != 0:
            raise SystemExit(f"llama_decode returned {code}")
        for n, (_, position, sequence, wanted) in enumerate(rows):
            if wanted:
                pointer = llama_cpp.llama_get_logits_ith(context, n)
                logits = np.ctypeslib.as_array(pointer, shape=(vocab,))
                last[sequence] = int(logits.argmax()) if pick else (position * 7919 + sequence) % vocab

    rows = []
    for sequence in range(sequences):
        ids = [1000 + ((sequence * prompt + n) * 7919) % (vocab - 2000) for n in range(prompt)]
        rows += [(token, n, sequence, n + 1 == prompt) for n, token in enumerate(ids)]
    for at in range(0, len(rows), 512):
        decode(rows[at : at + 512])
        done = sum(r[3] for r in rows[at : at + 512])
        firsts += [time.perf_counter() - began] * done
    began = time.perf_counter()
    for n in range(new - 1):
        decode([(last[s], prompt + n, s, True) for s in range(sequences)])
    return sequences * (new - 1) / (time.perf_counter() - began), statistics.median(firsts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--parallel", default="1,4,8,16,32")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--gen", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--flash", type=int, default=-1, help="-1 auto, 0 off, 1 on")
    parser.add_argument("--no-pick", action="store_true")
    options = parser.parse_args()

    llama_cpp.llama_log_set(QUIET, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_default_params()
    settings.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(options.model.encode(), settings)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {options.model}")
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(512, 0, 1)
    table = []
    for sequences in map(int, options.parallel.split(",")):
        context = context_of(model, sequences, options.prompt + options.gen, options.threads, options.flash)
        one = lambda: run(context, vocab, batch, sequences, options.prompt, options.gen, not options.no_pick)
        one()
        runs = [one() for _ in range(options.repeats)]
        llama_cpp.llama_free(context)
        table.append({
            "parallel": sequences,
            "decode_tok_s": statistics.median(r[0] for r in runs),
            "first_token_s": statistics.median(r[1] for r in runs),
        })
    print(json.dumps({
        "engine": "llama.cpp", "version": f"llama-cpp-python {llama_cpp.__version__}",
        "model": pathlib.Path(options.model).name, "threads": options.threads,
        "prompt": options.prompt, "gen": options.gen, "repeats": options.repeats, "table": table,
    }))


if __name__ == "__main__":
    main()
