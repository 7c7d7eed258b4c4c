//! Memory of weights: stretches of 32 MB that the system may back with huge pages, shared by many weights. All of them are
//! read for each token, which in pages of 4 kB takes a translation of addresses for every 64 cache lines. Each weight
//! begins at a cache line.

use memmap2::{MmapMut, MmapRaw};
use std::sync::{Arc, Mutex, Weak};

/// Words of a stretch that weights share.
const STRETCH: usize = 8 << 20;

/// Words of a cache line.
const LINE: usize = 16;

/// Words of one weight, alone in their place; zero at first.
pub(crate) struct Words {
    stretch: Arc<MmapRaw>,
    start: usize,
    len: usize,
}

/// The stretch that is being filled, and how far.
static OPEN: Mutex<(Weak<MmapRaw>, usize)> = Mutex::new((Weak::new(), 0));

fn map(len: usize) -> Arc<MmapRaw> {
    let mapped = MmapMut::map_anon(4 * len.max(1))
        .unwrap_or_else(|e| panic!("no memory for {} bytes of weights: {e}", 4 * len));
    let mapped = MmapRaw::from(mapped);
    // a wish: where the system has no huge pages, small ones serve
    #[cfg(target_os = "linux")]
    let _ = mapped.advise(memmap2::Advice::HugePage);
    Arc::new(mapped)
}

impl Words {
    pub(crate) fn zeroed(len: usize) -> Words {
        if len > STRETCH / 2 {
            return Words { stretch: map(len), start: 0, len };
        }
        let mut open = OPEN.lock().unwrap_or_else(|e| e.into_inner());
        let (stretch, start) = match (open.0.upgrade(), open.1.next_multiple_of(LINE)) {
            (Some(stretch), start) if start + len <= STRETCH => (stretch, start),
            _ => (map(STRETCH), 0),
        };
        *open = (Arc::downgrade(&stretch), start + len);
        Words { stretch, start, len }
    }
}

impl std::ops::Deref for Words {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        // SAFETY: the words lie inside the stretch and belong to this value alone; mapped memory is zero at first.
        unsafe { std::slice::from_raw_parts(self.stretch.as_ptr().cast::<u32>().add(self.start), self.len) }
    }
}

impl std::ops::DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u32] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.stretch.as_mut_ptr().cast::<u32>().add(self.start), self.len)
        }
    }
}

impl Clone for Words {
    fn clone(&self) -> Words {
        let mut words = Words::zeroed(self.len);
        words.copy_from_slice(self);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_zeroed_place() {
        let lens = [0, 1, 17, STRETCH / 2, STRETCH / 2, 3, STRETCH / 2 + 1, 40];
        let mut all: Vec<Words> = lens.iter().map(|&len| Words::zeroed(len)).collect();
        for (i, words) in all.iter_mut().enumerate() {
            assert!(words.len() == lens[i] && words.iter().all(|w| *w == 0));
            assert_eq!(words.as_ptr() as usize % 64, 0);
            words.fill(i as u32 + 1);
        }
        let copies = all.clone();
        all.iter_mut().for_each(|words| words.fill(0));
        for (i, words) in copies.iter().enumerate() {
            assert!(words.iter().all(|w| *w == i as u32 + 1));
        }
    }
}
