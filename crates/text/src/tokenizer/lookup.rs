//! String to id, without a second copy of the strings: an open-addressing table of ids into the list of pieces.

use super::hash::Seed;

const EMPTY: u32 = u32::MAX;

/// A place of the table. The upper half of the hash turns away nearly every other string without looking at it.
#[derive(Clone, Copy)]
struct Slot {
    print: u32,
    id: u32,
}

/// Finds the id of a piece. The list of pieces is handed in with every call.
pub(super) struct Lookup {
    slots: Vec<Slot>,
    seed: Seed,
}

impl Lookup {
    /// Indexes `pieces`; where a piece stands twice the later id wins, as in llama.cpp and a Python `dict`.
    pub(super) fn new(pieces: &[String]) -> Self {
        let size = (pieces.len() * 2).next_power_of_two().max(16);
        let mut lookup = Lookup { slots: vec![Slot { print: 0, id: EMPTY }; size], seed: Seed::new() };
        for (id, piece) in pieces.iter().enumerate() {
            let (at, print) = lookup.place(pieces, piece);
            if let Some(slot) = lookup.slots.get_mut(at) {
                *slot = Slot { print, id: id as u32 };
            }
        }
        lookup
    }

    /// The id of `piece`.
    pub(super) fn get(&self, pieces: &[String], piece: &str) -> Option<u32> {
        let id = self.slots.get(self.place(pieces, piece).0)?.id;
        (id != EMPTY).then_some(id)
    }

    /// Index of the slot that holds `piece`, or of the free one where it belongs, and its print. At least half the
    /// table is free, so the walk ends.
    fn place(&self, pieces: &[String], piece: &str) -> (usize, u32) {
        let mask = self.slots.len() - 1;
        let hash = self.seed.text(piece);
        let (mut at, print) = (hash as usize & mask, (hash >> 32) as u32);
        loop {
            match self.slots.get(at) {
                Some(slot)
                    if slot.id != EMPTY
                        && (slot.print != print
                            || pieces.get(slot.id as usize).is_none_or(|p| p != piece)) =>
                {
                    at = (at + 1) & mask;
                }
                _ => return (at, print),
            }
        }
    }
}
