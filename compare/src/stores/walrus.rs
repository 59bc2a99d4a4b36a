//! walrus: logs by topic, read from the beginning. Each writer has a topic of its own, because batches of one wait for
//! each other.

use super::batcher::{Batcher, Points, decode, encode, range};
use super::keyed::sync_files;
use super::{Options, Store, Writer};
use crate::Result;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidewall::Point;
use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

/// More topics than there are writers.
const TOPICS: usize = 16;
/// Bytes asked for at once when all is read.
const READ_BYTES: usize = 8 << 20;

struct Log {
    walrus: Walrus,
    dir: PathBuf,
    writers: AtomicUsize,
    each_synced: bool,
    all: OnceLock<Points>,
}

/// The parent has told the library through the environment which directory it is.
pub fn open(dir: &Path, options: Options) -> Result<Box<dyn Store>> {
    let schedule = if options.immediate { FsyncSchedule::SyncEach } else { FsyncSchedule::NoFsync };
    let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
    Ok(Box::new(Log {
        walrus: Walrus::with_consistency_and_schedule(consistency, schedule)?,
        dir: dir.into(),
        writers: AtomicUsize::new(0),
        each_synced: options.immediate,
        all: OnceLock::new(),
    }))
}

fn topic(number: usize) -> String {
    format!("writer-{number}")
}

impl Store for Log {
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>> {
        let topic = topic(self.writers.fetch_add(1, Ordering::Relaxed));
        Ok(Box::new(LogWriter { log: self, topic, batcher: Batcher::default(), bytes: Vec::new() }))
    }

    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>> {
        if self.all.get().is_none() {
            let mut points = Points::default();
            for topic in (0..TOPICS).map(topic) {
                loop {
                    let entries = self.walrus.batch_read_for_topic(&topic, READ_BYTES, true)?;
                    if entries.is_empty() {
                        break;
                    }
                    for entry in entries {
                        decode(&entry.data, |point| points.entry(point.tag).or_default().push(point))?;
                    }
                }
            }
            let _ = self.all.set(points);
        }
        Ok(range(self.all.get().expect("just set"), tag, from_us, to_us))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct LogWriter<'a> {
    log: &'a Log,
    topic: String,
    batcher: Batcher,
    bytes: Vec<u8>,
}

impl LogWriter<'_> {
    fn append(log: &Log, topic: &str, points: &[Point], bytes: &mut Vec<u8>) -> Result<()> {
        bytes.clear();
        encode(points, bytes);
        Ok(log.walrus.append_for_topic(topic, bytes)?)
    }
}

impl Writer for LogWriter<'_> {
    fn write(&mut self, points: &[Point]) -> Result<()> {
        self.batcher.add(points, |batch| LogWriter::append(self.log, &self.topic, batch, &mut self.bytes))
    }

    fn sync(&mut self) -> Result<()> {
        self.batcher.rest(|batch| LogWriter::append(self.log, &self.topic, batch, &mut self.bytes))?;
        if self.log.each_synced { Ok(()) } else { sync_files(&self.log.dir) }
    }
}
