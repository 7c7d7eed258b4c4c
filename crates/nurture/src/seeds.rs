//! The same recipe with several seeds (`eval.seeds`): each is a whole run in a folder of its own, and the verdict of the first
//! one speaks of all of them.
//!
//! The gain of a run is its mean gain over the exams of the field. Mean and interval over runs (Student's t) cover what a
//! single run's interval cannot: another start, another order of the data, other items where an exam is drawn. They can
//! only take a verdict back, never make one better.

use crate::lang::Said;
use crate::pipeline::{self, Context, Done, Event, Watch};
use crate::recipe::{Loaded, Override};
use crate::report::data::{ReportData, SeedsReport};
use crate::said;
use anyhow::Result;
use nurture_eval::{VerdictKind, stats::mean_of_runs};

/// Runs a recipe with each of its seeds.
///
/// # Errors
/// As [`pipeline::run`], of whichever seed.
pub fn run(loaded: &Loaded, ctx: &Context, watch: &mut dyn Watch) -> Result<Done> {
    let (count, first) = (loaded.recipe.eval.seeds, loaded.recipe.train.seed);
    let mut done = pipeline::run(loaded, ctx, watch)?;
    if count < 2 {
        return Ok(done);
    }
    let name = loaded.recipe.name();
    let mut reports: Vec<ReportData> = done.report.iter().cloned().collect();
    for n in 1..count as u64 {
        let seed = first.wrapping_add(n) & i64::MAX as u64;
        let own = format!("{name}-seed{seed}");
        let all = count;
        let k = n + 1;
        watch.event(Event::Stage(said!(
            "Seed {seed}: run {k} of {all}",
            "种子 {seed}：第 {k} 次，共 {all} 次"
        )));
        let (other, keys) = again(loaded, n, own);
        let mut command = ctx.command.clone();
        for Override { key, value } in keys {
            // a shell looks for files behind brackets
            let quote = if key.contains('[') { "'" } else { "" };
            command += &format!(" --set {quote}{key}={value}{quote}");
        }
        let ctx = Context { store: ctx.store.clone(), pull: ctx.pull.clone(), command, ..*ctx };
        reports.extend(pipeline::run(&other, &ctx, watch)?.report);
    }
    let Some(report) = &mut done.report else { return Ok(done) };
    report.seeds = over(&reports);
    match &report.seeds {
        Some(seeds) => report.verdict.kind = judged(report.verdict.kind, seeds, report),
        None => report.warnings.push(none(count)),
    }
    pipeline::write_report(&done.dir, report, ctx.lang)?;
    Ok(done)
}

/// The recipe for the `n`th seed after its own, as the run `name`, and the overrides that make it so.
fn again(loaded: &Loaded, n: u64, name: String) -> (Loaded, Vec<Override>) {
    let mut other = Loaded { lock: None, ..loaded.clone() };
    let r = &mut other.recipe;
    let mut keys = Vec::new();
    let mut set = |key: String, value: String| keys.push(Override { key, value });
    let next = |seed: u64| seed.wrapping_add(n) & i64::MAX as u64;
    r.train.seed = next(r.train.seed);
    set("train.seed".into(), r.train.seed.to_string());
    for (i, then) in r.then.iter_mut().enumerate() {
        then.train.seed = next(then.train.seed);
        set(format!("then[{i}].train.seed"), then.train.seed.to_string());
    }
    r.eval.seeds = 1;
    set("eval.seeds".into(), "1".into());
    r.run.name = Some(name.clone());
    set("run.name".into(), name);
    other.overrides.retain(|o| keys.iter().all(|k| k.key != o.key));
    other.overrides.extend(keys.iter().cloned());
    (other, keys)
}

fn none(count: usize) -> Said {
    said!(
        "eval.seeds: {count} runs were made, but without an exam of questions there is no gain to average",
        "eval.seeds：做了 {count} 次运行，但没有问答考试，没有可平均的增益"
    )
}

