//! RocksDB: a log-structured merge tree.

use super::keyed::{Gathered, Put, key, point, value};
use super::{Options as StoreOptions, Store, Writer};
use crate::Result;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, ReadOptions, WriteBatch, WriteOptions,
};
use std::path::Path;
use tidewall::Point;

/// Bytes of uncompressed blocks that queries keep in memory.
const CACHE_BYTES: usize = 256 << 20;
/// Bytes of a block before it is compressed.
const BLOCK_BYTES: usize = 16 << 10;
/// Bytes after which a table that grows is written out, so that its sync at the end is not all of it.
const BYTES_PER_SYNC: u64 = 1 << 20;
/// Bytes of a batch before its entries, and those of an entry: its kind, two lengths, the key and the value.
const BATCH_HEADER: usize = 12;
const BATCH_ENTRY: usize = 3 + 12 + 9;

struct Rocks(DB);

/// What its tuning guide sets for any workload. The memtable is of 64 MiB, and a log is always written: its defaults.
pub fn open(dir: &Path, _: StoreOptions) -> Result<Box<dyn Store>> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.increase_parallelism(std::thread::available_parallelism()?.get().try_into()?);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&blocks);
    Ok(Box::new(Rocks(DB::open(&options, dir)?)))
}

impl Store for Rocks {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Gathered::new(RocksPut(&self.0))))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(key(tag, from_us)..key(tag, to_us));
        let mut points = Vec::new();
        // The other iterator copies each key and value into a box of its own.
        let mut entries = self.0.raw_iterator_opt(options);
        entries.seek_to_first();
        while let Some((key, value)) = entries.item() {
            points.push(point(key, value)?);
            entries.next();
        }
        entries.status()?;
        Ok(points)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }
}

struct RocksPut<'a>(&'a DB);

impl Put for RocksPut<'_> {
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()> {
        if points.is_empty() {
            return if durable { Ok(self.0.flush_wal(true)?) } else { Ok(()) };
        }
        let mut batch = WriteBatch::with_capacity_bytes(BATCH_HEADER + points.len() * BATCH_ENTRY);
        for point in points {
            batch.put(key(point.tag, point.ts_us), value(point));
        }
        let mut options = WriteOptions::default();
        // This syncs every earlier write, too, and those that wait share it; callers of `flush_wal` sync one after the other.
        options.set_sync(durable);
        Ok(self.0.write_opt(batch, &options)?)
    }
}
