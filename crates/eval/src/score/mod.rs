//! Scoring free answers against a list of accepted ones.
//!
//! | file | scores |
//! | --- | --- |
//! | here, `tokens` | the same words, words that occur, overlap of words |
//! | `number` | the final number, by value |
//! | `bleu`, `chrf`, `rouge` | likeness of longer texts, equal to sacrebleu and rouge-score |
//! | `json`, `tools` | JSON, JSON against a schema, tool calls |
//! | `refusal` | whether it refuses, where it should or should not |
//! | `verse` | Chinese regulated verse, by the rule that rewards it |
//!
//! Left out on purpose: synonyms and negation ("not 45 days" contains "45 days"). A set that needs them lists more
//! accepted answers, asks for labels, or lets another model judge.

pub mod bleu;
pub mod chrf;
pub mod json;
pub mod number;
pub mod refusal;
pub mod rouge;
mod tokens;
pub mod tools;
mod verse;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use bleu::Cut;
use rouge::{Rouge, Words};
use tokens::{Token, is_article, tokens};

/// How a free answer is compared with an accepted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scorer {
    /// 1 if both have the same tokens after [`normalise`].
    Exact,
    /// 1 if the accepted answer's tokens stand together in the answer, not as a part of a longer word or number.
    Contains,
    /// Overlap of tokens as F1, English articles left out. Source: Rajpurkar et al. 2016, "SQuAD"; Chinese by
    /// characters as in Cui et al. 2019, "CMRC 2018".
    TokenF1,
    /// 1 if both come to the same number, see [`number`].
    Number,
    /// Sentence BLEU, see [`bleu`]; the exam as a whole has its corpus BLEU too.
    Bleu,
    /// Sentence chrF, see [`chrf`]; the exam as a whole has its corpus chrF too.
    Chrf,
    /// Words in common as F1, see [`rouge`].
    #[serde(rename = "rouge_1")]
    Rouge1,
    /// Pairs of words in common as F1.
    #[serde(rename = "rouge_2")]
    Rouge2,
    /// Longest common subsequence of words as F1.
    RougeL,
    /// The three with Chinese cut into words by jieba.
    #[serde(rename = "rouge_1_jieba")]
    Rouge1Jieba,
    /// Pairs of such words.
    #[serde(rename = "rouge_2_jieba")]
    Rouge2Jieba,
    /// Longest common subsequence of such words.
    RougeLJieba,
    /// 1 if the answer is JSON and equal to the accepted one.
    Json,
    /// 1 if the answer is JSON and what the schema asks for, which stands in place of the accepted answer.
    JsonSchema,
    /// 1 if the answer makes the same tool calls, in any order, see [`tools`].
    ToolCalls,
    /// 1 if the answer refuses where it should and answers where it should, see [`refusal`].
    Refusal,
    /// Regulated verse of the form that stands in place of the accepted answer (`5x4`, `7x4`, `5x8`, `7x8` or `any`; behind it
    /// `classical` for the old tones): 1 where all rules hold, else the share that holds.
    Verse,
    /// Compared with the other model's answer by a third model, see [`judge`](crate::judge); 0 until that is done.
    Judge,
}

/// The score of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// 0 to 1.
    pub score: f64,
    /// Which accepted answer gave that score (the first of equals); `None` if the score is 0.
    pub matched: Option<usize>,
}

impl Scored {
    /// Whether the answer counts as right: a full score.
    pub fn correct(&self) -> bool {
        self.score >= 1.0
    }
}

impl Scorer {
    /// Whether scores between 0 and 1 occur, so that their mean says more than the accuracy.
    pub fn is_graded(self) -> bool {
        use Scorer::*;
        matches!(
            self,
            TokenF1
                | Verse
                | Bleu
                | Chrf
                | Rouge1
                | Rouge2
                | RougeL
                | Rouge1Jieba
                | Rouge2Jieba
                | RougeLJieba
        )
    }

