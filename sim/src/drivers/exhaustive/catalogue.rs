//! Which stories are explored: all short ones, and of the longer ones those in which the log rotates, a chunk is sealed and
//! the store is opened again.

use super::explore::{Explorer, Tally};
use super::story::{CrashPoint, Deaf, Duty, Geometry, Listener, Op, Play, Story};
use crate::choice::{Chooser, Concern, Tape};
use crate::disk::{Persistence, Profile};
use crate::drivers::{Driver, Step, watched};
use crate::model::{Verdict, Violation};
use crate::runner::cpu_seconds;
use crate::scenario::Setting;
use crate::timeline::Timeline;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tidewall::plant::Bug;

/// How far the explorer goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Operations of the longer stories.
    pub ops: usize,
    /// Every story of this many operations and fewer is explored, whatever it is.
    pub short: usize,
    /// Number of longer stories.
    pub stories: usize,
    /// Crashes inside recoveries, one in the other.
    pub depth: u32,
    /// Which disk it is; one that can be decided piece by piece.
    pub persistence: Persistence,
    /// What the engine takes for the sectors of that disk, in bytes.
    pub sector_bytes: u64,
    /// A planted bug in the engine.
    pub plant: Option<Bug>,
    /// Different crashes that are remembered of stories that begin alike, at most; a hundred bytes each, for each thread.
    pub crash_states: usize,
    /// Threads.
    pub jobs: NonZero<usize>,
}

/// Different crashes that are remembered if nobody says otherwise: the default certificate's largest group has far fewer, and
/// this many take less than a gigabyte for each thread.
pub const CRASH_STATES: usize = 4 << 20;

/// A crash after which a promise is broken.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The operations before it.
    pub story: Story,
    /// What broke.
    pub violation: Violation,
    /// The decisions that lead there: the `exhaustive` driver replays them.
    pub tape: Tape,
    /// It has done so, and found the same.
    pub replays: bool,
}

/// What was explored, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Certificate {
    /// Stories explored.
    pub stories: u64,
    /// Operations in them of which each crash point was explored.
    pub operations: u64,
    /// Places in them where the power could fail: before each changing I/O, and after each call.
    pub crash_points: u64,
    /// Those that stand for all others.
    pub explored_points: u64,
    /// What the explorers did.
    pub tally: Tally,
    /// The first broken promise in the order of the stories.
    pub counterexample: Option<Counterexample>,
    /// Stories whose crashes are more than are remembered, and so were not all explored.
    pub unfinished: Vec<Story>,
    /// Wall-clock time.
    pub seconds: f64,
    /// Processor time of the process meanwhile, all threads.
    pub cpu_seconds: f64,
}

impl Certificate {
    fn add(&mut self, other: Certificate) {
        self.stories += other.stories;
        self.operations += other.operations;
        self.crash_points += other.crash_points;
        self.explored_points += other.explored_points;
        self.tally.add(other.tally);
        self.counterexample = self.counterexample.take().or(other.counterexample);
        self.unfinished.extend(other.unfinished);
    }
}

/// A story, and from which step on its crashes are explored: 0 is the making of the store, 1 the first operation. The steps
/// before are those of another story.
struct Task {
    story: Story,
    from: usize,
}

/// Explores everything within the bounds, or up to the first broken promise. `tick` is told how many of how many stories
/// are done.
pub fn certify(bounds: &Bounds, tick: impl Fn(usize, usize) + Sync) -> Certificate {
    let begin = Instant::now();
    let cpu_begin = cpu_seconds();
    // A group shares what its explorer has seen. Groups are fixed, so that what is counted does not depend on which thread
    // takes which.
    let groups = groups(bounds);
    let total = groups.iter().map(Vec::len).sum();
    let (next, done, found) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let results = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(group) = groups.get(index).filter(|_| index < found.load(Ordering::Relaxed)) else {
                break;
            };
            let mut own = Certificate::default();
            let geometry = group[0].story.geometry;
            let explorer = Explorer::new(geometry.config(), bounds.persistence, bounds.depth);
            let mut explorer = explorer.limit(bounds.crash_states);
            for task in group {
                own.counterexample = explore(task, &mut explorer, bounds, &mut own);
                tick(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                if own.counterexample.is_some() {
                    found.fetch_min(index, Ordering::Relaxed);
                }
                if own.counterexample.is_some() || !own.unfinished.is_empty() {
                    break;
                }
            }
            own.tally = explorer.tally;
            results.lock().push((index, own));
        }
    };
    std::thread::scope(|scope| {
        (0..bounds.jobs.get()).for_each(|_| {
            scope.spawn(work);
        });
    });
    let mut certificate = Certificate::default();
    let mut results = results.into_inner();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().for_each(|(_, own)| certificate.add(own));
    certificate.seconds = begin.elapsed().as_secs_f64();
    certificate.cpu_seconds = cpu_seconds() - cpu_begin;
    certificate
}

