//! What crashes have reached, instead of how many seeds have run: where the power failed, what that did to the disk, and
//! what recovery made of it.
//!
//! ```text
//!  point     write of wal during sync        the engine's call in progress, and the I/O at which the power failed
//!  fault     torn                            what became of the unsynced, by `fault.rs`; a crash has several, or none
//!  decision  torn tail                       what the recovery found and did; it has several, or none
//! ```
//!
//! A *triple* is one of each; a crash reaches all combinations of its own. Which triples there are is established by long
//! campaigns and written down in `known.txt`; the default campaign must reach all of these (see [`known`]). Images and
//! recovered states are counted by 64-bit hashes: two of a million are the same by chance once in ten million campaigns.

pub mod known;
mod summary;

pub use summary::CoverageSummary;

use crate::disk::Site;
use crate::fault::{Fault, FaultCounts};
use rustc_hash::{FxHashSet, FxHasher};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use tidewall::RecoveryReport;

/// The engine's call that a crash interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum During {
    /// `open`: recovery.
    #[default]
    Open,
    /// `write` or `write_batch`.
    Write,
    /// `sync`
    Sync,
    /// `flush`
    Flush,
    /// `step`
    Step,
    /// `close`
    Close,
    /// A call that only reads.
    Read,
}

impl During {
    fn name(self) -> &'static str {
        match self {
            During::Open => "open",
            During::Write => "write",
            During::Sync => "sync",
            During::Flush => "flush",
            During::Step => "step",
            During::Close => "close",
            During::Read => "read",
        }
    }
}

/// Where the power failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// In this call.
    pub during: During,
    /// At this I/O; `None` is between two calls.
    pub site: Option<Site>,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            None => f.write_str("between calls"),
            Some(site) => write!(f, "{site} during {}", self.during.name()),
        }
    }
}

macro_rules! decisions {
    ($($name:ident = $text:literal: $what:literal,)*) => {
        /// What a recovery found, and so did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Decision { $(#[doc = $what] $name,)* }

        impl Decision {
            /// All of them.
            pub const ALL: &[Decision] = &[$(Decision::$name,)*];

            /// The name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Decision::$name => $text,)* }
            }
        }
    };
}

decisions! {
    NothingToDo = "nothing to do": "The store was found as a close leaves it.",
    Created = "created": "There was no store yet.",
    ManifestTail = "manifest tail dropped": "An edit of the manifest had not been finished.",
    Replayed = "replayed": "Points came back from the log.",
    Skipped = "skipped": "Points of the log were in blocks already.",
    Rewritten = "rewritten": "Points that nothing proved durable were written again.",
    TornTail = "torn tail": "A log ended in bytes that are no frame.",
    StaleFrames = "stale frames ignored": "Intact frames were no part of the log.",
    SegmentMade = "segment made again": "A segment was missing or not whole, and the store could do without it.",
    OrphanRemoved = "orphan removed": "A chunk was named by no edit.",
    Interrupted = "interrupted": "The power failed again before recovery had ended.",
    Refused = "refused": "Something was damaged, and the store did not open.",
}

impl Decision {
    /// What a report says.
    pub fn of(report: &RecoveryReport) -> Vec<Decision> {
        let all = [
            (report.created, Decision::Created),
            (report.manifest_torn_bytes > 0, Decision::ManifestTail),
            (report.points_replayed > 0, Decision::Replayed),
            (report.points_skipped > 0, Decision::Skipped),
            (report.points_rewritten > 0, Decision::Rewritten),
            (!report.torn_tails.is_empty(), Decision::TornTail),
            (report.stale_frames > 0, Decision::StaleFrames),
            (report.segments_made > 0, Decision::SegmentMade),
            (report.orphans_removed > 0, Decision::OrphanRemoved),
        ];
        let mut made: Vec<_> = all.into_iter().filter(|(is, _)| *is).map(|(_, decision)| decision).collect();
        if made.is_empty() {
            made.push(Decision::NothingToDo);
        }
        made
    }
}

/// Where a crash struck and what it did; what became of it is not known yet.
#[derive(Clone, Debug)]
pub struct Crash {
    point: Point,
    /// `None`: everything unsynced survived, or there was nothing.
    faults: Vec<Option<Fault>>,
}

