//! What lies between the products of a few rows and comes from memory: weights of norms, places of new keys. The products'
//! weights stream through the caches and drive it out, and waiting for it would take longer than the arithmetic there. So it is
//! asked for early, a few lines at a time: beyond what a core can wait for at once, asking is waiting too.

/// Asks memory for the cache lines of `len` bytes at `p`, which may lie beyond the end.
#[inline(always)]
pub(crate) fn ask(p: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(64) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching touches nothing, wherever the address points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (p, len);
}

/// Bytes asked for at a time: 20 lines, where a core waits for about 24 at once.
const AT_A_TIME: usize = 20 * 64;

/// Stretches of memory in the order in which they will be needed. Nothing is read, so they may be gone by then.
#[derive(Debug, Default)]
pub struct Ahead {
    stretches: Vec<(*const u8, usize)>,
    /// the first that was not asked for as a whole, and how much of it was
    next: (usize, usize),
}

impl Ahead {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.stretches.clear();
        self.next = (0, 0);
    }

    /// Adds values.
    pub fn push<T>(&mut self, of: &[T]) {
        self.stretches.push((of.as_ptr().cast(), size_of_val(of)));
    }

    /// Asks memory for the next lines.
    pub fn ask(&mut self) {
        let mut left = AT_A_TIME;
        while left > 0
            && let Some(&(at, len)) = self.stretches.get(self.next.0)
        {
            let (which, from) = self.next;
            let here = left.min(len - from);
            ask(at.wrapping_add(from), here);
            left -= here;
            self.next = if from + here == len { (which + 1, 0) } else { (which, from + here) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_asked_for_in_pieces() {
        let (long, short, none) = ([0f32; 700], [0u8; 3], [0u16; 0]);
        let mut ahead = Ahead::default();
        ahead.ask();
        for _ in 0..2 {
            ahead.push(&none);
            ahead.push(&long);
            ahead.push(&short);
            ahead.push(&none);
            let seen = [(); 4].map(|()| {
                ahead.ask();
                ahead.next
            });
            assert_eq!(seen, [(1, AT_A_TIME), (1, 2 * AT_A_TIME), (4, 0), (4, 0)]);
            ahead.clear();
        }
    }
}
