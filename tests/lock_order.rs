//! The lock hierarchy of `src/sync.rs` is used, not only written down: what a mixed workload of many threads takes inside
//! what.
//!
//! A file of its own, because locks are counted by process. Every acquisition is checked where it happens: a pair the
//! wrong way round panics with both names. What is shown here is that those checks have had something to look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tidewall::{Config, Durability, Engine, Error, Point, lock_counts};
use tidewall_sim::disk::{Armed, Effect, IoKind, SimDisk};
use tidewall_sim::timeline::Timeline;

/// As the table in `src/sync.rs` has them, outermost first.
const RANKS: [&str; 9] = ["Flush", "Lane", "Shard", "Wal", "Manifest", "Store", "Names", "Pool", "Leaf"];

fn config(wal_streams: usize, durability: Durability) -> Config {
    Config {
        durability,
        wal_streams,
        batch_points: 10,
        block_points: 40,
        backlog_points: 40,
        buffer_bytes: 2000,
        shards: 4,
        inbox_points: 8,
        segment_bytes: 4096,
        segments: 2,
        segments_max: 3,
        staging_bytes: 1024,
        sector_bytes: 512,
        chunk_bytes: 8192,
        manifest_bytes: 4096,
        cache_bytes: 1 << 20,
        flush_workers: 3,
        flush_delay_ms: Some(1),
    }
}

/// Writers, readers, a syncer, a flusher and a stepper on one handle; then a crash that is recovered, then a close.
fn mixed_workload(wal_streams: usize, durability: Durability) {
    let disk = SimDisk::new(Timeline::default());
    let open = || Engine::open(Arc::new(disk.clone()), config(wal_streams, durability)).unwrap();
    let engine = open();
    let points = |tag: u32| (0..400).map(move |n| Point::new(tag, n, n as f64));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let (engine, ended) = (&engine, &ended);
        let write = move |tag: u32| {
            let points: Vec<_> = points(tag).collect();
            // Three are too many for an inbox: of them a sync finds short tails, in several shards at a time.
            points
                .chunks(if tag.is_multiple_of(2) { 3 } else { 1 })
                .for_each(|some| engine.write_batch(some).unwrap());
        };
        let writers: Vec<_> = (1..=6).map(|tag| scope.spawn(move || write(tag))).collect();
        let others: [fn(&Engine); 5] = [
            |engine| assert!(engine.query(1, ..).unwrap().len() <= 400),
            |engine| engine.sync().unwrap(),
            |engine| engine.flush().unwrap(),
            |engine| engine.step().unwrap(),
            |engine| assert!(engine.stats().durable_lsn <= engine.stats().appended_lsn),
        ];
        for call in others {
            scope.spawn(move || {
                while !ended.load(Ordering::Acquire) {
                    call(engine);
                }
            });
        }
        let joined: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        ended.store(true, Ordering::Release);
        joined.into_iter().for_each(|writer| writer.unwrap());
    });
    engine.sync().unwrap();
    drop(engine);
    let engine = open();
    for tag in 1..=6 {
        assert!(engine.query(tag, ..).unwrap().into_iter().eq(points(tag)));
    }
    engine.close().unwrap();
}

/// The cause of a failed sync is read inside whatever lock finds it.
fn read_only_engine() {
    let disk = SimDisk::new(Timeline::default());
    let config = Config { flush_delay_ms: None, ..config(2, Durability::Batched) };
    let engine = Engine::open(Arc::new(disk.clone()), config).unwrap();
    engine.write(Point::new(1, 1, 1.0)).unwrap();
    disk.arm(Armed { kind: IoKind::Sync, only: "wal-", after: 0, sticky: false, effect: Effect::None });
    for _ in 0..2 {
        assert!(matches!(engine.sync(), Err(Error::ReadOnly { .. })));
    }
}

#[test]
fn the_whole_lock_hierarchy_is_used_and_only_downwards() {
    for wal_streams in [1, 3] {
        for durability in [Durability::Batched, Durability::Immediate] {
            mixed_workload(wal_streams, durability);
        }
    }
    read_only_engine();

    let counts = lock_counts();
    if cfg!(not(debug_assertions)) {
        assert!(counts.is_empty(), "release builds do not count");
        return;
    }
    let rank = |name: &str| RANKS.iter().position(|rank| *rank == name).expect("a rank of the table");
    let times = |holding: Option<&str>, taken: &str| {
        counts
            .iter()
            .find(|count| count.holding == holding && count.taken == taken)
            .map_or(0, |count| count.times)
    };
    print!("{:<10}", "holding");
    RANKS.iter().for_each(|taken| print!("{taken:>10}"));
    println!();
    for holding in [None].into_iter().chain(RANKS.iter().map(|rank| Some(*rank))) {
        print!("{:<10}", holding.unwrap_or("-"));
        RANKS.iter().for_each(|taken| print!("{:>10}", times(holding, taken)));
        println!();
    }

    for count in &counts {
        assert!(count.times > 0);
        // Shards are also taken one after the other, by rising numbers: that is checked where it happens.
        let inwards = count.holding.is_none_or(|holding| {
            rank(holding) < rank(count.taken) || (holding, count.taken) == ("Shard", "Shard")
        });
        assert!(inwards, "{} taken inside {:?}", count.taken, count.holding);
    }
    for taken in RANKS {
        // An edit is committed by whoever has its stream's turn to flush, and by nobody else.
        assert_eq!(times(None, taken) > 0, taken != "Manifest", "{taken} as the outermost lock");
    }
    // Why each pair is needed is said in the table of `src/sync.rs`.
    let needed = [
        ("Flush", "Lane"),
        ("Flush", "Shard"),
        ("Flush", "Wal"),
        ("Flush", "Manifest"),
        ("Flush", "Store"),
        ("Flush", "Names"),
        ("Flush", "Pool"),
        ("Flush", "Leaf"),
        ("Lane", "Shard"),
        ("Lane", "Wal"),
        ("Shard", "Shard"),
        ("Shard", "Wal"),
        ("Shard", "Store"),
        ("Wal", "Leaf"),
        ("Manifest", "Leaf"),
        ("Pool", "Leaf"),
    ];
    for (holding, taken) in needed {
        assert!(times(Some(holding), taken) > 0, "{taken} is never taken inside {holding}");
    }
    let nested: Vec<_> = counts.iter().filter_map(|count| Some((count.holding?, count.taken))).collect();
    assert!(
        nested.iter().all(|pair| needed.contains(pair)),
        "a pair that nobody has thought about: {nested:?}"
    );
}
