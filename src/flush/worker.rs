//! Encoding and writing blocks, in parallel.

use super::plan;
use crate::buffer::Sealed;
use crate::error::{Error, Result};
use crate::exec::{self, Exec};
use crate::plant::{self, Bug};
use crate::point::Entry;
use crate::store::block::{self, BlockRef};
use crate::store::{ChunkWriter, chunk};
use crate::sync::Arc;
use std::ops::Range;

/// The content of one block before it has a place.
struct Content {
    sealed: Arc<Sealed>,
    /// The sealed entries by time, if they are not.
    sorted: Option<Arc<Vec<Entry>>>,
    range: Range<usize>,
}

impl Content {
    fn of(sealed: &Arc<Sealed>, block_points: usize) -> Vec<Content> {
        let sorted = plan::sorted(&sealed.entries).map(Arc::new);
        let count = sorted.as_ref().map_or(sealed.entries.len(), |sorted| sorted.len());
        let content = |range| Content { sealed: sealed.clone(), sorted: sorted.clone(), range };
        plan::cut(count, block_points).map(content).collect()
    }

    fn entries(&self) -> &[Entry] {
        let entries = self.sorted.as_ref().map_or(&self.sealed.entries, |sorted| sorted);
        &entries[self.range.clone()]
    }
}

/// Writes sealed buffers as blocks. Nothing is durable yet, and nothing names them.
///
/// # Errors
/// `Io` when a chunk could not be made or any block not be written: then none of them counts.
pub(crate) fn write_blocks(
    exec: &dyn Exec,
    chunks: &mut ChunkWriter,
    block_points: usize,
    sealed: &[Arc<Sealed>],
) -> Result<Vec<BlockRef>> {
    let contents = exec::map(exec, sealed.to_vec(), move |sealed| Content::of(&sealed, block_points));
    let contents: Vec<Content> = contents.into_iter().flatten().collect();
    let places =
        chunks.place(contents.iter().map(|content| block::block_bytes(content.range.len()) as u64))?;
    let work = contents.into_iter().zip(places).collect();
    let written = exec::map(exec, work, |(content, place)| {
        let mut named = BlockRef {
            tag: content.sealed.tag,
            chunk: place.chunk,
            offset: place.offset,
            len: 0,
            crc: 0,
            count: 0,
            first_lsn: content.sealed.first_lsn,
            end_lsn: content.sealed.end_lsn,
            first_ts: 0,
            last_ts: 0,
        };
        let bytes = block::encode(&mut named, content.entries());
        match place.file.write_at(place.offset, &bytes) {
            Err(error) if !plant::on(Bug::F4) => Err(Error::io("write", &chunk::name(place.chunk), error)),
            _ => Ok(named),
        }
    });
    written.into_iter().collect()
}
