//! What a user of a plain log has to do: gather the points of each tag, so that a record is worth its header; and to find
//! them again, keep in memory where each record is.
//!
//! ```text
//! record   tag 4 | count 4 | count x (time 8 | value 8 | quality 1)
//! ```

use crate::Result;
use rustc_hash::FxHashMap;
use tidewall::Point;

/// Points in a full batch.
pub const BATCH: usize = 100;

/// The points of each tag that are not in a record yet.
#[derive(Default)]
pub struct Batcher {
    tags: FxHashMap<u32, Vec<Point>>,
    /// Tags that have some, in order of arrival, each once.
    waiting: Vec<u32>,
}

impl Batcher {
    /// Takes points, and hands on each batch that is full.
    pub fn add(&mut self, points: &[Point], mut full: impl FnMut(&[Point]) -> Result<()>) -> Result<()> {
        if points.len() >= BATCH && points.iter().all(|point| point.tag == points[0].tag) {
            // Points of the tag that wait go first.
            if let Some(waiting) = self.tags.get_mut(&points[0].tag).filter(|waiting| !waiting.is_empty()) {
                full(waiting)?;
                waiting.clear();
            }
            return points.chunks(BATCH).try_for_each(full);
        }
        for point in points {
            let batch = self.tags.entry(point.tag).or_default();
            if batch.is_empty() {
                self.waiting.push(point.tag);
            }
            batch.push(*point);
            if batch.len() == BATCH {
                full(batch)?;
                batch.clear();
                // A tag that is alone would fill the list.
                if self.waiting.last() == Some(&point.tag) {
                    self.waiting.pop();
                }
            }
        }
        Ok(())
    }

    /// Hands on what is left.
    pub fn rest(&mut self, mut some: impl FnMut(&[Point]) -> Result<()>) -> Result<()> {
        for tag in self.waiting.drain(..) {
            if let Some(batch) = self.tags.get_mut(&tag).filter(|batch| !batch.is_empty()) {
                some(batch)?;
                batch.clear();
            }
        }
        Ok(())
    }
}

/// Appends a record.
pub fn encode(points: &[Point], out: &mut Vec<u8>) {
    out.reserve(8 + 17 * points.len());
    out.extend_from_slice(&points[0].tag.to_le_bytes());
    out.extend_from_slice(&(points.len() as u32).to_le_bytes());
    for point in points {
        out.extend_from_slice(&entry(point));
    }
}

/// Time, value and quality.
#[inline]
pub fn entry(point: &Point) -> [u8; 17] {
    let mut entry = [0; 17];
    entry[..8].copy_from_slice(&point.ts_us.to_le_bytes());
    entry[8..16].copy_from_slice(&point.value.to_bits().to_le_bytes());
    entry[16] = point.quality;
    entry
}

/// Reads the points of records that follow each other; bytes that are none are an error.
pub fn decode(mut bytes: &[u8], mut each: impl FnMut(Point)) -> Result<()> {
    while !bytes.is_empty() {
        let header = bytes.split_off(..8).ok_or("a record is cut")?;
        let tag = u32::from_le_bytes(header[..4].try_into()?);
        let count = u32::from_le_bytes(header[4..].try_into()?) as usize;
        let entries = bytes.split_off(..count * 17).ok_or("a record is cut")?;
        for entry in entries.chunks_exact(17) {
            each(point(tag, entry)?);
        }
    }
    Ok(())
}

/// The point of an entry.
pub fn point(tag: u32, entry: &[u8]) -> Result<Point> {
    let ts_us = i64::from_le_bytes(entry[..8].try_into()?);
    let value = f64::from_bits(u64::from_le_bytes(entry[8..16].try_into()?));
    Ok(Point { tag, ts_us, value, quality: entry[16] })
}

/// Where the records of each tag are, in order of time, each with its first time.
pub type Index<Position> = FxHashMap<u32, Vec<(i64, Position)>>;

/// The records that may have points of a range. Points of a tag come in order of time here.
pub fn records<P: Copy>(index: &Index<P>, tag: u32, from_us: i64, to_us: i64) -> Vec<P> {
    let Some(records) = index.get(&tag) else { return Vec::new() };
    let first = records.partition_point(|(ts_us, _)| *ts_us <= from_us).saturating_sub(1);
    records[first..].iter().take_while(|(ts_us, _)| *ts_us < to_us).map(|(_, position)| *position).collect()
}

/// The points of each tag, for stores that are read whole.
pub type Points = FxHashMap<u32, Vec<Point>>;

/// The points of a range among those of a tag that are in order.
pub fn range(points: &Points, tag: u32, from_us: i64, to_us: i64) -> Vec<Point> {
    let Some(points) = points.get(&tag) else { return Vec::new() };
    let from = points.partition_point(|point| point.ts_us < from_us);
    let to = points.partition_point(|point| point.ts_us < to_us);
    points[from..to].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_handed_on_once_and_in_order() {
        let mut batcher = Batcher::default();
        let mut handed: FxHashMap<u32, Vec<i64>> = FxHashMap::default();
        let mut take = |points: &[Point]| {
            assert!(points.iter().all(|point| point.tag == points[0].tag));
            handed.entry(points[0].tag).or_default().extend(points.iter().map(|point| point.ts_us));
            Ok(())
        };
        let points: Vec<_> = (0..2_000).map(|n| Point::new(n as u32 % 7 + 1, n, 0.0)).collect();
        for (turn, call) in points.chunks(333).enumerate() {
            batcher.add(call, &mut take).unwrap();
            if turn % 2 == 0 {
                batcher.rest(&mut take).unwrap();
            }
        }
        let one: Vec<_> = (2_000..2_150).map(|n| Point::new(1, n, 0.0)).collect();
        batcher.add(&one, &mut take).unwrap();
        batcher.rest(&mut take).unwrap();
        assert_eq!(handed.values().map(Vec::len).sum::<usize>(), 2_150);
        assert!(handed.values().all(|times| times.windows(2).all(|pair| pair[0] < pair[1])));
    }
}
