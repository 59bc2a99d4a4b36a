//! The hand-off to a background thread: how it is woken, how it ends, and how its errors come back.

use super::disk::MemDisk;
use super::log::config;
use super::{DEADLOCK, Model, Twin, all, bounded, together};
use crate::background::Unreported;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use crate::plant::Bug;
use crate::point::Point;
use crate::sync::{Arc, AtomicU64, Bell, Ordering};

/// The work is published with relaxed stores: only the bell makes it seen. A ring that is lost, or that does not bring
/// the work with it, leaves the sleeper waiting for ever.
pub(super) const HAND_OFF: Model = Model {
    name: "hand_off",
    question: "Does a sleeper see all work that was published before a ring, and wake for all of it?",
    body: |threads| {
        let bell = Arc::new(Bell::new());
        let work: Arc<Vec<AtomicU64>> = Arc::new((1..threads).map(|_| AtomicU64::new(0)).collect());
        together(threads, move |number| {
            if number > 0 {
                for done in 1..=2 {
                    work[number - 1].store(done, Ordering::Relaxed);
                    bell.ring();
                }
                return;
            }
            while work.iter().any(|work| work.load(Ordering::Relaxed) < 2) {
                bell.wait(None);
            }
        });
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[
        Twin { bug: Bug::C10, size: all(2), reason: DEADLOCK },
        Twin { bug: Bug::R1, size: all(2), reason: DEADLOCK },
    ],
};

/// The logger and the flusher are two of the threads; a fourth one writes while the engine is closed. No tick comes to
/// the rescue of one that was not woken.
pub(super) const BACKGROUND: Model = Model {
    name: "background",
    question: "Do the background threads take what was written, and end when the engine does?",
    body: |threads| {
        let config = Config { backlog_points: 2, flush_delay_ms: Some(1), ..config() };
        let engine = Engine::open(Arc::new(MemDisk::new()), config).expect("a new store");
        let shared = engine.clone();
        together(threads - 2, move |number| {
            let outcome = shared.write(Point::new(1, number as i64, 0.5));
            match number {
                0 => shared.close().expect("the disk is whole"),
                _ => assert!(matches!(outcome, Ok(()) | Err(Error::Closed)), "{outcome:?}"),
            }
        });
        assert_eq!(engine.stats().buffered_points, 0);
    },
    sizes: &[bounded(3, 2), bounded(4, 1)],
    twins: &[
        Twin { bug: Bug::C10, size: bounded(3, 2), reason: DEADLOCK },
        Twin { bug: Bug::R7, size: bounded(3, 2), reason: DEADLOCK },
    ],
};

const REPORTS: &str = "calls that reported the one error";

/// The first thread has run into an error; all of them make a call that would report it.
pub(super) const UNREPORTED: Model = Model {
    name: "unreported",
    question: "Is an error of a background thread reported by exactly one call, and the next one after it, too?",
    body: |threads| {
        let unreported = Arc::new(Unreported::new());
        let reports = Arc::new(AtomicU64::new(0));
        let seen = (unreported.clone(), reports.clone());
        let keep = |unreported: &Unreported, file| {
            let error = std::io::Error::other("the disk is gone");
            unreported.keep(Err(Error::io("write", file, error)));
        };
        together(threads, move |number| {
            let (unreported, reports) = &seen;
            if number == 0 {
                keep(unreported, "first");
                keep(unreported, "second");
            } else if unreported.report().is_err() {
                reports.fetch_add(1, Ordering::Relaxed);
            }
        });
        let last = u64::from(unreported.report().is_err());
        // The second one is heard if the first was before it came.
        assert!((1..=2).contains(&(reports.load(Ordering::Relaxed) + last)), "{REPORTS}");
        assert!(unreported.report().is_ok());
        keep(&unreported, "third");
        let third = unreported.report().expect_err("it was kept").to_string();
        assert!(third.contains("third"), "{REPORTS}: {third}");
    },
    sizes: &[all(2), all(3)],
    twins: &[
        Twin { bug: Bug::W20, size: all(2), reason: REPORTS },
        Twin { bug: Bug::R10, size: all(2), reason: REPORTS },
        Twin { bug: Bug::R11, size: all(2), reason: REPORTS },
    ],
};
