//! How a writer hands a full batch to the logger: a cursor that moves, or a lock-free queue.
//!
//! ```text
//! cargo bench -p tidewall-benches --bench handoff [-- --points 20000000 --tags 1000]
//! ```
//!
//! Both models keep each tag's points in memory, for queries, and give batches of 100 to a second thread that copies them
//! into a staging buffer, as the log does.
//!
//! * **cursor**: the batch is the end of the tag's vector. The logger takes the shard's lock, copies, moves the cursor.
//! * **queue**: the writer copies the batch out and pushes it to a `crossbeam_queue::SegQueue`; the logger pops. No lock is
//!   shared, and the points are in memory twice until they are popped.

use crossbeam_queue::SegQueue;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tidewall_benches::{argument, cpu_seconds, median};

type Entry = (i64, f64, u8);

const BATCH: usize = 100;
const SHARDS: usize = 16;
/// Points that are kept in memory for a tag before they are dropped, as a flush would.
const KEPT: usize = 4096;

#[derive(Default)]
struct Tag {
    entries: Vec<Entry>,
    appended: usize,
    listed: bool,
}

struct Shard {
    tags: Vec<Tag>,
    full: Vec<usize>,
}

fn main() {
    let (points, tags) = (argument("points", 20_000_000) as usize, argument("tags", 1000) as usize);
    println!("{points} points of {tags} tags, one writer and one logger, medians of 5");
    let mut measured: [Vec<(f64, f64)>; 2] = Default::default();
    for _ in 0..5 {
        measured[0].push(cursor(points, tags));
        measured[1].push(queue(points, tags));
    }
    for (name, measured) in ["cursor", "queue"].into_iter().zip(measured) {
        let wall = median(measured.iter().map(|(wall, _)| wall * 1e9 / points as f64).collect());
        let cpu = median(measured.iter().map(|(_, cpu)| cpu * 1e9 / points as f64).collect());
        println!("{name:<8} {wall:>6.1} ns a point, {cpu:>6.1} ns of processor");
    }
}

fn shards(tags: usize) -> Vec<Mutex<Shard>> {
    let shard = |_| {
        let tags = (0..tags.div_ceil(SHARDS)).map(|_| Tag::default()).collect();
        Mutex::new(Shard { tags, full: Vec::new() })
    };
    (0..SHARDS).map(shard).collect()
}

fn entry(n: usize) -> Entry {
    (n as i64, n as f64, 192)
}

fn stage(staging: &mut Vec<u8>, batch: &[Entry]) {
    if staging.len() > 1 << 20 {
        staging.clear();
    }
    for (ts_us, value, quality) in batch {
        staging.extend_from_slice(&ts_us.to_le_bytes());
        staging.extend_from_slice(&value.to_le_bytes());
        staging.push(*quality);
    }
}

fn measure(work: impl FnOnce()) -> (f64, f64) {
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    work();
    (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

fn cursor(points: usize, tags: usize) -> (f64, f64) {
    let (shards, ended, waiting) = (shards(tags), AtomicBool::new(false), AtomicU64::new(0));
    let pass = |staging: &mut Vec<u8>| {
        for shard in &shards {
            let shard = &mut *shard.lock();
            for at in shard.full.drain(..) {
                let tag = &mut shard.tags[at];
                while tag.entries.len() - tag.appended >= BATCH {
                    stage(staging, &tag.entries[tag.appended..tag.appended + BATCH]);
                    tag.appended += BATCH;
                    waiting.fetch_sub(BATCH as u64, Ordering::AcqRel);
                }
                tag.listed = false;
                if tag.appended >= KEPT {
                    tag.entries.drain(..tag.appended);
                    tag.appended = 0;
                }
            }
        }
    };
    measure(|| {
        std::thread::scope(|scope| {
            let logger = scope.spawn(|| {
                let mut staging = Vec::new();
                while !ended.load(Ordering::Acquire) {
                    std::thread::park();
                    pass(&mut staging);
                }
                staging.len()
            });
            let logger_thread = logger.thread().clone();
            for n in 0..points {
                let at = n % tags;
                let mut shard = shards[at % SHARDS].lock();
                let shard = &mut *shard;
                let tag = &mut shard.tags[at / SHARDS];
                tag.entries.push(entry(n));
                if (tag.entries.len() - tag.appended).is_multiple_of(BATCH) {
                    if !std::mem::replace(&mut tag.listed, true) {
                        shard.full.push(at / SHARDS);
                    }
                    if waiting.fetch_add(BATCH as u64, Ordering::AcqRel) + BATCH as u64 >= 40_000 {
                        logger_thread.unpark();
                    }
                }
            }
            ended.store(true, Ordering::Release);
            logger_thread.unpark();
        });
    })
}

fn queue(points: usize, tags: usize) -> (f64, f64) {
    let (shards, ended, waiting) = (shards(tags), AtomicBool::new(false), AtomicU64::new(0));
    let handed: SegQueue<Box<[Entry]>> = SegQueue::new();
    measure(|| {
        std::thread::scope(|scope| {
            let logger = scope.spawn(|| {
                let mut staging = Vec::new();
                while !ended.load(Ordering::Acquire) {
                    std::thread::park();
                    while let Some(batch) = handed.pop() {
                        stage(&mut staging, &batch);
                        waiting.fetch_sub(BATCH as u64, Ordering::AcqRel);
                    }
                }
                staging.len()
            });
            let logger_thread = logger.thread().clone();
            for n in 0..points {
                let at = n % tags;
                let mut shard = shards[at % SHARDS].lock();
                let tag = &mut shard.tags[at / SHARDS];
                tag.entries.push(entry(n));
                if tag.entries.len() - tag.appended == BATCH {
                    handed.push(tag.entries[tag.appended..].into());
                    tag.appended += BATCH;
                    if tag.appended >= KEPT {
                        tag.entries.clear();
                        tag.appended = 0;
                    }
                    drop(shard);
                    if waiting.fetch_add(BATCH as u64, Ordering::AcqRel) + BATCH as u64 >= 40_000 {
                        logger_thread.unpark();
                    }
                }
            }
            ended.store(true, Ordering::Release);
            logger_thread.unpark();
        });
    })
}
