//! The process that writes until its machine loses power.

use crate::journal::Journal;
use crate::writers::{Random, Told, WRITERS, all_written, config, tags, write_a_while};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tidewall::disk::{Disk, DiskFile, OpenMode, RealDisk};
use tidewall::{Engine, Result};
use tidewall_sim::disk::recorder::Recorder;

/// Lives of the engine in one process; then it waits for its end.
const SESSIONS: u64 = 4;

/// Whether the disk under the engine keeps its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    Honest,
    /// It syncs a log segment when it is made; after that a sync of one says `Ok` and does nothing.
    SyncsNoLog,
}

/// Writes points into a directory, and into a journal what it does.
pub fn write_until_the_power_fails(dir: &Path, journal: &Path, honesty: Honesty) {
    let journal = Journal::append_to(journal);
    let disk = RealDisk::new(dir).expect("a directory is made");
    let disk: Arc<dyn Disk> = match honesty {
        Honesty::Honest => Arc::new(disk),
        Honesty::SyncsNoLog => Arc::new(SyncsNoLog(disk)),
    };
    let disk: Arc<dyn Disk> = Arc::new(Recorder::new(disk, journal.clone()));
    for session in 0..SESSIONS {
        if let Err(error) = live(&disk, session, &journal) {
            journal.failed(&error);
            break;
        }
    }
    journal.rests();
    loop {
        thread::park();
    }
}

fn live(disk: &Arc<dyn Disk>, session: u64, journal: &Journal) -> Result<()> {
    let engine = Engine::open(disk.clone(), config())?;
    let mut counts = all_written(&engine);
    journal.found(&counts);
    thread::scope(|scope| {
        let write = |(tags, counts): (&'static [u32; 3], &mut [usize])| {
            let random = Random(1 + session + counts.iter().sum::<usize>() as u64);
            let tell =
                |told, counts: &[usize]| journal.told(told, tags.iter().copied().zip(counts.iter().copied()));
            write_a_while(&engine, tags, counts, random, tell)
        };
        let writers = WRITERS.iter().zip(counts.chunks_mut(3)).map(|own| scope.spawn(move || write(own)));
        let writers: Vec<_> = writers.collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    // Else it is dropped, as good as killed.
    if session.is_multiple_of(2) {
        engine.close()?;
        journal.told(Told::Acked, tags().zip(counts));
    }
    Ok(())
}

/// The control of this test: what it keeps of the log is luck.
struct SyncsNoLog(RealDisk);

impl Disk for SyncsNoLog {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.open(name, mode)?;
        if !name.starts_with("wal") {
            return Ok(file);
        }
        Ok(Arc::new(LyingFile { file, was_synced: AtomicBool::new(mode != OpenMode::Create) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
}

struct LyingFile {
    file: Arc<dyn DiskFile>,
    was_synced: AtomicBool,
}

impl DiskFile for LyingFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, buf)
    }

    fn sync(&self) -> io::Result<()> {
        if self.was_synced.swap(true, Ordering::Relaxed) { Ok(()) } else { self.file.sync() }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
