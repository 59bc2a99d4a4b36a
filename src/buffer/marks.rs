//! A bit for each shard: which of them a pass has to visit.

use crate::plant::{self, Bug};
use crate::sync::{AtomicU64, Ordering};

/// Which shards a pass has to visit, so that there can be many more shards than a pass would like to lock.
///
/// A shard's bit is set exactly while it has something for such a pass: it is changed under the shard's lock only. So a pass that
/// finds it clear has missed nothing that had come to the shard before the pass began, whatever other passes are doing.
pub(super) struct Marks(Box<[AtomicU64]>);

impl Marks {
    pub(super) fn new(shards: usize) -> Marks {
        Marks((0..shards.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn has(&self, shard: usize) -> bool {
        self.0[shard / 64].load(Ordering::Acquire) >> (shard % 64) & 1 == 1
    }

    pub(super) fn put(&self, shard: usize, marked: bool) {
        let (bits, bit) = (&self.0[shard / 64], 1 << (shard % 64));
        // Nobody else changes this bit, and it is nearly always right.
        match (bits.load(Ordering::Relaxed) & bit != 0, marked) {
            (false, true) => drop(bits.fetch_or(bit, Ordering::AcqRel)),
            (true, false) => drop(bits.fetch_and(!bit, Ordering::AcqRel)),
            _ => {}
        }
    }

    /// The first marked shard at or behind `from`.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        next_mark(|at| self.0.get(at).map(|bits| bits.load(Ordering::Acquire)), from)
    }
}

/// The first bit that is set, at `from` or behind it, in what `word` says of each 64.
pub(super) fn next_mark(word: impl Fn(usize) -> Option<u64>, from: usize) -> Option<usize> {
    let mut at = from / 64;
    let behind = u64::MAX << (from % 64);
    let mut bits = word(at)? & behind;
    while bits == 0 {
        at += 1;
        bits = word(at)? & if plant::on(Bug::B8) { behind } else { !0 };
    }
    Some(at * 64 + bits.trailing_zeros() as usize)
}
