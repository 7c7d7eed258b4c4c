//! Learning itself: on held-out games, and in play. Small enough for seconds; each fails where a sign, a target or a side is wrong.

use nurture_games::search::SearchSettings;
use nurture_games::*;
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder, Form, Positions, Shape};

fn newborn<G: Game>() -> Decoder {
    let shape = Shape {
        vocab: tokens::vocabulary::<G>(),
        layers: 2,
        width: 32,
        heads: 2,
        kv_heads: 2,
        ffn: 96,
        context: 64,
        form: Form { positions: Positions::None, ..Form::LLAMA },
        ..Shape::default()
    };
    Decoder::newborn(&shape, false, 1)
}

fn learn<G: Game>(learner: &mut Learner<'_>, lessons: &[Lesson], steps: usize, rate: f64, rng: &mut Rng) {
    for _ in 0..steps {
        let pick: Vec<&Lesson> = (0..12).map(|_| &lessons[rng.below(lessons.len())]).collect();
        learner.learn::<G>(&pick, rate, rng).unwrap();
    }
}

/// Of the places of games: how often the move is foreseen, and how often the winner is named (in the last ten, where there is something
/// to be seen).
fn examine(cpu: &Cpu, decoder: &Decoder, exam: &[Lesson]) -> (f64, f64) {
    let mut network = Network::new(cpu, decoder, Connect4::LONGEST + 1);
    let (mut places, mut foreseen, mut decided, mut named) = (0.0, 0.0, 0.0, 0.0);
    let mut legal = Vec::new();
    for lesson in exam {
        let mut game = Connect4::start();
        for (place, &mv) in lesson.moves.iter().enumerate() {
            if !lesson.shares[place].is_empty() {
                game.legal(&mut legal);
                let (shares, value) = network.guess(&game, &lesson.moves[..place], &legal);
                let best = (0..legal.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).unwrap();
                places += 1.0;
                foreseen += f64::from(u8::from(legal[best] == mv));
                let late = place + 10 >= lesson.moves.len();
                let end = if late { lesson.outcome.value(game.to_move()) } else { 0.0 };
                decided += f64::from(end.abs());
                named += f64::from(u8::from(end * value > 0.0));
            }
            game.play(mv);
        }
    }
    (foreseen / places, named / decided)
}

#[test]
fn what_plain_search_plays_is_learnt() {
    let cpu = Cpu::new(2);
    let mut lessons = lessons_by::<Connect4>(&mut players::Uct { playouts: 100 }, 1000, 6, 3);
    let exam = lessons.split_off(880);
    let newborn = newborn::<Connect4>();
    let before = examine(&cpu, &newborn, &exam);
    let mut learner = Learner::new(&cpu, &newborn);
    let mut rng = Rng::stream(1, 1);
    for rate in [3e-3, 1e-3] {
        learn::<Connect4>(&mut learner, &lessons, 300, rate, &mut rng);
    }
    let (foreseen, named) = examine(&cpu, learner.network(), &exam);
    println!("foreseen {:.3} -> {foreseen:.3}, winner named {:.3} -> {named:.3}", before.0, before.1);
    assert!(foreseen > 0.28 && foreseen > before.0 + 0.08, "{before:?} {foreseen}");
    assert!(named > 0.55, "{before:?} {named}");
}

/// Noughts and crosses: small enough for self-play to be done with it in seconds.
#[derive(Clone)]
struct Noughts {
    places: [Option<Side>; 9],
    plies: usize,
}

impl Game for Noughts {
    const MOVES: usize = 9;
    const WORDS: usize = 18;
    const LONGEST: usize = 9;
    const SYMMETRIES: usize = 8;

    fn start() -> Self {
        Noughts { places: [None; 9], plies: 0 }
    }

    fn to_move(&self) -> Side {
        if self.plies.is_multiple_of(2) { Side::First } else { Side::Second }
    }

    fn legal(&self, into: &mut Vec<u16>) {
        into.clear();
        if self.outcome().is_none() {
            into.extend((0..9).filter(|&m| self.places[m as usize].is_none()));
        }
    }

    fn word(&self, mv: u16) -> u16 {
        mv + 9 * self.to_move() as u16
    }

    fn play(&mut self, mv: u16) {
        self.places[mv as usize] = Some(self.to_move());
        self.plies += 1;
    }

    fn outcome(&self) -> Option<Outcome> {
        let lines = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];
        let owner = |line: &[usize; 3]| {
            let [a, b, c] = line.map(|p| self.places[p]);
            a.filter(|_| a == b && b == c)
        };
        match lines.iter().find_map(owner) {
            Some(side) => Some(Outcome::Win(side)),
            None => (self.plies == 9).then_some(Outcome::Draw),
        }
    }

    fn turned(mv: u16, s: usize) -> u16 {
        let (mut x, mut y) = (mv % 3, mv / 3);
        if s & 1 == 1 {
            x = 2 - x;
        }
        if s & 2 == 2 {
            y = 2 - y;
        }
        if s & 4 == 4 {
            (x, y) = (y, x);
        }
        3 * y + x
    }
}

#[test]
fn self_play_raises_a_player() {
    let cpu = Cpu::new(2);
    let newborn = newborn::<Noughts>();
    let mut learner = Learner::new(&cpu, &newborn);
    let mut rng = Rng::stream(2, 2);
    let mut memory: Vec<Lesson> = Vec::new();
    for round in 0..12 {
        let how = SelfPlay {
            games: 64,
            abreast: 64,
            opening: 2,
            drawn: 4,
            expected: 0.5,
            // what the rules know by themselves is left out: strength must come from the network
            search: SearchSettings { visits: 24, noise: 0.25, ends: false, ..SearchSettings::default() },
            seed: round,
        };
        memory.extend(self_play::<Noughts>(&cpu, learner.network(), &how));
        memory.drain(..memory.len().saturating_sub(320));
        learn::<Noughts>(&mut learner, &memory, 50, 2e-3, &mut rng);
    }
    // by itself, without looking ahead
    let alone = |decoder: &Decoder| {
        let mut player = players::Instinct::new::<Noughts>(&cpu, decoder);
        play_match::<Noughts>(&mut player, &mut players::Random, 100, 1, 5)
    };
    let (before, now) = (alone(&newborn), alone(learner.network()));
    println!(
        "alone against chance: {:?} {:.3} -> {:?} {:.3}",
        before.counts(),
        before.score(),
        now.counts(),
        now.score()
    );
    assert!(now.score() > 0.85 && now.score() > before.score() + 0.2, "{before:?} {now:?}");
}
