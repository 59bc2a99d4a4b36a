//! raft-engine: the logs of many raft groups in one log of batches, on `env::FileSystem`.
//!
//! What it promises (`Engine::write`, README): a batch is atomic; with `sync` it and all before it survive. By default
//! (`RecoveryMode::TolerateTailCorruption`) recovery drops a tail that was interrupted. What it asks of the disk it does not say
//! beyond that; the one here writes sectors of 512 bytes whole, in any order. Of batches written without a sync it says nothing
//! that a power cut could break, so every batch here is synced.
//!
//! It scans, locks and syncs its directory past the seam. So there is a real directory, of empty files with the right names,
//! and on the simulated disk names are durable at once: whether it syncs its directory in time cannot be judged here.

use protobuf::well_known_types::Any;
use raft_engine::env::{FileSystem, Handle, WriteExt};
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tidewall::disk::{Disk, DiskFile, OpenMode};
use tidewall_sim::disk::persistence::NameOrder;
use tidewall_sim::disk::{Persistence, Profile};
use tidewall_sim::subject::{Ack, Bytes, Draw, Ending, Failure, Plan, Subject};

const REGIONS: u32 = 3;

pub fn plan() -> Plan {
    let disk = Persistence { names: NameOrder::AtOnce, ..Persistence::SECTOR };
    Plan { profile: Profile::Exactly(disk), operations: 40, crash_within: 12, ..Plan::default() }
}

/// The simulated disk, and the real directory with its names.
pub struct Files {
    disk: Arc<dyn Disk>,
}

