//! What this driver counts besides what all of them do. A campaign in which one of the demanded never came about has not
//! measured it.

/// Lives of the machine.
pub const LIVES: &str = "lives";
/// Decisions about which thread runs next, where there was a choice.
pub const CHOICES: &str = "choices";
/// Times that another thread went on although the running one could have.
pub const PREEMPTIONS: &str = "preemptions";
/// Lives scheduled as a random walk.
pub const RANDOM: &str = "random";
/// Lives in which a thread mostly goes on.
pub const STICKY: &str = "sticky";
/// Lives scheduled by priorities.
pub const PCT: &str = "pct";
/// I/Os of the engine's own threads.
pub const BACKGROUND_IO: &str = "background_io";
/// Queries answered while other threads were at work.
pub const QUERIES: &str = "queries";
/// Calls that made everything durable while other threads were at work.
pub const SYNCS: &str = "syncs";
/// Engines closed, with other calls in flight or after them.
pub const CLOSES: &str = "closes";
