//! A block: an encoded run of one tag's points, sorted by time, each time once.
//!
//! ```text
//! offset  bytes
//!      0      4  magic "TWB1"
//!      4      4  CRC-32 of bytes 8 .. 80 + payload
//!      8      4  payload bytes
//!     12      4  tag, never 0
//!     16      4  count of points, never 0
//!     20      4  encoding of the payload: 1 = runs; 0 = raw columns, as the first format version wrote them
//!     24      8  chunk  ┐ where the block believes it is: a misdirected
//!     32      8  offset ┘ write or read shows
//!     40      8  first_lsn ┐ the points come from these positions of the log
//!     48      8  end_lsn   ┘
//!     56      8  first_ts ┐ microseconds, both inclusive
//!     64      8  last_ts  ┘
//!     72      8  zero
//!     80      …  payload: runs (`codec/run.rs`), one behind the other
//! ```
//!
//! Raw columns are count × time (i64 µs), count × value (f64 bits), count × quality (u8).
//!
//! The manifest repeats the header's facts and the CRC ([`BlockRef`]). A block that is intact but not the one named -
//! an old version of the place, say - is as corrupt as one with a flipped bit.

use crate::codec::run::{self, Encoder, Run};
use crate::codec::{self, ENTRY_BYTES, Reader};
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId, overlaps};
use std::ops::RangeBounds;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 80;
/// The first bytes of every block, format version included.
pub const MAGIC: [u8; 4] = *b"TWB1";

const RAW: u32 = 0;
const RUNS: u32 = 1;

/// Points of a run when those of a block are encoded anew: a short query decodes one or two runs.
pub(crate) const RUN_POINTS: usize = 256;
/// Runs of fewer points on average are not taken over as they are: their headers would take too much of the block.
pub(crate) const RUN_POINTS_LEAST: usize = 16;

/// A block as the manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Whose points these are.
    pub tag: TagId,
    /// The chunk file it is in.
    pub chunk: u64,
    /// Byte offset in the chunk.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
    /// The CRC that stands in the block's header.
    pub crc: u32,
    /// Number of points.
    pub count: u32,
    /// First position of the log that it holds.
    pub first_lsn: Lsn,
    /// Behind the last one.
    pub end_lsn: Lsn,
    /// Earliest time, µs.
    pub first_ts: i64,
    /// Latest time, µs.
    pub last_ts: i64,
}

impl BlockRef {
    /// Byte offset behind it in the chunk; `u64::MAX` if a forged manifest names one that ends beyond that.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len.into())
    }

    /// Some block, for tests that care about few of its fields.
    #[cfg(test)]
    pub(crate) fn of_one_point() -> BlockRef {
        BlockRef {
            tag: TagId::new(1).unwrap(),
            chunk: 0,
            offset: 0,
            len: 0,
            crc: 0,
            count: 1,
            first_lsn: Lsn(0),
            end_lsn: Lsn(1),
            first_ts: 0,
            last_ts: 0,
        }
    }
}

/// Bytes of a block with `count` points, at most.
pub fn block_bytes_max(count: usize) -> usize {
    let runs = count / RUN_POINTS_LEAST + 1;
    HEADER_BYTES + run::bytes_max(count) + runs * run::bytes_max(0)
}

/// Appends entries that are sorted by time as the payload of a block.
pub(crate) fn encode_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    let mut encoder = Encoder::default();
    for entries in entries.chunks(RUN_POINTS) {
        encoder.encode(out, entries);
    }
}

/// Encodes entries that are sorted by time, and completes `named`, which says where and from which positions.
pub fn encode(named: &mut BlockRef, entries: &[Entry]) -> Vec<u8> {
    named.count = entries.len() as u32;
    named.first_ts = entries.first().map_or(0, |entry| entry.ts_us);
    named.last_ts = entries.last().map_or(0, |entry| entry.ts_us);
    let mut payload = Vec::new();
    encode_entries(&mut payload, entries);
    encode_payload(named, &payload)
}

