//! Pages of the runs: the list, one run while it works and afterwards, a new one.

use super::curve::{self, short};
use super::lang::PageLang;
use super::query::in_path;
use super::recipe;
use super::view::{View, bytes, html, safe};
use super::workshop::{Live, Refusal, RunLine, RunState, Workshop};
use crate::body::Json;
use crate::error::{ApiError, json_response};
use crate::service::Service;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use minijinja::{Value, context};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, ApiError>;

/// How often a run at work is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A stream of looks ends after so long; the page asks again.
const STREAM: Duration = Duration::from_secs(600);
/// Most bytes of a recipe.
const RECIPE: usize = 1 << 20;
/// Steps whose mean is shown.
const RECENT: usize = 20;

impl Refusal {
    fn error(self, lang: PageLang) -> ApiError {
        match self {
            Refusal::Unknown => ApiError::not_found(
                "run_not_found",
                lang.pick("There is no run of that name.", "没有这个名字的运行。"),
            ),
            Refusal::Wrong(told) => ApiError::invalid("recipe", told.get(lang)),
            Refusal::Failed(told) => ApiError::internal(told.get(lang)),
        }
    }
}

/// Does what takes a while on a thread of its own.
pub(crate) async fn ask<T: Send + 'static>(
    service: &Service,
    lang: PageLang,
    work: impl FnOnce(&dyn Workshop) -> std::result::Result<T, Refusal> + Send + 'static,
) -> Result<T> {
    let Some(workshop) = service.pages().workshop() else {
        let message =
            lang.pick("No folder of runs is served (--runs DIR).", "没有提供运行目录（--runs 目录）。");
        return Err(ApiError::not_found("no_runs", message));
    };
    let done = tokio::task::spawn_blocking(move || work(&*workshop)).await;
    done.map_err(|_| ApiError::internal("a fault of ours while reading a run"))?.map_err(|r| r.error(lang))
}

fn must_manage(view: &View) -> Result<()> {
    if view.manage {
        return Ok(());
    }
    let message = view.lang.pick("This needs an admin key.", "这需要管理员密钥。");
    Err(ApiError::forbidden("admin_key_needed", message))
}

fn line(run: &RunLine, lang: PageLang) -> Value {
    context! {
        name => &run.name,
        state => run.state.word(),
        said => run.state.said(lang),
        done => run.steps.0,
        all => run.steps.1,
        base => &run.base,
        method => &run.method,
        verdict => run.verdict.as_ref().map_or("", |v| v.get(lang)),
        good => run.good,
        changed => run.changed,
    }
}

async fn lines(service: &Service, view: &View) -> Result<Value> {
    let runs = ask(service, view.lang, |w| Ok(w.runs())).await?;
    Ok(Value::from(runs.iter().map(|r| line(r, view.lang)).collect::<Vec<_>>()))
}

pub(crate) async fn list(State(service): State<Service>, view: View) -> Result<Response<Body>> {
    let runs = lines(&service, &view).await?;
    view.page("runs.html", context! { runs })
}

pub(crate) async fn list_part(State(service): State<Service>, view: View) -> Result<Response<Body>> {
    let runs = lines(&service, &view).await?;
    view.part("runs_list.html", context! { runs }).map(html)
}

pub(crate) async fn run(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    let (lang, asked) = (view.lang, name.clone());
    let (live, recipe, report, served) = ask(&service, lang, move |w| {
        let live = w.live(&asked)?;
        Ok((live, w.recipe(&asked)?, w.report(&asked, lang)?.is_some(), w.adapter(&asked).is_some()))
    })
    .await?;
    let state = live.line.state.word();
    let values = context! { name, recipe, report, served, state };
    view.page("run.html", context! { ..values, ..live_values(&live, lang) })
}

/// What may change, for the template.
fn live_values(live: &Live, lang: PageLang) -> Value {
    let recent = &live.points[live.points.len().saturating_sub(RECENT)..];
    let mean = |f: curve::Value| recent.iter().map(f).sum::<f64>() / recent.len().max(1) as f64;
    let mut figures: Vec<(&str, String)> = Vec::new();
    let mut curves = Vec::new();
    if let Some(last) = live.points.last() {
        figures.push((lang.pick("loss", "损失"), short(mean(|p| p.loss))));
        figures.push((lang.pick("learning rate", "学习率"), format!("{:.2e}", last.rate)));
        figures.push((lang.pick("gradient norm", "梯度范数"), short(mean(|p| p.norm))));
        figures.push((lang.pick("tokens a second", "词元/秒"), short(mean(|p| p.speed))));
        figures.extend(last.memory.map(|m| (lang.pick("memory", "内存"), bytes(m))));
        let drawn: [(&str, curve::Value); 2] = [
            (lang.pick("loss of each step (nats)", "每步损失（奈特）"), |p| p.loss),
            (lang.pick("learning rate", "学习率"), |p| p.rate),
        ];
        let total = live.line.steps.1;
        curves.extend(
            drawn.map(|(name, value)| (name, safe(curve::svg(&live.points, total, value, name, lang)))),
        );
    }
    let expected: Vec<Value> = live
        .expected
        .iter()
        .map(|e| {
            let of = |t: &Option<super::lang::Told>| {
                t.as_ref().map_or("–".to_string(), |t| t.get(lang).to_string())
            };
            context! { name => e.name.get(lang), forecast => of(&e.forecast), outcome => of(&e.outcome) }
        })
        .collect();
    let mut answers: Vec<(&str, Vec<Value>)> = Vec::new();
    for a in &live.answers {
        let said = context! { step => a.step, answer => &a.answer };
        match answers.iter_mut().find(|(q, _)| *q == a.question) {
            Some((_, all)) => all.push(said),
            None => answers.push((&a.question, vec![said])),
        }
    }
    let answers: Vec<Value> =
        answers.into_iter().map(|(question, answers)| context! { question, answers }).collect();
    context! {
        line => line(&live.line, lang),
        left => live.left.filter(|_| live.line.state == RunState::Working).map_or(String::new(), |s| time(s, lang)),
        figures, curves, expected, answers,
        log => live.log.join("\n"),
    }
}

