//! Points in memory: a buffer per tag, in independently locked shards.
//!
//! ```text
//!            sealed (immutable, being flushed)      entries
//!   ┌───────────┐ ┌───────────┐ ┌──────────────────────┬───────────────┐
//!   │ Sealed    │ │ Sealed    │ │ appended: has LSNs   │ tail: the tag │ ◄── write
//!   └───────────┘ └───────────┘ └──────────────────────┴───────────────┘
//!                                                      └ batch, not yet in a frame
//! ```
//!
//! A point is copied once, into `entries`; the tag batch is the end of that vector, and appending it to the log moves
//! a cursor. That is all the hand-off there is from a writer to the logger: no queue, no second copy, and no moment in
//! which a point is in neither place (`benches/handoff.rs` measures it against a lock-free queue of batches). The shard's
//! lock is held while a frame is encoded into the log's memory, never while the disk is at work.
//!
//! A buffer is sealed at the cursor, never inside the tail, so that a block holds only points with an LSN. A sealed
//! buffer stays visible to queries until a version that names its block is published.

mod shard;
mod tag;

pub(crate) use shard::{Buffers, Scope, Tails};
pub(crate) use tag::{Drained, Sealed, TagBuffer};
