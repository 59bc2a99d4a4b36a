//! The sizes of a run, drawn first. Small: a world of a few clients and a second or two of virtual time, with several
//! crashes in it, costs a few milliseconds.

use crate::choice::{Chooser, Concern};
use crate::workload::Shape;
use tidewall::{Config, Durability};

/// What a run will be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The engine's limits.
    pub config: Config,
    /// Number of clients.
    pub clients: u32,
    /// Batches that each of them sends.
    pub batches: u32,
    /// Most points of a batch.
    pub batch_max: u32,
    /// Shares of 256: points that overwrite an earlier batch's, requests delivered twice, requests delivered late.
    pub overwrites: u32,
    pub duplicates: u32,
    pub delays: u32,
    /// Longest pause of a client between two batches.
    pub pause_ms: u32,
    /// A client sends a batch again after so long.
    pub timeout_ms: u32,
    /// How long the collector gathers requests for one commit.
    pub gather_ms: u32,
    /// How often the supervisor interferes.
    pub disturbances: u32,
}

impl Plan {
    /// Draws a plan.
    pub fn draw(chooser: &mut Chooser) -> Plan {
        // The swarm of limits that the sequential driver draws from. What is durable is up to the collector's syncs.
        let config = Config { durability: Durability::Batched, ..Shape::draw(chooser).config };
        let shape = Concern::Shape;
        Plan {
            config,
            clients: chooser.between(shape, 1, 5),
            batches: chooser.between(shape, 6, 24),
            batch_max: chooser.pick(shape, &[8, 2, 24]),
            overwrites: chooser.pick(shape, &[96, 0, 200]),
            duplicates: chooser.pick(shape, &[24, 0, 96]),
            delays: chooser.pick(shape, &[24, 0, 96]),
            pause_ms: chooser.pick(shape, &[10, 0, 40]),
            timeout_ms: chooser.pick(shape, &[60, 30, 200]),
            gather_ms: chooser.pick(shape, &[5, 1, 20]),
            disturbances: chooser.between(shape, 3, 14),
        }
    }
}
