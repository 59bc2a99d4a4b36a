//! What opening costs after a crash: every point is in the log, none in a block.
//!
//! ```text
//! cargo bench -p tidewall-benches --bench recovery [-- --points 1000000 --rounds 3]
//! ```
//!
//! The engine is dropped after a `sync`, which flushes nothing. Cases take turns; medians. Bytes are those that recovery
//! writes. Some tags are read back and compared.

use std::sync::Arc;
use tidewall::disk::RealDisk;
use tidewall::{Config, Engine};
use tidewall_benches::data::{Data, sources};
use tidewall_benches::measure::{Cost, head, row};
use tidewall_benches::{argument, size};

fn main() {
    let sources = sources();
    let points = size("points", 1_000_000);
    let mut cases = Vec::new();
    for source in 0..sources.len() {
        for tags in [1, 1000, 100_000] {
            cases.push((source, tags, Vec::new()));
        }
    }
    for _ in 0..argument("rounds", 3) {
        for (source, tags, costs) in &mut cases {
            costs.push(run(&sources[*source].1, points, *tags));
        }
    }
    head(&format!("open, {points} points in the log"));
    for (source, tags, costs) in cases {
        row(&format!("{tags} tags, {}", sources[source].0), &costs);
    }
}

fn run(data: &Data, points: usize, tags: usize) -> Cost {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk = Arc::new(RealDisk::new(dir.path()).expect("a directory"));
    // No thread that would flush, and room for all of it.
    let config = Config { flush_delay_ms: None, buffer_bytes: 1 << 40, ..Config::default() };
    let each = (points / tags).max(1);
    let engine = Engine::open(disk.clone(), config.clone()).expect("opens");
    for first in (0..each).step_by(100) {
        for tag in 1..=tags as u32 {
            let points: Vec<_> = (first..each.min(first + 100)).map(|at| data.point(tag, at)).collect();
            engine.write_batch(&points).expect("accepted");
        }
    }
    engine.sync().expect("syncs");
    drop(engine);
    let mut engine = None;
    let cost =
        Cost::of(each * tags, || engine = Some(Engine::open(disk, config).expect("opens after a crash")));
    let engine = engine.expect("just opened");
    for tag in (1..=tags as u32).step_by(tags.div_ceil(100)) {
        let found = engine.query(tag, ..).expect("answers");
        assert!(found.into_iter().eq((0..each).map(|at| data.point(tag, at))), "tag {tag} is as written");
    }
    cost
}
