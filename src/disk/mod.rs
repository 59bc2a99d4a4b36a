//! The seam to the disk: two small traits, the real directory behind them, and a disk in memory for tests.
//!
//! Everything the engine reads or writes, names and directories included, goes through [`Disk`]; nothing else
//! touches the file system. The traits are synchronous, positional and object-safe, so that the unchanged engine
//! runs on a simulated disk where each call is an event, a possible fault and a possible crash.
//!
//! What a crash may do, which each method's documentation refers to: until the matching `sync`, any subset of the
//! sectors written may have reached the disk, in any of the versions written since the last one; until `sync_dir`,
//! each change of a name may have happened or not, independently of the others.

mod mem;
mod real;

pub use mem::{Fate, Io, IoKind, MemDisk, SECTOR_BYTES, Unsynced, What};
pub use real::RealDisk;

use std::io;
use std::sync::Arc;

/// How [`Disk::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// An existing file, to be read.
    Read,
    /// An existing file, to be read and written.
    Write,
    /// A new empty file, to be read and written. One that has the name is removed before, not emptied: what it held could show
    /// through where a crash loses a write, and a sync of the directory that failed may have dropped its name, which none from
    /// then on would write unless it changes.
    Create,
    /// A file, created if it is absent, that nobody else has open in this mode, here or in another process. It is
    /// free again when the handle is dropped or its process dies. `WouldBlock` when it is taken.
    Lock,
}

/// One directory of files. Names have no separators.
pub trait Disk: Send + Sync {
    /// Opens a file; `NotFound` if it must exist and does not. A name that this call created survives a crash only
    /// after [`sync_dir`](Disk::sync_dir).
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Gives a file another name, replacing a file that has it. Atomic: after a crash either the old state or the
    /// new one is there, and the new one for certain only after [`sync_dir`](Disk::sync_dir).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. It may come back in a crash before the next [`sync_dir`](Disk::sync_dir).
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Every creation, rename and removal that returned before this call is durable when it returns `Ok`. The
    /// contents of the files are not its business. When it errs they are in doubt: a later `Ok` says nothing about a name
    /// that has not been changed again since.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file. All methods may be called from several threads.
pub trait DiskFile: Send + Sync {
    /// Fills all of `buf`, or errs; `UnexpectedEof` when the file ends before that.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `buf`, growing the file if need be, or errs; after an error any part may have been written.
    /// Nothing of it is sure to survive a crash before [`sync`](DiskFile::sync), and any part may.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()>;
    /// The writes before this call, each with a length that reaches its end, and the length that was set are durable when it
    /// returns `Ok`. When it errs they are in doubt for ever: a later `Ok` says nothing about them, but only about what is
    /// written or set again.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// An offset from which on every byte is zero, so that space which is reserved and was never written need not be read. A disk
    /// that cannot tell returns the length.
    fn data_len(&self) -> io::Result<u64> {
        self.len()
    }
    /// Cuts or extends the file; new bytes read as zero, and space for them is reserved where the file system can.
    /// Like a write, in doubt until [`sync`](DiskFile::sync).
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The whole content of a file.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    read_up_to(file, file.len()?)
}

/// The whole content of a file, but for zeros at its end that were never written.
pub(crate) fn read_data(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    read_up_to(file, file.data_len()?)
}

fn read_up_to(file: &dyn DiskFile, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
