//! From a recipe's words to the trainer's settings: what trains, and how.

use super::rewards;
use crate::engine::Model;
use crate::recipe::{self, Recipe, Resolved};
use crate::said;
use anyhow::{Result, bail};
use nurture_model::{Family, LoraSpec, PROJECTIONS};
use nurture_train::{RunLength, Subject, TrainConfig};

/// What trains: the adapter of the recipe, or the network.
pub(super) fn subject(r: &Recipe, resolved: &Resolved, model: &Model) -> Result<Subject> {
    let Some(a) = &r.train.adapter else {
        crate::network::check(model)?;
        return Ok(Subject::full(model.decoder(), r.train.freeze.clone()));
    };
    let c = model.decoder().config();
    if c.family == Family::Gpt2 {
        bail!(said!(
            "a GPT-2 keeps q, k and v in one matrix, to which LoRA as other tools know it does not fit: train the network itself, without train.adapter",
            "GPT-2 的 q、k、v 在同一个矩阵里，与其他工具所用的 LoRA 对不上：请去掉 train.adapter，直接训练网络本身"
        ));
    }
    let names = a.modules();
    let targets: Vec<_> =
        PROJECTIONS.into_iter().filter(|p| names.contains(&p.name()) && c.has(*p)).collect();
    if targets.is_empty() {
        bail!(said!(
            "train.adapter.targets: this base has none of these projections (experts carry no adapters)",
            "train.adapter.targets：这个基座没有这些投影（专家不带适配器）"
        ));
    }
    // beginning as the strongest part of each weight takes two halves, at the same scale
    let (rank, alpha) = match a.init {
        recipe::AdapterInit::Random => (a.rank, resolved.alpha),
        recipe::AdapterInit::Pissa if a.rslora => (2 * a.rank, resolved.alpha * 2f64.sqrt()),
        recipe::AdapterInit::Pissa => (2 * a.rank, resolved.alpha * 2.0),
    };
    Ok(LoraSpec { rank, alpha, rslora: a.rslora, targets }.into())
}

/// The ids of tokens that the recipe names.
fn own_tokens(names: &[String], model: &Model) -> Result<Vec<u32>> {
    names
        .iter()
        .map(|name| {
            model.tokenizer().id(name).ok_or_else(|| {
                said!(
                    "train.adapter.tokens: \"{name}\" is no token of this base's vocabulary: name one that is there, such as a reserved one",
                    "train.adapter.tokens：\"{name}\" 不是该基座词表里的词元：请写词表里已有的，例如保留词元"
                )
                .into()
            })
        })
        .collect()
}

pub(super) fn train_config(recipe: &Recipe, r: &Resolved, model: &Model) -> Result<TrainConfig> {
    let names = recipe.train.adapter.as_ref().map_or(&[][..], |a| &a.tokens);
    Ok(settings(recipe, r, own_tokens(names, model)?))
}

/// The settings of training; `tokens` are those that train as an adapter's own.
pub(super) fn settings(recipe: &Recipe, r: &Resolved, tokens: Vec<u32>) -> TrainConfig {
    let adapter = recipe.train.adapter.as_ref();
    TrainConfig {
        recompute: recipe.train.recompute,
        optimiser: match recipe.train.optimiser {
            recipe::Optimiser::AdamW => nurture_train::Optimiser::AdamW,
            recipe::Optimiser::AdamW8 => nurture_train::Optimiser::AdamW8,
            recipe::Optimiser::Muon => nurture_train::Optimiser::Muon,
            recipe::Optimiser::ScheduleFree => nurture_train::Optimiser::ScheduleFree,
        },
        label_smoothing: recipe.train.label_smoothing,
        z_loss: recipe.train.z_loss,
        neftune: recipe.train.neftune,
        ema: recipe.train.ema,
        init: match adapter.map(|a| a.init) {
            Some(recipe::AdapterInit::Pissa) => nurture_train::Init::Principal,
            _ => nurture_train::Init::Random,
        },
        b_ratio: adapter.map_or(1.0, |a| a.b_ratio),
        dora: adapter.is_some_and(|a| a.dora),
        tokens,
        length: RunLength::Steps(r.steps as u64),
        batch: r.batch,
        micro_tokens: r.micro_tokens,
        rate: r.rate,
        warmup: r.warmup_steps as u64,
        schedule: match r.schedule {
            recipe::Schedule::Cosine => nurture_train::Schedule::Cosine,
            recipe::Schedule::Linear => nurture_train::Schedule::Linear,
            recipe::Schedule::Constant => nurture_train::Schedule::Constant,
            recipe::Schedule::Wsd => nurture_train::Schedule::Wsd,
        },
        weight_decay: r.weight_decay,
        clip: r.clip,
        divergence: nurture_train::Divergence {
            action: match recipe.train.on_divergence {
                recipe::OnDivergence::Stop => nurture_train::OnDivergence::Stop,
                recipe::OnDivergence::Warn => nurture_train::OnDivergence::Warn,
                recipe::OnDivergence::Off => nurture_train::OnDivergence::Off,
            },
            ..nurture_train::Divergence::default()
        },
        keep: nurture_train::Keep {
            windows: r.keep_windows.0,
            strength: if r.keep_windows.0 > 0 { r.keep_strength } else { 0.0 },
        },
        preference: preference(recipe),
        seed: r.seed,
        checkpoint_every: r.checkpoint_every as u64,
        reinforce: rewards::settings(recipe),
        ..TrainConfig::default()
    }
}

/// What answers are compared by, where they are.
fn preference(r: &Recipe) -> Option<nurture_train::Preference> {
    use nurture_train::{DpoLoss, PreferenceMethod};
    let p = &r.train.preference;
    Some(nurture_train::Preference {
        method: match r.train.method {
            recipe::Method::Dpo => PreferenceMethod::Dpo,
            recipe::Method::Kto => PreferenceMethod::Kto,
            recipe::Method::Orpo => PreferenceMethod::Orpo,
            recipe::Method::Simpo => PreferenceMethod::Simpo,
            recipe::Method::Reward => PreferenceMethod::Reward,
            _ => return None,
        },
        loss: match p.loss {
            recipe::DpoLoss::Sigmoid => DpoLoss::Sigmoid,
            recipe::DpoLoss::Hinge => DpoLoss::Hinge,
            recipe::DpoLoss::Ipo => DpoLoss::Ipo,
            recipe::DpoLoss::Robust => DpoLoss::Robust,
        },
        beta: r.train.beta(),
        label_smoothing: p.label_smoothing,
        gamma: p.gamma,
        sft: p.sft,
        desirable: p.desirable,
        undesirable: p.undesirable,
        center: p.center,
    })
}
