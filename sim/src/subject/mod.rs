//! Your own store on the test bed.
//!
//! A store that does its I/O through [`Disk`] and [`DiskFile`](tidewall::disk::DiskFile) implements [`Subject`], five
//! functions, and gets everything that tidewall's own engine is tested with: power cuts at any I/O, in recovery and in the
//! recovery from that; every set of surviving sectors, lengths and names; failing calls, lying syncs, a full disk; seeds
//! that replay byte for byte; failing runs shrunk to a few operations. `docs/your-own-store.md` is the guide.
//!
//! ```
//! use std::sync::Arc;
//! use tidewall::disk::{Disk, DiskFile, OpenMode};
//! use tidewall_sim::subject::{Ack, Draw, Failure, Plan, Subject, campaign};
//!
//! /// One number in a file. `set` promises that it is durable; nobody syncs.
//! struct Number(Arc<dyn DiskFile>);
//!
//! impl Subject for Number {
//!     type Op = u32;
//!     type State = Vec<u32>;
//!
//!     fn draw(draw: &mut Draw<'_>, _: &Vec<u32>) -> u32 {
//!         draw.below(100)
//!     }
//!     fn expect(state: &mut Vec<u32>, number: &u32) {
//!         *state = vec![*number];
//!     }
//!     fn open(disk: Arc<dyn Disk>) -> Result<Number, Failure> {
//!         let file = disk.open("number", OpenMode::Write).or_else(|_| disk.open("number", OpenMode::Create))?;
//!         disk.sync_dir()?;
//!         Ok(Number(file))
//!     }
//!     fn apply(&mut self, number: &u32) -> Result<Ack, Failure> {
//!         self.0.write_at(0, &number.to_le_bytes())?;
//!         Ok(Ack::Durable)
//!     }
//!     fn dump(&mut self) -> Result<Vec<u32>, Failure> {
//!         let mut bytes = [0; 4];
//!         if self.0.is_empty()? {
//!             return Ok(Vec::new());
//!         }
//!         self.0.read_at(0, &mut bytes)?;
//!         Ok(vec![u32::from_le_bytes(bytes)])
//!     }
//! }
//!
//! let report = campaign::<Number>(&Plan { runs: 200, ..Plan::default() });
//! // The number is gone, or there are zeros in its place, which nobody wrote.
//! assert!(["Lost", "Invented"].contains(&&report.verdict().to_string()[..]));
//! println!("{report}"); // the shortest way to lose a number, I/O by I/O
//! ```
//!
//! | file | subject |
//! |---|---|
//! | this one | the trait, and the words of its answers |
//! | `state` | what a store shows, and what of it can be missing or invented |
//! | `oracle` | acked, maybe, never |
//! | `plug` | the disk that a store is given, and how it ends at a power cut |
//! | `run` | one run: operations, errors, crashes, openings, all from one tape |
//! | `campaign` | many runs, the control that must fail, the report |
//! | `certify` | every crash of a short story, and every image that may survive it |
//! | `command` | a campaign, a replay or a shrunk run as a program |
//!
//! # The oracle
//!
//! A store is an order of operations. [`Ack::Durable`] covers an operation and all before it: they are *acked*, and must
//! be there after any power cut. What was accepted later is *maybe*: any first part of it may be there. An operation that
//! failed, or that the power cut interrupted, may have happened or not, until the store shows which. Everything else is
//! *never*. So after each opening the store must show exactly one of a known set of states; that is compared, not sampled.
//!
//! A log and a store with transactions are one such order. A store that orders only what concerns one key (or one tag, or
//! one raft group) says so with [`Subject::lane`] and [`Subject::split`]: then each lane is judged by itself.

mod campaign;
mod certify;
mod command;
mod oracle;
mod plug;
mod run;
mod state;

pub use campaign::{Found, Plan, Report, campaign, replay, shrink};
pub use certify::{Certificate, certify, story};
pub use command::main;
pub use oracle::{Oracle, Since};
pub use run::{Counts, Outcome, run};
pub use state::State;

use crate::choice::{Chooser, Concern, SplitMix};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use tidewall::disk::Disk;

/// Whatever a store fails with; `?` makes one of any error.
pub type Failure = Box<dyn std::error::Error>;

