//! What each thread was told, and when: the oracle of concurrent runs.
//!
//! Every call has a beginning and, if it returned while the power was on, an end, on one clock that counts events. Of two
//! accepted points of a tag the one whose call ended before the other's began *precedes* it. A **view** - what a query
//! answers, what a recovery finds - is judged by that order alone:
//!
//! * it shows nothing that was not written, and nothing that was refused;
//! * it shows every point that it owes (those accepted before the query began, those acked before the crash), or another
//!   one of the same key that does not precede it;
//! * whatever precedes a point that it shows is shown as well: of a tag a prefix, for readers and for crashes alike (I2).
//!
//! Each key (tag, time) is a register, and all queries of a life must agree on one order of its writes, and the recovery after it
//! with them where all of these were acked: [`register`] checks it exactly (Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 1997).

use crate::blind::{self, Blind};
use crate::model::{Verdict, Violation, Witness};
use std::collections::BTreeMap;
use std::fmt;
use tidewall::QUALITY_GOOD;

/// What was written: the bits of a number that no other point of the run has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(u64);

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value(value.to_bits())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from_bits(self.0))
    }
}

/// Values by time.
pub(super) type View = BTreeMap<i64, Value>;

/// What an answer shows of a tag: points as (tag, time, value, quality), since two builds of the engine give them.
///
/// # Errors
/// The violation, if they are not points of this tag, of the quality that all have here, in order of time and each time once.
pub(super) fn view(tag: u32, points: impl Iterator<Item = (u32, i64, f64, u8)>) -> Result<View, Violation> {
    let mut view = View::new();
    for (of, ts_us, value, quality) in points {
        let follows = view.last_key_value().is_none_or(|(last, _)| *last < ts_us);
        if of != tag || quality != QUALITY_GOOD || !follows {
            let story = format!(
                "an answer for tag {tag} has behind {:?} a point {value} of tag {of} at {ts_us}, of quality {quality}",
                view.last_key_value()
            );
            return Err(Violation::new(Verdict::Invented, "I5", story));
        }
        view.insert(ts_us, value.into());
    }
    Ok(view)
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not known: the power failed, or the error allows both.
    InDoubt,
    Accepted,
    Refused,
}

/// One point of one write call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub(super) tag: u32,
    pub(super) ts_us: i64,
    pub(super) value: Value,
    /// The call, and the point's place in it.
    pub(super) call: u32,
    pub(super) index: u32,
    pub(super) begin: u64,
    /// `u64::MAX` while it has not ended.
    pub(super) end: u64,
    pub(super) fate: Fate,
    /// It must survive.
    pub(super) acked: bool,
}

impl Write {
    fn precedes(&self, other: &Write) -> bool {
        (self.fate == Fate::Accepted && self.end < other.begin)
            || (self.call == other.call && self.index < other.index)
    }
}

/// One answer of a query.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) tag: u32,
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) view: View,
}

/// One answer of `latest`.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) tag: u32,
    pub(super) begin: u64,
    pub(super) point: Option<(i64, Value)>,
}

/// One tag in one life of the machine.
pub(super) struct TagHistory<'a> {
    pub(super) tag: u32,
    /// What recovery had found.
    pub(super) base: &'a View,
    /// In the order of their beginnings.
    pub(super) writes: Vec<&'a Write>,
}

