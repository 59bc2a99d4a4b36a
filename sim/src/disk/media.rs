//! What is on the simulated disk: files by inode, and names that lead to them.
//!
//! A file is what reads see, plus, for every sector written since the last sync, all its versions: the durable one
//! first, then one for each write. A name change is remembered until the directory is synced.
//!
//! Files are shared between copies of the media until one of them writes: a snapshot of the disk costs a few pointers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::iter::once;
use std::sync::Arc;

/// Bytes that the disk writes as one.
pub const SECTOR: usize = 512;

/// What the page cache copies as one, at the least. A write that makes a file longer takes its length there page by page: a
/// power cut of ext4 left a file whose end was the page boundary inside such a write.
const PAGE: u64 = 4096;

/// One content of a sector, in the order in which they came about.
#[derive(Clone, Copy, Debug)]
struct Version {
    sector: u32,
    /// The write that made it; 0 for the durable content.
    write: u64,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What reads see.
    bytes: Vec<u8>,
    /// What each sector held before the sync that made it what it is; as long as it has to be.
    older: Vec<u8>,
    /// The contents of dirty sectors, durable ones included: the bytes of `versions[n]` are the `n`-th `SECTOR` of
    /// `contents`. Two vectors that a sync empties, because most sectors live for a few calls only.
    versions: Vec<Version>,
    contents: Vec<u8>,
    dirty: Vec<u32>,
    /// Dirty sectors that a failed sync marked clean: no sync will write them, unless they are written to again.
    abandoned: Vec<u32>,
    pub(super) durable_len: u64,
    /// The last write, to any file, before a renaming that is durable gave it its name; 0 if none did.
    pub(super) named_after: u64,
    /// Lengths that the file had since the last sync, the present one last; empty when it is the durable one.
    pub(super) lens: Vec<Length>,
}

/// A length that is not durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    pub(super) bytes: u64,
    /// The write that made it.
    pub(super) write: u64,
}

/// The versions of one sector since it was last durable.
pub(super) struct DirtySector<'a> {
    pub(super) sector: usize,
    /// The durable content, then the content after each write.
    pub(super) contents: Vec<&'a [u8]>,
    /// The writes, one for each version but the first.
    pub(super) writes: Vec<u64>,
}

impl File {
    pub(super) fn durable(bytes: Vec<u8>) -> File {
        File { durable_len: bytes.len() as u64, bytes, ..File::default() }
    }

    /// The file of which these bytes survive.
    pub(super) fn survivor(&self, bytes: Vec<u8>) -> File {
        File { older: self.older.clone(), ..File::durable(bytes) }
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

    /// What is not durable, in so far as a failed sync changes it: dirty sectors, those that no sync will write, lengths.
    pub(super) fn unsynced(&self) -> (usize, usize, usize, u64) {
        (self.dirty.len(), self.abandoned.len(), self.lens.len(), self.durable_len)
    }

    pub(super) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// The durable length, and those since then.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.durable_len).chain(self.lens.iter().map(|length| length.bytes))
    }

