//! The thread that calls the engine's step. It stands outside the core: the core has no clock.

use crate::sync::{Arc, AtomicBool, Ordering, thread};
use std::time::Duration;

/// Calls a function at intervals until it is dropped.
pub(crate) struct Ticker {
    ending: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle>,
}

impl Ticker {
    pub(crate) fn start(interval: Duration, tick: impl Fn() + Send + 'static) -> Ticker {
        let ending = Arc::new(AtomicBool::new(false));
        let ended = ending.clone();
        let thread = thread::spawn("tidewall-step", move || {
            loop {
                thread::park_timeout(interval);
                if ended.load(Ordering::Acquire) {
                    return;
                }
                tick();
            }
        });
        Ticker { ending, thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread::unpark(&thread);
            // A panic of the tick has been printed by its thread; drop must not panic again.
            let _ = thread.join();
        }
    }
}