impl TagHistory<'_> {
    /// Judges a view that owes the writes for which `owed` is true.
    pub(super) fn judge(
        &self,
        view: &View,
        owed: impl Fn(&Write) -> bool,
        what: &str,
    ) -> Result<(), Violation> {
        let by_value: BTreeMap<Value, &Write> =
            self.writes.iter().map(|write| (write.value, *write)).collect();
        let tag = self.tag;
        let fail = |verdict, promise, ts_us: &i64, story: String| {
            let violation = Violation::new(verdict, promise, format!("tag {tag}, {what}: {story}"));
            Err(violation.about(Witness::Point { tag, ts_us: *ts_us, count: 1, call: None, seen: None }))
        };
        let mut shown: Vec<&Write> = Vec::new();
        for (ts_us, value) in view {
            match by_value.get(value) {
                Some(write) if write.ts_us == *ts_us && write.fate != Fate::Refused => shown.push(write),
                Some(write) if write.fate == Fate::Refused => {
                    return fail(
                        Verdict::Invented,
                        "refusals",
                        ts_us,
                        format!("point {value:?} at {ts_us} was refused"),
                    );
                }
                None if self.base.get(ts_us) == Some(value) || blind::on(Blind::AcceptsInvention) => {}
                _ => {
                    let story = format!("nobody wrote point {value:?} at {ts_us}");
                    return fail(Verdict::Invented, "I5", ts_us, story);
                }
            }
        }
        for (ts_us, value) in self.base {
            if !view.contains_key(ts_us) {
                return fail(
                    Verdict::Lost,
                    "I2",
                    ts_us,
                    format!("point {value:?} at {ts_us}, there before, is gone"),
                );
            }
        }
        // Whatever ended before the latest beginning among the shown ones must be there, and in a call what comes first.
        let latest = shown.iter().map(|write| write.begin).max().unwrap_or(0);
        let mut last_in_call: BTreeMap<u32, u32> = BTreeMap::new();
        for write in &shown {
            let last = last_in_call.entry(write.call).or_default();
            *last = write.index.max(*last);
        }
        for write in &self.writes {
            let owes = owed(write);
            let before = (write.fate == Fate::Accepted && write.end < latest)
                || last_in_call.get(&write.call).is_some_and(|last| write.index < *last);
            if write.fate == Fate::Refused || !(owes || before) {
                continue;
            }
            let there = view.get(&write.ts_us).is_some_and(|value| match by_value.get(value) {
                Some(other) => other.value == write.value || !other.precedes(write),
                None => false,
            });
            if !there && !blind::on(Blind::AcceptsLoss) {
                let found = view.get(&write.ts_us);
                let why = if owes { "it was owed" } else { "a later point of the tag is there" };
                let promise = if owes { "accepted points are visible, acked ones survive" } else { "I2" };
                let story = format!(
                    "point {:?} at {} is not there (found {found:?}), though {why}",
                    write.value, write.ts_us
                );
                let violation = fail(Verdict::Lost, promise, &write.ts_us, story);
                let call = Some(u64::from(write.call));
                let witness = Witness::Point { tag, ts_us: write.ts_us, count: 1, call, seen: None };
                return violation.map_err(|violation| violation.about(witness));
            }
        }
        Ok(())
    }

    /// Judges an answer of `latest`: no point that was there before it was asked for is later, and it is a point that was written, and
    /// not overwritten before that.
    pub(super) fn judge_latest(&self, latest: &Latest) -> Result<(), Violation> {
        let before = || self.writes.iter().filter(|write| write.end < latest.begin);
        let owed = before().map(|write| write.ts_us).chain(self.base.keys().copied()).max();
        if latest.point.map(|(ts_us, _)| ts_us) < owed && !blind::on(Blind::AcceptsLoss) {
            let story = format!(
                "tag {}: the latest point is {:?}, there was one at {owed:?}",
                self.tag, latest.point
            );
            return Err(Violation::new(Verdict::Lost, "accepted points are visible", story));
        }
        let Some((ts_us, value)) = latest.point else { return Ok(()) };
        let of_key = || before().filter(|write| write.ts_us == ts_us);
        let written = self.writes.iter().find(|write| write.value == value && write.ts_us == ts_us);
        let may_be = match written {
            Some(own) => own.fate != Fate::Refused && !of_key().any(|other| own.precedes(other)),
            None => self.base.get(&ts_us) == Some(&value) && of_key().next().is_none(),
        };
        if may_be || blind::on(Blind::AcceptsInvention) {
            return Ok(());
        }
        let story = format!("tag {}: the latest point is {value:?} at {ts_us}, which it cannot be", self.tag);
        Err(Violation::new(Verdict::Invented, "I5", story))
    }

    /// Whether one order of the writes of each key explains all the answers, and what was `recovered`: where all writes are
    /// acked none may be missing from it, so it is one more answer, later than all others.
    pub(super) fn registers(&self, reads: &[&Read], recovered: &View) -> Result<(), Violation> {
        let mut keys: BTreeMap<i64, Vec<&Write>> = BTreeMap::new();
        for write in self.writes.iter().filter(|write| write.fate != Fate::Refused) {
            keys.entry(write.ts_us).or_default().push(write);
        }
        for (ts_us, writes) in keys {
            if writes.len() + usize::from(self.base.contains_key(&ts_us)) < 2 && reads.len() < 2 {
                continue;
            }
            let initial = self.base.get(&ts_us).copied();
            let mut reads: Vec<_> =
                reads.iter().map(|read| (read.begin, read.end, read.view.get(&ts_us).copied())).collect();
            if writes.iter().all(|write| write.acked) && !blind::on(Blind::AcceptsLoss) {
                reads.push((u64::MAX, u64::MAX, recovered.get(&ts_us).copied()));
            }
            if let Err(why) = register(initial, &writes, &reads) {
                let story = format!(
                    "tag {}: no order of the writes of time {ts_us} explains the answers: {why}",
                    self.tag
                );
                return Err(Violation::new(Verdict::Lost, "each key is a register", story));
            }
        }
        Ok(())
    }
}

