//! Memory of weights: stretches of 32 MB that the system may back with huge pages, shared by many weights. All of them are
//! read for each token, which in pages of 4 kB takes a translation of addresses for every 64 cache lines. Each weight
//! begins at a cache line.

use memmap2::{MmapMut, MmapRaw};
use std::sync::{Arc, Mutex, MutexGuard};

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

/// The stretch that is being filled. It stays when its weights go; others go with their last weight.
struct Open {
    stretch: Option<Arc<MmapRaw>>,
    /// words that weights have
    used: usize,
    /// words that weights had: those beyond are zero
    touched: usize,
}

static OPEN: Mutex<Open> = Mutex::new(Open { stretch: None, used: 0, touched: 0 });

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(|e| e.into_inner())
}

fn map(len: usize) -> Arc<MmapRaw> {
    let bytes = len.max(1).checked_mul(4).expect("weights that no memory holds");
    let mapped =
        MmapMut::map_anon(bytes).unwrap_or_else(|e| panic!("no memory for {bytes} bytes of weights: {e}"));
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
        let mut open = open();
        let start = open.used.next_multiple_of(LINE);
        let (stretch, start) = match &open.stretch {
            Some(stretch) if start + len <= STRETCH => (stretch.clone(), start),
            _ => {
                let stretch = map(STRETCH);
                *open = Open { stretch: Some(stretch.clone()), used: 0, touched: 0 };
                (stretch, 0)
            }
        };
        let dirty = open.touched.clamp(start, start + len) - start;
        open.used = start + len;
        open.touched = open.touched.max(open.used);
        drop(open);
        let mut words = Words { stretch, start, len };
        words[..dirty].fill(0);
        words
    }
}

impl Drop for Words {
    /// The last place of the open stretch is free again: what is made and dropped in turns takes no more than once its room.
    fn drop(&mut self) {
        let mut open = open();
        let here = open.stretch.as_ref().is_some_and(|stretch| Arc::ptr_eq(stretch, &self.stretch));
        if here && open.used == self.start + self.len {
            open.used = self.start;
        }
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
    fn a_place_that_is_taken_again_is_zero() {
        for round in 0..50 {
            let mut words = Words::zeroed(1000 + 16 * round);
            assert!(words.iter().all(|w| *w == 0), "round {round}");
            words.fill(7);
        }
    }

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
