//! Calls of a disk as values: watched while they happen, and made again on another disk.
//!
//! ```text
//!  engine ──► Recorder ──► Player ──► RealDisk            what happened ──► Player ──► SimDisk
//!                 │                                             │                          │
//!                 └──► Witness: each call, then its answer ─────┘      the same answers? ◄─┘
//! ```
//!
//! A [`Recorder`] makes one call at a time, so the order in which a [`Witness`] hears of them is the order in which they
//! took effect, whoever called.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};

/// An open file, by the number that its opening gave it.
pub type Handle = u32;

/// One call, with everything that it says.
#[derive(Clone, PartialEq, Eq)]
pub enum Call {
    /// [`Disk::open`]; on success the file goes by this number, and what went by it before is let go.
    #[allow(missing_docs)]
    Open { name: String, mode: OpenMode, handle: Handle },
    /// The file is let go.
    #[allow(missing_docs)]
    Drop { handle: Handle },
    /// [`Disk::list`]
    List,
    /// [`Disk::rename`]
    #[allow(missing_docs)]
    Rename { from: String, to: String },
    /// [`Disk::remove`]
    #[allow(missing_docs)]
    Remove { name: String },
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`DiskFile::read_at`] of `len` bytes.
    #[allow(missing_docs)]
    Read { handle: Handle, offset: u64, len: usize },
    /// [`DiskFile::write_at`]
    #[allow(missing_docs)]
    Write { handle: Handle, offset: u64, bytes: Vec<u8> },
    /// [`DiskFile::sync`]
    #[allow(missing_docs)]
    Sync { handle: Handle },
    /// [`DiskFile::len`]
    #[allow(missing_docs)]
    Len { handle: Handle },
    /// [`DiskFile::set_len`]
    #[allow(missing_docs)]
    SetLen { handle: Handle, len: u64 },
}

impl Call {
    /// Whether it may change what the disk holds.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Call::List
                | Call::Read { .. }
                | Call::Len { .. }
                | Call::Drop { .. }
                | Call::Open { mode: OpenMode::Read | OpenMode::Write, .. }
        )
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Open { name, mode, handle } => write!(f, "open {name} ({mode:?}) as {handle}"),
            Call::Drop { handle } => write!(f, "drop {handle}"),
            Call::List => write!(f, "list"),
            Call::Rename { from, to } => write!(f, "rename {from} -> {to}"),
            Call::Remove { name } => write!(f, "remove {name}"),
            Call::SyncDir => write!(f, "sync_dir"),
            Call::Read { handle, offset, len } => write!(f, "read {handle} {offset}+{len}"),
            Call::Write { handle, offset, bytes } => write!(f, "write {handle} {offset}+{}", bytes.len()),
            Call::Sync { handle } => write!(f, "sync {handle}"),
            Call::Len { handle } => write!(f, "len {handle}"),
            Call::SetLen { handle, len } => write!(f, "set_len {handle} {len}"),
        }
    }
}

/// What a call that succeeded has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No more than that.
    Done,
    /// The bytes that were read.
    Bytes(Vec<u8>),
    /// A file's length in bytes.
    Len(u64),
    /// The names in the directory.
    Names(Vec<String>),
}

/// What came of a call.
pub type Outcome = Result<Answer, io::ErrorKind>;

/// Makes calls on a disk.
pub struct Player {
    disk: Arc<dyn Disk>,
    files: BTreeMap<Handle, Arc<dyn DiskFile>>,
}

impl Player {
    /// On this disk, with no file open.
    pub fn new(disk: Arc<dyn Disk>) -> Player {
        Player { disk, files: BTreeMap::new() }
    }

