//! Pages of the data: the ledger of each run, and its examples with their masks.

use super::runs::ask;
use super::view::{View, html};
use crate::error::ApiError;
use crate::service::Service;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use minijinja::{Value, context};

type Result<T> = std::result::Result<T, ApiError>;

/// Examples of each source that are shown, and tokens of each.
const OF_EACH: usize = 5;
const TOKENS: usize = 2_000;

pub(crate) async fn list(State(service): State<Service>, view: View) -> Result<Response<Body>> {
    let runs = ask(&service, view.lang, |w| {
        let of = |name: String| {
            let sources = w.ledger(&name).unwrap_or_default();
            let rows: u64 = sources.iter().map(|s| s.rows).sum();
            let used: u64 = sources.iter().filter_map(|s| s.fates.first().map(|f| f.1)).sum();
            (name, sources.len(), rows, used)
        };
        Ok(w.runs().into_iter().map(|r| of(r.name)).collect::<Vec<_>>())
    })
    .await?;
    let runs: Vec<Value> =
        runs.into_iter().map(|(name, files, rows, used)| context! { name, files, rows, used }).collect();
    view.page("data.html", context! { runs })
}

pub(crate) async fn run(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    let asked = name.clone();
    let sources = ask(&service, view.lang, move |w| w.ledger(&asked)).await?;
    let sources: Vec<Value> = sources
        .iter()
        .map(|s| {
            let mut from = 0.0;
            let fates: Vec<Value> = s
                .fates
                .iter()
                .map(|(name, count, ids)| {
                    let wide = 1000.0 * *count as f64 / s.rows.max(1) as f64;
                    from += wide;
                    context! {
                        name => name.get(view.lang), count, ids => ids.join(", "),
                        from => format!("{:.1}", from - wide), wide => format!("{wide:.1}"),
                    }
                })
                .collect();
            context! { source => &s.source, rows => s.rows, fates }
        })
        .collect();
    view.page("data_run.html", context! { name, sources })
}

pub(crate) async fn examples(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    let examples = ask(&service, view.lang, move |w| w.examples(&name, OF_EACH)).await?;
    let examples: Vec<Value> = examples
        .iter()
        .map(|e| {
            // neighbours of one kind stand in one element
            let mut pieces: Vec<(String, bool)> = Vec::new();
            for (text, trained) in e.tokens.iter().take(TOKENS) {
                match pieces.last_mut() {
                    Some((last, kind)) if kind == trained => last.push_str(text),
                    _ => pieces.push((text.clone(), *trained)),
                }
            }
            if e.tokens.len() > TOKENS {
                pieces.push((" …".into(), false));
            }
            let trained = e.tokens.iter().filter(|t| t.1).count();
            context! { id => &e.id, tokens => e.tokens.len(), trained, pieces }
        })
        .collect();
    view.part("examples.html", context! { examples }).map(html)
}