/// The block of a payload whose count and times `named` states; completes it.
pub(crate) fn encode_payload(named: &mut BlockRef, payload: &[u8]) -> Vec<u8> {
    named.len = (HEADER_BYTES + payload.len()) as u32;
    let mut out = Vec::with_capacity(named.len as usize);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    for word in [payload.len() as u32, named.tag.get(), named.count, RUNS] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for word in [named.chunk, named.offset, named.first_lsn.0, named.end_lsn.0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for word in [named.first_ts, named.last_ts, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(payload);
    named.crc = checksum(&out);
    out[4..8].copy_from_slice(&named.crc.to_le_bytes());
    out
}

/// Over all of a block but its magic and the checksum itself.
fn checksum(block: &[u8]) -> u32 {
    crc32fast::hash(if plant::on(Bug::F8) { &block[8..HEADER_BYTES] } else { &block[8..] })
}

/// The points of an intact block.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Runs, in order of time.
    Runs(&'a [u8]),
    /// This many entries in raw columns.
    Raw(&'a [u8], usize),
}

impl Content<'_> {
    /// All of them, in order of time.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.for_each(&.., |entry| entries.push(entry));
        entries
    }

    /// Calls `each` with those in `range`, in order of time, and decodes as few others as may be.
    pub(crate) fn for_each(&self, range: &impl RangeBounds<i64>, mut each: impl FnMut(Entry)) {
        match self {
            Content::Raw(payload, count) => {
                let entries = codec::columns(payload, *count).expect("parse checked the payload's length");
                entries.filter(|entry| range.contains(&entry.ts_us)).for_each(each);
            }
            Content::Runs(payload) => {
                let mut runs = runs(payload).peekable();
                // Behind a run that begins behind the range there is nothing in it.
                while let Some(run) = runs.next().filter(|run| overlaps(range, run.first_ts, i64::MAX)) {
                    // A run ends before the next one begins.
                    let until = runs.peek().map_or(i64::MAX, |next| next.first_ts.wrapping_sub(1));
                    run.for_each_in(range, (run.first_ts, until), &mut each);
                }
            }
        }
    }
}

/// The runs of a payload, up to bytes that are none.
fn runs(mut payload: &[u8]) -> impl Iterator<Item = Run<'_>> {
    std::iter::from_fn(move || {
        let (run, rest) = Run::split(payload)?;
        payload = rest;
        Some(run)
    })
}

/// The points of the block that `named` describes, if `bytes` are that block.
///
/// # Errors
/// What was expected there instead, worded for [`Corruption::expected`](crate::Corruption::expected).
pub fn decode<'a>(bytes: &'a [u8], named: &BlockRef) -> Result<Content<'a>, &'static str> {
    let (found, content) = parse(bytes).ok_or("an intact block")?;
    if found != *named && !plant::on(Bug::F7) {
        return Err("the block that the manifest names, not another one");
    }
    Ok(content)
}

/// The bytes of a block that have been verified once, for whoever reads it again.
pub(crate) struct Intact {
    bytes: Vec<u8>,
    count: usize,
    is_raw: bool,
}

impl Intact {
    /// All that [`decode`] looks at.
    ///
    /// # Errors
    /// As [`decode`].
    pub(crate) fn verify(bytes: Vec<u8>, named: &BlockRef) -> Result<Intact, &'static str> {
        let is_raw = matches!(decode(&bytes, named)?, Content::Raw(..));
        Ok(Intact { bytes, count: named.count as usize, is_raw })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its points.
    pub(crate) fn content(&self) -> Content<'_> {
        let payload = &self.bytes[HEADER_BYTES..];
        if self.is_raw { Content::Raw(payload, self.count) } else { Content::Runs(payload) }
    }
}

