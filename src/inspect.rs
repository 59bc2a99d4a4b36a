//! A directory read without opening it: every segment, frame, chunk, block and manifest record, every checksum.
//!
//! Nothing is written and no lock is taken, so it can look at a store that refuses to open, at a copy, or (with a
//! chance of seeing a write half-way) at one in use. It judges by the same functions as recovery.

use crate::disk::{Disk, OpenMode, read_all};
use crate::error::{Corruption, Error, Result};
use crate::lsn::{Generation, Lsn};
use crate::store::block::{self, BlockRef};
use crate::store::version::{Geometry, Version};
use crate::store::{chunk, manifest};
use crate::survey;
use crate::wal::scan::{End, FrameAt};
use crate::wal::{segment_name, segment_place};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// What a segment is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentRole {
    /// Some of its frames would be replayed.
    Live,
    /// It holds frames, and none of them is needed.
    Stale,
    /// It holds no frame.
    Blank,
}

/// One segment file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Name in the directory.
    pub file: String,
    /// The log stream that it belongs to.
    pub stream: usize,
    /// What it is in the log.
    pub role: SegmentRole,
    /// The use that its frames belong to.
    pub generation: Option<Generation>,
    /// Its frames in order.
    pub frames: Vec<FrameAt>,
    /// Which of `frames` are part of the log.
    pub live: Range<usize>,
    /// Byte offset behind the last frame.
    pub end_offset: u64,
    /// What is there.
    pub end: End,
}

impl SegmentInfo {
    /// The frames that are part of the log from the checkpoint on.
    pub fn live(&self) -> &[FrameAt] {
        &self.frames[self.live.clone()]
    }
}

/// One log stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Position behind the last point that a recovery would find in the log.
    pub end_lsn: Lsn,
    /// Everything below this was durable, by the manifest and every intact frame.
    pub proven_lsn: Lsn,
}

/// One chunk file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChunkInfo {
    /// Name in the directory.
    pub file: String,
    /// The blocks that the manifest names in it, by offset, and whether each is intact.
    pub blocks: Vec<(BlockRef, bool)>,
}

/// What a directory holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// What the manifest adds up to; `None` without a whole manifest.
    pub version: Option<Version>,
    /// Records of the manifest: where each begins, and where its last used byte ends.
    pub manifest_records: Vec<Range<u64>>,
    /// Bytes behind its last record that are not zero.
    pub manifest_torn_bytes: u64,
    /// The log's streams.
    pub streams: Vec<StreamInfo>,
    /// The log's segments by stream and number.
    pub segments: Vec<SegmentInfo>,
    /// The chunks that are there or that the manifest names, by number.
    pub chunks: Vec<ChunkInfo>,
    /// Files that are none of the store's.
    pub unknown_files: Vec<String>,
    /// Everything that is not as it must be. Empty for a sound store, a freshly crashed one included.
    pub damage: Vec<Corruption>,
}

impl Inspection {
    /// The sum of the streams' ends: points in the log's whole life.
    pub fn end_lsn(&self) -> Lsn {
        Lsn(self.streams.iter().map(|stream| stream.end_lsn.0).sum())
    }

    /// The sum of what is proven durable in each stream.
    pub fn proven_lsn(&self) -> Lsn {
        Lsn(self.streams.iter().map(|stream| stream.proven_lsn.0).sum())
    }
}

