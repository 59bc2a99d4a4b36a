//! One log on a disk in memory, without the engine above it.

use super::disk::MemDisk;
use crate::codec::mixed::{Batch, Share};
use crate::codec::run::Encoder;
use crate::config::Config;
use crate::disk::{Disk, OpenMode};
use crate::error::Result;
use crate::health::Health;
use crate::lsn::{Append, Lsn};
use crate::point::{Entry, TagId};
use crate::survey;
use crate::sync::Arc;
use crate::wal::frame::FrameHeader;
use crate::wal::ring::{Ring, Slot};
use crate::wal::{Log, Room, Start, segment_name};

pub(super) const SECTOR_BYTES: u64 = 512;

/// The smallest sizes that the engine allows: a frame of one point takes 88 bytes.
pub(super) fn config() -> Config {
    Config {
        batch_points: 1,
        block_points: 4,
        backlog_points: 64,
        shards: 1,
        inbox_points: 0,
        segment_bytes: 2 * SECTOR_BYTES,
        segments: 2,
        segments_max: 2,
        staging_bytes: SECTOR_BYTES as usize,
        sector_bytes: SECTOR_BYTES,
        chunk_bytes: 16 * SECTOR_BYTES,
        flush_workers: 1,
        flush_delay_ms: None,
        ..Config::default()
    }
}

/// An empty log of `segments` segments, each of `sectors`.
pub(super) fn log(disk: &MemDisk, segments: usize, sectors: u64) -> Arc<Log> {
    let config = Config { segment_bytes: sectors * SECTOR_BYTES, ..config() };
    let create = |slot| {
        let file = disk.open(&segment_name(0, slot), OpenMode::Create).expect("a new file");
        file.set_len(config.segment_bytes).expect("there is room");
        file
    };
    let start = Start {
        stream: 0,
        ring: Ring::new(vec![Slot::Free; segments], segments),
        files: (0..segments).map(create).collect(),
        epoch: 1,
        durable_lsn: Lsn(0),
        checkpoint_lsn: Lsn(0),
    };
    disk.settle();
    Arc::new(Log::new(Arc::new(disk.clone()), Arc::new(Health::new()), &config, start))
}

pub(super) fn tag(number: usize) -> TagId {
    TagId::new(number as u32 + 1).expect("not 0")
}

/// Appends a point of thread `number`, as a stream does. Returns the position behind it; `None` when no segment is
/// free.
pub(super) fn try_append(log: &Log, number: usize) -> Result<Option<Lsn>> {
    try_append_points(log, number, 1)
}

/// As [`try_append`], a frame of this many points, each of which takes its eight bytes: no two values have anything in common.
pub(super) fn try_append_points(log: &Log, number: usize, points: usize) -> Result<Option<Lsn>> {
    let value = |at: usize| f64::from_bits((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let entry = |at| Entry { ts_us: number as i64, value: value(at), quality: 192 };
    let entries: Vec<_> = (0..points).map(entry).collect();
    let mut payload = Vec::new();
    let share = Share { tag: tag(number), count: points as u32 };
    let batch = Batch::encode(&mut payload, &mut Encoder::default(), &[share], &entries);
    loop {
        match log.batch_append(&batch)? {
            Append::Appended { end_lsn, .. } => return Ok(Some(end_lsn)),
            Append::NoRoom { frame_bytes } => match log.make_room(frame_bytes)? {
                Room::Made => {}
                Room::NoSegment => return Ok(None),
            },
        }
    }
}

/// As [`try_append`], where nothing can stand in the way.
pub(super) fn append(log: &Log, number: usize) -> Lsn {
    try_append(log, number).expect("the disk is whole").expect("a free segment")
}

/// The frames that can be read on a disk, in the order of their positions.
pub(super) fn frames(disk: &MemDisk) -> Vec<FrameHeader> {
    let names = disk.list().expect("names");
    let mut frames = Vec::new();
    for place in survey::segment_places(&names) {
        let segment = survey::read_segment(disk, place, SECTOR_BYTES, 1).expect("a segment");
        frames.extend(segment.scan.frames.iter().map(|at| at.header));
    }
    frames.sort_by_key(|frame| frame.first_lsn);
    frames
}

/// Whether the disk would still have everything in `from..to` after a crash, each position once.
pub(super) fn survives(disk: &MemDisk, from: Lsn, to: Lsn) -> bool {
    let mut next = from;
    for frame in frames(&disk.crashed()).iter().filter(|frame| from <= frame.first_lsn) {
        if frame.first_lsn != next {
            return false;
        }
        next = frame.end_lsn();
    }
    next >= to
}
