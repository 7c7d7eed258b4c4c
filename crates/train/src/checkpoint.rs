//! Checkpoints: one file each, `checkpoints/step-000123.safetensors`, whole or not there.
//!
//! A file holds what trains (`p.NAME`), the optimiser's memory (`m.NAME`, `v.NAME`; of eight bits `s8.NAME`, `c8.NAME`,
//! whose bytes stand four to a word; averages `a.NAME`) and, in its header, the state of
//! the loop and the identity of the run; a SHA-256 over all of it stands beside them. It is read back tensor by tensor.
//! Of an adapter it is written from a copy ([`Snapshot`]: tens of megabytes) while training goes on; of a network that
//! trains itself, where it is three times the weights, from the live tensors, and training waits. Such a network's tensors
//! stand in the order of their tiles, as flat lists.

use crate::digest::Digest;
use crate::divergence::LossWatch;
use crate::error::{TrainError, Warning};
use crate::identity::Identity;
use crate::learner::Learner;
use crate::optimiser::Memory;
use crate::pupil::{Tensor, Tensors, Who};
use nurture_formats::{FormatError, SafetensorsFile, TensorInfo, TensorSource, TensorSpec, safetensors};
use nurture_kernels::Cpu;
use nurture_kernels::dtype::DType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the folder in the run's folder.
pub const CHECKPOINTS: &str = "checkpoints";
/// How many are kept.
const KEEP: usize = 2;
const STATE: &str = "nurture.state";
const SHA256: &str = "nurture.sha256";
/// Number of this layout; a reader of another layout refuses the file.
const LAYOUT: u32 = 1;

/// Tokens of the steps so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// of the examples
    pub(crate) given: u64,
    /// those of them that carry loss
    pub(crate) trained: u64,
    /// that were computed
    pub(crate) computed: u64,
}

/// The loop after a step, apart from the tensors. Floats as bits: text would round some of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    layout: u32,
    /// steps done
    pub(crate) step: u64,
    pub(crate) identity: Identity,
    tokens: u64,
    trained_tokens: u64,
    #[serde(default)]
    computed_tokens: u64,
    seconds: u64,
    last_loss: u64,
    recent_losses: Vec<u64>,
    best_loss: Option<u64>,
}

impl State {
    pub(crate) fn new(
        identity: Identity,
        step: u64,
        tokens: Tokens,
        seconds: f64,
        last_loss: f64,
        watch: &LossWatch,
    ) -> State {
        State {
            layout: LAYOUT,
            step,
            identity,
            tokens: tokens.given,
            trained_tokens: tokens.trained,
            computed_tokens: tokens.computed,
            seconds: seconds.to_bits(),
            last_loss: last_loss.to_bits(),
            recent_losses: watch.recent.iter().map(|l| l.to_bits()).collect(),
            best_loss: watch.best.map(f64::to_bits),
        }
    }

    /// Tokens of the steps so far.
    pub(crate) fn tokens(&self) -> Tokens {
        Tokens { given: self.tokens, trained: self.trained_tokens, computed: self.computed_tokens }
    }

    /// Seconds of work so far.
    pub(crate) fn seconds(&self) -> f64 {
        f64::from_bits(self.seconds)
    }

    pub(crate) fn last_loss(&self) -> f64 {
        f64::from_bits(self.last_loss)
    }

    pub(crate) fn watch(&self) -> LossWatch {
        LossWatch {
            recent: self.recent_losses.iter().map(|&l| f64::from_bits(l)).collect(),
            best: self.best_loss.map(f64::from_bits),
        }
    }
}

/// A checkpoint read and found whole.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) path: PathBuf,
    file: SafetensorsFile,
}

/// A tensor of a checkpoint: name, shape, values.
pub(crate) type Stored<'a> = (String, Vec<usize>, &'a [f32]);

