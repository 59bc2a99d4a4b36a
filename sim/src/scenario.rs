//! What a run is asked to be, and what came of it: the words that drivers, runner and reports share.

use crate::blind::Blind;
use crate::choice::{Mark, Tape};
use crate::coverage::Coverage;
use crate::disk::{Lie, Profile};
use crate::drivers::Driver;
use crate::fault::FaultCounts;
use crate::model::{Verdict, Violation};
use crate::record::Entry;
use crate::timeline::TraceHash;
use crate::trace::Trace;
use serde::Serialize;
use std::collections::BTreeMap;
use tidewall::plant::Bug;

/// What all runs of a campaign have in common.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// Who runs the engine.
    pub driver: Driver,
    /// What the disk promises about unsynced writes.
    pub profile: Profile,
    /// The engine's `sector_bytes`; 512 if it is not said. For the sequential and the exhaustive driver.
    pub sector_bytes: Option<u64>,
    /// Recorded points instead of generated ones.
    pub trace: Option<&'a Trace>,
    /// A planted bug in the engine.
    pub plant: Option<Bug>,
    /// A disk that does not keep its own promises.
    pub lie: Option<Lie>,
    /// A mistake in the bed itself.
    pub blind: Option<Blind>,
    /// Keep the lines of the timeline, and the record.
    pub with_lines: bool,
}

/// What was done and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Operations from the first open to the last check.
    pub operations: u64,
    /// Power cuts, those in recovery and those judged on the side included.
    pub crashes: u64,
    /// Times that a store was opened after a crash or a kill, to the end.
    pub recoveries: u64,
    /// Points accepted.
    pub points_written: u64,
    /// Points compared with the model, bit for bit.
    pub points_checked: u64,
    /// Points that had to be there when a store was opened again, and were looked for.
    pub acked_points_checked: u64,
    /// Calls of the disk.
    pub io_ops: u64,
    /// Log segments filled.
    pub rotations: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Chunk files at the end.
    pub chunks: u64,
    /// Directories read by `inspect`.
    pub inspections: u64,
}

impl Counts {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Counts) {
        let pairs = [
            (&mut self.operations, other.operations),
            (&mut self.crashes, other.crashes),
            (&mut self.recoveries, other.recoveries),
            (&mut self.points_written, other.points_written),
            (&mut self.points_checked, other.points_checked),
            (&mut self.acked_points_checked, other.acked_points_checked),
            (&mut self.io_ops, other.io_ops),
            (&mut self.rotations, other.rotations),
            (&mut self.blocks, other.blocks),
            (&mut self.chunks, other.chunks),
            (&mut self.inspections, other.inspections),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

/// What a driver counts besides, by name.
pub type Events = BTreeMap<&'static str, u64>;

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first promise that broke, if one did.
    pub violation: Option<Violation>,
    /// What was done and checked.
    pub counts: Counts,
    /// Which faults were armed and fired.
    pub faults: FaultCounts,
    /// What else the driver counts.
    pub events: Events,
    /// What the crashes reached.
    pub coverage: Coverage,
    /// Everything that happened, in one number.
    pub hash: TraceHash,
    /// Every decision.
    pub tape: Tape,
    /// Where the parts of the run began on it.
    pub marks: Vec<Mark>,
    /// The timeline, if it was asked for.
    pub lines: Vec<String>,
    /// The same as values.
    pub record: Vec<Entry>,
}

impl Outcome {
    /// How it ended: `NotMeasured` where nothing broke and no store was opened after a crash.
    pub fn verdict(&self) -> Verdict {
        Verdict::of_run(self.violation.as_ref(), self.counts.recoveries)
    }
}