    /// Those of its unsynced writes that made it shorter, in order.
    pub(super) fn cuts(&self) -> impl Iterator<Item = u64> + '_ {
        self.lengths()
            .zip(&self.lens)
            .filter(|(before, length)| length.bytes < *before)
            .map(|(_, length)| length.write)
    }

    /// Every write that is not durable, in no order.
    pub(super) fn unsynced_writes(&self) -> impl Iterator<Item = u64> + '_ {
        self.versions.iter().map(|version| version.write).filter(|write| *write > 0)
    }

    /// The dirty sectors in order.
    pub(super) fn dirty_sectors(&self) -> Vec<DirtySector<'_>> {
        let mut order: Vec<u32> = self.dirty.clone();
        order.sort_unstable();
        let empty =
            |sector: &u32| DirtySector { sector: *sector as usize, contents: Vec::new(), writes: Vec::new() };
        let mut sectors: Vec<_> = order.iter().map(empty).collect();
        for (version, content) in self.versions.iter().zip(self.contents.chunks_exact(SECTOR)) {
            let at = order.binary_search(&version.sector).expect("a version belongs to a dirty sector");
            sectors[at].contents.push(content);
            if version.write > 0 {
                sectors[at].writes.push(version.write);
            }
        }
        sectors
    }

    fn record(&mut self, sector: u32, write: u64) {
        let start = (sector as usize * SECTOR).min(self.bytes.len());
        let end = (start + SECTOR).min(self.bytes.len());
        self.versions.push(Version { sector, write });
        self.contents.extend_from_slice(&self.bytes[start..end]);
        self.contents.resize(self.versions.len() * SECTOR, 0);
    }

    /// Changes bytes, keeping what the sectors held before and what they hold after.
    fn change(&mut self, start: usize, end: usize, write: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let sectors = (start / SECTOR) as u32..end.div_ceil(SECTOR) as u32;
        for sector in sectors.clone() {
            if !self.dirty.contains(&sector) {
                self.dirty.push(sector);
                self.record(sector, 0);
            }
            self.abandoned.retain(|abandoned| *abandoned != sector);
        }
        change(&mut self.bytes);
        sectors.for_each(|sector| self.record(sector, write));
    }

    fn write(&mut self, offset: usize, buf: &[u8], write: u64) {
        let end = offset + buf.len();
        if buf.is_empty() {
            return;
        }
        if end > self.bytes.len() {
            let (len, end) = (self.bytes.len() as u64, end as u64);
            let pages = (len / PAGE + 1..end.div_ceil(PAGE)).map(|page| page * PAGE);
            self.lens.extend(pages.chain([end]).map(|bytes| Length { bytes, write }));
        }
        self.change(offset, end, write, |bytes| {
            bytes.resize(bytes.len().max(end), 0);
            bytes[offset..end].copy_from_slice(buf);
        });
    }

    fn set_len(&mut self, len: u64, write: u64) {
        let (old, new) = (self.bytes.len(), len as usize);
        if new < old {
            // What is cut off reads as zero should the file grow again.
            self.change(new, old, write, |bytes| bytes[new..].fill(0));
        }
        if new != old {
            self.bytes.resize(new, 0);
            self.lens.push(Length { bytes: len, write });
        }
    }

    pub(super) fn sync(&mut self) {
        let abandoned = std::mem::take(&mut self.abandoned);
        for (version, content) in self.versions.iter().zip(self.contents.chunks_exact(SECTOR)) {
            if version.write == 0 && !abandoned.contains(&version.sector) {
                let start = version.sector as usize * SECTOR;
                self.older.resize(self.older.len().max(start + SECTOR), 0);
                self.older[start..start + SECTOR].copy_from_slice(content);
            }
        }
        let mut contents = Vec::new();
        if !abandoned.is_empty() {
            for (version, content) in self.versions.iter().zip(self.contents.chunks_exact(SECTOR)) {
                if abandoned.contains(&version.sector) {
                    contents.extend_from_slice(content);
                }
            }
        }
        self.versions.retain(|version| abandoned.contains(&version.sector));
        self.contents.clear();
        self.contents.append(&mut contents);
        self.dirty.clone_from(&abandoned);
        self.abandoned = abandoned;
        self.lens.clear();
        self.durable_len = self.len();
    }

    /// Reads see the durable content again, and what was written up to `owed`; the length stays.
    pub(super) fn drop_dirty(&mut self, owed: u64) {
        // In the order in which they came about: the last one stays.
        for (version, content) in self.versions.iter().zip(self.contents.chunks_exact(SECTOR)) {
            if version.write <= owed {
                let start = (version.sector as usize * SECTOR).min(self.bytes.len());
                let end = (start + SECTOR).min(self.bytes.len());
                self.bytes[start..end].copy_from_slice(&content[..end - start]);
            }
        }
        self.versions.clear();
        self.contents.clear();
        self.dirty.clear();
        self.abandoned.clear();
    }

    /// Reads see the durable content again, and what was written up to `owed`, in the length of that.
    pub(super) fn roll_back(&mut self, owed: u64) {
        let owed_len = self.lens.iter().take_while(|length| length.write <= owed).last();
        self.durable_len = owed_len.map_or(self.durable_len, |length| length.bytes);
        let len = self.durable_len as usize;
        // What was cut off comes back.
        self.bytes.resize(len.max(self.bytes.len()), 0);
        self.drop_dirty(owed);
        self.bytes.truncate(len);
        self.lens.clear();
    }

    /// No sync will write what is dirty now; the length is durable all the same.
    pub(super) fn abandon_dirty(&mut self) {
        self.abandoned.clone_from(&self.dirty);
        self.lens.clear();
        self.durable_len = self.len();
    }

    /// Whether a sector that begins here or within this many bytes behind is dirty.
    pub(super) fn is_dirty(&self, offset: usize, len: usize) -> bool {
        let sectors = (offset / SECTOR) as u32..(offset + len).div_ceil(SECTOR) as u32;
        self.dirty.iter().any(|sector| sectors.contains(sector))
    }

    /// This was there all the time, as it turns out.
    pub(super) fn settle(&mut self, offset: usize, content: &[u8]) {
        let start = offset.min(self.bytes.len());
        let end = (offset + content.len()).min(self.bytes.len());
        self.bytes[start..end].copy_from_slice(&content[..end - start]);
    }

    /// This was its length all the time, as it turns out.
    pub(super) fn settle_len(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.durable_len = self.len();
    }

    /// What a sector held before, as far as the file has it.
    pub(super) fn older(&self, sector: usize) -> &[u8] {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.bytes.len()).min(self.older.len());
        self.older.get(start..end).unwrap_or_default()
    }

    /// Bytes of a sector that were others before.
    pub(super) fn renewed(&self, sector: usize) -> Vec<u64> {
        let start = sector * SECTOR;
        let older = self.older(sector);
        let now = self.bytes.get(start..).unwrap_or_default();
        (0..older.len()).filter(|at| older[*at] != now[*at]).map(|at| (start + at) as u64).collect()
    }

    /// A sector holds what it held before.
    pub(super) fn age(&mut self, sector: usize) {
        let older = self.older(sector).to_vec();
        let start = sector * SECTOR;
        self.bytes[start..start + older.len()].copy_from_slice(&older);
    }

    pub(super) fn zero(&mut self, from: u64) {
        self.bytes[from as usize..].fill(0);
    }

    pub(super) fn flip(&mut self, bit: u64) {
        self.bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }

    pub(super) fn cut(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.durable_len = self.len();
    }

    pub(super) fn copy_within(&mut self, from: u64, to: u64, len: u64) {
        self.bytes.copy_within(from as usize..(from + len) as usize, to as usize);
    }
}

