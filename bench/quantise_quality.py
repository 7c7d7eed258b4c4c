"""The quality of quantised files: those of `nurture quantize` beside those of llama.cpp's own quantiser, from the same float file, both
read by llama.cpp: size and perplexity, one Markdown table.

    python bench/quantise_quality.py FLOAT.gguf TEXT [--types q8_0,q4_0,q4_1,q4_k_m,q5_k_m,q6_k] [--windows 20] [--work DIR]
        [--nurture target/release/nurture]

Run it with the Python that has llama-cpp-python (bench/README.md). A model that was trained or merged in float32 is the honest source: the
weights of a file that was quantised before lie on its grid.
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import sys

import llama_cpp

sys.path.insert(0, str(pathlib.Path(__file__).parent / "peers"))
import llama_cpp_model  # noqa: E402  (its quiet log)

TYPES = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}


def theirs(source, out, kind):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = TYPES[kind]
    params.nthread = 2
    llama_cpp.llama_log_set(llama_cpp_model.QUIET, ctypes.c_void_p(0))
    if llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp cannot quantise {source} to {kind}")


def perplexity(path, text, windows):
    script = pathlib.Path(__file__).parent / "peers" / "llama_cpp_perplexity.py"
    done = subprocess.run([sys.executable, script, path, text, "--windows", str(windows)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])["perplexity"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("text")
    parser.add_argument("--types", default=",".join(["q8_0", "q4_0", "q4_1", "q4_k_m", "q5_k_m", "q6_k"]))
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/quantise"))
    parser.add_argument("--nurture", default="target/release/nurture")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(f"source: {options.source.name}, perplexity {perplexity(options.source, options.text, options.windows):.4f}\n")
    print("| type | Nurture: MB | perplexity | llama.cpp: MB | perplexity | ours over theirs |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in options.types.split(","):
        ours, peer = (options.work / f"{who}-{kind}.gguf" for who in ("ours", "theirs"))
        subprocess.run([options.nurture, "quantize", options.source, ours, "--type", kind, "--force"], check=True, capture_output=True)
        theirs(options.source, peer, kind)
        a, b = (perplexity(p, options.text, options.windows) for p in (ours, peer))
        print(f"| {kind} | {ours.stat().st_size / 1e6:.1f} | {a:.4f} | {peer.stat().st_size / 1e6:.1f} | {b:.4f} | {100 * (a / b - 1):+.2f} % |", flush=True)
        ours.unlink(), peer.unlink()


if __name__ == "__main__":
    main()
