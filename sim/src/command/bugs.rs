//! `sim bugs`: the planted bugs.

use super::Unusable;
use tidewall::plant::Bug;

pub fn bugs() -> Result<u8, Unusable> {
    for bug in Bug::ALL {
        println!("{:<5} {}", bug.name(), bug.what());
    }
    Ok(0)
}
