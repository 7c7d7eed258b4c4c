//! Strength on one scale: the Bradley–Terry model in Elo's units, with intervals.
//!
//! The strengths are the likeliest ones for the points of all games (Hunter 2004, "MM algorithms for generalized Bradley–Terry
//! models"; a draw is half a point for each). Each two players who met are given one more drawn game, so that who never
//! lost is strong but not infinitely so. Intervals are those of a bootstrap over pairs of games, which share an opening.

use crate::arena::Match;
use nurture_eval::stats::Interval;
use nurture_kernels::Rng;

/// Players `a` and `b` met.
#[derive(Clone, Debug)]
pub struct Meeting {
    /// number of the first player
    pub a: usize,
    /// number of the second
    pub b: usize,
    /// their games, counted for the first, pair after pair
    pub games: Match,
}

/// A player's strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// in Elo points; that of player 0 is 0
    pub elo: f64,
    /// 95 % of the bootstrap
    pub interval: Interval,
}

/// Points a 400th of which is a factor of ten in the odds.
const POINTS: f64 = 400.0;

fn fit(players: usize, meetings: &[(usize, usize, f64, f64)]) -> Vec<f64> {
    let mut strength = vec![1f64; players];
    for _ in 0..2000 {
        let (mut points, mut weight) = (vec![0f64; players], vec![0f64; players]);
        for &(a, b, won, games) in meetings {
            let (won, games) = (won + 0.5, games + 1.0);
            points[a] += won;
            points[b] += games - won;
            let w = games / (strength[a] + strength[b]);
            weight[a] += w;
            weight[b] += w;
        }
        let mut moved = 0f64;
        for i in 0..players {
            if weight[i] > 0.0 {
                let new = points[i] / weight[i];
                moved = moved.max((new / strength[i]).ln().abs());
                strength[i] = new;
            }
        }
        if moved < 1e-9 {
            break;
        }
    }
    let zero = strength[0];
    strength.iter().map(|s| POINTS * (s / zero).log10()).collect()
}

/// The strengths of `players` players.
///
/// # Panics
/// If a meeting names a player that is not there.
pub fn strengths(players: usize, meetings: &[Meeting], resamples: usize, seed: u64) -> Vec<Strength> {
    let points = |games: &[i8]| games.iter().map(|&g| (f64::from(g) + 1.0) / 2.0).sum::<f64>();
    let all: Vec<_> =
        meetings.iter().map(|m| (m.a, m.b, points(&m.games.games), m.games.games.len() as f64)).collect();
    let best = fit(players, &all);
    let mut rng = Rng::stream(seed, 0xe10);
    let mut drawn: Vec<Vec<f64>> = vec![Vec::with_capacity(resamples); players];
    for _ in 0..resamples {
        let again: Vec<_> = meetings
            .iter()
            .map(|m| {
                let pairs: Vec<&[i8]> = m.games.games.chunks(2).collect();
                let won: f64 = (0..pairs.len()).map(|_| points(pairs[rng.below(pairs.len())])).sum();
                (m.a, m.b, won, m.games.games.len() as f64)
            })
            .collect();
        for (d, e) in drawn.iter_mut().zip(fit(players, &again)) {
            d.push(e);
        }
    }
    best.into_iter()
        .zip(drawn)
        .map(|(elo, mut d)| {
            d.sort_by(f64::total_cmp);
            let at = |share: f64| {
                d.get(((d.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(elo)
            };
            Strength { elo, interval: Interval { low: at(0.025), high: at(0.975) } }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meeting(a: usize, b: usize, won: usize, drawn: usize, lost: usize) -> Meeting {
        let games = [(1, won), (0, drawn), (-1, lost)].iter().flat_map(|&(v, n)| vec![v; n]).collect();
        Meeting { a, b, games: Match { games } }
    }

    #[test]
    fn two_players_stand_apart_by_their_odds() {
        // 300 of 400 points and one drawn game more: 300.5 to 100.5
        let s = strengths(2, &[meeting(1, 0, 290, 20, 90)], 200, 1);
        assert_eq!(s[0].elo, 0.0);
        let want = 400.0 * (300.5f64 / 100.5).log10();
        assert!((s[1].elo - want).abs() < 1e-6, "{} {want}", s[1].elo);
        let i = s[1].interval;
        assert!(i.low < want && want < i.high && i.high - i.low < 120.0, "{i:?}");
    }

    #[test]
    fn strengths_of_three_agree_with_what_all_scored() {
        let meetings = [meeting(1, 0, 60, 0, 40), meeting(2, 1, 60, 0, 40), meeting(2, 0, 80, 0, 20)];
        let s = strengths(3, &meetings, 0, 1);
        // at the maximum each player's expected points are the points it made
        let expected = |a: usize, b: usize| 1.0 / (1.0 + 10f64.powf((s[b].elo - s[a].elo) / 400.0)) * 101.0;
        let top = expected(2, 1) + expected(2, 0);
        assert!((top - (60.5 + 80.5)).abs() < 1e-4, "{top}");
        assert!(s[2].elo > s[1].elo && s[1].elo > 0.0);
    }

    #[test]
    fn who_never_lost_is_not_infinitely_strong() {
        let s = strengths(2, &[meeting(1, 0, 100, 0, 0)], 0, 1);
        assert!(s[1].elo.is_finite() && s[1].elo > 600.0);
    }
}