    /// Checks an accepted answer before an exam is sat on it.
    ///
    /// # Errors
    /// What is wrong with it: no number in it, not JSON, a schema with a keyword that is not checked.
    pub fn check(self, gold: &str) -> Result<(), String> {
        let value = || -> Result<serde_json::Value, String> {
            serde_json::from_str(gold).map_err(|e| format!("it is not JSON: {e}"))
        };
        match self {
            Scorer::Number => match number::final_number(gold) {
                Some(_) => Ok(()),
                None => Err("there is no number in it".into()),
            },
            Scorer::Json => value().map(|_| ()),
            Scorer::JsonSchema => json::check_schema(&value()?),
            Scorer::ToolCalls => match tools::from_json(&value()?) {
                Some(_) => Ok(()),
                None => Err("it is no list of calls with name and arguments".into()),
            },
            Scorer::Refusal => match refusal::wanted(gold) {
                Some(_) => Ok(()),
                None => Err("it is neither refuse (unsafe) nor answer (safe)".into()),
            },
            Scorer::Verse => match verse::wanted(gold) {
                Some(_) => Ok(()),
                None => {
                    Err("it is no form of verse: 5x4, 7x4, 5x8, 7x8 or any, and behind it perhaps classical"
                        .into())
                }
            },
            _ => Ok(()),
        }
    }

    /// The figure of all answers together where it is not their mean: corpus BLEU and chrF, 0 to 1.
    pub fn corpus<'a>(self, answers: &[(&'a str, &'a [String])]) -> Option<f64> {
        match self {
            Scorer::Bleu => {
                let cut = Cut::of(answers.iter().flat_map(|a| a.1.iter().map(String::as_str)));
                Some(bleu::corpus_bleu(answers.iter().copied(), cut))
            }
            Scorer::Chrf => Some(chrf::corpus_chrf(answers.iter().copied())),
            _ => None,
        }
    }

    /// The best score of `answer` over all `accepted` answers; 0 if there are none.
    ///
    /// ```
    /// use nurture_eval::score::Scorer;
    /// let accepted = ["45 days".to_owned(), "six weeks".to_owned()];
    /// assert!(Scorer::Contains.score("Within 45 Days, free of charge.", &accepted).correct());
    /// assert!(!Scorer::Contains.score("Within 145 days.", &accepted).correct());
    /// ```
    pub fn score<S: AsRef<str>>(self, answer: &str, accepted: &[S]) -> Scored {
        let together = match self {
            Scorer::Bleu => {
                let cut = Cut::of(accepted.iter().map(AsRef::as_ref));
                Some(bleu::sentence_bleu(answer, accepted, cut))
            }
            Scorer::Chrf => Some(chrf::sentence_chrf(answer, accepted)),
            _ => None,
        };
        if let Some(score) = together {
            return Scored { score, matched: (score > 0.0).then_some(0) };
        }
        let answer_tokens = tokens(answer);
        let mut best = Scored { score: 0.0, matched: None };
        for (i, gold) in accepted.iter().enumerate() {
            let score = self.one(answer, &answer_tokens, gold.as_ref());
            if score > best.score {
                best = Scored { score, matched: Some(i) };
            }
        }
        best
    }

    fn one(self, answer: &str, answer_tokens: &[Token], gold: &str) -> f64 {
        match self {
            Scorer::Number => {
                let both = (number::final_number(answer), number::final_number(gold));
                f64::from(matches!(both, (Some(a), Some(g)) if a.same(g)))
            }
            Scorer::Rouge1 => rouge::rouge(Rouge::N(1), Words::Characters, answer, gold),
            Scorer::Rouge2 => rouge::rouge(Rouge::N(2), Words::Characters, answer, gold),
            Scorer::RougeL => rouge::rouge(Rouge::L, Words::Characters, answer, gold),
            Scorer::Rouge1Jieba => rouge::rouge(Rouge::N(1), Words::Jieba, answer, gold),
            Scorer::Rouge2Jieba => rouge::rouge(Rouge::N(2), Words::Jieba, answer, gold),
            Scorer::RougeLJieba => rouge::rouge(Rouge::L, Words::Jieba, answer, gold),
            Scorer::Json | Scorer::JsonSchema => {
                let gold: Option<serde_json::Value> = serde_json::from_str(gold).ok();
                f64::from(match (json::find(answer), gold) {
                    (Some(a), Some(g)) if self == Scorer::Json => json::equal(&a, &g),
                    (Some(a), Some(g)) => json::valid(&g, &a).unwrap_or(false),
                    _ => false,
                })
            }
            Scorer::ToolCalls => {
                let gold = serde_json::from_str(gold).ok().and_then(|g| tools::from_json(&g));
                f64::from(matches!((tools::calls(answer), gold), (Some(a), Some(g)) if tools::same(&a, &g)))
            }
            Scorer::Refusal => {
                let refuses = refusal::refuses(answer);
                f64::from(!answer.trim().is_empty() && refusal::wanted(gold) == Some(refuses))
            }
            Scorer::Verse => verse::score(answer, gold),
            Scorer::Judge => 0.0,
            _ => self.by_tokens(answer, answer_tokens, gold),
        }
    }

    fn by_tokens(self, answer: &str, answer_tokens: &[Token], gold: &str) -> f64 {
        let gold_tokens = tokens(gold);
        if gold_tokens.is_empty() {
            // nothing but punctuation is asked for ("?!", ""): then the characters themselves must agree
            return f64::from(answer.trim() == gold.trim());
        }
        match self {
            Scorer::Exact => f64::from(same(answer_tokens, &gold_tokens)),
            Scorer::Contains => f64::from(contains(answer_tokens, &gold_tokens)),
            _ => token_f1(answer_tokens, &gold_tokens),
        }
    }
}

