//! Practice as the recipe has it: rules from words, answers from tokens, marks for the trainer.

use super::judges::Judges;
use super::{Event, Training, Watch};
use crate::engine::Model;
use crate::recipe::{self, Method, Recipe, RewardKind};
use crate::said;
use anyhow::{Context as _, Result, bail};
use nurture_hub::Pulled;
use nurture_reward::{
    Answer, Check, Code, External, Form, Length, Limits, Pattern, Rule, Schema, Tones, Verse, Walls, mark,
};
use nurture_text::Tokenizer;
use nurture_train::reinforce::{Attempt, Critic, Grade, Grader, Overlong, PolicyLoss, Practice, Reinforce};
use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of practice, where the recipe practises.
pub(super) fn settings(r: &Recipe) -> Option<Reinforce> {
    if r.train.method != Method::Grpo {
        return None;
    }
    let p = &r.train.practice;
    let dapo = p.loss == recipe::PolicyLoss::Dapo;
    Some(Reinforce {
        loss: match p.loss {
            recipe::PolicyLoss::Grpo => PolicyLoss::Grpo,
            recipe::PolicyLoss::DrGrpo => PolicyLoss::DrGrpo,
            recipe::PolicyLoss::Dapo => PolicyLoss::Dapo,
            recipe::PolicyLoss::Rloo => PolicyLoss::Rloo,
            recipe::PolicyLoss::Ppo => PolicyLoss::Ppo,
        },
        samples: p.samples,
        max_new: p.max_tokens,
        temperature: p.temperature,
        inner: p.inner,
        clip_low: p.clip_low,
        clip_high: p.clip_high.unwrap_or(if dapo { 0.28 } else { 0.2 }),
        kl: p.kl,
        overlong: match p.overlong {
            recipe::Overlong::Keep => Overlong::Keep,
            recipe::Overlong::Mask => Overlong::Mask,
            recipe::Overlong::Punish => Overlong::Punish,
        },
        critic: Critic { weight: p.value, gamma: p.gamma, lambda: p.lambda, clip: p.clip_value },
        rules: serde_json::to_string(&r.train.rewards).unwrap_or_default(),
    })
}

/// What the trainer needs to practise, where the recipe practises.
pub(super) fn practice<'m>(
    r: &Recipe,
    model: &'m Model,
    pulled: &Pulled,
    training: &Training,
    watch: &mut dyn Watch,
) -> Result<Option<Practice<'m>>> {
    if r.train.method != Method::Grpo {
        return Ok(None);
    }
    let walls = Walls::probe();
    if r.train.rewards.iter().any(|rule| rule.kind == RewardKind::Code) {
        if !walls.apart {
            watch.event(Event::Warning(&said!(
                "rule code: this system lets no ordinary user take the network away (unshare): programs that the model writes can reach it",
                "规则 code：本系统不允许普通用户隔离网络（unshare）：模型写的程序可以访问网络"
            )));
        }
        if !walls.bounds {
            watch.event(Event::Warning(&said!(
                "rule code: this system bounds neither memory nor processor time of a program, only its duration",
                "规则 code：本系统不能限制程序的内存和处理器时间，只能限制时长"
            )));
        }
    }
    let prompts = training.tokens.iter().map(|t| t.tokens.clone()).collect();
    let mut judges = Judges::new(model, prompts);
    let rules = r
        .train
        .rewards
        .iter()
        .enumerate()
        .map(|(i, rule)| {
            self::rule(rule, walls, pulled, &mut judges).with_context(|| format!("train.rewards[{i}]"))
        })
        .collect::<Result<Vec<_>>>()?;
    let examples: HashMap<&str, &nurture_data::Example> =
        training.loaded.examples.iter().map(|e| (e.id.as_str(), e)).collect();
    let rows = training
        .tokens
        .iter()
        .map(|t| {
            let e = examples.get(t.id.as_str()).with_context(|| t.id.clone())?;
            let question = e.prompt().iter().rev().find(|m| m.role == "user").map(|m| m.content.clone());
            let reference = match &e.answer {
                nurture_data::Answer::Free(all) => all.clone(),
                _ => e.expected().map(String::from).into_iter().collect(),
            };
            Ok((question.unwrap_or_default(), reference))
        })
        .collect::<Result<Vec<_>>>()?;
    let (shared, cpu) = model.shared();
    let stops = model.tokenizer().stop_ids().to_vec();
    let mut marker = Marker { rules, tokenizer: model.tokenizer(), rows, judges };
    // a rule that cannot be followed shows before the first answer is made
    marker.marks(&[Attempt { prompt: 0, tokens: &[], end: stops.first().copied() }])?;
    Ok(Some(Practice { model: shared, cpu, stops, grader: Box::new(marker) }))
}

