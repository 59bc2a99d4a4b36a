//! The public contract, on the real file system: what each call promises, from the outside and to the last bit.
//!
//! | module | proves |
//! |---|---|
//! | `points` | the key rule, times, value bits, ranges, tags: what a query answers |
//! | `durable` | what `sync`, `flush`, `close`, a plain drop and `Durability::Immediate` leave for the next opening |
//! | `opening` | who may open a store, with which configuration, and what is left of a closed one |
//! | `log` | what batching, group commit, the ring and its backpressure save and bound |
//! | `streams` | several log streams: each tag has one, and none is felt in another |
//! | `backlog` | a write touches memory only, up to a bound |
//! | `background` | the engine's own threads: what they do without being asked, and that no error of theirs is lost |
//! | `shutdown` | `close` and drop, among threads: what ends, what is kept |
//! | `parallel` | what is done at the same time, and that nobody can tell by the result |
//! | `threads` | one handle, many threads |
//! | `damage` | bytes that nobody wrote: refused with file and offset, and nothing is destroyed (I6) |
//! | `faults` | a disk that fails: a failed write loses nothing (I9), a failed sync is final (I8) |
//! | `files` | the files that a flush writes and a query reads: how many, and how often each is opened or replaced |
//! | `cache` | what queries have read, and whether they read it again |
//! | `original` | the suites of the report that this project starts from, by name and size, with assertions |
//!
//! Nothing here sleeps, reads a clock or starts the engine's own thread, unless a test says so: a failure is a failure
//! on every machine.

#[path = "api/background.rs"]
mod background;
#[path = "api/backlog.rs"]
mod backlog;
#[path = "api/cache.rs"]
mod cache;
#[path = "api/damage.rs"]
mod damage;
#[path = "api/durable.rs"]
mod durable;
#[path = "api/faults.rs"]
mod faults;
#[path = "api/files.rs"]
mod files;
#[path = "api/inbox.rs"]
mod inbox;
#[path = "api/log.rs"]
mod log;
#[path = "api/opening.rs"]
mod opening;
#[path = "api/original.rs"]
mod original;
#[path = "api/parallel.rs"]
mod parallel;
#[path = "api/points.rs"]
mod points;
#[path = "api/scan.rs"]
mod scan;
#[path = "api/short_tails.rs"]
mod short_tails;
#[path = "api/shutdown.rs"]
mod shutdown;
#[path = "api/streams.rs"]
mod streams;
#[path = "api/support.rs"]
mod support;
#[path = "api/threads.rs"]
mod threads;
