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

            /// The bug of this name.
            pub fn named(name: &str) -> Option<Bug> {
                Bug::ALL.iter().copied().find(|bug| bug.name() == name)
            }

            /// The mistake, in one sentence.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$name => $what,)* }
            }
        }
    };
}

bugs! {
    W1: "the log of an opened store begins at position 0, as if nothing had ever been in it",
    W2: "an error in making the unproven tail durable is not an error of the opening",
    W3: "the log reader keeps two sectors: a longer frame is taken for the end",
    W4: "the padding after a synced group ends the replay of its segment",
    W5: "a frame's checksum is not compared",
    W6: "the log reader compares neither generation nor LSN: the stale tail of a recycled segment is replayed",
    W7: "reopening puts the new log into a segment that still holds frames to be replayed",
    W8: "replay ignores the checkpoint and what blocks hold already",
    W9: "recovery writes the tail into the epoch that it is reading",
    W10: "segments are put in order by their numbers, not by their generations",
    W11: "a segment that recovery finds is entered in the ring with where it begins, not where it ends",
    W12: "the room in a segment is measured without what is staged and not yet written",
    W13: "a write of the log that has failed is half undone: the next one begins where it would have ended",
    W15: "when no segment is free the oldest one is reused although its points are in no block",
    W16: "a flush reads the log's end after it has looked at the buffers: a segment is reused while its points are in flight in another thread",
    W17: "the flush that a full ring forces works on a copy of the active chunk, without the turn that other flushes wait for",
    W18: "a batch leaves the tag's tail before its append has succeeded",
    W19: "a batch is checked as it is accepted: what stands before an invalid point is accepted, and the call refused",
    W20: "the errors of the background threads are dropped",
    W21: "a background step leaves what it has appended in the memory of the process",
    W22: "a tail that is less than half full is never due, however old it is",
    W23: "the log is synced at every eighth commit only",
    W24: "writers do not wait when the log falls behind",
    W25: "edits carry the checkpoint only once the engine is being closed",
    W26: "segments without a frame are enough to refuse a store whose creation was cut short",
    F1: "group commit moves the durable watermark without a sync",
    F2: "sealed buffers are dropped before their blocks are written",
    F3: "the first block of a flush is placed where there is room, the others behind it",
    F4: "a failed block write is reported, but its place is named all the same",
    F5: "the manifest is replaced in place",
    F6: "the manifest names blocks whose chunk has not been synced",
    F7: "a block's checksum is written and never verified",
    F8: "a block's checksum covers its header alone, for writer and verifier alike",
    F9: "a manifest record that could not be written has used up its number",
    F10: "a reopened chunk is written from its beginning",
    F11: "a sealed buffer stays the open one: what is appended later goes into it as well",
    F12: "the ring takes one segment more than it may",
    F13: "a manifest that cannot be read is taken for an absent one, and the store is created anew",
    F14: "more than 32 bits of the difference between two times are cut off",
    F15: "a value counts as decimal if it compares equal to one: -0.0 becomes 0.0",
    F16: "the beginning of a block or a run is compared as unsigned: what began before time 0 is behind every range",
    F17: "no block is left out of a query because of its times",
    F18: "of a sealed buffer that fills several blocks only the first is written",
    F19: "a frame's payload is sliced by the length in its header, whatever that says",
    F20: "the stored chunk size is not compared with the configured one",
    F21: "the lock file is created, not locked",
    F22: "close flushes what a background step would, not what is in memory",
    F24: "of two points with one time the first one wins",
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
    Q1: "only the newest block of a tag is searched",
    Q2: "a block that cannot be read makes an answer shorter, not an error",
    Q3: "the list of tags is made from memory alone",
    Q4: "the latest point is looked for in memory alone",
    Q5: "a scan reads together what begins before its first block ends, not what begins before the latest of them does",
    Q6: "blocks that are kept in memory are known by their offset, whichever chunk they are in",
    Q7: "an engine that a failed sync has made read-only answers no queries",
    Q8: "a scan goes on behind the end of its range",
    Q9: "blocks that are kept in memory are never let go",
    A1: "a frame says that everything before it is durable, synced or not",
    B1: "a step takes tags whose tails are not due off the list of those that have one",
    B2: "a tag counts as flushed one position further than its blocks reach",
    B3: "the checkpoint passes points that are in a frame of several tags and still in their tail",
    B4: "every tag of a frame of several is given the position of the frame's first point",
    B5: "short tails count as appended before their frame is, even if the log then has no room for it",
    B6: "replay leaves out of a frame of several tags what the blocks of the first one hold",
    B7: "a flush leaves the points of a tail that are in a frame where they are, and calls them flushed",
    B8: "of the next 64 shards a pass leaves out those before the place where it was in the last ones",
    B9: "a pass over short tails that had to let go of its shards ends there",
    B10: "points that were logged in an inbox are given the position of its first one, which may be before what their buffer has had flushed",
    B11: "a flush does not look for what a sync has logged in the inboxes",
    B12: "a sync logs what waits in the inboxes before what waits in the buffers",
    B13: "a pass over the lanes for which the log had no room goes on behind the inbox that it could not append",
    C12: "the shards are let go before the frame of their short tails has its position",
    C13: "a sync that failed before it began counts as the one that covers those who wait: they wait for its end",
    C14: "who waits for another's sync lets go of the log before he notes what he waits for: a wake-up in between is lost",
    D1: "a manifest that has grown long is replaced before the edit that made it so is part of the version",
    G1: "frames behind the end of a scan prove nothing",
    G2: "an intact frame that damage has cut off is not missed",
    G3: "a later epoch does not cut off the tail of the one before",
    H1: "a failed sync of the directory does not make the engine read-only",
    H2: "two threads sync the directory at the same time: when one fails, the other believes that its names are durable",
    I6: "a hole below what later frames prove to be durable is taken for a torn tail",
    I8: "a failed sync is reported once and can be retried as if it could still succeed",
    I9: "a write of the log that finds no space makes the engine read-only",
    J1: "chunks that the manifest names are not looked for",
    J2: "a store without its manifest is created anew, whatever is in its log",
    J3: "a segment that the manifest counts and that is gone is not missed",
    K1: "the latest time of a replayed run whose times fall steadily is taken to be its last one",
    K2: "qualities behind the first 128 points of a run are read from its beginning",
    K3: "the first exception of a run is not put back",
    L1: "who waits for the turn to do a log's I/O gives up after some time, and believes that it was done",
    M1: "a manifest record's checksum is not compared",
    N1: "a new chunk's name is not made durable before the manifest relies on it",
    N2: "the manifest is replaced by one that was not synced",
    N3: "the names of segments that an opening has made are not made durable",
    N4: "the name of a segment by which the ring has grown is not made durable",
    N5: "the manifest's new name is not made durable",
    N6: "an empty segment that the manifest does not count is taken as it is, although a failed sync may have dropped its name",
    O1: "the first block is left out where recovery looks for chunks that nobody names",
    O2: "of the chunks that nobody names an opening removes the first one",
    P1: "a synced group is not filled up to its sector: the next frame goes into a sector that is durable",
    P2: "a flush goes on in the sector in which the one before was synced",
    R1: "a bell that has been rung is looked at with a relaxed load before it is rung again",
    R2: "a thread that waits for a group's manifest edit leaves when the edit was written, not when it was synced",
    R3: "a query looks at the version after it has let go of the tag's buffer",
    R4: "an edit of the manifest is written behind one whose sync has failed",
    R5: "the durable watermark is set to the log's end after the sync, not to what was written before it",
    R6: "an append goes on into the segment that a rotation is leaving",
    R7: "close does not wake the background threads that it waits for",
    R8: "the last task of a call is announced without the lock of who is falling asleep over it",
    R9: "close does not wait for the writers that have looked at its flag and not yet left a mark",
    R10: "an error of a background thread is announced before it is there to be reported",
    R11: "who reports an error of a background thread takes the announcement back when the next error may be there already",
    S1: "recovery believes the unproven tail without making it durable again",
    S2: "a point may be added to the segment that recovery has to spare",
    SV1: "the collector of the service driver acknowledges a batch when it comes in, before any sync",
    SV2: "the collector of the service driver forgets, when it restarts, which batches it has applied",
    T1: "a lane hands over a tag to another writer's and keeps the points of it that it has",
    T2: "who has waited for a lane does not look whether the tag is still in it",
    T3: "a sync takes in what waits in the lanes of all writers but the first",
    T4: "a lane is named as a tag's before those who sync know that anybody is in it",
    T5: "a lane hands over a tag and keeps the points of another one, whose entry is the same",
    T6: "a large batch lets go of its tag's lane before it is in its buffer",
    T7: "who has locked his lane for a single point does not look whether the tag is still in it",
    U1: "after a failed flush the number of the active chunk is given to a new one",
    X1: "an immediate write of several tags syncs the stream of the first one",
    X2: "what ends exactly where a range begins is left out of it",
    Z1: "a segment is free when all but one of its points are checkpointed",
    Z2: "a segment whose points were flushed while it was being left stays busy",
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
