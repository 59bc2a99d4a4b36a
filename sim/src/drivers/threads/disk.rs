//! The simulated disk under the engine that shuttle schedules: each I/O is a place where threads may switch.
//!
//! The engine of `tidewall-shuttle` is compiled from the same sources, but its traits are its own types; this is the
//! adapter. The switch comes *before* the disk's own lock is taken, never inside.

use super::World;
use crate::disk::SimDisk;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use std::io;
use std::sync::Arc;
use tidewall::disk::Disk as _;
use tidewall_shuttle::disk as seam;

/// An I/O that failed on a disk whose power was on.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    /// When.
    pub(super) stamp: u64,
    /// The background thread that made it, and its I/O; `None` for threads that callers wait for.
    pub(super) background: Option<Seen>,
    pub(super) owed: Owed,
}

/// An I/O of a background thread.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) stamp: u64,
    pub(super) thread: String,
    /// The file and offset of a block that it wrote: the one I/O that others of its kind may follow after an error.
    pub(super) block: Option<(String, u64)>,
}

/// Whether this is the name of a thread that no caller waits for.
pub(super) fn is_background(name: &str) -> bool {
    name.starts_with("tidewall-log") || name == "tidewall-flush"
}

/// What an engine owes for the failure of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// An error of the call that it was for.
    Usual,
    /// As that, and it changes nothing: only who asked something hears of it.
    Look,
    /// To accept nothing more (I8).
    Final,
    /// Nothing: it may do without a shorter manifest, or one more log segment.
    Spare,
}

#[derive(Clone)]
pub(super) struct Disk {
    inner: SimDisk,
    world: Arc<World>,
    /// Loading it is a scheduling point. A yield would be one, too, but tells the scheduler to run others first.
    point: Arc<AtomicU32>,
}

impl Disk {
    pub(super) fn new(inner: SimDisk, world: Arc<World>) -> Disk {
        Disk { inner, world, point: Arc::new(AtomicU32::new(0)) }
    }

    fn io<R>(&self, owed: Owed, io: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.io_of(owed, None, io)
    }

    fn io_of<R>(
        &self,
        owed: Owed,
        block: Option<(&str, u64)>,
        io: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.point.load(Ordering::Relaxed);
        let mut late = self.inner.stalls_for();
        while late > 0 && self.inner.is_stalled() {
            shuttle::thread::yield_now();
            late -= 1;
        }
        let current = shuttle::thread::current();
        let background = current.name().filter(|name| is_background(name));
        let background = background.map(|name| Seen {
            stamp: self.world.stamp(),
            thread: name.to_string(),
            block: block.map(|(file, offset)| (file.to_string(), offset)),
        });
        if let Some(seen) = &background {
            self.world.lock().background_io.push(seen.clone());
        }
        self.world.timeline.in_thread(|| current.name().unwrap_or_default().into());
        let result = io();
        if let Err(error) = &result
            && !self.inner.is_dead()
            && error.kind() != io::ErrorKind::NotFound
        {
            let stamp = self.world.stamp();
            // A rename that found no space has not begun: a shorter manifest waits.
            let no_space = error.kind() == io::ErrorKind::StorageFull;
            let owed = if owed == Owed::Final && no_space { Owed::Spare } else { owed };
            self.world.lock().failed.push(Failed { stamp, background, owed });
        }
        result
    }
}

impl seam::Disk for Disk {
    fn open(&self, name: &str, mode: seam::OpenMode) -> io::Result<Arc<dyn seam::DiskFile>> {
        let mode = match mode {
            seam::OpenMode::Read => tidewall::disk::OpenMode::Read,
            seam::OpenMode::Write => tidewall::disk::OpenMode::Write,
            seam::OpenMode::Create => tidewall::disk::OpenMode::Create,
            seam::OpenMode::Lock => tidewall::disk::OpenMode::Lock,
        };
        let manifest = name == "MANIFEST.next";
        let segment = name.starts_with("wal") && mode == tidewall::disk::OpenMode::Create;
        let spare_if = |spare: bool| if spare { Owed::Spare } else { Owed::Usual };
        let opening = match mode {
            tidewall::disk::OpenMode::Read => Owed::Look,
            _ => spare_if(manifest || segment),
        };
        let file = self.io(opening, || self.inner.open(name, mode))?;
        let (write, set_len) = (spare_if(manifest), spare_if(segment));
        Ok(Arc::new(File { name: name.into(), file, disk: self.clone(), write, set_len }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.io(Owed::Look, || self.inner.list())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.io(Owed::Final, || self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.io(Owed::Spare, || self.inner.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.io(Owed::Final, || self.inner.sync_dir())
    }
}

struct File {
    name: String,
    file: Arc<dyn tidewall::disk::DiskFile>,
    disk: Disk,
    /// What is owed when its first write fails, or the reservation of its space.
    write: Owed,
    set_len: Owed,
}

impl seam::DiskFile for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.io(Owed::Look, || self.file.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let owed = if offset == 0 { self.write } else { Owed::Usual };
        let block = self.name.starts_with("chunk").then_some((&*self.name, offset));
        self.disk.io_of(owed, block, || self.file.write_at(offset, buf))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.io(Owed::Final, || self.file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.io(Owed::Look, || self.file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.io(self.set_len, || self.file.set_len(len))
    }
}
