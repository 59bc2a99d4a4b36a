//! What happened in a run, as values: what the picture is drawn from.
//!
//! Drivers and disk record events in the order in which they happen; an event's place in that order is its time. They
//! are kept together with the lines of the [`Timeline`](crate::timeline::Timeline), and never otherwise. They decide
//! nothing: a run with its record and one without it are the same run.

use crate::damage::Expected;
use crate::disk::{Effect, IoKind, When};
use crate::model::{Model, Violation};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewall::{Config, Point};

/// An event, and the thread in which it happened; no name where there is one thread only.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The thread's name.
    pub thread: Option<Arc<str>>,
    /// What happened.
    pub event: Event,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody calls the engine, or asks the service for something.
    Called(Call),
    /// The call has returned to the one who called. A call without it was cut short: nobody was told anything.
    Returned {
        /// Which call.
        call: u64,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    /// What a call's `Ok` has promised: these points survive any crash from here on.
    Promised {
        /// Which call.
        call: u64,
        /// Of which tags; `None` for all.
        tags: Option<Vec<u32>>,
    },
    /// The engine's own word: `checkpoint_lsn`, `durable_lsn`, `appended_lsn`.
    Watermarks([u64; 3]),
    /// A call of the disk.
    Io(Io),
    /// The power fails: what of the unsynced survives.
    PowerCut(PowerCut),
    /// The process dies, and the machine does not.
    Killed,
    /// A store is about to be opened: what lies on the disk.
    Found(Box<Findings>),
    /// It has been opened; what recovery says of it, or why it refuses.
    Opened(Result<Recovery, String>),
    /// What queries show of a tag after recovery: this many points.
    Shown {
        /// Whose points.
        tag: u32,
        /// How many.
        points: u64,
    },
    /// A crash at an earlier change of the disk is tried on the side; the run itself goes on after [`Event::Back`].
    Aside {
        /// The change, as [`Io::change`] counts them.
        change: u64,
    },
    /// Back from there.
    Back,
    /// Something else.
    Note {
        /// Whose doing.
        who: String,
        /// What it is.
        what: String,
    },
    /// Here a promise was seen broken.
    Broken(Violation),
    /// What no picture shows, and a plain test of the run needs.
    Detail(Box<Detail>),
}

/// What it takes to do again, on another disk, what a run did.
#[derive(Clone, Debug)]
pub enum Detail {
    /// A store is about to be opened.
    Opening(Opening),
    /// The points that the call before this writes.
    Written(Vec<Point>),
    /// Why the I/O that comes next fails.
    Fails(Failure),
    /// The crash that is tried on the side is at this side of its change.
    Snapped(When),
    /// What the power cut before this left: all files by name.
    Left(BTreeMap<String, Vec<u8>>),
    /// A file that was struck by damage at rest.
    Damaged {
        /// Its name.
        file: String,
        /// What it holds now; `None` if it is gone.
        left: Option<Vec<u8>>,
        /// What the store owes to that.
        expected: Expected,
    },
}

/// With which limits a store is opened, and what it owes.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The limits.
    pub config: Config,
    /// What must be there, and what may be.
    pub model: Model,
    /// There is a store.
    pub exists: bool,
    /// What it has called durable.
    pub durable_lsn: u64,
}

/// Why an I/O fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The power fails.
    Power(When),
    /// An error, with this effect.
    Error(Effect),
    /// There is no space.
    NoSpace,
}

/// A point, as far as a picture needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whose point.
    pub tag: u32,
    /// Its time, µs.
    pub ts_us: i64,
}

impl From<&tidewall::Point> for Key {
    fn from(point: &tidewall::Point) -> Key {
        Key { tag: point.tag, ts_us: point.ts_us }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// No other call of the run has it.
    pub id: u64,
    /// Who calls.
    pub caller: String,
    /// What is called.
    pub name: String,
    /// The points that it writes.
    pub points: Vec<Key>,
}

/// A call of the disk and what came of it.
#[derive(Clone, Debug)]
pub struct Io {
    /// Of this kind.
    pub kind: IoKind,
    /// The file; empty for the directory.
    pub file: String,
    /// The new name, if it is a rename.
    pub to: Option<String>,
    /// First byte.
    pub offset: u64,
    /// Number of bytes; for `set_len` the length.
    pub len: u64,
    /// What was written, if all of it was.
    pub bytes: Vec<u8>,
    /// It returned `Ok`.
    pub ok: bool,
    /// The power failed in it.
    pub crashed: bool,
    /// Which of the I/Os that change something.
    pub change: Option<u64>,
    /// Sectors of the file, or changes of the directory, that no sync has covered by now.
    pub unsynced: u32,
}

/// What a power cut left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerCut {
    /// The files of which something was not durable.
    pub files: Vec<FileFate>,
    /// Unsynced changes of the directory, and whether they survive.
    pub names: Vec<(String, bool)>,
}

/// What became of the unsynced part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFate {
    /// The file.
    pub file: String,
    /// Its length as reads saw it, and the length that survives.
    pub len: (u64, u64),
    /// Its unsynced sectors in order.
    pub sectors: Vec<(u64, Fate)>,
}

/// What became of an unsynced sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It holds what was durable before.
    Lost,
    /// It holds what was written last.
    Kept,
    /// It holds what an earlier of its unsynced writes left: which, of how many.
    Older(usize, usize),
    /// It holds something that was never written as a whole.
    Torn,
    /// It lies behind the length that survives.
    CutOff,
}

/// What lies on a disk: read by sound eyes, and by those of the engine where they see something else.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// As the code without any planted bug reads it.
    pub disk: Reading,
    /// As the code of this run reads it, where that is different.
    pub engine: Option<Reading>,
}

/// What reading a directory gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// All files with their lengths.
    pub files: Vec<(String, u64)>,
    /// Units of data: frames, blocks, records.
    pub units: Vec<Unit>,
    /// Where each stream's log ends, and up to where it is proven to be durable.
    pub logs: Vec<(u64, u64)>,
    /// What is not as it must be: file, offset, what was expected.
    pub damage: Vec<(String, u64, String)>,
}

/// A frame, a block, a record: where it lies and what it is to recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The file.
    pub file: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// What recovery does with it.
    pub state: UnitState,
    /// What it is, in words.
    pub what: String,
    /// The positions of the log that it holds, if it is a frame.
    pub lsn: Option<(u64, u64)>,
}

/// What a unit of data is to recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// A frame that is replayed, a block or a record that counts.
    Live,
    /// Intact and not needed: of an earlier use of the segment, or flushed since.
    Stale,
    /// A write that stopped part-way; nobody was promised it.
    Torn,
    /// Damaged although it had to be there.
    Corrupt,
}

/// What a recovery says that it did, by name, without what is zero.
pub type Recovery = Vec<(&'static str, u64)>;

impl UnitState {
    /// The name in pictures.
    pub fn name(self) -> &'static str {
        match self {
            UnitState::Live => "live",
            UnitState::Stale => "stale",
            UnitState::Torn => "torn",
            UnitState::Corrupt => "corrupt",
        }
    }
}
