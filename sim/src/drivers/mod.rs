//! Who runs the engine: one file for each way to schedule it. All use the same disk, tape and oracle.

pub mod sequential;
pub mod threads;
