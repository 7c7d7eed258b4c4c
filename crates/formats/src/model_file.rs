//! One door to a model, whichever of the two forms it has on the disk.

use std::path::Path;

use crate::{FormatError, GgufFile, HfFolder, TensorInfo, TensorSource};

/// A model as a GGUF file or as a Hugging Face folder.
#[derive(Debug)]
pub enum ModelFile {
    /// One GGUF file.
    Gguf(GgufFile),
    /// A folder with `config.json` and safetensors.
    Hf(HfFolder),
}

impl ModelFile {
    /// Opens a folder as Hugging Face model, anything else as GGUF.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFile, FormatError> {
        let path = path.as_ref();
        if path.is_dir() {
            return HfFolder::open(path).map(ModelFile::Hf);
        }
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors")) {
            let problem = "weights without their config.json; give the folder that holds both";
            return Err(FormatError::not_supported(path, problem));
        }
        GgufFile::open(path).map(ModelFile::Gguf)
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        match self {
            ModelFile::Gguf(file) => file.path(),
            ModelFile::Hf(folder) => folder.path(),
        }
    }

    fn source(&self) -> &dyn TensorSource {
        match self {
            ModelFile::Gguf(file) => file,
            ModelFile::Hf(folder) => folder,
        }
    }
}

impl TensorSource for ModelFile {
    fn tensors(&self) -> &[TensorInfo] {
        self.source().tensors()
    }

    fn tensor(&self, name: &str) -> Result<&TensorInfo, FormatError> {
        self.source().tensor(name)
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.source().info(name)
    }

    fn read_into(&self, info: &TensorInfo, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        self.source().read_into(info, offset, buf)
    }
}