    /// Makes a call.
    ///
    /// # Errors
    /// The disk's; `NotConnected` where no file goes by the call's number.
    pub fn make(&mut self, call: &Call) -> io::Result<Answer> {
        let file = |handle: &Handle| self.files.get(handle).ok_or(io::ErrorKind::NotConnected);
        match call {
            Call::Open { name, mode, handle } => {
                let file = self.disk.open(name, *mode)?;
                self.files.insert(*handle, file);
            }
            Call::Drop { handle } => drop(self.files.remove(handle)),
            Call::List => return Ok(Answer::Names(self.disk.list()?)),
            Call::Rename { from, to } => self.disk.rename(from, to)?,
            Call::Remove { name } => self.disk.remove(name)?,
            Call::SyncDir => self.disk.sync_dir()?,
            Call::Read { handle, offset, len } => {
                let mut bytes = vec![0; *len];
                file(handle)?.read_at(*offset, &mut bytes)?;
                return Ok(Answer::Bytes(bytes));
            }
            Call::Write { handle, offset, bytes } => file(handle)?.write_at(*offset, bytes)?,
            Call::Sync { handle } => file(handle)?.sync()?,
            Call::Len { handle } => return Ok(Answer::Len(file(handle)?.len()?)),
            Call::SetLen { handle, len } => file(handle)?.set_len(*len)?,
        }
        Ok(Answer::Done)
    }

    /// Makes a call, and keeps of an error its kind.
    pub fn play(&mut self, call: &Call) -> Outcome {
        self.make(call).map_err(|error| error.kind())
    }
}

/// Hears of every call.
pub trait Witness: Send {
    /// A call is about to be made.
    fn begins(&mut self, call: &Call) {
        let _ = call;
    }

    /// It has returned.
    fn ended(&mut self, call: &Call, outcome: &Outcome);
}

struct Shared<W> {
    player: Player,
    witness: W,
    next_handle: Handle,
}

/// A disk that lets a witness hear of all calls, one at a time. Clones are the same disk.
pub struct Recorder<W>(Arc<Mutex<Shared<W>>>);

impl<W> Clone for Recorder<W> {
    fn clone(&self) -> Recorder<W> {
        Recorder(self.0.clone())
    }
}

impl<W: Witness> Recorder<W> {
    /// Before this disk.
    pub fn new(disk: Arc<dyn Disk>, witness: W) -> Recorder<W> {
        Recorder(Arc::new(Mutex::new(Shared { player: Player::new(disk), witness, next_handle: 0 })))
    }

    /// Looks at the witness between two calls.
    pub fn with_witness<R>(&self, look: impl FnOnce(&mut W) -> R) -> R {
        look(&mut self.0.lock().witness)
    }

    fn make(&self, call: &Call) -> io::Result<Answer> {
        self.0.lock().make(call)
    }
}

impl<W: Witness> Shared<W> {
    fn make(&mut self, call: &Call) -> io::Result<Answer> {
        self.witness.begins(call);
        let result = self.player.make(call);
        let outcome = result.as_ref().cloned().map_err(io::Error::kind);
        self.witness.ended(call, &outcome);
        result
    }
}

impl<W: Witness + 'static> Disk for Recorder<W> {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut shared = self.0.lock();
        let handle = shared.next_handle;
        shared.next_handle += 1;
        shared.make(&Call::Open { name: name.into(), mode, handle })?;
        Ok(Arc::new(RecordedFile { disk: self.clone(), handle }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        match self.make(&Call::List)? {
            Answer::Names(names) => Ok(names),
            other => unreachable!("a list is answered by names, not {other:?}"),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.make(&Call::Rename { from: from.into(), to: to.into() }).map(drop)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.make(&Call::Remove { name: name.into() }).map(drop)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.make(&Call::SyncDir).map(drop)
    }
}

struct RecordedFile<W: Witness> {
    disk: Recorder<W>,
    handle: Handle,
}

impl<W: Witness> Drop for RecordedFile<W> {
    fn drop(&mut self) {
        // Letting go cannot fail.
        let _ = self.disk.make(&Call::Drop { handle: self.handle });
    }
}

impl<W: Witness> DiskFile for RecordedFile<W> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match self.disk.make(&Call::Read { handle: self.handle, offset, len: buf.len() })? {
            Answer::Bytes(bytes) => buf.copy_from_slice(&bytes),
            other => unreachable!("a read is answered by bytes, not {other:?}"),
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.disk.make(&Call::Write { handle: self.handle, offset, bytes: buf.into() }).map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.make(&Call::Sync { handle: self.handle }).map(drop)
    }

    fn len(&self) -> io::Result<u64> {
        match self.disk.make(&Call::Len { handle: self.handle })? {
            Answer::Len(len) => Ok(len),
            other => unreachable!("a length is answered by a length, not {other:?}"),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.make(&Call::SetLen { handle: self.handle, len }).map(drop)
    }
}
