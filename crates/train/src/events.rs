//! The training curve as a TensorBoard event file, so that people's own boards show it.
//!
//! The file is `metrics.jsonl` in another form: opened, it is written anew from the lines that count, so that a resumed
//! run has each step once there too. Records are framed as TFRecord (length, CRC-32C, data, CRC-32C); the data is an
//! `Event` message of protocol buffers with one scalar a tag.

use crate::error::TrainError;
use crate::metrics::StepMetrics;
use nurture_formats::write_atomic;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Name of the file in the run's folder; boards are pointed at the folder.
pub const EVENTS: &str = "tensorboard/events.out.tfevents.0.nurture";

/// The file, open for more records.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Writes the file anew with these steps and keeps it open.
    pub(crate) fn open(path: PathBuf, steps: &[StepMetrics]) -> Result<EventFile, TrainError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, "creating the folder", e))?;
        }
        let mut bytes = Vec::new();
        record(&mut bytes, &version());
        steps.iter().for_each(|m| record(&mut bytes, &scalars(m)));
        write_atomic(&path, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|e| TrainError::io(&path, "opening", e))?;
        Ok(EventFile { path, file })
    }

    /// Appends the scalars of a step, in one write.
    pub(crate) fn append(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        let mut bytes = Vec::new();
        record(&mut bytes, &scalars(metrics));
        let written = self.file.write_all(&bytes);
        written.map_err(|e| TrainError::io(&self.path, "appending a record", e))
    }
}

/// Where the events of the run with these metrics lie.
pub(crate) fn beside(metrics: &Path) -> PathBuf {
    metrics.with_file_name(EVENTS)
}

/// A TFRecord: length, its masked CRC, data, its masked CRC; little-endian.
fn record(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked(crc32c(&length)).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&masked(crc32c(data)).to_le_bytes());
}

/// The first event: the version of the format.
fn version() -> Vec<u8> {
    let mut event = Vec::new();
    field_bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// An event of a step: wall time 0 (boards then go by steps), the step, and its scalars.
fn scalars(m: &StepMetrics) -> Vec<u8> {
    let mut summary = Vec::new();
    let tags = [
        ("loss", Some(m.loss)),
        ("keep/divergence", m.keep),
        ("rewards/chosen", m.preferred.map(|r| r.chosen)),
        ("rewards/rejected", m.preferred.map(|r| r.rejected)),
        ("rewards/margins", m.preferred.map(|r| r.margins)),
        ("rewards/accuracies", m.preferred.map(|r| r.accuracies)),
        ("rewards/kl", m.preferred.and_then(|r| r.kl)),
        ("rate", Some(m.rate)),
        ("grad_norm", Some(m.grad_norm)),
        ("tokens_per_second", Some(m.tok_s)),
        ("memory_gb", m.rss_bytes.map(|b| b as f64 / 1e9)),
        ("rewards/mean", m.rewards.map(|r| r.reward)),
        ("rewards/spread", m.rewards.map(|r| r.spread)),
        ("rewards/strict", m.rewards.map(|r| r.strict)),
        ("rewards/lenient", m.rewards.map(|r| r.lenient)),
        ("policy/kl", m.rewards.and_then(|r| r.kl)),
        ("value/loss", m.rewards.and_then(|r| r.value)),
        ("value/explained", m.rewards.and_then(|r| r.explained)),
        ("policy/entropy", m.rewards.map(|r| r.entropy)),
        ("policy/clipped", m.rewards.map(|r| r.clipped)),
        ("answers/length", m.rewards.map(|r| r.length)),
        ("answers/cut", m.rewards.map(|r| r.cut)),
    ];
    for (tag, value) in tags.into_iter().filter_map(|(tag, value)| Some((tag, value?))) {
        let mut one = Vec::new();
        field_bytes(&mut one, 1, tag.as_bytes());
        one.push(2 << 3 | 5); // simple_value: a float
        one.extend_from_slice(&(value as f32).to_le_bytes());
        field_bytes(&mut summary, 1, &one);
    }
    let mut event = vec![1 << 3 | 1]; // wall_time: a double
    event.extend_from_slice(&0f64.to_le_bytes());
    event.push(2 << 3); // step: a varint
    varint(&mut event, m.step);
    field_bytes(&mut event, 5, &summary);
    event
}

fn field_bytes(out: &mut Vec<u8>, field: u8, data: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, data.len() as u64);
    out.extend_from_slice(data);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// CRC-32C (Castagnoli), bit by bit: a few hundred bytes a step.
fn crc32c(data: &[u8]) -> u32 {
    let crc = data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    });
    !crc
}

/// TFRecord's mask, which keeps a CRC of data that holds CRCs from being weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_standard_s_example() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa); // RFC 3720, B.4
    }

    #[test]
    fn numbers_of_several_bytes() {
        let mut out = Vec::new();
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }

    #[test]
    fn records_follow_each_other_with_their_lengths() {
        let mut bytes = Vec::new();
        record(&mut bytes, &version());
        record(&mut bytes, b"ab");
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(length, 15);
        assert_eq!(&bytes[12..12 + length], b"\x1a\x0dbrain.Event:2");
        let next = &bytes[16 + length..];
        assert_eq!((next[0], &next[12..14]), (2, &b"ab"[..]));
        assert_eq!(next.len(), 18);
    }
}
