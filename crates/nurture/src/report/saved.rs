//! `report.json` as it lies in a run's folder, and the pages that are made of it.
use super::data::{ReportData, ReportKind};
use crate::lang::Lang;
use crate::pipeline::{PairReport, pair_markdown};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A report of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Saved {
    /// Of a run that raises a base.
    Run(Box<ReportData>),
    /// Of an encoder-decoder.
    Pairs(Box<PairReport>),
}

/// What tells the kinds apart. Reports of earlier versions do not name theirs.
#[derive(Deserialize)]
struct Shape {
    kind: Option<ReportKind>,
    form: Option<IgnoredAny>,
    source_vocab: Option<IgnoredAny>,
}

impl Saved {
    /// Reads the text of a `report.json`.
    ///
    /// # Errors
    /// No JSON, or not of a kind and shape that this version knows.
    pub fn read(text: &str) -> Result<Saved, serde_json::Error> {
        let shape: Shape = serde_json::from_str(text)?;
        let by_fields = match shape.form.is_some() && shape.source_vocab.is_some() {
            true => ReportKind::Pairs,
            false => ReportKind::Run,
        };
        Ok(match shape.kind.unwrap_or(by_fields) {
            ReportKind::Run => Saved::Run(serde_json::from_str(text)?),
            ReportKind::Pairs => Saved::Pairs(serde_json::from_str(text)?),
        })
    }

    /// The same to hand on, see [`ReportData::public`].
    ///
    /// # Errors
    /// As [`ReportData::public`].
    pub fn public(&self) -> Result<Saved, serde_json::Error> {
        Ok(match self {
            Saved::Run(data) => Saved::Run(Box::new(data.public()?)),
            Saved::Pairs(data) => Saved::Pairs(Box::new(super::public::without_rows(&**data)?)),
        })
    }

    /// Its pages by the ending of their file: an encoder-decoder's report has no `html`.
    pub fn pages(&self, lang: Lang) -> Vec<(&'static str, String)> {
        match self {
            Saved::Run(data) => vec![("html", super::html(data, lang)), ("md", super::markdown(data, lang))],
            Saved::Pairs(data) => vec![("md", pair_markdown(data, lang))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pairs() -> Value {
        json!({
            "name": "pinyin", "version": "0.1.0", "command": "nurture run /srv/acme/pinyin.toml", "form": "t5",
            "parameters": 1000, "source_vocab": 100, "target_vocab": 200, "pairs": 50, "derived": [],
            "forecast_seconds": null, "forecast_bytes": 1, "outcome": null,
            "exams": [{
                "name": "held", "items": 4, "greedy": 1, "best": 2, "among": 3, "beams": 3, "interval": [0.1, 0.9],
                "chrf": 0.5, "cut": 0, "seconds": 1.0,
                "shown": [{"question": "zhong1 guo2", "gold": ["中国"], "answers": ["中国"], "right": true}],
            }],
        })
    }

    #[test]
    fn a_report_is_read_as_what_it_is() {
        let run = super::super::tests::sample();
        let text = serde_json::to_string(&run).unwrap();
        assert!(Saved::read(&text).unwrap() == Saved::Run(Box::new(run)));
        // one of an earlier version names no kind
        let mut old: Value = serde_json::from_str(&text).unwrap();
        assert!(old.as_object_mut().unwrap().remove("kind").is_some());
        assert!(matches!(Saved::read(&old.to_string()), Ok(Saved::Run(_))));
        assert!(Saved::read("{\"kind\": \"another\"}").is_err());

        let saved = Saved::read(&pairs().to_string()).unwrap();
        let Saved::Pairs(data) = &saved else { panic!("{saved:?}") };
        let named = serde_json::to_value(data).unwrap();
        assert_eq!(named["kind"], "pairs");
        assert!(Saved::read(&named.to_string()).unwrap() == saved);
        for lang in Lang::ALL {
            let pages = saved.pages(lang);
            let [("md", page)] = &pages[..] else { panic!("{pages:?}") };
            assert!(page.contains("zhong1 guo2") && page.contains("50.0 %"), "{page}");
            let public = saved.public().unwrap().pages(lang).remove(0).1;
            assert!(!public.contains("zhong1") && !public.contains("acme"), "{public}");
            assert!(public.contains("50.0 %"), "{public}");
        }
    }
}
