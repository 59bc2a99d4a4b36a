//! A run that goes round in circles cannot be stopped from outside, but it can be noticed.

use parking_lot::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A run takes a millisecond or a few. One that takes so long goes round in circles without touching the disk; where it
/// does touch it, the disk's own limit ends it much sooner.
const HUNG: Duration = Duration::from_secs(60);

/// What each job is at, and since when.
pub struct Jobs(Vec<Mutex<Option<(u64, Instant)>>>);

impl Jobs {
    /// A job begins a run with this number.
    pub fn begin(&self, job: usize, number: u64) {
        *self.0[job].lock() = Some((number, Instant::now()));
    }

    /// A job has ended its last run.
    pub fn end(&self, job: usize) {
        *self.0[job].lock() = None;
    }
}

/// Does work in this many jobs. The number of a run that does not end is given to `hung`, which should report it and end
/// the process.
pub fn watch<R>(jobs: usize, hung: impl Fn(u64) + Sync, work: impl FnOnce(&Jobs) -> R) -> R {
    let jobs = Jobs((0..jobs).map(|_| Mutex::new(None)).collect());
    let (ended, end) = channel::<()>();
    std::thread::scope(|scope| {
        let (jobs, hung) = (&jobs, &hung);
        scope.spawn(move || {
            // Ends when the sender is dropped.
            while end.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let late = |job: &Mutex<Option<(u64, Instant)>>| {
                    job.lock().filter(|(_, since)| since.elapsed() > HUNG).map(|(number, _)| number)
                };
                jobs.0.iter().filter_map(late).for_each(hung);
            }
        });
        let result = work(jobs);
        drop(ended);
        result
    })
}
