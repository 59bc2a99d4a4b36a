//! The oracle: what a store must, may and must not show.
//!
//! Per tag there is a history of accepted points. What a successful `sync`, `flush` or `close` covered is *acked*: it must
//! survive. What came after is *maybe*: after a crash any prefix of it may be there, applied to what was acked (I2).
//! Everything else is *never*: a value that was not written, or one that was overwritten before the state that must
//! survive (I5). A refused write is never accepted.

use crate::blind::{self, Blind};
use std::fmt;
use tidewall::Point;
use xxhash_rust::xxh3::Xxh3;

/// How a run, or one check in it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Verdict {
    /// Every promise held.
    Survived,
    /// Something that had to be there was not, or was not what it had to be.
    Lost,
    /// Something was there that nobody wrote, or that had been overwritten.
    Invented,
    /// A call failed, panicked, did not end or broke its contract although nothing on the disk was wrong.
    Stuck,
    /// What should have been tried was not tried.
    NotMeasured,
    /// The test bed itself went wrong.
    HarnessBroken,
}

impl Verdict {
    /// The verdict of a run: that of its violation; without one, `NotMeasured` if no store was opened after a crash or a kill.
    pub(crate) fn of_run(violation: Option<&Violation>, recoveries: u64) -> Verdict {
        match violation {
            Some(violation) => violation.verdict,
            None if recoveries == 0 => Verdict::NotMeasured,
            None => Verdict::Survived,
        }
    }

    /// A promise of the store broke. Otherwise all held, or nothing is known of it.
    pub fn is_broken_promise(self) -> bool {
        matches!(self, Verdict::Lost | Verdict::Invented | Verdict::Stuck)
    }

    /// The exit status that says so: 0 all held, 1 a promise broke, 2 nothing is known.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Survived => 0,
            verdict if verdict.is_broken_promise() => 1,
            _ => 2,
        }
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of this kind.
    pub verdict: Verdict,
    /// The promise, as `lib.rs` numbers them, or the call whose contract it is.
    pub promise: &'static str,
    /// What was seen and what was promised.
    pub story: String,
    /// What the story is about, where that can be pointed at.
    pub witness: Option<Witness>,
}

/// What a broken promise was about: where to look for the moment at which it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A point, the first of this many that are gone or are not what they must be.
    Point {
        /// Whose.
        tag: u32,
        /// Its time, µs.
        ts_us: i64,
        /// How many.
        count: u64,
        /// The call that wrote it, as the record numbers them, where that is known.
        call: Option<u64>,
        /// The call that should have shown it, where it was not seen in a recovery.
        seen: Option<u64>,
    },
    /// Bytes on the disk.
    Place {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
    },
    /// A position of the log that was called durable, and the one where it ends now.
    Position {
        /// Called durable.
        durable: u64,
        /// There.
        found: u64,
    },
}

impl Witness {
    /// Where damage was found.
    pub fn place(damage: &tidewall::Corruption) -> Witness {
        Witness::Place { file: damage.file.clone(), offset: damage.offset }
    }
}

impl Violation {
    /// A broken promise.
    pub fn new(verdict: Verdict, promise: &'static str, story: impl Into<String>) -> Violation {
        Violation { verdict, promise, story: story.into(), witness: None }
    }

    /// The same, with what it is about.
    pub fn about(self, witness: Witness) -> Violation {
        Violation { witness: Some(witness), ..self }
    }

    /// The same, seen by a call of this number in the record.
    pub fn seen_by(mut self, number: u64) -> Violation {
        if let Some(Witness::Point { seen, .. }) = &mut self.witness {
            *seen = Some(number);
        }
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {}", self.verdict, self.promise, self.story)
    }
}

/// Value bits and quality.
type Cell = (u64, u8);

fn cell(point: &Point) -> Cell {
    (point.value.to_bits(), point.quality)
}

/// A state of a tag: cells by time. A sorted vector, because most points come in order and states are copied a lot.
#[derive(Clone, Debug, Default)]
struct State(Vec<(i64, Cell)>);

