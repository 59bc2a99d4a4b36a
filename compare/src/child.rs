//! One measurement, in a process of its own. What it finds goes to standard output, a name and a number a line.

use crate::Result;
use crate::cell::{Cell, Work};
use crate::stores::{self, Kind, Options, Shape, Store};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use tidewall::Point;
use tidewall_benches::data::Data;
use tidewall_benches::measure::{Moment, Written, allocated_bytes};

/// Before what a child says, because libraries talk too.
pub const SAYS: &str = "= ";
/// Points that arrive together when they arrive one at a time: what stores with transactions put into one.
const CALL: usize = 1_000;
/// The same when nobody asks for a sync sooner.
const LONG_CALL: usize = 10_000;
/// Points of a batch of one tag.
const BATCH: usize = 100;
/// Points of a short query.
const SHORT: usize = 100;
/// How long calls that wait are counted, and queries repeated.
const WHILE: Duration = Duration::from_millis(1_500);
/// Tags that are read back whole after a run with more of them.
const CHECKED: usize = 500;

/// Runs a cell in a directory.
pub fn run(cell: &Cell, data: &Data, dir: &Path) -> Result<()> {
    let kind = stores::named(&cell.store)?;
    match cell.work {
        Work::Write => write(kind, cell, data, dir),
        Work::Immediate => immediate(kind, cell, data, dir),
        Work::Query => query(kind, cell, data, dir),
        Work::Crash => crash(kind, cell, data, dir),
        Work::Reopen => reopen(kind, cell, data, dir),
    }
}

fn say(name: &str, value: f64) {
    println!("{SAYS}{name} {value}");
}

/// The tags of one writer and how many points each gets.
struct Share {
    tags: Vec<u32>,
    each: usize,
}

/// Writer `w` of `W` has the tags `w + 1`, `w + 1 + W`, and so on.
fn shares(cell: &Cell) -> Vec<Share> {
    let each = cell.points / cell.tags;
    let share =
        |writer| Share { tags: (writer + 1..=cell.tags as u32).step_by(cell.writers).collect(), each };
    (0..cell.writers as u32).map(share).collect()
}

fn total(shares: &[Share]) -> usize {
    shares.iter().map(|share| share.tags.len() * share.each).sum()
}

fn open(kind: &Kind, cell: &Cell, dir: &Path) -> Result<Box<dyn Store>> {
    let immediate = cell.work == Work::Immediate;
    (kind.open)(
        dir,
        Options { shape: cell.shape, immediate, sync_every: cell.sync_every, points: cell.points },
    )
}

/// Writes a share in the order of arrival and syncs as often as the cell says, and at the end. Answers how long each
/// piece with its sync took.
fn write_share(store: &dyn Store, share: &Share, cell: &Cell, data: &Data) -> Result<Vec<f64>> {
    let mut writer = store.writer()?;
    let call = match (cell.shape, cell.sync_every) {
        (Shape::Batches, _) => BATCH.min(share.each),
        (Shape::Points, 0) => LONG_CALL,
        (Shape::Points, every) => CALL.min(every),
    };
    let mut points: Vec<Point> = Vec::with_capacity(call);
    let (mut unsynced, mut begin, mut took) = (0, Instant::now(), Vec::new());
    let mut hand_over = |points: &mut Vec<Point>| -> Result<()> {
        writer.write(points)?;
        unsynced += points.len();
        points.clear();
        if cell.sync_every > 0 && unsynced >= cell.sync_every {
            writer.sync()?;
            unsynced = 0;
            took.push(begin.elapsed().as_secs_f64());
            begin = Instant::now();
        }
        Ok(())
    };
    match cell.shape {
        Shape::Points => {
            for at in 0..share.each {
                for tag in &share.tags {
                    points.push(data.point(*tag, at));
                    if points.len() == call {
                        hand_over(&mut points)?;
                    }
                }
            }
        }
        Shape::Batches => {
            for first in (0..share.each).step_by(call) {
                for tag in &share.tags {
                    points.extend((first..share.each.min(first + call)).map(|at| data.point(*tag, at)));
                    hand_over(&mut points)?;
                }
            }
        }
    }
    if !points.is_empty() {
        hand_over(&mut points)?;
    }
    writer.sync()?;
    Ok(took)
}

