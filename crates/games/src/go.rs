//! Go on 19 × 19: stones, liberties, captures, ko. Enough to know which moves there are; territory is not counted, so a
//! game here has an outcome only where its record says so.

use crate::game::{Game, Outcome, Side};

const SIZE: usize = 19;
const POINTS: usize = SIZE * SIZE;
/// The move that gives the turn away.
const PASS: u16 = POINTS as u16;

/// A position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Go {
    stones: Vec<Option<Side>>,
    next: Side,
    /// point that may not be retaken at once
    ko: Option<usize>,
    plies: usize,
}

fn neighbours(point: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (point % SIZE, point / SIZE);
    [
        (x > 0).then(|| point - 1),
        (x + 1 < SIZE).then(|| point + 1),
        (y > 0).then(|| point - SIZE),
        (y + 1 < SIZE).then(|| point + SIZE),
    ]
    .into_iter()
    .flatten()
}

impl Go {
    /// The stone at column `x` from the left and row `y` from the top.
    pub fn stone(&self, x: usize, y: usize) -> Option<Side> {
        self.stones[y * SIZE + x]
    }

    /// The stones that hang together with the one at `point`, and whether they have a liberty.
    fn group(&self, point: usize) -> (Vec<usize>, bool) {
        let side = self.stones[point];
        let (mut group, mut seen, mut free) = (vec![point], vec![false; POINTS], false);
        seen[point] = true;
        let mut at = 0;
        while at < group.len() {
            for n in neighbours(group[at]) {
                if self.stones[n].is_none() {
                    free = true;
                } else if self.stones[n] == side && !seen[n] {
                    seen[n] = true;
                    group.push(n);
                }
            }
            at += 1;
        }
        (group, free)
    }

    /// Puts a stone and takes what it captures; `None` where the rules forbid it.
    fn put(&self, point: usize) -> Option<Go> {
        if self.stones[point].is_some() || self.ko == Some(point) {
            return None;
        }
        let mut after = self.clone();
        after.stones[point] = Some(self.next);
        let mut taken = Vec::new();
        for n in neighbours(point) {
            if after.stones[n] == Some(self.next.other()) {
                let (group, free) = after.group(n);
                if !free {
                    group.iter().for_each(|&g| after.stones[g] = None);
                    taken.extend(group);
                }
            }
        }
        let (own, free) = after.group(point);
        if !free {
            return None;
        }
        // one stone that took one stone and has but that point as a liberty
        let alone = taken.len() == 1
            && own.len() == 1
            && neighbours(point).filter(|&n| after.stones[n].is_none()).count() == 1;
        after.ko = alone.then(|| taken[0]);
        after.next = self.next.other();
        after.plies += 1;
        Some(after)
    }

    /// Whether the rules allow a move.
    pub fn allows(&self, mv: u16) -> bool {
        if mv == PASS { true } else { (mv as usize) < POINTS && self.quick(mv as usize) }
    }

    /// [`Go::put`] without making the position where a neighbour is empty: the common case.
    fn quick(&self, point: usize) -> bool {
        if self.stones[point].is_some() || self.ko == Some(point) {
            return false;
        }
        neighbours(point).any(|n| self.stones[n].is_none()) || self.put(point).is_some()
    }
}

impl Game for Go {
    const MOVES: usize = POINTS + 1;
    const WORDS: usize = 2 * Self::MOVES;
    const LONGEST: usize = 512;
    const SYMMETRIES: usize = 8;

    fn start() -> Self {
        Go { stones: vec![None; POINTS], next: Side::First, ko: None, plies: 0 }
    }

    fn to_move(&self) -> Side {
        self.next
    }

    fn legal(&self, into: &mut Vec<u16>) {
        into.clear();
        if self.outcome().is_none() {
            into.extend((0..=PASS).filter(|&m| self.allows(m)));
        }
    }

    /// Whose stone, on which point.
    fn word(&self, mv: u16) -> u16 {
        mv + Self::MOVES as u16 * self.next as u16
    }

    fn play(&mut self, mv: u16) {
        if mv == PASS {
            (self.next, self.ko) = (self.next.other(), None);
            self.plies += 1;
            return;
        }
        *self = self.put(mv as usize).unwrap_or_else(|| panic!("point {mv} cannot be played"));
    }

    /// Territory is not counted: only a game of the greatest length is over, and drawn.
    fn outcome(&self) -> Option<Outcome> {
        (self.plies >= Self::LONGEST).then_some(Outcome::Draw)
    }

    fn turned(mv: u16, s: usize) -> u16 {
        if mv == PASS {
            return PASS;
        }
        let (mut x, mut y) = (mv as usize % SIZE, mv as usize / SIZE);
        if s & 1 == 1 {
            x = SIZE - 1 - x;
        }
        if s & 2 == 2 {
            y = SIZE - 1 - y;
        }
        if s & 4 == 4 {
            (x, y) = (y, x);
        }
        (y * SIZE + x) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A position from rows of `x` (to move next), `o` and `.` in the upper left corner.
    fn corner(rows: &[&str]) -> Go {
        let mut go = Go::start();
        for (y, row) in rows.iter().enumerate() {
            for (x, c) in row.chars().enumerate() {
                go.stones[y * SIZE + x] = match c {
                    'x' => Some(Side::First),
                    'o' => Some(Side::Second),
                    _ => None,
                };
            }
        }
        go
    }

    fn at(x: usize, y: usize) -> u16 {
        (y * SIZE + x) as u16
    }

    #[test]
    fn stones_without_liberties_are_taken() {
        let mut go = corner(&[".oox", "xxx."]);
        go.play(at(0, 0));
        assert_eq!([1, 2].map(|x| go.stone(x, 0)), [None; 2]);
        assert_eq!(go.stone(0, 0), Some(Side::First));
        assert_eq!(go.to_move(), Side::Second);
    }

    #[test]
    fn a_group_may_not_take_its_own_last_liberty() {
        let go = corner(&[".xo", "xo.", "o.."]);
        // the corner would be without liberty and takes nothing
        assert!(!corner(&[".o", "o."]).allows(at(0, 0)));
        // the whole group of three would be, too
        assert!(!go.allows(at(0, 0)));
        // but where it takes, it may
        assert!(corner(&[".ox", "ox.", "x.."]).allows(at(0, 0)));
        assert!(!go.allows(at(1, 0)), "not empty");
    }

    #[test]
    fn a_ko_is_not_retaken_at_once() {
        let mut go = corner(&[".xo.", "xo.o", ".xo."]);
        go.play(at(2, 1));
        assert_eq!(go.stone(1, 1), None);
        assert!(!go.allows(at(1, 1)), "ko");
        go.play(at(10, 10));
        go.play(at(12, 10));
        assert!(go.allows(at(1, 1)), "after another move");
    }

    #[test]
    fn symmetries_are_eight_different_ones() {
        let mut seen: Vec<u16> = (0..Go::SYMMETRIES).map(|s| Go::turned(at(3, 1), s)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert!((0..8).all(|s| Go::turned(PASS, s) == PASS && Go::turned(at(9, 9), s) == at(9, 9)));
        assert!((0..POINTS as u16).all(|m| Go::turned(m, 0) == m));
    }
}