/// What a store says of an operation that it has performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It has no effect, and never will.
    Refused,
    /// Readers see it. A crash may take it, and then everything after it.
    Accepted,
    /// This operation survives any crash, and so does every accepted one before it in its lane; in all lanes, if it has none.
    Durable,
}

/// What becomes of a store when the power fails under it, or its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The call of the disk never returns: the stack is unwound, and the store is never dropped. Costs the memory that it
    /// holds.
    Leak,
    /// The stack is unwound, and the store is dropped. What its destructors write goes nowhere, and succeeds; what they read
    /// fails. For stores that hold much.
    Drop,
    /// The call of the disk fails, as all do from then on, and the store is dropped. What it says and does, panics included, is
    /// ignored. For stores that cannot be unwound: whose destructors panic when another panic has poisoned a lock, say.
    Fail,
}

/// A store on the test bed.
///
/// It must be a function of its calls: no clock, no random numbers, no hash map iterated into I/O, no thread whose I/O is not
/// over when the call returns. The campaign checks that, by running some seeds twice.
pub trait Subject: Sized {
    /// One call that changes the store, as a value.
    type Op: Debug;
    /// What a reader can see of all of it. [`State`] is there for vectors, maps and sets.
    type State: State;

    /// The next operation, drawn from the tape. `state` is what the store shows now.
    fn draw(draw: &mut Draw<'_>, state: &Self::State) -> Self::Op;

    /// What an operation does to the state: the model of the store, without a disk.
    fn expect(state: &mut Self::State, op: &Self::Op);

    /// Opens the store, or makes a new one, on whatever a crash has left.
    ///
    /// # Errors
    /// Only if a call of the disk failed.
    fn open(disk: Arc<dyn Disk>) -> Result<Self, Failure>;

    /// Performs an operation.
    ///
    /// # Errors
    /// Only if a call of the disk has failed since the store was opened. Then the operation may have happened or not.
    fn apply(&mut self, op: &Self::Op) -> Result<Ack, Failure>;

    /// Reads everything, and checks what it can check.
    ///
    /// # Errors
    /// As for [`Subject::apply`]; and on damage, which is a finding: nothing was damaged.
    fn dump(&mut self) -> Result<Self::State, Failure>;

    /// Closes the store. [`Ack::Durable`] says that everything accepted survives.
    ///
    /// # Errors
    /// As for [`Subject::apply`].
    fn close(self) -> Result<Ack, Failure> {
        drop(self);
        Ok(Ack::Accepted)
    }

    /// The lane that an operation is ordered in; `None`: in all of them.
    fn lane(_op: &Self::Op) -> Option<u64> {
        None
    }

    /// The part of a state that each lane has. A lane that is missing is empty.
    fn split(state: &Self::State) -> BTreeMap<u64, Self::State> {
        BTreeMap::from([(0, state.clone())])
    }

    /// What an opening after a power cut promises of all that it shows: usually that the next power cut cannot take it back,
    /// since it was read from what has survived one.
    const OPENED: Ack = Ack::Durable;

    /// It may end the process with a panic when a call of the disk fails. That counts as a crash of the process, not as a
    /// finding.
    const PANICS_ON_ERRORS: bool = false;

    /// What becomes of it when it is over.
    const ENDING: Ending = Ending::Leak;
}

/// Where a [`Subject`] draws its operations from.
pub struct Draw<'a> {
    chooser: &'a mut Chooser,
    number: u64,
}

impl Draw<'_> {
    /// Of this run this many operations were drawn before this one: no other has the number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A number below `bound`, which is at least 1. What shrinks a run shrinks it towards 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.chooser.below(Concern::Data, bound)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        self.chooser.between(Concern::Data, low, high)
    }

    /// True in this many of 100 cases.
    pub fn percent(&mut self, share: u32) -> bool {
        self.chooser.chance(Concern::Data, share * 256 / 100)
    }

    /// One of these; the first is the plainest.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.chooser.pick(Concern::Data, from)
    }

    /// `len` bytes, none of them zero, that no other operation of the run has: they cannot be taken for bytes that nobody wrote.
    pub fn bytes(&self, len: usize) -> Bytes {
        let mut mix = SplitMix::new(self.number, 0);
        Bytes((0..len).map(|_| mix.below(255) as u8 + 1).collect())
    }
}

/// Bytes that are shown by their number and their checksum: what a record or a value of a store is in a report.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes #{:08x}", self.0.len(), crc32fast::hash(&self.0))
    }
}
