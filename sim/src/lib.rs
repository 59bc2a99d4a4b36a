//! test bed
pub mod trace;
