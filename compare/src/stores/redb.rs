//! redb: a B-tree, copied on write. One writer at a time.

use super::keyed::{Gathered, Put};
use super::{Options, Store, Writer};
use crate::Result;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;
use tidewall::Point;

/// Tag and time; the value's bits and quality.
const POINTS: TableDefinition<(u32, i64), (u64, u8)> = TableDefinition::new("points");

struct Redb(Database);

pub fn open(dir: &Path, _: Options) -> Result<Box<dyn Store>> {
    let database = Database::create(dir.join("redb"))?;
    let transaction = database.begin_write()?;
    transaction.open_table(POINTS)?;
    transaction.commit()?;
    Ok(Box::new(Redb(database)))
}

impl Store for Redb {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Gathered::new(RedbPut(&self.0))))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        let table = self.0.begin_read()?.open_table(POINTS)?;
        let mut points = Vec::new();
        for entry in table.range((tag, from_us)..(tag, to_us))? {
            let (key, value) = entry?;
            let ((_, ts_us), (bits, quality)) = (key.value(), value.value());
            points.push(Point { tag, ts_us, value: f64::from_bits(bits), quality });
        }
        Ok(points)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct RedbPut<'a>(&'a Database);

impl Put for RedbPut<'_> {
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
        {
            let mut table = transaction.open_table(POINTS)?;
            for point in points {
                table.insert((point.tag, point.ts_us), (point.value.to_bits(), point.quality))?;
            }
        }
        Ok(transaction.commit()?)
    }
}
