//! `nurture chat`: a conversation on a terminal, or one answer a line on a pipe.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nurture::engine::{Chat, ChatOptions, Reply};
use nurture::infer::{Finish, InferError, Ngrams, Sampling};
use nurture::lang::Text;
use nurture::model::Mode;
use nurture::say;

use super::args::{Arg, Args};
use super::models::{self, Opened};
use super::output::many;
use super::{Cli, Command, Exit};

pub(crate) const COMMAND: Command = Command {
    name: "chat",
    about: Text::new("Talk with a model", "与模型对话"),
    more: Text::new(
        "On a pipe each line of stdin is one turn, and stdout carries the answers alone.\n\
         Examples:\n  nurture chat smollm2-135m-instruct\n  nurture chat runs/quickstart",
        "接管道时，标准输入每行是一轮，标准输出只有回答。\n\
         例：\n  nurture chat smollm2-135m-instruct\n  nurture chat runs/quickstart",
    ),
    args: &[
        models::MODEL.needed(),
        models::ADAPTER,
        SYSTEM,
        TEMPERATURE,
        TOP_P,
        TOP_K,
        MIN_P,
        REPEAT,
        PRESENCE,
        FREQUENCY,
        BIAS,
        STOP,
        SEED,
        MAX_TOKENS,
        CONTEXT,
        EXACT,
        DRAFT_FROM,
        NO_DRAFTS,
        models::THREADS,
        models::TEMPLATE,
    ],
    run,
};

pub(crate) const SYSTEM: Arg = Arg::text(
    "system",
    "TEXT",
    Text::new(
        "System text (otherwise the one the adapter was trained with, if any)",
        "系统提示（不写时用适配器训练时的，如果有）",
    ),
);
pub(crate) const TEMPERATURE: Arg = Arg::number(
    "temperature",
    0.0,
    100.0,
    Text::new(
        "0 (the default): always the likeliest token; higher is freer",
        "0（默认）：总取最可能的词元；越大越随意",
    ),
);
pub(crate) const TOP_P: Arg = Arg::number(
    "top-p",
    0.0,
    1.0,
    Text::new(
        "Only the likeliest tokens that add up to this probability (0.9)",
        "只取概率合计到此值的最可能词元（0.9）",
    ),
);
pub(crate) const TOP_K: Arg = Arg::count(
    "top-k",
    0,
    Text::new("Only so many of the likeliest tokens (0: all)", "只取最可能的若干词元（0：全部）"),
);
pub(crate) const MIN_P: Arg = Arg::number(
    "min-p",
    0.0,
    1.0,
    Text::new(
        "Only tokens at least this fraction as likely as the likeliest (0: all)",
        "只取概率不低于最可能词元此比例的词元（0：全部）",
    ),
);
pub(crate) const REPEAT: Arg = Arg::number(
    "repeat-penalty",
    0.01,
    100.0,
    Text::new(
        "Makes the last 64 tokens less likely (1: off; chat with a base model: 1.1)",
        "降低最近 64 个词元的概率（1：关闭；与基座模型 chat 时为 1.1）",
    ),
);
pub(crate) const PRESENCE: Arg = Arg::number(
    "presence-penalty",
    -100.0,
    100.0,
    Text::new(
        "Taken off the logit of each token of the answer so far (0)",
        "从回答中出现过的词元的对数几率中减去（0）",
    ),
);
pub(crate) const FREQUENCY: Arg = Arg::number(
    "frequency-penalty",
    -100.0,
    100.0,
    Text::new("The same for each time that it came (0)", "同上，按出现次数计（0）"),
);
pub(crate) const BIAS: Arg = Arg::text(
    "logit-bias",
    "ID=X",
    Text::new("Adds X to the logit of token ID; may be repeated", "给词元 ID 的对数几率加上 X；可重复"),
)
.many();
pub(crate) const STOP: Arg = Arg::text(
    "stop",
    "TEXT",
    Text::new("Ends the answer before this text; may be repeated", "在此文本之前结束回答；可重复"),
)
.many();
pub(crate) const SEED: Arg =
    Arg::count("seed", 0, Text::new("The same seed gives the same text (0)", "同一种子得到同一文本（0）"));
