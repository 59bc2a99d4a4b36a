//! Target `crash`: the bytes are the tape of a run on the sequential driver, and every promise holds.
//!
//! A run ends when its bytes are used up, so a short input is a short run. `sim replay FILE` runs the same bytes.

use crate::choice::Chooser;
use crate::drivers::{Driver, Step, run};
use crate::scenario::Setting;
use tidewall::plant::Bug;

pub(super) fn ask(bytes: &[u8], plant: Option<Bug>) -> Step {
    let setting = Setting { driver: Driver::Sequential, plant, ..Setting::default() };
    run(Chooser::from_bytes(bytes.to_vec()), setting).violation.map_or(Ok(()), Err)
}
