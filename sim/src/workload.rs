//! What a run does: its shape, and the points that it writes.
//!
//! Swarm testing (Groce et al., ISSTA 2012): each run draws its own mix of operations and leaves some of them out, since
//! a run that does a little of everything seldom does enough of anything. Sizes are small, so that two hundred
//! operations go round the ring several times and fill several chunks.

use crate::choice::{Chooser, Concern};
use crate::trace::Trace;
use tidewall::store::block::block_bytes_max;
use tidewall::wal::frame::frame_bytes_max;
use tidewall::{Config, Durability, Point};

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// One point.
    Write,
    /// Several points, of one tag or of many.
    WriteBatch,
    /// `sync`
    Sync,
    /// `flush`
    Flush,
    /// `step`
    Step,
    /// A query of part of a tag.
    Query,
    /// Every tag, compared with the model.
    CheckAll,
    /// `close`, then open again.
    Reopen,
    /// A call that must be refused.
    Refused,
    /// Sets up an I/O error.
    ArmError,
    /// Space runs out, or comes back.
    Space,
    /// Sets up a crash some I/Os away.
    ArmCrash,
    /// The power fails now.
    CrashNow,
    /// The process dies.
    Kill,
}

const OPS: [Op; 14] = [
    Op::Write,
    Op::WriteBatch,
    Op::Sync,
    Op::Flush,
    Op::Step,
    Op::Query,
    Op::CheckAll,
    Op::Reopen,
    Op::Refused,
    Op::ArmError,
    Op::Space,
    Op::ArmCrash,
    Op::CrashNow,
    Op::Kill,
];

/// The usual weight of each operation, in the order of `OPS`. A run varies them.
const USUAL: [u32; 14] = [72, 72, 17, 3, 11, 11, 1, 1, 2, 4, 1, 3, 1, 1];

/// The shape of a run: the engine's limits, how often each operation comes, and what its points look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The engine's limits.
    pub config: Config,
    /// Number of tags.
    pub tags: u32,
    /// Number of operations.
    pub ops: u32,
    weights: [u32; 14],
    /// Most points of one `write_batch`.
    batch_max: u32,
    /// Shares of 256: times before the latest one, times used before, special values, extreme times, tags of a batch.
    out_of_order: u32,
    equal: u32,
    special: u32,
    extreme: u32,
    mixed: u32,
    /// Changing I/Os between two snapshots, at most.
    pub snapshot_every: u32,
}

impl Shape {
    /// Draws a shape.
    pub fn draw(chooser: &mut Chooser) -> Shape {
        let shape = Concern::Shape;
        let tags = match chooser.below(shape, 8) {
            0 | 1 => 1,
            2..=4 => chooser.between(shape, 2, 4),
            5 | 6 => chooser.between(shape, 5, 16),
            _ => chooser.between(shape, 17, 64),
        };
        let batch_points = chooser.pick(shape, &[4, 1, 2, 7, 10, 25, 100]);
        let block_points =
            if chooser.chance(shape, 12) { 1 } else { chooser.pick(shape, &[40, 12, 64, 100, 400]) };
        // The least that holds one full batch, or a little more.
        let sectors =
            (frame_bytes_max(batch_points) as u64).div_ceil(512) + chooser.pick(shape, &[4u64, 1, 8]);
        let chunk_sectors =
            1 + (block_bytes_max(block_points) as u64).div_ceil(512) + chooser.pick(shape, &[10u64, 3, 24]);
        let segments = chooser.pick(shape, &[3, 2, 4]);
        let mut weights = USUAL;
        for weight in &mut weights[2..] {
            *weight = match chooser.below(shape, 8) {
                0 => 0,
                1 => *weight * 4,
                _ => *weight,
            };
        }
        let config = Config {
            durability: if chooser.chance(shape, 24) { Durability::Immediate } else { Durability::Batched },
            batch_points,
            block_points,
            backlog_points: chooser.pick(shape, &[8, 1, 40, 200]),
            buffer_bytes: chooser.pick(shape, &[2_000, 1, 50_000]),
            // 32 are more than one pass over the short tails locks, and 128 more than fit into one word of marks.
            shards: chooser.pick(shape, &[1, 2, 8, 1, 2, 8, 32, 128]),
            inbox_points: 0,
            wal_streams: chooser.pick(shape, &[1, 1, 1, 2, 3]),
            segment_bytes: sectors * 512,
            segments,
            segments_max: segments + chooser.below(shape, 4) as usize,
            staging_bytes: chooser.pick(shape, &[1, 700, 4096]),
            sector_bytes: 512,
            chunk_bytes: chunk_sectors * 512,
            manifest_bytes: chooser.pick(shape, &[4096, 1, 1536]),
            // Not drawn, so that saved tapes go on meaning what they meant.
            cache_bytes: [1 << 20, 0, 2_000][tags as usize % 3],
            flush_workers: 1,
            flush_delay_ms: None,
        };
        let mut drawn = Shape {
            config,
            tags,
            ops: chooser.between(shape, 160, 240),
            weights,
            batch_max: chooser.pick(shape, &[8, 3, 16, 40]),
            out_of_order: chooser.pick(shape, &[32, 0, 128]),
            equal: chooser.pick(shape, &[16, 0, 128]),
            special: chooser.pick(shape, &[8, 0, 64]),
            extreme: chooser.pick(shape, &[2, 0, 16]),
            mixed: chooser.pick(shape, &[128, 0, 255]),
            snapshot_every: chooser.pick(shape, &[220, 110, 440]),
        };
        drawn.config.inbox_points = chooser.pick(shape, &[0, 5, 40]);
        drawn
    }

