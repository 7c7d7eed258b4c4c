//! Rules put together: weights, guards, and one mark for each answer.

use crate::answer::{Answer, Mark, Score};
use crate::code::Code;
use crate::command::External;
use crate::error::{RewardError, short};
use crate::guard::{Length, repetition};
use crate::number;
use crate::pattern::Pattern;
use crate::schema::Schema;
use crate::verse::Verse;
use crate::words;

/// What a rule looks at.
#[derive(Debug)]
#[non_exhaustive]
pub enum Check {
    /// The right number, exactly; see [`crate::Number`].
    Number,
    /// The right words; leniently, contained.
    Exact,
    /// The right words are contained.
    Contains,
    /// A regular expression: the whole answer, leniently a part of it.
    Pattern(Pattern),
    /// JSON that follows a schema, or, without one, the schema that is the row's answer.
    Schema(Option<Schema>),
    /// A program that passes the tests which are the row's answer.
    Code(Code),
    /// What another program says.
    External(External),
    /// Regulated verse.
    Verse(Verse),
    /// Neither too short nor too long.
    Length(Length),
    /// What the reward model of this number found it worth (`Answer::worth`), as the chance that it would be preferred to an
    /// answer that is worth 0: 1 / (1 + e^-worth).
    Model(usize),
    /// Does not say the same again and again: 1 − the share of repeated runs of four characters or words.
    Repetition,
}

/// A rule with its weight.
#[derive(Debug)]
pub struct Rule {
    /// Its name in reports.
    pub name: String,
    /// What it looks at.
    pub check: Check,
    /// Its share of the reward, relative to the others.
    pub weight: f64,
    /// How much of the reward comes from the lenient score: 0 none, 1 all of it.
    pub lenient: f64,
    /// A guard adds nothing: its strict score multiplies the reward of the others.
    pub guard: bool,
}

impl Rule {
    /// A rule of weight 1 whose strict score counts.
    pub fn new(name: &str, check: Check) -> Rule {
        Rule { name: name.to_string(), check, weight: 1.0, lenient: 0.0, guard: false }
    }

    /// The same as a guard.
    pub fn as_guard(mut self) -> Rule {
        self.guard = true;
        self
    }

    /// Refuses values that cannot be meant.
    fn check_settings(&self) -> Result<(), RewardError> {
        let range = |key, value: f64, max| match (0.0..=max).contains(&value) {
            true => Ok(()),
            false => Err(RewardError::Setting { rule: self.name.clone(), key, value, min: 0.0, max }),
        };
        range("weight", self.weight, 1e6)?;
        range("lenient", self.lenient, 1.0)
    }

