//! What templates expect of Python: how values print, `json.dumps`, `strftime`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value, escape_formatter};

/// Depth of nesting that `tojson` follows.
const JSON_DEPTH: usize = 100;

/// A point in time as the wall shows it. The caller decides which; it becomes part of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    /// Year, such as 2026.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

impl Clock {
    /// Midnight of a day.
    pub fn date(year: u16, month: u8, day: u8) -> Self {
        Clock { year, month, day, hour: 0, minute: 0, second: 0 }
    }
}

/// Values print as Python prints them: `True`, `False`, `None`.
pub(super) fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::Bool if value.is_true() => "True",
        ValueKind::Bool => "False",
        ValueKind::None => "None",
        _ => return escape_formatter(out, state, value),
    };
    out.write_str(text).map_err(Error::from)
}

pub(super) fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// `json.dumps(value, ensure_ascii=False)` with the options templates use.
pub(super) fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    let separators: Option<Vec<String>> = options.get("separators")?;
    let mut json = Json {
        out: String::new(),
        indent,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        item: if indent.is_some() { ",".into() } else { ", ".into() },
        colon: ": ".into(),
    };
    if let Some([item, colon]) = separators.as_deref() {
        (json.item, json.colon) = (item.clone(), colon.clone());
    }
    options.assert_all_used()?;
    json.value(value, 0)?;
    Ok(Value::from(json.out))
}

struct Json {
    out: String,
    indent: Option<usize>,
    ascii: bool,
    sort: bool,
    item: String,
    colon: String,
}

impl Json {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let refuse = |why: String| Error::new(ErrorKind::InvalidOperation, why);
        if depth > JSON_DEPTH {
            return Err(refuse(format!("tojson: nested deeper than {JSON_DEPTH}")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => match (value.is_integer(), f64::try_from(value.clone())) {
                (false, Ok(number)) => self.out.push_str(&float(number)),
                _ => self.out.push_str(&value.to_string()),
            },
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.list(depth, '{', '}', &keys, |json, key| {
                    match key.as_str() {
                        Some(text) => json.string(text),
                        None => json.string(&key.to_string()),
                    }
                    json.out.push_str(&json.colon.clone());
                    json.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(depth, '[', ']', &items, |json, item| json.value(item, depth + 1))?;
            }
            other => return Err(refuse(format!("tojson: a value of type {other} has no JSON form"))),
        }
        Ok(())
    }

    fn list(
        &mut self,
        depth: usize,
        open: char,
        close: char,
        items: &[Value],
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push_str(&self.item.clone());
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.push_str(&" ".repeat(indent.min(16) * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a String cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// `repr(float)`.
fn float(number: f64) -> String {
    if !number.is_finite() {
        let name = if number.is_nan() { "NaN" } else { "Infinity" };
        return if number < 0.0 { format!("-{name}") } else { name.to_owned() };
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(e) => ('-', e),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The directives of `strftime` that templates use, in the C locale.
pub(super) fn strftime(now: Clock, format: &str) -> Result<String, Error> {
    let Clock { year, month, day, hour, minute, second } = now;
    let month_name = MONTHS.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or("?");
    let day_name = DAYS.get(weekday(now)).copied().unwrap_or("?");
    let short = |name: &str| name.chars().take(3).collect::<String>();
    let hour12 = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = chars.next();
        }
        let two = |n: u8| if unpadded { n.to_string() } else { format!("{n:02}") };
        match directive {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", year % 100)),
            Some('m') => out.push_str(&two(month)),
            Some('d') => out.push_str(&two(day)),
            Some('e') => out.push_str(&format!("{day:2}")),
            Some('H') => out.push_str(&two(hour)),
            Some('I') => out.push_str(&two(hour12)),
            Some('M') => out.push_str(&two(minute)),
            Some('S') => out.push_str(&two(second)),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('B') => out.push_str(month_name),
            Some('b' | 'h') => out.push_str(&short(month_name)),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&short(day_name)),
            Some('F') => out.push_str(&format!("{year}-{month:02}-{day:02}")),
            Some('T') => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            Some('%') => out.push('%'),
            other => {
                let what = other.map_or_else(|| "a lone %".to_owned(), |c| format!("%{c}"));
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime: {what} is not supported"),
                ));
            }
        }
    }
    Ok(out)
}

/// 0 is Sunday (Sakamoto's method).
fn weekday(now: Clock) -> usize {
    const SHIFT: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let year = usize::from(now.year) - usize::from(now.month < 3 && now.year > 0);
    let shift = SHIFT.get(usize::from(now.month).wrapping_sub(1)).copied().unwrap_or(0);
    (year + year / 4 - year / 100 + year / 400 + shift + usize::from(now.day)) % 7
}

/// A JSON value as the template's.
pub(super) fn from_json(value: &serde_json::Value) -> Value {
    use serde_json::Value as J;
    match value {
        J::Null => Value::from(()),
        J::Bool(b) => Value::from(*b),
        J::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::from(i),
            (None, Some(u)) => Value::from(u),
            (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        J::String(s) => Value::from(s.as_str()),
        J::Array(list) => Value::from(list.iter().map(from_json).collect::<Vec<_>>()),
        J::Object(map) => Value::from_pairs(map.iter().map(|(key, value)| (key.clone(), from_json(value)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let now = Clock { hour: 15, minute: 4, second: 5, ..Clock::date(2026, 11, 3) };
        let all = strftime(now, "%A %a %d %-d %e %B %b %Y %y %m %H:%M:%S %I%p %F %T %%").unwrap();
        assert_eq!(all, "Tuesday Tue 03 3  3 November Nov 2026 26 11 15:04:05 03PM 2026-11-03 15:04:05 %");
        assert_eq!(strftime(Clock::date(2024, 2, 29), "%A").unwrap(), "Thursday");
        assert!(strftime(now, "%Q").is_err());
    }

    #[test]
    fn floats_print_as_in_python() {
        for (number, text) in
            [(1.0, "1.0"), (1e16, "1e+16"), (1e-5, "1e-05"), (0.1, "0.1"), (123456.75, "123456.75")]
        {
            assert_eq!(float(number), text);
        }
    }
}
