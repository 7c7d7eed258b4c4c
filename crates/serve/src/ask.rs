//! What chat and completion requests have in common: how tokens are chosen, how many, how the answer comes.

use crate::answers::{Charge, Job};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::http::{Caller, aside};
use crate::models::Served;
use crate::picker::TellsAll;
use crate::service::Service;
use crate::tools::{Choice, Tools, Turn};
use nurture_infer::engine::{Picker, Request};
use nurture_infer::{Drafts, Ruled, Sampler, Sampling};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

const STOPS: usize = 16;
const STOP_BYTES: usize = 256;
const BIASES: usize = 1024;
/// Most tokens shown in one place.
pub(crate) const TOP: u64 = 20;

/// Fields of OpenAI's API that do not touch the answer.
const HARMLESS: &[&str] = &[
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// What an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rule {
    /// JSON that satisfies this schema
    Schema(String),
    /// a text of this grammar
    Lark(String),
}

/// Settings of an answer.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) model: Arc<Served>,
    pub(crate) sampling: Sampling,
    pub(crate) stops: Vec<String>,
    pub(crate) choices: usize,
    pub(crate) most: Option<usize>,
    /// tokens of the prompt, once it is known
    pub(crate) prompt_tokens: usize,
    /// what the answer must be
    pub(crate) rule: Option<Rule>,
    /// what the answer may call
    pub(crate) tools: Option<Arc<Tools>>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// end-of-turn tokens do not end the text (benchmarks)
    pub(crate) ignore_eos: bool,
    pub(crate) deadline: Instant,
}

/// The model that a request names.
pub(crate) fn model(service: &Service, fields: &mut Fields) -> Result<Arc<Served>> {
    let name = fields.text("model")?.ok_or_else(|| ApiError::missing("model"))?;
    service.models().get(&name)
}

impl Ask {
    /// Reads the common fields; `most` is what the API calls the bound of new tokens.
    pub(crate) fn take(service: &Service, fields: &mut Fields, most: Option<usize>) -> Result<Ask> {
        let model = model(service, fields)?;
        let vocab = service.engine().model().config().vocab;
        fields.harmless(HARMLESS);
        let stream = fields.switch("stream")?.unwrap_or(false);
        let include_usage = match fields.take("stream_options") {
            None => false,
            Some(_) if !stream => {
                let message = "\"stream_options\" is only allowed where \"stream\" is true";
                return Err(ApiError::invalid("stream_options", message));
            }
            Some(options) => {
                let mut options = Fields::inner(options, "stream_options")?;
                let usage = options.switch("include_usage")?.unwrap_or(false);
                // padding against traffic analysis, which is not done here, does not touch the answer
                options.harmless(&["include_obfuscation"]);
                options.done()?;
                usage
            }
        };
        let default = Sampling::default();
        let sampling = Sampling {
            temperature: fields.number("temperature", 0.0, 2.0)?.unwrap_or(1.0),
            top_p: fields.number("top_p", 0.0, 1.0)?.unwrap_or(1.0),
            top_k: fields.count("top_k", 0, vocab as u64)?.unwrap_or(0),
            min_p: fields.number("min_p", 0.0, 1.0)?.unwrap_or(0.0),
            repeat_penalty: fields.number("repetition_penalty", 0.01, 100.0)?.unwrap_or(1.0),
            presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?.unwrap_or(0.0),
            frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?.unwrap_or(0.0),
            logit_bias: logit_bias(fields, vocab)?,
            seed: seed(fields)?.unwrap_or_else(|| service.random()),
            ..default
        };
        Ok(Ask {
            model,
            sampling,
            stops: stops(fields, "stop")?,
            choices: fields.count("n", 1, service.config().choices as u64)?.unwrap_or(1),
            most,
            prompt_tokens: 0,
            rule: None,
            tools: None,
            stream,
            include_usage,
            ignore_eos: fields.switch("ignore_eos")?.unwrap_or(false),
            deadline: Instant::now() + service.config().timeout,
        })
    }

    /// Of APIs that know one answer a request.
    pub(crate) fn single(&self) -> Result<()> {
        match self.choices {
            1 => Ok(()),
            _ => Err(ApiError::invalid("n", "\"n\" can only be 1 here")),
        }
    }

    /// What the answer may call and what it must be: a schema, or calls, or either.
    pub(crate) fn bind(&mut self, tools: Option<Tools>, schema: Option<String>) {
        self.rule = match &tools {
            Some(tools) => tools.rule(self.model.style(), schema.as_deref()),
            None => schema.map(Rule::Schema),
        };
        self.tools = tools.filter(|t| t.choice != Choice::None).map(Arc::new);
    }

