//! Models for loom: small questions about what two threads share, asked of the engine's own code.
//!
//! loom runs the body of a model again and again, each time with another order of what its threads do and with another
//! of the values that a weak memory may show them, until no order is left that could make a difference - or, with a
//! bound, none with at most this many preemptions.
//!
//! | file | kernel |
//! |---|---|
//! | `group_commit` | many waiters, one sync; and a sync or a write that fails |
//! | `watermark` | what may be read of a log while another thread commits |
//! | `rotation` | append against rotation, append against retire |
//! | `bell` | the hand-off to a background thread, and its end |
//! | `buffers` | seal and release against write and query |
//! | `lanes` | points of small calls, and who has them |
//! | `names` | names of several threads in one directory |
//! | `pressure` | writers that find the log full, or the engine behind |
//! | `closing` | close against a write in flight |
//! | `committer` | edits of several flushes in one record |
//! | `exec` | the pool: run, nested run, end |
//! | `engine` | lock order, and the whole engine against crash images |
//! | `disk`, `log` | what they stand on: a disk in memory, one log on it |
//!
//! A model is trusted because of its *twins*: the same model with one bug of [`crate::plant`] switched on, which loom
//! has to find. Neither a model nor a twin shares a process with another: a deadlock ends it (`run.rs`).
//!
//! What loom does not see: `SeqCst` is taken for `AcqRel`, which can only report too much; a load never sees a store that
//! comes later, as some machines allow; a wait with a time limit has none, so the ticks of the background threads never
//! come; and a call on the disk is one step, unless the disk of the model is a watched one.

mod bell;
mod buffers;
mod closing;
mod committer;
mod disk;
mod engine;
mod exec;
mod group_commit;
mod lanes;
mod log;
mod names;
mod pressure;
mod rotation;
mod watermark;

use crate::plant::{self, Bug};
use crate::sync::thread;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One question, and how it is asked.
pub struct Model {
    /// What `run.rs` calls it.
    pub name: &'static str,
    /// In one sentence.
    pub question: &'static str,
    /// One execution, for a number of threads; panics when the answer is no.
    pub body: fn(usize),
    /// How far it is explored.
    pub sizes: &'static [Size],
    /// What it must find.
    pub twins: &'static [Twin],
}

/// How far a model is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Threads of the execution: the first one and those of the engine are among them.
    pub threads: usize,
    /// The most preemptions in one execution; `None` explores all there are.
    pub preemptions: Option<usize>,
}

/// A model with a bug planted.
pub struct Twin {
    /// The bug.
    pub bug: Bug,
    /// How far loom has to look for it.
    pub size: Size,
    /// Words that the report must have in it: a bug that is found for another reason is not the one that was planted.
    pub reason: &'static str,
}

/// What loom says of threads that all wait.
const DEADLOCK: &str = "deadlock; threads =";

const fn all(threads: usize) -> Size {
    Size { threads, preemptions: None }
}

const fn bounded(threads: usize, preemptions: usize) -> Size {
    Size { threads, preemptions: Some(preemptions) }
}

/// Every model.
pub const MODELS: &[Model] = &[
    group_commit::COMMIT,
    group_commit::FAILED_SYNC,
    group_commit::FAILED_WRITE,
    watermark::WATERMARK,
    rotation::ROTATION,
    rotation::RETIRE,
    bell::HAND_OFF,
    bell::BACKGROUND,
    bell::UNREPORTED,
    buffers::NEW_TAG,
    buffers::SEAL,
    buffers::ONE_MOMENT,
    buffers::SEALED_COUNT,
    buffers::CHECKPOINT,
    lanes::LANES,
    lanes::HAND_OVER,
    lanes::POSITIONS,
    names::NAMES,
    pressure::FULL_RING,
    pressure::BACKPRESSURE,
    closing::CLOSE,
    closing::CLOSE_LANES,
    committer::COMMITTER,
    committer::FAILED_EDIT,
    committer::STREAMS,
    exec::POOL,
    exec::NESTED,
    engine::LOCK_ORDER,
    engine::ENGINE,
];

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Executions that have begun in this process.
pub fn executions() -> u64 {
    EXECUTIONS.load(Ordering::Relaxed)
}

/// The type of the atomics, and with them of everything in `sync.rs`, that these sources were compiled with.
pub fn atomic_type() -> &'static str {
    std::any::type_name::<crate::sync::AtomicBool>()
}

/// Explores a model. Panics in the first execution that breaks it, or ends the process.
pub fn explore(model: &Model, size: Size, bug: Option<Bug>) {
    // All threads of an execution are run by this one, so the bug is on for all of them.
    plant::set(bug);
    let mut builder = loom::model::Builder::new();
    builder.max_threads = size.threads;
    builder.preemption_bound = size.preemptions;
    builder.max_branches = 20_000;
    // Whatever the environment says: an exploration that is cut short would prove nothing.
    (builder.max_permutations, builder.max_duration, builder.checkpoint_file) = (None, None, None);
    let body = model.body;
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        body(size.threads);
    });
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.preemptions {
            None => write!(f, "{} threads, exhaustive", self.threads),
            Some(bound) => write!(f, "{} threads, {bound} preemptions", self.threads),
        }
    }
}

/// Runs `work` in `threads` threads, this one included, each with its number; returns when all have ended.
fn together(threads: usize, work: impl Fn(usize) + Clone + Send + 'static) {
    let start = |number| {
        let work = work.clone();
        loom::thread::spawn(move || {
            thread::set_number(number);
            work(number);
        })
    };
    let others: Vec<_> = (1..threads).map(start).collect();
    work(0);
    for other in others {
        other.join().expect("a panic ends the execution");
    }
}
