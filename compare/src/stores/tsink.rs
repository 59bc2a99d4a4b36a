//! tsink: an embedded time-series database. A tag is a metric; there is nowhere to put a quality.

use super::keyed::{Gathered, Put, sync_files};
use super::{Options, Store, Writer};
use crate::Result;
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidewall::Point;
use tsink::{DataPoint, Row, Storage, StorageBuilder, TimestampPrecision, TsinkError, WalSyncMode};

struct Tsink {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    each_synced: bool,
}

pub fn open(dir: &Path, options: Options) -> Result<Box<dyn Store>> {
    let each_synced = options.immediate || options.sync_every > 0;
    let mode =
        if each_synced { WalSyncMode::PerAppend } else { WalSyncMode::Periodic(Duration::from_secs(1)) };
    let storage = StorageBuilder::new()
        .with_data_path(dir)
        .with_timestamp_precision(TimestampPrecision::Microseconds)
        .with_wal_sync_mode(mode)
        .build()?;
    Ok(Box::new(Tsink { storage, dir: dir.into(), each_synced }))
}

fn metric(tag: u32) -> String {
    format!("tag{tag}")
}

impl Store for Tsink {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Gathered::new(TsinkPut { store: self, metrics: FxHashMap::default() })))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        match self.storage.select(&metric(tag), &[], from_us, to_us) {
            Err(TsinkError::NoDataPoints { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
            Ok(found) => {
                let read = |found: DataPoint| {
                    let value = found.value.as_f64().ok_or("a value that is no number")?;
                    Ok(Point::new(tag, found.timestamp, value))
                };
                found.into_iter().map(read).collect()
            }
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.storage.close()?)
    }
}

struct TsinkPut<'a> {
    store: &'a Tsink,
    metrics: FxHashMap<u32, String>,
}

impl Put for TsinkPut<'_> {
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()> {
        let mut row = |point: &Point| {
            let metric = self.metrics.entry(point.tag).or_insert_with(|| metric(point.tag));
            Row::new(metric.as_str(), DataPoint::new(point.ts_us, point.value))
        };
        let rows: Vec<_> = points.iter().map(&mut row).collect();
        self.store.storage.insert_rows(&rows)?;
        if durable && !self.store.each_synced { sync_files(&self.store.dir) } else { Ok(()) }
    }
}