    /// The same on sectors of this many bytes, a multiple of 512.
    pub fn with_sectors(mut self, sector_bytes: u64) -> Shape {
        let config = &mut self.config;
        // One sector more than has to be, so that not every sync fills a segment.
        let sectors = |bytes: u64| bytes.next_multiple_of(sector_bytes) + sector_bytes;
        if sector_bytes != config.sector_bytes {
            config.segment_bytes = sectors(config.segment_bytes);
            config.chunk_bytes = sectors(config.chunk_bytes);
            config.sector_bytes = sector_bytes;
        }
        self
    }

    /// The next operation.
    pub fn op(&self, chooser: &mut Chooser) -> Op {
        OPS[chooser.weighted(Concern::Ops, &self.weights)]
    }
}

/// Makes points. The values that it makes are numbered, but for the special ones, so that each write can be told from every other.
pub struct Source<'a> {
    trace: Option<(&'a Trace, usize)>,
    tags: u32,
    written: u64,
    /// The latest time of each tag.
    clock: Vec<i64>,
}

const SPECIAL: [f64; 8] =
    [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE / 4.0, f64::MAX, f64::EPSILON];
const EXTREME: [i64; 6] = [0, -1, i64::MIN, i64::MAX, i64::MIN + 1, i64::MAX - 1];

impl<'a> Source<'a> {
    /// Generated points, or those of a recording from a drawn place on.
    pub fn new(shape: &Shape, trace: Option<&'a Trace>, chooser: &mut Chooser) -> Source<'a> {
        let trace =
            trace.map(|trace| (trace, chooser.below(Concern::Data, trace.points.len() as u32) as usize));
        let start = |tag: u32| i64::from(tag) * 1000;
        Source { trace, tags: shape.tags, written: 0, clock: (0..shape.tags).map(start).collect() }
    }

    /// The points of one write.
    pub fn points(&mut self, shape: &Shape, count: u32, chooser: &mut Chooser) -> Vec<Point> {
        if let Some((trace, at)) = &mut self.trace {
            let take = |_| {
                let point = &trace.points[*at % trace.points.len()];
                *at += 1;
                // A wide recording has more columns than a run has tags.
                Point::new((point.tag - 1) % self.tags + 1, point.ts_us, point.value)
            };
            return (0..count).map(take).collect();
        }
        let mut tag = 0;
        let mixed = chooser.chance(Concern::Data, shape.mixed);
        (0..count)
            .map(|_| {
                if tag == 0 || mixed {
                    tag = chooser.between(Concern::Data, 1, self.tags);
                }
                self.generate(shape, tag, chooser)
            })
            .collect()
    }

    fn generate(&mut self, shape: &Shape, tag: u32, chooser: &mut Chooser) -> Point {
        let data = Concern::Data;
        self.written += 1;
        let clock = &mut self.clock[tag as usize - 1];
        let ts_us = if chooser.chance(data, shape.extreme) {
            chooser.pick(data, &EXTREME)
        } else if chooser.chance(data, shape.equal) {
            *clock - i64::from(chooser.below(data, 3)) * 10
        } else if chooser.chance(data, shape.out_of_order) {
            *clock - i64::from(chooser.below(data, 400))
        } else {
            *clock += 10;
            *clock
        };
        let numbered = self.written as f64 + f64::from(tag) / 128.0;
        let value = if chooser.chance(data, shape.special) {
            // A NaN keeps its payload: number it as well.
            let special = chooser.pick(data, &SPECIAL);
            if special.is_nan() { f64::from_bits(special.to_bits() | self.written & 0xffff) } else { special }
        } else {
            numbered
        };
        Point {
            tag,
            ts_us,
            value,
            quality: if self.written.is_multiple_of(5) { self.written as u8 } else { 192 },
        }
    }

    /// A count for `write_batch`.
    pub fn batch_len(&self, shape: &Shape, chooser: &mut Chooser) -> u32 {
        chooser.between(Concern::Data, 1, shape.batch_max)
    }
}
