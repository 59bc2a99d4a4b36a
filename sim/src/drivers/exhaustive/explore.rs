//! Every crash of a story, every image that may survive it, and every crash of the recovery from each.
//!
//! The tree is walked depth-first. A crash leaves sectors, names and lengths open; recovery decides those that it looks at,
//! one run for each way to decide them ([`Chooser::depth_first`]); what it never looked at it would have treated alike.
//! Before each sync of a recovery, and after its end, the power may fail again.
//!
//! Three things keep the tree small, and none of them leaves an image out:
//! - *Crash points before a sync stand for those before a write.* Whatever survives the latter may survive the former: the
//!   write that lies between is lost. Nothing is promised in between, since promises are made by calls that return. (Where a
//!   disk makes names durable at once, the points before each name are crash points of their own.)
//! - *What nobody reads is not decided*; see `disk/fates.rs`.
//! - *A state that was seen is not explored again*: the same media with the same open fates, and the same duties.
//!
//! Two things keep the memory small. The leaves of a crash are walked twice: first to learn all the states that they end in,
//! which is what a crash inside any of them must end in as well, and then, one leaf at a time, to crash inside it; so no more
//! disks are kept than the tree is deep, however many leaves a crash has. And of a crash that was explored two digests and
//! the states that it led to stay, and no more: some hundred bytes. Their number has a limit, [`Explorer::limit`]; a tree
//! that has more is not certified, and the certificate says so.

use super::story::{Duty, Shown, Survived, reopen};
use crate::choice::{Chooser, Concern, SharedChooser, Tape};
use crate::disk::{Crashed, Persistence, SimDisk};
use crate::model::{Verdict, Violation};
use crate::timeline::Timeline;
use num_bigint::BigUint;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tidewall::Config;

/// What a store shows after a recovery, in one number each.
type States = Arc<BTreeSet<u128>>;

/// What was explored.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Crashes with different media or different duties, those inside recoveries included.
    pub crash_states: u64,
    /// Crashes that were met again and not explored again.
    pub seen_again: u64,
    /// Images that may survive the first crash, each counted once for each different crash.
    pub images: BigUint,
    /// Those that may survive a crash inside a recovery, or after it.
    pub images_in_recovery: BigUint,
    /// Recoveries run.
    pub runs: u64,
    /// Points compared with what was owed.
    pub points_checked: u64,
    /// Of these, points that had to be there.
    pub acked_points_checked: u64,
    /// States that recoveries ended in.
    pub states: FxHashSet<u128>,
}

impl Tally {
    /// Adds what another explorer has done.
    pub fn add(&mut self, other: Tally) {
        self.crash_states += other.crash_states;
        self.seen_again += other.seen_again;
        self.images += other.images;
        self.images_in_recovery += other.images_in_recovery;
        self.runs += other.runs;
        self.points_checked += other.points_checked;
        self.acked_points_checked += other.acked_points_checked;
        self.states.extend(other.states);
    }
}

/// Walks the tree. What it has seen it remembers from one crash to the next, as long as the store's limits are the same.
pub struct Explorer {
    config: Config,
    persistence: Persistence,
    depth: u32,
    /// What it has explored so far.
    pub tally: Tally,
    seen: FxHashMap<(u128, u128), (u32, States)>,
    /// Verdicts by duty and state: many images lead to few states.
    judged: FxHashMap<(u128, u128), Survived>,
    /// Each set of states once: there are few, and many crashes lead to the same.
    known: BTreeSet<States>,
    limit: usize,
    /// The recoveries that the present one is inside of, outermost first.
    trail: Vec<Level>,
}

/// A recovery on the way to the present place in the tree.
struct Level {
    chooser: SharedChooser,
    /// Which of its changing I/Os the power fails at, counted from 1, and how many decisions come before that.
    cut: Option<(u64, usize)>,
}

impl Explorer {
    /// An explorer that lets the power fail `depth` times inside recoveries.
    pub fn new(config: Config, persistence: Persistence, depth: u32) -> Explorer {
        Explorer {
            config,
            persistence,
            depth,
            tally: Tally::default(),
            seen: FxHashMap::default(),
            judged: FxHashMap::default(),
            known: BTreeSet::new(),
            limit: usize::MAX,
            trail: Vec::new(),
        }
    }

    /// An explorer that remembers this many crashes and gives up at the next one, with the verdict `NotMeasured`.
    pub fn limit(self, limit: usize) -> Explorer {
        Explorer { limit, ..self }
    }

    /// Explores a crash to the full depth; returns what recoveries without another crash end in.
    ///
    /// # Errors
    /// The first promise that breaks; [`Explorer::trail`] says on which way.
    pub fn explore(&mut self, crashed: &Crashed, duty: &Duty) -> Result<States, Violation> {
        assert!(self.trail.is_empty(), "one crash at a time");
        self.level(crashed, duty, self.depth, None)
    }

    /// The decisions that lead to the present place, from the first crash on.
    pub fn trail(&self) -> Tape {
        let mut tape = Tape::default();
        for level in &self.trail {
            let chooser = level.chooser.lock();
            let decided = chooser.made().of(Concern::Survival);
            let (cut, decided) = match level.cut {
                Some((cut, count)) => (cut, &decided[..count]),
                None => (0, decided),
            };
            tape.of_mut(Concern::Crash).push(cut as u32);
            tape.of_mut(Concern::Survival).extend_from_slice(decided);
        }
        tape
    }

