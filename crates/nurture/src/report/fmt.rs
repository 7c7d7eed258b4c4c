//! Figures for people. What is no number is shown as a dash, never as `NaN`.
use crate::lang::Lang;
use crate::say;

const DASH: &str = "–";

/// `91.2 %`, in Chinese `91.2%`.
pub(crate) fn percent(lang: Lang, share: f64) -> String {
    finite(share, || format!("{:.1}{}", zero(share * 100.0, 1), lang.pick("\u{202f}%", "%")))
}

/// `+66.7` points with a true minus sign; the unit is the caller's.
pub(crate) fn points(share: f64) -> String {
    finite(share, || signed(share * 100.0, 1))
}

/// `+2.1 %` with its sign.
pub(crate) fn change(lang: Lang, share: f64) -> String {
    finite(share, || format!("{}{}", signed(share * 100.0, 1), lang.pick("\u{202f}%", "%")))
}

/// `61.0 to 72.1` from shares, in points.
pub(crate) fn point_range(lang: Lang, ci: [f64; 2]) -> String {
    range(lang, points(ci[0]), points(ci[1]))
}

/// Two ends of an interval.
pub(crate) fn range(lang: Lang, low: String, high: String) -> String {
    if low == DASH || high == DASH {
        return DASH.into();
    }
    say!(lang, "{low} to {high}", "{low} 至 {high}")
}

/// A number with its sign and `digits` decimals; a rounded zero has no sign.
pub(crate) fn signed(value: f64, digits: usize) -> String {
    finite(value, || {
        let value = zero(value, digits);
        let sign = if value > 0.0 {
            "+"
        } else if value < 0.0 {
            "−"
        } else {
            ""
        };
        format!("{sign}{:.digits$}", value.abs())
    })
}

/// A number with `digits` decimals.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    finite(value, || format!("{:.digits$}", zero(value, digits)).replace('-', "−"))
}

/// A small or large number in as few characters as it takes: `0.001`, `2.5e-5`.
pub(crate) fn short(value: f64) -> String {
    finite(value, || {
        let size = value.abs();
        if size != 0.0 && !(1e-3..1e6).contains(&size) {
            format!("{value:.2e}")
        } else {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
    })
}

/// A p-value: `0.031`, `< 0.0001`.
pub(crate) fn p_value(p: f64) -> String {
    finite(p, || if p < 1e-4 { "< 0.0001".into() } else { format!("{p:.4}") })
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `134.5 million`, in Chinese `1.35 亿`.
pub(crate) fn many(lang: Lang, number: u64) -> String {
    let n = number as f64;
    match lang {
        Lang::En if n >= 1e9 => format!("{:.2} billion", n / 1e9),
        Lang::En if n >= 1e6 => format!("{:.1} million", n / 1e6),
        Lang::Zh if n >= 1e8 => format!("{:.2} 亿", n / 1e8),
        Lang::Zh if n >= 1e6 => format!("{:.0} 万", n / 1e4),
        _ => count(number),
    }
}

/// `6 min 12 s`.
pub(crate) fn duration(lang: Lang, seconds: f64) -> String {
    finite(seconds, || {
        let whole = seconds.max(0.0).round() as u64;
        let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
        match (hours, minutes) {
            (0, 0) if seconds < 10.0 => say!(lang, "{seconds:.1} s", "{seconds:.1} 秒"),
            (0, 0) => say!(lang, "{rest} s", "{rest} 秒"),
            (0, _) => say!(lang, "{minutes} min {rest} s", "{minutes} 分 {rest} 秒"),
            _ => say!(lang, "{hours} h {minutes} min", "{hours} 小时 {minutes} 分"),
        }
    })
}

/// `598 MB`, `1.32 GB` (powers of ten).
pub(crate) fn bytes(count: f64) -> String {
    finite(count, || match count {
        c if c >= 1e9 => format!("{:.2} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.0} MB", c / 1e6),
        c if c >= 1e3 => format!("{:.0} kB", c / 1e3),
        c => format!("{c:.0} B"),
    })
}

/// The value of an option, or a dash.
pub(crate) fn maybe(value: Option<f64>, show: impl FnOnce(f64) -> String) -> String {
    value.map_or_else(|| DASH.into(), show)
}

fn finite(value: f64, show: impl FnOnce() -> String) -> String {
    if value.is_finite() { show() } else { DASH.into() }
}

/// Rounds what would print as `-0.0` to zero.
fn zero(value: f64, digits: usize) -> f64 {
    if value.abs() < 0.5 * 10f64.powi(-(digits as i32)) { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let en = Lang::En;
        assert_eq!(percent(en, 0.9123), "91.2\u{202f}%");
        assert_eq!(percent(Lang::Zh, 1.0), "100.0%");
        assert_eq!(points(-0.0314), "−3.1");
        assert_eq!(points(-0.0001), "0.0");
        assert_eq!(signed(0.25, 2), "+0.25");
        assert_eq!(point_range(en, [0.61, 0.7214]), "+61.0 to +72.1");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(many(Lang::Zh, 134_515_008), "1.35 亿");
        assert_eq!(many(en, 4_884_480), "4.9 million");
        assert_eq!(duration(en, 372.2), "6 min 12 s");
        assert_eq!(duration(Lang::Zh, 7260.0), "2 小时 1 分");
        assert_eq!(duration(en, 59.7), "1 min 0 s");
        assert_eq!(bytes(1.324e9), "1.32 GB");
        assert_eq!(short(1e-3), "0.001");
        assert_eq!(short(2.5e-5), "2.50e-5");
        assert_eq!(short(0.0), "0");
        assert_eq!(p_value(3e-9), "< 0.0001");
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for text in [
                percent(Lang::En, bad),
                points(bad),
                change(Lang::Zh, bad),
                fixed(bad, 2),
                short(bad),
                p_value(bad),
                duration(Lang::En, bad),
                bytes(bad),
                point_range(Lang::En, [bad, 0.0]),
            ] {
                assert_eq!(text, "–");
            }
        }
    }
}
