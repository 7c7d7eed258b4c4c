//! Lists what a GGUF file holds: `cargo run --release -p nurture-formats --example list_tensors FILE`.

use nurture_formats::{GgufFile, TensorSource};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which file?")?;
    let start = std::time::Instant::now();
    let file = GgufFile::open(path)?;
    let took = start.elapsed();
    for (key, value) in file.metadata().iter() {
        println!("{key}: {}", value.kind());
    }
    for t in file.tensors() {
        println!("{}\t{}\t{:?}\t{}\t{}", t.name, t.dtype, t.shape, t.offset, t.bytes);
    }
    println!("{} keys, {} tensors, opened in {took:?}", file.metadata().len(), file.tensors().len());
    Ok(())
}
