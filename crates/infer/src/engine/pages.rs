//! The pages of the key/value pool: who holds which, and which are free.

/// Tokens of a page: as many rows as the attention reads side by side.
pub const PAGE: usize = nurture_kernels::KEY_PANEL;

/// A page of the pool: rows `PAGE · page ..` of the cache.
pub(crate) type Page = u32;

/// Pages of `tokens` tokens.
pub(crate) fn pages_of(tokens: usize) -> usize {
    tokens.div_ceil(PAGE)
}

/// Counts the holders of each page.
#[derive(Debug)]
pub(crate) struct Pages {
    holders: Vec<u32>,
    free: Vec<Page>,
}

impl Pages {
    pub(crate) fn new(count: usize) -> Pages {
        Pages { holders: vec![0; count], free: (0..count as Page).rev().collect() }
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// A free page, now with one holder.
    pub(crate) fn take(&mut self) -> Option<Page> {
        let page = self.free.pop()?;
        self.holders[page as usize] = 1;
        Some(page)
    }

    /// One holder more.
    pub(crate) fn hold(&mut self, page: Page) {
        self.holders[page as usize] += 1;
    }

    pub(crate) fn holders(&self, page: Page) -> u32 {
        self.holders[page as usize]
    }

    /// One holder less; the last one frees the page.
    pub(crate) fn release(&mut self, page: Page) {
        let holders = &mut self.holders[page as usize];
        debug_assert!(*holders > 0, "page {page} released twice");
        *holders = holders.saturating_sub(1);
        if *holders == 0 {
            self.free.push(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_holder_frees_a_page() {
        let mut pages = Pages::new(2);
        let (a, b) = (pages.take().unwrap(), pages.take().unwrap());
        assert_ne!(a, b);
        assert_eq!(pages.take(), None);
        pages.hold(a);
        pages.release(a);
        assert_eq!((pages.free(), pages.holders(a)), (0, 1));
        pages.release(a);
        assert_eq!(pages.take(), Some(a));
        pages.release(b);
        assert_eq!(pages.free(), 1);
    }
}
