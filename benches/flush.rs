//! What turning buffers into blocks costs: a `flush` of N buffers, all of whose points are in the log already.
//!
//! ```text
//! cargo bench -p tidewall-benches --bench flush [-- --points 400 --rounds 5]
//! ```
//!
//! Cases take turns, round after round; medians. There are no background threads, so nothing is flushed before. Bytes are
//! those of blocks and manifest. The points are read back and compared.

use std::sync::Arc;
use tidewall::disk::RealDisk;
use tidewall::{Config, Engine};
use tidewall_benches::data::{Data, sources};
use tidewall_benches::measure::{Cost, head, row};
use tidewall_benches::{argument, size};

fn main() {
    let sources = sources();
    let points = argument("points", 400) as usize;
    let mut cases = Vec::new();
    for source in 0..sources.len() {
        for buffers in [100, 1000, 10_000] {
            for workers in [1, 2] {
                cases.push((source, size("buffers", buffers), workers, Vec::new()));
            }
        }
    }
    for _ in 0..argument("rounds", 5) {
        for (source, buffers, workers, costs) in &mut cases {
            costs.push(run(&sources[*source].1, *buffers, points, *workers));
        }
    }
    head(&format!("flush, {points} points a buffer"));
    for (source, buffers, workers, costs) in cases {
        row(&format!("{buffers} buffers, {workers} workers, {}", sources[source].0), &costs);
    }
}

fn run(data: &Data, buffers: usize, points: usize, flush_workers: usize) -> Cost {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let disk = RealDisk::new(dir.path()).expect("a directory");
    let config = Config {
        flush_workers,
        flush_delay_ms: None,
        // Room for all of it: nothing has to be flushed before.
        segment_bytes: 256 << 20,
        buffer_bytes: 1 << 40,
        ..Config::default()
    };
    let engine = Engine::open(Arc::new(disk), config).expect("opens");
    for tag in 1..=buffers as u32 {
        let points: Vec<_> = (0..points).map(|at| data.point(tag, at)).collect();
        engine.write_batch(&points).expect("accepted");
    }
    engine.sync().expect("syncs");
    assert_eq!(engine.stats().buffered_points, (buffers * points) as u64, "nothing has been flushed");
    let cost = Cost::of(buffers * points, || engine.flush().expect("flushes"));
    assert_eq!(engine.stats().buffered_points, 0, "everything has been flushed");
    for tag in (1..=buffers as u32).step_by(buffers.div_ceil(100)) {
        let found = engine.query(tag, ..).expect("answers");
        assert!(
            found.iter().copied().eq((0..points).map(|at| data.point(tag, at))),
            "tag {tag} is as written"
        );
    }
    cost
}