impl State {
    /// Returns what was there.
    fn insert(&mut self, ts_us: i64, cell: Cell) -> Option<Cell> {
        if self.0.last().is_none_or(|(last, _)| *last < ts_us) {
            self.0.push((ts_us, cell));
            return None;
        }
        match self.0.binary_search_by_key(&ts_us, |(at, _)| *at) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, cell)),
            Err(at) => {
                self.0.insert(at, (ts_us, cell));
                None
            }
        }
    }

    fn get(&self, ts_us: i64) -> Option<Cell> {
        self.0.binary_search_by_key(&ts_us, |(at, _)| *at).ok().map(|at| self.0[at].1)
    }

    fn range(&self, low: i64, high: i64) -> &[(i64, Cell)] {
        let start = self.0.partition_point(|(at, _)| *at < low);
        let end = self.0.partition_point(|(at, _)| *at <= high);
        self.0.get(start..end).unwrap_or_default()
    }
}

/// One tag's truth.
#[derive(Clone, Debug, Default)]
struct TagModel {
    /// The state after everything that was acked.
    acked: State,
    /// Accepted since, in order.
    maybe: Vec<(i64, Cell)>,
    /// The state after everything that was accepted: what queries must show.
    now: State,
    listed: bool,
}

/// All tags' truth.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Tag `n` is at `n - 1`.
    tags: Vec<TagModel>,
    /// Tags with something in `maybe`.
    unacked: Vec<u32>,
    /// Points accepted so far.
    pub accepted: u64,
}

impl Model {
    /// The truth of an empty store with tags `1..=tags`.
    pub fn new(tags: u32) -> Model {
        Model { tags: vec![TagModel::default(); tags as usize], ..Model::default() }
    }

    /// The tags that there may be.
    pub fn all_tags(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.tags.len() as u32
    }

    /// Tags that must be listed now.
    pub fn tags(&self) -> Vec<u32> {
        self.all_tags().filter(|tag| !self.tag(*tag).now.0.is_empty()).collect()
    }

    fn tag(&self, tag: u32) -> &TagModel {
        &self.tags[tag as usize - 1]
    }

    /// A point was accepted.
    pub fn accept(&mut self, point: &Point) {
        let model = &mut self.tags[point.tag as usize - 1];
        model.maybe.push((point.ts_us, cell(point)));
        model.now.insert(point.ts_us, cell(point));
        if !std::mem::replace(&mut model.listed, true) {
            self.unacked.push(point.tag);
        }
        self.accepted += 1;
    }

    /// Everything accepted so far must survive from now on.
    pub fn ack(&mut self) {
        self.ack_where(|_| true);
    }

    /// Everything accepted so far of the tags that `acked` names must survive from now on.
    pub fn ack_where(&mut self, acked: impl Fn(u32) -> bool) {
        let tags = &mut self.tags;
        self.unacked.retain(|tag| {
            if !acked(*tag) {
                return true;
            }
            let model = &mut tags[*tag as usize - 1];
            model.listed = false;
            for (ts_us, cell) in model.maybe.drain(..) {
                model.acked.insert(ts_us, cell);
            }
            false
        });
    }

    /// The same for two truths that ask the same of a recovery; but for a collision of 128 bits.
    pub fn digest(&self) -> u128 {
        let mut hash = Xxh3::new();
        let mut add = |cells: &[(i64, Cell)]| {
            hash.update(&(cells.len() as u64).to_le_bytes());
            for (ts_us, (bits, quality)) in cells {
                let mut bytes = [*quality; 17];
                bytes[..8].copy_from_slice(&ts_us.to_le_bytes());
                bytes[8..16].copy_from_slice(&bits.to_le_bytes());
                hash.update(&bytes);
            }
        };
        for tag in &self.tags {
            add(&tag.acked.0);
            add(&tag.maybe);
        }
        hash.digest128()
    }

    /// The tags of which [`ack_where`](Model::ack_where) would make points acked; `None` if that is all there are.
    pub fn acks(&self, acked: impl Fn(u32) -> bool) -> Option<Vec<u32>> {
        let tags: Vec<u32> = self.unacked.iter().copied().filter(|tag| acked(*tag)).collect();
        (tags.len() < self.unacked.len()).then_some(tags)
    }

    /// What a recovery owes of a tag: the points that must be there, by time, and those of which any prefix may be.
    pub fn owed(&self, tag: u32) -> (Vec<Point>, Vec<Point>) {
        let point = |(ts_us, (bits, quality)): &(i64, Cell)| Point {
            tag,
            ts_us: *ts_us,
            value: f64::from_bits(*bits),
            quality: *quality,
        };
        let model = self.tag(tag);
        (model.acked.0.iter().map(point).collect(), model.maybe.iter().map(point).collect())
    }

