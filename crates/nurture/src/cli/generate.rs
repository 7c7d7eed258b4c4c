//! `nurture generate`: one prompt, one answer.

use std::io::Read as _;
use std::time::Instant;

use anyhow::Context as _;
use nurture::engine::{self, Completion, Model};
use nurture::infer::{Constraint, Drafts, Finish, Generator, Grammar, Pick, Rule, Sampler, Sampling};
use nurture::lang::Text;
use nurture::say;
use nurture::text::{Message, Tokenizer};
use serde_json::{Value, json};

use super::args::{Arg, Args};
use super::chat::{self, sampling};
use super::{Cli, Command, Exit, models};

pub(crate) const COMMAND: Command = Command {
    name: "generate",
    about: Text::new("Answer one prompt", "回答一个提示"),
    more: Text::new(
        "Examples:\n  nurture generate smollm2-135m-instruct --prompt \"Why is the sky blue?\"\n  \
         nurture generate gemma-3-270m --raw --prompt \"Once upon a time\"\n  \
         cat question.txt | nurture generate runs/quickstart --prompt - --json\n  \
         nurture generate smollm2-135m-instruct --schema person.schema.json --prompt \"Invent a person.\"",
        "例：\n  nurture generate smollm2-135m-instruct --prompt \"Why is the sky blue?\"\n  \
         nurture generate gemma-3-270m --raw --prompt \"从前有座山，\"\n  \
         cat question.txt | nurture generate runs/quickstart --prompt - --json\n  \
         nurture generate smollm2-135m-instruct --schema person.schema.json --prompt \"编一个人。\"",
    ),
    args: &[
        models::MODEL.needed(),
        Arg::text(
            "prompt",
            "TEXT",
            Text::new("The prompt; `-` reads it from stdin", "提示；`-` 表示从标准输入读取"),
        )
        .needed(),
        Arg::switch(
            "raw",
            Text::new("Continue the text itself, without a chat template", "直接续写文本，不用对话模板"),
        ),
        Arg::switch("json", Text::new("One JSON object on stdout", "在标准输出给出一个 JSON 对象")),
        Arg::text(
            "schema",
            "FILE",
            Text::new("The answer is JSON that this JSON schema allows", "回答是符合此 JSON Schema 的 JSON"),
        ),
        Arg::text(
            "regex",
            "RE",
            Text::new("The whole answer matches this regular expression", "整个回答匹配此正则表达式"),
        ),
        Arg::text(
            "grammar",
            "FILE",
            Text::new(
                "The answer follows this grammar (Lark, as llguidance has it)",
                "回答遵循此语法（llguidance 的 Lark）",
            ),
        ),
        models::ADAPTER,
        chat::SYSTEM,
        chat::TEMPERATURE,
        chat::TOP_P,
        chat::TOP_K,
        chat::MIN_P,
        chat::REPEAT,
        chat::PRESENCE,
        chat::FREQUENCY,
        chat::BIAS,
        chat::STOP,
        Arg::count(
            "logprobs",
            0,
            Text::new(
                "With --json: each token's log-probability and so many likeliest tokens in its place",
                "与 --json 同用：给出每个词元的对数概率，以及该处最可能的若干词元",
            ),
        ),
        Arg::switch(
            "prompt-logprobs",
            Text::new(
                "With --logprobs: those of the prompt's tokens too",
                "与 --logprobs 同用：也给出提示词元的",
            ),
        ),
        chat::SEED,
        chat::MAX_TOKENS,
        chat::CONTEXT,
        chat::EXACT,
        chat::DRAFT_FROM,
        chat::NO_DRAFTS,
        models::THREADS,
        models::TEMPLATE,
    ],
    run,
};

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let prompt = match args.text("prompt").unwrap_or_default() {
        "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).context("stdin")?;
            String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_string()
        }
        text => text.to_string(),
    };
    let begin = Instant::now();
    let opened = models::open(cli, args)?;
    let load = begin.elapsed().as_secs_f64();
    let model = &opened.model;
    let tokens = if args.switch("raw") {
        model.renderer().completion(&prompt)?.tokens
    } else {
        let system = args.text("system").map(String::from).or_else(|| opened.system.clone());
        let mut messages: Vec<Message> = system.map(|s| Message::new("system", s)).into_iter().collect();
        messages.push(Message::new("user", opened.question(&prompt)));
        model.renderer().prompt(&messages)?.tokens
    };
    let context = args.count("context").unwrap_or_else(|| model.decoder().config().context.min(8192));
    let as_json = args.switch("json");
    let mode = chat::mode(args);
    let mut generator = Generator::new(model.decoder(), opened.adapter.as_ref(), model.cpu(), mode, context);
    let mut rule = rule(cli, args, model)?;
    let logprobs = args.count("logprobs").filter(|_| as_json);
    let mut sampler = Sampler::new(Sampling { logprobs, ..sampling(cli, args, 1.0)? });
    let stop = args.texts("stop");
    let most = args.count("max-tokens").unwrap_or(512);
    let _working = cli.interrupt.working();
    let (begin, mut first) = (Instant::now(), None);
    let prompt_picks = match logprobs.filter(|_| args.switch("prompt-logprobs")) {
        Some(top) => Some(generator.score(&tokens, top).map_err(|e| chat::explain(cli, e.into()))?),
        None => None,
    };
    let constraint = rule.as_mut().map(|r| r as &mut dyn Constraint);
    let mut drafts = Drafts::new(chat::drafts(args, &opened)?);
    let drafts = (!args.switch("no-drafts")).then_some(&mut drafts);
    let completion =
        Completion { prompt: &tokens, most, sampler: &mut sampler, stop: &stop, constraint, drafts };
    let reply = engine::complete(model, &mut generator, completion, |piece| {
        first.get_or_insert_with(|| begin.elapsed().as_secs_f64());
        if !as_json {
            cli.out.piece(piece);
        }
        !cli.interrupt.raised()
    })
    .map_err(|e| chat::explain(cli, e))?;
    if as_json {
        let mut object = json!({
            "text": reply.text,
            "finish": finish_name(reply.finish),
            "prompt_tokens": tokens.len(),
            "tokens": reply.tokens,
            "load_s": load,
            "first_token_s": first,
            "seconds": begin.elapsed().as_secs_f64(),
            "mode": mode.name(),
            "model": model.path(),
            "adapter": opened.adapter_dir,
        });
        let figures = |picks: &[Pick]| json!({ "content": logprob_entries(model.tokenizer(), picks) });
        if logprobs.is_some() {
            object["logprobs"] = figures(&reply.picks);
        }
        if let Some(picks) = &prompt_picks {
            object["prompt_logprobs"] = figures(picks);
        }
        cli.out.line(&serde_json::to_string_pretty(&object)?);
    } else {
        cli.out.piece("\n");
    }
    Ok(if reply.finish == Finish::Interrupted { Exit::Interrupted } else { Exit::Done })
}

