//! What outlives every node: the disk, the tape, the oracle, the counters.
//!
//! All nodes hold it; madsim runs them in one thread, one event at a time, and nobody keeps it locked while waiting.

use super::event;
use super::plan::Plan;
use super::promise::Promise;
use crate::choice::Chooser;
use crate::coverage::{Coverage, StateHash};
use crate::disk::{Profile, SimDisk};
use crate::fault::FaultCounts;
use crate::model::Violation;
use crate::record::Event;
use crate::scenario::{Counts, Events, Outcome, Setting};
use crate::timeline::Timeline;
use madsim::time::TimeHandle;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewall::Point;
use tidewall::plant::Bug;

/// Everything that is not a node's own; clones are the same world.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    timeline: Timeline,
}

/// The world's state.
pub struct State {
    pub chooser: Chooser,
    pub plan: Plan,
    profile: Profile,
    pub plant: Option<Bug>,
    /// The machine's disk. A power cut puts another one in its place.
    pub disk: SimDisk,
    pub promise: Promise,
    pub counts: Counts,
    pub faults: FaultCounts,
    coverage: Coverage,
    events: Events,
    /// The first promise that was seen broken.
    pub violation: Option<Violation>,
    /// Which life of the collector this is, from 1; 0 before its store has been opened at all.
    pub boot: u32,
    /// The collector is opening its store.
    pub is_opening: bool,
    /// A fault has struck in the last call of the engine.
    pub fired: bool,
    /// One that is final has, in this life of the engine or in an attempt to open it.
    pub final_fault: bool,
    /// Log segments and blocks that this life of the engine has written, to be added when it ends.
    pub progress: (u64, u64),
}

impl World {
    /// A world with an empty disk.
    pub fn new(mut chooser: Chooser, setting: Setting<'_>) -> World {
        let timeline = if setting.with_lines { Timeline::with_lines() } else { Timeline::default() };
        let plan = Plan::draw(&mut chooser);
        timeline.note(&[], || format!("PLAN     {plan:?}"));
        let disk = SimDisk::new(timeline.clone());
        disk.set_lie(setting.lie);
        disk.set_profile(setting.profile);
        let state = State {
            chooser,
            plan,
            profile: setting.profile,
            plant: setting.plant,
            disk,
            promise: Promise::default(),
            counts: Counts::default(),
            faults: FaultCounts::default(),
            coverage: Coverage::default(),
            events: event::ALL.into_iter().map(|name| (name, 0)).collect(),
            violation: None,
            boot: 0,
            is_opening: false,
            fired: false,
            final_fault: false,
            progress: (0, 0),
        };
        World { state: Arc::new(Mutex::new(state)), timeline }
    }

    /// For one event; never kept across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The disk as it is now.
    pub fn disk(&self) -> SimDisk {
        self.lock().disk.clone()
    }

    /// Notes what happens in a node, with its virtual time.
    pub fn note(&self, words: &[u64], line: impl FnOnce() -> String) {
        let now = TimeHandle::current().elapsed();
        let words = [&[now.as_nanos() as u64], words].concat();
        let mut text = String::new();
        self.timeline.note(&words, || {
            text = line();
            format!("{:>10.6} s  {text}", now.as_secs_f64())
        });
        self.timeline.record(|| {
            let (who, what) = text.split_once(": ").unwrap_or(("world", &text));
            Event::Note { who: who.into(), what: format!("{what} ({:.3} s)", now.as_secs_f64()) }
        });
    }

    /// Takes note of the faults that have struck in a call of the engine, which has just returned.
    pub fn note_faults(&self) {
        let state = &mut *self.lock();
        let fired = state.disk.take_fired();
        state.fired = !fired.is_empty();
        state.final_fault |= fired.iter().any(|fault| fault.is_final());
    }

    /// What the record is kept in.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// A promise was seen broken; the supervisor ends the run.
    pub fn violate(&self, violation: Violation) {
        self.timeline.record(|| Event::Broken(violation.clone()));
        self.lock().violation.get_or_insert(violation);
    }

    /// What came of the run.
    pub fn outcome(&self, ended: Option<Violation>) -> Outcome {
        let mut state = self.lock();
        let violation = state.violation.take().or(ended);
        if let Some(violation) = &violation {
            self.timeline.note(&[violation.verdict as u64], || format!("VIOLATION  {violation}"));
        }
        state.end_engine();
        state.take_counts();
        Outcome {
            violation,
            counts: state.counts,
            faults: state.faults.clone(),
            events: state.events.clone(),
            coverage: state.coverage.clone(),
            hash: self.timeline.hash(),
            tape: state.chooser.made().clone(),
            marks: state.chooser.marks().to_vec(),
            lines: self.timeline.lines(),
            record: self.timeline.take_record(),
        }
    }
}

impl State {
    /// Counts an event, if it happened.
    pub fn count(&mut self, event: &'static str, happened: bool) {
        self.add(event, u64::from(happened));
    }

    /// Counts several.
    pub fn add(&mut self, event: &'static str, times: u64) {
        *self.events.entry(event).or_default() += times;
    }

    /// The power fails, if it has not; what survives is the world's disk from now on.
    pub fn power_cut(&mut self) {
        let survivor = self.disk.power_cut(&mut self.chooser, self.profile);
        self.take_counts();
        self.coverage.images.insert(survivor.image_hash());
        self.disk = survivor;
        self.counts.crashes += 1;
        self.count(event::POWER_CUTS, true);
    }

    /// Compares what a store that was just opened shows.
    ///
    /// # Errors
    /// The violation.
    pub fn judge(&mut self, shown: &BTreeMap<u32, Vec<Point>>) -> Result<(), Violation> {
        let mut state = StateHash::default();
        shown.values().flatten().for_each(|point| state.add(point));
        self.coverage.states.insert(state.finish());
        let checked = self.promise.recovered(shown)?;
        self.counts.points_checked += checked.points;
        self.counts.acked_points_checked += checked.acked;
        Ok(())
    }

    /// An engine is gone.
    pub fn end_engine(&mut self) {
        self.counts.rotations += std::mem::take(&mut self.progress.0);
        self.counts.blocks += std::mem::take(&mut self.progress.1);
    }

    fn take_counts(&mut self) {
        self.faults.add(&self.disk.take_counts());
        self.counts.io_ops += self.disk.take_io_ops();
    }
}
