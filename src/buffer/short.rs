//! A few points each of many tags, on their way into the log in one frame.
//!
//! A sync finds a few points each of many tags, in inboxes and as short tails. A frame for each tag would spend more bytes on its
//! header than on its points, so they are gathered, over as many shards as it takes, and appended together. In memory the points stay
//! where they are until they are worth a run; it is only noted that the log has them.
//!
//! ```text
//!   shard 0 (locked)          shard 1 (locked)
//!   tag 7: ▒▒▒▪▪   tag 3: ▪   tag 9: ▒▪▪       ▒ in frames, ▪ not yet
//!             └┴──────────┴───────────┴┴──► one frame: 7 × 2, 3 × 1, 9 × 2
//! ```
//!
//! Until the frame has its position the shards stay locked, one behind the other by their numbers: nobody else can append a
//! tag's next points before these. For those of an inbox its lane stays locked: nobody else can reach them, or accept what comes
//! behind them.

use super::tag::{AppendBatch, Drained};
use crate::codec::mixed::{Batch, Share};
use crate::codec::run::Encoder;
use crate::error::Result;
use crate::lsn::{Append, Lsn};
use crate::plant::{self, Bug};
use crate::point::{Entry, Measured, TagId};
use std::iter::Peekable;
use std::vec::Drain;

/// Once this many points have been gathered for a frame no further shard is locked.
const FRAME_POINTS_ENOUGH: usize = 256;
/// Shards that are locked for a frame, at most: their writers wait meanwhile.
pub(super) const SHARDS_MAX: usize = 16;

/// Points of tails, or of inboxes, that are locked.
#[derive(Default)]
pub(super) struct ShortTails {
    /// Of a frame, at most.
    points_max: usize,
    /// Those that are in no frame yet.
    shares: Vec<Share>,
    entries: Vec<Entry>,
    /// Those that are, in the same order, with the positions of their first points.
    appended: Vec<(Share, Lsn)>,
    payload: Vec<u8>,
    encoder: Encoder,
}

impl ShortTails {
    pub(super) fn new(points_max: usize) -> ShortTails {
        ShortTails { points_max, ..ShortTails::default() }
    }

    /// Adds points of a tag. If they must have another frame than those that are here, these are appended first; when the log has no
    /// room for that, nothing is added.
    pub(super) fn add(
        &mut self,
        tag: TagId,
        points: &[impl Measured],
        append: &mut AppendBatch,
    ) -> Result<Drained> {
        let drained = if self.is_full_for(points.len()) { self.append(append)? } else { Drained::All };
        if drained == Drained::All {
            self.shares.push(Share { tag, count: points.len() as u32 });
            self.entries.extend(points.iter().map(Measured::to_entry));
        }
        Ok(drained)
    }

    /// Whether this many points must have another frame than those that are here.
    fn is_full_for(&self, points: usize) -> bool {
        !self.shares.is_empty() && self.entries.len() + points > self.points_max
    }

    /// Points of a frame, at most.
    pub(super) fn points_max(&self) -> usize {
        self.points_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    pub(super) fn is_enough(&self) -> bool {
        self.entries.len() >= FRAME_POINTS_ENOUGH
    }

    /// Appends those that are in no frame, if there are any, in one.
    pub(super) fn append(&mut self, append: &mut AppendBatch) -> Result<Drained> {
        if self.shares.is_empty() {
            return Ok(Drained::All);
        }
        let batch = Batch::encode(&mut self.payload, &mut self.encoder, &self.shares, &self.entries);
        let mut first_lsn = match append(&batch)? {
            Append::Appended { first_lsn, .. } => first_lsn,
            Append::NoRoom { frame_bytes } => {
                if plant::on(Bug::B5) {
                    self.appended.extend(self.shares.drain(..).map(|share| (share, Lsn(0))));
                }
                return Ok(Drained::NeedsRoom { frame_bytes });
            }
        };
        for share in self.shares.drain(..) {
            self.appended.push((share, first_lsn));
            first_lsn = first_lsn.advance(if plant::on(Bug::B4) { 0 } else { share.count.into() });
        }
        self.entries.clear();
        Ok(Drained::All)
    }

    /// What has been appended: the locked shards are to be told, and can be let go. What has not is still theirs.
    pub(super) fn take_appended(&mut self) -> Appended<'_> {
        self.shares.clear();
        self.entries.clear();
        self.appended.drain(..).peekable()
    }
}

/// Short tails that are in frames now, and the positions of their first points.
pub(super) type Appended<'a> = Peekable<Drain<'a, (Share, Lsn)>>;
