//! Close against a write in flight.

use super::disk::MemDisk;
use super::engine::{open, query, reopened};
use super::log::config;
use super::{Model, Twin, all, bounded, together};
use crate::error::Error;
use crate::plant::Bug;
use crate::point::Point;
use std::sync::{Arc, Mutex};

const LEFT: &str = "close left an accepted point outside";

/// The first thread closes, each of the others writes: it is told `Closed`, or its point is in a block.
pub(super) const CLOSE: Model = Model {
    name: "close",
    question: "Is every point that was accepted before close returned in a block when it has?",
    body: |threads| {
        let disk = MemDisk::new();
        let engine = open(&disk, config());
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let seen = accepted.clone();
        together(threads, move |number| {
            if number == 0 {
                engine.close().expect("the disk is whole");
                return;
            }
            match engine.write(Point::new(1, number as i64, 0.5)) {
                Ok(()) => seen.lock().expect("nothing panics under it").push(number as i64),
                Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
            }
        });
        let mut accepted = accepted.lock().expect("nothing panics under it").clone();
        accepted.sort_unstable();
        let engine = reopened(&disk.crashed(), config());
        assert_eq!(query(&engine, 1), accepted, "{LEFT}");
        assert_eq!(engine.recovery_report().points_replayed, 0, "{LEFT}");
    },
    sizes: &[all(2), bounded(3, 2)],
    twins: &[Twin { bug: Bug::C7, size: all(2), reason: LEFT }],
};
