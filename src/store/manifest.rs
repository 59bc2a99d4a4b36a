//! The manifest: a log of edits, and the version that they add up to.
//!
//! ```text
//! offset  bytes
//!      0      4  magic "TWM1"
//!      4      4  CRC-32 of bytes 8 .. 24 + body
//!      8      4  record bytes: the next record begins so far behind this one
//!     12      4  body bytes
//!     16      8  number of the record, one more than that of the record before; see [`encode_first`]
//!     24      …  body: fields, each a byte that names it and its value
//!      …      …  zeros up to a multiple of sector_bytes
//! ```
//!
//! | field | value | means |
//! |---|---|---|
//! | 1 geometry | 3 × u64 | `segment_bytes`, `sector_bytes`, `chunk_bytes` of the store |
//! | 2 epoch | u32 | this epoch and all before it are used up |
//! | 3 span | u32, u64 | the frames of this epoch are the log from this LSN on |
//! | 4 watermarks | 2 × u64 | `checkpoint_lsn`, `durable_lsn` |
//! | 5 block | 64 bytes | a block, as in [`BlockRef`] |
//! | 6 segments | u32 | this many segment files are there, at least: one that is missing is damage |
//! | 7 stream | u32 | the fields 3, 4 and 6 that follow are about this log stream; before it, about stream 0 |
//! | 8 streams | u32 | the number of log streams; absent in a store with one |
//! | 9 format | u32 | the format version of the store, before everything else; absent in one of version 1 or 2 |
//!
//! Which stream a tag belongs to is [`TagId::stream`], a part of the format.
//!
//! One record is one edit: all of it happens or nothing. The first record of a file holds everything, so a file is
//! complete in itself; it is written under another name, synced and renamed, so a manifest that is there but does not
//! begin with an intact record is corrupt, never new. A record is synced
//! before the next is written, so a damaged one with an intact one behind it is corruption too; a damaged last one is
//! a torn tail.

use super::block::BlockRef;
use super::version::{Edit, Geometry, StreamEdit, Version};
use crate::codec::{Reader, round_up};
use crate::lsn::{Lsn, Span};
use crate::plant::{self, Bug};
use crate::point::TagId;
use std::ops::Range;

/// The manifest's name.
pub const NAME: &str = "MANIFEST";
/// The name under which a replacement is written.
pub const NEXT_NAME: &str = "MANIFEST.next";
/// The first bytes of every record.
pub const MAGIC: [u8; 4] = *b"TWM1";
/// The newest format version of a store that this engine reads, and the one that it writes.
pub const FORMAT_VERSION: u32 = 3;
/// The first version of which a store has a `format` field.
const FORMAT_STATED: u32 = 3;

const HEADER_BYTES: usize = 24;
/// How far the numbers of two files can be apart that would follow the same one.
const NUMBER_SPREAD: u32 = 1 << 16;
/// Records begin at multiples of this at least, whatever the store's sector size.
const STRIDE: usize = 512;

/// Bytes of a block's field.
const BLOCK_BYTES: usize = 65;
/// Blocks of a store, at most: a record has its length in 32 bits, and the first one of a file names all blocks, besides some KB.
pub(crate) const BLOCKS_MAX: usize = (u32::MAX as usize - (1 << 24)) / BLOCK_BYTES;

const GEOMETRY: u8 = 1;
const EPOCH: u8 = 2;
const SPAN: u8 = 3;
const WATERMARKS: u8 = 4;
const BLOCK: u8 = 5;
const SEGMENTS: u8 = 6;
const STREAM: u8 = 7;
const STREAMS: u8 = 8;
const FORMAT: u8 = 9;

/// More log streams than any store has.
const STREAMS_LIMIT: u32 = 1 << 10;

/// A file's first record and its number: `next` plus less than `NUMBER_SPREAD`, depending on what is in it. A crash can undo a
/// rename, and then another file that continues from the same number is written in its place. If a sector of the second is lost, and
/// the first shows through, the records behind it do not follow it in number.
pub fn encode_first(everything: &Edit, next: u64, sector_bytes: u64) -> (Vec<u8>, u64) {
    let mut record = encode(everything, 0, sector_bytes);
    let number = next + u64::from(crc32fast::hash(&record) % NUMBER_SPREAD);
    set_number(&mut record, number);
    (record, number)
}

