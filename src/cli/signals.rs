//! Signals: the first SIGINT or SIGTERM shuts down in order, the second ends the process, SIGHUP changes nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::base::shutdown::Shutdown;

/// Exit status after a second signal, as shells report a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Signals cannot be waited for.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// SIGINT.
    #[error("Ctrl-C cannot be caught: {0}")]
    Interrupt(#[from] ctrlc::Error),
    /// The others, or the thread that waits for them.
    #[error("signals cannot be waited for: {0}")]
    Wait(#[from] io::Error),
}

/// Waits for signals until it is dropped.
pub(super) struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// From now on the first signal triggers `shutdown`.
    pub(super) fn start(shutdown: Shutdown) -> Result<SignalWatch, SignalError> {
        let stopping = Stopping {
            shutdown,
            signalled: Arc::default(),
        };
        let interrupted = stopping.clone();
        ctrlc::set_handler(move || interrupted.signal())?;
        // A program that was started to survive its terminal (nohup) has SIGHUP ignored, and so it stays.
        let mut signals = if is_ignored_at_start(SIGHUP) {
            Signals::new([SIGTERM])?
        } else {
            Signals::new([SIGTERM, SIGHUP])?
        };
        let handle = signals.handle();
        let thread = thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    if signal == SIGHUP {
                        log::info!(
                            "SIGHUP changes nothing here: packages are loaded at the start, or with load_model (--allow-load)"
                        );
                    } else {
                        stopping.signal();
                    }
                }
            })?;
        Ok(SignalWatch {
            handle,
            thread: Some(thread),
        })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Stopping {
    shutdown: Shutdown,
    signalled: Arc<AtomicBool>,
}

impl Stopping {
    fn signal(&self) {
        if self.signalled.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        self.shutdown.trigger();
    }
}

/// Whether this process was started with `signal` ignored, as the kernel tells it.
fn is_ignored_at_start(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_ignored(&status, signal))
}

fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_which_signals_are_ignored() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGTERM));
        assert!(!is_ignored("SigIgn:\t0000000000001000\n", SIGHUP));
        assert!(!is_ignored("", SIGHUP));
    }
}
