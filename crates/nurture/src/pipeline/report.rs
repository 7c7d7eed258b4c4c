//! Fills the report from everything that the stages left.

use super::exams::{Depth, Exam, Reading};
use super::{Context, Training, Tuned, facts, prepare};
use crate::engine::Model;
use crate::lang::Said;
use crate::recipe::{self, InputHash, Resolved};
use crate::report::data::*;
use crate::report::short;
use crate::said;
use anyhow::Result;
use nurture_data::SourceLedger;
use nurture_eval::stats::calibration;
use nurture_eval::{Breadth, Comparison, Drift, ExamKind, Gain, Gate, PerplexityComparison, Verdict};
use nurture_hub::Pulled;
use nurture_train::{Forecast, METRICS, Outcome, Subject, TrainConfig, read_metrics};
use std::collections::HashMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bins of the picture of calibration: few enough that each holds some items.
const BINS: usize = 10;

pub(super) struct Parts<'a> {
    pub(super) dir: &'a Path,
    pub(super) loaded: &'a recipe::Loaded,
    pub(super) ctx: &'a Context,
    pub(super) pulled: &'a Pulled,
    pub(super) model: &'a Model,
    pub(super) subject: &'a Subject,
    pub(super) config: &'a TrainConfig,
    pub(super) tuned: Tuned<'a>,
    pub(super) training: &'a Training,
    pub(super) resolved: &'a Resolved,
    pub(super) depth: &'a Depth,
    pub(super) reading: &'a Reading,
    pub(super) prompts: &'a [super::Prompts],
    pub(super) forecast: &'a Forecast,
    pub(super) outcome: Option<&'a Outcome>,
    pub(super) inputs: &'a [InputHash],
    /// how the base was born, where it was
    pub(super) born: Option<&'a super::Born>,
    /// seconds of the whole run, where one command did it all
    pub(super) seconds: Option<f64>,
}

pub(super) fn put_together(p: &Parts<'_>) -> Result<ReportData> {
    let r = &p.loaded.recipe;
    let decoder = p.model.decoder();
    let (general_exams, exams): (Vec<_>, Vec<_>) =
        p.depth.compare()?.into_iter().partition(|(e, _)| e.general);
    let (own, general) = (p.reading.compare(true)?, p.reading.compare(false)?);
    let drifts: Vec<&Drift> = p.prompts.iter().filter_map(|s| s.drift.as_ref()).collect();
    let verdict = Verdict::new(
        &exams.iter().map(|(_, c)| c.gain()).collect::<Vec<Gain>>(),
        &own.iter().map(PerplexityComparison::gain).collect::<Vec<Gain>>(),
        Breadth {
            rises: &general.iter().map(PerplexityComparison::rise).collect::<Vec<f64>>(),
            divergences: &drifts.iter().map(|d| d.kl).collect::<Vec<f64>>(),
            exams: &general_exams.iter().map(|(_, c)| c.gain()).collect::<Vec<Gain>>(),
        },
        Gate {
            asked: prepare::word(r.eval.gate.word()).unwrap_or_default(),
            min_gain: r.eval.min_gain,
            max_breadth_loss: r.eval.max_breadth_loss,
            max_divergence: r.eval.max_divergence,
        },
    );
    let metrics = read_metrics(p.dir.join(METRICS)).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let entry = p.pulled.entry.as_ref();
    let dtypes: Vec<String> = decoder.dtypes().iter().map(|(t, n)| format!("{t} ×{n}")).collect();
    let mut warnings = Vec::new();
    if p.training.loaded.conflicts.count > 0 {
        let n = p.training.loaded.conflicts.count;
        warnings.push(said!(
            "{n} training rows ask the same as an earlier row and answer differently",
            "有 {n} 行训练数据与之前的行问题相同而答案不同"
        ));
    }
    warnings.extend(super::clean::warnings(r, &p.training.loaded.cleaning));
    for e in &p.depth.exams {
        if !e.overlap.is_empty() {
            let (n, name) = (e.overlap.len(), &e.info.name);
            warnings.push(if e.left_out {
                said!(
                    "{name}: {n} items also stood in the training data and were left out",
                    "{name}：有 {n} 题也在训练数据中，已剔除"
                )
            } else {
                said!(
                    "{name}: {n} items also stood in the training data and were counted all the same",
                    "{name}：有 {n} 题也在训练数据中，仍然计分"
                )
            });
        }
    }
    Ok(ReportData {
        kind: ReportKind::Run,
        title: String::new(),
        run: r.name().to_string(),
        created: crate::date::utc(now),
        version: env!("CARGO_PKG_VERSION").to_string(),
        base: BaseInfo {
            name: r.model.name().to_string(),
            file: p.pulled.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            sha256: p.pulled.sha256.clone(),
            dtypes: dtypes.join(", "),
            params: decoder.parameters(),
            licence: entry
                .map(|e| e.licence.clone())
                .or(p.model.licence().map(String::from))
                .unwrap_or_default(),
            template: p.model.renderer().template().name().to_string(),
        },
        adapter: trained(p)?,
        machine: MachineInfo {
            cpu: facts::cpu_name(),
            threads: p.model.cpu().pool().threads() as u64,
            isa: nurture_kernels::isa().name().to_string(),
        },
        recipe: p.loaded.text.clone(),
        overrides: p.loaded.overrides.clone(),
        derived: p.resolved.values.clone(),
        ledger: ledger(p),
        cleaning: p.training.loaded.cleaning.clone(),
        curve: metrics
            .iter()
            .map(|m| CurvePoint {
                step: m.step,
                loss: m.loss,
                rate: m.rate,
                grad_norm: m.grad_norm,
                tok_s: m.tok_s,
                preferred: m.preferred,
                rewards: m.rewards,
            })
            .collect(),
        forecast: Cost {
            memory_bytes: Some(p.forecast.memory_bytes as f64),
            seconds: p.forecast.seconds,
            total_seconds: None,
        },
        outcome: Cost {
            memory_bytes: p.outcome.and_then(|o| o.peak_rss).map(|b| b as f64),
            seconds: p.outcome.map(|o| o.seconds),
            total_seconds: p.seconds,
        },
        trained_tokens: p.outcome.map_or(0, |o| o.tokens),
        train_examples: (p.training.tokens.len() / super::prepare::group(&p.loaded.recipe)) as u64,
        exams: exams.iter().map(|(e, c)| exam(p, e, c)).collect(),
        depth_texts: own.iter().map(text).collect(),
        breadth: general.iter().map(text).collect(),
        breadth_exams: general_exams.iter().map(|(e, c)| exam(p, e, c)).collect(),
        drifts: drifts.into_iter().map(drift).collect(),
        verdict,
        commands: commands(p),
        inputs: p.inputs.to_vec(),
        public: false,
        seeds: None,
        warnings,
        birth: p.born.map(|b| b.report.clone()),
        stages: Vec::new(),
    })
}