/// Reads header and payload and verifies the CRC; `None` if these bytes are no intact block.
pub fn parse(bytes: &[u8]) -> Option<(BlockRef, Content<'_>)> {
    let mut reader = Reader(bytes.strip_prefix(&MAGIC)?);
    let crc = reader.u32()?;
    let payload_bytes = reader.u32()?;
    let tag = TagId::new(reader.u32()?)?;
    let count = reader.u32()?;
    let encoding = reader.u32()?;
    let (chunk, offset) = (reader.u64()?, reader.u64()?);
    let (first_lsn, end_lsn) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
    let (first_ts, last_ts) = (reader.i64()?, reader.i64()?);
    let reserved = reader.u64()?;
    let payload = reader.0.get(..payload_bytes as usize)?;
    let len = u32::try_from(HEADER_BYTES).ok()?.checked_add(payload_bytes)?;
    let sound = count > 0 && reserved == 0 && first_lsn < end_lsn && first_ts <= last_ts;
    if !sound || (checksum(&bytes[..len as usize]) != crc && !plant::on(Bug::F7)) {
        return None;
    }
    let content = match encoding {
        RUNS => Content::Runs(payload),
        RAW => Content::Raw(payload, count as usize),
        _ => return None,
    };
    if first_and_last_time(&content, count as usize)? != (first_ts, last_ts) {
        return None;
    }
    let found = BlockRef { tag, chunk, offset, len, crc, count, first_lsn, end_lsn, first_ts, last_ts };
    Some((found, content))
}

/// The times of the first and the last of `count` points; `None` unless the payload holds exactly this many, in runs that do not
/// overlap.
fn first_and_last_time(content: &Content, count: usize) -> Option<(i64, i64)> {
    let payload = match content {
        Content::Raw(payload, _) if count.checked_mul(ENTRY_BYTES)? != payload.len() => return None,
        Content::Raw(payload, _) => return codec::first_and_last_time(payload, count),
        Content::Runs(payload) => payload,
    };
    let (mut points, mut bytes) = (0, 0);
    let (mut first, mut last): (_, Option<Run>) = (None, None);
    for run in runs(payload) {
        if last.is_some_and(|last| last.first_ts >= run.first_ts) {
            return None;
        }
        points += run.count;
        bytes += run.bytes.len();
        first.get_or_insert(run.first_ts);
        last = Some(run);
    }
    let whole = points == count && bytes == payload.len();
    if whole { Some((first?, last?.times().last)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (BlockRef, Vec<u8>) {
        let entries: Vec<_> = [(i64::MIN, f64::NAN), (0, -0.0), (i64::MAX, f64::NEG_INFINITY)]
            .map(|(ts_us, value)| Entry { ts_us, value, quality: 7 })
            .into();
        let mut named = BlockRef {
            tag: TagId::new(3).unwrap(),
            chunk: 4,
            offset: 512,
            len: 0,
            crc: 0,
            count: 0,
            first_lsn: Lsn(10),
            end_lsn: Lsn(20),
            first_ts: 0,
            last_ts: 0,
        };
        let bytes = encode(&mut named, &entries);
        (named, bytes)
    }

    #[test]
    fn a_block_comes_back_bit_for_bit() {
        let (named, bytes) = sample();
        assert_eq!((named.count, named.first_ts, named.last_ts), (3, i64::MIN, i64::MAX));
        let entries = decode(&bytes, &named).unwrap().entries();
        assert_eq!(entries[0].value.to_bits(), f64::NAN.to_bits());
        assert_eq!((entries[1].ts_us, entries[1].value.to_bits()), (0, (-0.0f64).to_bits()));
    }

    #[test]
    fn no_block_is_longer_than_its_points_allow() {
        // The worst that is taken over as it is: short runs, of which nothing is regular.
        let mixed = |n: usize| {
            let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        let entry = |n: usize| Entry {
            ts_us: mixed(2 * n) as i64,
            value: f64::from_bits(mixed(2 * n + 1)),
            quality: n as u8,
        };
        for count in [RUN_POINTS_LEAST, 10 * RUN_POINTS_LEAST, 1000 * RUN_POINTS_LEAST] {
            let entries: Vec<_> = (0..count).map(entry).collect();
            let mut payload = Vec::new();
            for run in entries.chunks(RUN_POINTS_LEAST) {
                Encoder::default().encode(&mut payload, run);
            }
            assert!(payload.len() > 17 * count, "nothing is regular");
            assert!(HEADER_BYTES + payload.len() <= block_bytes_max(count), "{count} points");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (named, bytes) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, &named).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], &named).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn an_intact_block_that_is_not_the_named_one_is_refused() {
        let (named, bytes) = sample();
        let elsewhere = BlockRef { offset: 1024, ..named };
        assert!(decode(&bytes, &elsewhere).is_err());
    }
}
