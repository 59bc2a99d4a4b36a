//! Disks with one mistake each, such as a model of a disk could make: what the comparison is tried on.

use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A file that is cut and grows again has its old bytes back.
    CutKeepsBytes,
    /// A file does not grow by `set_len`.
    NeverGrows,
    /// A file that is created over another one keeps its bytes.
    CreateKeepsBytes,
    /// A file that is created over another one is the same file, emptied.
    CreateEmpties,
    /// A read past the end gives zeros.
    ReadsPastTheEnd,
    /// A rename leaves the old name.
    RenameLeavesOld,
    /// A rename does not replace.
    RenameKeepsTarget,
    /// To remove what is absent is fine.
    RemovesTheAbsent,
    /// To open what is absent makes it.
    OpensTheAbsent,
    /// A write behind the end begins at the end.
    FillsNoGap,
}

impl Mistake {
    pub const ALL: [Mistake; 10] = [
        Mistake::CutKeepsBytes,
        Mistake::NeverGrows,
        Mistake::CreateKeepsBytes,
        Mistake::CreateEmpties,
        Mistake::ReadsPastTheEnd,
        Mistake::RenameLeavesOld,
        Mistake::RenameKeepsTarget,
        Mistake::RemovesTheAbsent,
        Mistake::OpensTheAbsent,
        Mistake::FillsNoGap,
    ];
}

/// A disk that is right but for one mistake.
pub struct WrongDisk {
    disk: Arc<dyn Disk>,
    mistake: Mistake,
}

impl WrongDisk {
    pub fn new(disk: Arc<dyn Disk>, mistake: Mistake) -> WrongDisk {
        WrongDisk { disk, mistake }
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.disk.list()?.iter().any(|known| known == name))
    }
}

impl Disk for WrongDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mode = match (self.mistake, mode) {
            (Mistake::CreateKeepsBytes, OpenMode::Create) if self.exists(name)? => OpenMode::Write,
            (Mistake::OpensTheAbsent, OpenMode::Read | OpenMode::Write) if !self.exists(name)? => {
                OpenMode::Create
            }
            _ => mode,
        };
        let empties =
            self.mistake == Mistake::CreateEmpties && mode == OpenMode::Create && self.exists(name)?;
        let file = self.disk.open(name, if empties { OpenMode::Write } else { mode })?;
        if empties {
            file.set_len(0)?;
        }
        Ok(Arc::new(WrongFile { file, mistake: self.mistake, cut: Mutex::default() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if self.mistake == Mistake::RenameKeepsTarget && from != to && self.exists(to)? {
            return self.disk.remove(from);
        }
        self.disk.rename(from, to)?;
        if self.mistake == Mistake::RenameLeavesOld && from != to {
            self.disk.open(from, OpenMode::Create)?;
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.mistake == Mistake::RemovesTheAbsent { Ok(()) } else { Err(error) }
            }
            result => result,
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
}

struct WrongFile {
    file: Arc<dyn DiskFile>,
    mistake: Mistake,
    /// Where it was cut last, and what was there.
    cut: Mutex<Option<(u64, Vec<u8>)>>,
}

impl DiskFile for WrongFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match self.file.read_at(offset, buf) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                if self.mistake == Mistake::ReadsPastTheEnd { Ok(()) } else { Err(error) }
            }
            result => result,
        }
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let fills_no_gap = self.mistake == Mistake::FillsNoGap;
        self.file.write_at(if fills_no_gap { offset.min(self.file.len()?) } else { offset }, buf)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let old = self.file.len()?;
        match self.mistake {
            Mistake::NeverGrows if len > old => Ok(()),
            // As if the file were longer than it says: what was cut is found again.
            Mistake::CutKeepsBytes if len < old => {
                let mut cut = vec![0; (old - len) as usize];
                self.file.read_at(len, &mut cut)?;
                self.file.set_len(len)?;
                *self.cut.lock() = Some((len, cut));
                Ok(())
            }
            Mistake::CutKeepsBytes => {
                self.file.set_len(len)?;
                match self.cut.lock().take() {
                    Some((at, bytes)) if at == old => {
                        self.file.write_at(at, &bytes[..bytes.len().min((len - old) as usize)])
                    }
                    _ => Ok(()),
                }
            }
            _ => self.file.set_len(len),
        }
    }
}
