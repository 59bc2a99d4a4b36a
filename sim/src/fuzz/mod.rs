//! What a fuzzer asks: bytes of any origin, given to the parts of the engine that read bytes, and to the whole of it.
//!
//! ```text
//!  bytes ─┬─► frame, block, manifest     one decoder: no panic, no wrong accept, and what is encoded comes back
//!         ├─► segment                    frames among anything: what belongs to the log, where it ends, what lies behind
//!         ├─► open                       the files of a store: it opens right, or is refused, or says what is damaged
//!         └─► crash                      the decisions of a run: the whole test bed, with the full oracle
//! ```
//!
//! cargo-fuzz finds the bytes (`fuzz/`); here is what is asked of them, so that the same question is put by a plain test
//! to the saved corpus and to bytes that a small generator makes of it ([`mutate`]).
//!
//! A decoder's checksum keeps a fuzzer out of everything behind it. So each question is put twice: to the bytes as they
//! are, and to the same bytes with every checksum made right (`seal`): what is read then is nonsense, but intact.
//!
//! What is intact, a second reading of the formats decides (`reference`), which shares no line with the engine.

mod block;
pub mod corpus;
mod crash;
mod fields;
mod frame;
mod manifest;
pub mod mutate;
mod open;
pub mod reference;
mod seal;
mod segment;

use crate::drivers::{Step, watched};
use crate::model::{Verdict, Violation};
use crate::runner;
use std::sync::OnceLock;
use tidewall::plant::Bug;

/// Which part of the engine reads the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `wal::frame`
    Frame,
    /// `wal::scan`: one segment, and the log that several make.
    Segment,
    /// `store::block`
    Block,
    /// `store::manifest`
    Manifest,
    /// `Engine::open` on a store whose files are anything.
    Open,
    /// The sequential driver; the bytes are its tape.
    Crash,
}

impl Target {
    /// All of them, with the names that cargo-fuzz knows them by.
    pub const ALL: [(&str, Target); 6] = [
        ("frame", Target::Frame),
        ("segment", Target::Segment),
        ("block", Target::Block),
        ("manifest", Target::Manifest),
        ("open", Target::Open),
        ("crash", Target::Crash),
    ];

    /// The name of the target and of its corpus.
    pub fn name(self) -> &'static str {
        Target::ALL[self as usize].0
    }

    /// A planted bug that this target must find.
    pub fn planted(self) -> Bug {
        match self {
            Target::Frame => Bug::W5,
            Target::Open => Bug::W5,
            Target::Segment => Bug::W6,
            Target::Block => Bug::F7,
            Target::Manifest => Bug::M1,
            Target::Crash => Bug::F1,
        }
    }
}

/// Puts a target's question to some bytes, with a planted bug switched on or without one.
///
/// # Errors
/// What the engine did wrong; a panic is one of it.
pub fn ask(target: Target, bytes: &[u8], plant: Option<Bug>) -> Result<(), Violation> {
    let asked: fn(&[u8]) -> Step = match target {
        Target::Frame => frame::ask,
        Target::Segment => segment::ask,
        Target::Block => block::ask,
        Target::Manifest => manifest::ask,
        Target::Open => open::ask,
        Target::Crash => return crash::ask(bytes, plant),
    };
    watched(plant, || asked(bytes))
}

/// As [`ask`], for libFuzzer: the planted bug is the one that `TIDEWALL_PLANT` names.
///
/// # Panics
/// When the engine did something wrong: that is how libFuzzer is told.
pub fn ask_or_panic(target: Target, bytes: &[u8]) {
    static PLANT: OnceLock<Option<Bug>> = OnceLock::new();
    let plant = *PLANT.get_or_init(|| {
        let name = std::env::var("TIDEWALL_PLANT").ok()?;
        let bug = Bug::named(&name);
        Some(bug.unwrap_or_else(|| panic!("TIDEWALL_PLANT: no planted bug is called {name}")))
    });
    if let Err(violation) = ask(target, bytes, plant) {
        panic!("{}: {violation}", target.name());
    }
}

/// Keeps panics that become violations from being printed as they happen: for tests that plant bugs.
pub fn quiet_panics() {
    runner::quiet_panics();
}

/// Something was taken for intact that is not, or for another thing than it is.
fn wrong_accept(story: impl Into<String>) -> Violation {
    Violation::new(Verdict::Invented, "only what was written is read", story)
}

/// Something intact was refused, or came back changed.
fn wrong_refusal(story: impl Into<String>) -> Violation {
    Violation::new(Verdict::Lost, "what was written is read back", story)
}
