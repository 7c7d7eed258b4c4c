//! Numbers: the final one of an answer against the right one, by value.
//!
//! The number is looked for behind the last marker (`####` as in GSM8K, `\boxed{`, "answer is", 答案是 …), else it is the
//! last of the text. Read are thousands separators, decimals, fractions, exponents, signs and full-width digits, Chinese
//! numbers (三百二十, 一万二, 三点五, 二〇二四, 百分之五) and 万, 亿, thousand, million, billion behind digits. Units and currency
//! are not compared; `5 %`, 5 and 0.05 are equal where one of both has the sign. English number words are left out.

/// Relative difference that still counts as the same value.
const SAME: f64 = 1e-6;

const MARKERS: [&str; 9] =
    ["####", "\\boxed{", "answer is", "answer:", "the result is", "答案是", "答案为", "答案:", "结果是"];

/// A number as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// Its value, without the percent sign's hundredth.
    pub value: f64,
    /// Whether a percent sign belongs to it.
    pub percent: bool,
}

impl Number {
    /// Whether both are the same amount.
    pub fn same(self, other: Number) -> bool {
        let near = |a: f64, b: f64| a == b || (a - b).abs() <= SAME * a.abs().max(b.abs());
        near(self.value, other.value)
            || (self.percent && !other.percent && near(self.value / 100.0, other.value))
            || (other.percent && !self.percent && near(self.value, other.value / 100.0))
    }
}

/// The number that an answer comes to; `None` without any.
pub fn final_number(text: &str) -> Option<Number> {
    let text: Vec<char> = text.chars().map(narrow).collect();
    let lower: String = text.iter().map(|c| c.to_ascii_lowercase()).collect();
    let behind = MARKERS.iter().filter_map(|m| lower.rfind(m).map(|at| at + m.len())).max();
    if let Some(at) = behind {
        let marked: Vec<char> = lower[at..].chars().collect();
        if let Some(first) = numbers(&marked).first() {
            return Some(*first);
        }
    }
    numbers(&text).last().copied()
}

/// Full-width characters as ASCII; a full-width comma never groups thousands.
fn narrow(c: char) -> char {
    match c {
        '，' => ';',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xff01 + 0x21).unwrap_or(c),
        '−' | '–' => '-',
        _ => c,
    }
}

/// All numbers in digits; where there are none, all in Chinese characters (which also stand in ordinary words).
fn numbers(text: &[char]) -> Vec<Number> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match western(text, at) {
            Some((number, next)) => {
                out.push(number);
                at = next;
            }
            None => at += 1,
        }
    }
    if !out.is_empty() {
        return out;
    }
    at = 0;
    while at < text.len() {
        let run =
            text[at..].iter().take_while(|&&c| DIGITS.contains(c) || UNITS.contains(c) || c == '点').count();
        let negative = at > 0 && text[at - 1] == '负';
        let percent = at >= 3 && text[at - 3..at] == ['百', '分', '之'];
        // 百 of 百分之 is no number of its own
        if text[at..].starts_with(&['百', '分', '之']) {
            at += 3;
            continue;
        }
        if let Some(value) = chinese(&text[at..at + run]) {
            out.push(Number { value: if negative { -value } else { value }, percent });
        }
        at += run.max(1);
    }
    out
}

const DIGITS: &str = "零〇一二两三四五六七八九";
const UNITS: &str = "十百千万亿";

fn digit(c: char) -> Option<f64> {
    Some(match c {
        '零' | '〇' => 0.0,
        '一' => 1.0,
        '二' | '两' => 2.0,
        '三' => 3.0,
        '四' => 4.0,
        '五' => 5.0,
        '六' => 6.0,
        '七' => 7.0,
        '八' => 8.0,
        '九' => 9.0,
        _ => return None,
    })
}

fn unit(c: char) -> Option<f64> {
    Some(match c {
        '十' => 1e1,
        '百' => 1e2,
        '千' => 1e3,
        '万' => 1e4,
        '亿' => 1e8,
        _ => return None,
    })
}

