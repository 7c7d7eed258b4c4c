//! The engine as a library: a model with its tokenizer and template, adapters, chat.
//!
//! ```no_run
//! use nurture::engine::{Model, LoadOptions, Chat};
//! let model = Model::load("model.gguf".as_ref(), &LoadOptions::default())?;
//! let mut chat = Chat::new(&model, None, Default::default());
//! chat.say("Hello!", |piece| {
//!     print!("{piece}");
//!     true
//! })?;
//! # anyhow::Ok(())
//! ```

use crate::said;
use anyhow::{Context, Result, anyhow, bail};
use nurture_data::{SourceSpec, load_training};
use nurture_formats::{GgufFile, HfFolder, ModelFile, adapter as peft, load_adapter};
use nurture_infer::{
    Constraint, Drafts, Finish, Generator, Grammars, Ngrams, Pick, Request, Sampler, Sampling, StopIds,
    StopTexts,
};
use nurture_model::{Adapter, Cpu, Decoder, Mode};
use nurture_text::{
    ChatTemplate, Clock, GgufTokenizerKeys, Message, RenderOptions, Renderer, StreamDecoder, Tokenizer,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to load a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Threads that compute; 0: one for each core that this process may use.
    pub threads: usize,
    /// The chat template: a built-in name (`plain`), or the path of a Jinja file. `None`: the model's own.
    pub template: Option<String>,
    /// A template with its name, as an adapter records it; wins over the model's own, not over `template`.
    pub recorded_template: Option<(String, String)>,
    /// The date that templates may write, `(year, month, day)`. `None`: a template that asks for it is refused.
    pub today: Option<(u16, u8, u8)>,
}

/// A model: weights, tokenizer, template, threads.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    cpu: Arc<Cpu>,
    decoder: Arc<Decoder>,
    renderer: Renderer,
    licence: Option<String>,
}

impl Model {
    /// Loads a GGUF file or a Hugging Face folder.
    ///
    /// # Errors
    /// Anything wrong with the file; a model without a template where none is given.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Model> {
        if crate::pairs::is_one(path) {
            let path = path.display();
            bail!(said!(
                "{path}: an encoder-decoder, which writes a target for a source and does not chat; nurture translate uses it",
                "{path}：这是编码器–解码器，由源文写出译文，不会对话；请用 nurture translate"
            ));
        }
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let cpu = Cpu::new(threads);
        let file = ModelFile::open(path)?;
        let (tokenizer, licence) = match &file {
            ModelFile::Gguf(f) => {
                (gguf_tokenizer(f)?, f.metadata().find::<&str>("general.license")?.map(String::from))
            }
            ModelFile::Hf(f) => (hf_tokenizer(f)?, None),
        };
        let decoder = Decoder::load(&file, cpu.pool())?;
        if tokenizer.vocab_size() > decoder.config().vocab {
            let (path, tokens, vocab) = (path.display(), tokenizer.vocab_size(), decoder.config().vocab);
            bail!(said!(
                "{path}: the tokenizer knows {tokens} tokens, the network only {vocab}",
                "{path}：分词器有 {tokens} 个词元，网络只认 {vocab} 个"
            ));
        }
        let template = choose_template(&tokenizer, options)
            .with_context(|| format!("the chat template of {}", path.display()))?;
        let render = RenderOptions {
            now: options.today.map(|(y, m, d)| Clock::date(y, m, d)),
            ..RenderOptions::default()
        };
        let renderer = Renderer::new(Arc::new(tokenizer), template).with_options(render);
        let (cpu, decoder) = (Arc::new(cpu), Arc::new(decoder));
        Ok(Model { path: path.to_path_buf(), cpu, decoder, renderer, licence })
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The processor.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The network.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Network and processor, shared: what an engine for many sequences takes
    /// ([`nurture_infer::engine::EngineHandle::start`]).
    pub fn shared(&self) -> (Arc<Decoder>, Arc<Cpu>) {
        (self.decoder.clone(), self.cpu.clone())
    }

