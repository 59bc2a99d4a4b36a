//! The threads that work in the background. They stand outside the core: it has no clock, and needs no thread of its own.
//!
//! | thread | wakes | does |
//! |---|---|---|
//! | logger, one a stream | when rung (full batches wait, or the lanes hold much that is logged), and each tick | when rung: appends full batches, moves logged points from the lanes to their buffers; at a tick: appends what is due, and writes it out |
//! | flusher | when the memory for points is half full, and each tick | writes blocks, so that segments and memory become free |
//!
//! What one of them runs into is never lost: an error waits for the next call that can report it, a panic makes the
//! engine read-only.

use crate::error::{Error, Result};
use crate::health::Health;
use crate::plant::{self, Bug};
use crate::stream::{Shared, Stream};
use crate::sync::{Arc, AtomicBool, Bell, Mutex, Ordering, Rank, Stopwatch, thread};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The error of a background thread that no call has reported yet.
pub(crate) struct Unreported {
    some: AtomicBool,
    first: Mutex<Option<Error>>,
}

impl Unreported {
    pub(crate) fn new() -> Unreported {
        Unreported { some: AtomicBool::new(false), first: Mutex::new(Rank::Leaf, None) }
    }

    /// Keeps the first error until it is reported. `Closed` is none: the thread has come too late.
    pub(crate) fn keep(&self, result: Result<()>) {
        let Err(error) = result else { return };
        if matches!(error, Error::Closed) || plant::on(Bug::W20) {
            return;
        }
        let announce = || self.some.store(true, Ordering::Release);
        let announced = plant::on(Bug::R10).then(announce);
        self.first.lock().get_or_insert(error);
        announced.unwrap_or_else(announce);
    }

    /// Whether there is one.
    pub(crate) fn is_some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Fails once, with what a background thread has run into.
    pub(crate) fn report(&self) -> Result<()> {
        if !self.is_some() {
            return Ok(());
        }
        let mut first = self.first.lock();
        let error = first.take();
        let first = (!plant::on(Bug::R11)).then_some(first);
        self.some.store(false, Ordering::Release);
        drop(first);
        error.map_or(Ok(()), Err)
    }
}

/// The background threads of one engine.
pub(crate) struct Background {
    streams: Vec<Arc<Stream>>,
    shared: Arc<Shared>,
    ending: Arc<AtomicBool>,
    threads: Mutex<Vec<thread::JoinHandle>>,
}

impl Background {
    pub(crate) fn start(
        tick: Duration,
        streams: &[Arc<Stream>],
        shared: &Arc<Shared>,
        unreported: &Arc<Unreported>,
    ) -> Background {
        let ending = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (number, stream) in streams.iter().enumerate() {
            let (stream, shared) = (stream.clone(), shared.clone());
            let thread = Worker { ending: ending.clone(), unreported: unreported.clone(), tick };
            threads.push(thread::spawn(format!("tidewall-log-{number}"), move || {
                thread.run(stream.logger(), &shared.health, |woken| stream.work_log(woken));
            }));
        }
        let (all, flushing, noted) = (streams.to_vec(), shared.clone(), unreported.clone());
        let thread = Worker { ending: ending.clone(), unreported: unreported.clone(), tick };
        threads.push(thread::spawn("tidewall-flush".into(), move || {
            thread.run(&flushing.flusher, &flushing.health, |_| {
                let noted = noted.clone();
                // Each stream's error at once: another one may be at work for long.
                flushing.each(&all, move |stream| {
                    noted.keep(stream.step_flush());
                    Ok(())
                })
            });
        }));
        Background {
            streams: streams.to_vec(),
            shared: shared.clone(),
            ending,
            threads: Mutex::new(Rank::Leaf, threads),
        }
    }

    /// Ends the threads, and waits for what they are doing.
    pub(crate) fn stop(&self) {
        self.ending.store(true, Ordering::Release);
        if !plant::on(Bug::R7) {
            self.streams.iter().for_each(|stream| stream.logger().ring());
            self.shared.flusher.ring();
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // Its panics are caught; one in the catching itself has been printed, and drop must not panic again.
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Steps begin at least this many times as far apart as the last one took. With so many tags that each of them gets
/// a point or two in a tick, frames of a point or two would otherwise take all the time that the writers need.
const STEP_SPACING: u32 = 4;

struct Worker {
    ending: Arc<AtomicBool>,
    unreported: Arc<Unreported>,
    tick: Duration,
}

/// Why a background thread has woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Somebody rang.
    Rung,
    /// It is time for a step.
    Tick,
}

impl Worker {
    fn run(self, bell: &Bell, health: &Health, work: impl Fn(Woken) -> Result<()>) {
        // The ticks come in time however often the bell is rung: a slow tag's batch must not wait for a quiet moment.
        let mut since = Stopwatch::start();
        let mut tick = self.tick;
        loop {
            bell.wait(Some(tick.saturating_sub(since.elapsed())));
            if self.ending.load(Ordering::Acquire) {
                return;
            }
            let woken = if since.elapsed() < tick { Woken::Rung } else { Woken::Tick };
            if woken == Woken::Tick {
                since = Stopwatch::start();
            }
            match catch_unwind(AssertUnwindSafe(|| work(woken))) {
                Ok(outcome) => self.unreported.keep(outcome),
                Err(_) => return health.poison("background thread, which panicked"),
            }
            if woken == Woken::Tick {
                tick = self.tick.max(STEP_SPACING * since.elapsed());
            }
        }
    }
}
