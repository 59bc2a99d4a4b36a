//! The files that a flush writes. A chunk writer is owned by whoever has its stream's turn to flush, the manifest's by the
//! leader of a group of edits, so there is no lock in here.

use super::version::{Edit, Version};
use super::{chunk, manifest};
use crate::codec::round_up;
use crate::config::Config;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::plant::{self, Bug};
use crate::sync::{Arc, AtomicU64, Ordering};
use std::io::ErrorKind;

/// Where one block goes.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) chunk: u64,
    pub(crate) offset: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

#[derive(Clone)]
struct Active {
    number: u64,
    file: Arc<dyn DiskFile>,
    /// The next block goes here.
    end: u64,
}

/// Gives new chunks their numbers, each once.
pub(crate) struct ChunkNumbers(AtomicU64);

impl ChunkNumbers {
    /// Goes on behind the chunks that a version names.
    pub(crate) fn new(version: &Version) -> ChunkNumbers {
        let last = version.blocks().map(|block| block.chunk).max();
        ChunkNumbers(AtomicU64::new(last.map_or(0, |last| last + 1)))
    }

    fn take(&self) -> u64 {
        if plant::on(Bug::C1) {
            let number = self.0.load(Ordering::Relaxed);
            self.0.store(number + 1, Ordering::Relaxed);
            return number;
        }
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The chunk that a stream is filling, and the making of new ones. A chunk holds blocks of one stream, so flushes of
/// several streams share nothing but the numbers.
///
/// A flush places its blocks, writes them, and syncs; only then does the end of the active chunk move. So a flush
/// that failed before has taken no room, and one that was synced is never written over: an edit that names its blocks
/// may be on the disk even though appending it was reported as failed.
#[derive(Clone)]
pub(crate) struct ChunkWriter {
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    sector_bytes: u64,
    chunk_bytes: u64,
    active: Option<Active>,
    numbers: Arc<ChunkNumbers>,
    /// Taken by a flush that failed: the next one makes the same files anew, so that failures leave no trail of them.
    unused_numbers: Vec<u64>,
    /// Files of the present flush in the order of their numbers; the last one becomes the active chunk.
    pending: Vec<Active>,
    /// Some of them have a new name.
    names_pending: bool,
}

impl ChunkWriter {
    /// Goes on in the last chunk of a version that holds blocks of this stream, behind its last block, if there is room.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        health: Arc<Health>,
        config: &Config,
        version: &Version,
        stream: usize,
        numbers: Arc<ChunkNumbers>,
    ) -> Result<ChunkWriter> {
        let own = version.blocks().filter(|block| version.stream_of(block.tag) == stream);
        let last = own.map(|block| (block.chunk, block.end())).max();
        let mut active = None;
        if let Some((number, end)) = last.filter(|(_, end)| *end < config.chunk_bytes) {
            let name = chunk::name(number);
            let file = disk.open(&name, OpenMode::Write).map_err(|error| Error::io("open", &name, error))?;
            let end = if plant::on(Bug::F10) { chunk::header_bytes(config.sector_bytes) } else { end };
            active = Some(Active { number, file, end });
        }
        Ok(ChunkWriter {
            disk,
            health,
            sector_bytes: config.sector_bytes,
            chunk_bytes: config.chunk_bytes,
            active,
            numbers,
            unused_numbers: Vec::new(),
            pending: Vec::new(),
            names_pending: false,
        })
    }

    /// Finds room for blocks of these lengths, creating chunks as they fill up.
    pub(crate) fn place(&mut self, lens: impl Iterator<Item = u64>) -> Result<Vec<Placed>> {
        self.names_pending = false;
        self.take_back();
        if let Some(mut active) = self.active.clone() {
            // A synced sector is never written again.
            let unit = if plant::on(Bug::P2) { 1 } else { self.sector_bytes };
            active.end = round_up(active.end, unit).unwrap_or(u64::MAX);
            self.pending.push(active);
        }
        let mut placed = Vec::new();
        for len in lens {
            let room = self.pending.last().is_some_and(|last| last.end + len <= self.chunk_bytes);
            let room = room || (plant::on(Bug::F3) && !placed.is_empty());
            if !room {
                let new = self.create()?;
                assert!(
                    new.end + len <= self.chunk_bytes,
                    "an empty chunk has room for a block of {len} bytes"
                );
                self.pending.push(new);
            }
            let last = self.pending.last_mut().expect("there is one with room now");
            placed.push(Placed { chunk: last.number, offset: last.end, file: last.file.clone() });
            last.end += len;
        }
        Ok(placed)
    }

    /// What is still pending is left from a flush that failed.
    fn take_back(&mut self) {
        let active = self.active.as_ref().map(|active| active.number);
        let failed = self.pending.drain(..).map(|failed| failed.number);
        let is_unused = |number: &u64| Some(*number) != active || plant::on(Bug::U1);
        self.unused_numbers.extend(failed.filter(is_unused));
        self.unused_numbers.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn create(&mut self) -> Result<Active> {
        let number = self.unused_numbers.pop().unwrap_or_else(|| self.numbers.take());
        let made = self.create_file(number);
        if made.is_err() {
            self.unused_numbers.push(number);
        }
        made
    }

    fn create_file(&mut self, number: u64) -> Result<Active> {
        let name = chunk::name(number);
        let file =
            self.disk.open(&name, OpenMode::Create).map_err(|error| Error::io("create", &name, error))?;
        self.names_pending = true;
        let header = chunk::encode_header(number, self.chunk_bytes, self.sector_bytes);
        file.write_at(0, &header).map_err(|error| Error::io("write", &name, error))?;
        Ok(Active { number, file, end: header.len() as u64 })
    }

    /// Makes everything written since [`place`](ChunkWriter::place) durable, names included: one sync per chunk
    /// touched, which is one unless a chunk was sealed.
    pub(crate) fn sync(&mut self) -> Result<()> {
        for written in self.pending.iter().filter(|_| !plant::on(Bug::F6)) {
            self.health.final_result("sync", &chunk::name(written.number), written.file.sync())?;
        }
        if self.names_pending && !plant::on(Bug::N1) {
            self.health.sync_dir(&*self.disk, "chunks")?;
        }
        if let Some(last) = self.pending.pop() {
            self.active = Some(last);
        }
        self.pending.clear();
        Ok(())
    }
}

/// The manifest's tail.
pub(crate) struct ManifestWriter {
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    sector_bytes: u64,
    file: Arc<dyn DiskFile>,
    /// The next record goes here.
    end: u64,
    next_number: u64,
    /// Blocks that it names.
    blocks: usize,
    /// Bytes at which the file is replaced.
    replace_at: u64,
}

impl ManifestWriter {
    /// Starts a file that holds `version` and takes the manifest's name: also how a store is created. Its records are
    /// numbered from `next_number` or a later one on.
    ///
    /// # Errors
    /// `Io` when the new file could not be written, or there was no space to rename it; nothing has changed. `ReadOnly` when it is unknown which of the
    /// two files the name means.
    pub(crate) fn replace(
        disk: &Arc<dyn Disk>,
        health: &Arc<Health>,
        config: &Config,
        version: &Version,
        next_number: u64,
    ) -> Result<ManifestWriter> {
        let everything = version.to_edit();
        let (record, number) = manifest::encode_first(&everything, next_number, config.sector_bytes);
        let next = if plant::on(Bug::F5) { manifest::NAME } else { manifest::NEXT_NAME };
        let file = disk.open(next, OpenMode::Create).map_err(|error| Error::io("create", next, error))?;
        file.write_at(0, &record).map_err(|error| Error::io("write", next, error))?;
        // The content is durable before the name leads to it, and the name before anybody relies on it.
        if !plant::on(Bug::N2) {
            health.final_result("sync", next, file.sync())?;
        }
        match disk.rename(next, manifest::NAME) {
            // I9: a full disk has not begun it, so the name still means the old file.
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                return Err(Error::io("rename", next, error));
            }
            renamed => health.final_result("rename", next, renamed)?,
        }
        if !plant::on(Bug::N5) {
            health.sync_dir(&**disk, manifest::NAME)?;
        }
        let end = record.len() as u64;
        Ok(ManifestWriter {
            disk: disk.clone(),
            health: health.clone(),
            sector_bytes: config.sector_bytes,
            file,
            end,
            next_number: number + 1,
            blocks: everything.blocks.len(),
            replace_at: config.manifest_bytes.max(2 * end),
        })
    }

    /// The number of the next record.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Writes an edit behind the others. It is not durable yet.
    ///
    /// # Errors
    /// `Io`: the edit is in doubt, the next one is written over it; `FileTooLarge` if the store would have too many blocks, and nothing
    /// is written. `ReadOnly` after a failed sync: the record before
    /// this one may never reach the disk, and one behind it would say that it had (I8).
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<()> {
        if !plant::on(Bug::R4) {
            self.health.check()?;
        }
        if self.blocks + edit.blocks.len() > manifest::BLOCKS_MAX {
            return Err(Error::io("write", manifest::NAME, ErrorKind::FileTooLarge.into()));
        }
        let record = manifest::encode(edit, self.next_number, self.sector_bytes);
        let written = self.file.write_at(self.end, &record);
        self.next_number += u64::from(written.is_ok() || plant::on(Bug::F9));
        written.map_err(|error| Error::io("write", manifest::NAME, error))?;
        self.end += record.len() as u64;
        self.blocks += edit.blocks.len();
        Ok(())
    }

    /// Makes the appended edit durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.health.final_result("sync", manifest::NAME, self.file.sync())
    }

