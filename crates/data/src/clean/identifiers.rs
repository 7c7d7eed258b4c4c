//! Check digits of identifiers.

/// Weights of GB 11643 (ISO 7064, MOD 11-2).
const ID_WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
/// The check characters by remainder.
const ID_CHECKS: &[u8; 11] = b"10X98765432";
/// The alphabet of GB 32100: no I, O, S, V, Z.
const CREDIT: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
/// Powers of 3 modulo 31.
const CREDIT_WEIGHTS: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];

/// Whether this is a number of a Chinese identity card (GB 11643-1999): region, date of birth, sequence, check digit.
pub fn is_id_card(number: &str) -> bool {
    let Ok(b) = <&[u8; 18]>::try_from(number.as_bytes()) else { return false };
    if !b.iter().take(17).all(u8::is_ascii_digit) {
        return false;
    }
    let value = |range: std::ops::Range<usize>| range.fold(0, |n, i| 10 * n + u32::from(b[i] - b'0'));
    let sum: u32 = b.iter().zip(ID_WEIGHTS).map(|(d, w)| u32::from(d - b'0') * w).sum();
    region(value(0..2))
        && is_date(value(6..10), value(10..12), value(12..14))
        && ID_CHECKS[(sum % 11) as usize] == b[17].to_ascii_uppercase()
}

/// Whether this is a unified social credit code (GB 32100-2015): authority, category, region, organisation, check
/// character.
pub fn is_credit_code(code: &str) -> bool {
    let Ok(b) = <&[u8; 18]>::try_from(code.as_bytes()) else { return false };
    let value = |c: &u8| CREDIT.iter().position(|a| *a == c.to_ascii_uppercase()).map(|v| v as u32);
    let Some(values) = b.iter().map(value).collect::<Option<Vec<u32>>>() else { return false };
    let region_digits = b[2..8].iter().all(u8::is_ascii_digit);
    // authorities that were given out: digits 1 to 9, A, N, Y
    let authority = matches!(b[0].to_ascii_uppercase(), b'1'..=b'9' | b'A' | b'N' | b'Y');
    let sum: u32 = values.iter().zip(CREDIT_WEIGHTS).map(|(v, w)| v * w).sum();
    authority
        && region_digits
        && (region(10 * values[2] + values[3]) || (values[2], values[3]) == (1, 0))
        && (31 - sum % 31) % 31 == values[17]
}

/// Whether the last digit is the check digit of the others (Luhn, ISO/IEC 7812-1). Digits only.
pub fn is_luhn(digits: &str) -> bool {
    let sum = digits.bytes().rev().enumerate().try_fold(0u32, |sum, (at, c)| {
        let digit = u32::from(c.is_ascii_digit().then(|| c - b'0')?);
        let double = if at % 2 == 1 { 2 * digit } else { digit };
        Some(sum + if double > 9 { double - 9 } else { double })
    });
    digits.len() > 1 && sum.is_some_and(|sum| sum % 10 == 0)
}

/// Whether a number has the first digits and the length of a bank card: UnionPay, Visa, Mastercard, American Express, JCB,
/// Discover.
pub(super) fn looks_like_card(digits: &str) -> bool {
    let first = |n: usize| digits.get(..n).and_then(|d| d.parse::<u32>().ok()).unwrap_or(0);
    match (first(2), digits.len()) {
        (62, 16..=19) | (40..=49, 13 | 16 | 19) | (51..=55, 16) | (34 | 37, 15) | (65, 16) => true,
        (22..=27, 16) => (2221..=2720).contains(&first(4)),
        (35, 16) => (3528..=3589).contains(&first(4)),
        (60, 16) => first(4) == 6011,
        _ => false,
    }
}

/// The first two digits of the codes of administrative divisions (GB/T 2260), Taiwan, Hong Kong and Macao, and 91.
fn region(code: u32) -> bool {
    matches!(code, 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91)
}

fn is_date(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1900..2100).contains(&year) && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that pass, each with every wrong last place refused.
    fn check(is: fn(&str) -> bool, good: &str, last: &str) {
        assert!(is(good), "{good}");
        let (head, right) = good.split_at(good.len() - 1);
        for c in last.chars().filter(|c| !c.to_string().eq_ignore_ascii_case(right)) {
            assert!(!is(&format!("{head}{c}")), "{head}{c}");
        }
    }

    #[test]
    fn check_digits() {
        check(is_id_card, "53010219200508011X", "0123456789X");
        check(is_id_card, "11010519491231002x", "0123456789X");
        check(is_credit_code, "91440300708461136T", "0123456789ABCDEFGHJKLMNPQRTUWXY");
        check(is_credit_code, "91110102MAD55U9H0F", "0123456789ABCDEFGHJKLMNPQRTUWXY");
        check(is_luhn, "79927398713", "0123456789");
        check(is_luhn, "4111111111111111", "0123456789");
        assert!(!is_id_card("110105194902300021"), "no 30 February");
        for bad in ["", "1", "é1010519491231002X", "99010519491231002X", "0x1"] {
            assert!(!is_id_card(bad) && !is_credit_code(bad) && !is_luhn(bad), "{bad}");
        }
        assert!(looks_like_card("6222020000000000000") && !looks_like_card("1234567812345670"));
    }
}
