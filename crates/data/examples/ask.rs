//! The questions that rules find in documents: how many of each rule, and the first of each.
//!
//! ```text
//! cargo run -p nurture-data --example ask -- FOLDER_OR_FILE
//! ```

use std::collections::BTreeMap;

use nurture_data::{Asked, DataError, DocumentFiles, QuestionRule, ReadLimits, SourceSpec, questions};

fn main() -> Result<(), DataError> {
    let path = std::env::args().nth(1).unwrap_or_else(|| ".".to_string());
    let (mut documents, mut unread) = (0, 0);
    let mut found: BTreeMap<QuestionRule, Vec<Asked>> = BTreeMap::new();
    for item in DocumentFiles::open(&SourceSpec::new(&path), "documents", ReadLimits::default())? {
        match item?.1 {
            Ok(read) => {
                documents += 1;
                questions(&read.document).into_iter().for_each(|a| found.entry(a.rule).or_default().push(a));
            }
            Err(_) => unread += 1,
        }
    }
    println!("{documents} documents, {unread} not read");
    for (rule, all) in &found {
        println!("{rule:?}: {}", all.len());
        for asked in all.iter().step_by(all.len() / 4 + 1) {
            println!("  {}: {} — {}", asked.document, asked.question, asked.answer);
        }
    }
    Ok(())
}