    /// Renders a conversation and hands the requests in.
    pub(crate) async fn begin(
        mut self,
        service: &Service,
        caller: Caller,
        turns: Vec<Turn>,
        param: &'static str,
    ) -> Result<(Ask, Job)> {
        let (model, tools) = (self.model.clone(), self.tools.clone());
        let size = turns.iter().map(|t| t.content.len()).sum::<usize>();
        let prompt = aside(size, move || model.prompt(turns, tools.as_deref())).await??;
        self.prompt_tokens = prompt.len();
        // rules are made beside the threads that serve connections: a large schema takes its time
        let size = if self.rule.is_some() { usize::MAX } else { 0 };
        let maker = service.clone();
        let (ask, requests) = aside(size, move || {
            let requests = self.requests(&maker, caller.tenant, &[prompt], param, None);
            (self, requests)
        })
        .await?;
        let job = Job::start(service, requests?, Charge::Choices(ask.choices), param)?;
        Ok((ask, job))
    }

    /// Checks prompts against the context and makes the engine's requests: choices of the first prompt, of the second…
    pub(crate) fn requests(
        &self,
        service: &Service,
        tenant: u64,
        prompts: &[Vec<u32>],
        param: &str,
        scores: Option<usize>,
    ) -> Result<Vec<Request>> {
        let context = service.context();
        let mut requests = Vec::with_capacity(prompts.len() * self.choices);
        for prompt in prompts {
            if let Some(most) = self.most
                && prompt.len() + most > context
            {
                return Err(ApiError::too_long(param, context, prompt.len(), Some(most)));
            }
            let most = self.most.unwrap_or_else(|| context.saturating_sub(prompt.len()).max(1));
            for i in 0..self.choices {
                let sampling =
                    Sampling { seed: self.sampling.seed.wrapping_add(i as u64), ..self.sampling.clone() };
                let stops = match self.ignore_eos {
                    true => Vec::new(),
                    false => self.model.renderer.tokenizer().stop_ids().to_vec(),
                };
                let sampler = Sampler::new(sampling);
                let picker: Box<dyn Picker> = match (&self.rule, scores) {
                    (None, Some(_)) => Box::new(TellsAll { sampler, stops }),
                    (rule, _) => {
                        let rule = rule.as_ref().map(|rule| service.rule(rule)).transpose()?;
                        let drafts = service.config().drafts.then(|| Drafts::new(None));
                        Box::new(Ruled::new(sampler, stops, most, rule, drafts))
                    }
                };
                requests.push(Request {
                    prompt: prompt.clone(),
                    most,
                    picker,
                    adapter: self.model.adapter.clone(),
                    tenant,
                    deadline: Some(self.deadline),
                    scores,
                    hidden: None,
                });
            }
        }
        Ok(requests)
    }
}

fn seed(fields: &mut Fields) -> Result<Option<u64>> {
    let Some(value) = fields.take("seed") else { return Ok(None) };
    let seed = value.as_u64().or_else(|| value.as_i64().map(|n| n as u64));
    seed.map(Some).ok_or_else(|| ApiError::invalid("seed", "\"seed\" must be a whole number"))
}

/// Texts that end an answer.
pub(crate) fn stops(fields: &mut Fields, field: &str) -> Result<Vec<String>> {
    let stops = match fields.take(field) {
        None => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    if stops.len() > STOPS {
        return Err(ApiError::invalid(
            field,
            format!("\"{field}\" takes at most {STOPS} texts, not {}", stops.len()),
        ));
    }
    let text = |v: Value| match v {
        Value::String(s) if !s.is_empty() && s.len() <= STOP_BYTES => Ok(s),
        _ => {
            let message = format!("each text of \"{field}\" must be a string of 1 to {STOP_BYTES} bytes");
            Err(ApiError::invalid(field, message))
        }
    };
    stops.into_iter().map(text).collect()
}

fn logit_bias(fields: &mut Fields, vocab: usize) -> Result<Vec<(u32, f32)>> {
    let Some(value) = fields.take("logit_bias") else { return Ok(Vec::new()) };
    let wrong = |message: String| Err(ApiError::invalid("logit_bias", message));
    let Value::Object(map) = value else {
        return wrong("\"logit_bias\" must be an object of token ids and numbers".into());
    };
    if map.len() > BIASES {
        return wrong(format!("\"logit_bias\" takes at most {BIASES} tokens, not {}", map.len()));
    }
    let mut out = Vec::with_capacity(map.len());
    for (token, bias) in map {
        match (token.parse::<u32>(), bias.as_f64()) {
            (Ok(id), Some(bias)) if (id as usize) < vocab && (-100.0..=100.0).contains(&bias) => {
                out.push((id, bias as f32));
            }
            _ => {
                let message = format!(
                    "\"logit_bias\": \"{token}\": {bias}: a token id below {vocab} and a number from -100 to 100 are needed"
                );
                return wrong(message);
            }
        }
    }
    Ok(out)
}
