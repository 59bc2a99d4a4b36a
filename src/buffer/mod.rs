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
//! a cursor. A buffer is sealed at the cursor, never inside the tail, so that a block holds only points with an LSN.
//! A sealed buffer stays visible to queries until a version that names its block is published.

mod shard;
mod tag;

pub(crate) use shard::{Buffers, Scope, Tails};
pub(crate) use tag::{Sealed, TagBuffer};