/// Numbers a record, which changes its checksum.
fn set_number(record: &mut [u8], number: u64) {
    let body_bytes = u32::from_le_bytes(record[12..16].try_into().expect("four bytes")) as usize;
    record[16..24].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&record[8..HEADER_BYTES + body_bytes]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The record of an edit.
pub fn encode(edit: &Edit, number: u64, sector_bytes: u64) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(HEADER_BYTES + 64 + edit.blocks.len() * BLOCK_BYTES + sector_bytes as usize);
    out.resize(HEADER_BYTES, 0);
    if let Some(geometry) = edit.geometry {
        out.push(FORMAT);
        put_u32s(&mut out, [FORMAT_VERSION]);
        out.push(GEOMETRY);
        put_u64s(&mut out, [geometry.segment_bytes, geometry.sector_bytes, geometry.chunk_bytes]);
        if geometry.wal_streams > 1 {
            out.push(STREAMS);
            put_u32s(&mut out, [geometry.wal_streams]);
        }
    }
    if let Some(epoch) = edit.epoch {
        out.push(EPOCH);
        put_u32s(&mut out, [epoch]);
    }
    for edit in &edit.streams {
        if edit.stream > 0 {
            out.push(STREAM);
            put_u32s(&mut out, [edit.stream]);
        }
        if let Some(segments) = edit.segments {
            out.push(SEGMENTS);
            put_u32s(&mut out, [segments]);
        }
        for span in &edit.spans {
            out.push(SPAN);
            put_u32s(&mut out, [span.epoch]);
            put_u64s(&mut out, [span.first_lsn.0]);
        }
        if let Some((checkpoint_lsn, durable_lsn)) = edit.watermarks {
            out.push(WATERMARKS);
            put_u64s(&mut out, [checkpoint_lsn.0, durable_lsn.0]);
        }
    }
    for block in &edit.blocks {
        out.push(BLOCK);
        put_u32s(&mut out, [block.tag.get(), block.len, block.crc, block.count]);
        put_u64s(&mut out, [block.chunk, block.offset, block.first_lsn.0, block.end_lsn.0]);
        put_u64s(&mut out, [block.first_ts as u64, block.last_ts as u64]);
    }
    let body_bytes = out.len() - HEADER_BYTES;
    let record_bytes =
        round_up(out.len() as u64, sector_bytes).expect("an edit in memory is far from u64::MAX");
    out[..4].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&(record_bytes as u32).to_le_bytes());
    out[12..16].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    set_number(&mut out, number);
    out.resize(record_bytes as usize, 0);
    out
}

fn put_u32s<const N: usize>(out: &mut Vec<u8>, words: [u32; N]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn put_u64s<const N: usize>(out: &mut Vec<u8>, words: [u64; N]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// An intact record at the start of some bytes.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number.
    pub number: u64,
    /// What it changes.
    pub edit: Edit,
    /// Bytes to the next one.
    pub record_bytes: u64,
    /// Bytes without the padding.
    pub used_bytes: u64,
}

/// The record at the start of `bytes`; `None` if there is no intact one.
pub fn decode(bytes: &[u8]) -> Option<Record> {
    let Envelope { number, record_bytes, body } = open(bytes)?;
    let used_bytes = (HEADER_BYTES + body.len()) as u64;
    Some(Record { number, edit: decode_body(body)?, record_bytes, used_bytes })
}

/// The format version of a store that is newer than this engine: of the manifest's first record, the first field is then `format`.
/// The header, its checksum and the place of that field stay for ever, so that an older engine can tell such a store from a damaged
/// one. Every opening begins a new manifest before it writes anything else, so there is never a newer file beside an older manifest.
pub fn newer_format(manifest: &[u8]) -> Option<u32> {
    let mut reader = Reader(open(manifest)?.body.strip_prefix(&[FORMAT])?);
    reader.u32().filter(|version| *version > FORMAT_VERSION)
}

/// An intact record whose body has not been looked at.
struct Envelope<'a> {
    number: u64,
    record_bytes: u64,
    body: &'a [u8],
}

fn open(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut reader = Reader(bytes.strip_prefix(&MAGIC)?);
    let crc = reader.u32()?;
    let record_bytes = reader.u32()?;
    let body_bytes = reader.u32()? as usize;
    let number = reader.u64()?;
    let body = reader.0.get(..body_bytes)?;
    let sound =
        record_bytes as usize >= HEADER_BYTES + body_bytes && (record_bytes as usize).is_multiple_of(STRIDE);
    if !sound || (crc32fast::hash(&bytes[8..HEADER_BYTES + body_bytes]) != crc && !plant::on(Bug::M1)) {
        return None;
    }
    Some(Envelope { number, record_bytes: record_bytes.into(), body })
}

