//! Counters, for people who want to see what batching and group commit save.

use crate::lsn::Lsn;
use crate::stream::{Shared, Stream};
use crate::sync::{Arc, AtomicU64, Ordering};
use std::time::Duration;

/// What an engine has done since it was opened, and how it stands. Log figures are sums over the streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames appended to the log. Each holds a batch of one tag, or short batches of several.
    pub frames: u64,
    /// Points in those frames.
    pub appended_points: u64,
    /// Times that the log's lock was taken.
    pub log_lock_acquisitions: u64,
    /// Syncs of log segments.
    pub log_syncs: u64,
    /// Times that a thread waited for another one's I/O on the log: callers of `sync` that shared one, above all.
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
    /// Times that a thread had to wait for the log or the flusher, or do their work: the backlog was too long, memory
    /// was full, or no segment was free.
    pub backpressure_waits: u64,
    /// Nanoseconds that these took.
    pub backpressure_ns: u64,
    /// Points that are encoded and wait for the log: full batches, and smaller ones for which it had no room.
    pub backlog_points: u64,
    /// Flushes that wrote an edit.
    pub flushes: u64,
    /// Blocks written.
    pub blocks_written: u64,
    /// Bytes of those blocks.
    pub block_bytes: u64,
    /// Edits of the manifest.
    pub manifest_edits: u64,
    /// Records that they were written as, each with one sync: fewer, when flushes end together.
    pub manifest_records: u64,
    /// Points in memory.
    pub buffered_points: u64,
    /// Bytes of points that are in frames and in no block yet, as [`buffer_bytes`](crate::Config::buffer_bytes) counts them. Those that
    /// still wait for the log are not in it.
    pub buffered_bytes: u64,
    /// Bytes of blocks that queries have read and that are kept, as [`cache_bytes`](crate::Config::cache_bytes) counts them.
    pub cached_bytes: u64,
    /// Sealed buffers waiting for a flush.
    pub sealed_buffers: u64,
    /// End of the log; the sum over the streams, so the number of points that were ever appended.
    pub appended_lsn: Lsn,
    /// Everything below is durable; likewise a sum.
    pub durable_lsn: Lsn,
    /// Everything below is in blocks that the manifest names; likewise a sum.
    pub checkpoint_lsn: Lsn,
}

/// Counted outside all locks, so that nobody has to wait to read them.
#[derive(Default)]
pub(crate) struct Counters {
    backpressure_waits: AtomicU64,
    backpressure_ns: AtomicU64,
    flushes: AtomicU64,
    blocks: AtomicU64,
    block_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn waited(&self, time: Duration) {
        self.backpressure_waits.fetch_add(1, Ordering::Relaxed);
        self.backpressure_ns.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn flushed(&self, (blocks, bytes): (u64, u64)) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.blocks.fetch_add(blocks, Ordering::Relaxed);
        self.block_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Stats {
    pub(crate) fn gather(shared: &Shared, streams: &[Arc<Stream>]) -> Stats {
        let counters = &shared.counters;
        let (manifest_edits, manifest_records) = shared.manifest.counts();
        let mut stats = Stats {
            backpressure_waits: counters.backpressure_waits.load(Ordering::Relaxed),
            backpressure_ns: counters.backpressure_ns.load(Ordering::Relaxed),
            flushes: counters.flushes.load(Ordering::Relaxed),
            blocks_written: counters.blocks.load(Ordering::Relaxed),
            block_bytes: counters.block_bytes.load(Ordering::Relaxed),
            manifest_edits,
            manifest_records,
            cached_bytes: shared.store.cached_bytes(),
            ..Stats::default()
        };
        for stream in streams {
            let buffers = stream.buffers();
            stats.backlog_points += buffers.backlog();
            stats.buffered_points += stream.buffered_points();
            stats.buffered_bytes += buffers.bytes();
            stats.sealed_buffers += buffers.sealed();
            let (log, marks) = stream.log_stats();
            stats.frames += log.appends;
            stats.appended_points += log.appended_points;
            stats.log_lock_acquisitions += log.lock_acquisitions;
            stats.log_syncs += log.syncs;
            stats.log_sync_waits += log.turn_waits;
            stats.log_writes += log.writes;
            stats.log_written_bytes += log.written_bytes;
            stats.rotations += log.rotations;
            stats.grown_segments += log.grown_segments;
            stats.segments += log.segments;
            stats.busy_segments += log.busy_segments;
            stats.appended_lsn.0 += marks.appended.0;
            stats.durable_lsn.0 += marks.durable.0;
            stats.checkpoint_lsn.0 += marks.checkpoint.0;
        }
        stats
    }
}
