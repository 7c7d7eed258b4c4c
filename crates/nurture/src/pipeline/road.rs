//! One report over several stages: the verdict of the last one over the first base, and of each stage what it was.

use crate::recipe::{Method, Recipe};
use crate::report::data::{Command, Cost, ReportData, Since, StageReport};
use crate::said;
use anyhow::{Context as _, Result};
use nurture_eval::Gain;

/// A stage that was examined.
pub(super) struct StageDone {
    /// its own report, over the base of the whole run
    pub(super) data: ReportData,
    /// each exam against the stage before
    pub(super) since: Vec<Option<Gain>>,
    pub(super) method: Method,
}

/// The report of the whole; `seconds` where one command did it all.
pub(super) fn whole(
    r: &Recipe,
    command: &str,
    stages: Vec<StageDone>,
    seconds: Option<f64>,
) -> Result<ReportData> {
    let (first, last) = stages.first().zip(stages.last()).context("no stage was examined")?;
    let mut data = last.data.clone();
    data.run = r.name().to_string();
    data.birth.clone_from(&first.data.birth);
    data.base.name.clone_from(&first.data.base.name);
    data.adapter.path = format!("{}/{}/{}", crate::recipe::STAGES, last.data.run, data.adapter.path);
    // what each stage tells of itself
    (data.derived, data.curve) = (Vec::new(), Vec::new());
    let all = || stages.iter().map(|s| &s.data);
    let most = |of: &dyn Fn(&Cost) -> Option<f64>, costs: &[&Cost]| -> Option<f64> {
        costs.iter().filter_map(|c| of(c)).reduce(f64::max)
    };
    let cost = |costs: Vec<&Cost>, total| Cost {
        memory_bytes: most(&|c| c.memory_bytes, &costs),
        // a sum of which a part is unknown is no sum
        seconds: costs.iter().map(|c| c.seconds).sum::<Option<f64>>(),
        total_seconds: total,
    };
    data.forecast = cost(all().map(|d| &d.forecast).collect(), None);
    data.outcome = cost(all().map(|d| &d.outcome).collect(), seconds);
    data.trained_tokens = all().map(|d| d.trained_tokens).sum();
    data.train_examples = all().map(|d| d.train_examples).sum();
    data.ledger = all().flat_map(|d| d.ledger.iter().filter(|s| s.role == "train").cloned()).collect();
    data.ledger.extend(first.data.ledger.iter().filter(|s| s.role != "train").cloned());
    for d in all() {
        data.inputs.extend(d.inputs.iter().filter(|i| !last.data.inputs.contains(i)).cloned());
        let more: Vec<_> = d.warnings.iter().filter(|w| !data.warnings.contains(w)).cloned().collect();
        data.warnings.extend(more);
    }
    data.inputs.sort();
    data.inputs.dedup();
    let dir = r.run_dir();
    let dir = dir.display();
    let name = r.name();
    data.commands = vec![
        Command { does: said!("repeat the run", "重复这次运行"), text: command.to_string() },
        Command {
            does: said!("repeat it from the lock file, in a folder of its own", "用锁文件在新文件夹里重复"),
            text: format!("nurture run {dir}/recipe.lock.toml --set run.name={name}-again"),
        },
        Command {
            does: said!("talk to the model of the last stage", "和最后阶段的模型对话"),
            text: format!("nurture chat {dir}"),
        },
    ];
    let since = |g: &Option<Gain>| g.map(|g| Since { diff: g.diff, ci: [g.ci.low, g.ci.high], p: g.p });
    data.stages = stages
        .iter()
        .map(|s| StageReport {
            name: s.data.run.clone(),
            method: s.method.word().to_string(),
            since: s.since.iter().map(since).collect(),
            report: brief(&s.data),
        })
        .collect();
    Ok(data)
}

/// A stage's report without what the report of the whole says already.
fn brief(data: &ReportData) -> ReportData {
    let mut brief = ReportData {
        recipe: String::new(),
        inputs: Vec::new(),
        commands: Vec::new(),
        warnings: Vec::new(),
        birth: None,
        drifts: Vec::new(),
        ..data.clone()
    };
    for exam in brief.exams.iter_mut().chain(&mut brief.breadth_exams) {
        (exam.changed, exam.per_label, exam.calibration) = (Vec::new(), Vec::new(), Default::default());
        (exam.confusions_base, exam.confusions_tuned) = (Vec::new(), Vec::new());
        (exam.overlap, exam.all) = (Vec::new(), Vec::new());
    }
    brief
}