    /// Messages to tokens.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.renderer.tokenizer()
    }

    /// The network, the processor and the renderer, for an engine that shares them.
    pub fn into_parts(self) -> (Arc<Decoder>, Arc<Cpu>, Renderer) {
        (self.decoder, self.cpu, self.renderer)
    }

    /// The licence that the file names.
    pub fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }

    /// What makes constraints (schemas, regular expressions, grammars) for this model's vocabulary; serves any number of texts.
    ///
    /// # Errors
    /// A vocabulary without a stop token.
    pub fn grammars(&self) -> Result<Grammars> {
        let tokenizer = self.renderer.tokenizer();
        let bytes =
            |id: u32| tokenizer.token_bytes(id).filter(|b| !tokenizer.is_special(id) && !b.is_empty());
        let tokens = (0..tokenizer.vocab_size() as u32).map(bytes).collect();
        let stops = tokenizer.stop_ids().to_vec();
        let tokenizer = Arc::clone(self.renderer.tokenizer());
        Ok(Grammars::new(tokens, &stops, move |text| tokenizer.encode(text, false).unwrap_or_default())?)
    }

    /// The conversations of training data (as `path` of a recipe's source names them), where drafts find how this model has learnt
    /// to go on.
    ///
    /// # Errors
    /// Data that cannot be read or rendered.
    pub fn conversations(&self, files: &[PathBuf]) -> Result<Ngrams> {
        let sources: Vec<SourceSpec> = files.iter().map(SourceSpec::new).collect();
        let loaded = load_training(&sources, &Default::default())?;
        let mut index = Ngrams::default();
        for example in &loaded.examples {
            index.extend(&crate::pipeline::render(self, example)?.tokens);
            index.end();
        }
        Ok(index)
    }

    /// Loads an adapter in PEFT's format (a folder) or in GGUF's (a file) and checks that it fits.
    ///
    /// # Errors
    /// Anything wrong with it; another base.
    pub fn adapter(&self, dir: &Path) -> Result<Adapter> {
        if dir.is_file() {
            return crate::export::read_gguf_lora(self, dir);
        }
        Ok(Adapter::load_for(&self.cpu, &self.decoder, &load_adapter(dir)?)?)
    }
}

/// The adapter folder of a run folder, or the folder itself.
pub fn adapter_dir(path: &Path) -> PathBuf {
    let inner = crate::network::result_dir(path).join("adapter");
    if inner.join(peft::CONFIG_NAME).exists() { inner } else { path.to_path_buf() }
}

/// What Nurture recorded beside an adapter (`nurture.json`), if anything.
pub fn recorded(dir: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(dir.join(peft::EXTRA_NAME)).ok()?).ok()
}

/// The template `(name, source)` that an adapter was trained with.
pub fn recorded_template(extra: &serde_json::Value) -> Option<(String, String)> {
    let field = |key: &str| extra.get("template")?.get(key)?.as_str().map(String::from);
    Some((field("name")?, field("source")?))
}

fn choose_template(tokenizer: &Tokenizer, options: &LoadOptions) -> Result<ChatTemplate> {
    if let Some(given) = &options.template {
        let path = Path::new(given);
        if path.is_file() {
            let source = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            return Ok(ChatTemplate::new(given, source)?);
        }
        return Ok(ChatTemplate::named(given)?);
    }
    if let Some((name, source)) = &options.recorded_template {
        return Ok(ChatTemplate::new(name, source)?);
    }
    match tokenizer.chat_template() {
        Some(source) => Ok(ChatTemplate::new("model", source)?),
        None => ChatTemplate::named("plain").map_err(|e| anyhow!(e)),
    }
}

