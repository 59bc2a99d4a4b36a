//! `tidewall`
mod background;
mod buffer;
mod codec;
mod config;
pub mod disk;
mod engine;
mod error;
mod exec;
mod flush;
mod health;
mod inspect;
mod lsn;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod point;
mod query;
mod recovery;
mod stats;
pub mod store;
mod survey;
mod sync;
pub mod wal;

pub use config::{Config, Durability};
pub use engine::Engine;
pub use error::{Corruption, Error, Result};
pub use exec::{Exec, InOrder, Pool, Task};
pub use inspect::{ChunkInfo, Inspection, SegmentInfo, SegmentRole, inspect};
pub use lsn::{Generation, Lsn, Span};
pub use point::{Entry, Point, QUALITY_GOOD, TagId};
pub use recovery::RecoveryReport;
pub use stats::Stats;
