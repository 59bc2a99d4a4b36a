//! Encoding and writing blocks, in parallel.

use super::plan;
use crate::buffer::Sealed;
use crate::error::{Error, Result};
use crate::exec::{self, Exec};
use crate::plant::{self, Bug};
use crate::point::last_write_wins;
use crate::store::block::{self, BlockRef};
use crate::store::{ChunkWriter, chunk};
use crate::sync::Arc;

/// The content of one block before it has a place.
struct Content {
    /// Without place, length and checksum.
    named: BlockRef,
    payload: Vec<u8>,
}

impl Content {
    fn of(sealed: &Sealed, block_points: usize) -> Vec<Content> {
        let named = |count: usize, first_ts, last_ts| BlockRef {
            tag: sealed.tag,
            chunk: 0,
            offset: 0,
            len: 0,
            crc: 0,
            count: count as u32,
            first_lsn: sealed.first_lsn,
            end_lsn: sealed.end_lsn,
            first_ts,
            last_ts,
        };
        if let Some(parts) = plan::take_over(&sealed.runs, block_points) {
            let content = |part: plan::Part| Content {
                named: named(part.points, part.first_ts, part.last_ts),
                payload: part.bytes.to_vec(),
            };
            return parts.into_iter().map(content).collect();
        }
        let mut entries = Vec::with_capacity(sealed.runs.points());
        sealed.runs.for_each(&.., |entry| entries.push(entry));
        last_write_wins(&mut entries);
        let content = |range| {
            let entries = &entries[range];
            let mut payload = Vec::new();
            block::encode_entries(&mut payload, entries);
            let [first, last] = [&entries[0], &entries[entries.len() - 1]].map(|entry| entry.ts_us);
            Content { named: named(entries.len(), first, last), payload }
        };
        let most = if plant::on(Bug::F18) { 1 } else { usize::MAX };
        plan::cut(entries.len(), block_points).take(most).map(content).collect()
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
    let lens = contents.iter().map(|content| (block::HEADER_BYTES + content.payload.len()) as u64);
    let places = chunks.place(lens)?;
    let work = contents.into_iter().zip(places).collect();
    let written = exec::map(exec, work, |(content, place)| {
        let mut named = BlockRef { chunk: place.chunk, offset: place.offset, ..content.named };
        let bytes = block::encode_payload(&mut named, &content.payload);
        match place.file.write_at(place.offset, &bytes) {
            Err(error) if !plant::on(Bug::F4) => Err(Error::io("write", &chunk::name(place.chunk), error)),
            _ => Ok(named),
        }
    });
    written.into_iter().collect()
}