fn gguf_tokenizer(file: &GgufFile) -> Result<Tokenizer> {
    let meta = file.metadata();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let strings = |name: &str| -> Result<Option<Vec<String>>> {
        let found = meta.find::<&nurture_formats::Strings>(&key(name))?;
        Ok(found.map(|s| s.iter().map(String::from).collect()))
    };
    let id = |name: &str| meta.find::<u32>(&key(name));
    let flag = |name: &str| meta.find::<bool>(&key(name));
    let tokens = strings("tokens")?.ok_or_else(|| anyhow!("{}: has no tokens", file.path().display()))?;
    let merges = strings("merges")?;
    let types = meta.find::<std::borrow::Cow<'_, [i32]>>(&key("token_type"))?;
    Ok(Tokenizer::from_gguf(&GgufTokenizerKeys {
        model: meta.str(&key("model"))?,
        pre: meta.find(&key("pre"))?,
        tokens: &tokens,
        scores: meta.find(&key("scores"))?,
        token_types: types.as_deref(),
        merges: merges.as_deref(),
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        unk: id("unknown_token_id")?,
        pad: id("padding_token_id")?,
        eot: id("eot_token_id")?,
        eom: id("eom_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        chat_template: meta.find("tokenizer.chat_template")?,
    })?)
}

fn hf_tokenizer(folder: &HfFolder) -> Result<Tokenizer> {
    if folder.tokenizer().is_none() {
        let path = folder.path().display();
        bail!(said!("{path}: has no tokenizer.json", "{path}：没有 tokenizer.json"));
    }
    Ok(Tokenizer::from_dir(folder.path())?)
}

/// How a chat answers.
#[derive(Clone, Debug)]
pub struct ChatOptions {
    /// The system turn, if any.
    pub system: Option<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end an answer and do not belong to it.
    pub stop: Vec<String>,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// Room for the whole conversation in tokens; 0: the model's own context, at most 8,192.
    pub context: usize,
    /// How products take their activations.
    pub mode: Mode,
    /// Whether what comes next is looked up where the text went on before (faster, the same text).
    pub drafts: bool,
    /// Other texts to look it up in.
    pub corpus: Option<Arc<Ngrams>>,
}

impl Default for ChatOptions {
    fn default() -> ChatOptions {
        let (sampling, mode) = (Sampling::default(), Mode::Fast);
        let (stop, corpus) = (Vec::new(), None);
        ChatOptions { system: None, sampling, stop, max_tokens: 512, context: 0, mode, drafts: true, corpus }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// its text
    pub text: String,
    /// why it ended
    pub finish: Finish,
    /// its tokens
    pub tokens: usize,
    /// prompt tokens that had to be computed
    pub prefilled: usize,
    /// its tokens with their log-probabilities, where the sampling asks for these
    pub picks: Vec<Pick>,
}

/// A conversation. Keys and values of earlier turns are kept.
#[derive(Debug)]
pub struct Chat<'m> {
    model: &'m Model,
    generator: Generator<'m>,
    sampler: Sampler,
    stop: Vec<String>,
    max_tokens: usize,
    drafts: Option<Drafts>,
    messages: Vec<Message>,
}

impl<'m> Chat<'m> {
    /// A new conversation.
    pub fn new(model: &'m Model, adapter: Option<&'m Adapter>, options: ChatOptions) -> Chat<'m> {
        let context = match options.context {
            0 => model.decoder.config().context.min(8192),
            n => n,
        };
        Chat {
            model,
            generator: Generator::new(&model.decoder, adapter, &model.cpu, options.mode, context),
            sampler: Sampler::new(options.sampling),
            stop: options.stop,
            max_tokens: options.max_tokens,
            drafts: options.drafts.then(|| Drafts::new(options.corpus)),
            messages: options.system.map(|s| Message::new("system", s)).into_iter().collect(),
        }
    }

    /// The turns so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Says something and hears the answer piece by piece; `each` answers whether to go on.
    ///
    /// # Errors
    /// What the template raises; a conversation that is longer than the context (the turn is then taken back).
    pub fn say(&mut self, text: &str, each: impl FnMut(&str) -> bool) -> Result<Reply> {
        self.messages.push(Message::new("user", text));
        let reply = self.answer(each);
        match &reply {
            Ok(r) => self.messages.push(Message::new("assistant", r.text.clone())),
            Err(_) => _ = self.messages.pop(),
        }
        reply
    }

    fn answer(&mut self, each: impl FnMut(&str) -> bool) -> Result<Reply> {
        let prompt = self.model.renderer.prompt(&self.messages)?.tokens;
        let completion = Completion {
            prompt: &prompt,
            most: self.max_tokens,
            sampler: &mut self.sampler,
            stop: &self.stop,
            constraint: None,
            drafts: self.drafts.as_mut(),
        };
        complete(self.model, &mut self.generator, completion, each)
    }
}

/// What is to be written.
pub struct Completion<'r, 'c> {
    /// what to continue
    pub prompt: &'r [u32],
    /// most new tokens
    pub most: usize,
    /// chooses them
    pub sampler: &'r mut Sampler,
    /// texts that end the answer, beside the model's own stop tokens
    pub stop: &'r [String],
    /// what the answer must be
    pub constraint: Option<&'c mut (dyn Constraint + 'c)>,
    /// proposes what may come next
    pub drafts: Option<&'r mut Drafts>,
}

/// Continues a prompt, decoding pieces that never tear a character and never show part of a stop text.
///
/// # Errors
/// See [`Generator::run`].
pub fn complete(
    model: &Model,
    generator: &mut Generator<'_>,
    completion: Completion<'_, '_>,
    mut each: impl FnMut(&str) -> bool,
) -> Result<Reply> {
    let Completion { prompt, most, sampler, stop, constraint, drafts } = completion;
    let mut stream = StreamDecoder::plain(model.tokenizer());
    let mut texts = StopTexts::new(stop);
    let mut text = String::new();
    let (mut stopped, mut picks) = (false, Vec::new());
    let keep = sampler.settings().logprobs.is_some();
    let mut ids = StopIds(model.tokenizer().stop_ids().to_vec());
    let request = Request { prompt, most, sampler, stop: &mut ids, constraint, drafts };
    let out = generator.run(request, |pick| {
        let released = texts.push(stream.push(pick.token).as_bytes());
        if keep {
            picks.push(pick);
        }
        // whole characters went in, and stop texts begin with whole ones
        let piece = String::from_utf8_lossy(&released.bytes);
        text.push_str(&piece);
        stopped = released.stopped;
        (piece.is_empty() || each(&piece)) && !stopped
    })?;
    if !stopped {
        let released = texts.push(stream.finish().as_bytes());
        let rest = [released.bytes, texts.finish()].concat();
        let rest = String::from_utf8_lossy(&rest);
        if !rest.is_empty() {
            text.push_str(&rest);
            each(&rest);
        }
    }
    let finish = if stopped { Finish::Stop } else { out.finish };
    Ok(Reply { text, finish, tokens: out.tokens.len(), prefilled: out.prefilled, picks })
}
