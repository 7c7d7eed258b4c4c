//! The network: configuration, linear layers with LoRA, the decoder, its KV cache; forward and backward.