/// A checkpoint that is still to be written, apart from the learner that goes on.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    copies: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Snapshot {
    pub(crate) fn new(state: State, learner: &Learner<'_>) -> Snapshot {
        let copies = tensors(learner).into_iter().map(|(name, shape, values)| (name, shape, values.to_vec()));
        Snapshot { state, copies: copies.collect() }
    }

    pub(crate) fn tensors(&self) -> Vec<Stored<'_>> {
        self.copies.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), &values[..])).collect()
    }
}

/// The tensors of a checkpoint, sorted by name, as the file is.
pub(crate) fn tensors<'l>(learner: &'l Learner<'_>) -> Vec<Stored<'l>> {
    let plain = matches!(learner.pupil.who, Who::Adapter { .. });
    tensors_of(&learner.pupil, &learner.memory, plain)
}

/// The same of whoever learns; `plain`: no tensor stands in the order of tiles.
pub(crate) fn tensors_of<'l>(pupil: &'l dyn Tensors, memory: &'l Memory, plain: bool) -> Vec<Stored<'l>> {
    let mut out = Vec::new();
    let named = pupil.tensors();
    let shape = |t: &Tensor, values: &[f32]| if plain { t.shape.clone() } else { vec![values.len()] };
    for ((t, values), memory) in named.iter().zip(pupil.values()).zip(memory.stored()) {
        out.push((format!("p.{}", t.name), shape(t, values), values));
        for (what, words) in memory {
            let shape = if words.len() == values.len() { shape(t, words) } else { vec![words.len()] };
            out.push((format!("{what}.{}", t.name), shape, words));
        }
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

fn add_tensor(digest: &mut Digest, name: &str, shape: &[usize], values: &[f32]) {
    digest.part(name.as_bytes());
    digest.words(shape, |n| (n as u64).to_le_bytes());
    digest.words(values, f32::to_le_bytes);
}

/// Writes the checkpoint of `state.step` and removes what is older than the one before it.
pub(crate) fn save(folder: &Path, state: &State, tensors: &[Stored<'_>]) -> Result<(), TrainError> {
    fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, "creating the folder", e))?;
    let path = folder.join(format!("step-{:06}.safetensors", state.step));
    let text =
        serde_json::to_string(state).map_err(|e| TrainError::io(&path, "writing the state", e.into()))?;
    let mut digest = Digest::default();
    digest.part(text.as_bytes());
    tensors.iter().for_each(|(name, shape, values)| add_tensor(&mut digest, name, shape, values));
    let metadata = BTreeMap::from([(STATE.to_string(), text), (SHA256.to_string(), digest.hex())]);
    let specs: Vec<TensorSpec> =
        tensors.iter().map(|(name, shape, _)| TensorSpec::new(name, DType::F32, shape.clone())).collect();
    let mut writer = safetensors::create(&path, &metadata, &specs)?;
    for (name, _, values) in tensors {
        writer.append_f32(name, values)?;
    }
    writer.finish()?;
    for (_, path) in list(folder)?.into_iter().rev().skip(KEEP) {
        fs::remove_file(&path).map_err(|e| TrainError::io(&path, "removing an old checkpoint", e))?;
    }
    Ok(())
}

/// The checkpoints of a folder by step, oldest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let io = |e| TrainError::io(folder, "looking for checkpoints", e);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(io)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let number = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".safetensors"));
        if let Some(step) = number.and_then(|n| n.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes files that a killed process left unfinished.
pub(crate) fn sweep(folder: &Path) -> Result<(), TrainError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with(".nurture-") && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(|e| TrainError::io(&path, "removing an unfinished file", e))?;
        }
    }
    Ok(())
}

/// The newest whole checkpoint, and a warning for each newer one that is not. Broken ones are moved aside
/// (`….broken`), so that they neither count as the newest again nor get lost.
pub(crate) fn newest(folder: &Path) -> Result<(Option<Loaded>, Vec<Warning>), TrainError> {
    let mut warnings = Vec::new();
    for (step, path) in list(folder)?.into_iter().rev() {
        match load(&path, step) {
            Ok(loaded) => return Ok((Some(loaded), warnings)),
            Err(problem) => {
                let aside = path.with_extension("safetensors.broken");
                fs::rename(&path, &aside)
                    .map_err(|e| TrainError::io(&path, "moving a broken checkpoint aside", e))?;
                warnings.push(Warning::BrokenCheckpoint { checkpoint: path, problem });
            }
        }
    }
    Ok((None, warnings))
}