fn decode_body(body: &[u8]) -> Option<Edit> {
    let mut reader = Reader(body);
    let mut edit = Edit::default();
    let mut stream = 0;
    if let Some(rest) = body.strip_prefix(&[FORMAT]) {
        reader = Reader(rest);
        reader.u32().filter(|version| (FORMAT_STATED..=FORMAT_VERSION).contains(version))?;
    }
    while let Some(field) = reader.u8() {
        match field {
            GEOMETRY => {
                let (segment_bytes, sector_bytes, chunk_bytes) =
                    (reader.u64()?, reader.u64()?, reader.u64()?);
                edit.geometry = Some(Geometry { segment_bytes, sector_bytes, chunk_bytes, wal_streams: 1 });
            }
            STREAMS => {
                let wal_streams = reader.u32().filter(|streams| (2..STREAMS_LIMIT).contains(streams))?;
                edit.geometry.as_mut()?.wal_streams = wal_streams;
            }
            EPOCH => edit.epoch = Some(reader.u32()?),
            // In rising order, each once: as they are written.
            STREAM => stream = reader.u32().filter(|next| (stream + 1..STREAMS_LIMIT).contains(next))?,
            SEGMENTS => of_stream(&mut edit, stream).segments = Some(reader.u32()?),
            SPAN => {
                let span = Span { epoch: reader.u32()?, first_lsn: Lsn(reader.u64()?) };
                of_stream(&mut edit, stream).spans.push(span);
            }
            WATERMARKS => {
                of_stream(&mut edit, stream).watermarks = Some((Lsn(reader.u64()?), Lsn(reader.u64()?)));
            }
            BLOCK => edit.blocks.push(decode_block(&mut reader)?),
            _ => return None,
        }
    }
    Some(edit)
}

/// What the edit says of a stream; its streams are written in rising order.
fn of_stream(edit: &mut Edit, stream: u32) -> &mut StreamEdit {
    if edit.streams.last().is_none_or(|last| last.stream != stream) {
        edit.streams.push(StreamEdit { stream, ..StreamEdit::default() });
    }
    edit.streams.last_mut().expect("pushed above if there was none")
}

fn decode_block(reader: &mut Reader) -> Option<BlockRef> {
    let tag = TagId::new(reader.u32()?)?;
    let (len, crc, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (chunk, offset) = (reader.u64()?, reader.u64()?);
    let (first_lsn, end_lsn) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
    let (first_ts, last_ts) = (reader.i64()?, reader.i64()?);
    Some(BlockRef { tag, chunk, offset, len, crc, count, first_lsn, end_lsn, first_ts, last_ts })
}

/// What a manifest file says.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The sum of its edits.
    pub version: Version,
    /// Its records: where each begins, and where its last used byte ends.
    pub records: Vec<Range<u64>>,
    /// The next record's number.
    pub next_number: u64,
    /// Bytes behind the last record that are not zero: a torn edit, which never happened.
    pub torn_bytes: u64,
}

/// Reads a manifest.
///
/// # Errors
/// Offset and what was expected there, when a record that must be intact is not.
pub fn load(bytes: &[u8]) -> Result<Loaded, (u64, &'static str)> {
    let first = decode(bytes).ok_or((0, "an intact first record"))?;
    if first.edit.geometry.is_none_or(|geometry| geometry.sector_bytes < STRIDE as u64) {
        return Err((0, "a first record that holds a whole version"));
    }
    let mut version = Version::default();
    let (mut records, mut number, mut offset) = (Vec::new(), first.number, 0u64);
    loop {
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        match decode(rest).filter(|record| record.number == number) {
            Some(record) => {
                version.apply(&record.edit);
                records.push(offset..offset + record.used_bytes);
                number = number.checked_add(1).ok_or((offset, "a record that another one can follow"))?;
                offset += record.record_bytes;
            }
            // A record was synced before the next one was written: an intact later one proves that this one was whole.
            None if other_record(rest, number) => {
                return Err((offset, "an intact record before a later one"));
            }
            None => {
                let torn_bytes = if rest.iter().any(|byte| *byte != 0) { rest.len() as u64 } else { 0 };
                return Ok(Loaded { version, records, next_number: number, torn_bytes });
            }
        }
    }
}

/// Whether `bytes` hold an intact record of another number that this file could have: a later one, or any, if the first record is
/// another file's ([`encode_first`]). Numbers too far off are ignored: 24 bytes at the right place are an empty record, and most of
/// them can be times and tags of blocks, which clients choose; the number of such a forgery is larger than any that a manifest reaches.
fn other_record(bytes: &[u8], number: u64) -> bool {
    let most = (bytes.len() / STRIDE) as u64 + u64::from(NUMBER_SPREAD);
    let places = (0..bytes.len()).step_by(STRIDE);
    let other = |record: Record| (1..=most).contains(&record.number.abs_diff(number));
    places.filter_map(|at| decode(&bytes[at..])).any(other)
}

