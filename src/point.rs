//! One measurement, as a caller sees it ([`Point`]) and as the engine keeps it ([`TagId`] and [`Entry`]).

use crate::plant::{self, Bug};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Bound, RangeBounds};

/// The quality byte of a measurement that is known to be right (as in OPC, where 192 is "good").
pub const QUALITY_GOOD: u8 = 192;

/// One measurement of one sensor.
///
/// `(tag, ts_us)` is a key: of several points with one key the last accepted wins. Two points are equal when
/// every bit of them is, so that a NaN that went through the store can be compared with the one that came in.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The sensor, or series. 0 is not a tag; the call that brings it is refused.
    pub tag: u32,
    /// Time in microseconds; any `i64`. The store does not care about the epoch, only about order.
    pub ts_us: i64,
    /// Any bits, NaN and infinities among them.
    pub value: f64,
    /// 192 is good; the store keeps it and does not interpret it.
    pub quality: u8,
}

impl Point {
    /// A point of good quality.
    pub fn new(tag: u32, ts_us: i64, value: f64) -> Point {
        Point { tag, ts_us, value, quality: QUALITY_GOOD }
    }

    /// The tag of a point that has been let in.
    pub(crate) fn tag_id(&self) -> TagId {
        TagId::new(self.tag).expect("checked before the point was accepted")
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry { ts_us: self.ts_us, value: self.value, quality: self.quality }
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Point) -> bool {
        (self.tag, self.ts_us, self.value.to_bits(), self.quality)
            == (other.tag, other.ts_us, other.value.to_bits(), other.quality)
    }
}

impl Eq for Point {}

/// A tag that has been checked: never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagId(NonZeroU32);

impl TagId {
    /// `None` for 0, which is no tag.
    pub fn new(tag: u32) -> Option<TagId> {
        NonZeroU32::new(tag).map(TagId)
    }

    /// The number that callers use.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// Fibonacci hashing (Knuth, TAOCP 3, 6.4): tags are often numbered in a row, or in steps.
    pub(crate) fn hash(self) -> u32 {
        (u64::from(self.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    /// The stream of this tag in a store with `wal_streams` log streams. It decides where a point is looked for after a
    /// restart, so it is part of the on-disk format.
    pub fn stream(self, wal_streams: usize) -> usize {
        ((u64::from(self.hash()) * wal_streams as u64) >> 32) as usize
    }
}

impl fmt::Display for TagId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A point without its tag: what buffers, frames and blocks hold.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Microseconds, as in [`Point`].
    pub ts_us: i64,
    /// Bit for bit what was written.
    pub value: f64,
    /// As in [`Point`].
    pub quality: u8,
}

impl Entry {
    pub(crate) fn point(&self, tag: TagId) -> Point {
        Point { tag: tag.get(), ts_us: self.ts_us, value: self.value, quality: self.quality }
    }
}

/// Whether something from `first` to `last` may be in `range`.
pub(crate) fn overlaps(range: &impl RangeBounds<i64>, first: i64, last: i64) -> bool {
    let before = match range.end_bound() {
        Bound::Included(end) => first > *end || (plant::on(Bug::F16) && first as u64 > *end as u64),
        Bound::Excluded(end) => first >= *end,
        Bound::Unbounded => false,
    };
    let after = match range.start_bound() {
        Bound::Included(start) => last < *start || (plant::on(Bug::X2) && last == *start),
        Bound::Excluded(start) => last <= *start,
        Bound::Unbounded => false,
    };
    !before && !after
}

/// What a measurement is, with or without a tag.
pub(crate) trait Measured: Copy {
    fn ts_us(&self) -> i64;
    fn value(&self) -> f64;
    fn quality(&self) -> u8;

    fn to_entry(&self) -> Entry {
        Entry { ts_us: self.ts_us(), value: self.value(), quality: self.quality() }
    }
}

macro_rules! measured {
    ($type:ty) => {
        impl Measured for $type {
            fn ts_us(&self) -> i64 {
                self.ts_us
            }

            fn value(&self) -> f64 {
                self.value
            }

            fn quality(&self) -> u8 {
                self.quality
            }
        }
    };
}

measured!(Entry);
measured!(Point);

/// Whether these are in order of time, each time once.
pub(crate) fn in_order(points: &[impl Measured]) -> bool {
    points.windows(2).all(|pair| pair[0].ts_us() < pair[1].ts_us())
}

/// Sorts by time and keeps, of those with one time, the last in the given order: the key rule.
pub(crate) fn last_write_wins<T: Measured>(points: &mut Vec<T>) {
    if in_order(points) {
        return;
    }
    // Stable: those of one time stay in the order of their acceptance.
    points.sort_by_key(T::ts_us);
    points.dedup_by(|later, kept| {
        let same = later.ts_us() == kept.ts_us();
        if same && !plant::on(Bug::F24) {
            *kept = *later;
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_shown_as_its_number() {
        assert_eq!(TagId::new(4_000_000_000).unwrap().to_string(), "4000000000");
    }

    #[test]
    fn the_stream_of_a_tag_never_changes() {
        let streams =
            |count| [1, 2, 3, 4, 5, 1000, u32::MAX].map(|tag| TagId::new(tag).unwrap().stream(count));
        assert_eq!(streams(1), [0; 7]);
        assert_eq!(streams(2), [1, 0, 1, 0, 0, 0, 1]);
        assert_eq!(streams(16), [9, 3, 13, 7, 1, 0, 14]);
    }

    /// The only places that are left out are those before the range and those behind it.
    #[test]
    fn a_place_overlaps_a_range_unless_it_ends_before_it_or_begins_behind_it() {
        let times = [i64::MIN, -2, -1, 0, 1, 2, i64::MAX];
        let bounds = |unbounded: i64, excluded: i64| {
            let bound = move |at: i64| {
                [
                    Some((Bound::Included(at), at)),
                    at.checked_add(excluded).map(|next| (Bound::Excluded(at), next)),
                ]
            };
            times.into_iter().flat_map(bound).flatten().chain([(Bound::Unbounded, unbounded)])
        };
        for (start, least) in bounds(i64::MIN, 1) {
            for (end, most) in bounds(i64::MAX, -1) {
                for (at, first) in times.into_iter().enumerate() {
                    for last in times[at..].iter().copied() {
                        let expected = least <= last && first <= most;
                        let found = overlaps(&(start, end), first, last);
                        assert_eq!(found, expected, "{first} to {last} in {start:?} to {end:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn points_are_equal_if_every_bit_is() {
        let point = Point { tag: 1, ts_us: 2, value: f64::NAN, quality: 3 };
        assert_eq!(point, point);
        let others = [
            Point { tag: 2, ..point },
            Point { ts_us: 3, ..point },
            Point { value: -f64::NAN, ..point },
            Point { quality: 4, ..point },
        ];
        others.iter().for_each(|other| assert_ne!(point, *other));
        assert_ne!(Point::new(1, 2, 0.0), Point::new(1, 2, -0.0));
    }

    #[test]
    fn the_last_entry_of_a_time_wins_and_times_come_out_in_order() {
        let entry = |ts_us, value| Entry { ts_us, value, quality: 0 };
        let mut entries =
            vec![entry(5, 1.0), entry(i64::MIN, 2.0), entry(5, 3.0), entry(i64::MAX, 4.0), entry(5, 5.0)];
        last_write_wins(&mut entries);
        let kept: Vec<_> = entries.iter().map(|entry| (entry.ts_us, entry.value)).collect();
        assert_eq!(kept, [(i64::MIN, 2.0), (5, 5.0), (i64::MAX, 4.0)]);
    }
}
