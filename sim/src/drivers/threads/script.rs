//! What each thread of a run will do. Drawn before the threads start, so that the schedule does not change it.

use crate::choice::{Chooser, Concern};
use tidewall_shuttle::{Config, Durability};

/// One call.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Points as (tag, time); values are numbered as they are written.
    Write(Vec<(u32, i64)>),
    Sync,
    Flush,
    Step,
    /// All points of a tag.
    Query(u32),
    Tags,
    Stats,
    Close,
    /// From now on, or no longer, whatever needs space fails.
    Space,
}

/// How a life of the machine ends, unless the power fails in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The power fails when all calls have returned.
    PowerCut,
    /// The process dies and the machine does not.
    Kill,
    /// The engine is closed.
    Close,
}

/// One life: the engine's limits, and a script for each thread.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) config: Config,
    pub(super) threads: Vec<Vec<Op>>,
    pub(super) end: End,
    /// Before the end the background threads get the time to do what they have been woken for.
    pub(super) settle: bool,
}

const SHARED_TAG: u32 = 9;

/// Every tag that a run writes to.
pub(super) const TAGS: [u32; 6] = [1, 2, 3, 4, SHARED_TAG, 10];

impl Life {
    /// `streams` is the store's, which no reopening changes; `clock` gives each writer its times.
    pub(super) fn draw(chooser: &mut Chooser, geometry: &Config, clock: &mut i64) -> Life {
        let shape = Concern::Shape;
        // At most 8: what settles a life at its end fills a batch with one call of this many points.
        let batch_points = chooser.pick(shape, &[3, 1, 2, 8]);
        let mut config = Config {
            durability: if chooser.chance(shape, 24) { Durability::Immediate } else { Durability::Batched },
            batch_points,
            block_points: chooser.pick(shape, &[6, 2, 16]),
            backlog_points: chooser.pick(shape, &[12, 1, 4]),
            buffer_bytes: chooser.pick(shape, &[600, 1, 100_000]),
            flush_workers: chooser.pick(shape, &[1, 2]),
            flush_delay_ms: chooser.pick(shape, &[Some(1), Some(1), None]),
            ..geometry.clone()
        };
        let writers = chooser.between(shape, 2, 4);
        let mut threads: Vec<_> = (1..=writers).map(|writer| draw_writer(chooser, writer, clock)).collect();
        for weights in [SYNCER, READER, READER, KEEPER] {
            if chooser.chance(shape, 176) {
                threads.push(draw_role(chooser, &weights));
            }
        }
        // Now and then two of them.
        while threads.len() < 10
            && chooser
                .chance(shape, if threads.last().is_some_and(|last| ends_with_close(last)) { 96 } else { 24 })
        {
            let mut closer: Vec<_> = (0..chooser.below(shape, 4)).map(|_| Op::Stats).collect();
            closer.push(Op::Close);
            threads.push(closer);
        }
        chooser.mark();
        let end = chooser.pick(shape, &[End::PowerCut, End::PowerCut, End::Kill, End::Close]);
        let settle = chooser.chance(shape, 96);
        config.inbox_points = chooser.pick(shape, &[0, 0, 3, 10]);
        config.cache_bytes = [0, 600, 1 << 20][writers as usize % 3];
        Life { config, threads, end, settle }
    }
}

/// The geometry of a run's store.
pub(super) fn geometry(chooser: &mut Chooser) -> Config {
    let shape = Concern::Shape;
    let segments = chooser.pick(shape, &[2, 3]);
    Config {
        wal_streams: chooser.pick(shape, &[1, 2, 1, 4]),
        shards: chooser.pick(shape, &[1, 2, 4]),
        segment_bytes: chooser.pick(shape, &[1024, 2048, 1536]),
        segments,
        segments_max: segments + chooser.below(shape, 3) as usize,
        staging_bytes: chooser.pick(shape, &[4096, 1, 700]),
        sector_bytes: 512,
        chunk_bytes: chooser.pick(shape, &[2048, 8192]),
        manifest_bytes: chooser.pick(shape, &[4096, 1]),
        ..Config::default()
    }
}

fn ends_with_close(script: &[Op]) -> bool {
    matches!(script.last(), Some(Op::Close))
}

fn draw_writer(chooser: &mut Chooser, writer: u32, clock: &mut i64) -> Vec<Op> {
    let ops = chooser.between(Concern::Ops, 3, 9);
    draw_ops(ops, chooser, |chooser| match chooser.below(Concern::Ops, 17) {
        0 => None,
        1 => Some(Op::Sync),
        2 => Some(Op::Flush),
        _ => {
            let count =
                if chooser.chance(Concern::Ops, 96) { chooser.between(Concern::Ops, 2, 5) } else { 1 };
            let mut point = |_| {
                *clock += 1;
                match chooser.below(Concern::Data, 8) {
                    // A few keys that everybody writes to.
                    0 | 1 => (SHARED_TAG, chooser.below(Concern::Data, 2).into()),
                    2 => (SHARED_TAG, *clock * 10),
                    3 => (TAGS[5], *clock * 10),
                    // Its own tag, at a time of an earlier point now and then.
                    4 => (writer, (*clock - 2) * 10),
                    _ => (writer, *clock * 10),
                }
            };
            Some(Op::Write((0..count).map(&mut point).collect()))
        }
    })
}

/// This many operations of one thread, or as many as the tape has. The plainest one is none at all, so that what shrinks
/// tapes can take one away and leave the others to the threads that had them.
fn draw_ops(ops: u32, chooser: &mut Chooser, mut draw: impl FnMut(&mut Chooser) -> Option<Op>) -> Vec<Op> {
    let one = |_| chooser.begin_operation().then(|| draw(chooser));
    (0..ops).map_while(one).flatten().collect()
}

type Weights = [(u32, Op); 5];

/// Weight of no operation.
const NOTHING: u32 = 1;

const SYNCER: Weights = [(8, Op::Sync), (3, Op::Flush), (1, Op::Stats), (1, Op::Step), (0, Op::Space)];
const READER: Weights =
    [(3, Op::Query(0)), (3, Op::Query(SHARED_TAG)), (1, Op::Tags), (0, Op::Step), (0, Op::Stats)];
/// Keeps the time, as the background threads cannot: under the checker no time passes.
const KEEPER: Weights = [(6, Op::Step), (2, Op::Stats), (1, Op::Flush), (1, Op::Space), (0, Op::Sync)];

fn draw_role(chooser: &mut Chooser, weights: &Weights) -> Vec<Op> {
    let mut shares = vec![NOTHING];
    shares.extend(weights.iter().map(|(share, _)| *share));
    let ops = chooser.between(Concern::Ops, 2, 7);
    draw_ops(ops, chooser, |chooser| match chooser.weighted(Concern::Ops, &shares) {
        0 => None,
        index => match &weights[index - 1].1 {
            Op::Query(0) => Some(Op::Query(chooser.pick(Concern::Data, &TAGS))),
            op => Some(op.clone()),
        },
    })
}
