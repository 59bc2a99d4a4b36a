//! The disk that a store is given: the simulated one, behind a plug that can be pulled.
//!
//! When the power fails, the call that was interrupted never returns. To return an error from it would let the store go on:
//! its clean-up would run, and its assertions would fail, on a failure that is of our making. So the call unwinds the stack to
//! the driver. What a destructor writes on the way goes nowhere, and succeeds: a panic in it would end the process. A process
//! that ends alone is the same without the power cut. [`Ending`] has what else can be done.

use super::Ending;
use crate::disk::SimDisk;
use parking_lot::Mutex;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};

/// What unwinds the stack of a store when the power fails; no panic, so no hook is told.
pub(super) struct PowerFailed;

struct Socket {
    /// `None`: the plug is pulled.
    disk: Option<SimDisk>,
    files: Vec<Option<Arc<dyn DiskFile>>>,
    ending: Ending,
}

/// The disk of one life of a store.
#[derive(Clone)]
pub(super) struct Plug(Arc<Mutex<Socket>>);

impl Plug {
    pub(super) fn into(disk: &SimDisk, ending: Ending) -> Plug {
        Plug(Arc::new(Mutex::new(Socket { disk: Some(disk.clone()), files: Vec::new(), ending })))
    }

    /// The life is over. The disk itself may go on.
    pub(super) fn pull(&self) {
        let mut socket = self.0.lock();
        let files = std::mem::take(&mut socket.files);
        socket.disk = None;
        drop(socket);
        drop(files);
    }

    /// The power is off: unwinds the caller's stack. While that is under way already the call returns what was `pretended`, as if it had
    /// worked, or an error if there is nothing to pretend.
    fn end<R>(&self, pretended: Option<R>) -> io::Result<R> {
        let was_over = self.0.lock().disk.is_none();
        self.pull();
        let on_the_way = match self.0.lock().ending {
            Ending::Leak => std::thread::panicking(),
            Ending::Drop => std::thread::panicking() || was_over,
            Ending::Fail => return Err(power_is_off()),
        };
        if on_the_way {
            return pretended.ok_or_else(power_is_off);
        }
        resume_unwind(Box::new(PowerFailed))
    }

    fn call<R>(&self, pretended: Option<R>, call: impl FnOnce(&SimDisk) -> io::Result<R>) -> io::Result<R> {
        let disk = self.0.lock().disk.clone();
        let Some(disk) = disk else { return self.end(pretended) };
        let result = call(&disk);
        if result.is_err() && disk.is_dead() { self.end(pretended) } else { result }
    }

    fn call_file<R>(
        &self,
        number: usize,
        pretended: Option<R>,
        call: impl FnOnce(&dyn DiskFile) -> io::Result<R>,
    ) -> io::Result<R> {
        let file = self.0.lock().files.get(number).cloned().flatten();
        match file {
            Some(file) => self.call(pretended, |_| call(&*file)),
            None => self.end(pretended),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

impl Disk for Plug {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.call(None, |disk| disk.open(name, mode))?;
        let mut socket = self.0.lock();
        socket.files.push(Some(file));
        Ok(Arc::new(Handle { plug: self.clone(), number: socket.files.len() - 1 }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.call(None, SimDisk::list)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Some(()), |disk| disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.call(Some(()), |disk| disk.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.call(Some(()), SimDisk::sync_dir)
    }
}

struct Handle {
    plug: Plug,
    number: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let file = self.plug.0.lock().files.get_mut(self.number).and_then(Option::take);
        // It may hold a lock that the disk is told of.
        drop(file);
    }
}

impl DiskFile for Handle {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.plug.call_file(self.number, None, |file| file.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.plug.call_file(self.number, Some(()), |file| file.write_at(offset, buf))
    }

    fn sync(&self) -> io::Result<()> {
        self.plug.call_file(self.number, Some(()), |file| file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.plug.call_file(self.number, None, |file| file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.plug.call_file(self.number, Some(()), |file| file.set_len(len))
    }
}