/// Reads a directory. Damage is part of the result; only a disk that cannot be read at all is an error.
///
/// # Errors
/// `Io` when the directory cannot be listed or a log segment not be opened. `NewerFormat`.
pub fn inspect(disk: &dyn Disk) -> Result<Inspection> {
    let names = disk.list().map_err(|error| Error::io("list", ".", error))?;
    let mut damage = Vec::new();
    let loaded = match survey::read_manifest(disk) {
        Ok(loaded) => Some(loaded),
        Err(Error::Corrupt(corruption)) => {
            damage.push(corruption);
            None
        }
        Err(error @ Error::NewerFormat { .. }) => return Err(error),
        Err(error) => {
            let expected = format!("a readable manifest ({error})");
            damage.push(Corruption { file: manifest::NAME.into(), offset: 0, expected });
            None
        }
    };
    let version = loaded.as_ref().map(|loaded| loaded.version.clone());
    let places = survey::segment_places(&names);
    let known = version.clone().unwrap_or_else(|| {
        let wal_streams = places.iter().map(|(stream, _)| *stream as u32 + 1).max().unwrap_or(1);
        Version::new(Geometry { wal_streams, ..Geometry::default() })
    });
    let (sector_bytes, streams) = (known.geometry.sector_bytes.max(512), known.streams.len());
    let segments = places.into_iter().filter(|(stream, _)| *stream < streams);
    let read = |(stream, slot)| {
        let bytes = read_around(disk, &segment_name(stream, slot), &mut damage)?;
        Ok(survey::scan_segment((stream, slot), bytes, sector_bytes, streams))
    };
    let segments = segments.map(read).collect::<Result<_>>()?;
    let logs = survey::order_logs(segments, &known, |stream, _| stream.checkpoint_lsn);
    if version.is_some() {
        damage.extend(logs.iter().zip(&known.streams).filter_map(|(log, stream)| log.corruption(stream)));
    }
    let chunks = inspect_chunks(disk, &names, &known, &mut damage)?;
    let ours = |name: &&String| {
        segment_place(name).is_some_and(|(stream, _)| stream < streams)
            || chunk::number(name).is_some()
            || [manifest::NAME, manifest::NEXT_NAME, crate::engine::LOCK_NAME].contains(&name.as_str())
    };
    let info = |log: &survey::StreamLog| StreamInfo { end_lsn: log.chain.end_lsn, proven_lsn: log.proven };
    Ok(Inspection {
        version,
        manifest_torn_bytes: loaded.as_ref().map_or(0, |loaded| loaded.torn_bytes),
        manifest_records: loaded.map_or(Vec::new(), |loaded| loaded.records),
        streams: logs.iter().map(info).collect(),
        segments: logs.iter().flat_map(describe_segments).collect(),
        chunks,
        unknown_files: names.iter().filter(|name| !ours(name)).cloned().collect(),
        damage,
    })
}

/// Bytes that a disk gives or refuses together.
const STRIDE: usize = 512;

/// A file without what cannot be read of it: there are zeros in its place, and a note.
fn read_around(disk: &dyn Disk, name: &str, damage: &mut Vec<Corruption>) -> Result<Vec<u8>> {
    let file = disk.open(name, OpenMode::Read).map_err(|error| Error::io("open", name, error))?;
    if let Ok(bytes) = read_all(&*file) {
        return Ok(bytes);
    }
    let len = file.len().map_err(|error| Error::io("measure", name, error))?;
    let mut bytes = vec![0; len as usize];
    for (index, part) in bytes.chunks_mut(STRIDE).enumerate() {
        let offset = (index * STRIDE) as u64;
        if let Err(error) = file.read_at(offset, part) {
            part.fill(0);
            let expected = format!("bytes that can be read ({error})");
            damage.push(Corruption { file: name.into(), offset, expected });
        }
    }
    Ok(bytes)
}

fn describe_segments(log: &survey::StreamLog) -> Vec<SegmentInfo> {
    let describe = |(index, segment): (usize, &survey::Segment)| {
        let part = log.chain.parts.iter().find(|part| part.segment == index);
        let role = match (part, segment.scan.generation) {
            (Some(_), _) => SegmentRole::Live,
            (None, Some(_)) => SegmentRole::Stale,
            (None, None) => SegmentRole::Blank,
        };
        SegmentInfo {
            file: segment_name(log.stream, segment.slot),
            stream: log.stream,
            role,
            generation: segment.scan.generation,
            frames: segment.scan.frames.clone(),
            live: part.map_or(0..0, |part| part.frames.clone()),
            end_offset: segment.scan.end_offset,
            end: segment.scan.end,
        }
    };
    log.segments.iter().enumerate().map(describe).collect()
}

fn inspect_chunks(
    disk: &dyn Disk,
    names: &[String],
    version: &Version,
    damage: &mut Vec<Corruption>,
) -> Result<Vec<ChunkInfo>> {
    let mut blocks: BTreeMap<u64, Vec<BlockRef>> =
        names.iter().filter_map(|name| chunk::number(name)).map(|number| (number, Vec::new())).collect();
    for block in version.blocks() {
        blocks.entry(block.chunk).or_default().push(*block);
    }
    let mut chunks = Vec::new();
    for (number, mut named) in blocks {
        let file = chunk::name(number);
        named.sort_by_key(|block| block.offset);
        let end = named.iter().map(BlockRef::end).max().unwrap_or(0);
        let mut bytes = Vec::new();
        // A chunk that no edit names is left over from a flush that did not end, and may hold anything.
        if !named.is_empty() {
            match survey::check_chunk(disk, number, end, version.geometry.chunk_bytes) {
                Ok(()) => {}
                Err(Error::Corrupt(corruption)) => damage.push(corruption),
                Err(error) => {
                    let expected = format!("a readable header ({error})");
                    damage.push(Corruption { file: file.clone(), offset: 0, expected });
                }
            }
            bytes = read_around(disk, &file, damage).unwrap_or_default();
        }
        let mut judged = Vec::new();
        for block in named {
            let found = bytes.get(block.offset as usize..block.end() as usize).unwrap_or_default();
            let verdict = block::decode(found, &block);
            judged.push((block, verdict.is_ok()));
            if let Err(expected) = verdict {
                let expected = format!("{expected} ({} points of tag {})", block.count, block.tag);
                damage.push(Corruption { file: file.clone(), offset: block.offset, expected });
            }
        }
        damage.extend(overlaps(&file, &judged));
        chunks.push(ChunkInfo { file, blocks: judged });
    }
    Ok(chunks)
}

