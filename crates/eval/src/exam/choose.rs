//! One answer of several: labels and choices.

use super::{Ask, Examinee, Item, Pick, SitError};
use crate::{ExamInfo, ExamKind, ItemResult};
use nurture_infer::{Chooser, InferError, Trie};

/// Items between two words to the listener; the answers do not depend on it.
const GROUP: usize = 64;

/// The answers of an item as tokens, in a tree.
struct Answers {
    trie: Trie,
    lengths: Vec<usize>,
}

/// What was chosen.
struct Chosen {
    answer: usize,
    /// of the answer over the whole vocabulary, where it was computed
    logprob: Option<f64>,
    probability: f64,
}

impl Examinee<'_> {
    fn answers(
        &self,
        info: &ExamInfo,
        item: &Item,
        prompt: &[u32],
        answers: &[String],
    ) -> Result<Answers, SitError> {
        let manner = info.manner;
        let mut tokens: Vec<Vec<u32>> = answers
            .iter()
            .map(|a| self.answer_tokens(manner.ask, item, prompt, a))
            .collect::<Result<_, _>>()?;
        let lengths = tokens.iter().map(Vec::len).collect();
        let trie = match manner.pick {
            Pick::Greedy => {
                if manner.ask == Ask::Plain
                    && let Some(end) = self.line_end()
                {
                    // so that one answer is never the beginning of another
                    tokens.iter_mut().for_each(|t| t.push(end));
                }
                Trie::new(&tokens)
            }
            _ => Trie::nested(&tokens),
        };
        match trie {
            Ok(trie) => Ok(Answers { trie, lengths }),
            Err(InferError::SameAnswers { first, second }) => Err(SitError::SameAnswers {
                exam: info.name.clone(),
                first: answers.get(first).cloned().unwrap_or_default(),
                second: answers.get(second).cloned().unwrap_or_default(),
            }),
            Err(source) => Err(SitError::Infer { exam: info.name.clone(), source }),
        }
    }

    /// The token that ends a line.
    fn line_end(&self) -> Option<u32> {
        self.renderer.tokenizer().encode("\n", false).ok()?.last().copied()
    }

    pub(super) fn choose(
        &self,
        info: &ExamInfo,
        items: &[&Item],
        prompts: &[Vec<u32>],
        labels: &[String],
        keep: &mut dyn FnMut(Vec<ItemResult>) -> Result<(), SitError>,
    ) -> Result<(), SitError> {
        // in a conversation the tokens of a label do not depend on the question before it; in plain text they may
        let shared = info.kind == ExamKind::Label && info.manner.ask == Ask::Chat;
        let options =
            |i: &Item| if info.kind == ExamKind::Label { labels.to_vec() } else { i.options.clone() };
        let mut chooser = Chooser::new(self.decoder, self.adapter, self.cpu, nurture_model::Mode::Exact);
        let mut common: Option<Answers> = None;
        for (items, prompts) in items.chunks(GROUP).zip(prompts.chunks(GROUP)) {
            if shared && common.is_none() {
                common = Some(self.answers(info, items[0], &prompts[0], labels)?);
            }
            let own: Vec<Answers> = match shared {
                true => Vec::new(),
                false => items
                    .iter()
                    .zip(prompts)
                    .map(|(i, p)| self.answers(info, i, p, &options(i)))
                    .collect::<Result<_, _>>()?,
            };
            let tries: Vec<Trie> = common.iter().chain(&own).map(|a| a.trie.clone()).collect();
            let lengths = |i: usize| match &common {
                Some(common) => &common.lengths,
                None => &own[i].lengths,
            };
            let failed = |source| match source {
                // what the answers take is known only now
                InferError::TooLong { tokens, room, .. } => SitError::TooLong {
                    exam: info.name.clone(),
                    id: items
                        .iter()
                        .zip(prompts)
                        .find(|(_, p)| p.len() == tokens)
                        .map_or_else(String::new, |(i, _)| i.id.clone()),
                    tokens,
                    room,
                },
                source => SitError::Infer { exam: info.name.clone(), source },
            };
            let chosen: Vec<Chosen> = match info.manner.pick {
                Pick::Greedy => chooser
                    .choose(prompts, &tries, |_| ())
                    .map_err(failed)?
                    .into_iter()
                    .map(|c| Chosen {
                        answer: c.answer,
                        logprob: None,
                        probability: c.log_probability.exp().min(1.0),
                    })
                    .collect(),
                pick => {
                    let scores = chooser.score(prompts, &tries, |_| ()).map_err(failed)?;
                    scores
                        .iter()
                        .enumerate()
                        .map(|(i, s)| {
                            let sizes: Vec<usize> = match pick {
                                Pick::PerToken => lengths(i).clone(),
                                Pick::PerChar => {
                                    options(items[i]).iter().map(|o| o.chars().count()).collect()
                                }
                                _ => vec![1; s.log_likelihoods.len()],
                            };
                            let answer = likeliest(&s.log_likelihoods, &sizes);
                            Chosen {
                                answer,
                                logprob: s.log_likelihoods.get(answer).copied(),
                                probability: s.probabilities().get(answer).copied().unwrap_or(0.0),
                            }
                        })
                        .collect()
                }
            };
            let results =
                items.iter().zip(prompts).zip(chosen).enumerate().map(|(i, ((item, prompt), c))| {
                    let answer = options(item).swap_remove(c.answer);
                    let correct = item.gold.contains(&answer);
                    ItemResult {
                        id: item.id.clone(),
                        kind: info.kind,
                        question: item.question.clone(),
                        gold: item.gold.clone(),
                        answer,
                        correct,
                        score: f64::from(u8::from(correct)),
                        logprob: c.logprob,
                        probability: Some(c.probability),
                        margins: None,
                        prompt_tokens: prompt.len(),
                        answer_tokens: lengths(i)[c.answer],
                        cut: false,
                    }
                });
            keep(results.collect())?;
        }
        Ok(())
    }
}

/// The first answer with the greatest log-likelihood for its size.
fn likeliest(log_likelihoods: &[f64], sizes: &[usize]) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, (l, size)) in log_likelihoods.iter().zip(sizes).enumerate() {
        let value = l / (*size).max(1) as f64;
        if value > best.1 {
            best = (i, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn length_decides_where_it_is_divided_by() {
        let likelihoods = [-3.0, -8.0, -8.0];
        assert_eq!(likeliest(&likelihoods, &[1, 1, 1]), 0);
        assert_eq!(likeliest(&likelihoods, &[1, 4, 4]), 1);
        assert_eq!(likeliest(&[f64::NEG_INFINITY; 2], &[0, 0]), 0);
    }
}
