//! What was written, in the engine's own words: frames, blocks and edits in the bytes of a write.

use crate::disk::SECTOR;
use tidewall::TagId;
use tidewall::store::block::{self, BlockRef};
use tidewall::store::chunk;
use tidewall::store::manifest::{self, NAME, NEXT_NAME};
use tidewall::store::version::Edit;
use tidewall::wal::frame::{self, FrameHeader};

/// What a file is to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    /// The manifest, or its replacement to be.
    Manifest,
    /// A log segment of a stream.
    Segment { stream: u64 },
    /// A chunk.
    Chunk { number: u64 },
    /// Something else.
    Other,
}

impl FileKind {
    pub(super) fn of(file: &str) -> FileKind {
        if [NAME, NEXT_NAME].contains(&file) {
            return FileKind::Manifest;
        }
        if let Some(number) = chunk::number(file) {
            return FileKind::Chunk { number };
        }
        let Some(place) = file.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".log")) else {
            return FileKind::Other;
        };
        // `wal-002.log` is of stream 0, `wal-01-002.log` of stream 1.
        let stream = place.split_once('-').map_or(Ok(0), |(stream, _)| stream.parse());
        stream.map_or(FileKind::Other, |stream| FileKind::Segment { stream })
    }
}

/// The tags of a frame.
pub(crate) fn whose(header: &FrameHeader) -> String {
    match header.tags {
        1 => format!("tag {}", header.tag),
        tags => format!("tag {} and {} more", header.tag, tags - 1),
    }
}

/// A unit of data in the bytes of a write, and where in the file it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Frame(u64, FrameHeader, Vec<TagId>),
    Block(u64, BlockRef),
    Edit(u64, Edit),
}

impl Piece {
    /// In words.
    pub(super) fn what(&self) -> String {
        match self {
            Piece::Frame(at, header, _) => format!(
                "at {at}: frame of {}, {} points, LSN {}..{}, generation {} (durable when it was written: {})",
                whose(header),
                header.count,
                header.first_lsn,
                header.end_lsn(),
                header.generation,
                header.durable_lsn
            ),
            Piece::Block(at, block) => format!(
                "at {at}: block of tag {}, {} points, LSN {}..{}",
                block.tag, block.count, block.first_lsn, block.end_lsn
            ),
            Piece::Edit(at, edit) => {
                let mut what = format!("at {at}: edit");
                if let Some(epoch) = edit.epoch {
                    what += &format!(", epoch {epoch}");
                }
                if !edit.blocks.is_empty() {
                    what += &format!(", names {} blocks", edit.blocks.len());
                }
                for stream in &edit.streams {
                    if let Some((checkpoint, durable)) = stream.watermarks {
                        what += &format!(
                            ", stream {}: checkpoint {checkpoint}, durable {durable}",
                            stream.stream
                        );
                    }
                }
                what
            }
        }
    }
}

/// The units in `bytes`, which lie at `offset` of a file.
pub(super) fn pieces(file: &str, offset: u64, bytes: &[u8]) -> Vec<Piece> {
    match FileKind::of(file) {
        FileKind::Manifest => {
            manifest::decode(bytes).map(|record| Piece::Edit(offset, record.edit)).into_iter().collect()
        }
        FileKind::Segment { .. } => frames(offset, bytes),
        FileKind::Chunk { .. } => blocks(offset, bytes),
        FileKind::Other => Vec::new(),
    }
}

fn frames(offset: u64, bytes: &[u8]) -> Vec<Piece> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match frame::decode(rest) {
            Ok(frame) => {
                let tags = frame.shares().map(|share| share.tag).collect();
                found.push(Piece::Frame(offset + at as u64, frame.header, tags));
                at += frame.len;
            }
            // Padding after a synced group goes up to the sector.
            Err(_) if rest[0] == 0 => {
                let sector = SECTOR as u64;
                at = ((offset + at as u64 + 1).next_multiple_of(sector) - offset) as usize;
            }
            Err(_) => break,
        }
    }
    found
}

fn blocks(offset: u64, bytes: &[u8]) -> Vec<Piece> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some((block, _)) = bytes.get(at..).and_then(block::parse) {
        found.push(Piece::Block(offset + at as u64, block));
        at += block.len as usize;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let kinds = ["MANIFEST.next", "wal-003.log", "wal-02-003.log", "chunk-00000007.tw", "LOCK"];
        let expected = [
            FileKind::Manifest,
            FileKind::Segment { stream: 0 },
            FileKind::Segment { stream: 2 },
            FileKind::Chunk { number: 7 },
            FileKind::Other,
        ];
        assert_eq!(kinds.map(FileKind::of), expected);
    }
}