/// A change of the directory that is not durable.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create {
        name: Arc<str>,
        inode: usize,
    },
    /// `after` is the last write before it, to any file.
    Rename {
        from: Arc<str>,
        to: Arc<str>,
        inode: usize,
        after: u64,
    },
    Remove {
        name: Arc<str>,
    },
}

impl NameChange {
    /// The names that it changes.
    fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let (name, other) = match self {
            NameChange::Create { name, .. } | NameChange::Remove { name } => (name, None),
            NameChange::Rename { from, to, .. } => (from, Some(to)),
        };
        once(name).chain(other)
    }

    /// The write up to which this file's data was there when the change gave it a name.
    pub(super) fn data_before(&self, file: usize) -> Option<u64> {
        match self {
            NameChange::Rename { inode, after, .. } if *inode == file => Some(*after),
            _ => None,
        }
    }

    /// It has happened.
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename { from, to, inode, .. } => {
                // The old name may lead to another file by now, or to none because its creation was lost.
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

/// Files by name.
pub(super) type Names = BTreeMap<Arc<str>, usize>;

/// Everything on the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    pub(super) files: Vec<Arc<File>>,
    names: Arc<Names>,
    pub(super) durable_names: Arc<Names>,
    pub(super) name_changes: Vec<NameChange>,
    /// Names of which a failed sync has dropped what is unsynced: no sync will write it, unless the name changes again.
    abandoned: BTreeSet<Arc<str>>,
    /// So far, on this disk and on those that it has survived.
    pub(super) writes: u64,
}

