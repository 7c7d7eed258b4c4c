//! Whether a SentencePiece table of normal forms can be walked: the library that walks it trusts what it reads.
//!
//! The table is the length of a double array in bytes (u32), the array (u32 each, Darts-clone's units), and the normal forms, each
//! ended by a zero byte. The longest beginning of a text that has a leaf gives the place of its form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What is wrong with the tables of a normaliser, however deep they stand in it.
pub(super) fn problem(normalizer: &Value) -> Option<String> {
    match normalizer {
        Value::Array(all) => all.iter().find_map(problem),
        Value::Object(parts) => {
            let table = parts.get("precompiled_charsmap");
            let asked = parts.get("type").and_then(Value::as_str) == Some("Precompiled");
            let own = match table.map(Value::as_str) {
                None if asked => Some("is missing"),
                None => None,
                Some(None) => Some("is no text"),
                Some(Some(text)) => match STANDARD.decode(text) {
                    Ok(bytes) => broken(&bytes),
                    Err(_) => Some("is no base64"),
                },
            };
            own.map(|p| format!("normalizer: precompiled_charsmap {p}"))
                .or_else(|| parts.values().find_map(problem))
        }
        _ => None,
    }
}

fn broken(bytes: &[u8]) -> Option<&'static str> {
    const CUT: Option<&str> = Some("breaks off");
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else { return CUT };
    let size = u32::from_le_bytes(*size) as usize / 4 * 4;
    let Some((array, forms)) = rest.split_at_checked(size) else { return CUT };
    let (units, _) = array.as_chunks::<4>();
    let Ok(forms) = std::str::from_utf8(forms) else { return Some("has normal forms that are not UTF-8") };
    let unit = |at: usize| units.get(at).map(|u| u32::from_le_bytes(*u) as usize);
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    const OUTSIDE: Option<&str> = Some("points outside itself");
    let Some(root) = unit(0) else { return OUTSIDE };
    // all places from which a walk can read the next byte
    let (mut open, mut seen) = (vec![offset(root)], vec![false; units.len() + 256]);
    while let Some(at) = open.pop() {
        match seen.get_mut(at) {
            None => return OUTSIDE,
            Some(true) => continue,
            Some(new) => *new = true,
        }
        for byte in 1..=255usize {
            let Some(found) = unit(at ^ byte) else { return OUTSIDE };
            if found & (1 << 31 | 0xff) != byte {
                continue;
            }
            let next = at ^ byte ^ offset(found);
            if found >> 8 & 1 == 1 {
                let Some(leaf) = unit(next) else { return OUTSIDE };
                if !forms.is_char_boundary(leaf & ((1 << 31) - 1)) {
                    return Some("names a normal form that is not there");
                }
            }
            open.push(next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokenizers::{NormalizedString, Normalizer as _, NormalizerWrapper};

    /// A table of so many units, then the forms.
    fn table(units: &[u32], forms: &str) -> Vec<u8> {
        let array = units.iter().flat_map(|u| u.to_le_bytes());
        (units.len() as u32 * 4).to_le_bytes().into_iter().chain(array).chain(forms.bytes()).collect()
    }

    #[test]
    fn a_table_is_walked_or_refused_and_nothing_panics() {
        // 256 units from the root's own block, `a` with a leaf in the next one, whose form is "b"
        let mut units = vec![0u32; 768];
        units[0] = 256 << 10;
        units[256 ^ 97] = 97 | 1 << 8 | ((256 ^ 97 ^ 512) << 10);
        units[512] = 1 << 31;
        assert_eq!(broken(&table(&units, "b\0")), None);
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let (mut fine, mut refused) = (0, 0);
        for _ in 0..3000 {
            let mut bytes = table(&units, "b\0é\0");
            for _ in 0..=below(3) {
                // mostly where it matters: the root, the leaf and their neighbours
                let at = match below(4) {
                    0 => below(8),
                    1 => 4 * (256 ^ 97) + 4 + below(4),
                    2 => 4 * 512 + 4 + below(4),
                    _ => below(bytes.len() as u64),
                };
                bytes[at as usize] = below(256) as u8;
            }
            if below(10) == 0 {
                bytes.truncate(below(bytes.len() as u64) as usize);
            }
            if broken(&bytes).is_some() {
                refused += 1;
                continue;
            }
            fine += 1;
            let json = json!({ "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&bytes) });
            let normalizer: NormalizerWrapper = serde_json::from_value(json).unwrap();
            for text in ["a", "aab水", "e\u{301}a\u{ff}", "ÿa", "👨‍👩‍👧‍👦"] {
                let _ = normalizer.normalize(&mut NormalizedString::from(text));
            }
        }
        assert!(fine > 300 && refused > 300, "{fine} {refused}");
    }

    #[test]
    fn tables_are_found_where_they_stand() {
        let deep = json!({ "type": "Sequence", "normalizers": [{ "type": "NFC" }, { "type": "Precompiled", "precompiled_charsmap": "AAAA" }] });
        assert!(problem(&deep).unwrap().contains("breaks off"));
        assert!(problem(&json!({ "type": "Precompiled" })).unwrap().contains("missing"));
        assert!(
            problem(&json!({ "type": "Precompiled", "precompiled_charsmap": "!" }))
                .unwrap()
                .contains("base64")
        );
        assert!(problem(&json!({ "precompiled_charsmap": 3 })).unwrap().contains("no text"));
        assert_eq!(problem(&json!({ "type": "NFC" })), None);
        assert_eq!(problem(&Value::Null), None);
    }
}
