//! What a directory holds, read and put in order: the first half of recovery, and all of `inspect`.
//!
//! Nothing is changed here, and nothing is believed: each finding says what was intact and what was not.

use crate::disk::{Disk, DiskFile, OpenMode, read_all, read_data};
use crate::error::{Corruption, Error, Result};
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::store::version::{StreamVersion, Version};
use crate::store::{chunk, manifest};
use crate::sync::Arc;
use crate::wal::{scan, segment_name, segment_place};

/// One segment file.
pub(crate) struct Segment {
    pub(crate) stream: usize,
    pub(crate) slot: usize,
    /// Of the file.
    pub(crate) len: u64,
    /// Without the zeros behind what was ever written.
    pub(crate) bytes: Vec<u8>,
    pub(crate) scan: scan::SegmentScan,
}

impl Segment {
    /// Whether a frame was ever written to it, of the log or of an earlier use.
    pub(crate) fn has_frame(&self) -> bool {
        let scan = &self.scan;
        !scan.frames.is_empty() || !scan.strays.is_empty() || scan.foreign.is_some()
    }
}

/// One stream's log, as far as it goes.
pub(crate) struct StreamLog {
    pub(crate) stream: usize,
    pub(crate) segments: Vec<Segment>,
    pub(crate) chain: scan::Chain,
    /// Everything below this was durable: says an intact frame, or the manifest.
    pub(crate) proven: Lsn,
}

pub(crate) fn read_file(disk: &dyn Disk, name: &str) -> Result<Vec<u8>> {
    read_all(&*open_file(disk, name)?).map_err(|error| Error::io("read", name, error))
}

fn open_file(disk: &dyn Disk, name: &str) -> Result<Arc<dyn DiskFile>> {
    disk.open(name, OpenMode::Read).map_err(|error| Error::io("open", name, error))
}

/// The manifest; `Corrupt` if there is one and it is not whole, `NewerFormat` if it says that we cannot read it.
pub(crate) fn read_manifest(disk: &dyn Disk) -> Result<manifest::Loaded> {
    let bytes = read_file(disk, manifest::NAME)?;
    if let Some(stored) = manifest::newer_format(&bytes) {
        return Err(Error::NewerFormat { stored, known: manifest::FORMAT_VERSION });
    }
    manifest::load(&bytes).map_err(|(offset, expected)| Error::corrupt(manifest::NAME, offset, expected))
}

/// The places (stream, slot) of the segments among `names`.
pub(crate) fn segment_places(names: &[String]) -> Vec<(usize, usize)> {
    names.iter().filter_map(|name| segment_place(name)).collect()
}

/// A segment, scanned. Frames of tags that belong to another of the `streams` do not count: a disk has put them there.
pub(crate) fn read_segment(
    disk: &dyn Disk,
    (stream, slot): (usize, usize),
    sector_bytes: u64,
    streams: usize,
) -> Result<Segment> {
    let name = segment_name(stream, slot);
    let file = open_file(disk, &name)?;
    let len = file.len().map_err(|error| Error::io("measure", &name, error))?;
    let bytes = read_data(&*file).map_err(|error| Error::io("read", &name, error))?;
    Ok(Segment { len, ..scan_segment((stream, slot), bytes, sector_bytes, streams) })
}

/// A segment with these bytes, scanned.
pub(crate) fn scan_segment(
    (stream, slot): (usize, usize),
    bytes: Vec<u8>,
    sector_bytes: u64,
    streams: usize,
) -> Segment {
    let scan = scan::segment(&bytes, sector_bytes, |tag| tag.stream(streams) == stream);
    Segment { stream, slot, len: bytes.len() as u64, bytes, scan }
}

/// The logs of all streams, each from where `from` says on. Segments of streams that the store does not have are no
/// part of it.
pub(crate) fn order_logs(
    mut segments: Vec<Segment>,
    version: &Version,
    from: impl Fn(&StreamVersion, &[Segment]) -> Lsn,
) -> Vec<StreamLog> {
    let mut log = |(stream, version): (usize, &StreamVersion)| {
        let own = segments.extract_if(.., |segment| segment.stream == stream).collect::<Vec<_>>();
        let scans: Vec<_> = own.iter().map(|segment| segment.scan.clone()).collect();
        let chain = scan::chain(&scans, &version.spans, from(version, &own));
        let proven = scans.iter().map(|scan| scan.proven).max().unwrap_or_default().max(version.durable_lsn);
        StreamLog { stream, segments: own, chain, proven }
    };
    version.streams.iter().enumerate().map(&mut log).collect()
}

