//! The commands, one file each; each returns the exit status.

mod assume;
mod bugs;
mod exhaust;
mod inspect;
mod merge;
mod replay;
mod run;
mod setting;
mod shrink;
mod timeline;

pub use assume::{AssumeArgs, assume};
pub use bugs::{BugsArgs, bugs};
pub use exhaust::{ExhaustArgs, exhaust};
pub use inspect::{InspectArgs, inspect};
pub use merge::{MergeArgs, merge};
pub use replay::{ReplayArgs, replay};
pub use run::{RunArgs, run};
use setting::{Run, SettingArgs, held, planted, save, story, write, write_text};
pub use shrink::{ShrinkArgs, shrink};
pub use timeline::{TimelineArgs, timeline};

/// The command cannot be carried out; the text says why.
pub struct Unusable(pub String);

impl<E: std::error::Error> From<E> for Unusable {
    fn from(error: E) -> Unusable {
        Unusable(error.to_string())
    }
}