    /// Number of points that must survive.
    pub fn acked_points(&self) -> u64 {
        self.tags.iter().map(|tag| tag.acked.0.len() as u64).sum()
    }

    /// Number of the tag's points that may survive a crash and need not.
    pub fn maybes(&self, tag: u32) -> usize {
        self.tag(tag).maybe.len()
    }

    /// The points of a tag that a query of a running engine must give.
    pub fn range(&self, tag: u32, low: i64, high: i64) -> impl Iterator<Item = Point> + '_ {
        self.tag(tag).now.range(low, high).iter().map(move |(ts_us, (bits, quality))| Point {
            tag,
            ts_us: *ts_us,
            value: f64::from_bits(*bits),
            quality: *quality,
        })
    }

    /// Judges what a query of a running engine shows of a tag between two times, both inclusive.
    ///
    /// # Errors
    /// The violation, if it is not exactly what was accepted.
    pub fn shows(&self, tag: u32, (low, high): (i64, i64), found: &[Point]) -> Result<(), Violation> {
        if found.iter().copied().eq(self.range(tag, low, high)) || blind::on(Blind::IgnoresQueries) {
            return Ok(());
        }
        let wanted: Vec<_> = self.range(tag, low, high).collect();
        let has = |points: &[Point], point: &Point| {
            points.binary_search_by_key(&point.ts_us, |it| it.ts_us).is_ok_and(|at| points[at] == *point)
        };
        let missing: Vec<_> = wanted.iter().filter(|point| !has(found, point)).collect();
        let unknown = found.iter().find(|point| !has(&wanted, point));
        let first = missing.first().copied().or(unknown);
        let (ts_us, count) = (first.map_or(0, |point| point.ts_us), missing.len().max(1) as u64);
        let story =
            format!("tag {tag} in {low}..={high}: {} points, not the {} accepted", found.len(), wanted.len());
        let violation = match missing[..] {
            [] => Violation::new(Verdict::Invented, "I5", story),
            _ => Violation::new(Verdict::Lost, "accepted points are visible", story),
        };
        Err(violation.about(Witness::Point { tag, ts_us, count, call: None, seen: None }))
    }

    /// The first and the last time of a tag's points in a running engine.
    pub fn times(&self, tag: u32) -> Option<(i64, i64)> {
        let now = &self.tag(tag).now.0;
        Some((now.first()?.0, now.last()?.0))
    }

    /// How many of the tag's maybes a recovered state includes.
    ///
    /// # Errors
    /// The violation, if no prefix of them gives this state.
    pub fn judge(&self, tag: u32, found: &[Point]) -> Result<usize, Violation> {
        let model = self.tag(tag);
        if let Some(pair) = found.windows(2).find(|pair| pair[0].ts_us >= pair[1].ts_us) {
            let story = format!("tag {tag}: times {} and {} in one answer", pair[0].ts_us, pair[1].ts_us);
            return Err(Violation::new(Verdict::Invented, "I5", story));
        }
        if let Some(point) = found.iter().find(|point| point.tag != tag) {
            let story = format!("tag {tag}: a point of tag {} at {}", point.tag, point.ts_us);
            return Err(Violation::new(Verdict::Invented, "I5", story));
        }
        let found_at = |ts_us: i64| {
            found.binary_search_by_key(&ts_us, |point| point.ts_us).ok().map(|at| cell(&found[at]))
        };
        // The number of times at which the state differs from what was found, as the maybes are applied one by one.
        let mut differences = differences(found, &model.acked);
        let mut overlay = State(Vec::with_capacity(model.maybe.len()));
        let mut survived = (differences == 0).then_some(0);
        for (index, (ts_us, cell)) in model.maybe.iter().enumerate() {
            let here = found_at(*ts_us);
            let before = overlay.insert(*ts_us, *cell).or_else(|| model.acked.get(*ts_us));
            differences += usize::from(here != Some(*cell));
            differences -= usize::from(here != before);
            if differences == 0 {
                survived = Some(index + 1);
            }
        }
        survived.or_else(|| self.overlooked(tag, found)).ok_or_else(|| self.explain(tag, found))
    }

    /// The blind spots of this oracle: answers that it lets pass, if it has one.
    fn overlooked(&self, tag: u32, found: &[Point]) -> Option<usize> {
        let model = self.tag(tag);
        let written = |same: &dyn Fn(Cell, Cell) -> bool| {
            found.iter().all(|point| {
                let acked = model.acked.get(point.ts_us).into_iter();
                let maybe = model.maybe.iter().filter(|(ts_us, _)| *ts_us == point.ts_us);
                acked.chain(maybe.map(|(_, cell)| *cell)).any(|known| same(known, cell(point)))
            })
        };
        let is_there = |ts_us: i64| found.binary_search_by_key(&ts_us, |point| point.ts_us).is_ok();
        let all_there = || model.acked.0.iter().all(|(ts_us, _)| is_there(*ts_us));
        let overlooked = (blind::on(Blind::AcceptsLoss) && written(&|one, other| one == other))
            || (blind::on(Blind::AcceptsInvention) && all_there())
            || (blind::on(Blind::IgnoresOrder) && written(&|one, other| one == other) && all_there())
            || (blind::on(Blind::IgnoresValues) && written(&|_, _| true) && all_there())
            || (blind::on(Blind::IgnoresQuality) && written(&|one, other| one.0 == other.0) && all_there());
        overlooked.then_some(model.maybe.len())
    }

    /// Says what is wrong with a state that no prefix gives.
    fn explain(&self, tag: u32, found: &[Point]) -> Violation {
        let model = self.tag(tag);
        let written = |ts_us: i64, cell: Cell| {
            model.acked.get(ts_us) == Some(cell) || model.maybe.contains(&(ts_us, cell))
        };
        if let Some(point) = found.iter().find(|point| !written(point.ts_us, cell(point))) {
            let story = format!(
                "tag {tag} shows {:?} (bits {:#x}) of quality {} at {}, which is neither acked nor among the {} accepted since",
                point.value,
                point.value.to_bits(),
                point.quality,
                point.ts_us,
                model.maybe.len()
            );
            let witness = Witness::Point { tag, ts_us: point.ts_us, count: 1, call: None, seen: None };
            return Violation::new(Verdict::Invented, "I5", story).about(witness);
        }
        let is_there = |ts_us: i64| found.binary_search_by_key(&ts_us, |point| point.ts_us).is_ok();
        let missing: Vec<i64> = model.acked.0.iter().map(|(at, _)| *at).filter(|at| !is_there(*at)).collect();
        if let Some(first) = missing.first() {
            let story = format!(
                "tag {tag}: {} of {} acked points are gone, the first at {first}; {} found",
                missing.len(),
                model.acked.0.len(),
                found.len()
            );
            let witness =
                Witness::Point { tag, ts_us: *first, count: missing.len() as u64, call: None, seen: None };
            return Violation::new(Verdict::Lost, "I2", story).about(witness);
        }
        let story = format!(
            "tag {tag}: {} points found, which is what no prefix of the {} maybes gives on top of {} acked ones",
            found.len(),
            model.maybe.len(),
            model.acked.0.len()
        );
        Violation::new(Verdict::Lost, "I2", story)
    }

    /// The store was opened again and shows this of a tag; it is all durable now.
    pub fn recovered(&mut self, tag: u32, survived: usize) {
        let model = &mut self.tags[tag as usize - 1];
        let all = survived == model.maybe.len();
        for (ts_us, cell) in model.maybe.drain(..survived) {
            model.acked.insert(ts_us, cell);
        }
        if !all {
            model.maybe.clear();
            model.now.0.clone_from(&model.acked.0);
        }
        if std::mem::replace(&mut model.listed, false) {
            self.unacked.retain(|listed| *listed != tag);
        }
    }
}

