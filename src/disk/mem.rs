//! A disk in memory, for tests of programs that embed the engine: its power fails where the test says, and what
//! survives is the test's choice.
//!
//! ```
//! use std::sync::Arc;
//! use tidewall::disk::MemDisk;
//! use tidewall::{Config, Engine, Point};
//!
//! # fn main() -> tidewall::Result<()> {
//! let disk = MemDisk::new();
//! let engine = Engine::open(Arc::new(disk.clone()), Config::default())?;
//! engine.write(Point::new(7, 1, 21.5))?;
//! engine.sync()?;
//! engine.write(Point::new(7, 2, 22.5))?;
//!
//! let survivor = disk.power_cut(|_| 0); // nothing that was not synced survives
//! drop(engine);
//! let engine = Engine::open(Arc::new(survivor), Config::default())?;
//! assert_eq!(engine.query(7, ..)?, [Point::new(7, 1, 21.5)]);
//! # Ok(())
//! # }
//! ```
//!
//! Per file it keeps what reads see and, for each sector of [`SECTOR_BYTES`] that was written since the last sync, its
//! versions: the durable one and one for each write. The same for lengths and for changes of names. A power cut asks
//! of each of these which version survives ([`Unsynced`]). The `sim` crate has the disk that draws all this at random.

use super::{Disk, DiskFile, OpenMode};
use crate::sync::{Arc, Mutex, Rank};
use std::collections::BTreeMap;
use std::io;

/// What the disk writes as one.
pub const SECTOR_BYTES: usize = 512;

/// A call that changes something: one that can fail, and at which the power can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io<'a> {
    /// Counted from 0, since the disk was made. Reads, and openings that create nothing, are not counted.
    pub number: u64,
    /// What it does.
    pub kind: IoKind,
    /// The file; of a rename the old name; empty for `sync_dir`.
    pub name: &'a str,
}

/// What a changing call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoKind {
    /// Makes a file, in the place of one that has its name.
    Create,
    /// `write_at`
    Write,
    /// `set_len`
    SetLen,
    /// `sync`
    Sync,
    /// `rename`
    Rename,
    /// `remove`
    Remove,
    /// `sync_dir`
    SyncDir,
}

/// What becomes of a changing call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It succeeds.
    #[default]
    Succeeds,
    /// The power fails before it has any effect. Every later call fails, too.
    PowerFailsBefore,
    /// The power fails when it has had its effect, and its caller is not told.
    PowerFailsAfter,
    /// It fails with `StorageFull` and does nothing.
    NoSpace,
    /// It fails with EIO and does nothing; after a failed sync the unsynced stays unsynced.
    Fails,
    /// It fails with EIO having done part: a write this many bytes, anything else (unless 0) everything.
    FailsAfter(usize),
    /// A failed sync drops what was unsynced: reads see the durable content again. The next sync says `Ok` (xfs, btrfs).
    SyncDrops,
    /// A failed sync marks what was unsynced clean: reads see it, and no later sync makes it durable unless it is written
    /// again (ext4).
    SyncMarksClean,
}

/// Something that a power cut may take, or leave in any of its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsynced<'a> {
    /// What it is.
    pub what: What<'a>,
    /// The number of its latest version. 0 is the durable one; each write, or each change of a length, made another.
    pub latest: usize,
}

