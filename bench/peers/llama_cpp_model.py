"""The few calls of llama.cpp's C interface that the two peer scripts share. llama-cpp-python 0.3.36."""

import ctypes

import llama_cpp
import numpy as np

QUIET = llama_cpp.llama_log_callback(lambda level, text, data: None)


class Model:
    """One GGUF file, one context of `n_ctx` tokens, one sequence."""

    def __init__(self, path, threads, n_ctx):
        llama_cpp.llama_log_set(QUIET, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        options = llama_cpp.llama_model_default_params()
        options.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), options)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = n_ctx
        options.n_batch = options.n_ubatch = 512
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        if not self.context:
            raise SystemExit("llama.cpp cannot make a context")
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def bos(self):
        """The id that starts a text, or None where the vocabulary adds none."""
        return llama_cpp.llama_vocab_bos(self.vocab) if llama_cpp.llama_vocab_get_add_bos(self.vocab) else None

    def tokenize(self, text):
        """BOS first where the vocabulary adds it; special tokens written out in the text stay text."""
        data = text.encode("utf-8")
        room = len(data) + 16
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, room, True, False)
        assert count >= 0
        return list(ids[:count])

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

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
        code = llama_cpp.llama_decode(self.context, batch)
        if code != 0:
            raise SystemExit(f"llama_decode returned {code}")

    def logits(self, rows):
        """float32 [rows, n_vocab] of the last decode, without a copy. Waits for the computation."""
        pointer = llama_cpp.llama_get_logits(self.context)
        return np.ctypeslib.as_array(pointer, shape=(rows, self.n_vocab))
