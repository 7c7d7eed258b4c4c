//! The promises of search, self-play and learning, on a small random network.

use nurture_games::search::{SearchSettings, Thought, rows_a_game, search};
use nurture_games::*;
use nurture_kernels::Rng;
use nurture_model::{Cpu, Decoder, Shape};

fn brain(seed: u64) -> Decoder {
    let vocab = tokens::vocabulary::<Connect4>();
    let shape = Shape {
        vocab,
        layers: 2,
        width: 32,
        heads: 2,
        kv_heads: 2,
        ffn: 64,
        context: 64,
        ..Shape::default()
    };
    Decoder::newborn(&shape, false, seed)
}

fn after(moves: &[u16]) -> Connect4 {
    let mut game = Connect4::start();
    moves.iter().for_each(|&m| game.play(m));
    game
}

fn found(cpu: &Cpu, brain: &Decoder, settings: &SearchSettings, games: &[Vec<u16>]) -> Vec<search::Found> {
    let mut network = Network::new(cpu, brain, games.len() * rows_a_game::<Connect4>(settings.visits));
    let positions: Vec<Connect4> = games.iter().map(|m| after(m)).collect();
    let mut rngs: Vec<Rng> = (0..games.len()).map(|i| Rng::stream(5, i as u64)).collect();
    let mut thoughts: Vec<Thought<'_, Connect4>> = positions
        .iter()
        .zip(games)
        .zip(&mut rngs)
        .enumerate()
        .map(|(number, ((game, moves), rng))| Thought { number, game, moves, rng })
        .collect();
    search(&mut network, settings, &mut vec![0; games.len()], &mut thoughts)
}

#[test]
fn a_leaf_by_one_token_says_what_its_whole_game_says() {
    let cpu = Cpu::new(2);
    let brain = brain(1);
    let games = [vec![3, 3, 2, 4, 0, 6, 6, 1], vec![0, 1, 2]];
    let mut network = Network::new(&cpu, &brain, 64);
    let mut one_by_one: Vec<Vec<f32>> = Vec::new();
    for (number, moves) in games.iter().enumerate() {
        let mut last = Vec::new();
        for (place, &token) in tokens::of_game::<Connect4>(moves).iter().enumerate() {
            // the other game's rows lie in between
            let rows = (0..=place).map(|i| (2 * i + number, 1)).collect();
            network.say(&[network_step(token, rows)]);
            last = network.row(0).to_vec();
        }
        one_by_one.push(last);
    }
    for (moves, last) in games.iter().zip(one_by_one) {
        let v = last.len();
        let whole = network.say_game::<Connect4>(moves);
        let difference =
            whole[moves.len() * v..].iter().zip(&last).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(difference < 1e-5, "{difference}");
    }
}

fn network_step(token: u32, rows: Vec<(usize, usize)>) -> Step {
    Step { tokens: vec![token], rows }
}

#[test]
fn a_search_finds_the_move_that_wins_and_the_one_that_saves() {
    let cpu = Cpu::new(2);
    // three upright in column 0 for who moves; three of the opponent's in column 5
    let games = [vec![0, 1, 0, 1, 0, 2], vec![5, 0, 5, 1, 5]];
    for (seed, ends) in [(0, true), (1, true), (0, false), (1, false), (2, false)] {
        let settings = SearchSettings { visits: 200, ends, ..SearchSettings::default() };
        let found = found(&cpu, &brain(seed), &settings, &games);
        assert_eq!([found[0].best(), found[1].best()], [0, 5], "network {seed}: {found:?}");
        assert!(found[0].value > 0.5, "{found:?}");
        assert!(found.iter().all(|f| f.visits.iter().sum::<u32>() == 200));
    }
}

#[test]
fn a_search_does_not_depend_on_the_games_beside_it_nor_on_threads() {
    let brain = brain(2);
    let settings = SearchSettings { visits: 40, noise: 0.25, ..SearchSettings::default() };
    let games = [vec![3], vec![3, 3, 3], vec![0, 6, 0, 6, 1, 1], vec![]];
    let all = found(&Cpu::new(2), &brain, &settings, &games);
    assert_eq!(all, found(&Cpu::new(1), &brain, &settings, &games));
    // the first alone has the same number, so the same random numbers
    assert_eq!(all[..1], found(&Cpu::new(2), &brain, &settings, &games[..1]));
}

