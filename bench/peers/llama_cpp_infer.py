"""Speed of llama.cpp on a GGUF file: prefill of 512 tokens and decode of 128, as one JSON object.

llama-cpp-python 0.3.36 (built from source for this machine), Python 3.11; setting up: bench/README.md.

    python bench/peers/llama_cpp_infer.py MODEL.gguf [--prompt 512] [--gen 128] [--threads 2] [--repeats 5]
"""

import llama_cpp

import infer_timing
from llama_cpp_model import Model

if __name__ == "__main__":
    infer_timing.measure(Model, {
        "engine": "llama.cpp", "version": f"llama-cpp-python {llama_cpp.__version__}",
        "system": llama_cpp.llama_print_system_info().decode().strip(),
    }, infer_timing.options().parse_args())
