//! Encoding and writing blocks, in parallel.

use super::plan;
use crate::buffer::Sealed;
use crate::error::{Error, Result};
use crate::exec::{self, Exec};
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId};
use crate::store::block::{self, BlockRef};
use crate::store::{ChunkWriter, chunk};
use crate::sync::Arc;

/// The content of one block before it has a place.
struct Content {
    tag: TagId,
    first_lsn: Lsn,
    end_lsn: Lsn,
    entries: Vec<Entry>,
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
    let contents = exec::map(exec, sealed.to_vec(), move |sealed| {
        let content = |entries| Content {
            tag: sealed.tag,
            first_lsn: sealed.first_lsn,
            end_lsn: sealed.end_lsn,
            entries,
        };
        plan::cut(sealed.entries.clone(), block_points).into_iter().map(content).collect::<Vec<_>>()
    });
    let contents: Vec<Content> = contents.into_iter().flatten().collect();
    let places =
        chunks.place(contents.iter().map(|content| block::block_bytes(content.entries.len()) as u64))?;
    let work = contents.into_iter().zip(places).collect();
    let written = exec::map(exec, work, |(content, place)| {
        let mut named = BlockRef {
            tag: content.tag,
            chunk: place.chunk,
            offset: place.offset,
            len: 0,
            crc: 0,
            count: 0,
            first_lsn: content.first_lsn,
            end_lsn: content.end_lsn,
            first_ts: 0,
            last_ts: 0,
        };
        let bytes = block::encode(&mut named, &content.entries);
        match place.file.write_at(place.offset, &bytes) {
            Err(error) if !plant::on(Bug::F4) => Err(Error::io("write", &chunk::name(place.chunk), error)),
            _ => Ok(named),
        }
    });
    written.into_iter().collect()
}
