//! Encoded points of one tag: runs, one behind the other, as they went into the log.

use crate::codec::run::{Encoder, Run, Times};
use crate::point::{Entry, Measured, overlaps};
use std::ops::{Range, RangeBounds};

/// One run's place and times.
#[derive(Clone, Copy, Debug)]
struct RunAt {
    /// Behind its last byte.
    end: usize,
    min_ts: i64,
    max_ts: i64,
}

/// Points in the order in which they were accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    bytes: Vec<u8>,
    index: Vec<RunAt>,
    points: usize,
    /// Two points that follow each other are not in order of time. Once so, it stays so.
    unordered: bool,
    last_ts: i64,
}

impl Runs {
    pub(crate) fn points(&self) -> usize {
        self.points
    }

    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.index.len() * size_of::<RunAt>()
    }

    /// Every point is later than the one before.
    pub(crate) fn in_order(&self) -> bool {
        !self.unordered
    }

    /// Encodes points into a run behind the others.
    pub(crate) fn encode(&mut self, encoder: &mut Encoder, points: &[impl Measured]) {
        let steps = encoder.encode(&mut self.bytes, points);
        self.count(points.len(), steps.times(points));
    }

    /// Adds a run that is encoded already.
    pub(crate) fn push(&mut self, run: &Run) {
        self.bytes.extend_from_slice(run.bytes);
        self.count(run.count, run.times());
    }

    /// Adds some of another one's runs, from its first on, which are no longer there then. Order is kept only if all of it is
    /// in order: it is no more than a short cut.
    pub(crate) fn take_first(&mut self, other: &mut Runs, runs: usize) {
        let Some(last) = runs.checked_sub(1).map(|last| other.index[last]) else { return };
        let follows = self.points == 0 || self.last_ts < other.index[0].min_ts;
        self.unordered |= !follows || other.unordered;
        self.last_ts = last.max_ts;
        let points =
            if runs == other.len() { other.points } else { (0..runs).map(|at| other.get(at).count).sum() };
        self.points += points;
        other.points -= points;
        let from = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[..last.end]);
        self.index.extend(other.index.drain(..runs).map(|run| RunAt { end: from + run.end, ..run }));
        other.bytes.drain(..last.end);
        other.index.iter_mut().for_each(|run| run.end -= last.end);
    }

    fn count(&mut self, points: usize, times: Times) {
        let follows = self.points == 0 || self.last_ts < times.first;
        self.unordered |= !follows || !times.rising;
        self.last_ts = times.last;
        self.points += points;
        self.index.push(RunAt { end: self.bytes.len(), min_ts: times.min, max_ts: times.max });
    }

    /// Where run number `at` begins.
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.index[before].end)
    }

    pub(crate) fn get(&self, at: usize) -> Run<'_> {
        Run::split(&self.bytes[self.start(at)..self.index[at].end]).expect("only whole runs are added").0
    }

    /// The bytes of some of them.
    pub(crate) fn slice(&self, runs: Range<usize>) -> &[u8] {
        &self.bytes[self.start(runs.start)..self.start(runs.end)]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Run<'_>> {
        (0..self.index.len()).map(|at| self.get(at))
    }

    /// Whether some of them may be in `range`.
    pub(crate) fn overlaps(&self, range: &impl RangeBounds<i64>) -> bool {
        self.index.iter().any(|run| overlaps(range, run.min_ts, run.max_ts))
    }

    pub(crate) fn latest_ts(&self) -> Option<i64> {
        self.index.iter().map(|run| run.max_ts).max()
    }

    /// Calls `each` with the entries in `range`, in the order of their acceptance.
    pub(crate) fn for_each(&self, range: &impl RangeBounds<i64>, mut each: impl FnMut(Entry)) {
        for (at, run) in self.index.iter().enumerate() {
            // Looked at before its header is.
            if overlaps(range, run.min_ts, run.max_ts) {
                self.get(at).for_each_in(range, (run.min_ts, run.max_ts), &mut each);
            }
        }
    }
}
