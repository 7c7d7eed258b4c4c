//! Ctrl-C: while work goes on, the first one asks it to stop cleanly; with no work, or the second time, it quits.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Exit code of a program ended by Ctrl-C, as shells give it.
pub(crate) const EXIT_CODE: u8 = 130;

/// A file beyond the limit on file sizes becomes an error of the write, which says what to do, where the signal would
/// end the process without a word. Before any thread begins: threads inherit it.
pub(crate) fn block_file_size_signal() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal};
        let mut set = SigSet::empty();
        set.add(Signal::SIGXFSZ);
        // where it cannot be blocked, the signal ends the process as before
        let _ = set.thread_block();
    }
}

/// The flag that Ctrl-C (and a request to terminate) raises.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    raised: Arc<AtomicBool>,
    working: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over Ctrl-C for the whole process. Where that is not possible, Ctrl-C just ends the process.
    pub(crate) fn install() -> Interrupt {
        let interrupt = Interrupt::default();
        let seen = interrupt.clone();
        let _ = ctrlc::set_handler(move || {
            if seen.working.load(SeqCst) && !seen.raised.swap(true, SeqCst) {
                return;
            }
            let _ = writeln!(std::io::stderr());
            std::process::exit(EXIT_CODE.into());
        });
        interrupt
    }

    /// From here until the guard is dropped, Ctrl-C only raises the flag.
    pub(crate) fn working(&self) -> Working<'_> {
        self.raised.store(false, SeqCst);
        self.working.store(true, SeqCst);
        Working(self)
    }

    /// Whether Ctrl-C came since work began.
    pub(crate) fn raised(&self) -> bool {
        self.raised.load(SeqCst)
    }

    /// The flag itself, for libraries that look at it.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.raised.clone()
    }
}

/// While it lives, Ctrl-C only raises the flag. The flag keeps its state when it is dropped.
#[derive(Debug)]
pub(crate) struct Working<'a>(&'a Interrupt);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.store(false, SeqCst);
    }
}
