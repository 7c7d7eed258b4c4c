//! LoRA adapters in the folder format of PEFT: `adapter_config.json` and `adapter_model.safetensors`, and beside
//! them `nurture.json` for what PEFT has no key for (older versions of it refuse keys they do not know).

mod config;
mod folder;
mod lora;

pub use config::{AdapterConfig, TargetModules};
pub use folder::{Adapter, CONFIG_NAME, EXTRA_NAME, WEIGHTS_NAME, load_adapter, save_adapter};
pub use lora::{LoraPair, SCORE_HEAD, TOKEN_ROWS, lora_names, magnitude_name};