/// A number in Chinese characters; `None` where they make none.
fn chinese(text: &[char]) -> Option<f64> {
    let point = text.iter().position(|&c| c == '点');
    let (whole, part) = text.split_at(point.unwrap_or(text.len()));
    let mut fraction = 0.0;
    if let [_, digits @ ..] = part {
        let mut scale = 0.1;
        for &c in digits {
            fraction += digit(c)? * scale;
            scale /= 10.0;
        }
        if digits.is_empty() || whole.is_empty() {
            return None;
        }
    }
    if whole.is_empty() {
        return None;
    }
    // 二〇二四: digits alone
    if whole.iter().all(|&c| digit(c).is_some()) {
        return Some(whole.iter().fold(0.0, |n, &c| n * 10.0 + digit(c).unwrap_or(0.0)) + fraction);
    }
    let (mut total, mut section, mut last) = (0.0, 0.0, None);
    let mut place = 0.0; // of the last unit, for 一万二 and 三百五
    let mut zero = false;
    for &c in whole {
        if let Some(d) = digit(c) {
            match d == 0.0 {
                true => zero = true,
                false => last = Some(d),
            }
            continue;
        }
        let u = unit(c)?;
        if u >= 1e4 {
            section += last.take().unwrap_or(0.0);
            if section == 0.0 && total == 0.0 {
                return None; // 万一, 亿 alone: words, not numbers
            }
            match u > 1e4 {
                true => {
                    total = (total + section) * u;
                    section = 0.0;
                }
                false => {
                    total += section * u;
                    section = 0.0;
                }
            }
        } else {
            let d = match (last.take(), u) {
                (Some(d), _) => d,
                (None, 1e1) => 1.0, // 十五
                (None, _) => return None,
            };
            section += d * u;
        }
        (place, zero) = (u, false);
    }
    if let Some(d) = last {
        section += if place > 10.0 && !zero { d * place / 10.0 } else { d };
    }
    Some(total + section + fraction).filter(|n: &f64| n.is_finite())
}

fn is_digit(text: &[char], at: usize) -> bool {
    text.get(at).is_some_and(char::is_ascii_digit)
}

