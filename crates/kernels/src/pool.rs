//! A persistent pool: one region of independent tasks at a time, shared out by an atomic counter.
//!
//! Tasks write disjoint outputs and no task depends on who runs it, so results do not depend on the number of
//! threads. The caller works too, and waits only for workers that have begun: on a crowded machine a worker that
//! is not scheduled costs nothing. Workers spin for a short while between regions, then sleep.

use crate::ahead::ask;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// Pauses before a worker without work goes to sleep (some tens of microseconds).
const SPINS: usize = 20_000;

/// Bytes that a worker asks memory for while it waits, at most, and at a time.
const AHEAD: usize = 256 << 10;
const AT_A_TIME: usize = 256;

type Task<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// number of the region; changes when work arrives
    epoch: AtomicUsize,
    open: AtomicBool,
    /// workers inside the open region
    active: AtomicUsize,
    next: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    job: UnsafeCell<Option<(*const Task<'static>, usize)>>,
    sleeping: Mutex<usize>,
    wake: Condvar,
    /// what each worker is likely to read soon, or null
    ahead: Vec<AtomicPtr<u8>>,
}

// SAFETY: `job` is written only while the region is closed and nobody is active, and read only by workers that
// have entered (`active` raised, then `open` seen); the pointer is valid until the region is closed again.
unsafe impl Sync for Shared {}
// SAFETY: as above; the raw pointer is only followed inside an open region.
unsafe impl Send for Shared {}

impl Shared {
    fn work(&self) {
        // SAFETY: called only inside an open region (see `Sync`).
        let Some((task, count)) = (unsafe { *self.job.get() }) else { return };
        loop {
            let i = self.next.fetch_add(1, SeqCst);
            if i >= count {
                return;
            }
            // SAFETY: the closure lives until `Pool::run` returns, which waits for every active worker.
            if catch_unwind(AssertUnwindSafe(|| unsafe { (*task)(i) })).is_err() {
                self.panicked.store(true, SeqCst);
            }
        }
    }

    fn worker(&self, number: usize) {
        let mut seen = 0;
        let (mut from, mut asked) = (std::ptr::null_mut(), AHEAD);
        loop {
            let mut spins = 0;
            while self.epoch.load(SeqCst) == seen {
                let ahead = self.ahead[number].load(Relaxed);
                if ahead != from {
                    (from, asked) = (ahead, if ahead.is_null() { AHEAD } else { 0 });
                }
                if asked < AHEAD {
                    ask(from.wrapping_add(asked), AT_A_TIME);
                    asked += AT_A_TIME;
                } else {
                    std::hint::spin_loop();
                }
                spins += 1;
                if spins > SPINS {
                    let mut sleeping = self.sleeping.lock().unwrap_or_else(|e| e.into_inner());
                    *sleeping += 1;
                    while self.epoch.load(SeqCst) == seen {
                        sleeping = self.wake.wait(sleeping).unwrap_or_else(|e| e.into_inner());
                    }
                    *sleeping -= 1;
                }
            }
            seen = self.epoch.load(SeqCst);
            if self.stop.load(SeqCst) {
                return;
            }
            self.active.fetch_add(1, SeqCst);
            if self.open.load(SeqCst) {
                self.work();
            }
            self.active.fetch_sub(1, SeqCst);
        }
    }

    fn announce(&self) {
        self.epoch.fetch_add(1, SeqCst);
        if *self.sleeping.lock().unwrap_or_else(|e| e.into_inner()) > 0 {
            self.wake.notify_all();
        }
    }
}

/// Threads that share out the tasks of one region at a time.
pub struct Pool {
    shared: Arc<Shared>,
    /// held while a region runs: regions of several callers queue up
    region: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// A pool of `threads` threads in all, the caller's among them (at least 1).
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            open: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            sleeping: Mutex::new(0),
            wake: Condvar::new(),
            ahead: (1..threads.max(1)).map(|_| AtomicPtr::default()).collect(),
        });
        let workers = (1..threads.max(1))
            .map_while(|i| {
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name(format!("nurture-{i}"))
                    .spawn(move || shared.worker(i - 1))
                    .ok()
            })
            .collect();
        Pool { shared, region: Mutex::new(()), workers }
    }

    /// Threads that work in a region, the caller's among them.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Says where worker `n` (from 1 on) is likely to read soon: it asks memory for it while it waits. Nothing is read, so any
    /// address will do.
    pub(crate) fn expect(&self, n: usize, at: *const u8) {
        if let Some(slot) = self.shared.ahead.get(n - 1) {
            slot.store(at.cast_mut(), Relaxed);
        }
    }

    /// Runs `task(0)` … `task(count - 1)`, each once, on any thread; returns when all are done.
    ///
    /// # Panics
    /// If a task panicked.
    pub fn run(&self, count: usize, task: impl Fn(usize) + Sync) {
        if count <= 1 || self.workers.is_empty() {
            (0..count).for_each(task);
            return;
        }
        let guard = self.region.lock().unwrap_or_else(|e| e.into_inner());
        let s = &*self.shared;
        let task: &Task<'_> = &task;
        // SAFETY: only the lifetime is erased; the region is closed and empty before `task` goes out of scope.
        let task: *const Task<'static> = unsafe { std::mem::transmute(task as *const Task<'_>) };
        // SAFETY: the region is closed and nobody is active, so no one reads `job` now.
        unsafe { *s.job.get() = Some((task, count)) };
        s.next.store(0, SeqCst);
        s.open.store(true, SeqCst);
        s.announce();
        s.work();
        s.open.store(false, SeqCst);
        let mut spins = 0usize;
        while s.active.load(SeqCst) > 0 {
            spins += 1;
            if spins.is_multiple_of(1 << 14) {
                std::thread::yield_now(); // the worker may have lost its core to another process
            }
            std::hint::spin_loop();
        }
        let panicked = s.panicked.swap(false, SeqCst);
        drop(guard);
        assert!(!panicked, "a task of a parallel region panicked");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.announce();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// A mutable slice that tasks share, each writing its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shares<T>(*mut T, usize);

// SAFETY: handed to tasks that write disjoint parts (the contract of `at`).
unsafe impl<T: Send> Send for Shares<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shares<T> {}

impl<T> Shares<T> {
    /// Where the slice begins.
    pub(crate) fn ptr(&self) -> *mut T {
        self.0
    }

    pub(crate) fn new(slice: &mut [T]) -> Self {
        Shares(slice.as_mut_ptr(), slice.len())
    }

    /// Elements `start .. start + len`.
    ///
    /// # Safety
    /// No other live reference may overlap the part.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn at(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.1 && len <= self.1 - start, "part {start}+{len} of {}", self.1);
        // SAFETY: inside the slice by the check above; disjointness is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for round in 0..2000 {
                let count = round % 37;
                let mut hits = vec![0u32; count];
                let parts = Shares::new(&mut hits);
                // SAFETY: each task has its own element.
                pool.run(count, |i| unsafe { parts.at(i, 1)[0] += 1 });
                assert!(hits.iter().all(|&h| h == 1));
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_and_panics_arrive() {
        let pool = Pool::new(3);
        std::thread::sleep(std::time::Duration::from_millis(80));
        let sum = AtomicUsize::new(0);
        pool.run(100, |i| {
            sum.fetch_add(i, SeqCst);
        });
        assert_eq!(sum.into_inner(), 4950);
        let caught = catch_unwind(AssertUnwindSafe(|| pool.run(8, |i| assert!(i != 5, "wanted"))));
        assert!(caught.is_err());
        pool.run(8, |_| ());
    }
}
