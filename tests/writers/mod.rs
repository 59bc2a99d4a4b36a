//! What a child process writes until it is killed, or until its machine is: points that are a pure function of their
//! number, so that a parent knows them without being told.

use tidewall::{Config, Engine, Point, Result};

/// Two threads, and the tags that each of them writes.
pub const WRITERS: [[u32; 3]; 2] = [[1, 2, 3], [4, 5, 600_000]];

/// Points of each tag, in the order of `tags()`.
pub type Counts = [usize; 6];

pub fn tags() -> impl Iterator<Item = u32> {
    WRITERS.into_iter().flatten()
}

/// A ring of two small segments that may grow to three, small chunks, and the engine's own thread: a second of writing
/// is many rotations, flushes and manifests. Most flushes are made because the ring is full, some because a buffer is.
pub fn config() -> Config {
    Config {
        batch_points: 20,
        block_points: 400,
        buffer_bytes: 2000,
        segment_bytes: 16 << 10,
        segments: 2,
        segments_max: 3,
        staging_bytes: 2048,
        sector_bytes: 512,
        chunk_bytes: 32 << 10,
        manifest_bytes: 4096,
        cache_bytes: 1 << 20,
        flush_delay_ms: Some(1),
        ..Config::default()
    }
}

/// What is written as the `n`th point of a tag. The value is `n`. Times are out of order, and each eighth point takes the
/// time of the one seven before it, so that what a query answers depends on the order of replay.
pub fn point(tag: u32, n: usize) -> Point {
    let time = if n % 8 == 7 { n - 7 } else { n };
    let quality = (n as u64 ^ u64::from(tag) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    Point { tag, ts_us: 1_000 * (time as i64 ^ 5), value: n as f64, quality: quality as u8 }
}

/// How many points of a tag are there: the newest one says.
pub fn written(engine: &Engine, tag: u32) -> usize {
    let found = engine.query(tag, ..).expect("a sound store answers");
    found.iter().map(|point| point.value as usize + 1).max().unwrap_or(0)
}

/// How many of each tag.
pub fn all_written(engine: &Engine) -> Counts {
    let mut counts = Counts::default();
    tags().zip(&mut counts).for_each(|(tag, count)| *count = written(engine, tag));
    counts
}

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What a writer says of its tags, with the number of points of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// These are about to be accepted.
    Trying,
    /// These are durable.
    Acked,
}

/// Writes points of one thread's tags, and now and then makes them durable.
pub fn write_a_while(
    engine: &Engine,
    tags: &[u32],
    counts: &mut [usize],
    mut random: Random,
    mut tell: impl FnMut(Told, &[usize]),
) -> Result<()> {
    for _ in 0..60 {
        let at = random.below(tags.len() as u64) as usize;
        let first = counts[at];
        counts[at] += 1 + random.below(60) as usize;
        tell(Told::Trying, counts);
        let next: Vec<_> = (first..counts[at]).map(|n| point(tags[at], n)).collect();
        if random.below(2) == 0 {
            engine.write_batch(&next)?;
        } else {
            next.iter().try_for_each(|point| engine.write(*point))?;
        }
        match random.below(10) {
            0..5 => engine.sync()?,
            5 => engine.flush()?,
            _ => continue,
        }
        tell(Told::Acked, counts);
    }
    Ok(())
}
