"""Speed of ik_llama.cpp on a GGUF file: prefill of 512 tokens and decode of 128, as one JSON object.

ik-llama-cpp-python 0.1.5, Python 3.11; setting up: bench/README.md. The wheel of the package index is made for AVX2; for
AVX-512 build it from source. `--flash on` is its faster way on most shapes and off by default in the Python package
where the processor has no AVX-VNNI; `--repack` lets it store the weights interleaved (it then reads the whole file).

    python bench/peers/ik_llama_infer.py MODEL.gguf [--prompt 512] [--gen 128] [--threads 2] [--repeats 5] [--flash on] [--repack]
"""

import ctypes

import numpy as np
from ik_llama_cpp import _ctypes_api as api

import infer_timing

LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
QUIET = LOG(lambda level, text, data: None)


class Model:
    """One GGUF file, one context of `n_ctx` tokens, one sequence."""

    def __init__(self, path, threads, n_ctx, flash, repack):
        api._lib.llama_log_set(QUIET, None)
        api.llama_backend_init()
        options = api.llama_model_default_params()
        options.n_gpu_layers = 0
        options.repack_tensors = repack
        if repack:
            options.use_mmap = False
        self.model = api.llama_model_load_from_file(str(path).encode(), options)
        if not self.model:
            raise SystemExit(f"ik_llama.cpp cannot load {path}")
        self.n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        options = api.llama_context_default_params()
        options.n_ctx = n_ctx
        options.n_batch = options.n_ubatch = infer_timing.PART
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn = flash
        self.context = api.llama_init_from_model(self.model, options)
        if not self.context:
            raise SystemExit("ik_llama.cpp cannot make a context")
        self.batch = api.llama_batch_init(infer_timing.PART, 0, 1)
        self.last = 0

    def clear(self):
        api.llama_kv_cache_clear(self.context)

    def decode(self, ids, start, wanted):
        """Runs ids at positions start..; `wanted` says from which index on logits are computed."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for n, token in enumerate(ids):
            batch.token[n] = token
            batch.pos[n] = start + n
            batch.n_seq_id[n] = 1
            batch.seq_id[n][0] = 0
            batch.logits[n] = n >= wanted
        self.last = len(ids) - 1
        code = api.llama_decode(self.context, batch)
        if code != 0:
            raise SystemExit(f"llama_decode returned {code}")

    def logits(self, rows):
        """float32 [1, n_vocab] of the last token, without a copy. Waits for the computation."""
        pointer = api.llama_get_logits_ith(self.context, self.last)
        return np.ctypeslib.as_array(pointer, shape=(self.n_vocab,))[None]


def main():
    parser = infer_timing.options()
    parser.add_argument("--flash", choices=["on", "off"], default="on")
    parser.add_argument("--repack", action="store_true")
    asked = parser.parse_args()
    info = api._lib.llama_print_system_info
    info.restype = ctypes.c_char_p
    infer_timing.measure(
        lambda path, threads, n_ctx: Model(path, threads, n_ctx, asked.flash == "on", asked.repack),
        {"engine": "ik_llama.cpp", "version": "ik-llama-cpp-python 0.1.5", "system": info().decode().strip(),
         "flash": asked.flash, "repack": asked.repack},
        asked)


if __name__ == "__main__":
    main()
