//! Close against a write in flight.

use super::disk::MemDisk;
use super::engine::{open, query, reopened};
use super::log::config;
use super::{Model, Twin, all, bounded, together};
use crate::config::Config;
use crate::error::Error;
use crate::plant::Bug;
use crate::point::Point;
use std::sync::{Arc, Mutex};

const LEFT: &str = "close left an accepted point outside";

/// Points go straight to their shards.
pub(super) const CLOSE: Model = Model {
    name: "close",
    question: "Is every point that was accepted before close returned in a block when it has?",
    body: |threads| close(threads, &config()),
    sizes: &[all(2), bounded(3, 3)],
    twins: &[Twin { bug: Bug::C7, size: all(2), reason: LEFT }],
};

/// They wait in a lane, which nobody has used before.
pub(super) const CLOSE_LANES: Model = Model {
    name: "close_lanes",
    question: "Is a point in a lane that was accepted before close returned in a block when it has?",
    body: |threads| close(threads, &Config { inbox_points: 8, ..config() }),
    sizes: &[all(2), bounded(3, 3)],
    twins: &[
        Twin { bug: Bug::C7, size: all(2), reason: LEFT },
        Twin { bug: Bug::R9, size: all(2), reason: LEFT },
    ],
};

/// The first thread closes, the second one writes, a third one syncs: each is told `Closed`, or has what it was
/// promised.
fn close(threads: usize, config: &Config) {
    let disk = MemDisk::new();
    let engine = open(&disk, config.clone());
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let seen = accepted.clone();
    together(threads, move |number| {
        let outcome = match number {
            0 => return engine.close().expect("the disk is whole"),
            1 => engine.write(Point::new(1, 1, 0.5)),
            _ => engine.sync(),
        };
        if number == 1 && outcome.is_ok() {
            seen.lock().expect("nothing panics under it").push(1);
        }
        assert!(matches!(outcome, Ok(()) | Err(Error::Closed)), "{outcome:?}");
    });
    let accepted = accepted.lock().expect("nothing panics under it").clone();
    let engine = reopened(&disk.crashed(), config.clone());
    assert_eq!(query(&engine, 1), accepted, "{LEFT}");
    assert_eq!(engine.recovery_report().points_replayed, 0, "{LEFT}");
}
