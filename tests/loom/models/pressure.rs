//! Backpressure: writers that have to do the work of the background threads before they get on.

use super::disk::MemDisk;
use super::engine::{open, query, reopened};
use super::log::{SECTOR_BYTES, config};
use super::{DEADLOCK, Model, Twin, bounded, together};
use crate::config::Config;
use crate::plant::Bug;
use crate::point::Point;

const UNSEEN: &str = "a query does not see each accepted point once";
const LOST: &str = "a durable point did not survive (I2)";
const BEHIND: &str = "more points wait for the log than writers may leave";

/// Two segments of one sector, both in use: every thread finds the ring full, and flushes or waits for who does.
pub(super) const FULL_RING: Model = Model {
    name: "full_ring",
    question: "Does every writer that finds the log full get on, and lose nothing by the flush that this takes?",
    body: |threads| {
        let config = Config { segment_bytes: SECTOR_BYTES, ..config() };
        let disk = MemDisk::new();
        let engine = open(&disk, config.clone());
        for ts_us in [0, 1] {
            engine.write(Point::new(1, ts_us, 0.5)).expect("accepted");
            engine.sync().expect("the disk is whole");
        }
        together(threads, move |number| {
            engine.write(Point::new(1, 2 + number as i64, 0.5)).expect("accepted");
            engine.sync().expect("the disk is whole");
        });
        let survivors = query(&reopened(&disk.crashed(), config), 1);
        assert_eq!(survivors, (0..2 + threads as i64).collect::<Vec<_>>(), "{LOST}");
    },
    sizes: &[bounded(2, 2), bounded(3, 1)],
    twins: &[
        Twin { bug: Bug::C11, size: bounded(2, 2), reason: DEADLOCK },
        Twin { bug: Bug::W18, size: bounded(2, 2), reason: LOST },
    ],
};

/// One point of backlog and one byte in memory are too much: nearly every write has to append and to flush first.
pub(super) const BACKPRESSURE: Model = Model {
    name: "backpressure",
    question: "Do writers that find the engine behind all get on, and is it never further behind than they allow?",
    body: |threads| {
        let config = Config { backlog_points: 1, buffer_bytes: 1, block_points: 1, ..config() };
        let engine = open(&MemDisk::new(), config);
        let points = if threads == 2 { 2 } else { 1 };
        let shared = engine.clone();
        together(threads, move |number| {
            for ts_us in 0..points {
                shared.write(Point::new(number as u32 + 1, ts_us, 0.5)).expect("accepted");
            }
        });
        let stats = engine.stats();
        assert!(stats.backlog_points <= threads as u64, "{BEHIND}: {stats:?}");
        for tag in 1..=threads as u32 {
            assert_eq!(query(&engine, tag), (0..points).collect::<Vec<_>>(), "{UNSEEN}");
        }
    },
    sizes: &[bounded(2, 2), bounded(3, 1)],
    twins: &[
        Twin { bug: Bug::C11, size: bounded(2, 2), reason: DEADLOCK },
        Twin { bug: Bug::W24, size: bounded(2, 2), reason: BEHIND },
    ],
};