fn load(path: &Path, step: u64) -> Result<Loaded, String> {
    let file = SafetensorsFile::open(path).map_err(|e| e.to_string())?;
    let text = |key: &str| file.metadata().get(key).ok_or(format!("its header has no {key}"));
    let (state_text, sha256) = (text(STATE)?, text(SHA256)?);
    let mut digest = Digest::default();
    digest.part(state_text.as_bytes());
    let mut infos: Vec<_> = file.tensors().iter().collect();
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    for info in infos {
        if info.dtype != DType::F32 {
            return Err(format!("tensor \"{}\" is {}", info.name, info.dtype));
        }
        digest.part(info.name.as_bytes());
        digest.words(&info.shape, |n| (n as u64).to_le_bytes());
        digest.count((info.bytes / 4) as usize);
        each_piece(&file, info, |piece| digest.bytes(piece)).map_err(|e| e.to_string())?;
    }
    let found = digest.hex();
    if found != *sha256 {
        return Err(format!("its content has sha256 {found}, its header says {sha256}"));
    }
    let state: State = serde_json::from_str(state_text).map_err(|e| format!("state: {e}"))?;
    if state.layout != LAYOUT {
        return Err(format!("written in layout {}, this program reads {LAYOUT}", state.layout));
    }
    if state.step != step {
        return Err(format!("its name says step {step}, its content step {}", state.step));
    }
    Ok(Loaded { state, path: path.to_path_buf(), file })
}

/// Reads a tensor by pieces of whole words, so that a checkpoint is never in memory as a whole.
fn each_piece(
    file: &SafetensorsFile,
    info: &TensorInfo,
    mut each: impl FnMut(&[u8]),
) -> Result<(), FormatError> {
    const PIECE: u64 = 4 << 20;
    let mut bytes = Vec::new();
    for from in (0..info.bytes).step_by(PIECE as usize) {
        bytes.resize(PIECE.min(info.bytes - from) as usize, 0);
        file.read_into(info, from, &mut bytes)?;
        each(&bytes);
    }
    Ok(())
}

impl Loaded {
    /// Puts the tensors where they belong. Fails, with a word, where one is missing or of another length.
    pub(crate) fn restore(&self, learner: &mut Learner<'_>) -> Result<(), String> {
        let cpu = learner.cpu();
        self.restore_to(cpu, &mut learner.pupil, &mut learner.memory)
    }

    /// The same to whoever learns.
    pub(crate) fn restore_to(
        &self,
        cpu: &Cpu,
        pupil: &mut dyn Tensors,
        memory: &mut Memory,
    ) -> Result<(), String> {
        let names: Vec<String> = pupil.tensors().into_iter().map(|t| t.name).collect();
        let read = |set: &str, i: usize, to: &mut [f32]| {
            let name = format!("{set}.{}", names[i]);
            let info = self.file.tensor(&name).ok().filter(|info| info.bytes == 4 * to.len() as u64);
            let info = info.ok_or_else(|| format!("tensor \"{name}\" is missing or of another shape"))?;
            let mut at = to.iter_mut();
            each_piece(&self.file, info, |piece| {
                for (word, to) in piece.as_chunks::<4>().0.iter().zip(&mut at) {
                    *to = f32::from_le_bytes(*word);
                }
            })
            .map_err(|e| e.to_string())
        };
        for (i, parts) in memory.stored_mut().into_iter().enumerate() {
            for (what, words) in parts {
                read(what, i, words)?;
            }
        }
        let mut result = Ok(());
        pupil.change(cpu, &mut |i, values, _| {
            if result.is_ok() {
                result = read("p", i, values);
            }
        });
        result
    }
}