/// A time for people.
pub(crate) fn time(seconds: f64, lang: PageLang) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} {}", lang.pick("s", "秒")),
        s if s < 5400.0 => format!("{:.0} {}", s / 60.0, lang.pick("min", "分钟")),
        s => format!("{:.1} {}", s / 3600.0, lang.pick("h", "小时")),
    }
}

/// The part that changes, sent whole whenever something in it did.
pub(crate) async fn live(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    let first = look(&service, &view, &name).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(2);
    let end = tokio::time::Instant::now() + STREAM;
    tokio::spawn(async move {
        let mut seen = None;
        let mut now = Some(first);
        let mut quiet = 0;
        while tokio::time::Instant::now() < end && !service.is_closing() {
            if let Some((version, html, working)) = now.take() {
                quiet += 1;
                let piece = if seen != Some(version) {
                    seen = Some(version);
                    quiet = 0;
                    format!("event: html\ndata: {}\n\n", json!(html))
                } else if quiet % 15 == 0 {
                    ": still here\n\n".into()
                } else {
                    String::new()
                };
                if !piece.is_empty() && sender.send(piece.into()).await.is_err() {
                    return;
                }
                if !working {
                    // what is at rest is looked at less often
                    tokio::time::sleep(LOOK * 2).await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = sender.closed() => return,
            }
            now = look(&service, &view, &name).await.ok();
            if now.is_none() {
                return;
            }
        }
    });
    Ok(super::events(receiver))
}

async fn look(service: &Service, view: &View, name: &str) -> Result<(u64, String, bool)> {
    let asked = name.to_string();
    let live = ask(service, view.lang, move |w| w.live(&asked)).await?;
    let html = view.part("run_live.html", live_values(&live, view.lang))?;
    Ok((live.version, html, live.line.state == RunState::Working))
}

/// The report as it lies in the run's folder: a document of its own, which may do nothing but look.
pub(crate) async fn report(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    let lang = view.lang;
    let report = ask(&service, lang, move |w| w.report(&name, lang)).await?;
    let report = report.ok_or_else(|| {
        ApiError::not_found("no_report", lang.pick("There is no report yet.", "还没有报告。"))
    })?;
    let mut response = html(report);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'self'; sandbox allow-same-origin";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    Ok(response)
}

pub(crate) async fn new(State(service): State<Service>, view: View) -> Result<Response<Body>> {
    must_manage(&view)?;
    let lang = view.lang;
    let schema = ask(&service, lang, move |w| Ok(w.fields(lang))).await?;
    let (common, sections) = recipe::form(&schema, service.models().base().name.as_str());
    view.page("recipe.html", context! { common, sections })
}

/// `{"text": TOML}`, or `{"values": {key: text}}` as the form sends it.
async fn text_of(service: &Service, view: &View, fields: Json) -> Result<String> {
    let mut fields = fields.0;
    if let Some(text) = fields.text("text")? {
        fields.done()?;
        if text.len() > RECIPE {
            return Err(ApiError::invalid("text", format!("a recipe has at most {RECIPE} bytes")));
        }
        return Ok(text);
    }
    let values = fields.needed("values")?;
    fields.done()?;
    let lang = view.lang;
    let schema = ask(service, lang, move |w| Ok(w.fields(lang))).await?;
    recipe::compose(&schema, &values, lang)
}

pub(crate) async fn compose(
    State(service): State<Service>,
    view: View,
    fields: Json,
) -> Result<Response<Body>> {
    must_manage(&view)?;
    let text = text_of(&service, &view, fields).await?;
    Ok(json_response(&json!({ "text": text })))
}

pub(crate) async fn start(
    State(service): State<Service>,
    view: View,
    fields: Json,
) -> Result<Response<Body>> {
    must_manage(&view)?;
    let text = text_of(&service, &view, fields).await?;
    let name = ask(&service, view.lang, move |w| w.start(&text)).await?;
    service.log(&json!({ "event": "run started", "run": name }));
    Ok(json_response(&json!({ "run": name, "location": format!("/runs/{}", in_path(&name)) })))
}

pub(crate) async fn stop(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    act(service, view, name, "run stopped", |w, name| w.stop(name)).await
}

pub(crate) async fn resume(
    State(service): State<Service>,
    view: View,
    Path(name): Path<String>,
) -> Result<Response<Body>> {
    act(service, view, name, "run resumed", |w, name| w.resume(name)).await
}

async fn act(
    service: Service,
    view: View,
    name: String,
    event: &str,
    what: fn(&dyn Workshop, &str) -> std::result::Result<(), Refusal>,
) -> Result<Response<Body>> {
    must_manage(&view)?;
    let asked = name.clone();
    ask(&service, view.lang, move |w| what(w, &asked)).await?;
    service.log(&json!({ "event": event, "run": name }));
    Ok(json_response(&json!({ "run": name })))
}

/// A channel as the body of a stream of events.
pub(crate) fn stream(receiver: tokio::sync::mpsc::Receiver<Bytes>) -> Body {
    Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<Bytes, Infallible>(piece), receiver))
    }))
}

/// For tests and other pages: the workshop, if any.
pub(crate) type Shared = Arc<dyn Workshop>;
