//! Practice: what the model's own answers were worth, how long and how sure they were, step by step.
use super::data::CurvePoint;
use super::page::{Block, Cell};
use super::{fmt, plots};
use crate::lang::Lang;
use crate::say;
use nurture_train::RewardMetrics;

/// Curve and figures of a run that practised; nothing of others.
pub(crate) fn practice(lang: Lang, curve: &[CurvePoint]) -> Vec<Block> {
    let points: Vec<(f64, RewardMetrics)> =
        curve.iter().filter_map(|p| Some((p.step as f64, p.rewards?))).collect();
    if points.is_empty() {
        return Vec::new();
    }
    let tenth = points.len().div_ceil(10);
    let (first, last) = (&points[..tenth], &points[points.len() - tenth..]);
    let mean = |part: &[(f64, RewardMetrics)], of: &dyn Fn(&RewardMetrics) -> f64| {
        part.iter().map(|p| of(&p.1)).sum::<f64>() / part.len() as f64
    };
    let way = |digits: usize, of: &dyn Fn(&RewardMetrics) -> f64| {
        format!("{} → {}", fmt::fixed(mean(first, of), digits), fmt::fixed(mean(last, of), digits))
    };
    let share = |of: &dyn Fn(&RewardMetrics) -> f64| {
        format!("{} → {}", fmt::percent(lang, mean(first, of)), fmt::percent(lang, mean(last, of)))
    };
    let mut facts = vec![
        (
            lang.pick("Reward, first and last tenth of the steps", "奖励，最初与最后十分之一的步"),
            way(3, &|r| r.reward),
        ),
        (lang.pick("Strict score", "严格分"), way(3, &|r| r.strict)),
        (lang.pick("Lenient score", "宽松分"), way(3, &|r| r.lenient)),
        (lang.pick("Tokens of an answer", "每个回答的词元"), way(1, &|r| r.length)),
        (lang.pick("Answers cut off", "被截断的回答"), share(&|r| r.cut)),
        (lang.pick("Entropy, nats a token", "熵，每词元奈特"), way(3, &|r| r.entropy)),
    ];
    if points.iter().any(|p| p.1.kl.is_some()) {
        let name = lang.pick("Divergence from the base, nats a token", "与基座的散度，每词元奈特");
        facts.push((name, way(4, &|r| r.kl.unwrap_or(0.0))));
    }
    if points.iter().any(|p| p.1.explained.is_some()) {
        let name = lang.pick("Variance that the values explain", "价值所解释的方差");
        facts.push((name, share(&|r| r.explained.unwrap_or(0.0))));
    }
    facts.push((lang.pick("Clipped", "被裁剪"), share(&|r| r.clipped)));
    let flat = |r: &RewardMetrics| r.flat as f64 / r.groups.max(1) as f64;
    facts.push((
        lang.pick("Groups all worth the same, from which nothing is learnt", "全组得分相同、学不到东西的组"),
        share(&flat),
    ));
    let answers: u64 = points.iter().map(|p| p.1.answers).sum();
    facts.push((lang.pick("Answers in all", "回答总数"), fmt::count(answers)));
    let mut blocks = Vec::new();
    let line =
        |of: &dyn Fn(&RewardMetrics) -> f64| points.iter().map(|p| [p.0, of(&p.1)]).collect::<Vec<_>>();
    blocks.extend(plots::rewards(lang, &line(&|r| r.strict), &line(&|r| r.lenient)));
    type Of = fn(&RewardMetrics) -> Option<f64>;
    let curves: [(Of, &str); 5] = [
        (
            |r| Some(r.reward),
            lang.pick(
                "Reward over steps, as the rules weigh it: pale as it was, dark its running mean",
                "奖励随步数变化（按规则加权）：浅色为原值，深色为滑动平均",
            ),
        ),
        (
            |r| Some(r.length),
            lang.pick(
                "Tokens of an answer over steps: where reward rises with length alone, it is length that is learnt",
                "每个回答的词元随步数变化：若奖励只随长度上升，学到的就只是长度",
            ),
        ),
        (
            |r| Some(r.entropy),
            lang.pick(
                "Entropy over steps, nats a token: near zero the model always says the same, and there is nothing left to choose from",
                "熵随步数变化，每词元奈特：接近零时模型总说同样的话，再无可选",
            ),
        ),
        (
            |r| r.kl,
            lang.pick(
                "Divergence from the base over steps, nats a token",
                "与基座的散度随步数变化，每词元奈特",
            ),
        ),
        (
            |r| r.explained,
            lang.pick(
                "Share of the variance of what came that the values knew, over steps",
                "价值事先所知占实际所得方差的比例，随步数变化",
            ),
        ),
    ];
    for (of, caption) in curves {
        let points = points.iter().filter_map(|p| Some([p.0, of(&p.1)?])).collect();
        blocks.extend(plots::line(lang, points, caption));
    }
    blocks.push(Block::Facts(facts.into_iter().map(|(n, v)| (n.to_string(), Cell::Text(v))).collect()));
    let gap = |part: &[(f64, RewardMetrics)]| mean(part, &|r| r.lenient - r.strict);
    let (before, after) = (gap(first), gap(last));
    if after > before + 0.1 {
        let (a, b) = (fmt::percent(lang, before), fmt::percent(lang, after));
        blocks.push(Block::Note(say!(
            lang,
            "The lenient score ran away from the strict one (gap {a} → {b}): look at the answers in rollouts.jsonl before you trust the reward.",
            "宽松分与严格分拉开了（差距 {a} → {b}）：相信奖励之前，请先看 rollouts.jsonl 里的回答。"
        )));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_practised_shows_it_and_others_do_not() {
        let point = |step: u64| {
            let x = step as f64 / 40.0;
            let rewards = RewardMetrics {
                reward: x,
                strict: 0.5 * x,
                lenient: x,
                length: 10.0,
                groups: 4,
                flat: 1,
                answers: 32,
                ..RewardMetrics::default()
            };
            CurvePoint { step, rewards: Some(rewards), ..CurvePoint::default() }
        };
        let curve: Vec<CurvePoint> = (1..=40).map(point).collect();
        assert!(practice(Lang::En, &[CurvePoint::default()]).is_empty());
        for lang in Lang::ALL {
            let blocks = practice(lang, &curve);
            assert_eq!(blocks.len(), 6, "scores, three curves, facts, and the warning of the gap");
            let Block::Facts(facts) = &blocks[4] else { panic!("no figures") };
            let Cell::Text(text) = &facts[0].1 else { panic!("no text") };
            assert_eq!(text, "0.062 → 0.963");
        }
        assert_eq!(practice(Lang::En, &curve[..1]).len(), 5);
        let mut valued = curve.clone();
        for rewards in valued.iter_mut().filter_map(|p| p.rewards.as_mut()) {
            (rewards.kl, rewards.explained) = (Some(0.01), Some(0.5));
        }
        assert_eq!(
            practice(Lang::En, &valued).len(),
            8,
            "divergence and values have curves where they are known"
        );
    }
}