impl Media {
    /// A disk on which everything is durable.
    pub(super) fn durable(files: Vec<Arc<File>>, names: Names, writes: u64) -> Media {
        let names = Arc::new(names);
        Media { files, durable_names: names.clone(), names, writes, ..Media::default() }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.name_changes.is_empty() && self.files.iter().all(|file| file.is_clean())
    }

    pub(super) fn names(&self) -> &Names {
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
        Arc::make_mut(&mut self.names).insert(name.clone(), inode);
        self.change_names(NameChange::Create { name, inode });
        inode
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let names = Arc::make_mut(&mut self.names);
        let inode = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.into(), inode);
        self.change_names(NameChange::Rename { from: from.into(), to: to.into(), inode, after: self.writes });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        Arc::make_mut(&mut self.names).remove(name).ok_or(io::ErrorKind::NotFound)?;
        self.change_names(NameChange::Remove { name: name.into() });
        Ok(())
    }

    /// This was the directory all the time, as it turns out.
    pub(super) fn settle_names(&mut self, names: &Arc<Names>) {
        self.names = names.clone();
        self.durable_names = names.clone();
    }

    /// A name is gone for good, although nobody removed it.
    pub(super) fn lose(&mut self, name: &str) {
        Arc::make_mut(&mut self.names).remove(name);
        Arc::make_mut(&mut self.durable_names).remove(name);
    }

    fn change_names(&mut self, change: NameChange) {
        for name in change.names() {
            self.abandoned.remove(name);
        }
        self.name_changes.push(change);
    }

    /// The directory is as it was when it was last synced.
    pub(super) fn roll_back_names(&mut self) {
        self.name_changes.clear();
        self.abandoned.clear();
        self.names = self.durable_names.clone();
    }

    /// No sync will write what is unsynced of the directory now. Each name may be in a block of its own, so that a later change
    /// of one brings back no other.
    pub(super) fn abandon_names(&mut self) {
        self.abandoned.extend(self.name_changes.iter().flat_map(NameChange::names).cloned());
    }

    /// `in_order`: on a disk where no change is durable before an earlier one.
    pub(super) fn sync_names(&mut self, in_order: bool) {
        let changes = std::mem::take(&mut self.name_changes);
        let is_abandoned = |change: &NameChange| change.names().all(|name| self.abandoned.contains(name));
        let written_until = match changes.iter().rposition(|change| !is_abandoned(change)) {
            Some(last) if in_order => last + 1,
            _ => 0,
        };
        let (written, stay): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .enumerate()
            .partition(|(at, change)| *at < written_until || !is_abandoned(change));
        for (_, change) in &written {
            if let NameChange::Rename { inode, after, .. } = change {
                Arc::make_mut(&mut self.files[*inode]).named_after = *after;
            }
        }
        if stay.is_empty() {
            self.durable_names = self.names.clone();
        } else {
            let durable = Arc::make_mut(&mut self.durable_names);
            written.iter().for_each(|(_, change)| change.apply(durable));
        }
        self.name_changes = stay.into_iter().map(|(_, change)| change).collect();
        self.abandoned = self.name_changes.iter().flat_map(NameChange::names).cloned().collect();
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