/// Explores a story. What was counted is added to the certificate.
fn explore(
    task: &Task,
    explorer: &mut Explorer,
    bounds: &Bounds,
    certificate: &mut Certificate,
) -> Option<Counterexample> {
    let story = &task.story;
    let mut hunt = Hunt { explorer, disk: bounds.persistence, explored_points: 0, last: None };
    let mut play = Play::new(story.geometry, bounds.persistence, 0, bounds.plant, Timeline::default());
    let (mut told, mut skipped) = (0, 0);
    let ended = watched(bounds.plant, || {
        for step in 0..=story.ops.len() {
            if step == task.from {
                skipped = play.changes();
            }
            let listener: &mut dyn Listener = if step < task.from { &mut Deaf } else { &mut hunt };
            told = step;
            match step {
                0 => play.begin(listener)?,
                _ => play.perform(story.ops[step - 1], listener)?,
            }
        }
        Ok(())
    });
    play.end();
    let explored = (told + 1 - task.from) as u64;
    certificate.stories += 1;
    certificate.operations += explored;
    certificate.crash_points += play.changes() - skipped + explored;
    certificate.explored_points += hunt.explored_points;
    let violation = ended.err()?;
    if violation.verdict == Verdict::NotMeasured {
        certificate.unfinished.push(story.clone());
        return None;
    }
    // The story up to the crash, and nothing else.
    let told = Story { ops: story.ops[..told].to_vec(), ..story.clone() };
    let mut tape = told.tape();
    tape.of_mut(Concern::Crash).push(hunt.last.unwrap_or(0) as u32);
    tape.append(&hunt.explorer.trail());
    let setting = Setting {
        driver: Driver::Exhaustive,
        profile: Profile::Exactly(bounds.persistence),
        sector_bytes: Some(bounds.sector_bytes),
        plant: bounds.plant,
        ..Setting::default()
    };
    let again = super::run(Chooser::from_tape(tape.clone()), setting).violation;
    let replays =
        again.is_some_and(|again| (again.verdict, again.promise) == (violation.verdict, violation.promise));
    Some(Counterexample { story: told, violation, tape, replays })
}

/// Explores each crash point of a story.
struct Hunt<'a> {
    explorer: &'a mut Explorer,
    disk: Persistence,
    explored_points: u64,
    /// The crash point that is being explored.
    last: Option<u64>,
}

impl Listener for Hunt<'_> {
    fn could_crash(&mut self, at: CrashPoint, duty: &Duty) -> Step {
        self.explored_points += 1;
        self.last = Some(at.change);
        self.explorer.explore(&at.snapshot.crash(self.disk), duty)?;
        self.last = None;
        Ok(())
    }
}

/// The stories, in groups that begin alike; the shortest first, because their counterexamples are the best ones.
fn groups(bounds: &Bounds) -> Vec<Vec<Task>> {
    let geometry = Geometry { sector_bytes: bounds.sector_bytes, ..Geometry::default() };
    let mut short: BTreeMap<(usize, Vec<Op>), Vec<Task>> = BTreeMap::new();
    let mut stories: Vec<Vec<Op>> = vec![Vec::new()];
    for length in 0..=bounds.short {
        for ops in &stories {
            let task = Task { story: Story { geometry, ops: ops.clone() }, from: length };
            let begin = ops.iter().copied().take(length.saturating_sub(1).min(2)).collect();
            short.entry((length, begin)).or_default().push(task);
        }
        let longer = |ops: Vec<Op>| Op::ALL.map(|(_, op)| [&ops[..], &[op]].concat());
        stories = stories.into_iter().flat_map(longer).collect();
    }
    let mut chooser = Chooser::from_seed(0);
    let long = (0..bounds.stories).map(|_| vec![Task { story: long_story(&mut chooser, bounds), from: 0 }]);
    short.into_values().chain(long).collect()
}

/// A story with a rotation, the sealing of a chunk and a restart, in any order, among other operations.
fn long_story(chooser: &mut Chooser, bounds: &Bounds) -> Story {
    let ops = bounds.ops;
    let any = Op::ALL.map(|(_, op)| op);
    let mut story: Vec<Op> = (0..ops).map(|_| chooser.pick(Concern::Ops, &any)).collect();
    let restart = chooser.pick(Concern::Ops, &[Op::Reopen, Op::Kill, Op::Cut]);
    let mut places: Vec<usize> = (0..ops).collect();
    for op in [Op::Rotate, Op::SealChunk, restart] {
        if !places.is_empty() {
            story[places.swap_remove(chooser.below(Concern::Ops, places.len() as u32) as usize)] = op;
        }
    }
    let geometry = Geometry {
        sector_bytes: bounds.sector_bytes,
        two_streams: chooser.below(Concern::Shape, 2) == 1,
        staged: chooser.below(Concern::Shape, 2) == 1,
    };
    Story { geometry, ops: story }
}
