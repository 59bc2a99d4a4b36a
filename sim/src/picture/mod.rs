//! One page that shows a run: what was called, what reached the disk, what a crash took, and where promise and fact part.
//!
//! ```text
//!  record ──► lives ──► layout ──► page        (pure functions; the page is one HTML file and needs nothing else)
//!     └─────► suspects ──► story ──┘
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `lives` | the record cut into lives of the store |
//! | `written` | frames, blocks and edits in the bytes of a write |
//! | `suspects` | the moments at which something was relied on without ground |
//! | `story` | where the promise was given and where it was seen broken, in words |
//! | `promises` | the sentences of I1 to I10 |
//! | `layout` | a life as lanes, bars, bands and marks |
//! | `crash` | what a crash left of each file and what recovery read there |
//! | `page` | all of it as HTML |

mod crash;
mod layout;
mod lives;
mod page;
mod promises;
mod story;
mod suspects;
mod written;

use crate::model::Violation;
use crate::record::Entry;
use tidewall::plant::Bug;

/// What a picture is of.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The seed or the file.
    pub what: String,
    /// The driver's name.
    pub driver: &'a str,
    /// The persistence profile's name.
    pub profile: &'a str,
    /// The bug that was switched on.
    pub plant: Option<Bug>,
    /// The command that does the same run again.
    pub replay: String,
    /// The run's hash.
    pub trace_hash: String,
    /// The promise that broke.
    pub violation: Option<&'a Violation>,
    /// What happened.
    pub record: &'a [Entry],
}

pub use lives::{End, Life, lives};
pub use page::html;
pub use story::{Moment, Role, moments};
pub use suspects::{Suspect, suspects};
pub(crate) use written::whose;