#[cfg(test)]
mod tests {
    use super::super::version::StreamVersion;
    use super::*;

    fn snapshot() -> Edit {
        let geometry = Geometry { segment_bytes: 4096, sector_bytes: 512, chunk_bytes: 8192, wal_streams: 1 };
        let stream = StreamVersion {
            segments: 4,
            spans: vec![Span { epoch: 3, first_lsn: Lsn(70) }],
            checkpoint_lsn: Lsn(70),
            durable_lsn: Lsn(90),
        };
        Version { epoch: 3, streams: vec![stream], ..Version::new(geometry) }.to_edit()
    }

    fn block(tag: u32, first: u64, end: u64) -> BlockRef {
        BlockRef {
            tag: TagId::new(tag).unwrap(),
            chunk: 1,
            offset: 512,
            len: 97,
            crc: 5,
            count: 1,
            first_lsn: Lsn(first),
            end_lsn: Lsn(end),
            first_ts: -1,
            last_ts: 1,
        }
    }

    fn file() -> (Vec<u8>, usize) {
        let mut bytes = encode(&snapshot(), 8, 512);
        let second = bytes.len();
        let edit = Edit { blocks: vec![block(7, 70, 95)], ..Edit::default() };
        bytes.extend(encode(&edit, 9, 512));
        (bytes, second)
    }

    #[test]
    fn edits_add_up_and_the_sum_makes_the_same_version() {
        let (bytes, _) = file();
        let loaded = load(&bytes).unwrap();
        assert_eq!((loaded.records.len(), loaded.next_number, loaded.torn_bytes), (2, 10, 0));
        assert_eq!(loaded.version.tags[&TagId::new(7).unwrap()].flushed_lsn, Lsn(95));
        assert_eq!(loaded.version.streams[0].durable_lsn, Lsn(95));
        let again = load(&encode(&loaded.version.to_edit(), 1, 512)).unwrap();
        assert_eq!(again.version, loaded.version);
    }

    #[test]
    fn what_is_said_of_several_streams_comes_back() {
        let geometry = Geometry { segment_bytes: 4096, sector_bytes: 512, chunk_bytes: 8192, wal_streams: 3 };
        let mut version = Version::new(geometry);
        for (stream, lsn) in (0..).zip([5, 0, 70]) {
            let edit = StreamEdit {
                stream,
                segments: Some(stream + 1),
                spans: vec![Span { epoch: 3, first_lsn: Lsn(lsn) }],
                watermarks: Some((Lsn(lsn), Lsn(lsn + 9))),
            };
            version.apply(&Edit { streams: vec![edit], ..Edit::default() });
        }
        assert_eq!(load(&encode(&version.to_edit(), 1, 512)).unwrap().version, version);
        let edit = StreamEdit { stream: 2, watermarks: Some((Lsn(80), Lsn(81))), ..StreamEdit::default() };
        let edit = Edit { streams: vec![edit], ..Edit::default() };
        assert_eq!(decode(&encode(&edit, 1, 512)).unwrap().edit, edit);
    }

    #[test]
    fn a_torn_last_record_never_happened() {
        let (bytes, second) = file();
        for damaged_at in [0, 5, 30, 80] {
            let mut torn = bytes.clone();
            torn[second + damaged_at] ^= 0x40;
            let loaded = load(&torn).unwrap();
            assert_eq!((loaded.records.len(), loaded.next_number), (1, 9), "damaged at {damaged_at}");
            assert!(loaded.torn_bytes > 0);
        }
        assert_eq!(load(&bytes[..second + 80]).unwrap().records.len(), 1);
    }

    #[test]
    fn zeros_behind_the_last_record_are_nothing_torn() {
        let (bytes, _) = file();
        for (rest, torn) in [([0; 512], 0), ([1; 512], 512)] {
            let loaded = load(&[&bytes[..], &rest].concat()).unwrap();
            assert_eq!((loaded.records.len(), loaded.torn_bytes), (2, torn));
        }
    }

    #[test]
    fn streams_come_in_rising_order_and_each_once() {
        let about = |stream| StreamEdit { stream, segments: Some(2), ..StreamEdit::default() };
        for (streams, sound) in [([1, 2], true), ([1, 1], false), ([2, 1], false)] {
            let edit = Edit { streams: streams.map(about).into(), ..Edit::default() };
            assert_eq!(decode(&encode(&edit, 1, 512)).is_some(), sound, "{streams:?}");
        }
    }

