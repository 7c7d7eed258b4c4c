//! The report: a self-contained page for people, and the same as markdown.
//!
//! ```text
//! ReportData ─ lead, exams, training, origin ─> Page ─┬─ html      report.html
//! (data)       (what is said, both languages)  (page) └─ markdown  report.md
//! ```
//! It opens with one screen for whoever decides; everything an engineer asks next stands below.
pub mod data;
pub mod verdict;

mod birth;
mod cleaning;
mod compare;
mod drift;
mod exams;
mod fmt;
mod html;
mod items;
mod lead;
mod markdown;
mod origin;
mod overlap;
mod page;
mod plots;
mod practice;
mod public;
mod road;
mod saved;
mod svg;
#[cfg(test)]
mod tests;
mod training;

pub use cleaning::cleaning_rows;
pub(crate) use page::short;
pub use saved::Saved;

use crate::lang::Lang;
use crate::say;
use data::ReportData;
use page::{Block, Page};

pub use compare::{compared_html, compared_markdown, compared_svg};

/// The report as one HTML file: no script, no outside resource, light and dark, fit for phone and paper.
pub fn html(data: &ReportData, lang: Lang) -> String {
    html::render(lang, &page(lang, data))
}

/// The report as markdown.
pub fn markdown(data: &ReportData, lang: Lang) -> String {
    markdown::render(&page(lang, data))
}

/// The pictures of a run of several stages as SVG files of their own, `(name, content)`; none of other runs.
pub fn figures(data: &ReportData, lang: Lang) -> Vec<(String, String)> {
    if data.stages.is_empty() { Vec::new() } else { road::figures(lang, data) }
}

fn page(lang: Lang, data: &ReportData) -> Page {
    let lead = lead::lead(lang, data);
    let mut blocks = Vec::new();
    blocks.extend(plots::accuracies(lang, &data.exams));
    blocks.push(Block::Sub(lang.pick("Risks and limits", "风险与局限").into()));
    blocks.push(Block::List(lead::limits(lang, data)));
    blocks.extend(road::road(lang, data));
    blocks.extend(exams::depth(lang, data));
    blocks.extend(exams::breadth(lang, data));
    blocks.extend(birth::birth(lang, data));
    blocks.extend(training::training(lang, data));
    blocks.extend(training::costs(lang, data));
    blocks.extend(training::ledger(lang, data));
    blocks.extend(origin::model(lang, data));
    blocks.extend(origin::repeat(lang, data));
    let (version, run) = (&data.version, &data.run);
    let foot = say!(
        lang,
        "Written by Nurture {version} from the files of run “{run}”; every figure can be recomputed from them.",
        "由 Nurture {version} 根据运行“{run}”的文件写出；每个数字都可由它们重新算出。"
    );
    let foot = match data.public {
        true => {
            foot + " "
                + lang.pick(
                    "Questions and answers of the exams, and folders, were left out of this copy.",
                    "本副本略去了考题、回答和目录。",
                )
        }
        false => foot,
    };
    Page { title: format!("{} · {}", lead.title, lead.verdict), lead, blocks, foot }
}
