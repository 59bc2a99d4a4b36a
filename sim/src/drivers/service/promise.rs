//! The oracle: which writes a key may show, as the clients know it.
//!
//! A key belongs to one client, which writes it again in later batches. Its history is the list of these writes, and
//! two marks go along it:
//!
//! ```text
//!   batch        2       5       6       9
//!   write     [ 2.09  | 5.00  | 6.03  | 9.06  ]
//!                        ▲ floor         ▲ sent
//! ```
//!
//! Everything up to the newest batch that was *sent* may be there. The *floor* must be there, or something later: it is
//! the last write of an acknowledged batch, or what a recovery has shown, for what a recovery shows is durable. A key
//! that shows something below its floor has lost a batch, or has had an old one applied a second time; what is not in
//! the history at all nobody wrote.

use crate::model::{Verdict, Violation, Witness};
use std::collections::BTreeMap;
use tidewall::Point;

const PROMISE: &str = "every acknowledged batch is there, exactly once in effect";

/// The value that says which write it is: 2,007.0625 is the third point of batch 7 of client 2.
pub fn value(client: u32, batch: u32, index: u32) -> f64 {
    assert!(batch < 1000 && index < 32, "each number has room beside the others");
    f64::from(client * 1000 + batch) + f64::from(index) / 32.0
}

/// One key's truth.
#[derive(Debug, Default)]
struct Key {
    client: u32,
    /// (batch, bits of the value), in the order of the batches.
    writes: Vec<(u32, u64)>,
    /// This many of them must have had their effect.
    floor: usize,
    /// The floor that acknowledgements alone have set.
    acked: usize,
}

/// All keys' truth.
#[derive(Debug, Default)]
pub struct Promise {
    keys: BTreeMap<(u32, i64), Key>,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    pub points: u64,
    pub acked: u64,
}

impl Promise {
    /// A client is about to send a batch for the first time.
    pub fn sent(&mut self, client: u32, batch: u32, points: &[Point]) {
        for point in points {
            let key = self.keys.entry((point.tag, point.ts_us)).or_default();
            assert!(key.writes.is_empty() || key.client == client, "a key belongs to one client");
            assert!(key.writes.last().is_none_or(|(last, _)| *last < batch), "a batch has a key once");
            key.client = client;
            key.writes.push((batch, point.value.to_bits()));
        }
    }

    /// A client has been told that a batch is durable.
    pub fn acknowledged(&mut self, points: &[Point]) {
        for point in points {
            let key = self.keys.get_mut(&(point.tag, point.ts_us)).expect("sent before");
            // One batch of a client is under way at a time, so this is the key's last write.
            key.acked = key.writes.len();
            key.floor = key.acked;
        }
    }

    /// Compares what a recovered store shows of all tags; from then on that is what must be there.
    ///
    /// # Errors
    /// The violation.
    pub fn recovered(&mut self, shown: &BTreeMap<u32, Vec<Point>>) -> Result<Checked, Violation> {
        let mut checked = Checked::default();
        let mut found = BTreeMap::new();
        for point in shown.values().flatten() {
            checked.points += 1;
            if !self.keys.contains_key(&(point.tag, point.ts_us)) {
                let story = format!(
                    "tag {} shows {} at {}, a key that nobody wrote",
                    point.tag, point.value, point.ts_us
                );
                return Err(Violation::new(Verdict::Invented, PROMISE, story));
            }
            if found.insert((point.tag, point.ts_us), *point).is_some() {
                let story = format!("tag {} has {} twice in one answer", point.tag, point.ts_us);
                return Err(Violation::new(Verdict::Invented, PROMISE, story));
            }
        }
        for ((tag, ts_us), key) in &mut self.keys {
            checked.acked += u64::from(key.acked > 0);
            let seen = match found.get(&(*tag, *ts_us)) {
                None => 0,
                Some(point) => {
                    let is_it = |(_, bits): &(u32, u64)| *bits == point.value.to_bits();
                    let seen = key.writes.iter().position(is_it).map(|at| at + 1);
                    seen.filter(|_| point.quality == tidewall::QUALITY_GOOD).ok_or_else(|| {
                        let story = format!("tag {tag} shows {point:?}, which nobody wrote");
                        Violation::new(Verdict::Invented, PROMISE, story)
                    })?
                }
            };
            if seen < key.floor {
                return Err(key.lost(*tag, *ts_us, seen));
            }
            key.floor = seen;
        }
        Ok(checked)
    }
}

impl Key {
    fn lost(&self, tag: u32, ts_us: i64, seen: usize) -> Violation {
        let (wanted, _) = self.writes[self.floor - 1];
        let why = if self.acked == self.floor { "was acknowledged" } else { "an earlier recovery had shown" };
        let shows = match seen {
            0 => "is gone".into(),
            seen => format!("shows batch {} again", self.writes[seen - 1].0),
        };
        let story = format!("tag {tag} at {ts_us} {shows}: batch {wanted} of client {} {why}", self.client);
        Violation::new(Verdict::Lost, PROMISE, story).about(Witness::Point {
            tag,
            ts_us,
            count: 1,
            call: None,
            seen: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(batch: u32) -> Point {
        Point::new(7, 1, value(0, batch, 0))
    }

    fn shown(points: &[Point]) -> BTreeMap<u32, Vec<Point>> {
        BTreeMap::from([(7, points.to_vec())])
    }

    /// Batches 1 and 2 are acknowledged, batch 3 is under way; all of them write one key.
    fn promise() -> Promise {
        let mut promise = Promise::default();
        for batch in 1..=3 {
            promise.sent(0, batch, &[point(batch)]);
            if batch < 3 {
                promise.acknowledged(&[point(batch)]);
            }
        }
        promise
    }

    #[test]
    fn what_was_acknowledged_or_came_later_is_fine() {
        for batch in [2, 3] {
            let checked = promise().recovered(&shown(&[point(batch)])).unwrap();
            assert_eq!((checked.points, checked.acked), (1, 1));
        }
    }

    #[test]
    fn loss_an_old_batch_and_invention_are_named() {
        let verdict = |points: &[Point]| promise().recovered(&shown(points)).unwrap_err().verdict;
        assert_eq!(verdict(&[]), Verdict::Lost);
        assert_eq!(verdict(&[point(1)]), Verdict::Lost, "an old batch is back");
        assert_eq!(verdict(&[point(4)]), Verdict::Invented, "a batch that was never sent");
        assert_eq!(verdict(&[point(2), Point::new(7, 2, 0.0)]), Verdict::Invented, "a key that nobody wrote");
    }

    #[test]
    fn what_a_recovery_has_shown_must_stay() {
        let mut promise = promise();
        promise.recovered(&shown(&[point(3)])).unwrap();
        assert_eq!(promise.recovered(&shown(&[point(2)])).unwrap_err().verdict, Verdict::Lost);
    }
}