    #[test]
    fn only_a_newer_format_is_refused_as_one() {
        let stored = |version: u32| {
            let mut record = vec![0; 512];
            record[..4].copy_from_slice(&MAGIC);
            record[8..12].copy_from_slice(&512u32.to_le_bytes());
            record[12..16].copy_from_slice(&5u32.to_le_bytes());
            record[HEADER_BYTES] = FORMAT;
            record[HEADER_BYTES + 1..HEADER_BYTES + 5].copy_from_slice(&version.to_le_bytes());
            set_number(&mut record, 1);
            newer_format(&record)
        };
        assert_eq!([FORMAT_VERSION, FORMAT_VERSION + 1].map(stored), [None, Some(FORMAT_VERSION + 1)]);
    }

    #[test]
    fn records_behind_the_first_one_of_another_file_are_damage() {
        // Two files that continue from record 6; the second has lost its first record to that of the first.
        let (older, newer) = (Edit { epoch: Some(3), ..snapshot() }, Edit { epoch: Some(4), ..snapshot() });
        let [first, second] = [&older, &newer].map(|edit| encode_first(edit, 7, 512).1);
        assert_ne!(first, second);
        for (shown, follows) in [(first, second), (second, first)] {
            let mut bytes = encode(&older, shown, 512);
            bytes.extend(encode(&Edit { epoch: Some(5), ..Edit::default() }, follows + 1, 512));
            assert!(load(&bytes).is_err(), "{shown}, then {}", follows + 1);
        }
        let mut bytes = encode(&older, first, 512);
        bytes.extend(encode(&Edit { epoch: Some(5), ..Edit::default() }, first + 1, 512));
        assert_eq!(load(&bytes).unwrap().records.len(), 2);
    }

    #[test]
    fn no_record_can_be_smuggled_in_as_the_times_of_blocks() {
        const TIMES_AT: usize = HEADER_BYTES + 49;
        let block = |first_ts, last_ts| BlockRef {
            tag: TagId::new(7).unwrap(),
            chunk: 0,
            offset: 512,
            len: 97,
            crc: 9,
            count: 1,
            first_lsn: Lsn(90),
            end_lsn: Lsn(91),
            first_ts,
            last_ts,
        };
        let at = (0..512).find(|block| (TIMES_AT + BLOCK_BYTES * block).is_multiple_of(STRIDE)).unwrap();
        let mut edit = Edit { blocks: vec![block(0, 0); at + 2], ..Edit::default() };
        // An empty record: its number is what follows the times, a field's byte, a tag and a length.
        edit.blocks[at].last_ts = STRIDE as i64;
        let start = TIMES_AT + BLOCK_BYTES * at;
        let crc = crc32fast::hash(&encode(&edit, 9, 512)[start + 8..start + HEADER_BYTES]);
        edit.blocks[at].first_ts = i64::from(u32::from_le_bytes(MAGIC)) | i64::from(crc) << 32;
        let mut bytes = file().0;
        let torn = bytes.len() - 512;
        bytes.truncate(torn);
        bytes.extend(encode(&edit, 9, 512));
        assert!(decode(&bytes[torn + start..]).is_some_and(|record| record.number > 1 << 40));
        bytes[torn..torn + 512].fill(0);
        assert_eq!(load(&bytes).unwrap().records.len(), 1, "a torn tail, whatever the client has written");
    }

    #[test]
    fn a_record_of_a_number_that_no_file_comes_to_is_none() {
        // Behind a damaged one, in the last of three places: as many records and the spread can lie between two numbers.
        let most = 3 + u64::from(NUMBER_SPREAD);
        for (number, counts) in [(10, false), (11, true), (9, true), (10 + most, true), (11 + most, false)] {
            let mut bytes = vec![0xff; 2 * STRIDE];
            bytes.extend(encode(&Edit::default(), number, 512));
            assert_eq!(other_record(&bytes, 10), counts, "{number}");
        }
    }

    #[test]
    fn a_damaged_record_with_an_intact_one_behind_it_is_corruption() {
        let (mut bytes, second) = file();
        bytes.extend(encode(&Edit::default(), 10, 512));
        bytes[second + 30] ^= 1;
        assert_eq!(load(&bytes).unwrap_err().0, second as u64);
    }

    #[test]
    fn a_manifest_that_does_not_begin_well_is_corrupt_and_not_new() {
        let (mut bytes, _) = file();
        bytes[3] ^= 1;
        assert_eq!(load(&bytes).unwrap_err().0, 0);
        assert_eq!(load(&[]).unwrap_err().0, 0);
        assert_eq!(load(&[0; 512]).unwrap_err().0, 0);
    }
}