/// What was trained.
fn trained(p: &Parts<'_>) -> Result<AdapterInfo> {
    let sha256 = p.tuned.sha256()?.unwrap_or_default();
    Ok(match p.subject {
        Subject::Lora(lora) => AdapterInfo {
            kind: "lora".into(),
            rank: lora.rank as u64,
            alpha: lora.alpha,
            rslora: lora.rslora,
            targets: lora.targets.iter().map(|t| t.name().to_string()).collect(),
            params: p.tuned.adapter().map_or(0, |a| a.parameters() as u64),
            path: "adapter/adapter_model.safetensors".into(),
            sha256,
        },
        Subject::Full { freeze, .. } => AdapterInfo {
            kind: FULL.into(),
            rank: 0,
            alpha: 0.0,
            rslora: false,
            targets: freeze.clone(),
            params: p.subject.trained(p.model.decoder(), p.config)?,
            path: format!("model/{}", crate::network::WEIGHTS),
            sha256,
        },
    })
}

fn commands(p: &Parts<'_>) -> Vec<Command> {
    let dir = p.dir.display();
    vec![
        Command { does: said!("repeat the run", "重复这次运行"), text: p.ctx.command.clone() },
        Command {
            does: said!("repeat it from the lock file, in a folder of its own", "用锁文件在新文件夹里重复"),
            text: format!(
                "nurture run {dir}/recipe.lock.toml --set run.name={}-again",
                p.loaded.recipe.name()
            ),
        },
        match p.tuned.adapter().and_then(|a| a.score()) {
            None => Command {
                does: said!("talk to the model", "和模型对话"),
                text: format!("nurture chat {dir}"),
            },
            Some(_) => Command {
                does: said!(
                    "practise by it (in a recipe with train.method = \"grpo\")",
                    "用它来练习（写在 train.method = \"grpo\" 的配方里）"
                ),
                text: format!("train.rewards = [{{ kind = \"model\", path = \"{dir}\" }}]"),
            },
        },
    ]
}

/// How far apart the answers of a preference exam stand, before and after.
fn preferred(e: &Exam) -> Option<crate::report::data::Preferred> {
    let [Some(base), Some(tuned)] = &e.results else { return None };
    let margins = |r: &nurture_eval::ExamResult| -> Option<Vec<[f64; 2]>> {
        r.items.iter().map(|i| i.margins).collect()
    };
    let (base, tuned) = (margins(base)?, margins(tuned)?);
    let n = base.len().max(1) as f64;
    let mean = |all: &[[f64; 2]]| all.iter().map(|m| m[1]).sum::<f64>() / n;
    let moved: Vec<f64> = base.iter().zip(&tuned).map(|(b, t)| t[0] - b[0]).collect();
    Some(crate::report::data::Preferred {
        base: mean(&base),
        tuned: mean(&tuned),
        towards: moved.iter().filter(|m| **m > 0.0).count() as u64,
        moved: moved.iter().sum::<f64>() / n,
    })
}

