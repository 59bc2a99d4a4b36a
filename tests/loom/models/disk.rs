//! A disk in memory that keeps, of each file and of the names, what is there and what the last sync has covered.
//!
//! Its lock is std's, which loom does not see: an I/O call is one step of the thread that makes it. On a
//! [`watched`](MemDisk::watched) disk it is two, so that other threads run while it is under way; and then two calls on
//! one file at a time break the model.

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::sync::{AtomicBool, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a watched disk says of two calls on one file at a time.
pub(super) const OVERLAP: &str = "two threads are at work on one file";

#[derive(Default)]
struct State {
    files: Vec<Bytes>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    locked: BTreeSet<usize>,
    failing_syncs: usize,
    failing_writes: usize,
}

#[derive(Clone, Default)]
struct Bytes {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// What the next sync covers.
    dirty: Vec<Range<usize>>,
    at_work: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Default)]
pub(super) struct MemDisk {
    state: Arc<Mutex<State>>,
    /// On a watched disk: for loom to see the syncs of the directory.
    at_names: Option<Arc<AtomicBool>>,
}

impl MemDisk {
    pub(super) fn new() -> MemDisk {
        MemDisk::default()
    }

    /// loom sees every call on a file, and every sync of the directory.
    pub(super) fn watched() -> MemDisk {
        MemDisk { at_names: Some(Arc::new(AtomicBool::new(false))), ..MemDisk::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under it")
    }

    /// The least that a crash would leave: what was synced.
    pub(super) fn crashed(&self) -> MemDisk {
        // On a watched disk loom has to know that a call that is under way makes a difference to this one.
        let at_work: Vec<_> = self.state().files.iter().filter_map(|file| file.at_work.clone()).collect();
        for at_work in at_work {
            at_work.load(Ordering::Acquire);
        }
        let state = self.state();
        let survives = |file: &Bytes| Bytes {
            now: file.synced.clone(),
            synced: file.synced.clone(),
            ..Bytes::default()
        };
        let files = state.files.iter().map(survives).collect();
        let (names, synced_names) = (state.synced_names.clone(), state.synced_names.clone());
        let state = State { files, names, synced_names, ..State::default() };
        MemDisk { state: Arc::new(Mutex::new(state)), at_names: None }
    }

    /// Everything up to here is durable.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        state.synced_names = state.names.clone();
        state.files.iter_mut().for_each(Bytes::sync);
    }

    /// This many syncs fail from now on. What one of a file should have covered is taken for clean, as Linux does: no later sync
    /// covers it. One of the directory takes back all names that were not durable.
    pub(super) fn fail_syncs(&self, count: usize) {
        self.state().failing_syncs = count;
    }

    /// This many writes fail from now on, and change nothing.
    pub(super) fn fail_writes(&self, count: usize) {
        self.state().failing_writes = count;
    }
}

impl State {
    /// Whether the sync that begins now fails.
    fn fails(&mut self) -> bool {
        let fails = self.failing_syncs > 0;
        self.failing_syncs = self.failing_syncs.saturating_sub(1);
        fails
    }
}

impl Bytes {
    fn sync(&mut self) {
        self.synced.resize(self.now.len(), 0);
        for dirty in self.dirty.drain(..) {
            self.synced[dirty.clone()].copy_from_slice(&self.now[dirty]);
        }
    }
}

impl Disk for MemDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let at_work = self.at_names.as_ref().map(|_| Arc::new(AtomicBool::new(false)));
        let mut state = self.state();
        let found = state.names.get(name).copied();
        let file = match (mode, found) {
            (OpenMode::Read | OpenMode::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (OpenMode::Lock, Some(file)) if state.locked.contains(&file) => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            (OpenMode::Read | OpenMode::Write | OpenMode::Lock, Some(file)) => file,
            (OpenMode::Create | OpenMode::Lock, _) => {
                state.files.push(Bytes { at_work, ..Bytes::default() });
                let file = state.files.len() - 1;
                state.names.insert(name.into(), file);
                file
            }
        };
        let holds_lock = mode == OpenMode::Lock;
        if holds_lock {
            state.locked.insert(file);
        }
        let at_work = state.files[file].at_work.clone();
        drop(state);
        Ok(Arc::new(MemFile { disk: self.clone(), file, at_work, holds_lock }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        if let Some(at_names) = &self.at_names {
            at_names.swap(true, Ordering::AcqRel);
        }
        let mut state = self.state();
        if state.fails() {
            state.names = state.synced_names.clone();
            return Err(io::Error::other("the disk is gone"));
        }
        state.synced_names = state.names.clone();
        Ok(())
    }
}

struct MemFile {
    disk: MemDisk,
    file: usize,
    at_work: Option<Arc<AtomicBool>>,
    holds_lock: bool,
}

impl MemFile {
    fn call<R>(&self, work: impl FnOnce(&mut Bytes) -> R) -> R {
        // Outside the lock: loom may go on with another thread here.
        if let Some(at_work) = &self.at_work {
            assert!(!at_work.swap(true, Ordering::AcqRel), "{OVERLAP}");
        }
        let result = work(&mut self.disk.state().files[self.file]);
        if let Some(at_work) = &self.at_work {
            at_work.store(false, Ordering::Release);
        }
        result
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        if self.holds_lock {
            self.disk.state().locked.remove(&self.file);
        }
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.call(|bytes| {
            let found = bytes.now.get(offset..offset + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(found);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let (offset, end) = (offset as usize, offset as usize + buf.len());
        let fails = {
            let failing = &mut self.disk.state().failing_writes;
            let fails = *failing > 0;
            *failing = failing.saturating_sub(1);
            fails
        };
        self.call(|bytes| {
            if fails {
                return Err(io::Error::other("not now"));
            }
            if bytes.now.len() < end {
                bytes.now.resize(end, 0);
            }
            bytes.now[offset..end].copy_from_slice(buf);
            bytes.dirty.push(offset..end);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let fails = self.disk.state().fails();
        self.call(|bytes| {
            if fails {
                bytes.dirty.clear();
                return Err(io::Error::other("the disk is gone"));
            }
            bytes.sync();
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.call(|bytes| bytes.now.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(|bytes| bytes.now.resize(len as usize, 0));
        Ok(())
    }
}
