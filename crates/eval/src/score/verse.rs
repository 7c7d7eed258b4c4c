//! Chinese regulated verse: the rule that marks it in practice marks it in exams.

use nurture_reward::{Form, Tones, Verse};

/// The form that is asked for: `5x4` and so on, or `any`; behind it perhaps `classical`.
pub(super) fn wanted(gold: &str) -> Option<Verse> {
    let mut words = gold.split_whitespace();
    let form = match words.next()? {
        "any" => None,
        form => Some(Form::named(form)?),
    };
    let tones = match (words.next(), words.next()) {
        (None, _) => Tones::Modern,
        (Some("classical"), None) => Tones::Classical,
        _ => return None,
    };
    Some(Verse { form, tones })
}

/// 1 where all rules hold; else the share of those that hold, which stays below 1.
pub(super) fn score(answer: &str, gold: &str) -> f64 {
    let Some(verse) = wanted(gold) else { return 0.0 };
    let score = verse.score(answer);
    // rules may all hold as far as they can be judged, and others not be judged, or other words stand beside it
    if score.strict >= 1.0 { 1.0 } else { score.lenient.min(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poem_is_right_where_all_rules_hold() {
        // made for this test
        let poem = "山中春雨过，\n门外晓风轻。\n坐看白云起，\n闲听流水声。";
        assert_eq!(score(poem, "5x4"), 1.0);
        assert_eq!(score(poem, "any"), 1.0);
        for (answer, gold) in [
            (poem, "7x4"),
            (&poem.replace('声', "长"), "5x4"),
            // a character that the table does not know, where its tone counts
            (&poem.replace('中', "龘"), "5x4"),
            (&format!("Here: {poem}"), "5x4"),
        ] {
            let s = score(answer, gold);
            assert!(s > 0.2 && s < 1.0, "{answer} {gold}: {s}");
        }
        assert_eq!(score("", "5x4"), 0.0);
        assert!(wanted("5x4 classical").is_some_and(|v| v.tones == Tones::Classical));
        assert!([wanted("6x4"), wanted("5x4 old"), wanted("")].iter().all(Option::is_none));
    }
}
