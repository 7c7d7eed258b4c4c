//! Personal data that has a form: identity cards, credit codes, bank cards (with their check digits), telephone numbers,
//! e-mail addresses, licence plates. Full-width digits and letters are read as the plain ones.
//!
//! Left out on purpose: names and addresses. They have no form that a rule could find, and a rule that pretends to would
//! give false comfort.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::identifiers::{is_credit_code, is_id_card, is_luhn, looks_like_card};
use crate::units::narrow;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitive {
    /// A key, token or password.
    Secret,
    /// A Chinese identity card number (GB 11643).
    IdCard,
    /// A unified social credit code (GB 32100). It names an organisation, or a sole trader.
    CreditCode,
    /// A bank card number (Luhn, and the first digits of a card or a word such as 卡号 before it).
    BankCard,
    /// A telephone number: Chinese mobile and landline, international with `+`, North American.
    Phone,
    /// An e-mail address.
    Email,
    /// A Chinese licence plate.
    Plate,
}

impl Sensitive {
    /// All kinds of personal data.
    pub const PERSONAL: [Sensitive; 6] = [
        Sensitive::IdCard,
        Sensitive::CreditCode,
        Sensitive::BankCard,
        Sensitive::Phone,
        Sensitive::Email,
        Sensitive::Plate,
    ];

    /// The word of a placeholder: `[PHONE_1]`.
    pub fn word(self) -> &'static str {
        match self {
            Sensitive::Secret => "SECRET",
            Sensitive::IdCard => "ID_CARD",
            Sensitive::CreditCode => "CREDIT_CODE",
            Sensitive::BankCard => "BANK_CARD",
            Sensitive::Phone => "PHONE",
            Sensitive::Email => "EMAIL",
            Sensitive::Plate => "PLATE",
        }
    }
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) what: Sensitive,
    /// Bytes of the text.
    pub(crate) at: Range<usize>,
}

/// Longest parts of an address (RFC 5321).
const LONGEST_LOCAL: usize = 64;
const LONGEST_DOMAIN: usize = 255;
/// Groups of digits that can belong to one number.
const MOST_GROUPS: usize = 6;
/// Characters before a number in which a word can say what it is.
const BEFORE: usize = 16;
const REGIONS: &str = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼";
const PLATE_ENDS: &str = "警学挂港澳领使";
const CARD_WORDS: [&str; 9] = ["卡号", "账号", "帐号", "账户", "帐户", "银行卡", "card", "account", "acct"];

/// Finds everything, in order, without overlaps.
pub(crate) fn find(text: &str, out: &mut Vec<Found>) {
    // full-width digits begin with these two bytes
    let worth = |b: &[u8]| b[0].is_ascii_digit() || b[0] == b'@' || (b[0] == 0xEF && b.get(1) == Some(&0xBC));
    if !text.as_bytes().windows(2).any(worth) && !text.ends_with(|c: char| c.is_ascii_digit()) {
        return;
    }
    let chars: Vec<char> = text.chars().map(narrow).collect();
    let mut bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    bytes.push(text.len());
    let scan = Scan { chars: &chars };
    let mut at = 0;
    while at < chars.len() {
        match scan.here(at) {
            Some((what, chars)) => {
                out.push(Found { what, at: bytes[chars.start]..bytes[chars.end] });
                at = chars.end;
            }
            None => at += 1,
        }
    }
}

struct Scan<'a> {
    chars: &'a [char],
}

