//! From random weights to a player of Connect-4: self-play, lessons, and a ladder of Elo points at the end.
//!
//! `cargo run --release -p nurture-games --example connect4 -- [--minutes N] [--rounds N] [--games N]
//! [--visits N] [--readings N] [--drawn N] [--depth N] [--width N] [--pairs N] [--threads N] [--seed N]`. What comes of a seed and a number of rounds is always
//! the same; where the minutes are over first, their number decides.

mod flags;

use nurture_games::search::SearchSettings;
use nurture_games::*;
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder, Form, Positions, Shape};
use std::time::Instant;

fn main() {
    let flags = flags::Flags::of_process();
    let flag = |name: &str, default: usize| flags.number(name, default);
    let rounds = flag("--rounds", 50);
    let minutes = flag("--minutes", usize::MAX);
    let games = flag("--games", 256);
    let visits = flag("--visits", 64);
    let seed = flag("--seed", 1) as u64;
    let width = flag("--width", 64);
    let shape = Shape {
        vocab: tokens::vocabulary::<Connect4>(),
        layers: flag("--depth", 4),
        width,
        heads: width / 16,
        kv_heads: width / 16,
        ffn: 3 * width,
        context: 64,
        // words say whose disc lies where: the order in which they came is of no importance
        form: Form { positions: Positions::None, ..Form::LLAMA },
        ..Shape::default()
    };
    let cpu = Cpu::new(flag("--threads", std::thread::available_parallelism().map_or(2, |n| n.get())));
    let newborn = Decoder::newborn(&shape, false, seed);
    println!(
        "a network of {} parameters; at most {rounds} rounds of {games} games, {visits} visits a move",
        newborn.parameters()
    );
    let mut learner = Learner::new(&cpu, &newborn);
    let mut memory: Vec<Lesson> = Vec::new();
    let mut rng = Rng::stream(seed, 1);
    let begun = Instant::now();
    for round in 1..=rounds {
        // the part of the way that is done: the rate falls along it
        let spent = begun.elapsed().as_secs_f64() / (60.0 * minutes as f64);
        let done = ((round - 1) as f64 / rounds as f64).max(spent);
        if done >= 1.0 {
            break;
        }
        let how = SelfPlay {
            games,
            abreast: 128,
            opening: 4,
            drawn: flag("--drawn", 8),
            expected: 0.5,
            search: SearchSettings { visits, noise: 0.25, ..SearchSettings::default() },
            seed: seed.wrapping_mul(1000).wrapping_add(round as u64),
        };
        let now = Instant::now();
        let lessons = self_play::<Connect4>(&cpu, learner.network(), &how);
        let plies = lessons.iter().map(|l| l.moves.len()).sum::<usize>() as f64 / lessons.len() as f64;
        let played = now.elapsed().as_secs_f64();
        memory.extend(lessons);
        // what an earlier, weaker self played is forgotten
        let keep = games * (3 + round / 3).min(15);
        memory.drain(..memory.len().saturating_sub(keep));
        let rate = 2e-3 * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()) + 5e-5;
        let (batch, mut loss) = (16, Learned::default());
        // every game is read about so many times before it is forgotten
        let steps = flag("--readings", 8) * games / batch;
        for _ in 0..steps {
            let drawn: Vec<&Lesson> = (0..batch).map(|_| &memory[rng.below(memory.len())]).collect();
            match learner.learn::<Connect4>(&drawn, rate, &mut rng) {
                Ok(l) => {
                    loss.moves += l.moves / steps as f64;
                    loss.outcomes += l.outcomes / steps as f64;
                }
                Err(e) => {
                    eprintln!("{e}");
                    std::process::exit(1);
                }
            }
        }
        let learnt = now.elapsed().as_secs_f64() - played;
        let against = |player: &mut dyn Player<Connect4>| {
            let mut searcher = players::Searcher::new(
                &cpu,
                learner.network(),
                SearchSettings { visits: 32, ..SearchSettings::default() },
            );
            play_match(&mut searcher, player, 16, 2, 99).score() * 100.0
        };
        let score = if round % 5 == 0 {
            format!(
                "; with 32 visits {:.0} % against one ply, {:.0} % against UCT 200",
                against(&mut players::OnePly),
                against(&mut players::Uct { playouts: 200 })
            )
        } else {
            String::new()
        };
        println!(
            "round {round}: {plies:.1} plies a game, moves {:.3} nats, outcomes {:.3}{score}  ({:.0} s; {played:.1} of play, {learnt:.1} of lessons)",
            loss.moves,
            loss.outcomes,
            begun.elapsed().as_secs_f64()
        );
    }
    let trained = learner.network();
    let search = |visits| SearchSettings { visits, ..SearchSettings::default() };
    let mut ladder: Vec<Box<dyn Player<Connect4> + '_>> = vec![
        Box::new(players::Random),
        Box::new(players::OnePly),
        Box::new(players::Uct { playouts: 200 }),
        Box::new(players::Uct { playouts: 1000 }),
        Box::new(players::Searcher::new(&cpu, &newborn, search(visits))),
        Box::new(players::Instinct::new::<Connect4>(&cpu, trained)),
        Box::new(players::Searcher::new(&cpu, trained, search(visits))),
    ];
    let names: Vec<String> = ladder
        .iter()
        .enumerate()
        .map(|(i, p)| if i == 4 { format!("{} (newborn)", p.name()) } else { p.name() })
        .collect();
    let pairs = flag("--pairs", 40);
    let mut meetings = Vec::new();
    let mut played = vec![0; ladder.len()];
    for b in 1..ladder.len() {
        let (below, rest) = ladder.split_at_mut(b);
        for (a, other) in below.iter_mut().enumerate() {
            let games =
                play_match(&mut *rest[0], &mut **other, pairs, 2, seed ^ (7 * a as u64 + 100 * b as u64));
            played[a] += games.games.len();
            played[b] += games.games.len();
            meetings.push(elo::Meeting { a: b, b: a, games });
        }
    }
    println!(
        "\nElo over {} games, openings of two random moves, 95 % intervals, random = 0:",
        pairs * 2 * meetings.len()
    );
    let strengths = elo::strengths(ladder.len(), &meetings, 400, seed);
    let mut order: Vec<usize> = (0..ladder.len()).collect();
    order.sort_by(|&a, &b| strengths[b].elo.total_cmp(&strengths[a].elo));
    for i in order {
        let s = strengths[i];
        println!(
            "{:>6.0}  [{:.0}, {:.0}]  {}  ({} games)",
            s.elo, s.interval.low, s.interval.high, names[i], played[i]
        );
    }
    println!("\nscores of the trained network with search:");
    for m in meetings.iter().filter(|m| m.a == ladder.len() - 1) {
        let [won, drawn, lost] = m.games.counts();
        println!("  {won} won, {drawn} drawn, {lost} lost against {}", names[m.b]);
    }
    println!("{:.0} s in all", begun.elapsed().as_secs_f64());
}
