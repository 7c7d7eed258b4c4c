//! String to id, without a second copy of the strings: an open-addressing table of ids into the list of pieces.

use std::hash::{BuildHasher, RandomState};

const EMPTY: u32 = u32::MAX;

/// Finds the id of a piece. The list of pieces is handed in with every call.
pub(super) struct Lookup {
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Lookup {
    /// Indexes `pieces`; where a piece stands twice the later id wins, as in llama.cpp and a Python `dict`.
    pub(super) fn new(pieces: &[String]) -> Self {
        let size = (pieces.len() * 2).next_power_of_two().max(16);
        let mut lookup = Lookup { slots: vec![EMPTY; size], hasher: RandomState::new() };
        for (id, piece) in pieces.iter().enumerate() {
            let slot = lookup.slot(pieces, piece);
            if let Some(place) = lookup.slots.get_mut(slot) {
                *place = id as u32;
            }
        }
        lookup
    }

    /// The id of `piece`.
    pub(super) fn get(&self, pieces: &[String], piece: &str) -> Option<u32> {
        let id = *self.slots.get(self.slot(pieces, piece))?;
        (id != EMPTY).then_some(id)
    }

    /// The slot that holds `piece`, or the free one where it belongs. Half the table is free, so the walk ends.
    fn slot(&self, pieces: &[String], piece: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(piece) as usize & mask;
        loop {
            match self.slots.get(slot) {
                Some(&id) if id != EMPTY && pieces.get(id as usize).is_none_or(|p| p != piece) => {
                    slot = (slot + 1) & mask;
                }
                _ => return slot,
            }
        }
    }
}
