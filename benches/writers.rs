//! What a second writer gains.
//!
//! ```text
//! cargo bench -p tidewall-benches --bench writers [-- --points 10000000 --tags 1000 --rounds 5]
//! ```
//!
//! One and two threads write the same number of points, in turn, round after round; each writer has half of the tags. A
//! measurement ends with a `sync`. Medians.

use std::sync::Arc;
use std::time::Instant;
use tidewall::disk::RealDisk;
use tidewall::{Config, Engine, Point};
use tidewall_benches::{argument, cpu_seconds, median, thread_cpu_seconds};

fn main() {
    let (points, tags) = (argument("points", 10_000_000), argument("tags", 1000) as u32);
    let rounds = argument("rounds", 5);
    println!("{points} points of {tags} tags, one sync at the end, medians of {rounds}");
    println!("CPU ns a point: of the writers, of the engine's own threads");
    println!(
        "{:<16} {:>14} {:>16} {:>14} {:>16} {:>7}",
        "a call writes", "1 writer, M/s", "CPU ns", "2 writers, M/s", "CPU ns", "ratio"
    );
    for batch in [1, 10, 100] {
        let mut measured: [Vec<Cost>; 2] = Default::default();
        for _ in 0..rounds {
            for writers in [1, 2] {
                measured[writers - 1].push(run(points, tags, writers as u32, batch));
            }
        }
        let of = |writers: usize, part: fn(&Cost) -> f64| {
            median(measured[writers - 1].iter().map(part).collect()) / points as f64
        };
        let rate = |writers| 1e-6 / of(writers, |cost| cost.seconds);
        let cpu = |writers| {
            format!(
                "{:.0} + {:.0}",
                of(writers, |cost| cost.writers) * 1e9,
                of(writers, |cost| cost.background) * 1e9
            )
        };
        println!(
            "{:<16} {:>14.1} {:>16} {:>14.1} {:>16} {:>7.2}",
            format!("{batch} points"),
            rate(1),
            cpu(1),
            rate(2),
            cpu(2),
            rate(2) / rate(1)
        );
    }
}

/// What a run took: seconds, and processor seconds of the writers and of all other threads.
struct Cost {
    seconds: f64,
    writers: f64,
    background: f64,
}

fn run(points: u64, tags: u32, writers: u32, batch: u64) -> Cost {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk = RealDisk::new(dir.path()).expect("a directory");
    let engine = Engine::open(Arc::new(disk), Config::default()).expect("opens");
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let written = std::thread::scope(|scope| {
        let start = |writer| {
            let engine = &engine;
            scope.spawn(move || {
                write(engine, points / u64::from(writers), tags / writers, writer, writers, batch);
                thread_cpu_seconds()
            })
        };
        let threads: Vec<_> = (0..writers).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<f64>()
    });
    engine.sync().expect("syncs");
    let cost = Cost {
        seconds: begin.elapsed().as_secs_f64(),
        writers: written,
        background: cpu_seconds() - cpu - written,
    };
    drop(engine);
    cost
}

fn write(engine: &Engine, points: u64, tags: u32, writer: u32, writers: u32, batch: u64) {
    let mut call = Vec::with_capacity(batch as usize);
    for n in 0..points / batch {
        let tag = (n as u32 % tags) * writers + writer + 1;
        if batch == 1 {
            engine.write(Point::new(tag, n as i64, n as f64)).expect("accepted");
            continue;
        }
        call.clear();
        call.extend((0..batch).map(|at| Point::new(tag, (n * batch + at) as i64, n as f64)));
        engine.write_batch(&call).expect("accepted");
    }
}