/// What is unsynced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A sector of a file, counted from its start.
    Sector(&'a str, usize),
    /// The length of a file.
    Len(&'a str),
    /// A creation, rename or removal; the name that it makes or takes away. Version 1 is that it happened.
    Name(&'a str),
}

/// Decides the fate of each changing call.
type Hook = Box<dyn FnMut(Io<'_>) -> Fate + Send>;

/// The disk. Clones are the same disk.
///
/// ```
/// use std::sync::Arc;
/// use tidewall::disk::{Fate, IoKind, MemDisk};
/// use tidewall::{Config, Engine, Error, Point};
///
/// let disk = MemDisk::new();
/// let engine = Engine::open(Arc::new(disk.clone()), Config::default())?;
/// engine.write(Point::new(7, 1, 21.5))?;
/// disk.on_change(|io| if io.kind == IoKind::Sync { Fate::SyncDrops } else { Fate::Succeeds });
/// assert!(matches!(engine.sync(), Err(Error::ReadOnly { .. })));
/// // It takes nothing more, and shows what it has.
/// assert!(matches!(engine.write(Point::new(7, 2, 22.5)), Err(Error::ReadOnly { .. })));
/// assert_eq!(engine.query(7, ..)?.len(), 1);
/// # Ok::<(), tidewall::Error>(())
/// ```
#[derive(Clone)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By inode: a number that files keep when their names change.
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    calls: u64,
    is_dead: bool,
    is_locked: bool,
    hook: Option<Hook>,
}

/// A change of a name that is not durable.
struct Change {
    name: String,
    from: Option<String>,
    /// `None` is a removal.
    inode: Option<usize>,
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    /// By number: the durable content first, then the one after each write.
    sectors: BTreeMap<usize, Vec<[u8; SECTOR_BYTES]>>,
    /// Sectors that a failed sync has marked clean.
    abandoned: Vec<usize>,
    /// The durable length, and those since; empty while it is durable.
    lens: Vec<usize>,
}

impl File {
    fn sector(&self, number: usize) -> [u8; SECTOR_BYTES] {
        let mut content = [0; SECTOR_BYTES];
        let bytes = self.bytes.get(number * SECTOR_BYTES..).unwrap_or_default();
        let len = bytes.len().min(SECTOR_BYTES);
        content[..len].copy_from_slice(&bytes[..len]);
        content
    }

    /// Changes the bytes from `start` to `end` and the length; keeps what the sectors were and what they become.
    fn change(&mut self, start: usize, end: usize, len: usize, change: impl FnOnce(&mut [u8])) {
        let sectors = if start < end { start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) } else { 0..0 };
        for sector in sectors.clone() {
            let durable = self.sector(sector);
            self.sectors.entry(sector).or_insert_with(|| vec![durable]);
            self.abandoned.retain(|abandoned| *abandoned != sector);
        }
        if len != self.bytes.len() && self.lens.is_empty() {
            self.lens.push(self.bytes.len());
        }
        self.bytes.resize(self.bytes.len().max(end), 0);
        change(&mut self.bytes[start..end]);
        for sector in sectors {
            let content = self.sector(sector);
            self.sectors.get_mut(&sector).expect("entered above").push(content);
        }
        if len != self.bytes.len() || self.lens.last().is_some_and(|last| *last != len) {
            self.lens.push(len);
        }
        self.bytes.resize(len, 0);
    }

    fn write(&mut self, offset: usize, buf: &[u8]) {
        let end = offset + buf.len();
        if !buf.is_empty() {
            self.change(offset, end, self.bytes.len().max(end), |bytes| bytes.copy_from_slice(buf));
        }
    }

    fn set_len(&mut self, len: usize) {
        // What is cut off reads as zero should the file grow again.
        let (start, end) = (len.min(self.bytes.len()), self.bytes.len());
        self.change(start, end, len, |bytes| bytes.fill(0));
    }

    fn sync(&mut self) {
        self.sectors.retain(|sector, _| self.abandoned.contains(sector));
        self.lens.clear();
    }

    fn put(&mut self, sector: usize, content: &[u8; SECTOR_BYTES]) {
        let start = (sector * SECTOR_BYTES).min(self.bytes.len());
        let end = (start + SECTOR_BYTES).min(self.bytes.len());
        self.bytes[start..end].copy_from_slice(&content[..end - start]);
    }

    fn drop_unsynced(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.sectors) {
            self.put(sector, &versions[0]);
        }
        self.abandoned.clear();
    }

    /// What a power cut leaves.
    fn survivor(&self, name: &str, keep: &mut impl FnMut(Unsynced<'_>) -> usize) -> File {
        let mut file = File { bytes: self.bytes.clone(), ..File::default() };
        if let Some(latest) = self.lens.len().checked_sub(1) {
            let len = self.lens[keep(Unsynced { what: What::Len(name), latest }).min(latest)];
            file.bytes.resize(len, 0);
        }
        for (sector, versions) in &self.sectors {
            let latest = versions.len() - 1;
            let kept = keep(Unsynced { what: What::Sector(name, *sector), latest });
            file.put(*sector, &versions[kept.min(latest)]);
        }
        file
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl State {
    /// One changing call: counted, and done as the hook decides.
    fn call(
        &mut self,
        kind: IoKind,
        name: &str,
        apply: impl FnOnce(&mut State, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        self.check()?;
        let io = Io { number: self.calls, kind, name };
        self.calls += 1;
        let fate = self.hook.as_mut().map_or(Fate::Succeeds, |hook| hook(io));
        let inode = self.names.get(name).copied();
        match fate {
            Fate::Succeeds => return apply(self, usize::MAX),
            Fate::NoSpace => return Err(io::ErrorKind::StorageFull.into()),
            Fate::PowerFailsBefore => self.is_dead = true,
            Fate::PowerFailsAfter => {
                apply(self, usize::MAX)?;
                self.is_dead = true;
            }
            Fate::FailsAfter(share) if share > 0 => apply(self, share)?,
            Fate::SyncDrops | Fate::SyncMarksClean if kind == IoKind::Sync => {
                let file = &mut self.files[inode.ok_or(io::ErrorKind::NotFound)?];
                match fate {
                    Fate::SyncDrops => file.drop_unsynced(),
                    _ => file.abandoned = file.sectors.keys().copied().collect(),
                }
            }
            Fate::Fails | Fate::FailsAfter(_) | Fate::SyncDrops | Fate::SyncMarksClean => {}
        }
        Err(eio())
    }

    fn check(&self) -> io::Result<()> {
        if self.is_dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn name_of(&self, inode: usize) -> String {
        self.names.iter().find(|(_, at)| **at == inode).map_or(String::new(), |(name, _)| name.clone())
    }

    fn rename(&mut self, name: &str, from: Option<&str>, inode: Option<usize>) {
        rename(&mut self.names, name, from, inode);
        self.changes.push(Change { name: name.into(), from: from.map(Into::into), inode });
    }
}

fn rename(names: &mut BTreeMap<String, usize>, name: &str, from: Option<&str>, inode: Option<usize>) {
    if let Some(from) = from.filter(|from| names.get(*from).copied() == inode) {
        names.remove(from);
    }
    match inode {
        Some(inode) => names.insert(name.into(), inode),
        None => names.remove(name),
    };
}

impl Default for MemDisk {
    fn default() -> MemDisk {
        MemDisk::new()
    }
}

impl MemDisk {
    /// An empty disk on which everything succeeds.
    pub fn new() -> MemDisk {
        MemDisk::with(State::default())
    }

    fn with(state: State) -> MemDisk {
        MemDisk(Arc::new(Mutex::new(Rank::Disk, state)))
    }

    /// A disk with these files, all durable: a literal image. A file is its length and what is in it that is not zero, by
    /// offset in bytes.
    ///
    /// # Panics
    /// When a piece lies beyond its file's length.
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = (&'a str, usize, &'a [(usize, &'a [u8])])>,
    ) -> MemDisk {
        let mut state = State::default();
        for (name, len, pieces) in files {
            let mut bytes = vec![0; len];
            for (offset, piece) in pieces {
                bytes[*offset..offset + piece.len()].copy_from_slice(piece);
            }
            state.names.insert(name.into(), state.files.len());
            state.files.push(File { bytes, ..File::default() });
        }
        state.durable_names = state.names.clone();
        MemDisk::with(state)
    }

    /// From now on `decide` says what becomes of each changing call. It must not call the disk.
    pub fn on_change(&self, decide: impl FnMut(Io<'_>) -> Fate + Send + 'static) {
        self.0.lock().hook = Some(Box::new(decide));
    }

    /// Changing calls so far: the number of the next one.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.0.lock().is_dead
    }

    /// The power fails, if it has not: every later call on this disk fails. Returns the disk that survives; `keep` says of
    /// everything unsynced which version does, a number larger than the latest meaning that one. Asked file by file in
    /// order of their creation, length first, and then of the names in the order of their changes.
    pub fn power_cut(&self, mut keep: impl FnMut(Unsynced<'_>) -> usize) -> MemDisk {
        let mut state = self.0.lock();
        state.is_dead = true;
        let number = state.files.len();
        let files = (0..number).map(|inode| state.files[inode].survivor(&state.name_of(inode), &mut keep));
        let files = files.collect();
        let mut names = state.durable_names.clone();
        for change in &state.changes {
            if keep(Unsynced { what: What::Name(&change.name), latest: 1 }) > 0 {
                rename(&mut names, &change.name, change.from.as_deref(), change.inode);
            }
        }
        MemDisk::with(State { files, durable_names: names.clone(), names, ..State::default() })
    }

    /// Changes a file behind the back of whoever uses it, as rot and misdirected writes do.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let inode = *state.names.get(name).expect("damage strikes a file that is there");
        change(&mut state.files[inode].bytes);
    }
}

impl Disk for MemDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.check()?;
        let exists = state.names.get(name).copied();
        let inode = match (mode, exists) {
            (OpenMode::Lock, _) if state.is_locked => return Err(io::ErrorKind::WouldBlock.into()),
            (OpenMode::Create, _) | (OpenMode::Lock, None) => {
                let inode = state.files.len();
                state.call(IoKind::Create, name, |state, _| {
                    state.files.push(File::default());
                    if exists.is_some() {
                        state.rename(name, None, None);
                    }
                    state.rename(name, None, Some(inode));
                    Ok(())
                })?;
                inode
            }
            (_, exists) => exists.ok_or(io::ErrorKind::NotFound)?,
        };
        state.is_locked |= mode == OpenMode::Lock;
        let lock = (mode == OpenMode::Lock).then(|| Lock(self.clone()));
        Ok(Arc::new(MemFile { disk: self.clone(), inode, _lock: lock }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        state.check()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.lock().call(IoKind::Rename, from, |state, _| {
            let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            // To itself: nothing happens.
            if from != to {
                state.rename(to, Some(from), Some(inode));
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().call(IoKind::Remove, name, |state, _| {
            state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            state.rename(name, None, None);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.lock().call(IoKind::SyncDir, "", |state, _| {
            state.durable_names = state.names.clone();
            state.changes.clear();
            Ok(())
        })
    }
}

/// Free again when the last handle that holds it is dropped, as the system does it for a process.
struct Lock(MemDisk);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.0.lock().is_locked = false;
    }
}

struct MemFile {
    disk: MemDisk,
    inode: usize,
    _lock: Option<Lock>,
}

impl MemFile {
    fn call(&self, kind: IoKind, apply: impl FnOnce(&mut File, usize)) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let name = state.name_of(self.inode);
        state.call(kind, &name, |state, share| {
            apply(&mut state.files[self.inode], share);
            Ok(())
        })
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock();
        state.check()?;
        let bytes = &state.files[self.inode].bytes;
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= bytes.len() as u64);
        match end {
            Some(end) => buf.copy_from_slice(&bytes[offset as usize..end as usize]),
            // As a real file has it: nothing can be read from anywhere.
            None if buf.is_empty() => {}
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.call(IoKind::Write, |file, share| file.write(offset as usize, &buf[..share.min(buf.len())]))
    }

    fn sync(&self) -> io::Result<()> {
        self.call(IoKind::Sync, |file, _| file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        state.check()?;
        Ok(state.files[self.inode].bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(IoKind::SetLen, |file, _| file.set_len(len as usize))
    }
}

#[cfg(test)]
mod tests;