    fn level(
        &mut self,
        crashed: &Crashed,
        duty: &Duty,
        depth: u32,
        goal: Option<Goal<'_>>,
    ) -> Result<States, Violation> {
        let key = (crashed.digest(), duty.digest());
        if let Some((_, states)) = self.seen.get(&key).filter(|(explored, _)| *explored >= depth)
            && goal.is_none_or(|goal| states.is_subset(goal.states))
        {
            self.tally.seen_again += 1;
            return Ok(states.clone());
        }
        let images = crashed.images();
        self.tally.crash_states += 1;
        *(if self.trail.is_empty() { &mut self.tally.images } else { &mut self.tally.images_in_recovery }) +=
            &images;

        let mut covered = BigUint::ZERO;
        let mut states = BTreeSet::new();
        let mut next = Some(Chooser::depth_first());
        while let Some(chooser) = next {
            let Leaf { chooser, disk, shown, .. } = self.leaf(crashed, (duty, key.1), chooser, false)?;
            let state = shown.state;
            self.count(duty, &shown);
            if let Some(goal) = goal.filter(|goal| !goal.states.contains(&state)) {
                return Err(not_idempotent(goal.else_story));
            }
            self.tally.states.insert(state);
            states.insert(state);
            covered += disk.images();
            self.trail.pop();
            next = chooser.lock().advance();
        }
        // The explorer's own promise: no image twice, and none left out.
        assert_eq!(covered, images, "the leaves of the tree do not add up to its images");

        let states = self.shared(states);
        if depth > 0 {
            self.inside(crashed, (duty, key.1), depth - 1, &states)?;
        }
        if self.seen.len() >= self.limit {
            let story = format!("more than {} different crashes, as many as are remembered", self.limit);
            return Err(Violation::new(Verdict::NotMeasured, "every crash is explored", story));
        }
        self.seen.insert(key, (depth, states.clone()));
        Ok(states)
    }

    /// Lets the power fail inside each recovery from a crash, and after it.
    fn inside(
        &mut self,
        crashed: &Crashed,
        (duty, digest): (&Duty, u128),
        depth: u32,
        states: &States,
    ) -> Result<(), Violation> {
        let mut next = Some(Chooser::depth_first());
        while let Some(chooser) = next {
            let Leaf { chooser, disk, shown, survived } =
                self.leaf(crashed, (duty, digest), chooser, true)?;
            let (state, after) = (shown.state, shown.duty(duty, &survived));
            drop(shown);
            self.trail.pop();
            let inside = disk.take_snapshots().into_iter().map(|snapshot| (snapshot, false));
            for (snapshot, is_behind) in inside.chain([(disk.snapshot(), true)]) {
                let crashed = snapshot.crash(self.persistence);
                let cut = Some((snapshot.at + 1, snapshot.decided));
                self.trail.push(Level { chooser: chooser.clone(), cut });
                if is_behind {
                    let same = BTreeSet::from([state]);
                    let goal = Goal { states: &same, else_story: CHANGED_STORY };
                    self.level(&crashed, &after, depth, Some(goal))?;
                } else {
                    self.level(&crashed, duty, depth, Some(Goal { states, else_story: DIVERGED_STORY }))?;
                }
                self.trail.pop();
            }
            next = chooser.lock().advance();
        }
        Ok(())
    }

    /// One recovery, which is put on the trail; with its crash points, if they are asked for.
    fn leaf(
        &mut self,
        crashed: &Crashed,
        (duty, digest): (&Duty, u128),
        chooser: Chooser,
        keeps: bool,
    ) -> Result<Leaf, Violation> {
        let chooser = Arc::new(Mutex::new(chooser));
        let disk = crashed.disk(chooser.clone(), Timeline::default());
        if keeps {
            disk.keep_crash_points(self.persistence);
        }
        self.trail.push(Level { chooser: chooser.clone(), cut: None });
        let shown = reopen(&disk, &self.config, duty, &Timeline::default())?;
        if self.judged.len() >= self.limit {
            // It saves time and decides nothing.
            self.judged.clear();
        }
        let survived = match self.judged.entry((digest, shown.state)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(shown.judge(duty)?).clone(),
        };
        shown.check_watermarks(duty)?;
        Ok(Leaf { chooser, disk, shown, survived })
    }

    fn shared(&mut self, states: BTreeSet<u128>) -> States {
        if let Some(known) = self.known.get(&states) {
            return known.clone();
        }
        let states = Arc::new(states);
        self.known.insert(states.clone());
        states
    }

    fn count(&mut self, duty: &Duty, shown: &Shown) {
        self.tally.runs += 1;
        self.tally.points_checked += shown.points();
        self.tally.acked_points_checked += duty.model.acked_points();
    }
}

/// A way to decide a crash, and what its recovery led to.
struct Leaf {
    chooser: SharedChooser,
    disk: SimDisk,
    shown: Shown,
    survived: Survived,
}

/// The states that a recovery must end in (I10).
#[derive(Clone, Copy)]
struct Goal<'a> {
    states: &'a BTreeSet<u128>,
    /// What it means if it ends in another one.
    else_story: &'static str,
}

pub(super) const DIVERGED_STORY: &str = "a crash in recovery led to what no single crash could have given";
pub(super) const CHANGED_STORY: &str = "recovering again changed what the store shows";

pub(super) fn not_idempotent(story: &str) -> Violation {
    Violation::new(Verdict::Lost, "I10", story)
}