/// Judges what a store lists as its tags after a recovery, when all of them were asked for and these have `shown` points.
///
/// # Errors
/// The violation, if it lists others.
pub(crate) fn lists(tags: &[u32], shown: &[u32]) -> Result<(), Violation> {
    if tags == shown || blind::on(Blind::AcceptsInvention) {
        return Ok(());
    }
    let lost = shown.iter().any(|tag| !tags.contains(tag));
    let (verdict, promise) = if lost { (Verdict::Lost, "I2") } else { (Verdict::Invented, "I5") };
    Err(Violation::new(verdict, promise, format!("tags {tags:?} are listed, {shown:?} have points")))
}

/// At how many times two states, both in order of time, differ.
fn differences(found: &[Point], state: &State) -> usize {
    let mut rest = found.iter().peekable();
    let mut same = 0;
    let mut both = 0;
    for (ts_us, wanted) in &state.0 {
        while rest.next_if(|point| point.ts_us < *ts_us).is_some() {}
        if let Some(point) = rest.next_if(|point| point.ts_us == *ts_us) {
            both += 1;
            same += usize::from(cell(point) == *wanted);
        }
    }
    found.len() + state.0.len() - both - same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(ts_us: i64, value: f64) -> Point {
        Point::new(1, ts_us, value)
    }

    /// Acked: (1, 1.0) and (2, 2.0). Maybe: (2, 20.0), then (3, 3.0), then (3, 30.0).
    fn model() -> Model {
        let mut model = Model::new(1);
        model.accept(&point(1, 1.0));
        model.accept(&point(2, 2.0));
        model.ack();
        for (ts_us, value) in [(2, 20.0), (3, 3.0), (3, 30.0)] {
            model.accept(&point(ts_us, value));
        }
        model
    }

    #[test]
    fn every_prefix_of_the_maybes_is_fine() {
        let model = model();
        let states: [(&[(i64, f64)], usize); 4] = [
            (&[(1, 1.0), (2, 2.0)], 0),
            (&[(1, 1.0), (2, 20.0)], 1),
            (&[(1, 1.0), (2, 20.0), (3, 3.0)], 2),
            (&[(1, 1.0), (2, 20.0), (3, 30.0)], 3),
        ];
        for (state, survived) in states {
            let found: Vec<_> = state.iter().map(|(ts_us, value)| point(*ts_us, *value)).collect();
            assert_eq!(model.judge(1, &found), Ok(survived));
        }
    }

    #[test]
    fn loss_invention_gaps_and_duplicates_are_named() {
        let model = model();
        let verdict = |state: &[(i64, f64)]| {
            let found: Vec<_> = state.iter().map(|(ts_us, value)| point(*ts_us, *value)).collect();
            model.judge(1, &found).unwrap_err().verdict
        };
        assert_eq!(verdict(&[(1, 1.0)]), Verdict::Lost, "an acked point is gone");
        assert_eq!(verdict(&[]), Verdict::Lost, "everything is gone");
        assert_eq!(
            verdict(&[(1, 1.0), (2, 2.0), (3, 3.0)]),
            Verdict::Lost,
            "the second maybe without the first"
        );
        assert_eq!(verdict(&[(1, 1.0), (2, 7.0)]), Verdict::Invented, "a value that nobody wrote");
        assert_eq!(verdict(&[(1, 1.0), (2, 2.0), (9, 9.0)]), Verdict::Invented, "a time that nobody wrote");
        assert_eq!(verdict(&[(1, 1.0), (1, 1.0), (2, 2.0)]), Verdict::Invented, "a point twice");
    }

    #[test]
    fn points_of_another_tag_and_tags_without_points_are_invented() {
        let mut found = [point(1, 1.0), point(2, 2.0)];
        assert_eq!(model().judge(1, &found), Ok(0));
        found[1].tag = 2;
        assert_eq!(model().judge(1, &found).unwrap_err().verdict, Verdict::Invented);
        let verdict = |tags: &[u32], shown: &[u32]| lists(tags, shown).map_err(|violation| violation.verdict);
        assert_eq!(verdict(&[1, 3], &[1, 3]), Ok(()));
        assert_eq!(verdict(&[1, 3, 4], &[1, 3]), Err(Verdict::Invented));
        assert_eq!(verdict(&[1], &[1, 3]), Err(Verdict::Lost));
    }

    #[test]
    fn a_query_that_shows_too_much_is_told_from_one_that_shows_too_little() {
        let model = model();
        let all = [point(1, 1.0), point(2, 20.0), point(3, 30.0)];
        let verdict = |found: &[Point]| model.shows(1, (0, 9), found).map_err(|violation| violation.verdict);
        assert_eq!(verdict(&all), Ok(()));
        assert_eq!(verdict(&all[..2]), Err(Verdict::Lost));
        assert_eq!(verdict(&[&all[..], &[point(4, 4.0)]].concat()), Err(Verdict::Invented));
    }

    #[test]
    fn what_recovery_has_shown_must_stay() {
        let mut model = model();
        model.recovered(1, 1);
        assert!(model.judge(1, &[point(1, 1.0), point(2, 2.0)]).is_err());
        assert_eq!(model.judge(1, &[point(1, 1.0), point(2, 20.0)]), Ok(0));
        assert_eq!(model.range(1, i64::MIN, i64::MAX).count(), 2);
    }
}
