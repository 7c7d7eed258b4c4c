//! Learning to foresee the moves of professional Go from records alone: every eighth game is held out.
//!
//! `cargo run --release -p nurture-games --example go_moves -- GAMES.jsonl [--epochs N] [--minutes N] [--depth N] [--width N]
//! [--length N] [--threads N] [--seed N]`, where each line has a key `sgf` with a whole record.

mod flags;

use nurture_eval::stats::Bootstrap;
use nurture_games::*;
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder, Shape};
use std::time::Instant;

fn main() {
    if let Err(e) = run() {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let flags = flags::Flags::of_process();
    let flag = |name: &str, default: usize| flags.number(name, default);
    let file = flags.first().ok_or("name a file of records: jsonl with a key `sgf`")?;
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let (mut games, mut left_out) = (Vec::new(), 0);
    let length = flag("--length", 160);
    for (i, line) in text.lines().enumerate() {
        let row: serde_json::Value =
            serde_json::from_str(line).map_err(|e| format!("{file}, line {}: {e}", i + 1))?;
        let sgf = row["sgf"].as_str().ok_or(format!("{file}, line {}: no key `sgf`", i + 1))?;
        match read_record(sgf) {
            Ok(record) => {
                // the part that the rules bear out
                let mut go = Go::start();
                let legal = |m: &&u16| {
                    let fine = go.allows(**m);
                    if fine {
                        go.play(**m);
                    }
                    fine
                };
                let moves: Vec<u16> = record.moves.iter().take(length).take_while(legal).copied().collect();
                if moves.len() < 20 {
                    left_out += 1;
                    continue;
                }
                let shares = moves.iter().map(|&m| vec![(m, 1.0)]).collect();
                games.push(Lesson {
                    moves,
                    shares,
                    ends: Vec::new(),
                    outcome: record.outcome.unwrap_or(Outcome::Draw),
                });
            }
            Err(_) => left_out += 1,
        }
    }
    let (exam, train): (Vec<_>, Vec<_>) = games.into_iter().enumerate().partition(|(i, _)| i % 8 == 0);
    let (exam, train): (Vec<Lesson>, Vec<Lesson>) =
        (exam.into_iter().map(|g| g.1).collect(), train.into_iter().map(|g| g.1).collect());
    println!(
        "{} games to learn from, {} held out, {left_out} left out; the first {length} moves of each",
        train.len(),
        exam.len()
    );
    let width = flag("--width", 128);
    let shape = Shape {
        vocab: tokens::vocabulary::<Go>(),
        layers: flag("--depth", 4),
        width,
        heads: width / 32,
        kv_heads: width / 32,
        ffn: 3 * width,
        context: 512,
        ..Shape::default()
    };
    let cpu = Cpu::new(flag("--threads", std::thread::available_parallelism().map_or(2, |n| n.get())));
    let seed = flag("--seed", 1) as u64;
    let newborn = Decoder::newborn(&shape, true, seed);
    println!("a network of {} parameters", newborn.parameters());
    let mut learner = Learner::new(&cpu, &newborn);
    let mut rng = Rng::stream(seed, 1);
    let epochs = flag("--epochs", 20);
    let minutes = flag("--minutes", usize::MAX);
    let (batch, begun) = (8, Instant::now());
    let steps = epochs * train.len().div_ceil(batch);
    let mut order: Vec<usize> = Vec::new();
    let mut loss = 0.0;
    for step in 0..steps {
        // the part of the way that is done: the rate falls along it
        let spent = begun.elapsed().as_secs_f64() / (60.0 * minutes as f64);
        let done = (step as f64 / steps as f64).max(spent);
        if done >= 1.0 {
            println!("the minutes are over after {:.1} epochs", epochs as f64 * step as f64 / steps as f64);
            break;
        }
        let mut pick = Vec::new();
        for _ in 0..batch {
            if order.is_empty() {
                order = (0..train.len()).collect();
                rng.shuffle(&mut order);
            }
            pick.extend(order.pop().map(|i| &train[i]));
        }
        let warm = ((step + 1) as f64 / 50.0).min(1.0);
        let rate = warm * (1e-4 + 1.4e-3 * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()));
        let now = learner.learn::<Go>(&pick, rate, &mut rng).map_err(|e| e.to_string())?.moves;
        loss = if step == 0 { now } else { 0.98 * loss + 0.02 * now };
        if (step + 1) % (steps / 20).max(1) == 0 {
            println!(
                "step {} of {steps}: {loss:.3} nats a move  ({:.0} s)",
                step + 1,
                begun.elapsed().as_secs_f64()
            );
        }
    }
    examine(&cpu, "newborn", &newborn, &exam);
    examine(&cpu, "trained", learner.network(), &exam);
    frequent(&train, &exam);
    Ok(())
}

/// Right among the first one and five, of moves on held-out games.
fn examine(cpu: &Cpu, name: &str, decoder: &Decoder, exam: &[Lesson]) {
    let mut network = Network::new(cpu, decoder, Go::LONGEST + 1);
    let v = tokens::vocabulary::<Go>();
    let (mut all, mut legal) = (Vec::new(), Vec::new());
    for game in exam {
        let mut ranks = Vec::new();
        let logits = network.say_game::<Go>(&game.moves).to_vec();
        let mut go = Go::start();
        for (row, &mv) in logits.chunks_exact(v).zip(&game.moves) {
            go.legal(&mut legal);
            let said = |m: u16| row[tokens::of_move(&go, m) as usize];
            ranks.push(legal.iter().filter(|&&m| said(m) > said(mv)).count());
            go.play(mv);
        }
        all.push(ranks);
    }
    report(name, &all);
}

/// `ranks` of the moves of each game; games are drawn whole for the intervals, as their moves hang together.
fn report(name: &str, ranks: &[Vec<usize>]) {
    let sizes: Vec<f64> = ranks.iter().map(|game| game.len() as f64).collect();
    let share = |most: usize| {
        let right = |game: &Vec<usize>| game.iter().filter(|&&r| r < most).count() as f64;
        let right: Vec<f64> = ranks.iter().map(right).collect();
        let mean = 100.0 * right.iter().sum::<f64>() / sizes.iter().sum::<f64>();
        match Bootstrap::default().ratio(&right, &sizes) {
            Ok(i) => format!("{mean:.2} % [{:.2}, {:.2}]", 100.0 * i.low, 100.0 * i.high),
            Err(_) => format!("{mean:.2} %"),
        }
    };
    println!(
        "{name}: top 1 {}, top 5 {} of {} moves in {} games",
        share(1),
        share(5),
        sizes.iter().sum::<f64>(),
        ranks.len()
    );
}

/// What knows only how often each point was played at each stage of twenty moves.
fn frequent(train: &[Lesson], exam: &[Lesson]) {
    let stage = |place: usize| place / 20;
    let mut counts = vec![vec![0u32; Go::MOVES]; 64];
    for game in train {
        for (place, &mv) in game.moves.iter().enumerate() {
            (0..Go::SYMMETRIES).for_each(|s| counts[stage(place)][Go::turned(mv, s) as usize] += 1);
        }
    }
    let (mut all, mut legal) = (Vec::new(), Vec::new());
    for game in exam {
        let mut ranks = Vec::new();
        let mut go = Go::start();
        for (place, &mv) in game.moves.iter().enumerate() {
            go.legal(&mut legal);
            let count = &counts[stage(place)];
            ranks.push(legal.iter().filter(|&&m| count[m as usize] > count[mv as usize]).count());
            go.play(mv);
        }
        all.push(ranks);
    }
    report("most frequent points", &all);
}
