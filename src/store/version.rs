//! A version: everything that is checkpointed. An edit: one atomic change of it.

use super::block::BlockRef;
use crate::lsn::{Lsn, Span};
use crate::plant::{self, Bug};
use crate::point::{TagId, overlaps};
use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// The sizes that the files of a store are laid out by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// The unit that the disk may damage.
    pub sector_bytes: u64,
    /// Bytes after which a chunk is sealed.
    pub chunk_bytes: u64,
    /// Log streams.
    pub wal_streams: u32,
}

/// One change of the store, atomic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Set by the first record of a file only.
    pub geometry: Option<Geometry>,
    /// This epoch and all before it are used up.
    pub epoch: Option<u32>,
    /// Changes of log streams, in rising order of streams.
    pub streams: Vec<StreamEdit>,
    /// New blocks.
    pub blocks: Vec<BlockRef>,
}

/// What an edit changes of one log stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamEdit {
    /// Which one.
    pub stream: u32,
    /// This many segment files are there, at least.
    pub segments: Option<u32>,
    /// New spans of the log.
    pub spans: Vec<Span>,
    /// `checkpoint_lsn` and `durable_lsn`.
    pub watermarks: Option<(Lsn, Lsn)>,
}

impl Edit {
    /// Several edits as one: what a group of flushes has to say.
    pub fn merge(edits: impl IntoIterator<Item = Edit>) -> Edit {
        let mut merged = Edit::default();
        for edit in edits {
            merged.geometry = edit.geometry.or(merged.geometry);
            merged.epoch = edit.epoch.or(merged.epoch);
            merged.streams.extend(edit.streams);
            merged.blocks.extend(edit.blocks);
        }
        merged.streams.sort_by_key(|stream| stream.stream);
        merged
    }
}

/// The blocks of one tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagBlocks {
    /// Oldest first: where two hold one time, the later one is right.
    pub blocks: Vec<BlockRef>,
    /// Every point of the tag below this position is in a block.
    pub flushed_lsn: Lsn,
    /// Some block begins before the one in front of it has ended. Once so, it stays so.
    unordered: bool,
}

impl TagBlocks {
    fn push(&mut self, block: BlockRef) {
        self.unordered |= self.blocks.last().is_some_and(|last| last.last_ts >= block.first_ts);
        self.blocks.push(block);
    }

    /// The blocks that may hold points in `range`, oldest first.
    pub(crate) fn overlapping(&self, range: &impl RangeBounds<i64>) -> Vec<BlockRef> {
        let all = plant::on(Bug::F17);
        let in_range = |block: &&BlockRef| all || overlaps(range, block.first_ts, block.last_ts);
        if self.unordered || all {
            return self.blocks.iter().filter(in_range).copied().collect();
        }
        // Nearly always: those in range stand together.
        let is_before = |block: &BlockRef| !overlaps(range, i64::MIN, block.last_ts);
        let first = self.blocks.partition_point(is_before);
        self.blocks[first..].iter().take_while(in_range).copied().collect()
    }
}

/// What is checkpointed of one log stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamVersion {
    /// This many segment files are there, at least: one that is missing is damage.
    pub segments: u32,
    /// The log, oldest first.
    pub spans: Vec<Span>,
    /// Every point below this is in a block.
    pub checkpoint_lsn: Lsn,
    /// Everything below this was durable when the last edit was written.
    pub durable_lsn: Lsn,
}

impl StreamVersion {
    fn apply(&mut self, edit: &StreamEdit) {
        self.segments = edit.segments.unwrap_or(self.segments).max(self.segments);
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
}

/// The result of applying edits: everything that is checkpointed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The sizes that the store was created with.
    pub geometry: Geometry,
    /// The last epoch that is used up.
    pub epoch: u32,
    /// The log, by stream; as many as the geometry says.
    pub streams: Vec<StreamVersion>,
    /// Blocks by tag.
    pub tags: BTreeMap<TagId, TagBlocks>,
}

impl Version {
    /// A store in which nothing has been written.
    pub fn new(geometry: Geometry) -> Version {
        let streams = vec![StreamVersion::default(); geometry.wal_streams as usize];
        Version { geometry, streams, ..Version::default() }
    }

