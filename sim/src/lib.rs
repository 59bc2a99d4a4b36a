//! A deterministic test bed for storage engines: one tape, one oracle, and a disk that fails the way disks do.
//!
//! ```text
//!   seed, file, bytes ──► Chooser ──► every decision of a run, recorded as a Tape
//!                            │
//!      Workload ──► driver ──► engine ──► SimDisk ──► power cut ──► what survives
//!          │                      ▲                                     │
//!          ▼                      └────────────── recovery ◄────────────┘
//!        Model  ◄── what was acked, what may be, what must not be ──► Verdict
//! ```
//!
//! A run is a pure function of its tape and the commit: the same seed gives the same trace, and a saved tape replays it.
//! The campaign runs a share of its seeds twice and stops at the first difference.
//!
//! | module | subject |
//! |---|---|
//! | [`choice`] | the tape: seeds, files and bytes as sources of decisions |
//! | [`disk`] | the simulated disk, its faults, its crashes |
//! | [`damage`] | what can happen to a disk at rest, and what a store owes to it |
//! | [`fault`] | every fault by name; armed and fired |
//! | [`workload`] | swarms of operations, generated points |
//! | [`trace`] | recorded sensor data as the workload |
//! | [`model`] | the oracle: acked, maybe, never; the verdicts |
//! | [`drivers`] | who calls the engine, and when it crashes |
//! | [`coverage`] | what crashes have reached: images, states, point × fault × decision |
//! | [`scenario`] | what a run is asked to be, and what came of it |
//! | [`runner`] | campaigns: many seeds, several threads, one sum |
//! | [`fuzz`] | what a fuzzer asks of the engine, and its corpus |
//! | [`merge`] | the summaries of shards, added up |
//! | [`assume`] | on which disks the engine is right |
//! | [`blind`], [`forged`] | mistakes in the bed itself; answers that the oracle must refuse |
//! | [`bugs`] | how hard each planted bug is to find: the measure of all this |
//! | [`shrink`] | a failing run made small |
//! | [`plain`] | a failing run as a test that needs the engine only |
//! | [`report`] | the summary, for a person and for a machine |
//! | [`subject`] | a store of your own on all of this |
//! | [`tape_file`], [`timeline`] | saved tapes; what happened, line by line, and its hash |
//! | [`record`], [`picture`] | what happened, as values; one page that shows it |
//!
//! `choice`, `disk`, `fault` and `timeline` know of the engine only the two traits of `tidewall::disk`, but for what the record
//! is told, and the names of its files, on some of which alone an error can be set up.

pub mod assume;
pub mod blind;
pub mod bugs;
pub mod choice;
pub mod coverage;
pub mod damage;
pub mod disk;
pub mod drivers;
pub mod fault;
pub mod forged;
pub mod fuzz;
pub mod merge;
pub mod model;
pub mod picture;
pub mod plain;
pub mod record;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod shrink;
pub mod subject;
pub mod tape_file;
pub mod timeline;
pub mod trace;
mod watchdog;
pub mod workload;
