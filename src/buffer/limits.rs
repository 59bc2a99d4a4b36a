//! How much of what buffers hold, and when it becomes something else.

use crate::config::Config;
use crate::point::Entry;

/// At most an eighth of an inbox may come from one call's points of a tag. More go straight to their buffer: they are worth its
/// cache misses.
const INBOX_SHARE: usize = 8;
/// A tail keeps this many logged points, at most and at least, before they become a run (and never more than a batch). Longer runs
/// cost less a point; but a point takes 24 bytes here, and a run some 57 and two a point, so with many tags it is sooner.
const LOGGED_MAX: usize = 50;
const LOGGED_MIN: usize = 12;
/// This fraction of the memory for points is for logged tails: by default 2 MiB, about a processor's cache.
const LOGGED_SHARE: u64 = 32;

#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) batch_points: usize,
    pub(super) block_points: usize,
    pub(super) inbox_points: usize,
    /// Points of one tag that a call may put into an inbox.
    pub(super) few: usize,
    /// Points of short tails in one frame.
    pub(super) mixed_points: usize,
    /// Points in frames that the tails of a shard shall keep at most.
    logged_points: usize,
}

impl Limits {
    pub(super) fn new(config: &Config, shards: usize) -> Limits {
        let logged_bytes = config.stream_buffer_bytes() / LOGGED_SHARE;
        Limits {
            batch_points: config.batch_points,
            block_points: config.block_points,
            inbox_points: config.inbox_points,
            few: config.inbox_points.div_ceil(INBOX_SHARE),
            mixed_points: config.mixed_points(),
            logged_points: logged_bytes as usize / size_of::<Entry>() / shards,
        }
    }

    /// Points in frames that a tail keeps, in a shard with this many tags.
    pub(super) fn logged_max(&self, tags: usize) -> usize {
        (self.logged_points / tags.max(1)).clamp(LOGGED_MIN, LOGGED_MAX).min(self.batch_points)
    }
}