    /// Applies one edit. What it says of streams that the geometry does not have is dropped: decoding has refused it.
    pub fn apply(&mut self, edit: &Edit) {
        if let Some(geometry) = edit.geometry {
            self.geometry = geometry;
            self.streams.resize(geometry.wal_streams as usize, StreamVersion::default());
        }
        self.epoch = edit.epoch.unwrap_or(self.epoch).max(self.epoch);
        for block in &edit.blocks {
            let tag = self.tags.entry(block.tag).or_default();
            tag.push(*block);
            tag.flushed_lsn = tag.flushed_lsn.max(block.end_lsn.advance(plant::on(Bug::B2).into()));
            let stream = self.stream_of(block.tag);
            if let Some(stream) = self.streams.get_mut(stream) {
                stream.durable_lsn = stream.durable_lsn.max(block.end_lsn);
            }
        }
        for edit in &edit.streams {
            if let Some(stream) = self.streams.get_mut(edit.stream as usize) {
                stream.apply(edit);
            }
        }
    }

    /// The edit that makes this version out of nothing.
    pub fn to_edit(&self) -> Edit {
        let stream = |(stream, version): (usize, &StreamVersion)| StreamEdit {
            stream: stream as u32,
            segments: Some(version.segments),
            spans: version.spans.clone(),
            watermarks: Some((version.checkpoint_lsn, version.durable_lsn)),
        };
        Edit {
            geometry: Some(self.geometry),
            epoch: Some(self.epoch),
            streams: self.streams.iter().enumerate().map(stream).collect(),
            blocks: self.blocks().copied().collect(),
        }
    }

    /// The stream that a tag belongs to.
    pub fn stream_of(&self, tag: TagId) -> usize {
        tag.stream(self.streams.len())
    }

    /// All blocks, by tag, oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockRef> {
        self.tags.values().flat_map(|tag| &tag.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Bound;

    fn tag_blocks(times: &[(i64, i64)]) -> TagBlocks {
        let mut tag = TagBlocks::default();
        for (first_ts, last_ts) in times {
            tag.push(BlockRef { first_ts: *first_ts, last_ts: *last_ts, ..BlockRef::of_one_point() });
        }
        tag
    }

    #[test]
    fn the_blocks_of_a_range_are_found_in_order_of_time_or_not() {
        let bounds = |at: i64| [Bound::Included(at), Bound::Excluded(at), Bound::Unbounded];
        for times in [
            &[][..],
            &[(2, 4)],
            &[(0, 1), (2, 2), (5, 7), (9, 11)],
            // One that begins when the one before it ends, one that is all before it, one within another.
            &[(0, 3), (3, 5), (7, 8)],
            &[(6, 9), (1, 2), (10, 11)],
            &[(0, 10), (3, 4), (5, 12), (1, 1)],
            &[(i64::MIN, 0), (1, i64::MAX)],
        ] {
            let tag = tag_blocks(times);
            let ends = (-1..=13).chain([i64::MIN, i64::MAX]).flat_map(bounds);
            for start in ends.clone() {
                for end in ends.clone() {
                    let range = (start, end);
                    let overlapping = |block: &&BlockRef| overlaps(&range, block.first_ts, block.last_ts);
                    let expected: Vec<_> = tag.blocks.iter().filter(overlapping).copied().collect();
                    let inverted = match (start, end) {
                        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
                        (Bound::Included(start), Bound::Included(end)) => start > end,
                        (
                            Bound::Included(start) | Bound::Excluded(start),
                            Bound::Included(end) | Bound::Excluded(end),
                        ) => start >= end,
                    };
                    // A range that holds nothing may find a block or not.
                    if !inverted {
                        assert_eq!(tag.overlapping(&range), expected, "{range:?} of {times:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn spans_behind_the_checkpoint_are_dropped_in_their_own_stream() {
        let mut version = Version::new(Geometry { wal_streams: 2, ..Geometry::default() });
        let span = |epoch, lsn| Span { epoch, first_lsn: Lsn(lsn) };
        let spans = vec![span(1, 0), span(2, 50), span(4, 90)];
        for stream in [0, 1] {
            let edit = StreamEdit { stream, spans: spans.clone(), ..StreamEdit::default() };
            version.apply(&Edit { streams: vec![edit], ..Edit::default() });
        }
        let edit = StreamEdit { stream: 1, watermarks: Some((Lsn(50), Lsn(95))), ..StreamEdit::default() };
        version.apply(&Edit { streams: vec![edit], ..Edit::default() });
        assert_eq!(version.streams[0].spans, spans);
        assert_eq!(version.streams[1].spans, [span(2, 50), span(4, 90)]);
    }
}