fn exam(p: &Parts<'_>, e: &Exam, c: &Comparison) -> ExamReport {
    let graded = c.info.scorer.is_some_and(|s| s.is_graded());
    let mark = |s: &nurture_eval::Side, macro_f1: Option<f64>| Mark {
        correct: s.correct as u64,
        accuracy: if graded { s.mean_score } else { s.accuracy },
        ci: match (graded, s.mean_score_ci) {
            (true, Some(i)) => [i.low, i.high],
            _ => [s.accuracy_ci.low, s.accuracy_ci.high],
        },
        macro_f1,
        mcc: s.mcc,
        corpus: s.corpus,
        refusals: s.refusals,
        ece: s.ece,
    };
    let f1 = |i: usize| e.results[i].as_ref().and_then(|r| r.macro_f1);
    let gain = c.gain();
    let bins = |i: usize| {
        let items = e.results[i].as_ref().map(|r| &r.items[..]).unwrap_or_default();
        let told: Option<Vec<(f64, bool)>> =
            items.iter().map(|i| i.probability.map(|p| (p, i.correct))).collect();
        told.and_then(|t| calibration(&t, BINS).ok()).map(|c| c.bins).unwrap_or_default()
    };
    let confusions = |s: &nurture_eval::Side| {
        s.confusions
            .iter()
            .map(|c| Confusion { gold: c.gold.clone(), predicted: c.answer.clone(), count: c.count as u64 })
            .collect()
    };
    ExamReport {
        preference: preferred(e),
        name: c.info.name.clone(),
        kind: match c.info.kind {
            ExamKind::Label => "label",
            ExamKind::Choice => "choice",
            ExamKind::Free => "free",
            ExamKind::Preference if p.tuned.adapter().is_some_and(|a| a.score().is_some()) => REWARD,
            ExamKind::Preference => "preference",
        }
        .into(),
        mode: "exact".into(),
        items: c.n as u64,
        of: e.of as u64,
        stratified: e.stratified,
        overlap: e.overlap.clone(),
        overlap_left_out: e.left_out,
        labels: if c.info.kind == ExamKind::Label { e.labels.len() as u64 } else { 0 },
        scorer: c.info.scorer.map(|s| word_of(&s)).unwrap_or_default(),
        manner: c.info.manner,
        calibration: [bins(0), bins(1)],
        graded,
        majority_accuracy: c.majority_accuracy,
        base: mark(&c.base, f1(0)),
        tuned: mark(&c.tuned, f1(1)),
        paired: Paired {
            diff: gain.diff,
            ci: [gain.ci.low, gain.ci.high],
            p: gain.p,
            only_base: c.paired.only_base as u64,
            only_tuned: c.paired.only_tuned as u64,
            // it counts right and wrong answers, which a graded exam's gain is not made of
            minimum_detectable: c.paired.minimum_detectable.filter(|_| !graded),
        },
        confusions_base: confusions(&c.base),
        confusions_tuned: confusions(&c.tuned),
        changed: c
            .changed
            .iter()
            .map(|x| Changed {
                question: x.question.clone(),
                gold: x.gold.join(" | "),
                base: x.base_answer.clone(),
                tuned: x.tuned_answer.clone(),
                base_right: x.base_score >= 1.0,
                tuned_right: x.tuned_score >= 1.0,
            })
            .collect(),
        all: items(e),
        per_label: c
            .labels
            .iter()
            .map(|l| LabelRow {
                label: l.label.clone(),
                items: l.support as u64,
                base_correct: (l.base_recall * l.support as f64).round() as u64,
                tuned_correct: (l.tuned_recall * l.support as f64).round() as u64,
            })
            .collect(),
    }
}

/// Each item with both answers, for the table of the report.
fn items(e: &Exam) -> Vec<ItemRow> {
    let [Some(base), Some(tuned)] = &e.results else { return Vec::new() };
    let after: HashMap<&str, &nurture_eval::ItemResult> =
        tuned.items.iter().map(|i| (i.id.as_str(), i)).collect();
    let pairs = base.items.iter().filter_map(|b| Some((b, *after.get(b.id.as_str())?)));
    let row = |(b, t): (&nurture_eval::ItemResult, &nurture_eval::ItemResult)| ItemRow {
        item: Changed {
            question: short(&b.question, 600),
            gold: short(&b.gold.join(" | "), 400),
            base: short(&b.answer, 400),
            tuned: short(&t.answer, 400),
            base_right: b.correct,
            tuned_right: t.correct,
        },
        sure: b.probability.zip(t.probability).map(|(b, t)| [b, t]),
    };
    pairs.take(MOST_ITEMS).map(row).collect()
}

