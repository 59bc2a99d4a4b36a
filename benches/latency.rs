//! How long a `write` takes while every sync of the disk takes 5 ms: it must not wait for any of them.
//!
//! ```text
//! cargo bench -p tidewall-benches --bench latency [-- --points 8000000 --tags 1000 --sync-ms 5]
//! ```
//!
//! A second thread calls `sync` without a pause. The first row is the engine as it is. In the second one there is no room
//! for a backlog, so a full batch is appended by the writer itself, as a synchronous design would: what waiting costs.

use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidewall::disk::RealDisk;
use tidewall::{Config, Engine, Point};
use tidewall_benches::{Slow, argument};

fn main() {
    let (points, tags) = (argument("points", 8_000_000), argument("tags", 1000) as u32);
    let sync = Duration::from_millis(argument("sync-ms", 5));
    println!("{points} points of {tags} tags, each sync of the disk takes {} ms longer", sync.as_millis());
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>11} {:>10} {:>10} {:>12}",
        "write, ns", "P50", "P99", "P99.9", "max", "P99/P50", "syncs", "waited, ms"
    );
    row("asynchronous", Config::default(), points, tags, sync);
    let inline = Config { backlog_points: 1, ..Config::default() };
    row("writers append", inline, points / 8, tags, sync);
}

fn row(name: &str, config: Config, points: u64, tags: u32, sync: Duration) {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk = Slow { disk: RealDisk::new(dir.path()).expect("a directory"), sync };
    let engine = Engine::open(Arc::new(disk), config).expect("opens");
    let ended = AtomicBool::new(false);
    let mut took = Histogram::<u64>::new(3).expect("three digits");
    let mut syncs = 0;
    std::thread::scope(|scope| {
        let syncer = scope.spawn(|| {
            let mut syncs = 0;
            while !ended.load(Ordering::Relaxed) {
                engine.sync().expect("syncs");
                syncs += 1;
            }
            syncs
        });
        let mut before = Instant::now();
        for n in 0..points {
            let point = Point::new(n as u32 % tags + 1, n as i64, n as f64);
            engine.write(point).expect("accepted");
            let now = Instant::now();
            took.record((now - before).as_nanos() as u64).expect("in range");
            before = now;
        }
        ended.store(true, Ordering::Relaxed);
        syncs = syncer.join().expect("no panic");
    });
    let quantile = |quantile| took.value_at_quantile(quantile);
    println!(
        "{name:<24} {:>9} {:>9} {:>9} {:>11} {:>10.1} {syncs:>10} {:>12.1}",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        took.max(),
        quantile(0.99) as f64 / quantile(0.5) as f64,
        engine.stats().backpressure_ns as f64 / 1e6,
    );
}
