//! `sim bugs`: the planted bugs.

use super::Unusable;
use tidewall::plant::Bug;
use tidewall_sim::drivers::{self, Driver};

pub fn bugs() -> Result<u8, Unusable> {
    for bug in Bug::ALL {
        println!("{:<5} {:<11} {}", bug.name(), drivers::of(*bug).map_or("loom", Driver::name), bug.what());
    }
    Ok(0)
}
