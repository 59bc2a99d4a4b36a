//! A version: everything that is checkpointed. An edit: one atomic change of it.

use super::block::BlockRef;
use crate::lsn::{Lsn, Span};
use crate::point::TagId;
use std::collections::BTreeMap;

/// The sizes that the files of a store are laid out by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// The unit that the disk may damage.
    pub sector_bytes: u64,
    /// Bytes after which a chunk is sealed.
    pub chunk_bytes: u64,
}

/// One change of the store, atomic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Set by the first record of a file only.
    pub geometry: Option<Geometry>,
    /// This epoch and all before it are used up.
    pub epoch: Option<u32>,
    /// So many segment files are there, at least.
    pub segments: Option<u32>,
    /// New spans of the log.
    pub spans: Vec<Span>,
    /// `checkpoint_lsn` and `durable_lsn`.
    pub watermarks: Option<(Lsn, Lsn)>,
    /// New blocks.
    pub blocks: Vec<BlockRef>,
}

/// The blocks of one tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagBlocks {
    /// Oldest first: where two hold one time, the later one is right.
    pub blocks: Vec<BlockRef>,
    /// Every point of the tag below this position is in a block.
    pub flushed_lsn: Lsn,
}

/// The result of applying edits: everything that is checkpointed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The sizes that the store was created with.
    pub geometry: Geometry,
    /// The last epoch that is used up.
    pub epoch: u32,
    /// So many segment files are there, at least: one that is missing is damage.
    pub segments: u32,
    /// The log, oldest first.
    pub spans: Vec<Span>,
    /// Every point below this is in a block.
    pub checkpoint_lsn: Lsn,
    /// Everything below this was durable when the last edit was written.
    pub durable_lsn: Lsn,
    /// Blocks by tag.
    pub tags: BTreeMap<TagId, TagBlocks>,
}

impl Version {
    /// Applies one edit.
    pub fn apply(&mut self, edit: &Edit) {
        if let Some(geometry) = edit.geometry {
            self.geometry = geometry;
        }
        self.epoch = edit.epoch.unwrap_or(self.epoch).max(self.epoch);
        self.segments = edit.segments.unwrap_or(self.segments).max(self.segments);
        for block in &edit.blocks {
            let tag = self.tags.entry(block.tag).or_default();
            tag.blocks.push(*block);
            tag.flushed_lsn = tag.flushed_lsn.max(block.end_lsn);
            self.durable_lsn = self.durable_lsn.max(block.end_lsn);
        }
        if let Some((checkpoint_lsn, durable_lsn)) = edit.watermarks {
            // I7: neither moves back.
            self.checkpoint_lsn = self.checkpoint_lsn.max(checkpoint_lsn);
            self.durable_lsn = self.durable_lsn.max(durable_lsn);
        }
        self.spans.extend_from_slice(&edit.spans);
        // A span is over once the checkpoint has passed the beginning of the next one.
        let over = self.spans.windows(2).take_while(|pair| pair[1].first_lsn <= self.checkpoint_lsn).count();
        self.spans.drain(..over);
    }

    /// The edit that makes this version out of nothing.
    pub fn to_edit(&self) -> Edit {
        Edit {
            geometry: Some(self.geometry),
            epoch: Some(self.epoch),
            segments: Some(self.segments),
            spans: self.spans.clone(),
            watermarks: Some((self.checkpoint_lsn, self.durable_lsn)),
            blocks: self.blocks().copied().collect(),
        }
    }

    /// All blocks, by tag, oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockRef> {
        self.tags.values().flat_map(|tag| &tag.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_behind_the_checkpoint_are_dropped() {
        let mut version = Version::default();
        let span = |epoch, lsn| Span { epoch, first_lsn: Lsn(lsn) };
        version.apply(&Edit { spans: vec![span(1, 0), span(2, 50), span(4, 90)], ..Edit::default() });
        version.apply(&Edit { watermarks: Some((Lsn(50), Lsn(95))), ..Edit::default() });
        assert_eq!(version.spans, [span(2, 50), span(4, 90)]);
    }
}