fn overlaps<'a>(file: &'a str, blocks: &'a [(BlockRef, bool)]) -> impl Iterator<Item = Corruption> + 'a {
    blocks.windows(2).filter(|pair| pair[0].0.end() > pair[1].0.offset).map(|pair| {
        let expected = format!("the end of the block at offset {}", pair[0].0.offset);
        Corruption { file: file.into(), offset: pair[1].0.offset, expected }
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            None => writeln!(f, "MANIFEST         none that is whole")?,
            Some(version) => {
                writeln!(
                    f,
                    "MANIFEST         {} records, {} torn bytes; epoch {}",
                    self.manifest_records.len(),
                    self.manifest_torn_bytes,
                    version.epoch
                )?;
                let geometry = version.geometry;
                writeln!(
                    f,
                    "                 segments of {} bytes, sectors of {}, chunks of {}; {} tags in blocks",
                    geometry.segment_bytes,
                    geometry.sector_bytes,
                    geometry.chunk_bytes,
                    version.tags.len()
                )?;
            }
        }
        for segment in &self.segments {
            write!(f, "{:<16} ", segment.file)?;
            match (segment.role, segment.generation) {
                (SegmentRole::Blank, _) | (_, None) => write!(f, "blank")?,
                (role, Some(generation)) => write!(
                    f,
                    "{} generation {generation}, {} frames ({} to replay), LSN {}..{}, up to offset {}",
                    if role == SegmentRole::Live { "live: " } else { "stale:" },
                    segment.frames.len(),
                    segment.live.len(),
                    segment.frames.first().map_or(Lsn(0), |at| at.header.first_lsn),
                    segment.frames.last().map_or(Lsn(0), |at| at.header.end_lsn()),
                    segment.end_offset
                )?,
            }
            match segment.end {
                End::Blank => writeln!(f)?,
                End::Stale => writeln!(f, ", then a stale frame")?,
                End::Torn => writeln!(f, ", then bytes that are no frame")?,
            }
        }
        for chunk in &self.chunks {
            let points: u64 = chunk.blocks.iter().map(|(block, _)| u64::from(block.count)).sum();
            let bad = chunk.blocks.iter().filter(|(_, intact)| !intact).count();
            match chunk.blocks.len() {
                0 => writeln!(f, "{:<16} no block named: left over", chunk.file)?,
                blocks => writeln!(f, "{:<16} {blocks} blocks, {bad} damaged, {points} points", chunk.file)?,
            }
        }
        for name in &self.unknown_files {
            writeln!(f, "{name:<16} none of the store's")?;
        }
        for (number, stream) in self.streams.iter().enumerate() {
            write!(f, "stream {number:<9} ")?;
            if let Some(version) = self.version.as_ref().and_then(|version| version.streams.get(number)) {
                write!(
                    f,
                    "checkpoint LSN {}, durable LSN {} by the manifest; ",
                    version.checkpoint_lsn, version.durable_lsn
                )?;
            }
            writeln!(
                f,
                "the log ends at LSN {}, proven durable up to {}",
                stream.end_lsn, stream.proven_lsn
            )?;
        }
        match self.damage.len() {
            0 => writeln!(f, "sound: every checksum and every reference holds"),
            count => {
                writeln!(f, "DAMAGED in {count} places")?;
                self.damage.iter().try_for_each(|damage| writeln!(f, "  {damage}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(offset: u64, len: u32) -> (BlockRef, bool) {
        (BlockRef { offset, len, ..BlockRef::of_one_point() }, true)
    }

    #[test]
    fn blocks_that_share_bytes_are_damage_at_the_second_one() {
        let found = |blocks: &[(BlockRef, bool)]| -> Vec<u64> {
            overlaps("chunk", blocks).map(|damage| damage.offset).collect()
        };
        assert_eq!(found(&[block(512, 100), block(612, 5), block(700, 1)]), []);
        assert_eq!(found(&[block(512, 101), block(612, 5), block(612, 1)]), [612, 612]);
        assert_eq!(found(&[block(u64::MAX - 5, 100), block(u64::MAX - 1, 1)]), [u64::MAX - 1]);
        let told = overlaps("chunk", &[block(512, 101), block(612, 5)]).next().unwrap().to_string();
        assert!(told.contains("the end of the block at offset 512"), "{told}");
    }
}
