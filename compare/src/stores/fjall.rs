//! fjall: a log-structured merge tree.

use super::keyed::{Gathered, Put, key, point, value};
use super::{Options, Store, Writer};
use crate::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use tidewall::Point;

struct Fjall {
    database: Database,
    points: Keyspace,
}

pub fn open(dir: &Path, _: Options) -> Result<Box<dyn Store>> {
    let database = Database::builder(dir).open()?;
    let points = database.keyspace("points", KeyspaceCreateOptions::default)?;
    Ok(Box::new(Fjall { database, points }))
}

impl Store for Fjall {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Gathered::new(FjallPut(self))))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let entries = self.points.range(key(tag, from_us)..key(tag, to_us));
        let read = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner()?;
            point(&key, &value)
        };
        entries.map(read).collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

struct FjallPut<'a>(&'a Fjall);

impl Put for FjallPut<'_> {
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()> {
        let mut batch = self.0.database.batch();
        for point in points {
            batch.insert(&self.0.points, key(point.tag, point.ts_us), value(point));
        }
        batch.commit()?;
        if durable {
            self.0.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}