pub(crate) const MAX_TOKENS: Arg =
    Arg::count("max-tokens", 1, Text::new("Most tokens of an answer (512)", "每个回答最多的词元数（512）"));
pub(crate) const CONTEXT: Arg = Arg::count(
    "context",
    1,
    Text::new(
        "Room for the whole conversation in tokens (the model's own, at most 8192)",
        "整个对话可用的词元数（不写时为模型自身的，最多 8192）",
    ),
);

pub(crate) const EXACT: Arg = Arg::switch(
    "exact",
    Text::new(
        "float32 activations, as exams use them (otherwise bytes: faster, a little rounded)",
        "用 float32 激活值计算，与考试相同（不写时用 8 位整数：更快，略有舍入）",
    ),
);

pub(crate) const DRAFT_FROM: Arg = Arg::text(
    "draft-from",
    "FILE",
    Text::new(
        "Training data in which drafts are looked up too: faster where answers resemble them; may be repeated",
        "草稿也从这些训练数据中查找：回答与之相近时更快；可重复",
    ),
)
.many();
pub(crate) const NO_DRAFTS: Arg = Arg::switch(
    "no-drafts",
    Text::new(
        "One token at a time (otherwise what may come next is looked up and checked together: the same text, sooner)",
        "逐个词元生成（不写时先查找可能的后文再一并验证：文本相同，更快）",
    ),
);

/// What proposes tokens, from the command line.
pub(crate) fn drafts(args: Args<'_>, opened: &Opened) -> anyhow::Result<Option<Arc<Ngrams>>> {
    let files: Vec<PathBuf> = args.texts("draft-from").into_iter().map(PathBuf::from).collect();
    if files.is_empty() || args.switch("no-drafts") {
        return Ok(None);
    }
    Ok(Some(Arc::new(opened.model.conversations(&files)?)))
}

/// The mode of the products, from the command line.
pub(crate) fn mode(args: Args<'_>) -> Mode {
    if args.switch("exact") { Mode::Exact } else { Mode::Fast }
}

/// How tokens are chosen, from the command line; `repeat_penalty` where it says nothing about that.
pub(crate) fn sampling(cli: &Cli, args: Args<'_>, repeat_penalty: f32) -> anyhow::Result<Sampling> {
    let number = |name: &str, or: f32| args.number(name).map_or(or, |x| x as f32);
    let bias = |text: &str| {
        let (id, x) = text.split_once('=')?;
        let x: f32 = x.trim().parse().ok()?;
        Some((id.trim().parse().ok()?, x)).filter(|_| !x.is_nan())
    };
    let biases = args.texts("logit-bias").into_iter().map(|text| {
        bias(&text).ok_or_else(|| {
            anyhow::anyhow!(say!(
                cli.lang,
                "--logit-bias {text}: a token's number, = and a number are needed, as in 11=-100",
                "--logit-bias {text}：应写作“词元编号=数值”，例如 11=-100"
            ))
        })
    });
    Ok(Sampling {
        temperature: number("temperature", 0.0),
        top_p: number("top-p", 0.9),
        top_k: args.count("top-k").unwrap_or(0),
        min_p: number("min-p", 0.0),
        repeat_penalty: number("repeat-penalty", repeat_penalty),
        presence_penalty: number("presence-penalty", 0.0),
        frequency_penalty: number("frequency-penalty", 0.0),
        logit_bias: biases.collect::<anyhow::Result<_>>()?,
        seed: args.count("seed").unwrap_or(0) as u64,
        ..Sampling::default()
    })
}