    /// The scores of all answers.
    fn scores(&self, answers: &[Answer<'_>]) -> Result<Vec<Score>, RewardError> {
        let each = |f: &dyn Fn(&Answer<'_>) -> Score| answers.iter().map(f).collect();
        let compared = |rule, f: &dyn Fn(&Answer<'_>) -> Score| {
            if let Some(a) = answers.iter().find(|a| a.reference.is_empty()) {
                return Err(RewardError::NoReference { rule, question: short(a.question) });
            }
            Ok(answers.iter().map(f).collect())
        };
        Ok(match &self.check {
            Check::Number => {
                for a in answers {
                    if !a.reference.iter().any(|r| number::right(r).is_some()) {
                        return Err(RewardError::NoReference { rule: "number", question: short(a.question) });
                    }
                }
                each(&number::score)
            }
            Check::Exact => compared("exact", &words::exact)?,
            Check::Contains => compared("contains", &words::contains)?,
            Check::Pattern(p) => each(&|a| p.score(a.text)),
            Check::Schema(Some(schema)) => each(&|a| schema.score(a.text)),
            Check::Schema(None) => {
                let own = |a: &Answer<'_>| match a.reference.first() {
                    Some(text) => Ok(Schema::parse(text)?.score(a.text)),
                    None => Err(RewardError::NoReference { rule: "schema", question: short(a.question) }),
                };
                answers.iter().map(own).collect::<Result<_, _>>()?
            }
            Check::Code(code) => code.scores(answers)?,
            Check::External(command) => command.scores(answers)?,
            Check::Verse(verse) => each(&|a| verse.score(a.text)),
            Check::Length(length) => each(&|a| length.score(a.text)),
            Check::Model(number) => each(&|a| {
                let worth = a.worth.get(*number).copied().unwrap_or(0.0);
                Score::both(1.0 / (1.0 + (-worth).exp()))
            }),
            Check::Repetition => each(&|a| Score::both(1.0 - repetition(a.text))),
        })
    }
}

/// Marks answers by rules: the weighted mean of what counts, times the guards.
///
/// # Errors
/// Rules that cannot be meant or that give nothing; a row without what a rule compares with; a program that cannot be
/// started or does not answer as it should. A wrong answer is no error.
pub fn mark(rules: &[Rule], answers: &[Answer<'_>]) -> Result<Vec<Mark>, RewardError> {
    rules.iter().try_for_each(Rule::check_settings)?;
    let total: f64 = rules.iter().filter(|r| !r.guard).map(|r| r.weight).sum();
    if total <= 0.0 {
        return Err(RewardError::Nothing("every rule is a guard or has weight 0"));
    }
    let mut marks = vec![Mark::default(); answers.len()];
    for rule in rules.iter().filter(|r| !r.guard) {
        let share = rule.weight / total;
        for (mark, score) in marks.iter_mut().zip(rule.scores(answers)?) {
            mark.reward += share * (score.strict * (1.0 - rule.lenient) + score.lenient * rule.lenient);
            mark.strict += share * score.strict;
            mark.lenient += share * score.lenient;
            mark.scores.push(score);
        }
    }
    for rule in rules.iter().filter(|r| r.guard) {
        for (mark, score) in marks.iter_mut().zip(rule.scores(answers)?) {
            mark.reward *= score.strict;
            mark.strict *= score.strict;
            mark.scores.push(score);
        }
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<'a>(text: &'a str, reference: &'a [String]) -> [Answer<'a>; 1] {
        [Answer { question: "q", text, reference, worth: &[] }]
    }

    #[test]
    fn weights_share_and_guards_take_away() {
        let right = ["12".to_string()];
        let short = Length { min: 0, max: 20, fall: 0 };
        let rules = |lenient| {
            let mut number = Rule::new("number", Check::Number);
            number.lenient = lenient;
            let mut words = Rule::new("says", Check::Pattern(Pattern::new("(?s).*Answer.*").unwrap()));
            words.weight = 0.5;
            [number, words, Rule::new("short", Check::Length(short)).as_guard()]
        };
        let m = &mark(&rules(0.0), &one("Answer: 12", &right)).unwrap()[0];
        // "Answer: 12" is not the number alone
        assert!((m.reward - 1.0 / 3.0).abs() < 1e-12 && (m.lenient - 1.0).abs() < 1e-12, "{m:?}");
        let m = &mark(&rules(1.0), &one("Answer: 12", &right)).unwrap()[0];
        assert!((m.reward - 1.0).abs() < 1e-12, "{m:?}");
        let m = &mark(&rules(1.0), &one("Answer, after a long time: 12", &right)).unwrap()[0];
        assert_eq!((m.reward, m.strict, m.lenient, m.scores.len()), (0.0, 0.0, 1.0, 3));
    }

    #[test]
    fn rules_that_give_nothing_or_lack_an_answer_are_refused() {
        let guard = [Rule::new("short", Check::Repetition).as_guard()];
        assert!(matches!(mark(&guard, &one("x", &[])), Err(RewardError::Nothing(_))));
        let e = mark(&[Rule::new("n", Check::Number)], &one("1", &["none".into()])).unwrap_err();
        assert!(matches!(e, RewardError::NoReference { .. }), "{e}");
        let mut bad = Rule::new("n", Check::Exact);
        bad.weight = f64::NAN;
        assert!(matches!(mark(&[bad], &one("1", &["1".into()])), Err(RewardError::Setting { .. })));
    }
}
