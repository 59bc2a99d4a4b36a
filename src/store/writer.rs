//! The files that a flush writes. Owned by whoever has the turn to flush, so there is no lock in here.

use super::version::{Edit, Version};
use super::{chunk, manifest};
use crate::codec::round_up;
use crate::config::Config;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::plant::{self, Bug};
use crate::sync::Arc;

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

/// The chunk that is being filled, and the making of new ones.
///
/// A flush places its blocks, writes them, and syncs; only then does the end of the active chunk move. So a flush
/// that failed before has taken no room, and one that was synced is never written over: an edit that names its blocks
/// may be on the disk even though appending it was reported as failed.
pub(crate) struct ChunkWriter {
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    sector_bytes: u64,
    chunk_bytes: u64,
    active: Option<Active>,
    next_number: u64,
    /// Files of the present flush in the order of their numbers; the last one becomes the active chunk.
    pending: Vec<Active>,
    /// Some of them have a new name.
    names_pending: bool,
}

impl ChunkWriter {
    /// Goes on in the last chunk of a version, behind its last block, if there is room.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        health: Arc<Health>,
        config: &Config,
        version: &Version,
    ) -> Result<ChunkWriter> {
        let last = version.blocks().map(|block| (block.chunk, block.offset + u64::from(block.len))).max();
        let mut active = None;
        if let Some((number, end)) = last.filter(|(_, end)| *end < config.chunk_bytes) {
            let name = chunk::name(number);
            let file = disk.open(&name, OpenMode::Write).map_err(|error| Error::io("open", &name, error))?;
            active = Some(Active { number, file, end });
        }
        Ok(ChunkWriter {
            disk,
            health,
            sector_bytes: config.sector_bytes,
            chunk_bytes: config.chunk_bytes,
            active,
            next_number: last.map_or(0, |(number, _)| number + 1),
            pending: Vec::new(),
            names_pending: false,
        })
    }

    /// Finds room for blocks of these lengths, creating chunks as they fill up.
    pub(crate) fn place(&mut self, lens: impl Iterator<Item = u64>) -> Result<Vec<Placed>> {
        self.names_pending = false;
        self.pending.clear();
        if let Some(mut active) = self.active.clone() {
            // A synced sector is never written again.
            active.end = round_up(active.end, self.sector_bytes).unwrap_or(u64::MAX);
            self.pending.push(active);
        }
        let mut placed = Vec::new();
        for len in lens {
            let room = self.pending.last().is_some_and(|last| last.end + len <= self.chunk_bytes);
            if !room {
                let number = self.pending.last().map_or(self.next_number, |last| last.number + 1);
                let new = self.create(number)?;
                self.pending.push(new);
            }
            let last = self.pending.last_mut().expect("there is one with room now");
            placed.push(Placed { chunk: last.number, offset: last.end, file: last.file.clone() });
            last.end += len;
        }
        Ok(placed)
    }

    fn create(&mut self, number: u64) -> Result<Active> {
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
            self.health.final_result(
                "sync of the directory after creating",
                "chunks",
                self.disk.sync_dir(),
            )?;
        }
        if let Some(last) = self.pending.pop() {
            self.next_number = last.number + 1;
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
    /// Bytes at which the file is replaced.
    replace_at: u64,
}

impl ManifestWriter {
    /// Starts a file that holds `version` and takes the manifest's name: also how a store is created.
    ///
    /// # Errors
    /// `Io` when the new file could not be written; nothing has changed. `ReadOnly` when it is unknown which of the
    /// two files the name means.
    pub(crate) fn replace(
        disk: &Arc<dyn Disk>,
        health: &Arc<Health>,
        config: &Config,
        version: &Version,
        number: u64,
    ) -> Result<ManifestWriter> {
        let record = manifest::encode(&version.to_edit(), number, config.sector_bytes);
        let next = manifest::NEXT_NAME;
        let file = disk.open(next, OpenMode::Create).map_err(|error| Error::io("create", next, error))?;
        file.write_at(0, &record).map_err(|error| Error::io("write", next, error))?;
        // The content is durable before the name leads to it, and the name before anybody relies on it.
        if !plant::on(Bug::N2) {
            health.final_result("sync", next, file.sync())?;
        }
        health.final_result("rename", next, disk.rename(next, manifest::NAME))?;
        health.final_result("sync of the directory after renaming", next, disk.sync_dir())?;
        let end = record.len() as u64;
        Ok(ManifestWriter {
            disk: disk.clone(),
            health: health.clone(),
            sector_bytes: config.sector_bytes,
            file,
            end,
            next_number: number + 1,
            replace_at: config.manifest_bytes.max(2 * end),
        })
    }

    /// Writes an edit behind the others. It is not durable yet.
    ///
    /// # Errors
    /// `Io`: the edit is in doubt, the next one is written over it.
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<()> {
        let record = manifest::encode(edit, self.next_number, self.sector_bytes);
        self.file.write_at(self.end, &record).map_err(|error| Error::io("write", manifest::NAME, error))?;
        self.end += record.len() as u64;
        self.next_number += 1;
        Ok(())
    }

    /// Makes the appended edit durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.health.final_result("sync", manifest::NAME, self.file.sync())
    }

    /// Replaces the file by a shorter one if it has grown too long. Without space for a second file the long one goes
    /// on being used, and the next flush tries again.
    pub(crate) fn shorten(&mut self, config: &Config, version: &Version) -> Result<()> {
        if self.end < self.replace_at {
            return Ok(());
        }
        match ManifestWriter::replace(&self.disk, &self.health, config, version, self.next_number) {
            Ok(writer) => *self = writer,
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
