//! Points in memory: a buffer per tag, in independently locked shards.
//!
//! ```text
//!            sealed (immutable, being flushed)     open                waiting  tail       inbox of its writer
//!   ┌───────────┐ ┌───────────┐ ┌──────┬──────┬──────┐ ┌──────┬──────┐ ┌───────┐    ┌──────────────────────┐
//!   │ Sealed    │ │ Sealed    │ │ run  │ run  │ run  │ │ run  │ run  │ │entries│ ◄─ │ points of many tags  │ ◄── write
//!   └───────────┘ └───────────┘ └──────┴──────┴──────┘ └──────┴──────┘ └───────┘    └──────────────────────┘
//!                                            in frames ┘ └ not yet
//!
//!   or, where a sync came before a batch was whole:    open              tail
//!                                                     ┌──────┬──────┐ ┌────────┬───────┐
//!                                                     │ run  │ run  │ │ logged │       │
//!                                                     └──────┴──────┘ └────────┴───────┘
//!                                                            in frames ┘ └ not yet
//! ```
//!
//! A single point first goes into an inbox of its writer's lane, which is brought into the tag buffers when it is full: with many
//! tags, one point at a time would wait for memory at each. What a sync finds in an inbox it logs from there, unless half a batch
//! of a tag has come together, or the buffers have something that comes before (`lane.rs`). Many points of a tag go straight to its buffer.
//!
//! A point is encoded once, by the thread that completes its batch, while the points are in that core's cache: the bytes
//! of that run are what the frame carries, what memory keeps, what queries decode and what the block is made of. All the
//! hand-off there is from a writer to the logger is that the run waits: no queue, and no moment in which a point is in
//! no place (`benches/handoff.rs` measures what a lock-free queue of batches would cost). The logger copies runs into the log's
//! memory; the shard's lock is held for that, never while the disk is at work.
//!
//! What a sync finds is no whole batch. If it is half of one it becomes a run like the others; a few points go into a frame with those
//! of other tags (`short.rs`), and stay in their tail, *logged*, until with what follows they are worth a run: those are
//! encoded twice, once with their neighbours in time and once with their own tag's.
//!
//! What is sealed is the open runs, and the logged tail as one of them, but nothing that waits, so that a block holds only points
//! with an LSN. A sealed buffer stays visible to queries until a version that names its block is published.
//!
//! | file | subject |
//! |---|---|
//! | `buffers` | the tag table of one stream: how points come in, and who looks for them |
//! | `lane` | where points of small calls wait, and how a tag goes from lane to lane |
//! | `pass` | how what waits gets into the log |
//! | `short` | a few points each of many tags, in one frame |
//! | `shard`, `table`, `marks` | an independently locked part of the tag table; which of them a pass visits |
//! | `tag`, `runs` | the buffer of one tag |
//! | `group`, `limits` | points of a tag brought together; how much of what, and why |

mod buffers;
mod group;
mod lane;
mod limits;
mod marks;
mod pass;
mod runs;
mod shard;
mod short;
mod table;
mod tag;
#[cfg(test)]
mod tests;

pub(crate) use buffers::Buffers;
pub(crate) use runs::Runs;
pub(crate) use shard::{Scope, Tails};
pub(crate) use tag::{Recent, Sealed};
