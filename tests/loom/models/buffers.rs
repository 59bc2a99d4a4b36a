//! The buffers of a stream: seal and release against write and query. The threads call an engine without threads of its
//! own.

use super::disk::MemDisk;
use super::engine::{open, query, reopened};
use super::log::{config, tag};
use super::{Model, Twin, all, bounded, together};
use crate::buffer::{Buffers, Scope, Tails};
use crate::codec::mixed::Batch;
use crate::config::Config;
use crate::lsn::{Append, Lsn};
use crate::plant::Bug;
use crate::point::Point;
use crate::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const UNSEEN: &str = "a query does not see each accepted point once";
const OLD: &str = "a query sees a point and not what was accepted before it";
const UNCOUNTED: &str = "the count of sealed buffers is not that of sealed buffers";
const LOST: &str = "a durable point did not survive (I2)";

/// Every thread brings the first points of one tag.
pub(super) const NEW_TAG: Model = Model {
    name: "new_tag",
    question: "Does a tag that several threads write to for the first time keep the points of all?",
    body: |threads| {
        let engine = open(&MemDisk::new(), config());
        let shared = engine.clone();
        together(threads, move |number| {
            shared.write(Point::new(1, number as i64, 0.5)).expect("accepted");
        });
        assert_eq!(query(&engine, 1), (0..threads as i64).collect::<Vec<_>>(), "{UNSEEN}");
    },
    sizes: &[all(2), all(3)],
    twins: &[Twin { bug: Bug::C6, size: all(2), reason: UNSEEN }],
};

/// The first thread flushes while the others write and query.
pub(super) const SEAL: Model = Model {
    name: "seal",
    question: "Does a query see each accepted point once, wherever a flush has taken it by then?",
    body: |threads| {
        let disk = MemDisk::new();
        let engine = open(&disk, config());
        engine.write(Point::new(1, 0, 0.5)).expect("accepted");
        let shared = engine.clone();
        together(threads, move |number| match number {
            0 => shared.flush().expect("the disk is whole"),
            1 => {
                assert!(query(&shared, 1).starts_with(&[0]), "{UNSEEN}");
                shared.write(Point::new(1, 1, 0.5)).expect("accepted");
                assert_eq!(query(&shared, 1), [0, 1], "{UNSEEN}");
            }
            _ => assert!(query(&shared, 1).starts_with(&[0]), "{UNSEEN}"),
        });
        assert_eq!(query(&engine, 1), [0, 1], "{UNSEEN}");
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[
        Twin { bug: Bug::C2, size: all(2), reason: UNSEEN },
        Twin { bug: Bug::C3, size: all(2), reason: UNSEEN },
        Twin { bug: Bug::F2, size: all(2), reason: UNSEEN },
    ],
};

/// The first thread writes over a point, adds one, and flushes both; the others query.
pub(super) const ONE_MOMENT: Model = Model {
    name: "one_moment",
    question: "Does a query that sees a point also see everything that was accepted before it?",
    body: |threads| {
        let engine = open(&MemDisk::new(), config());
        engine.write(Point::new(1, 0, 1.0)).expect("accepted");
        together(threads, move |number| {
            if number == 0 {
                engine.write(Point::new(1, 0, 2.0)).expect("accepted");
                engine.write(Point::new(1, 1, 3.0)).expect("accepted");
                engine.flush().expect("the disk is whole");
                return;
            }
            let seen = engine.query(1, ..).expect("blocks are whole");
            assert!(seen.len() == 1 || seen[0].value == 2.0, "{OLD}: {seen:?}");
        });
    },
    sizes: &[all(2), bounded(3, 2)],
    twins: &[Twin { bug: Bug::R3, size: all(2), reason: OLD }],
};

/// A buffer is sealed by the append that makes it long enough, and by a flush; a flush takes it off the count.
pub(super) const SEALED_COUNT: Model = Model {
    name: "sealed_count",
    question: "Is every sealed buffer counted once, and every released one taken off once?",
    body: |threads| {
        let buffers = Arc::new(Buffers::new(&Config { block_points: 1, ..config() }));
        // Of the log only the positions matter.
        let log = Arc::new(AtomicU64::new(0));
        append_one(&buffers, &log);
        let shared = buffers.clone();
        together(threads, move |number| match number {
            0 => shared.release(&shared.seal(Scope::All)),
            _ => append_one(&shared, &log),
        });
        buffers.release(&buffers.seal(Scope::All));
        assert_eq!((buffers.sealed(), buffers.points(), buffers.backlog()), (0, 0, 0), "{UNCOUNTED}");
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[Twin { bug: Bug::C5, size: all(2), reason: UNCOUNTED }],
};

/// Accepts a point and appends what there is to append.
fn append_one(buffers: &Buffers, log: &AtomicU64) {
    let point = [Point::new(tag(0).get(), 0, 0.5)];
    buffers.accept([&point[..]], || Ok(()), || ()).expect("admitted");
    let append = &mut |_: &Batch| {
        let first_lsn = Lsn(log.fetch_add(1, Ordering::Relaxed));
        Ok(Append::Appended { first_lsn, end_lsn: first_lsn.advance(1) })
    };
    buffers.append(Tails::Full, append, |_| panic!("there is room")).expect("memory");
}

/// What the first thread's flush calls checkpointed is not what the others append meanwhile.
pub(super) const CHECKPOINT: Model = Model {
    name: "checkpoint",
    question: "Does a flush leave every point that another thread appends meanwhile above its checkpoint?",
    body: |threads| {
        let disk = MemDisk::new();
        let engine = open(&disk, config());
        engine.write(Point::new(1, 0, 0.5)).expect("accepted");
        let shared = engine.clone();
        together(threads, move |number| {
            if number == 0 {
                shared.flush().expect("the disk is whole");
            } else {
                shared.write(Point::new(1, number as i64, 0.5)).expect("accepted");
                shared.sync().expect("the disk is whole");
            }
        });
        let survivors = query(&reopened(&disk.crashed(), config()), 1);
        assert_eq!(survivors, (0..threads as i64).collect::<Vec<_>>(), "{LOST}");
    },
    sizes: &[bounded(2, 3), bounded(3, 1)],
    twins: &[Twin { bug: Bug::W16, size: bounded(2, 3), reason: LOST }],
};