/// The answers of general prompts that were moved most.
const MOVED: usize = 10;

fn drift(d: &Drift) -> DriftReport {
    let mut most: Vec<&nurture_eval::DriftItem> = d.items.iter().collect();
    let each = |i: &nurture_eval::DriftItem| i.kl / i.tokens.max(1) as f64;
    most.sort_by(|a, b| each(b).total_cmp(&each(a)));
    DriftReport {
        name: d.name.clone(),
        prompts: d.items.len() as u64,
        tokens: d.tokens as u64,
        kl: d.kl,
        ci: [d.kl_ci.low, d.kl_ci.high],
        base_ppl: d.base_ppl,
        tuned_ppl: d.tuned_ppl,
        agree: d.agree,
        groups: d.groups.clone(),
        moved: most
            .into_iter()
            .take(MOVED)
            .map(|i| MovedAnswer { prompt: i.prompt.clone(), answer: i.answer.clone(), kl: each(i) })
            .collect(),
    }
}

/// The word that a recipe has for it.
fn word_of(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default()
}

fn text(c: &PerplexityComparison) -> TextReport {
    let bpb = [c.base_bits_per_byte.unwrap_or(f64::NAN), c.tuned_bits_per_byte.unwrap_or(f64::NAN)];
    let ci = [c.ratio_ci.low, c.ratio_ci.high];
    TextReport::new(&c.name, c.tokens_scored as u64, [c.base, c.tuned], bpb, ci)
}

fn ledger(p: &Parts<'_>) -> Vec<LedgerSource> {
    let mut out = Vec::new();
    for (s, tokens) in p.training.loaded.ledger.sources.iter().zip(&p.training.per_source) {
        out.push(source(s, "train", *tokens));
    }
    for e in &p.depth.exams {
        let role = if e.general { "breadth" } else { "depth" };
        out.extend(e.ledger.sources.iter().map(|s| source(s, role, (0, 0))));
    }
    out
}

fn source(s: &SourceLedger, role: &str, tokens: (u64, u64)) -> LedgerSource {
    let none = || Said::default();
    let mut buckets = vec![
        LedgerBucket { fate: said!("used", "使用"), reason: none(), count: s.used },
        LedgerBucket { fate: said!("duplicate", "重复"), reason: none(), count: s.duplicate },
        LedgerBucket {
            fate: said!("near duplicate", "几乎重复"), reason: none(), count: s.near_duplicate
        },
        LedgerBucket { fate: said!("cut", "截短"), reason: none(), count: s.cut },
        LedgerBucket { fate: said!("held out", "留出"), reason: none(), count: s.held_out },
    ];
    buckets.extend(s.dropped.iter().map(|(reason, &count)| LedgerBucket {
        fate: said!("dropped", "舍弃"),
        reason: reason_text(reason),
        count,
    }));
    buckets.retain(|b| b.count > 0);
    LedgerSource {
        path: s.source.clone(),
        role: role.into(),
        rows: s.rows,
        buckets,
        redacted: s.redacted,
        tokens: tokens.0,
        trained_tokens: tokens.1,
    }
}

/// What a reason of the ledger means.
pub fn reason_text(reason: &str) -> Said {
    match reason {
        "no_questions" => said!("a document that no rule finds a question in", "文档中没有规则能找到的问题"),
        "no_pair" => said!("the teacher's reply held no question with an answer", "出题模型的回复里没有问答"),
        "answer_not_in_passage" => {
            said!("the teacher's answer does not stand in the passage", "出题模型的答案不在原文段落里")
        }
        "question_unusable" => {
            said!("the teacher's question is too long or tells the answer", "出题模型的问题过长或泄露答案")
        }
        "language" => said!("in a language that was not asked for", "不是所要的语言"),
        "personal_data" => said!("holds personal data", "含有个人信息"),
        "secret" => said!("holds a key, token or password", "含有密钥、令牌或口令"),
        "empty_after_cleaning" => said!("nothing is left after cleaning", "清洗后没有内容"),
        "not_sampled" => said!("not drawn for this exam", "本次考试未抽中"),
        "also_in_training" => said!("also in the training data", "训练数据中也有"),
        "too_long" => said!("longer than train.max_len", "长于 train.max_len"),
        other => Said::new(other.replace('_', " "), other.replace('_', " ")),
    }
}
