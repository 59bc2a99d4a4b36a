//! Group commit: who returns from `commit`, and when.

use super::disk::{MemDisk, OVERLAP};
use super::log::{append, log, survives, try_append};
use super::{DEADLOCK, Model, Twin, all, bounded, together};
use crate::error::Error;
use crate::lsn::Lsn;
use crate::plant::Bug;

const EARLY: &str = "a commit returns before a sync has covered its frame (I1)";
const UNHEARD: &str = "a waiter did not hear of the failed sync (I8)";

/// Every thread appends and commits: when it returns its frame is on the disk, and so is everything before it.
pub(super) const COMMIT: Model = Model {
    name: "group_commit",
    question: "Does each of several committers return only after a sync that covers its frame?",
    body: |threads| {
        let disk = MemDisk::watched();
        let log = log(&disk, 1, 8);
        // Begins the first segment: rotation is another model's subject.
        append(&log, 0);
        let seen = (log.clone(), disk.clone());
        together(threads, move |number| {
            let (log, disk) = &seen;
            let end_lsn = append(log, number);
            log.commit(end_lsn).expect("the disk is whole");
            assert!(survives(disk, Lsn(0), end_lsn), "{EARLY}");
        });
        let (stats, marks) = log.stats();
        assert_eq!((marks.appended, marks.durable), (Lsn(threads as u64 + 1), Lsn(threads as u64 + 1)));
        assert!(stats.syncs <= threads as u64, "more syncs than callers");
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[
        Twin { bug: Bug::F1, size: all(2), reason: EARLY },
        Twin { bug: Bug::C8, size: bounded(2, 3), reason: OVERLAP },
        Twin { bug: Bug::C11, size: all(2), reason: DEADLOCK },
        Twin { bug: Bug::C14, size: all(2), reason: DEADLOCK },
    ],
};

/// The first sync fails: whoever leads and whoever waits hear the same, and nobody syncs again.
pub(super) const FAILED_SYNC: Model = Model {
    name: "failed_sync",
    question: "Does every committer hear of a sync that failed, also who waited for another's?",
    body: |threads| {
        let disk = MemDisk::new();
        let log = log(&disk, 2, 8);
        append(&log, 0);
        disk.fail_syncs(1);
        together(threads, move |number| {
            let outcome =
                try_append(&log, number).and_then(|end_lsn| log.commit(end_lsn.expect("a free segment")));
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{UNHEARD}: {outcome:?}");
        });
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[Twin { bug: Bug::I8, size: all(2), reason: UNHEARD }],
};

/// The first write fails: its leader hears of it, and the others lead or wait anew until all is durable.
pub(super) const FAILED_WRITE: Model = Model {
    name: "failed_write",
    question: "Does every committer come to an end, if a write fails for which some are waiting?",
    body: |threads| {
        let disk = MemDisk::new();
        let log = log(&disk, 2, 8);
        append(&log, 0);
        disk.fail_writes(1);
        let seen = log.clone();
        together(threads, move |number| {
            let end_lsn = append(&log, number);
            while let Err(error) = log.commit(end_lsn) {
                assert!(matches!(error, Error::Io { .. }), "{error}");
            }
        });
        let (_, marks) = seen.stats();
        assert_eq!(marks.durable, marks.appended);
    },
    sizes: &[bounded(2, 3), bounded(3, 3)],
    twins: &[Twin { bug: Bug::C13, size: bounded(3, 3), reason: DEADLOCK }],
};
