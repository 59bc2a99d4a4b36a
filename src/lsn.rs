//! Positions in the log.

use std::fmt;

/// Position of a point in the log: the number of points appended before it.
///
/// A frame of `n` points at `first` covers `first .. first + n`, so that frames that follow each other without a
/// gap prove it by their numbers alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position `count` points later. Saturates: numbers read from a disk may be anything.
    pub fn advance(self, count: u64) -> Lsn {
        Lsn(self.0.saturating_add(count))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which use of a segment a frame belongs to. Larger is later.
///
/// The epoch is burnt in the manifest before its first frame is written and belongs to one opening of the store;
/// `seq` counts the segments begun in it. No generation is ever used twice, so a frame of an earlier use of a
/// segment - or of an opening that crashed - can be told from a current one without any header being rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// The opening of the store.
    pub epoch: u32,
    /// The segment within it.
    pub seq: u32,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

/// From which LSN on the frames of an epoch are the log; up to the start of the next span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The epoch.
    pub epoch: u32,
    /// Its first LSN; where it overlaps the span before it, that one ends here.
    pub first_lsn: Lsn,
}

/// What became of an append to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Append {
    /// The points have these positions.
    Appended { first_lsn: Lsn, end_lsn: Lsn },
    /// Nothing was appended: the staging buffer or the segment is full, and the log has to do I/O before it can take a
    /// frame of this many bytes.
    NoRoom { frame_bytes: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_shown_as_epoch_and_segment() {
        assert_eq!(Generation { epoch: 3, seq: 12 }.to_string(), "3.12");
    }
}
