//! okaywal: a write-ahead log of entries, each of several chunks that can be read again by position.

use super::batcher::{Batcher, Index, decode, encode, records};
use super::{Options, Store, Writer};
use crate::Result;
use okaywal::{
    Configuration, Entry, EntryId, LogManager, LogPosition, ReadChunkResult, SegmentReader, WriteAheadLog,
};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tidewall::Point;

/// Bytes of an entry, after which it is committed without being asked to.
const ENTRY_BYTES: usize = 16 << 20;

type Positions = Arc<Mutex<Index<LogPosition>>>;

struct Log {
    log: WriteAheadLog,
    positions: Positions,
}

pub fn open(dir: &Path, options: Options) -> Result<Box<dyn Store>> {
    let positions = Positions::default();
    let log = Configuration::default_for(dir)
        .preallocate_bytes((options.points as u64 * 24).clamp(16 << 20, 1 << 31) as u32)
        // The log is all that there is: nothing may leave it.
        .checkpoint_after_bytes(u64::MAX)
        .buffer_bytes(1 << 20)
        .open(Recover(positions.clone()))?;
    Ok(Box::new(Log { log, positions }))
}

#[derive(Debug)]
struct Recover(Positions);

impl LogManager for Recover {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut found = Vec::new();
        loop {
            match entry.read_chunk()? {
                ReadChunkResult::Chunk(mut chunk) => {
                    let (position, bytes) = (chunk.log_position(), chunk.read_all()?);
                    if !chunk.check_crc()? || bytes.len() < 16 {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    let tag = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
                    let ts_us = i64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
                    found.push((tag, ts_us, position));
                }
                ReadChunkResult::EndOfEntry => break,
                ReadChunkResult::AbortedEntry => return Ok(()),
            }
        }
        let mut positions = self.0.lock().expect("no panic");
        for (tag, ts_us, position) in found {
            positions.entry(tag).or_default().push((ts_us, position));
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

impl Store for Log {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        let (bytes, ends) = (Vec::new(), Vec::new());
        Ok(Box::new(LogWriter { log: self, batcher: Batcher::default(), pending: Pending { bytes, ends } }))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let wanted = records(&*self.positions.lock().expect("no panic"), tag, from_us, to_us);
        let (mut points, mut bytes) = (Vec::new(), Vec::new());
        for position in wanted {
            let mut chunk = self.log.read_at(position)?;
            bytes.clear();
            chunk.read_to_end(&mut bytes)?;
            if !chunk.crc_is_valid()? {
                return Err("a chunk is damaged".into());
            }
            decode(&bytes, |point| {
                if (from_us..to_us).contains(&point.ts_us) {
                    points.push(point);
                }
            })?;
        }
        Ok(points)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.log.shutdown()?)
    }
}

/// Records that are not in the log yet.
struct Pending {
    bytes: Vec<u8>,
    /// Tag and first time of each record, and where it ends.
    ends: Vec<(u32, i64, usize)>,
}

struct LogWriter<'a> {
    log: &'a Log,
    batcher: Batcher,
    pending: Pending,
}

impl Pending {
    fn take(&mut self, log: &Log, points: &[Point]) -> Result<()> {
        encode(points, &mut self.bytes);
        self.ends.push((points[0].tag, points[0].ts_us, self.bytes.len()));
        if self.bytes.len() >= ENTRY_BYTES { self.commit(log) } else { Ok(()) }
    }

    fn commit(&mut self, log: &Log) -> Result<()> {
        let mut entry = log.log.begin_entry()?;
        let mut begin = 0;
        let mut at = Vec::with_capacity(self.ends.len());
        for (tag, ts_us, end) in self.ends.drain(..) {
            at.push((tag, ts_us, entry.write_chunk(&self.bytes[begin..end])?.position));
            begin = end;
        }
        entry.commit()?;
        self.bytes.clear();
        let mut positions = log.positions.lock().expect("no panic");
        for (tag, ts_us, position) in at {
            positions.entry(tag).or_default().push((ts_us, position));
        }
        Ok(())
    }
}

impl Writer for LogWriter<'_> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        self.batcher.add(points, |batch| self.pending.take(self.log, batch))
    }

    fn sync(&mut self) -> Result<()> {
        self.batcher.rest(|batch| self.pending.take(self.log, batch))?;
        self.pending.commit(self.log)
    }
}
