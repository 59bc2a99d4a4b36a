//! A directory of the file system as a [`Disk`].

use super::{Disk, DiskFile, OpenMode};
use crate::sync::{Mutex, Rank};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of a POSIX file system.
///
/// Write to a file through one handle at a time: a handle writes zeros ahead of its own writes, and could overwrite what another
/// one is writing there.
///
/// `sync` is `fdatasync`, `sync_dir` is `fsync` of the directory, growing by `set_len` is `posix_fallocate`, and
/// [`OpenMode::Lock`] is `flock`, which the system releases when the process dies, however it dies.
///
/// ```
/// use std::sync::Arc;
/// use tidewall::disk::RealDisk;
/// use tidewall::{Config, Engine, Error};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// let disk = Arc::new(RealDisk::new(dir.join("points"))?); // created if it is absent
/// let engine = Engine::open(disk.clone(), Config::default())?;
/// assert!(matches!(Engine::open(disk, Config::default()), Err(Error::Locked)));
/// engine.close()?;
/// # Ok(())
/// # }
/// ```
pub struct RealDisk {
    dir: PathBuf,
}

impl RealDisk {
    /// The directory at `dir`, created (with its parents) if it is absent.
    ///
    /// # Errors
    /// Whatever the file system says when the directory can neither be found nor made.
    pub fn new(dir: impl AsRef<Path>) -> io::Result<RealDisk> {
        let dir = dir.as_ref();
        let is_absent = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.is_dir();
        let made = dir.ancestors().take_while(is_absent).count();
        fs::create_dir_all(dir)?;
        // The name of a directory is an entry of the one above it: unsynced, a crash could take it back with everything in it.
        // The last one's is synced in any case, since a process that made it may have died before it came to that.
        for parent in dir.canonicalize()?.ancestors().skip(1).take(made.max(1)) {
            if let Err(error) = sync_names_of(parent) {
                // The next try makes them anew: a later sync would say `Ok` to a name that this one has dropped.
                dir.ancestors().take(made).for_each(|made| drop(fs::remove_dir(made)));
                return Err(error);
            }
        }
        Ok(RealDisk { dir: dir.into() })
    }

    /// The directory at `dir`, which must exist; nothing is created.
    ///
    /// # Errors
    /// `NotFound` or `NotADirectory`.
    pub fn existing(dir: impl AsRef<Path>) -> io::Result<RealDisk> {
        if fs::metadata(dir.as_ref())?.is_dir() {
            return Ok(RealDisk { dir: dir.as_ref().into() });
        }
        Err(io::ErrorKind::NotADirectory.into())
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.dir.join(name))
    }
}

