//! Which segment is free, which is written, which must be kept. Policy only: no bytes, no I/O.
//!
//! ```text
//!          next              close               retire
//!   Free ────────► Active ────────────► Busy ─────────────► Free
//! ```

use crate::lsn::Lsn;
use crate::plant::{self, Bug};

/// The state of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing in it is needed.
    Free,
    /// Frames are being appended to it.
    Active,
    /// Full. It is needed until everything below `end_lsn` is checkpointed.
    Busy { end_lsn: Lsn },
}

/// Where the next segment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This segment is free.
    Reuse(usize),
    /// All are busy and the ring may grow: a segment with this number has to be created.
    Grow(usize),
    /// All are busy: wait for a flush.
    Full,
}

pub(crate) struct Ring {
    slots: Vec<Slot>,
    max: usize,
    /// Where the search for a free segment begins, so that segments are used in turn.
    turn: usize,
}

impl Ring {
    pub(crate) fn new(slots: Vec<Slot>, max: usize) -> Ring {
        Ring { slots, max, turn: 0 }
    }

    /// The segment to use next. Appends get one only while fewer than `max` are in use; recovery, for its tail, gets a `spare` one in any
    /// case. There is a tail only in a segment that an append began, so no chain of crashes leaves more than `max + 1` in use.
    pub(crate) fn next(&self, spare: bool) -> Next {
        let count = self.slots.len();
        if self.in_use() >= self.max + usize::from(plant::on(Bug::F12)) && !spare {
            // The planted bug takes the oldest one, as if what it holds were in blocks.
            return if plant::on(Bug::W15) { Next::Reuse(self.turn) } else { Next::Full };
        }
        let mut in_turn = (0..count).map(|step| (self.turn + step) % count);
        match in_turn.find(|slot| self.slots[*slot] == Slot::Free) {
            Some(slot) => Next::Reuse(slot),
            None => Next::Grow(count),
        }
    }

    /// Marks the segment that [`next`](Ring::next) named as the one being written.
    pub(crate) fn begin(&mut self, slot: usize) {
        if slot == self.slots.len() {
            self.slots.push(Slot::Free);
        }
        assert!(self.slots[slot] == Slot::Free || plant::on(Bug::W15), "segment {slot} begun while in use");
        self.slots[slot] = Slot::Active;
        self.turn = (slot + 1) % self.slots.len();
    }

    /// The active segment is full; it holds points up to `end_lsn`.
    pub(crate) fn close(&mut self, slot: usize, end_lsn: Lsn) {
        assert_eq!(self.slots[slot], Slot::Active, "segment {slot} closed without having been begun");
        self.slots[slot] = Slot::Busy { end_lsn };
    }

    /// Frees every segment that holds nothing at or above the checkpoint. The checkpoint must be durable (I4).
    pub(crate) fn retire(&mut self, checkpoint_lsn: Lsn) -> usize {
        let checkpoint_lsn = checkpoint_lsn.advance(plant::on(Bug::Z1).into());
        let mut retired = 0;
        for slot in &mut self.slots {
            if matches!(*slot, Slot::Busy { end_lsn } if end_lsn <= checkpoint_lsn) {
                *slot = Slot::Free;
                retired += 1;
            }
        }
        retired
    }

    /// The end of the oldest busy segment: what has to be flushed so that one becomes free.
    pub(crate) fn oldest_busy(&self) -> Option<Lsn> {
        let busy = |slot: &Slot| if let Slot::Busy { end_lsn } = slot { Some(*end_lsn) } else { None };
        self.slots.iter().filter_map(busy).min()
    }

    fn in_use(&self) -> usize {
        self.slots.iter().filter(|slot| **slot != Slot::Free).count()
    }

    /// More segments are in use than appends may take: recovery has taken its spare.
    pub(crate) fn is_over_full(&self) -> bool {
        self.in_use() > self.max
    }

    /// No more segments may be taken for appends.
    pub(crate) fn is_full(&self) -> bool {
        self.in_use() >= self.max
    }

    pub(crate) fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Busy { .. })).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_used_in_turn_grow_to_the_maximum_and_come_back_after_retire() {
        let mut ring = Ring::new(vec![Slot::Free; 2], 3);
        let use_next = |ring: &mut Ring, end: u64| match ring.next(false) {
            Next::Reuse(slot) | Next::Grow(slot) => {
                ring.begin(slot);
                ring.close(slot, Lsn(end));
                Some(slot)
            }
            Next::Full => None,
        };
        assert_eq!([10, 20, 30, 40].map(|end| use_next(&mut ring, end)), [Some(0), Some(1), Some(2), None]);
        assert_eq!(ring.oldest_busy(), Some(Lsn(10)));
        assert_eq!(ring.retire(Lsn(9)), 0);
        assert_eq!(ring.retire(Lsn(20)), 2);
        assert_eq!([50, 60, 70].map(|end| use_next(&mut ring, end)), [Some(0), Some(1), None]);
        assert_eq!(ring.next(true), Next::Grow(3), "recovery may take one more");
    }

    #[test]
    fn the_segment_that_was_left_last_is_used_last_even_if_it_is_free_first() {
        let mut ring = Ring::new(vec![Slot::Free; 3], 3);
        for (expected, end) in [0, 1, 2, 0, 1].into_iter().zip(1..) {
            assert_eq!(ring.next(false), Next::Reuse(expected));
            ring.begin(expected);
            ring.close(expected, Lsn(end));
            ring.retire(Lsn(end));
        }
    }

    #[test]
    fn a_ring_is_full_at_its_maximum_and_over_full_with_the_spare() {
        let mut ring = Ring::new(vec![Slot::Free; 2], 3);
        for (slot, full) in [(0, false), (1, false), (2, true)] {
            ring.begin(slot);
            assert_eq!((ring.is_full(), ring.is_over_full()), (full, false), "{} in use", slot + 1);
            ring.close(slot, Lsn(10));
        }
        assert_eq!(ring.next(true), Next::Grow(3));
        ring.begin(3);
        assert!(ring.is_full() && ring.is_over_full());
        assert_eq!(ring.retire(Lsn(10)), 3);
        assert!(!ring.is_full() && !ring.is_over_full());
    }
}