/// The form in which answers are compared: tokens joined by single spaces.
///
/// Full-width characters become ASCII, letters lower case; punctuation, quotes and Markdown marks go, in all scripts.
/// What changes a meaning stays: the point, colon, slash or hyphen inside a number, its minus sign, and symbols such
/// as `%`, `€` or `+`. Thousands commas go (`1,000` is `1000`), a unit is parted from its number (`5cm` is `5 cm`),
/// and Chinese, Japanese and Thai characters stand alone. No Unicode decomposition.
///
/// ```
/// use nurture_eval::score::normalise;
/// assert_eq!(normalise("  “Ｗｉｔｈｉｎ” 1,000 **Days**!"), "within 1000 days");
/// assert_eq!(normalise("水箱：2.5升。"), "水 箱 2.5 升");
/// ```
pub fn normalise(text: &str) -> String {
    let tokens = tokens(text);
    tokens.iter().map(|t| t.text.as_str()).collect::<Vec<_>>().join(" ")
}

fn same(a: &[Token], b: &[Token]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.text == b.text)
}

fn contains(answer: &[Token], gold: &[Token]) -> bool {
    answer.windows(gold.len()).enumerate().any(|(at, window)| {
        let end = at + gold.len();
        // 五 is not in 十五, nor 3 in 3万, though each is a token of its own
        let cut = |i: usize| {
            i > 0
                && i < answer.len()
                && answer[i].glued
                && answer[i - 1].is_numeral()
                && answer[i].is_numeral()
        };
        same(window, gold) && !cut(at) && !cut(end)
    })
}

fn token_f1(answer: &[Token], gold: &[Token]) -> f64 {
    let (answer, gold) = (without_articles(answer), without_articles(gold));
    let mut left: HashMap<&str, usize> = HashMap::new();
    for g in &gold {
        *left.entry(g).or_default() += 1;
    }
    let mut common = 0usize;
    for a in &answer {
        if let Some(n) = left.get_mut(a).filter(|n| **n > 0) {
            *n -= 1;
            common += 1;
        }
    }
    // 2PR/(P+R) with P = common/answer and R = common/gold
    2.0 * common as f64 / (answer.len() + gold.len()).max(1) as f64
}

