//! Streams unpacked with a limit: content, embedded character maps.

use std::io::Read;

use flate2::read::ZlibDecoder;
use hayro_syntax::Filter;
use hayro_syntax::object::Stream;

use crate::documents::DocumentProblem;

/// The decoded data; nothing for filters of pictures and for data that are broken from the first byte.
pub(super) fn decoded(stream: &Stream<'_>, cap: usize) -> Result<Option<Vec<u8>>, DocumentProblem> {
    let mut data = stream.raw_data().into_owned();
    for filter in stream.filters() {
        let next = match filter {
            Filter::FlateDecode => flate(&data, cap),
            Filter::AsciiHexDecode => Some(hex(&data)),
            Filter::Ascii85Decode => Some(ascii85(&data)),
            Filter::RunLengthDecode => Some(run_length(&data, cap)),
            Filter::LzwDecode => Some(lzw(&data, cap)),
            Filter::Crypt => continue,
            _ => None,
        };
        let Some(next) = next else { return Ok(None) };
        if next.len() > cap {
            return Err(DocumentProblem::TooLarge {
                what: "the content of a page, unpacked,",
                cap: cap as u64,
            });
        }
        data = next;
    }
    Ok(Some(data))
}

/// As far as the data go; one byte more than `cap` where they go on.
fn flate(data: &[u8], cap: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let result = ZlibDecoder::new(data).take(cap as u64 + 1).read_to_end(&mut out);
    // a checksum that is wrong or missing is no reason to lose the page
    (result.is_ok() || !out.is_empty()).then_some(out)
}

fn hex(data: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = data
        .iter()
        .take_while(|&&b| b != b'>')
        .filter_map(|&b| char::from(b).to_digit(16).map(|d| d as u8))
        .collect();
    digits.chunks(2).map(|pair| pair.first().unwrap_or(&0) << 4 | pair.get(1).unwrap_or(&0)).collect()
}

fn ascii85(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut group: Vec<u32> = Vec::new();
    let finish = |group: &mut Vec<u32>, out: &mut Vec<u8>| {
        let given = group.len();
        if given < 2 {
            return group.clear();
        }
        group.resize(5, 84);
        let value = group.iter().fold(0u32, |v, d| v.wrapping_mul(85).wrapping_add(*d));
        out.extend(value.to_be_bytes().iter().take(given - 1));
        group.clear();
    };
    for &byte in data {
        match byte {
            b'~' => break,
            b'z' if group.is_empty() => out.extend([0; 4]),
            b'!'..=b'u' => {
                group.push(u32::from(byte - b'!'));
                if group.len() == 5 {
                    finish(&mut group, &mut out);
                }
            }
            _ => {}
        }
    }
    finish(&mut group, &mut out);
    out
}

fn run_length(data: &[u8], cap: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((&length, tail)) = rest.split_first() {
        if length == 128 || out.len() > cap {
            break;
        }
        if length < 128 {
            let n = (usize::from(length) + 1).min(tail.len());
            let (copied, after) = tail.split_at(n);
            out.extend_from_slice(copied);
            rest = after;
        } else {
            let Some((&byte, after)) = tail.split_first() else { break };
            out.extend(std::iter::repeat_n(byte, 257 - usize::from(length)));
            rest = after;
        }
    }
    out
}

/// LZW with the early change that PDF has by default.
fn lzw(data: &[u8], cap: usize) -> Vec<u8> {
    // entry: (the entry before, last byte, length)
    let mut table: Vec<(u16, u8, u32)> = Vec::new();
    let begin = |table: &mut Vec<(u16, u8, u32)>| {
        table.clear();
        table.extend((0..=255u8).map(|b| (u16::MAX, b, 1)));
        table.extend([(u16::MAX, 0, 0); 2]);
    };
    begin(&mut table);
    let mut out: Vec<u8> = Vec::new();
    let (mut bits, mut held) = (0u32, 0u32);
    let mut width = 9;
    let mut last: Option<u16> = None;
    let word = |table: &[(u16, u8, u32)], code: u16| -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = code;
        while let Some(&(before, byte, length)) = table.get(usize::from(at)) {
            if length == 0 {
                break;
            }
            bytes.push(byte);
            at = before;
        }
        bytes.reverse();
        bytes
    };
    for &byte in data {
        bits = bits << 8 | u32::from(byte);
        held += 8;
        if held < width {
            continue;
        }
        held -= width;
        let code = (bits >> held & ((1 << width) - 1)) as u16;
        match code {
            256 => {
                begin(&mut table);
                width = 9;
                last = None;
                continue;
            }
            257 => break,
            _ => {}
        }
        if out.len() > cap {
            break;
        }
        let mut text = word(&table, code);
        if let Some(before) = last {
            let head = if usize::from(code) < table.len() {
                text.first().copied()
            } else {
                text = word(&table, before);
                let head = text.first().copied();
                text.extend(head);
                head
            };
            let (Some(head), true) = (head, table.len() < 4096) else {
                if head.is_none() {
                    break;
                }
                out.extend_from_slice(&text);
                last = Some(code);
                continue;
            };
            let length = table.get(usize::from(before)).map_or(0, |e| e.2);
            table.push((before, head, length + 1));
            if usize::from(code) >= table.len() {
                break;
            }
        } else if usize::from(code) >= table.len() {
            break;
        }
        out.extend_from_slice(&text);
        last = Some(code);
        width = match table.len() + 1 {
            0..512 => 9,
            512..1024 => 10,
            1024..2048 => 11,
            _ => 12,
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_of_text_streams() {
        assert_eq!(hex(b"48 656C6c 6f7>junk"), b"Hellop");
        assert_eq!(ascii85(b"87cURD]i,\"Ebo80~>"), b"Hello World!");
        assert_eq!(run_length(&[2, b'a', b'b', b'c', 254, b'x', 128, 9], 99), b"abcxxx");
        // the example of the specification (ISO 32000-1, 7.4.4.2)
        let packed = [0x80, 0x0B, 0x60, 0x50, 0x22, 0x0C, 0x0C, 0x85, 0x01];
        assert_eq!(lzw(&packed, 99), [45, 45, 45, 45, 45, 65, 45, 45, 45, 66]);
    }

    #[test]
    fn no_bytes_make_them_grow_or_fail() {
        let mut rng = crate::rng::stream(5, "filters", 0);
        for _ in 0..300 {
            let data: Vec<u8> = (0..rng.next_u64() % 400).map(|_| (rng.next_u64() >> 13) as u8).collect();
            for out in [hex(&data), ascii85(&data), run_length(&data, 1000), lzw(&data, 1000)] {
                assert!(out.len() < 6000);
            }
            flate(&data, 1000);
        }
    }
}