fn run(cli: &Cli, args: Args<'_>) -> anyhow::Result<Exit> {
    let opened = models::open(cli, args)?;
    let options = ChatOptions {
        system: args.text("system").map(String::from).or_else(|| opened.system.clone()),
        // small models repeat themselves in a free chat; an adapter answers as it was examined
        sampling: sampling(cli, args, if opened.adapter.is_some() { 1.0 } else { 1.1 })?,
        stop: args.texts("stop"),
        max_tokens: args.count("max-tokens").unwrap_or(512),
        context: args.count("context").unwrap_or(0),
        mode: mode(args),
        drafts: !args.switch("no-drafts"),
        corpus: drafts(args, &opened)?,
    };
    let begin = || Chat::new(&opened.model, opened.adapter.as_ref(), options.clone());
    let mut talk = Talk { cli, opened: &opened, chat: begin() };
    if !cli.out.stdin_tty {
        return talk.pipe();
    }
    talk.greet(&options);
    let keys = keyboard();
    loop {
        let Some(text) = read_turn(cli, &keys) else {
            cli.out.aside("\n");
            return Ok(Exit::Done);
        };
        match text.trim() {
            "" => {}
            "/exit" | "/quit" | "/bye" => return Ok(Exit::Done),
            "/reset" => {
                talk.chat = begin();
                cli.out.note(cli.lang.pick("(a new conversation)", "（新的对话）"));
            }
            "/help" | "/?" => cli.out.note(cli.lang.pick(HELP.en, HELP.zh)),
            word if word.starts_with('/')
                && !word.contains(char::is_whitespace)
                && !word[1..].contains('/') =>
            {
                cli.out.note(&say!(
                    cli.lang,
                    "there is no {word}; /help lists what there is",
                    "没有 {word}；/help 列出可用的"
                ));
            }
            _ => match talk.turn(&text) {
                Ok(_) => {}
                Err(e) if e.downcast_ref::<InferError>().is_some_and(too_long) => cli.out.error(&e),
                Err(e) => return Err(e),
            },
        }
    }
}

const HELP: Text = Text::new(
    "/reset  a new conversation\n/exit   the end (also Ctrl-D)\nCtrl-C  stops an answer; at the prompt it quits\n\
     a line that ends with \\ goes on in the next; a text that is pasted is sent with Enter",
    "/reset  新的对话\n/exit   结束（也可按 Ctrl-D）\nCtrl-C  停止当前回答；在提示符处则退出\n\
     行尾写 \\ 可换行继续；粘贴的多行文本按回车发送",
);

fn too_long(error: &InferError) -> bool {
    matches!(error, InferError::TooLong { .. })
}

struct Talk<'a> {
    cli: &'a Cli,
    opened: &'a Opened,
    chat: Chat<'a>,
}

impl Talk<'_> {
    fn greet(&self, options: &ChatOptions) {
        let (cli, model) = (self.cli, &self.opened.model);
        let name = model.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let size = many(model.decoder().parameters());
        let types: Vec<&str> = model.decoder().dtypes().iter().map(|d| d.0.name()).collect();
        let (threads, isa) = (model.cpu().pool().threads(), nurture::kernels::isa().name());
        let types = types.join("+");
        cli.out.note(&say!(
            cli.lang,
            "{name} · {size} parameters · {types} · {threads} threads, {isa} · /help",
            "{name} · {size} 参数 · {types} · {threads} 线程，{isa} · /help"
        ));
        if let Some(dir) = &self.opened.adapter_dir {
            let dir = dir.display();
            cli.out.note(&say!(cli.lang, "adapter: {dir}", "适配器：{dir}"));
        }
        if let Some(system) = &options.system {
            let short: String = system.chars().take(200).collect();
            let more = if short.len() < system.len() { " …" } else { "" };
            cli.out.note(&say!(cli.lang, "system: {short}{more}", "系统提示：{short}{more}"));
        }
        if model.renderer().template().name() == "plain" {
            cli.out.note(
                cli.lang.pick(
                    "template: plain (the model brings none of its own)",
                    "模板：plain（模型自身不带）",
                ),
            );
        }
    }

    /// Each line of stdin is one turn.
    fn pipe(&mut self) -> anyhow::Result<Exit> {
        let mut stdin = std::io::stdin().lock();
        while let Some(line) = read_line(&mut stdin)? {
            if !line.trim().is_empty() && self.turn(&line)?.finish == Finish::Interrupted {
                return Ok(Exit::Interrupted);
            }
        }
        Ok(Exit::Done)
    }

    /// One question and its answer.
    fn turn(&mut self, text: &str) -> anyhow::Result<Reply> {
        let cli = self.cli;
        let _working = cli.interrupt.working();
        let (begin, mut first) = (Instant::now(), None);
        let question = self.opened.question(text);
        let reply = self.chat.say(&question, |piece| {
            first.get_or_insert_with(Instant::now);
            cli.out.piece(piece);
            !cli.interrupt.raised()
        });
        let reply = reply.map_err(|e| explain(cli, e))?;
        cli.out.piece("\n");
        if cli.out.stdin_tty && cli.out.stderr_tty {
            cli.out.note(&pace(cli, &reply, begin, first));
        }
        if let Some(cut) = self.cut(&reply) {
            cli.out.note(&cut);
        }
        Ok(reply)
    }

    fn cut(&self, reply: &Reply) -> Option<String> {
        let (lang, n) = (self.cli.lang, reply.tokens);
        match reply.finish {
            Finish::Length => Some(say!(
                lang,
                "(cut after {n} tokens; --max-tokens allows more)",
                "（到 {n} 个词元截断；可用 --max-tokens 放宽）"
            )),
            Finish::Context => Some(say!(
                lang,
                "(cut after {n} tokens: the context is full; /reset begins anew, --context makes room for more)",
                "（到 {n} 个词元截断：上下文已满；/reset 重新开始，--context 可扩大）"
            )),
            Finish::Stop | Finish::Interrupted => None,
        }
    }
}