impl StreamLog {
    /// Where the log ends: file and offset behind the last frame that counts.
    pub(crate) fn end(&self) -> (String, u64) {
        let Some(part) = self.chain.parts.last() else {
            return (segment_name(self.stream, 0), 0);
        };
        let segment = &self.segments[part.segment];
        let offset = match segment.scan.frames.get(part.frames.end) {
            Some(next) => next.offset,
            None => segment.scan.end_offset,
        };
        (segment_name(self.stream, segment.slot), offset)
    }

    /// A missing segment, or a hole below what was durable (I6).
    pub(crate) fn corruption(&self, version: &StreamVersion) -> Option<Corruption> {
        let is_there = |slot: &usize| self.segments.iter().any(|segment| segment.slot == *slot);
        if let Some(slot) = (0..version.segments as usize).find(|slot| !is_there(slot) && !plant::on(Bug::J3))
        {
            let expected = format!("a log segment, since the manifest counts {}", version.segments);
            return Some(Corruption { file: segment_name(self.stream, slot), offset: 0, expected });
        }
        if let Some(corruption) = self.misplaced() {
            return Some(corruption);
        }
        if plant::on(Bug::I6) {
            return None;
        }
        let end_lsn = self.chain.end_lsn;
        if end_lsn < self.proven {
            let (file, offset) = self.end();
            let expected =
                format!("a frame at LSN {end_lsn}, since everything below LSN {} was durable", self.proven);
            return Some(Corruption { file, offset, expected });
        }
        let cut_off = self.segments.iter().find_map(|segment| {
            let missing = scan::cut_off(&segment.scan, &version.spans, end_lsn, self.proven)?;
            let expected = format!("an intact frame before the one at LSN {}", missing.first_lsn);
            let file = segment_name(self.stream, segment.slot);
            Some(Corruption { file, offset: segment.scan.end_offset, expected })
        });
        cut_off.or_else(|| self.split(version))
    }

    /// A frame that is proven to be durable in part.
    fn split(&self, version: &StreamVersion) -> Option<Corruption> {
        let proven = self.proven.max(version.checkpoint_lsn);
        let frames_of = |segment: usize| &self.segments[segment].scan.frames[..];
        let (segment, index) = scan::split_frame(frames_of, &self.chain, proven)?;
        let segment = &self.segments[segment];
        let at = &segment.scan.frames[index];
        let (first, end) = (at.header.first_lsn, at.header.end_lsn());
        let expected =
            format!("no frame from LSN {first} to {end}: what was durable, or a segment, ends inside it");
        Some(Corruption { file: segment_name(self.stream, segment.slot), offset: at.offset, expected })
    }

    /// What a write in the wrong place leaves: frames of another stream, or one use of a segment in two of them. What they
    /// have overwritten may have been the end of the log, whose absence nothing else would show.
    fn misplaced(&self) -> Option<Corruption> {
        let found = |segment: &Segment, offset, expected: &str| Corruption {
            file: segment_name(self.stream, segment.slot),
            offset,
            expected: expected.into(),
        };
        let foreign = |segment: &Segment| {
            Some(found(segment, segment.scan.foreign?, "no frame of a tag of another stream"))
        };
        let twice = |(index, segment): (usize, &Segment)| {
            let generation = segment.scan.generation?;
            let mut before = self.segments[..index].iter();
            let same = before.any(|other| other.scan.generation == Some(generation));
            same.then(|| found(segment, 0, "frames that are in no other segment"))
        };
        self.segments.iter().find_map(foreign).or_else(|| self.segments.iter().enumerate().find_map(twice))
    }
}

/// A chunk that the version names: is it there, long enough, and does it begin as it must?
pub(crate) fn check_chunk(disk: &dyn Disk, number: u64, end: u64, chunk_bytes: u64) -> Result<()> {
    let name = chunk::name(number);
    let file = match disk.open(&name, OpenMode::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::corrupt(&name, 0, "a chunk that the manifest names"));
        }
        opened => opened.map_err(|error| Error::io("open", &name, error))?,
    };
    let len = file.len().map_err(|error| Error::io("measure", &name, error))?;
    if end > chunk_bytes {
        return Err(Error::corrupt(
            &name,
            chunk_bytes,
            format!("no block behind the chunk's {chunk_bytes} bytes"),
        ));
    }
    if len < end {
        return Err(Error::corrupt(&name, len, format!("blocks up to offset {end}")));
    }
    let mut header = [0; chunk::FIELDS_BYTES];
    file.read_at(0, &mut header).map_err(|error| Error::io("read", &name, error))?;
    match chunk::decode_header(&header) {
        Some(fields) if fields == (number, chunk_bytes) => Ok(()),
        _ => Err(Error::corrupt(&name, 0, "the header of this chunk")),
    }
}
