//! What an answer costs, by the number of blocks that it is read from, one after another and by two threads.
//!
//! ```text
//! cargo bench -p tidewall-benches --bench query [-- --block-points 1000 --rounds 5]
//! ```
//!
//! The store is closed and opened again first, so that everything is in blocks; they come from the page cache. Each answer is
//! compared, outside the time measured. Cases take turns; medians.

use std::sync::Arc;
use tidewall::disk::RealDisk;
use tidewall::{Config, Engine, Point};
use tidewall_benches::data::{Data, sources};
use tidewall_benches::measure::{Cost, head, row};
use tidewall_benches::{argument, size};

/// Points of a short answer.
const SHORT: usize = 100;

struct Case {
    name: String,
    source: usize,
    engine: Engine,
    points: usize,
    _dir: tempfile::TempDir,
    all: Vec<Cost>,
    short: Vec<Cost>,
}

fn main() {
    let sources = sources();
    let block_points = argument("block-points", 1000) as usize;
    let mut cases = Vec::new();
    for (source, (what, data)) in sources.iter().enumerate() {
        for blocks in [10, 100, 1000] {
            let blocks = size("blocks", blocks);
            for workers in [1, 2] {
                let threads = if workers == 1 { "one thread" } else { "parallel" };
                let name = format!("{blocks} blocks, {threads}, {what}");
                cases.push(store(name, source, data, blocks, block_points, workers));
            }
        }
    }
    for round in 0..argument("rounds", 5) as usize {
        for case in &mut cases {
            let (data, engine) = (&sources[case.source].1, &case.engine);
            case.all.push(ask(engine, data, 0, case.points));
            case.short.push(short(engine, data, case.points, round));
        }
    }
    head(&format!("all points, blocks of {block_points}"));
    cases.iter().for_each(|case| row(&case.name, &case.all));
    head("100 points anywhere, a hundred times");
    cases.iter().for_each(|case| row(&case.name, &case.short));
}

fn store(
    name: String,
    source: usize,
    data: &Data,
    blocks: usize,
    block_points: usize,
    flush_workers: usize,
) -> Case {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk = Arc::new(RealDisk::new(dir.path()).expect("a directory"));
    let config = Config { block_points, flush_workers, ..Config::default() };
    let points = blocks * block_points;
    let engine = Engine::open(disk.clone(), config.clone()).expect("opens");
    for first in (0..points).step_by(block_points) {
        let block: Vec<_> = (first..first + block_points).map(|at| data.point(1, at)).collect();
        engine.write_batch(&block).expect("accepted");
    }
    engine.close().expect("closes");
    let engine = Engine::open(disk, config).expect("opens");
    Case { name, source, engine, points, _dir: dir, all: Vec::new(), short: Vec::new() }
}

/// One query, its answer compared.
fn ask(engine: &Engine, data: &Data, first: usize, count: usize) -> Cost {
    let (from, to) = (data.point(1, first).ts_us, data.point(1, first + count - 1).ts_us);
    let mut found: Vec<Point> = Vec::new();
    let cost = Cost::of(count, || found = engine.query(1, from..=to).expect("answers"));
    assert!(found.into_iter().eq((first..first + count).map(|at| data.point(1, at))), "the answer is right");
    cost
}

fn short(engine: &Engine, data: &Data, points: usize, round: usize) -> Cost {
    let count = SHORT.min(points);
    let mut places = (0..100).map(|n| ((round * 100 + n) * 7919) % (points - count + 1));
    let first = ask(engine, data, places.next().expect("a hundred"), count);
    places.fold(first, |mut sum, place| {
        let cost = ask(engine, data, place, count);
        sum.points += cost.points;
        sum.took.seconds += cost.took.seconds;
        sum.took.cpu_seconds += cost.took.cpu_seconds;
        sum.bytes += cost.bytes;
        sum
    })
}