fn name(path: &Path) -> io::Result<&str> {
    path.file_name().and_then(|name| name.to_str()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Files {
    fn open_in(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        Ok(File { file: self.disk.open(name(path)?, mode)? })
    }
}

impl FileSystem for Files {
    type Handle = File;
    type Reader = Cursor;
    type Writer = Cursor;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let file = self.open_in(path.as_ref(), OpenMode::Create)?;
        fs::File::create(path)?;
        Ok(file)
    }

    #[cfg(raft_engine_0_3)]
    fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        self.open_in(path.as_ref(), OpenMode::Write)
    }

    #[cfg(not(raft_engine_0_3))]
    fn open<P: AsRef<Path>>(&self, path: P, _: raft_engine::env::Permission) -> io::Result<File> {
        self.open_in(path.as_ref(), OpenMode::Write)
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.disk.remove(name(path.as_ref())?)?;
        fs::remove_file(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.disk.rename(name(from.as_ref())?, name(to.as_ref())?)?;
        fs::rename(from, to)
    }

    fn new_reader(&self, handle: Arc<File>) -> io::Result<Cursor> {
        Ok(Cursor { file: handle.file.clone(), at: 0 })
    }

    fn new_writer(&self, handle: Arc<File>) -> io::Result<Cursor> {
        Ok(Cursor { file: handle.file.clone(), at: 0 })
    }
}

pub struct File {
    file: Arc<dyn DiskFile>,
}

impl Handle for File {
    fn truncate(&self, len: usize) -> io::Result<()> {
        self.file.set_len(len as u64)
    }

    fn file_size(&self) -> io::Result<usize> {
        Ok(self.file.len()? as usize)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// A place in a file.
pub struct Cursor {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len()?.saturating_sub(self.at);
        let len = buf.len().min(left as usize);
        self.file.read_at(self.at, &mut buf[..len])?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Write for Cursor {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.at, buf)?;
        self.at += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.len()?.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl WriteExt for Cursor {
    fn truncate(&mut self, len: usize) -> io::Result<()> {
        self.file.set_len(len as u64)?;
        self.at = len as u64;
        Ok(())
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        let end = (offset + size) as u64;
        if end > self.file.len()? { self.file.set_len(end) } else { Ok(()) }
    }
}

/// An entry of a raft log; any protobuf message will do.
struct Entry;

impl MessageExt for Entry {
    type Entry = Any;

    fn index(entry: &Any) -> u64 {
        entry.type_url.parse().expect("the index, as it was written")
    }
}

#[derive(Debug)]
pub enum Op {
    /// A batch for some groups. Each gets entries from an index on; what it had from there on is replaced.
    Write(Vec<(u64, u64, Vec<Bytes>)>),
    /// Files that are not needed any more are rewritten and removed.
    Purge,
}

pub struct Store {
    // Before the directory, which it has open.
    engine: Engine<Files>,
    _dir: TempDir,
}

fn last(state: &BTreeMap<(u64, u64), Bytes>, region: u64) -> u64 {
    state.range((region, 0)..(region + 1, 0)).next_back().map_or(0, |((_, index), _)| *index)
}

impl Subject for Store {
    type Op = Op;
    /// Entries by group and index.
    type State = BTreeMap<(u64, u64), Bytes>;

    // An engine holds some hundred kilobytes, and a destructor of it panics where it cannot cut off the end of a file.
    const ENDING: Ending = Ending::Drop;

    fn draw(draw: &mut Draw<'_>, state: &Self::State) -> Op {
        if draw.percent(8) {
            return Op::Purge;
        }
        let regions = draw.between(1, 2);
        let mut parts: Vec<(u64, u64, Vec<Bytes>)> = Vec::new();
        for _ in 0..regions {
            let region = u64::from(draw.between(1, REGIONS));
            if parts.iter().any(|(taken, ..)| *taken == region) {
                continue;
            }
            let last = last(state, region) as u32;
            // A raft log is overwritten from where the leader disagrees.
            let index = if draw.percent(20) { draw.between(1, last + 1) } else { last + 1 };
            let count = draw.between(1, 3);
            let entries = (0..count).map(|_| {
                let len = draw.pick(&[20, 400, 1000, 3000]);
                draw.bytes(len)
            });
            parts.push((region, u64::from(index), entries.collect()));
        }
        Op::Write(parts)
    }

    fn expect(state: &mut Self::State, op: &Op) {
        let Op::Write(parts) = op else { return };
        for (region, index, entries) in parts {
            state.retain(|(of, at), _| of != region || at < index);
            state.extend((*index..).zip(entries).map(|(at, entry)| ((*region, at), entry.clone())));
        }
    }

    fn open(disk: Arc<dyn Disk>) -> Result<Self, Failure> {
        // It syncs this directory for real; in memory that costs nothing.
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }?;
        for name in disk.list()? {
            fs::File::create(dir.path().join(name))?;
        }
        let config = Config {
            dir: dir.path().to_str().ok_or("a directory with a strange name")?.into(),
            target_file_size: ReadableSize::kb(16),
            purge_threshold: ReadableSize::kb(48),
            recovery_threads: 1,
            ..Config::default()
        };
        Ok(Store { engine: Engine::open_with_file_system(config, Arc::new(Files { disk }))?, _dir: dir })
    }

    fn apply(&mut self, op: &Op) -> Result<Ack, Failure> {
        match op {
            Op::Write(parts) => {
                let mut batch = LogBatch::default();
                for (region, index, entries) in parts {
                    let entry = |(at, entry): (u64, &Bytes)| {
                        let mut any = Any::new();
                        any.set_type_url(at.to_string());
                        any.set_value(entry.0.clone());
                        any
                    };
                    let entries: Vec<_> = (*index..).zip(entries).map(entry).collect();
                    batch.add_entries::<Entry>(*region, &entries)?;
                }
                self.engine.write(&mut batch, true)?;
                Ok(Ack::Durable)
            }
            Op::Purge => {
                aside(|| self.engine.purge_expired_files())?;
                Ok(Ack::Accepted)
            }
        }
    }

    fn dump(&mut self) -> Result<Self::State, Failure> {
        let engine = &self.engine;
        let entries = aside(|| {
            let mut entries = Vec::new();
            for region in 1..=u64::from(REGIONS) {
                if let (Some(first), Some(last)) = (engine.first_index(region), engine.last_index(region)) {
                    let mut found = Vec::new();
                    engine.fetch_entries_to::<Entry>(region, first, last + 1, None, &mut found)?;
                    let entry = |any: Any| ((region, Entry::index(&any)), Bytes(any.value));
                    entries.extend(found.into_iter().map(entry));
                }
            }
            Ok(entries)
        })?;
        Ok(entries.into_iter().collect())
    }
}

/// Calls the engine in a thread of its own: a block that it has read stays in a cache of the thread, under a key that the next
/// life of the store uses again.
fn aside<R: Send>(call: impl FnOnce() -> raft_engine::Result<R> + Send) -> Result<R, Failure> {
    let joined = std::thread::scope(|scope| scope.spawn(call).join());
    let result = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(result?)
}
