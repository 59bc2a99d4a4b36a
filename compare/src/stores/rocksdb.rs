//! RocksDB: a log-structured merge tree.

use super::keyed::{Gathered, Put, key, point, value};
use super::{Options as StoreOptions, Store, Writer};
use crate::Result;
use rocksdb::{DB, DBCompressionType, IteratorMode, Options, ReadOptions, WriteBatch};
use std::path::Path;
use tidewall::Point;

struct Rocks(DB);

pub fn open(dir: &Path, _: StoreOptions) -> Result<Box<dyn Store>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    Ok(Box::new(Rocks(DB::open(&options, dir)?)))
}

impl Store for Rocks {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Gathered::new(RocksPut(&self.0))))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(key(tag, from_us)..key(tag, to_us));
        let entries = self.0.iterator_opt(IteratorMode::Start, options);
        let read = entries.map(|entry| -> Result<Point> {
            let (key, value) = entry?;
            point(&key, &value)
        });
        read.collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }
}

struct RocksPut<'a>(&'a DB);

impl Put for RocksPut<'_> {
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()> {
        let mut batch = WriteBatch::default();
        for point in points {
            batch.put(key(point.tag, point.ts_us), value(point));
        }
        self.0.write(batch)?;
        if durable {
            self.0.flush_wal(true)?;
        }
        Ok(())
    }
}