impl Crash {
    /// A crash that did these things.
    pub fn new(during: During, site: Option<Site>, counts: &FaultCounts) -> Crash {
        let happened = |fault: &&Fault| is_of_survival(**fault) && counts.of(**fault).fired > 0;
        let mut faults: Vec<_> = Fault::ALL.iter().filter(happened).map(|fault| Some(*fault)).collect();
        if faults.is_empty() {
            faults.push(None);
        }
        Crash { point: Point { during, site }, faults }
    }

    /// The same, and then something at rest was damaged.
    pub fn damaged(mut self, fault: Fault) -> Crash {
        self.faults = vec![Some(fault)];
        self
    }
}

/// Whether it is something that a crash did to what was unsynced.
fn is_of_survival(fault: Fault) -> bool {
    use Fault::{
        CreateKept, CreateLost, Garbage, Lost, RemoveKept, RemoveLost, RenameKept, RenameLost, Reordered,
        SizeKept, SizeLost, Stale, Torn, TornByte,
    };
    matches!(
        fault,
        CreateKept
            | CreateLost
            | Garbage
            | Lost
            | RemoveKept
            | RemoveLost
            | RenameKept
            | RenameLost
            | Reordered
            | SizeKept
            | SizeLost
            | Stale
            | Torn
            | TornByte
    )
}

/// Point, fault, decision.
pub type Triple = (Point, Option<Fault>, Decision);

fn fault_name(fault: Option<Fault>) -> &'static str {
    fault.map_or("nothing lost", Fault::name)
}

/// A triple as reports and `known.txt` have it.
pub fn triple_name((point, fault, decision): &Triple) -> String {
    format!("{point} | {} | {}", fault_name(*fault), decision.name())
}

/// Hashes kept of one kind, which is 64 MiB or so. Beyond that, what is new is not counted.
const DISTINCT_MAX: usize = 1 << 22;

/// A set of hashes of limited size.
#[derive(Clone, Debug, Default)]
pub struct Distinct {
    seen: FxHashSet<u64>,
    /// It was full when something new came.
    pub capped: bool,
}

impl Distinct {
    /// Adds one.
    pub fn insert(&mut self, hash: u64) {
        if self.seen.len() < DISTINCT_MAX {
            self.seen.insert(hash);
        } else if !self.seen.contains(&hash) {
            self.capped = true;
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.seen.len() as u64
    }

    fn add(&mut self, other: &Distinct) {
        self.capped |= other.capped;
        other.seen.iter().for_each(|hash| self.insert(*hash));
    }
}

/// A hash of what all tags show, tag by tag.
#[derive(Default)]
pub struct StateHash(FxHasher);

impl StateHash {
    /// Adds a point.
    pub fn add(&mut self, point: &tidewall::Point) {
        self.0.write_u64(u64::from(point.tag) << 8 | u64::from(point.quality));
        self.0.write_i64(point.ts_us);
        self.0.write_u64(point.value.to_bits());
    }

    /// The hash.
    pub fn finish(self) -> u64 {
        self.0.finish()
    }
}

/// What the crashes of a run, or of a campaign, have reached.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Contents of crashed disks, names included.
    pub images: Distinct,
    /// What all tags show after a recovery.
    pub states: Distinct,
    triples: BTreeMap<Triple, u64>,
}

impl Coverage {
    /// A recovery from a crash has ended so.
    pub fn reach(&mut self, crash: &Crash, decisions: &[Decision]) {
        for fault in &crash.faults {
            for decision in decisions {
                *self.triples.entry((crash.point.clone(), *fault, *decision)).or_default() += 1;
            }
        }
    }

    /// Adds what other runs have reached.
    pub fn add(&mut self, other: &Coverage) {
        self.images.add(&other.images);
        self.states.add(&other.states);
        for (triple, times) in &other.triples {
            *self.triples.entry(triple.clone()).or_default() += times;
        }
    }

    /// What was reached, and how often.
    pub fn triples(&self) -> impl Iterator<Item = (&Triple, u64)> {
        self.triples.iter().map(|(triple, times)| (triple, *times))
    }

    /// The same by names, for a machine: point, fault, decision. Two of them are merged by adding.
    pub fn by_name(&self) -> BTreeMap<String, BTreeMap<&'static str, BTreeMap<&'static str, u64>>> {
        let mut names: BTreeMap<String, BTreeMap<_, BTreeMap<_, _>>> = BTreeMap::new();
        for ((point, fault, decision), times) in &self.triples {
            let faults = names.entry(point.to_string()).or_default();
            faults.entry(fault_name(*fault)).or_default().insert(decision.name(), *times);
        }
        names
    }
}