/// What the runs say together; `None` where one of them sat no exam.
fn over(reports: &[ReportData]) -> Option<SeedsReport> {
    let gain = |r: &ReportData| {
        let all: Vec<f64> = r.exams.iter().map(|e| e.paired.diff).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let gains = reports.iter().map(gain).collect::<Option<Vec<f64>>>()?;
    let (mean, ci) = mean_of_runs(&gains)?;
    let rise = |r: &ReportData| r.breadth.iter().map(|t| t.rise()).reduce(f64::max);
    let rises: Option<Vec<f64>> = reports.iter().map(rise).collect();
    let runs = reports.iter().map(|r| r.run.clone()).collect();
    Some(SeedsReport { runs, gains, mean, ci: [ci.low, ci.high], rises: rises.unwrap_or_default() })
}

/// The verdict of the first run, as far as all runs bear it out.
fn judged(kind: VerdictKind, seeds: &SeedsReport, report: &ReportData) -> VerdictKind {
    let gate = &report.verdict.gate;
    let rise = seeds.rises.iter().sum::<f64>() / seeds.rises.len().max(1) as f64;
    match kind {
        _ if seeds.ci[1] < 0.0 => VerdictKind::Worse,
        VerdictKind::Deeper | VerdictKind::DeeperButNarrower if seeds.ci[0] <= gate.min_gain.max(0.0) => {
            VerdictKind::NotShown
        }
        VerdictKind::Deeper if rise > gate.max_breadth_loss => VerdictKind::DeeperButNarrower,
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::report::data::{ExamReport, Paired, TextReport};
    use nurture_eval::{Gate, Verdict};

    fn report(run: &str, gain: f64, rise: f64) -> ReportData {
        let paired = Paired { diff: gain, ..Paired::default() };
        ReportData {
            run: run.into(),
            exams: vec![ExamReport { paired, ..ExamReport::default() }],
            breadth: vec![TextReport { base_bpb: 1.0, diff: rise, ..TextReport::default() }],
            verdict: Verdict {
                kind: VerdictKind::Deeper,
                gate: Gate { max_breadth_loss: 0.05, ..Gate::default() },
                ..Verdict::default()
            },
            ..ReportData::default()
        }
    }

    #[test]
    fn what_is_recorded_of_a_seed_makes_the_same_recipe() {
        let text = "[model]\nbase = 'm'\n[data]\ntrain = ['a.jsonl']\n[train]\nseed = 7\n[eval]\nseeds = 3\n\
                    [[then]]\ndata = { train = ['b.jsonl'] }\n\
                    [[then]]\ndata = { train = ['c.jsonl'] }\ntrain = { seed = 40 }\n\
                    [[then]]\ndata = { train = ['d.jsonl'] }\ntrain = { seed = 7 }\n";
        let parse = |sets: &[String]| Recipe::parse(text, "desk.toml".as_ref(), sets, "/w".as_ref()).unwrap();
        let (other, keys) = again(&parse(&["then[1].train.seed=41".into()]), 2, "desk-seed9".into());
        let seeds: Vec<u64> = other.recipe.then.iter().map(|t| t.train.seed).collect();
        assert_eq!((other.recipe.train.seed, &seeds[..]), (9, &[9, 43, 9][..]));
        let sets: Vec<String> = keys.iter().map(|o| format!("{}={}", o.key, o.value)).collect();
        assert_eq!(parse(&sets).recipe, other.recipe);
        assert_eq!(other.overrides, keys, "an override that was given before is replaced");
    }

    #[test]
    fn seeds_can_only_take_a_verdict_back() {
        let check = |runs: &[(f64, f64)], before, want| {
            let reports: Vec<_> = runs.iter().map(|(g, r)| report("r", *g, *r)).collect();
            let seeds = over(&reports).unwrap();
            assert_eq!(judged(before, &seeds, &reports[0]), want, "{runs:?} {seeds:?}");
        };
        use VerdictKind::*;
        check(&[(0.20, 0.01), (0.21, 0.01), (0.19, 0.02)], Deeper, Deeper);
        check(&[(0.20, 0.01), (0.02, 0.01), (0.10, 0.02)], Deeper, NotShown);
        check(&[(0.20, 0.01), (0.21, 0.09), (0.19, 0.09)], Deeper, DeeperButNarrower);
        check(&[(0.20, 0.01), (0.21, 0.01), (0.19, 0.02)], NotShown, NotShown);
        check(&[(0.20, 0.01), (0.21, 0.01), (0.19, 0.02)], DeeperButNarrower, DeeperButNarrower);
        check(&[(-0.20, 0.01), (-0.21, 0.01), (-0.19, 0.02)], NotShown, Worse);
        assert!(over(&[report("a", 0.1, 0.0)]).is_none());
        assert!(over(&[report("a", 0.1, 0.0), ReportData::default()]).is_none());
    }
}
