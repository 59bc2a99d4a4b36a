//! raft-engine: a log of protobuf entries with consecutive indexes, each tag a region.

use super::batcher::{Batcher, decode, encode};
use super::{Options, Store, Writer};
use crate::Result;
use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt};
use rustc_hash::FxHashMap;
use std::path::Path;
use tidewall::Point;

/// Bytes of a log batch before it is written. It is compressed as one from 8 KiB on.
const BATCH_BYTES: usize = 64 << 10;

/// An entry. The message is one of protobuf's own that has an integer and some bytes.
struct Record;

impl MessageExt for Record {
    type Entry = UninterpretedOption;

    fn index(entry: &UninterpretedOption) -> u64 {
        entry.get_positive_int_value()
    }
}

struct Log(Engine);

pub fn open(dir: &Path, _: Options) -> Result<Box<dyn Store>> {
    let dir = dir.to_str().ok_or("a directory without a name")?.to_string();
    Ok(Box::new(Log(Engine::open(Config { dir, ..Config::default() })?)))
}

impl Store for Log {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        let pending = Pending { engine: &self.0, batch: LogBatch::default(), next: FxHashMap::default() };
        Ok(Box::new(LogWriter { batcher: Batcher::default(), pending, bytes: Vec::new() }))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let region = u64::from(tag);
        let (Some(first), Some(last)) = (self.0.first_index(region), self.0.last_index(region)) else {
            return Ok(Vec::new());
        };
        // There is no index of times: entries are looked at from the last one on, or all of them.
        let mut from = first;
        if from_us > i64::MIN {
            from = last;
            while from > first && first_time(&self.0, region, from)? > from_us {
                from -= 1;
            }
        }
        let (mut entries, mut points) = (Vec::new(), Vec::new());
        self.0.fetch_entries_to::<Record>(region, from, last + 1, None, &mut entries)?;
        for entry in entries {
            decode(entry.get_string_value(), |point| {
                if (from_us..to_us).contains(&point.ts_us) {
                    points.push(point);
                }
            })?;
        }
        Ok(points)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn first_time(engine: &Engine, region: u64, index: u64) -> Result<i64> {
    let entry = engine.get_entry::<Record>(region, index)?.ok_or("an entry is gone")?;
    Ok(i64::from_le_bytes(entry.get_string_value()[8..16].try_into()?))
}

struct Pending<'a> {
    engine: &'a Engine,
    batch: LogBatch,
    next: FxHashMap<u32, u64>,
}

impl Pending<'_> {
    fn take(&mut self, points: &[Point], bytes: &mut Vec<u8>) -> Result<()> {
        bytes.clear();
        encode(points, bytes);
        let index = self.next.entry(points[0].tag).or_insert(1);
        let mut entry = UninterpretedOption::new();
        entry.set_positive_int_value(*index);
        entry.set_string_value(std::mem::take(bytes));
        *index += 1;
        self.batch.add_entries::<Record>(u64::from(points[0].tag), std::slice::from_ref(&entry))?;
        *bytes = entry.take_string_value();
        if self.batch.approximate_size() >= BATCH_BYTES {
            self.engine.write(&mut self.batch, false)?;
        }
        Ok(())
    }
}

struct LogWriter<'a> {
    batcher: Batcher,
    pending: Pending<'a>,
    bytes: Vec<u8>,
}

impl Writer for LogWriter<'_> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        self.batcher.add(points, |batch| self.pending.take(batch, &mut self.bytes))
    }

    fn sync(&mut self) -> Result<()> {
        self.batcher.rest(|batch| self.pending.take(batch, &mut self.bytes))?;
        if self.pending.batch.is_empty() {
            return Ok(self.pending.engine.sync()?);
        }
        self.pending.engine.write(&mut self.pending.batch, true)?;
        Ok(())
    }
}