fn rule(rule: &recipe::Reward, walls: Walls, pulled: &Pulled, judges: &mut Judges<'_>) -> Result<Rule> {
    let time = Duration::from_secs_f64(rule.seconds);
    let check = match rule.kind {
        RewardKind::Number => Check::Number,
        RewardKind::Exact => Check::Exact,
        RewardKind::Contains => Check::Contains,
        RewardKind::Repetition => Check::Repetition,
        RewardKind::Length => Check::Length(Length { min: rule.min, max: rule.max, fall: rule.fall }),
        RewardKind::Pattern => match &rule.pattern {
            Some(pattern) => Check::Pattern(Pattern::new(pattern)?),
            None => bail!(said!("rule pattern: its `pattern` is missing", "规则 pattern：缺少 `pattern`")),
        },
        RewardKind::Schema => Check::Schema(match &rule.schema {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.clone())?;
                Some(Schema::parse(&text).with_context(|| path.clone())?)
            }
            None => None,
        }),
        RewardKind::Model => match &rule.path {
            Some(path) => Check::Model(judges.add(path, &pulled.sha256)?),
            None => bail!(said!("rule model: its `path` is missing", "规则 model：缺少 `path`")),
        },
        RewardKind::Code => {
            let mut code = Code::python(walls);
            if !rule.program.is_empty() {
                code.program = rule.program.clone();
            }
            code.limits = Limits { time, memory: (rule.memory_mb as u64) << 20, ..Limits::default() };
            Check::Code(code)
        }
        RewardKind::Command => {
            if rule.program.is_empty() {
                bail!(said!("rule command: its `program` is missing", "规则 command：缺少 `program`"));
            }
            Check::External(External { command: rule.program.clone(), folder: PathBuf::new(), time })
        }
        RewardKind::Verse => Check::Verse(Verse {
            form: Form::named(rule.form.word()),
            tones: match rule.tones {
                recipe::VerseTones::Modern => Tones::Modern,
                recipe::VerseTones::Classical => Tones::Classical,
            },
        }),
    };
    let (weight, lenient, guard) = (rule.weight, rule.lenient, rule.guard);
    Ok(Rule { name: rule.kind.word().to_string(), check, weight, lenient, guard })
}

/// Marks by the rules of the recipe.
struct Marker<'m> {
    rules: Vec<Rule>,
    tokenizer: &'m Tokenizer,
    /// question and right answers of each prompt
    rows: Vec<(String, Vec<String>)>,
    judges: Judges<'m>,
}

impl Marker<'_> {
    fn marks(&mut self, attempts: &[Attempt<'_>]) -> Result<Vec<Grade>> {
        let texts: Vec<String> = attempts.iter().map(|a| self.tokenizer.decode_plain(a.tokens)).collect();
        let worth = self.judges.worth(attempts)?;
        let answers: Vec<Answer<'_>> = attempts
            .iter()
            .zip(&texts)
            .zip(&worth)
            .map(|((a, text), worth)| {
                let (question, reference) =
                    self.rows.get(a.prompt).map_or(("", &[][..]), |r| (&r.0[..], &r.1[..]));
                Answer { question, text, reference, worth }
            })
            .collect();
        let marks = mark(&self.rules, &answers)?;
        let one = |(m, text): (nurture_reward::Mark, String)| Grade {
            reward: m.reward,
            strict: m.strict,
            lenient: m.lenient,
            scores: m.scores.iter().map(|s| (s.strict, s.lenient)).collect(),
            text,
        };
        Ok(marks.into_iter().zip(texts).map(one).collect())
    }
}

impl Grader for Marker<'_> {
    fn grade(&mut self, attempts: &[Attempt<'_>]) -> Result<Vec<Grade>, Box<dyn Error + Send + Sync>> {
        Ok(self.marks(attempts)?)
    }
}
