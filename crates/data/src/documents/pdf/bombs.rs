//! What the structure of a file would unpack to, before anybody unpacks it.
//!
//! Content streams and fonts are unpacked here with a limit (`filters`). Object streams and cross-reference streams are
//! unpacked by `hayro-syntax`, which has none: so they are looked for first, and unpacked to nowhere. Those of an encrypted
//! file cannot be looked into; for them the ratio of one layer of flate bounds what a file can do.

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;

use flate2::read::ZlibDecoder;
use memchr::memmem;

use crate::documents::DocumentProblem;

/// Layers of compression around one stream.
const LAYERS: usize = 4;
/// Longest dictionary before a stream that is looked at.
const DICTIONARY: usize = 16 << 10;
/// What one byte of LZW or run lengths can become at most, about.
const OTHER_RATIO: u64 = 2_800;

struct Counting<R> {
    inner: R,
    total: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.total.set(self.total.get() + n as u64);
        Ok(n)
    }
}

pub(super) fn check(bytes: &[u8], cap: u64) -> Result<(), DocumentProblem> {
    let too_large = Err(DocumentProblem::TooLarge { what: "its structure, unpacked,", cap });
    let total = Rc::new(Cell::new(0u64));
    for at in memmem::find_iter(bytes, b"stream") {
        let before = bytes.get(at.saturating_sub(DICTIONARY)..at).unwrap_or_default();
        if before.ends_with(b"end") {
            continue;
        }
        let dictionary = before.get(memmem::rfind(before, b"obj").unwrap_or(0)..).unwrap_or_default();
        let dictionary = unescaped(dictionary);
        let has = |word: &[u8]| memmem::find(&dictionary, word).is_some();
        if !(has(b"ObjStm") || has(b"XRef") || has(b"/First") || has(b"/W")) {
            continue;
        }
        let data = bytes.get(at + b"stream".len()..).unwrap_or_default();
        let data = data.strip_prefix(b"\r").unwrap_or(data);
        let data = data.strip_prefix(b"\n").unwrap_or(data);
        if has(b"LZW") || has(b"RunLength") || has(b"/RL") {
            let end = memmem::find(data, b"endstream").unwrap_or(data.len()) as u64;
            if end.saturating_mul(OTHER_RATIO) > cap {
                return too_large;
            }
        }
        unpack(data, &total, cap);
        if total.get() > cap {
            return too_large;
        }
    }
    Ok(())
}

/// Names may hide letters as `#xx`.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hidden = (byte == b'#')
            .then(|| std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(hidden.unwrap_or(byte));
        at += if hidden.is_some() { 3 } else { 1 };
    }
    out
}

fn unpack(data: &[u8], total: &Rc<Cell<u64>>, cap: u64) {
    let mut layer: Box<dyn Read + '_> = Box::new(data);
    for _ in 0..LAYERS {
        let mut head = [0u8; 2];
        let Ok(()) = layer.read_exact(&mut head) else { return };
        let [first, second] = head;
        let zlib = first & 0x0F == 8 && (u32::from(first) << 8 | u32::from(second)) % 31 == 0;
        let whole = Box::new(std::io::Cursor::new(head).chain(layer));
        if !zlib {
            layer = whole;
            break;
        }
        layer = Box::new(Counting { inner: ZlibDecoder::new(whole), total: total.clone() });
    }
    let mut chunk = vec![0u8; 1 << 16];
    // broken data end here as they would there
    while let Ok(n) = layer.read(&mut chunk) {
        if n == 0 || total.get() > cap {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(data: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn structures_that_unpack_without_end_are_refused() {
        let zeros = packed(&vec![0u8; 4 << 20]);
        let file = |dictionary: &str, data: &[u8]| {
            [b"%PDF-1.5\n1 0 obj\n<<", dictionary.as_bytes(), b">>\nstream\n", data, b"\nendstream"].concat()
        };
        assert!(check(&file("/Type/ObjStm", &zeros), 5 << 20).is_ok());
        assert!(check(&file("/Type/ObjStm", &zeros), 1 << 20).is_err());
        assert!(check(&file("/Type/#4fbjStm", &zeros), 1 << 20).is_err());
        assert!(check(&file("/Type/XRef", &packed(&zeros)), 1 << 20).is_err());
        assert!(check(&file("/N 3/First 9/Filter/LZWDecode", &vec![7u8; 4000]), 1 << 20).is_err());
        // what a page shows is unpacked elsewhere
        assert!(check(&file("/Length 9", &zeros), 1 << 20).is_ok());
    }
}
