//! What the machine can do at all: nothing, memory, and one sequential file.

use super::batcher::{Points, range};
use super::{Options, Store, Writer};
use crate::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use tidewall::Point;

struct Nothing;

pub fn open_nothing(_: &Path, _: Options) -> Result<Box<dyn Store>> {
    Ok(Box::new(Nothing))
}

impl Store for Nothing {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Nothing))
    }

    fn query(&self, _: u32, _: i64, _: i64) -> Result<Vec<Point>> {
        Err("nothing was stored".into())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for Nothing {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        std::hint::black_box(points);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What the writers have gathered, once they have synced.
#[derive(Default)]
struct Memory {
    written: Mutex<Points>,
}

pub fn open_memory(_: &Path, _: Options) -> Result<Box<dyn Store>> {
    Ok(Box::<Memory>::default())
}

impl Store for Memory {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(MemoryWriter { memory: self, points: Points::default() }))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        Ok(range(&self.written.lock().expect("no panic"), tag, from_us, to_us))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct MemoryWriter<'a> {
    memory: &'a Memory,
    points: Points,
}

impl Writer for MemoryWriter<'_> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        for run in points.chunk_by(|a, b| a.tag == b.tag) {
            self.points.entry(run[0].tag).or_default().extend_from_slice(run);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for MemoryWriter<'_> {
    fn drop(&mut self) {
        self.memory.written.lock().expect("no panic").extend(self.points.drain());
    }
}

/// Entries of 24 bytes: time, value, tag, quality, and three zeros.
const ENTRY: usize = 24;
const BUFFER: usize = 1 << 20;
const NAME: &str = "points";

struct Sequential {
    file: File,
    end: AtomicU64,
    all: OnceLock<Points>,
}

pub fn open_file(dir: &Path, _: Options) -> Result<Box<dyn Store>> {
    open(dir, 0)
}

pub fn open_preallocated(dir: &Path, options: Options) -> Result<Box<dyn Store>> {
    open(dir, options.points * ENTRY)
}

fn open(dir: &Path, preallocated: usize) -> Result<Box<dyn Store>> {
    let path = dir.join(NAME);
    let exists = path.exists();
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    if !exists {
        // Written, not only reserved: a reserved block costs the file system a note in its journal when it is first used.
        let zeros = vec![0; BUFFER];
        let mut offset = 0;
        while offset < preallocated {
            file.write_all_at(&zeros, offset as u64)?;
            offset += BUFFER;
        }
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
    }
    Ok(Box::new(Sequential { file, end: AtomicU64::new(0), all: OnceLock::new() }))
}

impl Store for Sequential {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(SequentialWriter { store: self, buffer: Vec::with_capacity(BUFFER) }))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        if self.all.get().is_none() {
            let _ = self.all.set(self.read()?);
        }
        Ok(range(self.all.get().expect("just set"), tag, from_us, to_us))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Sequential {
    fn read(&self) -> Result<Points> {
        let mut bytes = vec![0; self.file.metadata()?.len() as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        let mut points = Points::default();
        for entry in bytes.chunks_exact(ENTRY) {
            let tag = u32::from_le_bytes(entry[16..20].try_into()?);
            if tag == 0 {
                break;
            }
            points.entry(tag).or_default().push(Point {
                tag,
                ts_us: i64::from_le_bytes(entry[..8].try_into()?),
                value: f64::from_bits(u64::from_le_bytes(entry[8..16].try_into()?)),
                quality: entry[20],
            });
        }
        Ok(points)
    }
}

struct SequentialWriter<'a> {
    store: &'a Sequential,
    buffer: Vec<u8>,
}

impl SequentialWriter<'_> {
    fn write_out(&mut self) -> Result<()> {
        let offset = self.store.end.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        self.store.file.write_all_at(&self.buffer, offset)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Writer for SequentialWriter<'_> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        for point in points {
            let mut entry = [0; ENTRY];
            entry[..8].copy_from_slice(&point.ts_us.to_le_bytes());
            entry[8..16].copy_from_slice(&point.value.to_bits().to_le_bytes());
            entry[16..20].copy_from_slice(&point.tag.to_le_bytes());
            entry[20] = point.quality;
            self.buffer.extend_from_slice(&entry);
            if self.buffer.len() + ENTRY > BUFFER {
                self.write_out()?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.write_out()?;
        Ok(self.store.file.sync_data()?)
    }
}