impl Disk for RealDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name)?;
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        match mode {
            OpenMode::Read | OpenMode::Write => {}
            OpenMode::Create => {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
                options.create_new(true);
            }
            OpenMode::Lock => {
                options.create(true).truncate(false);
            }
        }
        let file = options.open(path)?;
        if mode == OpenMode::Lock {
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
                TryLockError::Error(error) => error,
            })?;
        }
        // What an earlier opener reserved and did not write to.
        let reserve = if mode == OpenMode::Write { end_of_data(&file, file.metadata()?.len()) } else { None };
        Ok(Arc::new(RealFile { file, reserve: Mutex::new(Rank::Disk, reserve) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let is_file = kind.is_file() || (kind.is_symlink() && leads_to_file(&entry.path())?);
            // A name that is not UTF-8, or a folder, is none of ours.
            if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// Makes the names in a directory durable. One that we may not open for reading is its owner's business.
fn sync_names_of(dir: &Path) -> io::Result<()> {
    match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// Where a link leads, as `open` goes through it: a file that is not listed would be taken for one that is not there.
fn leads_to_file(link: &Path) -> io::Result<bool> {
    match fs::metadata(link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => Ok(found?.is_file()),
    }
}

/// How much of a reserve is written at a time: syncs in which there is more to do than to write the data are rare then, and
/// none of them takes long.
const STRIDE: u64 = 256 << 10;

/// What a file system calls data or a hole as a whole; where it is more, no zeros go ahead.
const BLOCK: u64 = 4096;

struct RealFile {
    file: File,
    /// Where the part of the file begins that is reserved and was never written to, if it is known and there is one.
    ///
    /// On most file systems the first write into such a part has the next sync change metadata as well, which takes twice as
    /// long as the data alone. So a write that gets there writes a stride of zeros behind itself, and the syncs after
    /// the next one have data to write and nothing else. (PostgreSQL fills its log segments with zeros for the same
    /// reason, whole, when it makes them.)
    reserve: Mutex<Option<u64>>,
}

impl RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Behind a write of this many bytes that ends in the reserve: where that begins from now on.
    fn zeros_ahead(&self, end: u64, written: u64) -> io::Result<Option<u64>> {
        // The block in which the write ends has data by now.
        let behind = end.next_multiple_of(BLOCK);
        if written >= STRIDE {
            // So much that what its sync has to change besides does not count.
            return Ok(Some(behind));
        }
        // Another handle may have written there.
        let data = next_data(&self.file, behind).unwrap_or(behind);
        let to = (behind + STRIDE).min(self.len()?).min(data);
        let zeros = to.saturating_sub(behind);
        self.file.write_all_at(&ZEROS[..zeros as usize], behind)?;
        Ok((zeros > 0).then_some(to))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        // Held while zeros are written: they must not meet what another thread writes there.
        let mut reserve = self.reserve.lock();
        let Some(from) = *reserve else {
            drop(reserve);
            return self.file.write_all_at(buf, offset);
        };
        self.file.write_all_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        if end > from {
            *reserve = self.zeros_ahead(end, buf.len() as u64)?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        RealFile::len(self)
    }

    fn data_len(&self) -> io::Result<u64> {
        let len = self.len()?;
        Ok(end_of_data(&self.file, len).unwrap_or(len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut reserve = self.reserve.lock();
        let old = self.len()?;
        if len > old {
            reserve_space(&self.file, len)?;
        }
        self.file.set_len(len)?;
        *reserve = if len > old { reserve.or(Some(old)) } else { None };
        Ok(())
    }
}

static ZEROS: [u8; STRIDE as usize] = [0; STRIDE as usize];

/// Where the last hole of a file of this length begins: what is reserved and was never written is one. `None` where the file
/// system cannot tell.
#[cfg(target_os = "linux")]
fn end_of_data(file: &File, len: u64) -> Option<u64> {
    let mut end = 0;
    loop {
        let data = next_data(file, end)?;
        if data >= len {
            return Some(end.min(len));
        }
        let hole = nix::unistd::lseek(file, i64::try_from(data).ok()?, nix::unistd::Whence::SeekHole);
        end = hole.ok()? as u64;
    }
}

/// Where the next data at or behind this offset begins: nowhere is `u64::MAX`. `None` where the file system cannot tell. Only
/// the position of the handle moves, which nobody uses.
#[cfg(target_os = "linux")]
fn next_data(file: &File, offset: u64) -> Option<u64> {
    match nix::unistd::lseek(file, i64::try_from(offset).ok()?, nix::unistd::Whence::SeekData) {
        Ok(data) => Some(data as u64),
        Err(nix::errno::Errno::ENXIO) => Some(u64::MAX),
        Err(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn end_of_data(_: &File, _: u64) -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn next_data(_: &File, _: u64) -> Option<u64> {
    None
}

/// Reserves space up to `len`, so that a later write cannot run out of it and a sync after it has no block
/// allocation to write. A file system that cannot reserve gets a sparse file.
#[cfg(target_os = "linux")]
fn reserve_space(file: &File, len: u64) -> io::Result<()> {
    use nix::errno::Errno;
    let signed = i64::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    match nix::fcntl::posix_fallocate(file, 0, signed) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve_space(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> (tempfile::TempDir, RealDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        (dir, disk)
    }

    #[test]
    fn a_name_is_that_of_a_file_in_the_directory_and_no_way_out_of_it() {
        let (_dir, disk) = empty();
        for name in ["", ".", "..", "a/b", "/a"] {
            let refused = disk.open(name, OpenMode::Create).err().map(|error| error.kind());
            assert_eq!(refused, Some(io::ErrorKind::InvalidInput), "{name:?}");
        }
        for name in ["...", ".a", "a..", "a b"] {
            disk.open(name, OpenMode::Create).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        }
    }

    /// A file of this many strides that are reserved; `None` where the file system does not tell what is.
    #[cfg(target_os = "linux")]
    fn reserved(strides: u64) -> Option<(tempfile::TempDir, RealDisk, Arc<dyn DiskFile>)> {
        let (dir, disk) = empty();
        let file = disk.open("segment", OpenMode::Create).unwrap();
        file.set_len(strides * STRIDE).unwrap();
        let seek = || {
            let segment = File::open(dir.path().join("segment")).unwrap();
            nix::unistd::lseek(&segment, 0, nix::unistd::Whence::SeekData)
        };
        if seek() != Err(nix::errno::Errno::ENXIO) {
            println!("skipped: what is reserved is data on this file system");
            return None;
        }
        assert_eq!(file.data_len().unwrap(), 0);
        Some((dir, disk, file))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn space_is_reserved_when_a_file_grows() {
        let Some((dir, ..)) = reserved(8) else { return };
        let metadata = fs::metadata(dir.path().join("segment")).unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata);
        assert!(blocks * 512 >= 8 * STRIDE, "{blocks} blocks");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn zeros_go_ahead_of_the_writes_a_stride_at_a_time() {
        let Some((_dir, disk, file)) = reserved(8) else { return };
        let data = |file: &Arc<dyn DiskFile>| file.data_len().unwrap();
        file.write_at(0, &[7]).unwrap();
        assert_eq!(data(&file), BLOCK + STRIDE);
        // Among the zeros, up to their last byte: nothing has to be added.
        file.write_at(BLOCK, &[7; 100]).unwrap();
        file.write_at(BLOCK + STRIDE - 1, &[7]).unwrap();
        assert_eq!(data(&file), BLOCK + STRIDE);
        // The write that leaves them takes more with it; also through another handle, of a later opener.
        file.write_at(BLOCK + STRIDE - 1, &[8; 2]).unwrap();
        assert_eq!(data(&file), 2 * BLOCK + 2 * STRIDE);
        let again = disk.open("segment", OpenMode::Write).unwrap();
        again.write_at(2 * BLOCK + 2 * STRIDE, &[9; 512]).unwrap();
        assert_eq!(data(&again), 3 * BLOCK + 3 * STRIDE);
        // A large write pays for itself, and the next small one is ahead again.
        let large = vec![5; STRIDE as usize + 1];
        again.write_at(3 * BLOCK + 3 * STRIDE, &large).unwrap();
        assert_eq!(data(&again), 4 * BLOCK + 4 * STRIDE);
        again.write_at(4 * BLOCK + 4 * STRIDE, &[6]).unwrap();
        assert_eq!(data(&again), 5 * BLOCK + 5 * STRIDE);
        // Not behind the end, and all of it is what was written.
        again.write_at(7 * STRIDE, &[1; 10]).unwrap();
        assert_eq!((data(&again), again.len().unwrap()), (8 * STRIDE, 8 * STRIDE));
        let mut bytes = vec![0; 8 * STRIDE as usize];
        again.read_at(0, &mut bytes).unwrap();
        let counted = |byte: u8| bytes.iter().filter(|found| **found == byte).count();
        assert_eq!((1..=9).map(counted).collect::<Vec<_>>(), [10, 0, 0, 0, large.len(), 1, 101, 2, 512]);
    }

    /// Several threads write the first blocks of each stride, each the next one that nobody has: one leaves the zeros there while
    /// the others are behind it. That they meet just so is rare, so there are some thousand strides.
    #[test]
    #[cfg(target_os = "linux")]
    fn zeros_spare_what_another_thread_writes_behind_them() {
        use std::sync::atomic::{AtomicU64, Ordering};
        const FILES: usize = 40;
        const STRIDES: u64 = 64;
        const BLOCKS: u64 = 6;
        for _ in 0..FILES {
            let Some((_dir, _, file)) = reserved(STRIDES) else { return };
            let next = AtomicU64::new(0);
            let place = |number: u64| number / BLOCKS * STRIDE + number % BLOCKS * BLOCK;
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                        for number in numbers.take_while(|number| *number < STRIDES * BLOCKS) {
                            file.write_at(place(number), &[7; BLOCK as usize]).unwrap();
                        }
                    });
                }
            });
            let mut block = [0; BLOCK as usize];
            for number in 0..STRIDES * BLOCKS {
                file.read_at(place(number), &mut block).unwrap();
                assert!(block == [7; BLOCK as usize], "zeros were written over block {number}");
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn zeros_spare_what_another_handle_has_written() {
        let Some((_dir, disk, file)) = reserved(4) else { return };
        let other = disk.open("segment", OpenMode::Write).unwrap();
        other.write_at(3 * STRIDE, &[3; 8]).unwrap();
        other.write_at(2 * BLOCK, &[2; 8]).unwrap();
        file.write_at(0, &[1; 8]).unwrap();
        let mut bytes = vec![0; 8];
        for (offset, byte) in [(0, 1), (2 * BLOCK, 2), (3 * STRIDE, 3)] {
            file.read_at(offset, &mut bytes).unwrap();
            assert_eq!(bytes, [byte; 8], "at {offset}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_was_cut_has_no_reserve_and_one_that_grows_again_has() {
        let Some((_dir, _, file)) = reserved(4) else { return };
        file.set_len(2 * STRIDE).unwrap();
        file.write_at(0, &[1]).unwrap();
        assert_eq!(file.data_len().unwrap(), BLOCK);
        file.set_len(4 * STRIDE).unwrap();
        file.write_at(2 * STRIDE, &[1]).unwrap();
        assert_eq!(file.data_len().unwrap(), 3 * STRIDE + BLOCK);
    }
}
