//! What a point costs on its way into the log, by everything that changes it.
//!
//! ```text
//! cargo bench -p tidewall-benches --bench write [-- --points 1000000 --rounds 3]
//! ```
//!
//! Each case starts with an empty store and ends with a `sync`; cases take turns, round after round, and the table has
//! medians. Bytes are those of the log: the store is dropped, not closed.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tidewall::disk::RealDisk;
use tidewall::{Config, Durability, Engine, Point};
use tidewall_benches::data::{Data, sources};
use tidewall_benches::measure::{Cost, head, row};
use tidewall_benches::{argument, size};

/// How a writer hands its points over. What it does is in `hand_over`, alone.
#[derive(Clone, Copy)]
enum Call {
    /// `write` for each point, round-robin over the tags.
    Single,
    /// `write_batch` for this many of one tag, round-robin over the tags.
    Batch(usize),
}

#[derive(Clone)]
struct Case {
    group: &'static str,
    name: String,
    source: usize,
    tags: usize,
    writers: usize,
    call: Call,
    /// Points between syncs; 0 is only at the end.
    sync_every: usize,
    points: usize,
    config: Config,
}

/// The calls of the API that are measured.
fn hand_over(engine: &Engine, points: &[Point], call: Call) {
    match call {
        Call::Single => points.iter().for_each(|point| engine.write(*point).expect("accepted")),
        Call::Batch(_) => engine.write_batch(points).expect("accepted"),
    }
}

fn main() {
    let sources = sources();
    let points = size("points", 1_000_000);
    let cases = cases(points, &sources);
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); cases.len()];
    for _ in 0..argument("rounds", 3) {
        for (case, costs) in cases.iter().zip(&mut costs) {
            costs.push(run(case, &sources[case.source].1));
        }
    }
    println!("{points} points, with a sync after each 1,000 a fifth of them; medians of {}", costs[0].len());
    let mut group = "";
    for (case, costs) in cases.iter().zip(&costs) {
        if group != case.group {
            group = case.group;
            head(group);
        }
        row(&case.name, costs);
    }
}

fn cases(points: usize, sources: &[(&str, Data)]) -> Vec<Case> {
    let base = Case {
        group: "",
        name: String::new(),
        source: 0,
        tags: 1000,
        writers: 1,
        call: Call::Single,
        sync_every: 0,
        points,
        config: Config::default(),
    };
    let calls = [(Call::Single, "write"), (Call::Batch(100), "write_batch of 100")];
    let mut cases = Vec::new();
    let mut add = |group, name: String, case: Case| cases.push(Case { group, name, ..case });
    for (call, what) in calls {
        for tags in [1, 10, 100, 1000, 100_000] {
            add("tags", format!("{what}, {tags} tags"), Case { tags, call, ..base.clone() });
        }
    }
    for (call, what) in calls {
        for writers in [1, 2] {
            add("writers", format!("{what}, {writers} writers"), Case { writers, call, ..base.clone() });
        }
    }
    for batch_points in [10, 100, 1000] {
        let config = Config { batch_points, ..Config::default() };
        add(
            "points of a tag batch",
            format!("write, {batch_points} points"),
            Case { config, ..base.clone() },
        );
    }
    for (sync_every, part) in [(0, 1), (10_000, 1), (1000, 5)] {
        let name = match sync_every {
            0 => "write, one sync".into(),
            every => format!("write, sync after each {every}"),
        };
        add("durability", name, Case { sync_every, points: points / part, ..base.clone() });
    }
    for streams in [1, 2, 4] {
        let config = Config { wal_streams: streams, ..Config::default() };
        let case = Case { writers: 2, sync_every: 10_000, config, ..base.clone() };
        add("log streams, 2 writers, sync after each 10000", format!("write, {streams} streams"), case);
    }
    for (source, (what, _)) in sources.iter().enumerate() {
        for (call, how) in calls {
            add("data", format!("{how}, {what}"), Case { source, call, ..base.clone() });
        }
    }
    for waiters in [1, 2, 4, 8] {
        let config = Config { durability: Durability::Immediate, ..Config::default() };
        let case = Case { writers: waiters, config, ..base.clone() };
        add("immediate: each point waits for its sync", format!("write, {waiters} waiting threads"), case);
    }
    cases
}

fn run(case: &Case, data: &Data) -> Cost {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk = RealDisk::new(dir.path()).expect("a directory");
    let engine = Engine::open(Arc::new(disk), case.config.clone()).expect("opens");
    if case.config.durability == Durability::Immediate {
        return wait(case, &engine, data);
    }
    let each = (case.points / case.tags).max(1);
    Cost::of(each * case.tags, || {
        std::thread::scope(|scope| {
            for writer in 0..case.writers {
                let engine = &engine;
                scope.spawn(move || write(case, engine, data, writer as u32, each));
            }
        });
        engine.sync().expect("syncs");
    })
}

/// The share of one writer: every `writers`-th tag.
fn write(case: &Case, engine: &Engine, data: &Data, writer: u32, each: usize) {
    let tags = || (writer + 1..=case.tags as u32).step_by(case.writers);
    let mut points = Vec::new();
    let mut unsynced = 0;
    let mut flush = |points: &mut Vec<Point>| {
        hand_over(engine, points, case.call);
        unsynced += points.len();
        points.clear();
        if case.sync_every > 0 && unsynced >= case.sync_every {
            engine.sync().expect("syncs");
            unsynced = 0;
        }
    };
    match case.call {
        Call::Single => {
            for at in 0..each {
                for tag in tags() {
                    points.push(data.point(tag, at));
                    if points.len() == 1000 {
                        flush(&mut points);
                    }
                }
            }
        }
        Call::Batch(size) => {
            for first in (0..each).step_by(size) {
                for tag in tags() {
                    points.extend((first..each.min(first + size)).map(|at| data.point(tag, at)));
                    flush(&mut points);
                }
            }
        }
    }
    flush(&mut points);
}

/// Threads that wait for each of their points, for a while.
fn wait(case: &Case, engine: &Engine, data: &Data) -> Cost {
    let time = Duration::from_millis(argument("wait-ms", size("wait", 300) as u64));
    let mut calls = 0;
    let cost = Cost::of(0, || {
        calls = std::thread::scope(|scope| {
            let start = |writer: usize| {
                scope.spawn(move || {
                    let (end, mut calls) = (Instant::now() + time, 0);
                    while Instant::now() < end {
                        hand_over(engine, &[data.point(writer as u32 + 1, calls)], Call::Single);
                        calls += 1;
                    }
                    calls
                })
            };
            let threads: Vec<_> = (0..case.writers).map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
    });
    Cost { points: calls as f64, ..cost }
}
