//! What may be read of a log while another thread commits.

use super::disk::MemDisk;
use super::log::{append, log, survives};
use super::{Model, Twin, all, bounded, together};
use crate::lsn::Lsn;
use crate::plant::Bug;

const AHEAD: &str = "the durable watermark is ahead of the disk (I1)";

/// One thread commits and checkpoints, the others append and look.
pub(super) const WATERMARK: Model = Model {
    name: "watermark",
    question: "Are the watermarks in order, do they only rise, and is what is below the durable one on the disk?",
    body: |threads| {
        let disk = MemDisk::watched();
        let log = log(&disk, 1, 8);
        append(&log, 0);
        together(threads, move |number| {
            if number == 0 {
                log.commit(append(&log, number)).expect("the disk is whole");
                log.retire(log.watermarks().durable);
                return;
            }
            append(&log, number);
            let mut before = None;
            for _ in 0..2 {
                let now = log.watermarks();
                assert!(now.checkpoint <= now.durable && now.durable <= now.appended, "I7: {now:?}");
                assert!(survives(&disk, Lsn(0), now.durable), "{AHEAD}: {now:?}");
                let then = before.replace(now).unwrap_or(now);
                let rises = then.checkpoint <= now.checkpoint
                    && then.durable <= now.durable
                    && then.appended <= now.appended;
                assert!(rises, "I7: {then:?}, then {now:?}");
            }
        });
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[
        Twin { bug: Bug::F1, size: all(2), reason: AHEAD },
        Twin { bug: Bug::R5, size: all(2), reason: AHEAD },
    ],
};
