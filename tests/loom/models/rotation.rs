//! Append against whoever has the turn: rotation, and the ring's segments that come back.

use super::disk::MemDisk;
use super::log::{append, log, survives, try_append, try_append_points};
use super::{Model, Twin, all, bounded, together};
use crate::lsn::Lsn;
use crate::plant::Bug;
use crate::wal::Log;

const GAP: &str = "the frames on the disk do not follow each other";
const OVERWRITTEN: &str = "a segment was reused that held a point above the checkpoint (I4)";

/// The active segment has room for a short frame and none for the first thread's long one, which makes it be left.
pub(super) const ROTATION: Model = Model {
    name: "rotation",
    question: "Do the frames of all threads follow each other without a gap, across a segment that is being left?",
    body: |threads| {
        let disk = MemDisk::new();
        let log = log(&disk, 2, 1);
        let long = |log: &Log, points| {
            try_append_points(log, 0, points).expect("the disk is whole").expect("a free segment");
        };
        // 408 bytes of 512; a frame of 7 points takes 144, one of a single point 88.
        long(&log, 40);
        let seen = log.clone();
        together(threads, move |number| {
            if number == 0 {
                long(&seen, 7);
            } else {
                append(&seen, number);
            }
        });
        let appended = log.watermarks().appended;
        assert_eq!(appended, Lsn(47 + threads as u64 - 1), "{GAP}");
        log.commit(appended).expect("the disk is whole");
        assert!(survives(&disk, Lsn(0), appended), "{GAP}");
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[
        Twin { bug: Bug::C4, size: all(2), reason: GAP },
        Twin { bug: Bug::R6, size: all(2), reason: GAP },
    ],
};

/// Both segments are in use when the first thread needs another one. It flushes when it finds none free, and so do the
/// other threads.
pub(super) const RETIRE: Model = Model {
    name: "retire",
    question: "Is a segment used again only when all that it holds is below the checkpoint?",
    body: |threads| {
        let disk = MemDisk::new();
        let log = log(&disk, 2, 1);
        // A sync fills a segment of one sector.
        for _ in 0..2 {
            log.commit(append(&log, 0)).expect("the disk is whole");
        }
        // As if everything below were in blocks by now.
        let flush = |log: &Log| {
            let checkpoint_lsn = log.watermarks().appended;
            log.commit(checkpoint_lsn).expect("the disk is whole");
            log.retire(checkpoint_lsn);
        };
        let seen = log.clone();
        together(threads, move |number| {
            if number > 0 {
                flush(&seen);
                return;
            }
            let end_lsn = loop {
                match try_append(&seen, number).expect("the disk is whole") {
                    Some(end_lsn) => break end_lsn,
                    None => flush(&seen),
                }
            };
            seen.commit(end_lsn).expect("the disk is whole");
            let marks = seen.watermarks();
            assert!(survives(&disk, marks.checkpoint, marks.durable), "{OVERWRITTEN}: {marks:?}");
        });
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[Twin { bug: Bug::W15, size: all(2), reason: OVERWRITTEN }],
};