impl Scan<'_> {
    fn at(&self, at: usize) -> char {
        self.chars.get(at).copied().unwrap_or('\0')
    }

    fn before(&self, at: usize) -> char {
        at.checked_sub(1).map_or('\0', |at| self.at(at))
    }

    /// What begins at this character.
    fn here(&self, at: usize) -> Option<(Sensitive, Range<usize>)> {
        let c = self.at(at);
        if !c.is_ascii() {
            return REGIONS.contains(c).then(|| self.plate(at)).flatten();
        }
        let starts_word = !word(self.before(at));
        if starts_word
            && local(c)
            && let Some(end) = self.email(at)
        {
            return Some((Sensitive::Email, at..end));
        }
        if starts_word && c.is_ascii_alphanumeric() {
            let end = self.run(at, |c| c.is_ascii_alphanumeric());
            if end - at == 18 && !word(self.at(end)) {
                let code: String = self.chars[at..end].iter().collect();
                if is_id_card(&code) {
                    return Some((Sensitive::IdCard, at..end));
                }
                if is_credit_code(&code) {
                    return Some((Sensitive::CreditCode, at..end));
                }
            }
        }
        let decimal = matches!(self.before(at), '.' | ',')
            && self.chars.get(at.wrapping_sub(2)).is_some_and(char::is_ascii_digit);
        if (c.is_ascii_digit() && starts_word && !decimal && self.before(at) != '+') || c == '+' || c == '(' {
            return self.number(at);
        }
        None
    }

    fn run(&self, at: usize, is: impl Fn(char) -> bool) -> usize {
        at + self.chars[at..].iter().take_while(|c| is(**c)).count()
    }

    /// The end of an address that begins here.
    fn email(&self, at: usize) -> Option<usize> {
        let sign = at + self.chars[at..].iter().take(LONGEST_LOCAL + 1).take_while(|c| local(**c)).count();
        if self.at(sign) != '@' || sign - at > LONGEST_LOCAL || matches!(self.before(sign), '.') {
            return None;
        }
        let rest = self.chars.get(sign + 1..)?;
        let domain = |c: &&char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        let mut end = sign + 1 + rest.iter().take(LONGEST_DOMAIN).take_while(domain).count();
        while matches!(self.before(end), '.' | '-') {
            end -= 1;
        }
        let name: String = self.chars.get(sign + 1..end)?.iter().collect();
        let (host, last) = name.rsplit_once('.')?;
        // git@host:path is an address of a repository
        let repository = self.chars[at..sign] == ['g', 'i', 't'] && self.at(end) == ':';
        let named = last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic());
        (named && !repository && host.split('.').all(|label| !label.is_empty())).then_some(end)
    }

    /// A telephone or card number that begins here: groups of digits with single signs between them.
    fn number(&self, at: usize) -> Option<(Sensitive, Range<usize>)> {
        let plus = self.at(at) == '+';
        let paren = self.at(at) == '(';
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut next = at + usize::from(plus || paren);
        while groups.len() < MOST_GROUPS {
            let end = self.run(next, |c| c.is_ascii_digit());
            if end == next {
                break;
            }
            groups.push(next..end);
            next = match (self.at(end), self.at(end + 1)) {
                (')', ' ' | '-') => end + 2,
                (' ' | '-' | '.' | ')', _) => end + 1,
                _ => break,
            };
        }
        // the longest number first
        for count in (1..=groups.len()).rev() {
            let groups = groups.get(..count)?;
            let end = groups.last()?.end;
            let goes_on = word(self.at(end))
                || (matches!(self.at(end), '.' | ',') && self.at(end + 1).is_ascii_digit());
            if goes_on {
                continue;
            }
            if let Some(what) = self.classify(at, groups, plus, paren) {
                return Some((what, at..end));
            }
        }
        None
    }

    fn classify(&self, at: usize, groups: &[Range<usize>], plus: bool, paren: bool) -> Option<Sensitive> {
        let digits: String = groups.iter().flat_map(|g| &self.chars[g.clone()]).collect();
        let sizes: Vec<usize> = groups.iter().map(ExactSizeIterator::len).collect();
        let signs: Vec<char> = groups.windows(2).map(|w| self.at(w[0].end)).collect();
        let all = |sign: &[char]| signs.iter().all(|s| sign.contains(s));
        let mobile = |digits: &str| {
            let mut first = digits.bytes();
            digits.len() == 11
                && first.next() == Some(b'1')
                && first.next().is_some_and(|c| (b'3'..=b'9').contains(&c))
        };
        let (body, sizes_of_body) = match () {
            () if plus && digits.starts_with("86") => (&digits[2..], &sizes[usize::from(sizes[0] == 2)..]),
            () if digits.starts_with("0086") => (&digits[4..], &sizes[usize::from(sizes[0] == 4)..]),
            () if sizes[0] == 2 && digits.starts_with("86") => (&digits[2..], &sizes[1..]),
            () if digits.len() == 13 && digits.starts_with("861") => (&digits[2..], &sizes[..]),
            () => (&digits[..], &sizes[..]),
        };
        if mobile(body) && all(&[' ', '-']) && matches!(sizes_of_body, [_] | [3, 4, 4]) {
            return Some(Sensitive::Phone);
        }
        if plus {
            let fits = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
            return fits.then_some(Sensitive::Phone);
        }
        let landline = |d: &str, s: &[usize]| {
            d.starts_with('0') && matches!(s, [3 | 4, 7 | 8] | [3 | 4, 4, 4] | [3 | 4, 3, 4])
        };
        if landline(&digits, &sizes) && (paren && signs.first() == Some(&')') || all(&['-'])) {
            return Some(Sensitive::Phone);
        }
        let american = sizes == [3, 3, 4]
            && !digits.starts_with(['0', '1'])
            && !digits[3..].starts_with(['0', '1'])
            && (all(&['-']) || all(&['.']) || (paren && signs.first() == Some(&')')));
        if american {
            return Some(Sensitive::Phone);
        }
        let grouped = sizes.len() == 1
            || (matches!(sizes[..], [4, 4, 4, 1..=4] | [4, 4, 4, 4, 1..=3] | [4, 6, 5])
                && (all(&[' ']) || all(&['-'])));
        if !paren && grouped && (13..=19).contains(&digits.len()) && is_luhn(&digits) {
            let said: String =
                self.chars[at.saturating_sub(BEFORE)..at].iter().flat_map(|c| c.to_lowercase()).collect();
            let named = CARD_WORDS.iter().any(|w| said.contains(w));
            return (named || looks_like_card(&digits)).then_some(Sensitive::BankCard);
        }
        None
    }

    /// An ordinary plate of five places, or one of six for a car with an electric motor.
    fn plate(&self, at: usize) -> Option<(Sensitive, Range<usize>)> {
        let place = |c: char| c.is_ascii_digit() || (c.is_ascii_uppercase() && !matches!(c, 'I' | 'O'));
        let city = self.at(at + 1);
        if !city.is_ascii_uppercase() || !place(city) {
            return None;
        }
        let start = at + 2 + usize::from(matches!(self.at(at + 2), '·' | '•' | '・' | ' ' | '-'));
        let mut end = self.run(start, place);
        let special = PLATE_ENDS.contains(self.at(end)) && end - start == 4;
        end += usize::from(special);
        let tail = self.chars.get(start..end)?;
        let digits = tail.iter().filter(|c| c.is_ascii_digit()).count();
        let electric = |c: Option<&char>| c.is_some_and(|c| ('A'..='K').contains(c));
        let fits = match tail.len() {
            5 => digits >= 1,
            6 => digits >= 4 && (electric(tail.first()) || matches!(tail.last(), Some('D' | 'F'))),
            _ => false,
        };
        (fits && !word(self.at(end))).then_some((Sensitive::Plate, at..end))
    }
}

