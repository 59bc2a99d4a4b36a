//! The lanes of small calls: whose points wait where, and how that changes hands.

use super::log::config;
use super::{Model, Twin, all, bounded, together};
use crate::buffer::{Buffers, Scope, Tails};
use crate::codec::mixed::{Batch, Mixed};
use crate::config::Config;
use crate::lsn::{Append, Lsn};
use crate::plant::Bug;
use crate::point::{Point, TagId};
use crate::sync::{Arc, thread};
use std::sync::atomic::{AtomicU64, Ordering};

const UNSEEN: &str = "a writer does not see its points in the order in which they were accepted";
const LEFT: &str = "a sync does not find what its thread has written";

/// A tag for each thread. The lower bits of their hashes are the same, so they have one owner.
const TAGS: [u32; 3] = [1, 7038, 14075];
/// A tag of everybody, with an owner of its own.
const COMMON: u32 = 2;

fn tag(thread: usize) -> TagId {
    TagId::new(TAGS[thread]).expect("not zero")
}

/// Lanes that hand over a tag when others have come twice.
fn buffers() -> Arc<Buffers> {
    Arc::new(Buffers::new(&Config { inbox_points: 8, batch_points: 8, block_points: 64, ..config() }))
}

fn accept(buffers: &Buffers, tag: TagId, ts_us: i64) {
    buffers.accept_one(&Point::new(tag.get(), ts_us, 0.5), || Ok(()), || ()).expect("admitted");
}

/// The times of a tag's points, in the order in which they were accepted.
fn seen(buffers: &Buffers, tag: TagId) -> Vec<i64> {
    let (recent, ()) = buffers.recent(tag, &(..), || ());
    recent.tail.iter().map(|entry| entry.ts_us).collect()
}

/// Every thread writes to a common tag, then to its own, and looks at it; all take the lane from each other.
pub(super) const LANES: Model = Model {
    name: "lanes",
    question: "Do a tag's points keep their order, and are all seen, while it goes from lane to lane?",
    body: |threads| {
        let buffers = buffers();
        together(threads, move |number| {
            let tag = tag(number);
            accept(&buffers, TagId::new(COMMON).expect("not zero"), number as i64);
            for points in 1..=2 {
                accept(&buffers, tag, points - 1);
                assert_eq!(seen(&buffers, tag), (0..points).collect::<Vec<_>>(), "{UNSEEN}");
            }
        });
    },
    sizes: &[bounded(2, 5), bounded(3, 2)],
    twins: &[
        Twin { bug: Bug::T1, size: bounded(2, 3), reason: UNSEEN },
        Twin { bug: Bug::T2, size: bounded(2, 3), reason: UNSEEN },
        Twin { bug: Bug::T5, size: bounded(2, 3), reason: UNSEEN },
        Twin { bug: Bug::T7, size: bounded(2, 5), reason: UNSEEN },
    ],
};

/// The first thread syncs what it has written; the others take the lane meanwhile.
pub(super) const HAND_OVER: Model = Model {
    name: "hand_over",
    question: "Does a sync find everything that its thread has written, in whichever lane it waits?",
    body: |threads| {
        let buffers = buffers();
        together(threads, move |number| {
            accept(&buffers, tag(number), 0);
            accept(&buffers, tag(number), 1);
            if number == 0 {
                assert_eq!(appended(&buffers, tag(0)), 2, "{LEFT}");
            }
        });
    },
    sizes: &[all(2), bounded(3, 2)],
    twins: &[
        Twin { bug: Bug::T3, size: all(2), reason: LEFT },
        Twin { bug: Bug::T4, size: bounded(3, 3), reason: LEFT },
    ],
};

const OVERLAP: &str = "a tag's points have positions before those that were sealed already";

/// The second thread's tag goes to the lane of the first one, where points of another tag are in frames already. A point in a frame
/// fills its buffer.
pub(super) const POSITIONS: Model = Model {
    name: "positions",
    question: "Does a buffer know where its points are in the log, whichever lanes they were logged in?",
    body: |threads| {
        let config = Config { inbox_points: 8, batch_points: 2, block_points: 2, ..config() };
        let (buffers, next_lsn) = (Arc::new(Buffers::new(&config)), Arc::new(AtomicU64::new(0)));
        let tags = [TagId::new(TAGS[0]), TagId::new(COMMON)].map(|tag| tag.expect("not zero"));
        let sync = |buffers: &Buffers, next_lsn: &AtomicU64| {
            let append = &mut |batch: &Batch| {
                let first_lsn = Lsn(next_lsn.fetch_add(batch.count.into(), Ordering::Relaxed));
                Ok(Append::Appended { first_lsn, end_lsn: first_lsn.advance(batch.count.into()) })
            };
            buffers.append(Tails::All, append, |_| panic!("there is room")).expect("memory");
        };
        // The first lane has both tags until the second one has asked for one of them twice, and each lane knows that there are two.
        tags.iter().for_each(|tag| accept(&buffers, *tag, 0));
        sync(&buffers, &next_lsn);
        thread::set_number(1);
        for ts_us in 1..=2 {
            accept(&buffers, tags[1], ts_us);
            sync(&buffers, &next_lsn);
        }
        thread::set_number(0);
        let shared = (buffers.clone(), next_lsn.clone());
        together(threads, move |number| {
            accept(&shared.0, tags[number], 3);
            sync(&shared.0, &shared.1);
        });
        for ts_us in 4..=5 {
            accept(&buffers, tags[1], ts_us);
        }
        sync(&buffers, &next_lsn);
        let sealed = buffers.seal(Scope::All);
        for pair in sealed.windows(2).filter(|pair| pair[0].tag == pair[1].tag) {
            assert!(pair[0].end_lsn <= pair[1].first_lsn, "{OVERLAP}");
        }
        assert_eq!(sealed.iter().map(|sealed| sealed.runs.points()).sum::<usize>(), 8);
    },
    sizes: &[all(2)],
    twins: &[Twin { bug: Bug::B10, size: all(2), reason: OVERLAP }],
};

/// Appends everything. Returns how many points of this tag were among it.
fn appended(buffers: &Buffers, tag: TagId) -> u32 {
    let (mut points, mut end) = (0, Lsn(0));
    let append = &mut |batch: &Batch| {
        points += match batch.tags {
            1 if batch.tag == tag => batch.count,
            1 => 0,
            _ => {
                let mixed = Mixed::parse(batch.payload).expect("it was encoded just now");
                mixed.shares.iter().filter(|share| share.tag == tag).map(|share| share.count).sum()
            }
        };
        let first_lsn = end;
        end = end.advance(batch.count.into());
        Ok(Append::Appended { first_lsn, end_lsn: end })
    };
    buffers.append(Tails::All, append, |_| panic!("there is room")).expect("memory");
    points
}