    /// A round of edits has ended in a panic, so nobody knows what of it is on the disk.
    ///
    /// # Errors
    /// `ReadOnly`, always.
    pub(crate) fn give_up(&self) -> Result<()> {
        self.health.poison("write of MANIFEST, which panicked");
        self.health.check()
    }

    /// Whether the file has grown too long.
    pub(crate) fn is_long(&self) -> bool {
        self.end >= self.replace_at
    }

    /// Replaces the file by a shorter one. After an `Io` error, lack of space above all, the long one stays in use, and the next round
    /// tries again.
    pub(crate) fn shorten(&mut self, config: &Config, version: &Version) -> Result<()> {
        match ManifestWriter::replace(&self.disk, &self.health, config, version, self.next_number) {
            Ok(writer) => *self = writer,
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::BlockRef;
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn more_blocks_than_a_record_can_name_are_refused_before_anything_is_written() {
        let (disk, health): (Arc<dyn Disk>, _) = (Arc::new(MemDisk::new()), Arc::new(Health::new()));
        let config = Config::default();
        let mut writer = ManifestWriter::replace(&disk, &health, &config, &Version::default(), 1).unwrap();
        let block = BlockRef::of_one_point();
        let edit = Edit { blocks: vec![block; 2], ..Edit::default() };
        writer.blocks = manifest::BLOCKS_MAX - 3;
        writer.append(&edit).unwrap();
        let end = writer.end;
        let error = writer.append(&edit).unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == ErrorKind::FileTooLarge),
            "{error}"
        );
        assert!(error.is_transient() && writer.end == end);
        writer.append(&Edit { blocks: vec![block], ..Edit::default() }).unwrap();
    }
}