#[test]
fn self_play_is_a_function_of_its_seed_and_gives_whole_games() {
    let brain = brain(3);
    let how = |abreast| SelfPlay {
        games: 9,
        abreast,
        opening: 3,
        drawn: 8,
        expected: 0.5,
        search: SearchSettings { visits: 16, noise: 0.25, ..SearchSettings::default() },
        seed: 7,
    };
    let lessons = self_play::<Connect4>(&Cpu::new(2), &brain, &how(9));
    assert_eq!(lessons, self_play::<Connect4>(&Cpu::new(1), &brain, &how(4)));
    assert_eq!(lessons.len(), 9);
    for lesson in &lessons {
        assert_eq!(after(&lesson.moves).outcome(), Some(lesson.outcome));
        assert_eq!(lesson.shares.len(), lesson.moves.len());
        let thought = lesson.shares.iter().skip_while(|s| s.is_empty());
        for shares in thought {
            assert!((shares.iter().map(|s| s.1).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        assert!(lesson.shares.iter().filter(|s| s.is_empty()).count() <= 3);
        let mut game = Connect4::start();
        for ((ends, shares), &mv) in lesson.ends.iter().zip(&lesson.shares).zip(&lesson.moves) {
            assert!((ends.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            // half is what came; of the random opening nothing is learnt
            let value = lesson.outcome.value(game.to_move());
            let half = ((ends[0] - ends[2]) - 0.5 * value).abs() < 0.5 + 1e-5;
            assert!(half || shares.is_empty(), "{ends:?} {value}");
            game.play(mv);
        }
    }
}

#[test]
fn what_lessons_say_is_learnt_with_its_mirror_image() {
    let cpu = Cpu::new(2);
    let mut learner = Learner::new(&cpu, &brain(4));
    // always column 1 and then a win of the first side
    let moves = vec![1, 6, 1, 6, 1, 6, 1];
    let shares = moves.iter().map(|&m| vec![(m, 1.0)]).collect();
    let lesson = Lesson { outcome: Outcome::Win(Side::First), moves, shares, ends: Vec::new() };
    let mut rng = Rng::stream(1, 1);
    let first = learner.learn::<Connect4>(&[&lesson, &lesson], 3e-3, &mut rng).unwrap();
    // nothing learnt: an even guess among all tokens
    let even = (tokens::vocabulary::<Connect4>() as f64 / 2.0).ln();
    assert!((first.moves - even).abs() < 0.5 && (first.outcomes - even).abs() < 0.5, "{first:?}");
    let mut last = first;
    for _ in 0..150 {
        last = learner.learn::<Connect4>(&[&lesson, &lesson], 3e-3, &mut rng).unwrap();
    }
    // the first move may be this or its mirror image: a seventh of ln 2
    assert!(last.moves < 0.25 && last.outcomes < 0.1, "{first:?} -> {last:?}");
    let mut network = Network::new(&cpu, learner.network(), 64);
    let legal: Vec<u16> = (0..7).collect();
    for (game, next) in [([1, 6], 1u16), ([5, 0], 5)] {
        let (shares, value) = network.guess(&after(&game), &game, &legal);
        assert!(shares[next as usize] > 0.9, "{game:?}: {shares:?}");
        assert!(value > 0.8, "{value}");
    }
}

#[test]
fn players_without_learning_stand_in_their_order() {
    let score =
        |a: &mut dyn Player<Connect4>, b: &mut dyn Player<Connect4>| play_match(a, b, 30, 2, 11).score();
    assert!(score(&mut players::OnePly, &mut players::Random) > 0.8);
    assert!(score(&mut players::Uct { playouts: 200 }, &mut players::OnePly) > 0.6);
    let again = |seed| play_match::<Connect4>(&mut players::OnePly, &mut players::Random, 10, 2, seed);
    assert_eq!(again(3), again(3));
}

#[test]
fn a_searcher_beats_chance_with_a_network_that_knows_nothing() {
    let cpu = Cpu::new(2);
    let brain = brain(6);
    let settings = SearchSettings { visits: 48, ..SearchSettings::default() };
    let mut searcher = players::Searcher::new(&cpu, &brain, settings);
    let m = play_match::<Connect4>(&mut searcher, &mut players::Random, 8, 2, 1);
    assert!(m.score() > 0.75, "{m:?}");
}
