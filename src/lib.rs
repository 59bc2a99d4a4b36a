//! The write path of a time-series store: per-tag batches, a rotating write-ahead log, blocks flushed in parallel, and
//! a restart that finds every acknowledged point.
//!
//! ```
//! use std::sync::Arc;
//! use tidewall::disk::RealDisk;
//! use tidewall::{Config, Engine, Point};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let disk = Arc::new(RealDisk::new(dir)?);
//! let engine = Engine::open(disk.clone(), Config::default())?;
//! engine.write(Point::new(7, 1_000_000, 21.5))?; // accepted: queries see it
//! engine.sync()?; // durable: it survives any crash from here on
//! drop(engine); // no close: as if the process had been killed
//!
//! let engine = Engine::open(disk, Config::default())?;
//! assert_eq!(engine.query(7, ..)?, [Point::new(7, 1_000_000, 21.5)]);
//! engine.close()?; // flushed: opening it again will replay nothing
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a point
//!
//! ```text
//! write ──► TagBuffer ──(logger, or sync)──► Frame ──► Segment ──(full)──► rotation
//!               │                                         ▲                    │
//!             query                                 group commit          flush plan
//!               ▲                                                              ▼ (flusher)
//!            Block ◄── Chunk ◄── Manifest edit ◄── parallel block writers ◄── sealed buffers
//! ```
//!
//! A `write` ends in memory: it waits for nobody's disk. Background threads append full, half-full and old batches to the
//! log and turn sealed buffers into blocks; whoever needs a result sooner (`sync`, a writer that finds the backlog too
//! long) does the same work itself. Tags are spread over [`Config::wal_streams`] independent streams, each with a ring,
//! syncs and flushes of its own; what flushes of several streams have to say shares one record of the manifest.
//!
//! | state | means | after a crash |
//! |---|---|---|
//! | accepted | in its tag's buffer; queries see it | may vanish, and then so does everything later of that tag |
//! | appended | in a frame handed to a log segment; has an LSN | the same |
//! | durable | its frame's LSN is below `durable_lsn` | survives |
//! | flushed | in a block of a synced chunk | survives, still through the log |
//! | checkpointed | the manifest names its block | survives without the log; its segment may be used again |
//!
//! # The promises
//!
//! | call returns `Ok` | what holds from then on |
//! |---|---|
//! | [`Engine::write`], [`Engine::write_batch`] | **accepted** (with [`Durability::Immediate`]: durable) |
//! | [`Engine::sync`] | **durable**: every point accepted before the call. One log write and one sync for all who wait |
//! | [`Engine::flush`] | all that `sync` gives; the points are in blocks that the manifest names, their segments are free |
//! | [`Engine::close`] | all that `flush` gives; opening again replays nothing |
//!
//! `(tag, time)` is a key: the last accepted write wins. Points may come in any order.
//!
//! # The invariants
//!
//! Code, tests and verdicts cite them by number; *kept in* is where to look.
//!
//! | | invariant | kept in |
//! |---|---|---|
//! | **I1** | `durable_lsn` passes a frame only after a sync that covers it has returned success | `wal/turn.rs`, `sync` |
//! | **I2** | what survives of a tag is a prefix of what was accepted for it, and at least all that was durable | `buffer/tag.rs`, `wal/scan.rs` |
//! | **I3** | a block holds only points below `durable_lsn` | `stream.rs`, `flush_in` |
//! | **I4** | a block is durable before the manifest names it; the manifest is durable before a segment is reused | `stream.rs`, `flush_in` |
//! | **I5** | recovery yields each point once, bit for bit: value, quality and microsecond; nothing is invented | `recovery.rs`, `replay` |
//! | **I6** | only the unsynced tail may be torn; any other damage is reported with file and offset, and never skipped in silence: a hole below what later frames prove was durable is corruption, not a tail | `wal/scan.rs`, `survey.rs` |
//! | **I7** | `checkpoint_lsn <= durable_lsn <= appended_lsn`, and none of them moves back | `wal/mod.rs`, `store/version.rs` |
//! | **I8** | the first failed sync is final: every waiter hears it, the engine is read-only until reopened, and no sync is retried as if it could still succeed | `health.rs` |
//! | **I9** | a failed write (no space, I/O error) loses nothing that was accepted before it and leaves queries working | `wal/turn.rs`, `write_out`; `store/writer.rs` |
//! | **I10** | recovery is idempotent: a crash at any point of recovery, any number of times, ends in the same state | `recovery.rs` |
//!
//! One law makes the rest simpler: **a synced sector is never written again**. After each sync the log, the chunk and
//! the manifest go on in a new sector, so an interrupted write can only damage what nobody was promised.
//!
//! # Reading order
//!
//! 1. `engine.rs`: the calls. `stream.rs`: what they set in motion, and in `flush_in` the order of durability.
//! 2. [`wal`]: [`wal::frame`] (bytes), `wal/turn.rs` (I/O without a lock), `wal/commit.rs` (group commit), [`wal::scan`]
//!    (torn, stale, corrupt).
//! 3. `buffer/tag.rs`: a tag's points in memory: the tag batch, and the runs that are in the log. `codec/run.rs`: how a run
//!    is encoded, once for log, memory and blocks. `background.rs`: the threads.
//! 4. [`store`]: [`store::block`], [`store::chunk`], [`store::manifest`], and the files that a flush writes.
//! 5. `recovery.rs`: six steps from whatever a crash left to an open engine.
//! 6. [`disk`]: the seam under all of it, where the `sim` crate puts its simulated disk. `sync.rs`: the other seam, locks
//!    and threads, where loom and shuttle put theirs; the lock hierarchy stands there.
//!
//! # What it leans on
//!
//! A sync that returns `Ok` has made the data durable; a rename is atomic; a write into one sector does not damage
//! another one. Everything else a disk may do, `sim` does to it.

mod background;
mod buffer;
mod codec;
mod config;
pub mod disk;
mod engine;
mod error;
mod exec;
mod flush;
mod health;
mod inspect;
mod lsn;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod point;
mod query;
mod recovery;
mod stats;
pub mod store;
mod stream;
mod survey;
mod sync;
pub mod wal;

pub use config::{Config, Durability};
pub use engine::Engine;
pub use error::{Corruption, Error, Result};
pub use exec::{Exec, InOrder, Pool, Task};
pub use inspect::{ChunkInfo, Inspection, SegmentInfo, SegmentRole, StreamInfo, inspect};
pub use lsn::{Generation, Lsn, Span};
pub use point::{Entry, Point, QUALITY_GOOD, TagId};
pub use query::Scan;
pub use recovery::{Progress, RecoveryReport};
pub use stats::Stats;
pub use sync::{LockCount, lock_counts};

#[cfg(loom)]
#[path = "../tests/loom/models/mod.rs"]
pub mod models;
