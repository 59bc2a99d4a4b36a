//! What is on the simulated disk: files by inode, and names that lead to them.
//!
//! A file is what reads see, plus, for every sector written since the last sync, all its versions: the durable one
//! first, then one for each write. A name change is remembered until the directory is synced.
//!
//! Files are shared between copies of the media until one of them writes: a snapshot of the disk costs a few pointers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes that the disk writes as one.
pub const SECTOR: usize = 512;

/// The versions of one sector since it was last durable.
#[derive(Clone, Debug)]
pub(super) struct Versions {
    /// The durable content, then the content after each write.
    pub(super) bytes: Vec<u8>,
    /// The writes, one for each version but the first.
    pub(super) writes: Vec<u64>,
    /// A failed sync marked the page clean: no sync will write it, unless it is written to again.
    pub(super) abandoned: bool,
}

impl Versions {
    pub(super) fn get(&self, version: usize) -> &[u8] {
        &self.bytes[version * SECTOR..(version + 1) * SECTOR]
    }

    pub(super) fn last(&self) -> usize {
        self.writes.len()
    }
}

/// One file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What reads see.
    bytes: Vec<u8>,
    /// Sectors with versions that are not durable.
    pub(super) dirty: BTreeMap<usize, Versions>,
    pub(super) durable_len: u64,
    /// Lengths that the file had since the last sync, the present one last; empty when it is the durable one.
    pub(super) lens: Vec<u64>,
}

impl File {
    pub(super) fn durable(bytes: Vec<u8>) -> File {
        File { durable_len: bytes.len() as u64, bytes, ..File::default() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.lens.is_empty()
    }

    fn sector(&self, sector: usize) -> [u8; SECTOR] {
        let mut content = [0; SECTOR];
        let start = (sector * SECTOR).min(self.bytes.len());
        let end = (start + SECTOR).min(self.bytes.len());
        content[..end - start].copy_from_slice(&self.bytes[start..end]);
        content
    }

    /// Remembers what the sectors of this range hold before a change.
    fn touch(&mut self, start: usize, end: usize) {
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            if !self.dirty.contains_key(&sector) {
                let bytes = self.sector(sector).to_vec();
                self.dirty.insert(sector, Versions { bytes, writes: Vec::new(), abandoned: false });
            }
        }
    }

    /// Adds what they hold after it as a version.
    fn record(&mut self, start: usize, end: usize, write: u64) {
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let content = self.sector(sector);
            let versions = self.dirty.get_mut(&sector).expect("touched before");
            versions.bytes.extend_from_slice(&content);
            versions.writes.push(write);
            versions.abandoned = false;
        }
    }

    fn write(&mut self, offset: usize, buf: &[u8], write: u64) {
        let end = offset + buf.len();
        if buf.is_empty() {
            return;
        }
        self.touch(offset, end);
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
            self.lens.push(end as u64);
        }
        self.bytes[offset..end].copy_from_slice(buf);
        self.record(offset, end, write);
    }

    fn set_len(&mut self, len: u64, write: u64) {
        let (old, new) = (self.bytes.len(), len as usize);
        if new < old {
            // What is cut off reads as zero should the file grow again.
            self.touch(new, old);
            self.bytes[new..].fill(0);
            self.record(new, old, write);
        }
        if new != old {
            self.bytes.resize(new, 0);
            self.lens.push(len);
        }
    }

    pub(super) fn sync(&mut self) {
        self.dirty.retain(|_, versions| versions.abandoned);
        self.lens.clear();
        self.durable_len = self.len();
    }

    /// Reads see the durable content again.
    pub(super) fn drop_dirty(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let start = (sector * SECTOR).min(self.bytes.len());
            let end = (start + SECTOR).min(self.bytes.len());
            self.bytes[start..end].copy_from_slice(&versions.get(0)[..end - start]);
        }
    }

    pub(super) fn abandon_dirty(&mut self) {
        self.dirty.values_mut().for_each(|versions| versions.abandoned = true);
    }

    pub(super) fn flip(&mut self, bit: u64) {
        self.bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

/// A change of the directory that is not durable.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create { name: Arc<str>, inode: usize },
    Rename { from: Arc<str>, to: Arc<str>, inode: usize },
    Remove { name: Arc<str> },
}

/// Everything on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    pub(super) files: Vec<Arc<File>>,
    names: BTreeMap<Arc<str>, usize>,
    pub(super) durable_names: BTreeMap<Arc<str>, usize>,
    pub(super) name_changes: Vec<NameChange>,
    writes: u64,
}

impl Media {
    /// A disk on which everything is durable.
    pub(super) fn durable(files: Vec<Arc<File>>, names: BTreeMap<Arc<str>, usize>) -> Media {
        Media { files, durable_names: names.clone(), names, name_changes: Vec::new(), writes: 0 }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.name_changes.is_empty() && self.files.iter().all(|file| file.is_clean())
    }

    pub(super) fn names(&self) -> &BTreeMap<Arc<str>, usize> {
        &self.names
    }

    pub(super) fn lookup(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn name_of(&self, inode: usize) -> String {
        let name = self.names.iter().find(|(_, at)| **at == inode);
        name.map_or_else(|| format!("(unnamed {inode})"), |(name, _)| name.to_string())
    }

    pub(super) fn file(&self, inode: usize) -> &File {
        &self.files[inode]
    }

    pub(super) fn file_mut(&mut self, inode: usize) -> &mut File {
        Arc::make_mut(&mut self.files[inode])
    }

    pub(super) fn create(&mut self, name: &str) -> usize {
        let (name, inode): (Arc<str>, _) = (name.into(), self.files.len());
        self.files.push(Arc::default());
        self.names.insert(name.clone(), inode);
        self.name_changes.push(NameChange::Create { name, inode });
        inode
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.into(), inode);
        self.name_changes.push(NameChange::Rename { from: from.into(), to: to.into(), inode });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        self.name_changes.push(NameChange::Remove { name: name.into() });
        Ok(())
    }

    pub(super) fn sync_names(&mut self) {
        self.name_changes.clear();
        self.durable_names = self.names.clone();
    }

    pub(super) fn write(&mut self, inode: usize, offset: u64, buf: &[u8]) {
        self.writes += 1;
        let write = self.writes;
        self.file_mut(inode).write(offset as usize, buf, write);
    }

    pub(super) fn set_len(&mut self, inode: usize, len: u64) {
        self.writes += 1;
        let write = self.writes;
        self.file_mut(inode).set_len(len, write);
    }
}
