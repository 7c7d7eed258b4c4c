//! Files that other tools read and write: GGUF, safetensors, HF folder, PEFT adapter.