/// What the answer must be, from the command line.
fn rule(cli: &Cli, args: Args<'_>, model: &Model) -> anyhow::Result<Option<Grammar>> {
    let given: Vec<&str> =
        ["schema", "regex", "grammar"].into_iter().filter(|n| args.text(n).is_some()).collect();
    if given.len() > 1 {
        let names = given.iter().map(|n| format!("--{n}")).collect::<Vec<_>>().join(" ");
        anyhow::bail!(say!(cli.lang, "{names}: only one of these can be given", "{names}：只能给出其中一个"));
    }
    let (Some(&kind), Some(text)) = (given.first(), given.first().and_then(|n| args.text(n))) else {
        return Ok(None);
    };
    if kind == "regex" {
        return Ok(Some(model.grammars()?.rule(Rule::Regex(text))?));
    }
    let source = std::fs::read_to_string(text).with_context(|| text.to_string())?;
    let rule = if kind == "schema" { Rule::JsonSchema(&source) } else { Rule::Lark(&source) };
    Ok(Some(model.grammars()?.rule(rule).with_context(|| text.to_string())?))
}

/// Tokens with their log-probabilities, in the form of OpenAI's API and with the tokens' numbers.
fn logprob_entries(tokenizer: &Tokenizer, picks: &[Pick]) -> Vec<Value> {
    let entry = |id: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        json!({ "token": String::from_utf8_lossy(&bytes), "id": id, "bytes": bytes, "logprob": logprob })
    };
    let with_top = |pick: &Pick| {
        let mut object = entry(pick.token, pick.log_probability?);
        object["top_logprobs"] = pick.top.iter().map(|&(id, l)| entry(id, l)).collect();
        Some(object)
    };
    picks.iter().filter_map(with_top).collect()
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Context => "context",
        Finish::Interrupted => "interrupted",
    }
}
