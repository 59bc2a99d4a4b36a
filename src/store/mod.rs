//! Blocks in chunks, and the manifest that names them.
//!
//! | file | subject |
//! |---|---|
//! | [`block`] | the bytes of a block |
//! | `cache` | blocks that short queries have read |
//! | [`chunk`] | the bytes of a chunk's header, and its name |
//! | [`manifest`] | the bytes of the manifest: a log of edits |
//! | [`version`] | what the edits add up to |
//! | `writer` | the files that a flush writes: the active chunk and the manifest |
//! | `committer` | group commit of edits: one record and one sync for all flushes that end together |
//! | this one | `Store`: what readers share |

pub mod block;
mod cache;
pub mod chunk;
mod committer;
pub mod manifest;
pub mod version;
mod writer;

pub(crate) use committer::Committer;
pub(crate) use writer::{ChunkNumbers, ChunkWriter, ManifestWriter};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId};
use crate::sync::{Arc, Mutex, Rank};
use block::{BlockRef, Intact};
use cache::BlockCache;
use rustc_hash::FxHashMap;
use std::ops::RangeBounds;
use version::{Edit, Version};

/// Chunk files kept open for reading. More would be closed and opened again; a process has about a thousand handles.
const OPEN_CHUNKS_MAX: usize = 256;

/// The published version, and the files that its blocks are read from.
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    cache: BlockCache,
}

struct State {
    version: Version,
    open: FxHashMap<u64, Arc<dyn DiskFile>>,
}

/// What stands in the place of a block is not that block.
fn corrupt(named: &BlockRef, expected: &str) -> Error {
    Error::corrupt(&chunk::name(named.chunk), named.offset, expected)
}

impl Store {
    /// `cache_bytes` of blocks are kept in memory at most.
    pub(crate) fn new(disk: Arc<dyn Disk>, version: Version, cache_bytes: u64) -> Store {
        let state = Mutex::new(Rank::Store, State { version, open: FxHashMap::default() });
        Store { disk, state, cache: BlockCache::new(cache_bytes) }
    }

    /// Makes an edit that is durable visible to queries.
    pub(crate) fn publish(&self, edit: &Edit) {
        self.state.lock().version.apply(edit);
    }

    /// Runs `read` on the published version. Short: queries wait for it.
    pub(crate) fn version<R>(&self, read: impl FnOnce(&Version) -> R) -> R {
        read(&self.state.lock().version)
    }

    /// The blocks of a tag that may hold points in `range`, oldest first.
    pub(crate) fn blocks(&self, tag: TagId, range: &impl RangeBounds<i64>) -> Vec<BlockRef> {
        if plant::on(Bug::C2) {
            let reloaded = self.version(Version::clone);
            self.state.lock().version = reloaded;
        }
        self.version(|version| match version.tags.get(&tag) {
            Some(tag) => tag.overlapping(range),
            None => Vec::new(),
        })
    }

    /// Calls `each` with the points of a block that are in `range`. The block is read into `scratch` and verified.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not the block that the manifest names, `Io` when they cannot be read.
    pub(crate) fn read(
        &self,
        named: &BlockRef,
        range: &impl RangeBounds<i64>,
        scratch: &mut Vec<u8>,
        each: impl FnMut(Entry),
    ) -> Result<()> {
        self.fetch(named, scratch)?;
        block::decode(scratch, named).map_err(|expected| corrupt(named, expected))?.for_each(range, each);
        Ok(())
    }

    /// Likewise, through the cache: for a block that may be wanted again soon.
    ///
    /// # Errors
    /// Those of [`read`](Store::read), unless it is there already.
    pub(crate) fn read_cached(
        &self,
        named: &BlockRef,
        range: &impl RangeBounds<i64>,
        each: impl FnMut(Entry),
    ) -> Result<()> {
        if let Some(block) = self.cache.get(named) {
            block.content().for_each(range, each);
            return Ok(());
        }
        let mut bytes = Vec::new();
        self.fetch(named, &mut bytes)?;
        let block = Arc::new(Intact::verify(bytes, named).map_err(|expected| corrupt(named, expected))?);
        self.cache.keep(named, &block);
        block.content().for_each(range, each);
        Ok(())
    }

    fn fetch(&self, named: &BlockRef, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize(named.len as usize, 0);
        let file = self.file(named.chunk)?;
        file.read_at(named.offset, bytes).map_err(|error| Error::io("read", &chunk::name(named.chunk), error))
    }

    /// Bytes of blocks that are kept in memory.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    fn file(&self, chunk: u64) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.state.lock().open.get(&chunk) {
            return Ok(file.clone());
        }
        // Opened without the lock: another reader may do the same, and one of the two handles is dropped.
        let name = chunk::name(chunk);
        let file = self.disk.open(&name, OpenMode::Read).map_err(|error| Error::io("open", &name, error))?;
        let mut state = self.state.lock();
        if state.open.len() >= OPEN_CHUNKS_MAX {
            state.open.clear();
        }
        Ok(state.open.entry(chunk).or_insert(file).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn no_more_chunks_are_kept_open_than_a_process_can_afford() {
        let disk = Arc::new(MemDisk::new());
        let store = Store::new(disk.clone(), Version::default(), 0);
        for number in 0..2 * OPEN_CHUNKS_MAX as u64 + 1 {
            disk.open(&chunk::name(number), OpenMode::Create).unwrap();
            store.file(number).unwrap();
            assert!(store.state.lock().open.len() <= OPEN_CHUNKS_MAX);
        }
    }
}
