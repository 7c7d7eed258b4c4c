//! Whether a network can learn to play at all: lessons by plain tree search (UCT) instead of itself. It learns what UCT plays and
//! who wins, and is asked about games that were held out.
//!
//! The same lessons are read twice: once with words that say whose disc falls where ([`Game::word`]), once with the column alone, as
//! one would write a game down.
//!
//! `cargo run --release -p nurture-games --example connect4_lessons -- [--games N] [--playouts N] [--steps N] [--depth N] [--width N] [--threads N]`

mod flags;

use nurture_games::*;
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder, Form, Positions, Shape};
use std::time::Instant;

/// Connect-4 whose words are columns.
#[derive(Clone)]
struct Columns(Connect4);

impl Game for Columns {
    const MOVES: usize = Connect4::MOVES;
    const WORDS: usize = Connect4::MOVES;
    const LONGEST: usize = Connect4::LONGEST;
    const SYMMETRIES: usize = Connect4::SYMMETRIES;

    fn start() -> Self {
        Columns(Connect4::start())
    }

    fn to_move(&self) -> Side {
        self.0.to_move()
    }

    fn legal(&self, into: &mut Vec<u16>) {
        self.0.legal(into);
    }

    fn word(&self, mv: u16) -> u16 {
        mv
    }

    fn play(&mut self, mv: u16) {
        self.0.play(mv);
    }

    fn outcome(&self) -> Option<Outcome> {
        self.0.outcome()
    }

    fn turned(mv: u16, s: usize) -> u16 {
        Connect4::turned(mv, s)
    }
}

struct Study {
    cpu: Cpu,
    shape: Shape,
    steps: usize,
    lessons: Vec<Lesson>,
    exam: Vec<Lesson>,
}

impl Study {
    fn learn<G: Game>(&self, name: &str, positions: Positions) {
        let shape = Shape {
            vocab: tokens::vocabulary::<G>(),
            form: Form { positions, ..self.shape.form },
            ..self.shape
        };
        let newborn = Decoder::newborn(&shape, false, 1);
        let mut learner = Learner::new(&self.cpu, &newborn);
        let (mut rng, begun) = (Rng::stream(1, 1), Instant::now());
        for step in 0..self.steps {
            let pick: Vec<&Lesson> = (0..16).map(|_| &self.lessons[rng.below(self.lessons.len())]).collect();
            let done = step as f64 / self.steps as f64;
            let rate = 2e-3 * ((step + 1) as f64 / 50.0).min(1.0) * (1.0 - done) + 5e-5;
            if let Err(e) = learner.learn::<G>(&pick, rate, &mut rng) {
                eprintln!("{e}");
                std::process::exit(1);
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let mut network = Network::new(&self.cpu, learner.network(), G::LONGEST + 1);
        let (mut legal, mut places, mut right, mut nats, mut winner, mut decided) =
            (Vec::new(), 0, 0, 0.0, 0, 0);
        for lesson in &self.exam {
            let mut game = G::start();
            let logits = network.say_game::<G>(&lesson.moves).to_vec();
            let rows = logits.chunks_exact(shape.vocab);
            for ((&mv, shares), row) in lesson.moves.iter().zip(&lesson.shares).zip(rows) {
                if !shares.is_empty() {
                    game.legal(&mut legal);
                    let (said, value) = tokens::read(&game, row, &legal);
                    let at = legal.iter().position(|&m| m == mv).expect("the rules allow what was played");
                    let best = (0..said.len()).max_by(|&a, &b| said[a].total_cmp(&said[b]));
                    places += 1;
                    right += usize::from(best == Some(at));
                    nats -= f64::from(said[at]).ln();
                    let end = lesson.outcome.value(game.to_move());
                    decided += usize::from(end != 0.0);
                    winner += usize::from(end * value > 0.0);
                }
                game.play(mv);
            }
        }
        println!(
            "{name}: {:.1} % of UCT's moves foreseen ({:.3} nats; even guess 1.9), the winner named in {:.1} %  ({places} places, {seconds:.0} s)",
            100.0 * right as f64 / places as f64,
            nats / places as f64,
            100.0 * winner as f64 / decided as f64
        );
    }
}

fn main() {
    let flags = flags::Flags::of_process();
    let flag = |name: &str, default: usize| flags.number(name, default);
    let width = flag("--width", 64);
    let shape = Shape {
        vocab: 0,
        layers: flag("--depth", 4),
        width,
        heads: width / 16,
        kv_heads: width / 16,
        ffn: 3 * width,
        context: 64,
        ..Shape::default()
    };
    let begun = Instant::now();
    let mut uct = players::Uct { playouts: flag("--playouts", 200) };
    let mut lessons = lessons_by::<Connect4>(&mut uct, flag("--games", 1500), 8, 77);
    let exam = lessons.split_off(lessons.len() * 7 / 8);
    println!(
        "{} games to learn from, {} held out ({:.0} s)",
        lessons.len(),
        exam.len(),
        begun.elapsed().as_secs_f64()
    );
    let threads = flag("--threads", std::thread::available_parallelism().map_or(2, |n| n.get()));
    let study = Study { cpu: Cpu::new(threads), shape, steps: flag("--steps", 1500), lessons, exam };
    study.learn::<Columns>("columns, turned positions", Positions::Rope);
    study.learn::<Columns>("columns, learned positions", Positions::Learned);
    study.learn::<Connect4>("whose disc where, turned positions", Positions::Rope);
    study.learn::<Connect4>("whose disc where, no positions", Positions::None);
}
