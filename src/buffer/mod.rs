//! Points in memory: a buffer per tag, in independently locked shards.
//!
//! ```text
//!            sealed (immutable, being flushed)     appended              tail: the tag batch
//!   ┌───────────┐ ┌───────────┐ ┌──────┬──────┬──────┐ ┌───────────────┐
//!   │ Sealed    │ │ Sealed    │ │ run  │ run  │ run  │ │ entries       │ ◄── write
//!   └───────────┘ └───────────┘ └──────┴──────┴──────┘ └───────────────┘
//!                                                      └ not yet in a frame
//! ```
//!
//! A point is copied once, into the tail, and encoded once: when the tag batch is appended to the log it becomes a run,
//! and the bytes of that run are what the frame carries, what memory keeps, what queries decode and what the block is made
//! of. That is all the hand-off there is from a writer to the logger: no queue, no second copy, and no moment in
//! which a point is in neither place (`benches/handoff.rs` measures it against a lock-free queue of batches). The shard's
//! lock is held while a run is encoded and copied into the log's memory, never while the disk is at work.
//!
//! A buffer is sealed behind the last run, without the tail, so that a block holds only points with an LSN. A sealed
//! buffer stays visible to queries until a version that names its block is published.

mod runs;
mod shard;
mod tag;

pub(crate) use runs::Runs;
pub(crate) use shard::{Buffers, Scope, Tails};
pub(crate) use tag::{Drained, Recent, Sealed, TagBuffer};
