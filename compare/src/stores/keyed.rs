//! What stores of keys and values have in common: the key of a point, and transactions of many points.
//!
//! ```text
//! key     tag 4 | time 8, its sign turned      big-endian, so that keys are in the order of time
//! value   value 8 | quality 1
//! ```

use super::Writer;
use crate::Result;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use tidewall::Point;

/// Points of one transaction, unless a sync is asked for sooner.
const TRANSACTION: usize = 10_000;

/// Takes many points at once.
pub trait Put {
    /// Stores the points; if `durable`, they and all before them are durable when it returns.
    fn put(&mut self, points: &[Point], durable: bool) -> Result<()>;
}

/// Gathers points for transactions.
pub struct Gathered<P> {
    put: P,
    points: Vec<Point>,
}

impl<P: Put> Gathered<P> {
    pub fn new(put: P) -> Gathered<P> {
        Gathered { put, points: Vec::with_capacity(TRANSACTION) }
    }
}

impl<P: Put> Writer for Gathered<P> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        if self.points.is_empty() && points.len() >= TRANSACTION {
            return self.put.put(points, false);
        }
        self.points.extend_from_slice(points);
        if self.points.len() >= TRANSACTION {
            self.put.put(&self.points, false)?;
            self.points.clear();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.put.put(&self.points, true)?;
        self.points.clear();
        Ok(())
    }
}

/// The key of a tag's point at a time.
pub fn key(tag: u32, ts_us: i64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&tag.to_be_bytes());
    key[4..].copy_from_slice(&(ts_us as u64 ^ 1 << 63).to_be_bytes());
    key
}

/// What stands under it.
pub fn value(point: &Point) -> [u8; 9] {
    let mut value = [0; 9];
    value[..8].copy_from_slice(&point.value.to_bits().to_le_bytes());
    value[8] = point.quality;
    value
}

/// The point of a key and its value.
pub fn point(key: &[u8], value: &[u8]) -> Result<Point> {
    if key.len() != 12 || value.len() != 9 {
        return Err("neither key nor value of a point".into());
    }
    Ok(Point {
        tag: u32::from_be_bytes(key[..4].try_into()?),
        ts_us: (u64::from_be_bytes(key[4..].try_into()?) ^ 1 << 63) as i64,
        value: f64::from_bits(u64::from_le_bytes(value[..8].try_into()?)),
        quality: value[8],
    })
}

/// Syncs every file below a directory, and the directories: for stores that have no call for it. What the store removes
/// meanwhile needs no sync.
pub fn sync_files(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let synced = match entry.file_type() {
            Ok(file_type) if file_type.is_dir() => sync_files(&entry.path()),
            Ok(_) => File::open(entry.path()).and_then(|file| file.sync_data()).map_err(Into::into),
            Err(error) => Err(error.into()),
        };
        match synced {
            Err(error) if is_gone(&error) => {}
            other => other?,
        }
    }
    Ok(File::open(dir)?.sync_all()?)
}

fn is_gone(error: &crate::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_tags_and_times_and_come_back() {
        let points = [(1, i64::MIN), (1, -1), (1, 0), (1, i64::MAX), (2, -5)]
            .map(|(tag, ts)| Point::new(tag, ts, 0.5));
        let keys = points.map(|point| key(point.tag, point.ts_us));
        assert!(keys.is_sorted());
        for point in points {
            let back = super::point(&key(point.tag, point.ts_us), &value(&point)).unwrap();
            assert_eq!(back, point);
        }
    }
}