fn write_all(store: &dyn Store, shares: &[Share], cell: &Cell, data: &Data) -> Result<Vec<f64>> {
    std::thread::scope(|scope| {
        let start = |share| scope.spawn(move || write_share(store, share, cell, data));
        let threads: Vec<_> = shares.iter().map(start).collect();
        let mut took = Vec::new();
        for thread in threads {
            took.extend(thread.join().map_err(|_| "a writer panicked")??);
        }
        Ok(took)
    })
}

/// Reads tags back and compares every point: all of them, or some hundreds that are spread over all.
fn verify(store: &dyn Store, shares: &[Share], data: &Data) -> Result<usize> {
    let mut compared = 0;
    for share in shares {
        for tag in share.tags.iter().step_by(share.tags.len().div_ceil(CHECKED)) {
            let found = store.query(*tag, i64::MIN, i64::MAX)?;
            compare(&found, data, *tag, 0, share.each)?;
            compared += found.len();
        }
    }
    Ok(compared)
}

fn compare(found: &[Point], data: &Data, tag: u32, first: usize, count: usize) -> Result<()> {
    if found.len() != count {
        return Err(format!("tag {tag} has {} points where {count} were written", found.len()).into());
    }
    match found.iter().zip(first..).find(|(point, at)| **point != data.point(tag, *at)) {
        Some((point, at)) => Err(format!("point {at} of tag {tag} is {point:?}").into()),
        None => Ok(()),
    }
}

fn write(kind: &Kind, cell: &Cell, data: &Data, dir: &Path) -> Result<()> {
    let shares = shares(cell);
    let points = total(&shares) as f64;
    let store = open(kind, cell, dir)?;
    // What opening wrote (preallocated logs, above all) is on the disk before anything is measured, and is not counted.
    nix::unistd::sync();
    let opened = Written::now();
    let begin = Moment::now();
    let took = write_all(&*store, &shares, cell, data)?;
    let wrote = begin.took();
    say("points_per_second", points / wrote.seconds);
    say("cpu_ns_per_point", wrote.cpu_seconds * 1e9 / points);
    quantiles("sync", took);
    if kind.name == "nothing" {
        return Ok(());
    }
    if !kind.keeps {
        say("compared", verify(&*store, &shares, data)? as f64);
        return Ok(());
    }
    let begin = Moment::now();
    store.close()?;
    let closed = begin.took();
    say("close_ms", closed.seconds * 1e3);
    say("close_cpu_ns_per_point", closed.cpu_seconds * 1e9 / points);
    let closed = Written::now();
    say("written_bytes_per_point", (closed.storage_bytes - opened.storage_bytes) / points);
    say("call_bytes_per_point", (closed.call_bytes - opened.call_bytes) / points);
    // A block that was never written out has no place yet.
    nix::unistd::sync();
    say("disk_bytes_per_point", allocated_bytes(dir, &|name| !(kind.spare)(name)) as f64 / points);
    say("spare_bytes", allocated_bytes(dir, &kind.spare) as f64);
    let store = open(kind, cell, dir)?;
    say("compared", verify(&*store, &shares, data)? as f64);
    Ok(())
}

fn quantiles(name: &str, mut seconds: Vec<f64>) {
    if seconds.is_empty() {
        return;
    }
    seconds.sort_by(f64::total_cmp);
    let at = |quantile: f64| seconds[((seconds.len() - 1) as f64 * quantile).round() as usize] * 1e6;
    say(&format!("{name}_p50_us"), at(0.5));
    say(&format!("{name}_p99_us"), at(0.99));
}