/// A number in digits that begins at `at`, and where it ends.
fn western(text: &[char], at: usize) -> Option<(Number, usize)> {
    let mut i = at;
    let negative = match text[i] {
        '-' | '+' => {
            // after a word or number it is a dash or a range
            if at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == ')') {
                return None;
            }
            i += 1;
            while text.get(i).is_some_and(|c| "$€£¥ ".contains(*c)) {
                i += 1;
            }
            text[at] == '-'
        }
        _ => false,
    };
    let leading_point = text.get(i) == Some(&'.') && is_digit(text, i + 1);
    if !is_digit(text, i) && !leading_point {
        return None;
    }
    let mut digits = String::new();
    let first = i;
    while is_digit(text, i) {
        digits.push(text[i]);
        i += 1;
    }
    let group = |i: usize| {
        text.get(i) == Some(&',') && (1..=3).all(|k| is_digit(text, i + k)) && !is_digit(text, i + 4)
    };
    if i - first <= 3 {
        while group(i) {
            digits.extend(&text[i + 1..i + 4]);
            i += 4;
        }
    }
    if text.get(i) == Some(&'.') && is_digit(text, i + 1) {
        digits.push('.');
        i += 1;
        while is_digit(text, i) {
            digits.push(text[i]);
            i += 1;
        }
    }
    if text.get(i).is_some_and(|c| matches!(c, 'e' | 'E')) {
        let sign = usize::from(text.get(i + 1).is_some_and(|c| matches!(c, '-' | '+')));
        if is_digit(text, i + 1 + sign) {
            digits.push('e');
            digits.extend(&text[i + 1..i + 1 + sign]);
            i += 1 + sign;
            while is_digit(text, i) {
                digits.push(text[i]);
                i += 1;
            }
        }
    }
    let mut value: f64 = digits.parse().ok().filter(|v: &f64| v.is_finite())?;
    if text.get(i) == Some(&'/') && is_digit(text, i + 1) {
        let end = (i + 1..).find(|&k| !is_digit(text, k)).unwrap_or(text.len());
        let below: f64 = text[i + 1..end].iter().collect::<String>().parse().ok()?;
        // 3/4/2024 is a date
        if below != 0.0 && text.get(end) != Some(&'/') {
            value /= below;
            i = end;
        }
    }
    // a multiple behind it, perhaps after a space
    let gap = usize::from(text.get(i) == Some(&' '));
    let rest: String = text[i..].iter().skip(gap).take(8).collect::<String>().to_ascii_lowercase();
    for (word, times) in
        [("万亿", 1e12), ("万", 1e4), ("亿", 1e8), ("thousand", 1e3), ("million", 1e6), ("billion", 1e9)]
    {
        if rest.starts_with(word) {
            value *= times;
            i += gap + word.chars().count();
            break;
        }
    }
    let gap = usize::from(text.get(i) == Some(&' '));
    let percent = text.get(i + gap) == Some(&'%') || (at >= 3 && text[at - 3..at] == ['百', '分', '之']);
    Some((Number { value: if negative { -value } else { value }, percent }, i))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<f64>) {
        let got = final_number(text).map(|n| n.value);
        let near = matches!((got, want), (Some(a), Some(b)) if (a - b).abs() <= 1e-9 * b.abs().max(1.0));
        assert!(near || got == want, "{text}: {got:?}, not {want:?}");
    }

    #[test]
    fn what_an_answer_comes_to() {
        for (text, want) in [
            ("She has 3 + 4 = 7 apples.\n#### 7", Some(7.0)),
            ("#### 1,234.50", Some(1234.5)),
            ("first 12, then 30", Some(30.0)),
            ("The answer is $1,000,000 and not 5.", Some(1e6)),
            ("so \\boxed{-12} it is, of 3", Some(-12.0)),
            ("it fell by -3.5", Some(-3.5)),
            ("pages 10-12", Some(12.0)),
            ("1,2,3", Some(3.0)),
            ("3/4 of it", Some(0.75)),
            ("1.5e3 m", Some(1500.0)),
            ("2.5 million people", Some(2.5e6)),
            ("约３．５万元", Some(35000.0)),
            ("一共1，234人", Some(234.0)),
            ("答案是三百二十。一样的", Some(320.0)),
            ("答案：十五元", Some(15.0)),
            ("一万二", Some(12000.0)),
            ("三百零五", Some(305.0)),
            ("三百五", Some(350.0)),
            ("两千零二十四", Some(2024.0)),
            ("二〇二四年", Some(2024.0)),
            ("三点一五", Some(3.15)),
            ("三亿五千万", Some(3.5e8)),
            ("一亿零三百", Some(100_000_300.0)),
            ("负五", Some(-5.0)),
            ("万一下雨", None),
            ("none", None),
            ("", None),
            ("#### ", None),
        ] {
            check(text, want);
        }
    }

    #[test]
    fn percent_counts_where_one_side_has_it() {
        let same = |a: &str, b: &str| final_number(a).unwrap().same(final_number(b).unwrap());
        assert!(same("5 %", "5") && same("5%", "0.05") && same("0.05", "5%") && same("百分之五", "5%"));
        assert!(same("$5", "5 dollars") && same("10/4", "2.5") && same("0", "0.0"));
        assert!(!same("5%", "0.05%") && !same("5", "0.05") && !same("5", "5.001"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_trap(text in "[0-9一二十百千万亿点负.,/%eE+ -]{0,40}") {
            if let Some(n) = final_number(&text) {
                assert!(n.value.is_finite(), "{text}: {n:?}");
            }
        }
    }
}
