//! The points that are written, as a pure function of tag and position: nothing has to be kept to verify an answer.

use crate::trace::Trace;
use std::error::Error;
use std::path::{Path, PathBuf};
use tidewall::Point;

/// 2023-11-14, in microseconds.
const EPOCH_US: i64 = 1_700_000_000_000_000;
const SECOND_US: i64 = 1_000_000;
/// Values of the walk before it repeats; small enough to stay in a cache of the processor, and far longer than any block
/// that a store compresses at once.
const WALK: usize = 1 << 15;

/// One recorded column, in order of time, each time once.
struct Series {
    points: Vec<(i64, f64)>,
    /// How far times are shifted each time round.
    period_us: i64,
}

/// Where points come from.
pub struct Data {
    walk: Vec<f64>,
    jitter: Vec<i64>,
    recorded: Vec<Series>,
}

impl Data {
    /// A random walk in steps of up to 0.05, quantised to 0.01; one point a second, late by less than `jitter_us`.
    pub fn generated(jitter_us: i64) -> Data {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below
        };
        let mut level = 2_150i64;
        let walk = (0..WALK)
            .map(|_| {
                level += draw(11) as i64 - 5;
                level as f64 / 100.0
            })
            .collect();
        let jitter = match jitter_us.clamp(0, SECOND_US) {
            0 => Vec::new(),
            most => (0..WALK).map(|_| draw(most as u64) as i64).collect(),
        };
        Data { walk, jitter, recorded: Vec::new() }
    }

    /// Recorded columns: tag `t` has the `t`-th one, round and round, with shifted times.
    ///
    /// # Errors
    /// A file cannot be read, or none has a column of two points.
    pub fn recorded(files: &[PathBuf]) -> Result<Data, Box<dyn Error + Send + Sync>> {
        let trace = Trace::load(files)?;
        let mut recorded: Vec<Series> = Vec::new();
        for name in &trace.tags {
            let mut points: Vec<(i64, f64)> = Vec::new();
            for point in trace.points.iter().filter(|point| point.tag == name.tag) {
                if points.last().is_none_or(|last| last.0 < point.ts_us) {
                    points.push((point.ts_us, point.value));
                }
            }
            if points.len() > 1 {
                let (first, last) = (points[0].0, points[points.len() - 1].0);
                let step = (last - first) / (points.len() as i64 - 1);
                recorded.push(Series { points, period_us: last - first + step.max(1) });
            }
        }
        if recorded.is_empty() {
            return Err("no recorded column has two points".into());
        }
        Ok(Data { recorded, ..Data::generated(0) })
    }

    /// The `at`-th point of a tag; times rise with `at`.
    #[inline]
    pub fn point(&self, tag: u32, at: usize) -> Point {
        if !self.recorded.is_empty() {
            let series = &self.recorded[(tag as usize - 1) % self.recorded.len()];
            let (round, at) = (at / series.points.len(), at % series.points.len());
            let (ts_us, value) = series.points[at];
            return Point::new(tag, ts_us + round as i64 * series.period_us, value);
        }
        let phase = at.wrapping_add(tag as usize * 4_099) % WALK;
        let late = if self.jitter.is_empty() { 0 } else { self.jitter[phase] };
        Point::new(tag, EPOCH_US + at as i64 * SECOND_US + late, self.walk[phase])
    }
}

/// The recorded data that is here: the files that `TIDEWALL_TRACES` names (`a.csv:b.csv`), or else those in
/// `../shared/data`, or else the tests' own.
pub fn recorded_files() -> Vec<PathBuf> {
    if let Some(files) = std::env::var_os("TIDEWALL_TRACES") {
        return std::env::split_paths(&files).collect();
    }
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    for set in folder(&root.join("../shared/data")) {
        files.extend(folder(&set));
    }
    if files.is_empty() {
        files = folder(&root.join("tests/data"));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
    files
}

fn folder(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Generated data, and recorded data if there is some.
pub fn sources() -> Vec<(&'static str, Data)> {
    let mut sources = vec![("generated", Data::generated(0))];
    match Data::recorded(&recorded_files()) {
        Ok(data) => sources.push(("recorded", data)),
        Err(error) => println!("recorded data is left out: {error}"),
    }
    sources
}