/// Each thread writes a point and waits until it is durable, again and again.
fn immediate(kind: &Kind, cell: &Cell, data: &Data, dir: &Path) -> Result<()> {
    let store = open(kind, cell, dir)?;
    nix::unistd::sync();
    let barrier = Barrier::new(cell.writers);
    let begin = Moment::now();
    let calls = std::thread::scope(|scope| {
        let start = |number: usize| {
            let (store, barrier) = (&*store, &barrier);
            scope.spawn(move || -> Result<Vec<f64>> {
                let mut writer = store.writer()?;
                barrier.wait();
                let (end, mut took) = (Instant::now() + WHILE, Vec::new());
                let mut before = Instant::now();
                while before < end {
                    writer.write(&[data.point(number as u32 + 1, took.len())])?;
                    writer.sync()?;
                    let now = Instant::now();
                    took.push((now - before).as_secs_f64());
                    before = now;
                }
                Ok(took)
            })
        };
        let threads: Vec<_> = (0..cell.writers).map(start).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| {
            thread.join().map_err(|_| "a writer panicked")?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let took = begin.took();
    let all = calls.iter().map(Vec::len).sum::<usize>();
    say("calls_per_second", all as f64 / took.seconds);
    say("cpu_us_per_call", took.cpu_seconds * 1e6 / all as f64);
    quantiles("call", calls.concat());
    store.close()?;
    let store = open(kind, cell, dir)?;
    for (tag, calls) in (1..).zip(&calls) {
        compare(&store.query(tag, i64::MIN, i64::MAX)?, data, tag, 0, calls.len())?;
    }
    say("compared", all as f64);
    Ok(())
}

/// Written, closed, opened again; then queries, each answer compared outside the time measured.
fn query(kind: &Kind, cell: &Cell, data: &Data, dir: &Path) -> Result<()> {
    let shares = shares(cell);
    let mut store = open(kind, cell, dir)?;
    write_all(&*store, &shares, cell, data)?;
    if kind.keeps {
        store.close()?;
        store = open(kind, cell, dir)?;
    }
    verify(&*store, &shares, data)?;
    let each = shares[0].each;
    let tag = |draw: u64| (draw % cell.tags as u64) as u32 + 1;
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15);

    let (mut seconds, mut cpu, mut points) = (0.0, 0.0, 0);
    while seconds < WHILE.as_secs_f64() {
        let tag = tag(draws.next());
        let begin = Moment::now();
        let found = store.query(tag, i64::MIN, i64::MAX)?;
        let took = begin.took();
        compare(&found, data, tag, 0, each)?;
        (seconds, cpu, points) = (seconds + took.seconds, cpu + took.cpu_seconds, points + found.len());
    }
    say("full_points_per_second", points as f64 / seconds);
    say("full_cpu_ns_per_point", cpu * 1e9 / points as f64);

    let count = SHORT.min(each);
    let (mut seconds, mut queries) = (0.0, 0);
    let begin_all = Instant::now();
    while begin_all.elapsed() < WHILE {
        let (tag, first) = (tag(draws.next()), (draws.next() % (each - count + 1) as u64) as usize);
        let (from_us, to_us) = (data.point(tag, first).ts_us, data.point(tag, first + count - 1).ts_us + 1);
        let begin = Instant::now();
        let found = store.query(tag, from_us, to_us)?;
        seconds += begin.elapsed().as_secs_f64();
        compare(&found, data, tag, first, count)?;
        queries += 1;
    }
    say("short_us", seconds * 1e6 / f64::from(queries));
    Ok(())
}

struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}

/// Everything is written and synced, and then the process is gone.
fn crash(kind: &Kind, cell: &Cell, data: &Data, dir: &Path) -> Result<()> {
    let store = open(kind, cell, dir)?;
    write_all(&*store, &shares(cell), cell, data)?;
    say("synced", 1.0);
    // Nothing is left for a destructor to do.
    std::process::abort();
}

/// The first right answer after that, and then all the others.
fn reopen(kind: &Kind, cell: &Cell, data: &Data, dir: &Path) -> Result<()> {
    let shares = shares(cell);
    let last = shares[0].each - SHORT.min(shares[0].each);
    let begin = Moment::now();
    let store = open(kind, cell, dir)?;
    let found = store.query(1, data.point(1, last).ts_us, i64::MAX)?;
    let took = begin.took();
    compare(&found, data, 1, last, shares[0].each - last)?;
    say("answer_ms", took.seconds * 1e3);
    say("answer_cpu_ms", took.cpu_seconds * 1e3);
    say("compared", verify(&*store, &shares, data)? as f64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rise_in_generated_and_in_recorded_data() {
        let pump = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/pump.csv").into();
        for data in [Data::generated(0), Data::generated(900_000), Data::recorded(&[pump]).unwrap()] {
            for tag in [1, 2, 77] {
                let points: Vec<_> = (0..5_000).map(|at| data.point(tag, at)).collect();
                assert!(points.windows(2).all(|pair| pair[0].ts_us < pair[1].ts_us));
                assert!(points.iter().any(|point| point.value != points[0].value));
            }
        }
    }
}
