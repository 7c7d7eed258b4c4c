//! chrF (Popović 2015) as sacrebleu computes it: characters up to six together, β = 2, no words, spaces left out.

use std::collections::HashMap;

/// Longest run of characters.
const ORDER: usize = 6;
/// Recall counts β² times as much as precision.
const BETA: f64 = 2.0;

/// Runs of the answer, of the reference, and of both, by order.
type Counts = [[usize; 3]; ORDER];

fn runs(text: &[char], n: usize) -> HashMap<&[char], usize> {
    let mut out = HashMap::new();
    for run in text.windows(n) {
        *out.entry(run).or_default() += 1;
    }
    out
}

fn counts(answer: &[char], reference: &[char]) -> Counts {
    let mut out = [[0; 3]; ORDER];
    for (at, count) in out.iter_mut().enumerate() {
        let (answer, reference) = (runs(answer, at + 1), runs(reference, at + 1));
        let both = answer.iter().map(|(run, &n)| n.min(reference.get(run).copied().unwrap_or(0))).sum();
        let given = if reference.is_empty() { 0 } else { answer.values().sum() };
        *count = [given, reference.values().sum(), both];
    }
    out
}

fn score(counts: &Counts) -> f64 {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for &[given, wanted, both] in counts.iter().filter(|c| c[0] > 0 && c[1] > 0) {
        precision += both as f64 / given as f64;
        recall += both as f64 / wanted as f64;
        orders += 1.0;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    (1.0 + BETA * BETA) * precision * recall / (BETA * BETA * precision + recall)
}

fn best<S: AsRef<str>>(answer: &str, references: &[S]) -> Counts {
    let solid = |text: &str| -> Vec<char> { text.chars().filter(|c| !c.is_whitespace()).collect() };
    let answer = solid(answer);
    let mut best = (-1.0, [[0; 3]; ORDER]);
    for reference in references {
        let counts = counts(&answer, &solid(reference.as_ref()));
        let score = score(&counts);
        if score > best.0 {
            best = (score, counts);
        }
    }
    best.1
}

/// chrF of one answer, 0 to 1; of several references the best counts.
pub fn sentence_chrf<S: AsRef<str>>(answer: &str, references: &[S]) -> f64 {
    score(&best(answer, references))
}

/// chrF of many answers together: counts add up.
pub fn corpus_chrf<'a, S: AsRef<str> + 'a>(answers: impl IntoIterator<Item = (&'a str, &'a [S])>) -> f64 {
    let mut all = [[0; 3]; ORDER];
    for (answer, references) in answers {
        for (sum, new) in all.iter_mut().zip(best(answer, references)) {
            sum.iter_mut().zip(new).for_each(|(s, n)| *s += n);
        }
    }
    score(&all)
}
