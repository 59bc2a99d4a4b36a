//! sled: a tree on a log.

use super::keyed::{Gathered, Put, key, point, value};
use super::{Options, Store, Writer};
use crate::Result;
use sled::{Batch, Db};
use std::path::Path;
use tidewall::Point;

struct Sled(Db);

pub fn open(dir: &Path, _: Options) -> Result<Box<dyn Store>> {
    Ok(Box::new(Sled(sled::open(dir)?)))
}

impl Store for Sled {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Gathered::new(SledPut(&self.0))))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            point(&key, &value)
        };
        self.0.range(key(tag, from_us)..key(tag, to_us)).map(read).collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }
}

struct SledPut<'a>(&'a Db);

impl Put for SledPut<'_> {
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()> {
        let mut batch = Batch::default();
        for point in points {
            batch.insert(&key(point.tag, point.ts_us), &value(point));
        }
        self.0.apply_batch(batch)?;
        if durable {
            self.0.flush()?;
        }
        Ok(())
    }
}