/// A character that would make a longer word or number of what stands beside it.
fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn local(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Sensitive, &str)> {
        let mut out = Vec::new();
        find(text, &mut out);
        out.into_iter().map(|f| (f.what, &text[f.at])).collect()
    }

    #[test]
    fn what_is_found() {
        use Sensitive::*;
        let check = |text: &str, want: &[(Sensitive, &str)]| assert_eq!(found(text), want, "{text}");
        check("身份证53010219200508011X，男", &[(IdCard, "53010219200508011X")]);
        check(
            "证号：１１０１０５１９４９１２３１００２ｘ",
            &[(IdCard, "１１０１０５１９４９１２３１００２ｘ")],
        );
        check("信用代码 91440300708461136T。", &[(CreditCode, "91440300708461136T")]);
        check("card 4111 1111 1111 1111, ok", &[(BankCard, "4111 1111 1111 1111")]);
        check("4111111111111111", &[(BankCard, "4111111111111111")]);
        check("卡号1234567812345670", &[(BankCard, "1234567812345670")]);
        check("订单1234567812345670", &[]);
        check("4111111111111112", &[]);
        check("电话13800138000。", &[(Phone, "13800138000")]);
        check(
            "+86 138-0013-8000 或 0086 13800138000",
            &[(Phone, "+86 138-0013-8000"), (Phone, "0086 13800138000")],
        );
        check("010-62345678转8", &[(Phone, "010-62345678")]);
        check("(0755) 2345678", &[(Phone, "(0755) 2345678")]);
        check(
            "call (555) 234-5678 or +44 20 7946 0958",
            &[(Phone, "(555) 234-5678"), (Phone, "+44 20 7946 0958")],
        );
        check("213-155-0142", &[]);
        check("213-555-0142", &[(Phone, "213-555-0142")]);
        check("写信给 zhang.san+a@mail.example.com.cn。", &[(Email, "zhang.san+a@mail.example.com.cn")]);
        check("<a@b.co>", &[(Email, "a@b.co")]);
        check(
            "车牌京A12345、粤B·D12345和沪A1234警",
            &[(Plate, "京A12345"), (Plate, "粤B·D12345"), (Plate, "沪A1234警")],
        );
    }

    #[test]
    fn what_is_not() {
        for text in [
            "",
            "5",
            "3.13800138000",
            "138001380001",
            "a13800138000",
            "2024-05-06 10:30:00",
            "110105194912310021",
            "git@github.com:owner/repo.git",
            "@name and name@ and a@b",
            "user@1.2.3.4",
            "package@1.2.3",
            "京ABCDEF",
            "第12345条，新A级，12 345 678",
            "1,234,567,890,123",
            "0xdeadbeef 3f2504e04f8911d3",
            "192.168.0.1",
            "ISBN 978-7-111-12345-6",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
        let long =
            "1".repeat(100_000) + &"a.".repeat(50_000) + &"(((+ ".repeat(20_000) + &"12 ".repeat(50_000);
        assert_eq!(found(&long), []);
    }
}