/// Whether reads (begin, end, value) and writes of one register, each value written once, are linearizable.
///
/// A value's *zone* spans from the first end to the last beginning among its write and its reads. Where the end comes
/// first (forward), the register held the value all that time; two such zones must not overlap, and a value whose zone is
/// the other way round must find a moment outside of them.
pub(super) fn register(
    initial: Option<Value>,
    writes: &[&Write],
    reads: &[(u64, u64, Option<Value>)],
) -> Result<(), String> {
    let mut zones: BTreeMap<Option<Value>, (u64, u64, u64)> = BTreeMap::new();
    // Written before everything.
    zones.insert(initial, (0, 0, 0));
    for write in writes {
        let seen = reads.iter().any(|(_, _, value)| *value == Some(write.value));
        if write.fate == Fate::Accepted || seen {
            let end = if write.fate == Fate::Accepted { write.end } else { u64::MAX };
            zones.insert(Some(write.value), (end, write.begin, write.begin));
        }
    }
    for (begin, end, value) in reads {
        let Some((first_end, last_begin, written)) = zones.get_mut(value) else {
            return Err(format!("{value:?} was read and is no value of it"));
        };
        if *end < *written {
            return Err(format!("{value:?} was read before it was written"));
        }
        *first_end = (*end).min(*first_end);
        *last_begin = (*begin).max(*last_begin);
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, (first_end, last_begin, _)) in &zones {
        if first_end < last_begin {
            forward.push((*first_end, *last_begin, *value));
        } else {
            backward.push((*last_begin, *first_end, *value));
        }
    }
    forward.sort_unstable();
    for pair in forward.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!("both {:?} and {:?} were held at {}", pair[0].2, pair[1].2, pair[1].0));
        }
    }
    for (low, high, value) in backward {
        if let Some(zone) = forward.iter().find(|zone| zone.0 < low && high < zone.1) {
            return Err(format!("{value:?} has no moment between {low} and {high}: {:?} was held", zone.2));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u32, begin: u64, end: u64) -> Write {
        let (tag, ts_us, call, index) = (1, 0, value, 0);
        Write {
            tag,
            ts_us,
            value: f64::from(value).into(),
            call,
            index,
            begin,
            end,
            fate: Fate::Accepted,
            acked: false,
        }
    }

    fn holds(writes: &[Write], reads: &[(u64, u64, Option<u32>)]) -> bool {
        let value = |value: u32| f64::from(value).into();
        let reads: Vec<_> = reads.iter().map(|(begin, end, read)| (*begin, *end, read.map(value))).collect();
        register(None, &writes.iter().collect::<Vec<_>>(), &reads).is_ok()
    }

    #[test]
    fn concurrent_writes_may_come_in_either_order_but_in_one_only() {
        let writes = [write(1, 10, 20), write(2, 12, 18)];
        assert!(holds(&writes, &[(30, 31, Some(1)), (32, 33, Some(1))]));
        assert!(holds(&writes, &[(30, 31, Some(2)), (32, 33, Some(2))]));
        assert!(!holds(&writes, &[(30, 31, Some(1)), (32, 33, Some(2))]));
        assert!(
            holds(&writes, &[(13, 31, Some(1)), (32, 33, Some(2))]),
            "the first may be over before the second write"
        );
    }

    #[test]
    fn a_recovery_keeps_the_order_that_queries_have_shown() {
        let mut writes = [write(1, 10, 20), write(2, 12, 18)];
        let shown = |value: u32| View::from([(0, f64::from(value).into())]);
        let read = Read { tag: 1, begin: 30, end: 31, view: shown(2) };
        let judge = |writes: &[Write], recovered| {
            let base = View::new();
            let history = TagHistory { tag: 1, base: &base, writes: writes.iter().collect() };
            history.registers(&[&read], &shown(recovered)).is_ok()
        };
        assert!(judge(&writes, 1), "the second need not survive");
        writes.iter_mut().for_each(|write| write.acked = true);
        assert!(judge(&writes, 2));
        assert!(!judge(&writes, 1), "the other order");
    }

    #[test]
    fn the_latest_point_is_one_that_was_there_and_none_that_was_there_is_later() {
        let mut writes = [write(1, 10, 20), write(2, 30, 40), write(3, 50, u64::MAX)];
        writes[2].ts_us = 7;
        writes[2].fate = Fate::InDoubt;
        let base = View::from([(-1, 100.0.into()), (0, 101.0.into())]);
        let history = TagHistory { tag: 1, base: &base, writes: writes.iter().collect() };
        let judge = |begin, point: Option<(i64, u32)>| {
            let point = point.map(|(ts_us, value)| (ts_us, f64::from(value).into()));
            history.judge_latest(&Latest { tag: 1, begin, point }).map_err(|violation| violation.verdict)
        };
        assert_eq!(
            [(5, 101), (15, 1), (15, 101), (45, 2)].map(|(at, value)| judge(at, Some((0, value)))),
            [Ok(()); 4]
        );
        assert_eq!(judge(55, Some((7, 3))), Ok(()), "it may have been accepted");
        assert_eq!(judge(5, None), Err(Verdict::Lost));
        assert_eq!(judge(5, Some((-1, 100))), Err(Verdict::Lost), "an earlier one");
        assert_eq!(judge(45, Some((0, 1))), Err(Verdict::Invented), "overwritten");
        assert_eq!(judge(25, Some((0, 101))), Err(Verdict::Invented), "overwritten since it was recovered");
        assert_eq!(judge(5, Some((3, 9))), Err(Verdict::Invented), "nobody's");
    }

    #[test]
    fn an_answer_is_of_its_tag_in_order_and_of_good_quality() {
        let judge = |points: &[(u32, i64, u8)]| {
            let points = points.iter().map(|(tag, ts_us, quality)| (*tag, *ts_us, 0.5, *quality));
            view(1, points).map(|view| view.len()).map_err(|violation| violation.verdict)
        };
        assert_eq!(judge(&[(1, 1, 192), (1, 2, 192)]), Ok(2));
        assert_eq!(judge(&[(1, 1, 192), (1, 1, 192)]), Err(Verdict::Invented), "twice");
        assert_eq!(judge(&[(1, 2, 192), (1, 1, 192)]), Err(Verdict::Invented), "out of order");
        assert_eq!(judge(&[(2, 1, 192)]), Err(Verdict::Invented), "of another tag");
        assert_eq!(judge(&[(1, 1, 193)]), Err(Verdict::Invented), "of another quality");
    }

    #[test]
    fn a_read_does_not_go_back_and_does_not_see_what_is_not_written_yet() {
        let writes = [write(1, 10, 20), write(2, 30, 40)];
        assert!(holds(&writes, &[(21, 22, Some(1)), (35, 36, Some(1)), (41, 42, Some(2))]));
        assert!(!holds(&writes, &[(41, 42, Some(1))]), "overwritten");
        assert!(!holds(&writes, &[(21, 22, None)]), "missed");
        assert!(!holds(&writes, &[(5, 6, Some(1))]), "from the future");
        assert!(!holds(&writes, &[(35, 36, Some(2)), (37, 38, Some(1))]), "back");
        assert!(!holds(&writes, &[(35, 36, Some(7))]), "invented");
    }

    #[test]
    fn a_view_is_a_prefix_and_shows_what_it_owes() {
        let mut writes = [write(1, 10, 20), write(2, 30, 40), write(3, 50, u64::MAX)];
        for (ts_us, write) in (0..).zip(&mut writes) {
            write.ts_us = ts_us;
        }
        writes[2].fate = Fate::InDoubt;
        let base = View::from([(-1, 100.0.into())]);
        let history = TagHistory { tag: 1, base: &base, writes: writes.iter().collect() };
        let judge = |shown: &[(i64, u32)], owed: u32| {
            let shown = shown.iter().copied().chain([(-1, 100)]);
            let view = shown.map(|(ts_us, value)| (ts_us, f64::from(value).into())).collect();
            history.judge(&view, |write| write.call <= owed, "").map_err(|violation| violation.verdict)
        };
        assert_eq!(judge(&[(0, 1), (1, 2), (2, 3)], 2), Ok(()));
        assert_eq!(judge(&[(0, 1)], 1), Ok(()));
        assert_eq!(judge(&[], 0), Ok(()));
        assert_eq!(judge(&[(1, 2)], 0), Err(Verdict::Lost), "a hole");
        assert_eq!(judge(&[(0, 1)], 2), Err(Verdict::Lost), "owed");
        assert_eq!(judge(&[(0, 9)], 0), Err(Verdict::Invented));
        assert_eq!(judge(&[(1, 1)], 0), Err(Verdict::Invented), "at a wrong time");
        assert_eq!(history.judge(&View::new(), |_| false, "").map_err(|v| v.verdict), Err(Verdict::Lost));
    }
}
