//! The planted bugs: realistic mistakes that the test bed must catch, each one line at the place where it would be
//! made. This is their registry.
//!
//! Compiled in only under the feature `plant`, which the `sim` crate turns on; in every other build [`on`] is a
//! constant `false` and the planted branches are gone. A bug is switched on for one thread, so that campaigns with
//! and without it can run side by side.

macro_rules! bugs {
    ($($name:ident: $what:literal,)*) => {
        #[cfg_attr(not(feature = "plant"), allow(dead_code))]
        /// A planted bug, named after its class in the catalogue of the original's defects where it has one.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Bug { $($name,)* }

        #[cfg_attr(not(feature = "plant"), allow(dead_code))]
        impl Bug {
            /// Every planted bug.
            pub const ALL: &[Bug] = &[$(Bug::$name,)*];

            /// The name that `sim run --plant` takes.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$name => stringify!($name),)* }
            }

            /// The mistake, in one sentence.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$name => $what,)* }
            }
        }
    };
}

bugs! {
    W4: "the padding after a synced group ends the replay of its segment",
    W5: "a frame's checksum is not compared",
    W6: "the log reader compares neither generation nor LSN: the stale tail of a recycled segment is replayed",
    W7: "reopening puts the new log into a segment that still holds frames to be replayed",
    W8: "replay ignores the checkpoint and what blocks hold already",
    W15: "when no segment is free the oldest one is reused although its points are in no block",
    W16: "a flush reads the log's end after it has looked at the buffers: a segment is reused while its points are in flight in another thread",
    W17: "the flush that a full ring forces works on a copy of the active chunk, without the turn that other flushes wait for",
    W18: "a batch leaves the tag's tail before its append has succeeded",
    W20: "the errors of the background threads are dropped",
    W24: "writers do not wait when the log falls behind",
    F1: "group commit moves the durable watermark without a sync",
    F2: "sealed buffers are dropped before their blocks are written",
    F4: "a failed block write is reported, but its place is named all the same",
    F6: "the manifest names blocks whose chunk has not been synced",
    F7: "a block's checksum is written and never verified",
    F13: "a manifest that cannot be read is taken for an absent one, and the store is created anew",
    I8: "a failed sync is reported once and can be retried as if it could still succeed",
    I6: "a hole below what later frames prove to be durable is taken for a torn tail",
    I9: "a write of the log that finds no space makes the engine read-only",
    M1: "a manifest record's checksum is not compared",
    N1: "a new chunk's name is not made durable before the manifest relies on it",
    N2: "the manifest is replaced by one that was not synced",
    C1: "two flushes are given the same new chunk number",
    C2: "a reader copies the published version and puts it back, over what was published meanwhile",
    C3: "sealed buffers are dropped before the version that names their blocks is published",
    C4: "an append's position is read under one hold of the log's lock and used under another",
    C5: "the count of sealed buffers is read and then written, not added to",
    C6: "a tag's buffer is looked for under one hold of the shard's lock and made under another",
    C7: "a write looks whether the engine is closed before it takes the shard's lock only",
    C8: "two threads get the turn to do a log's I/O",
    C9: "counting the points in memory takes a shard's lock inside the log's",
    C10: "a bell is rung without the lock of who is falling asleep: the last wake-up is lost",
    C11: "who gives back the turn to do a log's I/O wakes nobody",
    L1: "who waits for the turn to do a log's I/O gives up after some time, and believes that it was done",
    P1: "a synced group is not filled up to its sector: the next frame goes into a sector that is durable",
    R1: "a bell that has been rung is looked at with a relaxed load before it is rung again",
    R2: "a thread that waits for a group's manifest edit leaves when the edit was written, not when it was synced",
    R3: "a query looks at the version after it has let go of the tag's buffer",
    R4: "an edit of the manifest is written behind one whose sync has failed",
    R5: "the durable watermark is set to the log's end after the sync, not to what was written before it",
    R6: "an append goes on into the segment that a rotation is leaving",
    R7: "close does not wake the background threads that it waits for",
    R8: "the last task of a call is announced without the lock of who is falling asleep over it",
    R9: "close does not wait for the writers that have looked at its flag and not yet left a mark",
    S1: "recovery believes the unproven tail without making it durable again",
    SV1: "the collector of the service driver acknowledges a batch when it comes in, before any sync",
    SV2: "the collector of the service driver forgets, when it restarts, which batches it has applied",
}

#[cfg(feature = "plant")]
mod active {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is switched on for this thread.
    #[inline]
    pub fn on(bug: Bug) -> bool {
        ACTIVE.get() == Some(bug)
    }

    /// Switches one bug on for this thread, or all off.
    pub fn set(bug: Option<Bug>) {
        ACTIVE.set(bug);
    }
}

#[cfg(feature = "plant")]
pub use active::{on, set};

/// Whether this bug is switched on: never, in a build without the feature `plant`.
#[cfg(not(feature = "plant"))]
#[inline(always)]
pub(crate) const fn on(_: Bug) -> bool {
    false
}