/// Adds what to do to an error of a conversation.
pub(crate) fn explain(cli: &Cli, error: anyhow::Error) -> anyhow::Error {
    let Some(InferError::TooLong { tokens, context, .. }) = error.downcast_ref::<InferError>() else {
        return error;
    };
    let hint = say!(
        cli.lang,
        "the conversation has {tokens} tokens with this turn, but only {context} fit; /reset begins anew, --context N makes room for more",
        "加上这一轮，对话共 {tokens} 个词元，而上下文只有 {context}；/reset 重新开始，--context N 可扩大"
    );
    error.context(hint)
}

/// `[42 tokens, 57.3 tok/s, first after 0.8 s]`
fn pace(cli: &Cli, reply: &Reply, begin: Instant, first: Option<Instant>) -> String {
    let wait = first.unwrap_or_else(Instant::now).duration_since(begin).as_secs_f64();
    let rest = first.map_or(0.0, |f| f.elapsed().as_secs_f64());
    let rate = if reply.tokens > 1 && rest > 0.0 {
        format!("{:.1} tok/s{}", (reply.tokens - 1) as f64 / rest, cli.lang.pick(", ", "，"))
    } else {
        String::new()
    };
    let (tokens, read) = (reply.tokens, reply.prefilled);
    say!(
        cli.lang,
        "[{tokens} tokens, {rate}first after {wait:.2} s ({read} read)]",
        "[{tokens} 个词元，{rate}首词 {wait:.2} 秒（读入 {read}）]"
    )
}

/// Lines of the keyboard. They are read on a thread of their own, so that a pasted text can be told from a typed one
/// by its pace.
fn keyboard() -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        while let Ok(Some(line)) = read_line(&mut stdin) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// Lines that follow each other faster than this were pasted.
const PASTE: Duration = Duration::from_millis(25);

/// One turn of the user; `None` at the end of input.
fn read_turn(cli: &Cli, keys: &Receiver<String>) -> Option<String> {
    cli.out.aside("> ");
    let mut lines = Vec::new();
    loop {
        let line = keys.recv().ok()?;
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line.to_string(), true),
            None => (line, false),
        };
        lines.push(line);
        let mut pasted = false;
        while let Ok(line) = keys.recv_timeout(PASTE) {
            lines.push(line);
            pasted = true;
        }
        // the last line of a pasted text may still wait for its Enter in the terminal
        if !goes_on && !pasted {
            return Some(lines.join("\n").trim_end().to_string());
        }
        cli.out.aside("… ");
    }
}

/// A line without its end; bytes that are no UTF-8 are replaced.
fn read_line(from: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if from.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_string()))
}
