//! The network at play: keys and values of moves, and what it says after them.

use crate::game::Game;
use crate::tokens;
use nurture_model::{Batch, Buffers, Cpu, Decoder, KvCache, Mode};

/// Tokens that follow others: they are written to the last of `rows` and see all of those before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// the tokens
    pub tokens: Vec<u32>,
    /// stretches `(first, count)` of rows with the keys of all tokens of their game, their own last
    pub rows: Vec<(usize, usize)>,
}

/// A decoder with rows for keys and values.
#[derive(Debug)]
pub struct Network<'a> {
    cpu: &'a Cpu,
    decoder: &'a Decoder,
    cache: KvCache,
    buffers: Buffers,
    logits: Vec<f32>,
}

impl<'a> Network<'a> {
    /// Room for `rows` tokens.
    pub fn new(cpu: &'a Cpu, decoder: &'a Decoder, rows: usize) -> Self {
        let cache = KvCache::new(decoder.config(), rows);
        Network { cpu, decoder, cache, buffers: Buffers::new(), logits: Vec::new() }
    }

    /// Rows for keys and values.
    pub fn rows(&self) -> usize {
        self.cache.rows()
    }

    /// Logits `[tokens of all steps, V]` after each token of the steps, none of which sees another. Each depends on its own
    /// rows alone, whatever else is asked beside it.
    ///
    /// # Panics
    /// If a token or row is not there.
    pub fn say(&mut self, steps: &[Step]) -> &[f32] {
        let mut batch = Batch::default();
        for (i, step) in steps.iter().enumerate() {
            let seen: usize = step.rows.iter().map(|r| r.1).sum();
            batch.push(&step.tokens, seen - step.tokens.len(), step.rows.clone(), i);
        }
        self.run(&batch)
    }

    /// Logits `[T, V]` after `BEGIN` and after each of the moves of one game.
    ///
    /// # Panics
    /// If the game is longer than there are rows.
    pub fn say_game<G: Game>(&mut self, moves: &[u16]) -> &[f32] {
        let tokens = tokens::of_game::<G>(moves);
        let mut batch = Batch::default();
        batch.push(&tokens, 0, vec![(0, tokens.len())], 0);
        self.run(&batch)
    }

    fn run(&mut self, batch: &Batch) -> &[f32] {
        let Network { cpu, decoder, cache, buffers, logits } = self;
        let x = decoder.forward(cpu, Mode::Exact, None, batch, cache, buffers).expect("tokens of the game");
        logits.resize(batch.len() * decoder.config().vocab, 0.0);
        decoder.logits(cpu, None, Mode::Exact, x, logits);
        logits
    }

    /// A row of logits.
    pub fn row(&self, i: usize) -> &[f32] {
        let v = self.decoder.config().vocab;
        &self.logits[i * v..][..v]
    }

    /// What the network says of a game's position by itself, without looking ahead: a share for each legal move, and the value.
    pub fn guess<G: Game>(&mut self, game: &G, moves: &[u16], legal: &[u16]) -> (Vec<f32>, f32) {
        let (last, v) = (moves.len(), self.decoder.config().vocab);
        let logits = self.say_game::<G>(moves);
        tokens::read(game, &logits[last * v..][..v], legal)
    }
}
