//! Prints what is read of the documents of a file, folder or archive:
//! `cargo run -p nurture-data --example documents -- manual.pdf`.

use nurture_data::{DocumentFiles, ReadLimits, SourceSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let began = std::time::Instant::now();
        let (mut bytes, mut count) = (0, 0);
        for document in DocumentFiles::open(&SourceSpec::new(&path), &path, ReadLimits::default())? {
            let (id, read) = document?;
            match read {
                Err(problem) => println!("== {id}: {problem}"),
                Ok(read) => {
                    println!(
                        "== {id}: {} blocks, title {:?}",
                        read.document.blocks.len(),
                        read.document.title
                    );
                    read.notes.iter().for_each(|note| println!("-- {note}"));
                    println!("{}", read.text);
                    bytes += read.text.len();
                    count += 1;
                }
            }
        }
        eprintln!(
            "{path}: {count} documents, {bytes} bytes of text in {:.2} s",
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
