//! A collector and its clients on a simulated network: the promise from end to end.
//!
//! ```text
//!   client 0 ─┐   numbered batches    ┌─────────── node ───────────┐
//!   client 1 ─┼──(lost, late, twice)──► collector: engine, commits │──► SimDisk, outside the nodes
//!   client 2 ─┘◄──── acknowledged ────┤ every 10 ms: engine.step() │    (survives as a crash leaves it)
//!                                     └────────────▲───────────────┘
//!        supervisor: kill, power cut, restart ─────┘   partition, slow spell, disk error, no space
//! ```
//!
//! madsim runs all of it in one thread and in virtual time; a call of the engine is one event of it. Who runs next, how
//! long a datagram takes and whether it is lost comes from a generator that the tape seeds; everything else is drawn
//! from the tape itself. Each run has an operating-system thread of its own, because the order of std's hash maps,
//! which madsim's network is made of, is a function of the seed in a new thread only.
//!
//! The promise: **every acknowledged batch is there, exactly once in effect, after any history.**
//!
//! | file | subject |
//! |---|---|
//! | this one | a run, from its tape to its outcome |
//! | `plan` | the sizes of a run, drawn first |
//! | `world` | what outlives every node: disk, tape, oracle, counters |
//! | `promise` | the oracle: which writes a key may show |
//! | `wire` | datagrams, and a network that delivers them late and twice |
//! | `client` | sends batches until they are acknowledged |
//! | `collector` | the service: group commit, and which batches it has applied |
//! | `supervisor` | kills, restarts and everything else that goes wrong |
//!
//! Without `--cfg madsim` in the compiler's flags the crate has none of this and [`AVAILABLE`] says so: what madsim is
//! then would talk to the real network, by the real clock.

#[cfg(madsim)]
mod client;
#[cfg(madsim)]
mod collector;
#[cfg(madsim)]
mod plan;
#[cfg(madsim)]
mod promise;
#[cfg(madsim)]
mod supervisor;
#[cfg(madsim)]
mod wire;
#[cfg(madsim)]
mod world;

use crate::choice::Chooser;
use crate::scenario::{Outcome, Setting};

/// Whether this build has the driver.
pub const AVAILABLE: bool = cfg!(madsim);

/// Why it may be missing, and what to do.
pub const UNAVAILABLE: &str = "the service driver is not in this build: `--cfg madsim`, which makes it deterministic, \
    was not among the compiler's flags. It stands in .cargo/config.toml; a RUSTFLAGS or CARGO_ENCODED_RUSTFLAGS in the \
    environment replaces what stands there. Unset it and build again inside the repository";

/// How often something of the service happened, by name.
pub mod event {
    /// The process was killed, and the machine was not.
    pub const KILLS: &str = "kills";
    /// The machine lost its power.
    pub const POWER_CUTS: &str = "power_cuts";
    /// The process was started again after one of these.
    pub const RESTARTS: &str = "restarts";
    /// The collector opened its store again by itself, after a failed sync or because opening had failed.
    pub const REOPENINGS: &str = "reopenings";
    /// The network was cut between some client and the collector, in one direction or in both.
    pub const PARTITIONS: &str = "partitions";
    /// Datagrams were slow and some were lost, for a while.
    pub const SLOW_SPELLS: &str = "slow_spells";
    /// Requests delivered long after they were sent.
    pub const DELAYS: &str = "delays";
    /// Requests delivered twice.
    pub const DUPLICATES: &str = "duplicates";
    /// Batches that a client made.
    pub const BATCHES: &str = "batches";
    /// Batches that a client knows to be durable.
    pub const ACKNOWLEDGED: &str = "acknowledged";
    /// Times that a client sent a batch again.
    pub const RETRIES: &str = "retries";
    /// Requests for a batch that the collector had applied before.
    pub const REPEATED: &str = "repeated";
    /// Groups of batches that were made durable together.
    pub const GROUP_COMMITS: &str = "group_commits";
    /// Batches in them.
    pub const COMMITTED: &str = "committed";

    /// All of them.
    pub const ALL: [&str; 14] = [
        KILLS,
        POWER_CUTS,
        RESTARTS,
        REOPENINGS,
        PARTITIONS,
        SLOW_SPELLS,
        DELAYS,
        DUPLICATES,
        BATCHES,
        ACKNOWLEDGED,
        RETRIES,
        REPEATED,
        GROUP_COMMITS,
        COMMITTED,
    ];
}

/// Runs one tape.
#[cfg(madsim)]
pub fn run(chooser: Chooser, setting: Setting<'_>) -> Outcome {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| run_here(chooser, setting));
        run.join().expect("a run's panic is caught and reported as its outcome")
    })
}

/// Runs no tape: this build has no service driver.
#[cfg(not(madsim))]
pub fn run(_: Chooser, _: Setting<'_>) -> Outcome {
    panic!("{UNAVAILABLE}")
}

#[cfg(madsim)]
fn run_here(mut chooser: Chooser, setting: Setting<'_>) -> Outcome {
    use crate::choice::Concern;
    let mut half = || u64::from(chooser.below(Concern::Order, 1 << 16));
    let seed = half() << 16 | half();
    let world = world::World::new(chooser, setting);
    let ended = super::watched(setting.plant, || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(supervisor::run(world.clone()))
    });
    world.outcome(ended.err())
}