/// The tokens but for English articles; all of them where nothing else would be left (the answer "A").
fn without_articles(tokens: &[Token]) -> Vec<&str> {
    let all = || tokens.iter().map(|t| t.text.as_str());
    let kept: Vec<&str> = all().filter(|t| !is_article(t)).collect();
    if kept.is_empty() { all().collect() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scorer: Scorer, answer: &str, accepted: &[&str], want: f64) {
        let got = scorer.score(answer, accepted).score;
        assert!(
            (got - want).abs() < 1e-12,
            "{scorer:?} of {answer:?} against {accepted:?}: {got}, not {want}"
        );
    }

    #[test]
    fn exact_ignores_dress_not_meaning() {
        for (answer, gold, want) in [
            ("45 days.", "45 Days", 1.0),
            ("**45** days", "45 days", 1.0),
            ("４５　ｄａｙｓ", "45 days", 1.0),
            ("2.5升。", "2.5 升", 1.0),
            ("21：00", "21:00", 1.0),
            ("1,000 lumens", "1000 lumens", 1.0),
            ("It's", "its", 1.0),
            ("refund_request", "Refund request", 1.0),
            ("“答案是：五升！”", "答案是五升", 1.0),
            ("2.5", "25", 0.0),
            ("-5 °C", "5 °C", 0.0),
            ("50%", "50", 0.0),
            ("C++", "C", 0.0),
            ("45 days", "45", 0.0),
            ("", "45", 0.0),
        ] {
            check(Scorer::Exact, answer, &[gold], want);
        }
    }

    #[test]
    fn contains_keeps_to_word_and_number_boundaries() {
        for (answer, gold, want) in [
            ("You have 50 days.", "50", 1.0),
            ("You have 50days.", "50", 1.0),
            ("You have 150 days.", "50", 0.0),
            ("You have 50.5 days.", "50", 0.0),
            ("You have 1.50 days.", "50", 0.0),
            ("50,000 of them", "50", 0.0),
            ("It ends with 50.", "50", 1.0),
            ("between 50, 60 and 70", "60", 1.0),
            ("-50 degrees", "50", 0.0),
            ("model Q50", "50", 0.0),
            ("the category", "cat", 0.0),
            ("a cat.", "cat", 1.0),
            ("days 45", "45 days", 0.0),
            ("可以在45天内退货", "45 天", 1.0),
            ("可以在145天内退货", "45天", 0.0),
            ("水箱是五升的", "五升", 1.0),
            ("水箱是十五升的", "五升", 0.0),
            ("共三百二十元", "三百", 0.0),
            ("约3万元", "3", 0.0),
            ("约 3 万元", "3万元", 1.0),
            ("热线到晚上 21：00 为止", "21:00", 1.0),
            ("热线到晚上 21:005 为止", "21:00", 0.0),
        ] {
            check(Scorer::Contains, answer, &[gold], want);
        }
    }

    #[test]
    fn f1_by_hand() {
        for (answer, gold, want) in [
            ("the Moon", "Moon", 1.0),
            ("45 days after delivery", "45 days", 2.0 * 2.0 / 6.0),
            ("days days days", "days", 2.0 / 4.0),
            ("A", "A", 1.0),
            ("a", "b", 0.0),
            ("", "b", 0.0),
            ("净水机", "净水器", 2.0 * 2.0 / 6.0),
            ("2.5升", "2.5 升", 1.0),
        ] {
            check(Scorer::TokenF1, answer, &[gold], want);
        }
    }

    #[test]
    fn the_best_accepted_answer_counts() {
        let s = Scorer::TokenF1.score("ten days", &["10 days", "ten days", "ten days"]);
        assert_eq!(s, Scored { score: 1.0, matched: Some(1) });
        assert!(s.correct());
        assert!(!Scorer::TokenF1.score("ten", &["ten days"]).correct());
        assert_eq!(Scorer::Exact.score::<&str>("x", &[]), Scored { score: 0.0, matched: None });
    }

    #[test]
    fn punctuation_alone_is_compared_as_it_stands() {
        check(Scorer::Exact, " ?! ", &["?!"], 1.0);
        check(Scorer::Exact, "?", &["?!"], 0.0);
        check(Scorer::Contains, "well, yes", &["!"], 0.0);
    }

    proptest::proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{0,40}") {
            let once = normalise(&text);
            assert_eq!(normalise(&once), once);
        }

        #[test]
        fn an_answer_equals_itself_and_is_contained_in_itself(text in "\\PC{0,40}") {
            for s in [Scorer::Exact, Scorer::Contains, Scorer::TokenF1] {
                assert_eq!(s.score(&text, &[&text]).score, 1.0);
            }
        }
    }
}
