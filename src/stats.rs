//! Counters, for people who want to see what batching and group commit save.

use crate::lsn::Lsn;

/// What an engine has done since it was opened, and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames appended to the log: one per tag batch.
    pub frames: u64,
    /// Points in those frames.
    pub appended_points: u64,
    /// Times that the log's lock was taken.
    pub log_lock_acquisitions: u64,
    /// Syncs of log segments.
    pub log_syncs: u64,
    /// Times that a caller of `sync` waited for one in flight instead of making its own.
    pub log_sync_waits: u64,
    /// Writes to log segments.
    pub log_writes: u64,
    /// Bytes of those writes, framing and padding included.
    pub log_written_bytes: u64,
    /// Segments that were filled and left.
    pub rotations: u64,
    /// Segments added because all were busy.
    pub grown_segments: u64,
    /// Segments in the ring.
    pub segments: u64,
    /// Segments that cannot be used again before a flush.
    pub busy_segments: u64,
    /// Times that a writer had to wait for, or do, a flush because no segment was free or too much was sealed.
    pub backpressure_waits: u64,
    /// Flushes that wrote an edit.
    pub flushes: u64,
    /// Blocks written.
    pub blocks_written: u64,
    /// Bytes of those blocks.
    pub block_bytes: u64,
    /// Points in memory.
    pub buffered_points: u64,
    /// Sealed buffers waiting for a flush.
    pub sealed_buffers: u64,
    /// End of the log.
    pub appended_lsn: Lsn,
    /// Everything below is durable.
    pub durable_lsn: Lsn,
    /// Everything below is in blocks that the manifest names.
    pub checkpoint_lsn: Lsn,
}
