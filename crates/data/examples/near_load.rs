//! How long the search for near duplicates takes and what it holds, on rows that are made as they are needed.
//!
//! ```text
//! cargo run --release -p nurture-data --example near_load -- 10000000 [words of a row] [zh]
//! ```
//! One row in ten repeats an earlier one with the last word but one (Chinese: character) changed, which
//! leaves 92 % of the windows of 50 words. Rows are not kept: what is printed
//! as memory is the index alone, and beside it the whole process as Linux counts it.

use std::time::Instant;

use nurture_data::{NearIndex, near_windows, stream};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |or: usize| args.next().and_then(|a| a.parse().ok()).unwrap_or(or);
    let (rows, words) = (number(1_000_000), number(50));
    let chinese = std::env::args().any(|a| a == "zh");
    println!("{rows} rows of {words} {}", if chinese { "Chinese characters" } else { "words" });

    let began = Instant::now();
    let mut index = NearIndex::new(0.8, 1, rows);
    let (mut planted, mut found, mut wrong, mut text, mut windows) =
        (0u64, 0u64, 0u64, String::new(), Vec::new());
    let mut making = std::time::Duration::ZERO;
    for row in 0..rows as u64 {
        let start = Instant::now();
        // a copy is of a row that is no copy itself
        let copy = row % 10 == 9;
        let of = if copy { row / 10 * 10 } else { row };
        make(of, copy, words, chinese, &mut text);
        making += start.elapsed();
        planted += u64::from(copy);
        windows.clear();
        near_windows(&text, 1, &mut windows);
        let Some(signature) = index.signature(&windows) else { continue };
        match index.find_by_signature(&signature) {
            Some(_) if copy => found += 1,
            Some(_) => wrong += 1,
            None => {
                index.insert(&signature);
            }
        }
    }
    let seconds = (began.elapsed() - making).as_secs_f64();
    let bytes = index.bytes() as f64;
    println!("time        {seconds:.1} s ({:.0} rows/s), making the rows not counted", rows as f64 / seconds);
    println!(
        "index       {:.2} GB, {:.0} bytes a kept row",
        bytes / 1e9,
        bytes / f64::from(index.rows().max(1))
    );
    println!(
        "process     {}",
        peak().map_or_else(|| "unknown".into(), |kb| format!("{:.2} GB at its peak", kb / 1e6))
    );
    println!("found       {found} of {planted} planted, {wrong} others");
}

/// A row of words that depends on its number only; of a copy the last word but one is another.
fn make(row: u64, copy: bool, words: usize, chinese: bool, out: &mut String) {
    out.clear();
    let mut chance = stream(row, "near_load", 0);
    for at in 0..words {
        let mut draw = chance.next_u64();
        if copy && at + 2 == words {
            draw = !draw;
        }
        match chinese {
            true => out.push(char::from_u32(0x4E00 + (draw % 3000) as u32).unwrap_or('一')),
            false => {
                use std::fmt::Write as _;
                let _ = write!(out, "w{:x} ", draw % 20_000);
            }
        }
    }
}

/// Peak resident memory in kB, where the system says it.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().trim_end_matches("kB").trim().parse().ok()
}
