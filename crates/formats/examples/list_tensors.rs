//! Lists what a model holds: `cargo run --release -p nurture-formats --example list_tensors MODEL`,
//! where MODEL is a GGUF file or a Hugging Face folder.

use nurture_formats::{ModelFile, TensorSource};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which model?")?;
    let start = std::time::Instant::now();
    let model = ModelFile::open(path)?;
    let took = start.elapsed();
    match &model {
        ModelFile::Gguf(file) => {
            file.metadata().iter().for_each(|(key, value)| println!("{key}: {}", value.kind()))
        }
        ModelFile::Hf(folder) => println!("{:#}", folder.config()),
    }
    for t in model.tensors() {
        println!("{}\t{}\t{:?}\t{}\t{}", t.name, t.dtype, t.shape, t.offset, t.bytes);
    }
    println!("{} tensors, opened in {took:?}", model.tensors().len());
    Ok(())
}
