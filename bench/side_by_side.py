"""Nurture, llama.cpp and ik_llama.cpp by turns on the same GGUF files: prefill and decode, one Markdown table.

    python3 bench/side_by_side.py MODEL.gguf... --llama target/venv-llama/bin/python --ik target/venv-ik/bin/python
        [--prompts 64,512,2048] [--gen 128] [--rounds 3] [--isa avx2] [--nurture target/release/nurture]

Each round runs every engine once on every file and prompt, so that what else the machine does meets all of them. Shown are medians
over the rounds of each run's own median, in tokens a second, and the ratio of the medians. Decode follows a prompt; the column of prompt 1
is decoding from an empty context. Setting up the peers: bench/README.md.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).parent


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--nurture", default="target/release/nurture")
    parser.add_argument("--llama", help="Python with llama-cpp-python")
    parser.add_argument("--ik", help="Python with ik-llama-cpp-python")
    parser.add_argument("--prompts", default="64,512,2048")
    parser.add_argument("--gen", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--isa", help="the least that Nurture may use of this processor")
    options = parser.parse_args()
    prompts = [int(p) for p in options.prompts.split(",")]

    def nurture(model, prompt):
        isa = ["--isa", options.isa] if options.isa else []
        return run([options.nurture, "bench", "infer", "--model", model, "--prompt", prompt, "--gen", options.gen,
                    "--repeat", options.repeats, "--json", *isa])

    def peer(python, script):
        return lambda model, prompt: run([python, HERE / "peers" / script, model, "--prompt", prompt, "--gen", options.gen,
                                          "--repeats", options.repeats])

    engines = {"Nurture": nurture}
    if options.llama:
        engines["llama.cpp"] = peer(options.llama, "llama_cpp_infer.py")
    if options.ik:
        engines["ik_llama.cpp"] = peer(options.ik, "ik_llama_infer.py")
    seen = {}
    for _ in range(options.rounds):
        for model in options.models:
            for prompt in prompts:
                for name, engine in engines.items():
                    figures = engine(model, prompt)
                    for what in ("prefill_tok_s", "decode_tok_s"):
                        seen.setdefault((model, prompt, what, name), []).append(figures[what])
    heads = [f"{what} {p}" for what in ("prefill", "decode after") for p in prompts]
    print("| file | engine | " + " | ".join(heads) + " |")
    print("| --- | --- |" + " --- |" * len(heads))
    for model in options.models:
        best = {}
        for name in engines:
            cells = []
            for what in ("prefill_tok_s", "decode_tok_s"):
                for prompt in prompts:
                    middle = statistics.median(seen[model, prompt, what, name])
                    ours = best.setdefault((what, prompt), middle)
                    cells.append(f"{middle:.0f}" + ("" if name == "Nurture" else f" ({ours / middle:.2f}×)"))
            print(f"| {model.name} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
