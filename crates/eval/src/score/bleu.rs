//! BLEU as sacrebleu computes it (Post 2018), with its tokenisations 13a and zh.
//!
//! Source: Papineni et al. 2002; smoothing of n-grams without a match as in mteval-v13a (Chen & Cherry 2014, method 3).
//! Of one answer the orders that it is too short for are left out ("effective order"), of a corpus they are not.
//! Left out on purpose: other smoothings, lower-casing, more than four words.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// Longest n-gram.
const ORDER: usize = 4;

/// How a text is cut into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// mteval-v13a: punctuation apart, but not inside numbers.
    Western,
    /// The same, and each Chinese character alone.
    Chinese,
}

impl Cut {
    /// Chinese where at least a tenth of the characters (without spaces) are Han.
    pub fn of<'a>(references: impl IntoIterator<Item = &'a str>) -> Cut {
        let (mut han, mut all) = (0usize, 0usize);
        for c in references.into_iter().flat_map(str::chars).filter(|c| !c.is_whitespace()) {
            all += 1;
            han += usize::from(matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'));
        }
        if han * 10 >= all.max(1) { Cut::Chinese } else { Cut::Western }
    }

    fn words(self, text: &str) -> Vec<String> {
        match self {
            Cut::Western => {
                let text = text.trim_end().replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                let text = text
                    .replace("&quot;", "\"")
                    .replace("&amp;", "&")
                    .replace("&lt;", "<")
                    .replace("&gt;", ">");
                parted(&format!(" {text} "))
            }
            Cut::Chinese => {
                let mut spaced = String::with_capacity(text.len() * 2);
                for c in text.trim().chars() {
                    if stands_alone(c) {
                        spaced.extend([' ', c, ' ']);
                    } else {
                        spaced.push(c);
                    }
                }
                parted(&spaced)
            }
        }
    }
}

/// Punctuation apart from words; point and comma only where no digit stands on that side, a dash after a digit.
fn parted(text: &str) -> Vec<String> {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"([\{-\~\[-\` -\&\(-\+\:-\@/])", " $1 "),
            (r"([^0-9])([\.,])", "$1 $2 "),
            (r"([\.,])([^0-9])", " $1 $2"),
            (r"([0-9])(-)", "$1 $2 "),
        ]
        .into_iter()
        .filter_map(|(rule, with)| Some((Regex::new(rule).ok()?, with)))
        .collect()
    });
    let mut text = text.to_string();
    for (rule, with) in RULES.iter() {
        text = rule.replace_all(&text, *with).into_owned();
    }
    text.split_whitespace().map(String::from).collect()
}

/// What sacrebleu's zh tokenisation takes for Chinese: more than Han, and by its own ranges, so that figures agree.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fbb}' | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}'
        | '\u{fa70}'..='\u{fad9}'
        // two ranges written with four digits where five were meant: they hold, among others, curly quotes
        | '\u{2001}'..='\u{2a6d}' | '\u{2f81}'..='\u{2fa1}'
        | '\u{ff00}'..='\u{ffef}' | '\u{2e80}'..='\u{2eff}' | '\u{3000}'..='\u{303f}' | '\u{31c0}'..='\u{31ef}'
        | '\u{2f00}'..='\u{2fdf}' | '\u{2ff0}'..='\u{2fff}' | '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}'
        | '\u{fe10}'..='\u{fe1f}' | '\u{fe30}'..='\u{fe4f}' | '\u{3200}'..='\u{33ff}')
}

/// What BLEU counts; the counts of answers add up to those of the corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    /// n-grams of the answer that a reference has too, by order
    matched: [usize; ORDER],
    /// n-grams of the answer, by order
    all: [usize; ORDER],
    /// words of the answer
    words: usize,
    /// words of the reference that is nearest in length
    reference: usize,
}

impl Counts {
    fn of<S: AsRef<str>>(answer: &str, references: &[S], cut: Cut) -> Counts {
        let words = cut.words(answer);
        let mut counts = Counts { words: words.len(), ..Counts::default() };
        let mut most: HashMap<&[String], usize> = HashMap::new();
        let references: Vec<Vec<String>> = references.iter().map(|r| cut.words(r.as_ref())).collect();
        for reference in &references {
            for (gram, n) in grams(reference) {
                let seen = most.entry(gram).or_default();
                *seen = n.max(*seen);
            }
        }
        let length = |r: &&Vec<String>| (r.len().abs_diff(words.len()), r.len());
        counts.reference = references.iter().min_by_key(length).map_or(0, Vec::len);
        for (gram, n) in grams(&words) {
            counts.all[gram.len() - 1] += n;
            counts.matched[gram.len() - 1] += n.min(most.get(gram).copied().unwrap_or(0));
        }
        counts
    }

    fn add(&mut self, other: Counts) {
        for n in 0..ORDER {
            self.matched[n] += other.matched[n];
            self.all[n] += other.all[n];
        }
        self.words += other.words;
        self.reference += other.reference;
    }

    fn score(&self, effective: bool) -> f64 {
        if self.matched.iter().all(|&m| m == 0) {
            return 0.0;
        }
        let (mut order, mut half) = (if effective { 0 } else { ORDER }, 1.0);
        let mut precisions = [0.0f64; ORDER];
        for (n, precision) in precisions.iter_mut().enumerate() {
            if self.all[n] == 0 {
                break;
            }
            if effective {
                order = n + 1;
            }
            *precision = if self.matched[n] == 0 {
                half *= 2.0;
                1.0 / (half * self.all[n] as f64)
            } else {
                self.matched[n] as f64 / self.all[n] as f64
            };
        }
        if precisions[..order].contains(&0.0) {
            return 0.0;
        }
        let brevity = match self.words < self.reference {
            true => (1.0 - self.reference as f64 / self.words as f64).exp(),
            false => 1.0,
        };
        let mean = precisions[..order].iter().map(|p| p.ln()).sum::<f64>() / order as f64;
        (brevity * mean.exp()).min(1.0)
    }
}

fn grams(words: &[String]) -> HashMap<&[String], usize> {
    let mut out = HashMap::new();
    for n in 1..=ORDER {
        for gram in words.windows(n) {
            *out.entry(gram).or_default() += 1;
        }
    }
    out
}

/// BLEU of one answer against its references, 0 to 1 (sacrebleu's `sentence_bleu / 100`).
pub fn sentence_bleu<S: AsRef<str>>(answer: &str, references: &[S], cut: Cut) -> f64 {
    Counts::of(answer, references, cut).score(true)
}

/// BLEU of many answers together, 0 to 1 (sacrebleu's `corpus_bleu / 100`): counts add up, which is not the mean.
pub fn corpus_bleu<'a, S: AsRef<str> + 'a>(
    answers: impl IntoIterator<Item = (&'a str, &'a [S])>,
    cut: Cut,
) -> f64 {
    let mut all = Counts::default();
    for (answer, references) in answers {
        all.add(Counts::of(answer, references, cut));
    }
    all.score(false)
}
