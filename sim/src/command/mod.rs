//! The commands, one file each; each returns the exit status.

mod bugs;
mod inspect;
mod replay;
mod run;
mod setting;
mod timeline;

pub use bugs::bugs;
pub use inspect::{InspectArgs, inspect};
pub use replay::{ReplayArgs, replay};
pub use run::{RunArgs, run};
use setting::{SettingArgs, save};
pub use timeline::{TimelineArgs, timeline};

/// The command cannot be carried out; the text says why.
pub struct Unusable(pub String);

impl<E: std::error::Error> From<E> for Unusable {
    fn from(error: E) -> Unusable {
        Unusable(error.to_string())
    }
}
