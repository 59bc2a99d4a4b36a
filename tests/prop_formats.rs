//! Bytes: what is encoded decodes to the same, and what is not ours is never taken for ours.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::sync::Arc;
use tidewall::store::block::{self, BlockRef};
use tidewall::store::manifest;
use tidewall::store::version::{Edit, Geometry, StreamEdit, Version};
use tidewall::wal::frame::{self, FrameHeader, Share};
use tidewall::wal::scan;
use tidewall::{Config, Engine, Entry, Error, Generation, Lsn, Point, Span, TagId, inspect};
use tidewall_sim::disk::SimDisk;
use tidewall_sim::timeline::Timeline;

fn entry() -> impl Strategy<Value = Entry> {
    // Any bits make a value: NaN payloads and all.
    (any::<i64>(), any::<u64>(), any::<u8>()).prop_map(|(ts_us, bits, quality)| Entry {
        ts_us,
        value: f64::from_bits(bits),
        quality,
    })
}

fn bits(entry: &Entry) -> (i64, u64, u8) {
    (entry.ts_us, entry.value.to_bits(), entry.quality)
}

fn tag() -> impl Strategy<Value = TagId> {
    (1..=u32::MAX).prop_map(|tag| TagId::new(tag).unwrap())
}

fn header() -> impl Strategy<Value = FrameHeader> {
    (tag(), any::<(u32, u32)>(), 0..u64::MAX / 2, 0..u64::MAX / 2).prop_map(|(tag, (epoch, seq), a, b)| {
        FrameHeader {
            tag,
            tags: 1,
            generation: Generation { epoch, seq },
            count: 0,
            first_lsn: Lsn(a.max(b)),
            durable_lsn: Lsn(a.min(b)),
        }
    })
}

/// The header's tag and this many others, as far as there are points: one each, and the rest for the last.
fn shared(header: &FrameHeader, others: &[TagId], points: usize) -> Vec<Share> {
    let tags = [&[header.tag], others].concat().into_iter().take(points);
    let mut shares: Vec<_> = tags.map(|tag| Share { tag, count: 1 }).collect();
    shares.last_mut().unwrap().count += (points - shares.len()) as u32;
    shares
}

fn block_ref() -> impl Strategy<Value = BlockRef> {
    (tag(), any::<[u32; 3]>(), any::<[u64; 4]>(), any::<[i64; 2]>()).prop_map(|(tag, a, b, c)| BlockRef {
        tag,
        chunk: b[0],
        offset: b[1],
        len: a[0],
        crc: a[1],
        count: a[2],
        first_lsn: Lsn(b[2]),
        end_lsn: Lsn(b[3]),
        first_ts: c[0],
        last_ts: c[1],
    })
}

/// More streams than one, fewer than the largest edit speaks of: what it says of others is nobody's business.
const STREAMS: u32 = 4;

/// What an edit says of one stream; never nothing, which leaves no trace in a record.
fn stream_edit() -> impl Strategy<Value = StreamEdit> {
    let span = any::<(u32, u64)>().prop_map(|(epoch, lsn)| Span { epoch, first_lsn: Lsn(lsn) });
    let watermarks = proptest::option::of(any::<(u64, u64)>().prop_map(|(a, b)| (Lsn(a), Lsn(b))));
    (proptest::option::of(any::<u32>()), vec(span, 0..4), watermarks)
        .prop_map(|(segments, spans, watermarks)| StreamEdit { stream: 0, segments, spans, watermarks })
        .prop_filter("says something", |edit| *edit != StreamEdit::default())
}

fn edit() -> impl Strategy<Value = Edit> {
    let streams = prop::collection::btree_map(0..STREAMS + 2, stream_edit(), 0..4);
    (proptest::option::of(any::<u32>()), streams, vec(block_ref(), 0..20)).prop_map(
        |(epoch, streams, blocks)| Edit {
            geometry: None,
            epoch,
            streams: streams.into_iter().map(|(stream, edit)| StreamEdit { stream, ..edit }).collect(),
            blocks,
        },
    )
}

fn geometry(wal_streams: u32) -> Geometry {
    Geometry { segment_bytes: 4096, sector_bytes: 512, chunk_bytes: 8192, wal_streams }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::default() })]

    #[test]
    fn a_frame_decodes_to_what_was_encoded(header in header(), tags in vec(tag(), 0..20), entries in vec(entry(), 1..300)) {
        let mut bytes = Vec::new();
        let shares = shared(&header, &tags, entries.len());
        frame::encode(&mut bytes, &header, &shares, &entries);
        let frame = frame::decode(&bytes).unwrap();
        let written = FrameHeader { count: entries.len() as u32, tags: shares.len() as u32, ..header };
        prop_assert_eq!(frame.header, written);
        prop_assert!(frame.shares().eq(shares));
        prop_assert_eq!(frame.len, bytes.len());
        prop_assert!(frame.entries().iter().map(bits).eq(entries.iter().map(bits)));
    }

    #[test]
    fn a_damaged_frame_is_no_frame(header in header(), tags in vec(tag(), 0..4), entries in vec(entry(), 1..40), at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, &header, &shared(&header, &tags, entries.len()), &entries);
        let used = frame::HEADER_BYTES + frame::decode(&bytes).unwrap().payload.len();
        prop_assert!(frame::decode(&bytes[..cut.index(used)]).is_err());
        let bit = at.index(used * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(frame::decode(&bytes).is_err());
    }

    #[test]
    fn a_block_decodes_to_what_was_encoded_and_notices_damage(mut named in block_ref(), times in prop::collection::btree_map(any::<i64>(), (any::<u64>(), any::<u8>()), 1..200), at in any::<prop::sample::Index>()) {
        let entries: Vec<_> = times
            .iter()
            .map(|(ts_us, (value, quality))| Entry { ts_us: *ts_us, value: f64::from_bits(*value), quality: *quality })
            .collect();
        (named.first_lsn, named.end_lsn) = (Lsn(7), Lsn(7 + entries.len() as u64));
        let mut bytes = block::encode(&mut named, &entries);
        {
            let decoded = block::decode(&bytes, &named).unwrap();
            prop_assert!(decoded.entries().iter().map(bits).eq(entries.iter().map(bits)));
        }
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(block::decode(&bytes, &named).is_err());
    }

    #[test]
    fn an_edit_decodes_to_what_was_encoded(edit in edit(), wal_streams in proptest::option::of(1..=16u32), number in any::<u64>()) {
        let edit = Edit { geometry: wal_streams.map(geometry), ..edit };
        let record = manifest::decode(&manifest::encode(&edit, number, 512)).unwrap();
        prop_assert_eq!((record.number, record.edit), (number, edit));
    }

    #[test]
    fn a_manifest_adds_up_to_its_edits_wherever_it_is_cut(edits in vec(edit(), 0..6), wal_streams in 1..=STREAMS, cut in any::<prop::sample::Index>()) {
        let first = Edit { geometry: Some(geometry(wal_streams)), ..Edit::default() };
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for (number, edit) in [&first].into_iter().chain(&edits).enumerate() {
            bytes.extend(manifest::encode(edit, number as u64, 512));
            ends.push(bytes.len());
        }
        let loaded = manifest::load(&bytes).unwrap();
        prop_assert_eq!(loaded.records.len(), ends.len());
        let mut version = Version::new(geometry(wal_streams));
        edits.iter().for_each(|edit| version.apply(edit));
        prop_assert_eq!(&loaded.version, &version);
        // And their sum, as one record, is the same again.
        let again = manifest::load(&manifest::encode(&version.to_edit(), 1, 512)).unwrap();
        prop_assert_eq!(again.version, version);
        // Cut anywhere behind the first record: the edits that are whole count, and no other.
        let cut = ends[0] + cut.index(bytes.len() - ends[0] + 1);
        let mut torn = bytes[..cut].to_vec();
        torn.resize(bytes.len(), 0);
        let whole = ends.iter().filter(|end| {
            // The zeros behind a record's body are the same, cut or not.
            let body_end = bytes[..**end].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            body_end <= cut
        });
        prop_assert_eq!(manifest::load(&torn).unwrap().records.len(), whole.count());
    }

    #[test]
    fn bytes_of_any_origin_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..4096)) {
        let scan = scan::segment(&bytes, 512, |_| true);
        prop_assert!(scan.frames.is_empty() && scan.strays.is_empty(), "random bytes pass no CRC");
        prop_assert!(manifest::load(&bytes).is_err());
        prop_assert!(block::parse(&bytes).is_none());
    }
}

fn small() -> Config {
    Config {
        batch_points: 4,
        block_points: 8,
        segment_bytes: 2048,
        sector_bytes: 512,
        chunk_bytes: 2048,
        segments: 2,
        segments_max: 3,
        flush_workers: 1,
        flush_delay_ms: None,
        ..Config::default()
    }
}

/// A store with a checkpoint, blocks in two chunks, and a log to replay, in each stream that has a tag.
fn store(wal_streams: usize) -> Vec<(String, Vec<u8>)> {
    let disk = SimDisk::new(Timeline::default());
    let engine = Engine::open(Arc::new(disk.clone()), Config { wal_streams, ..small() }).unwrap();
    for n in 0..150 {
        engine.write(Point::new(1 + n % 3, n.into(), n.into())).unwrap();
    }
    engine.sync().unwrap();
    drop(engine);
    let names = disk.files();
    names.into_iter().map(|(name, _)| (name.clone(), disk.content(&name).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::default() })]

    /// Whatever is in the files: `open` and `inspect` come back, and what `open` shows was written.
    #[test]
    fn a_store_with_a_spoilt_file_opens_right_or_not_at_all(
        wal_streams in 1..=3usize,
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..600),
        shorten in any::<bool>(),
    ) {
        let mut files = store(wal_streams);
        let index = file.index(files.len());
        let bytes = &mut files[index].1;
        let start = at.index(bytes.len() + 1);
        let end = (start + noise.len()).min(bytes.len());
        bytes[start..end].copy_from_slice(&noise[..end - start]);
        if shorten {
            bytes.truncate(end);
        }
        let disk = SimDisk::from_files(files.iter().map(|(name, bytes)| (&name[..], &bytes[..])));
        inspect(&disk).unwrap();
        let engine = match Engine::open(Arc::new(disk), Config { wal_streams, ..small() }) {
            Ok(engine) => engine,
            Err(Error::Corrupt(_)) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
        };
        for tag in 1..=3 {
            match engine.query(tag, ..) {
                Ok(points) => for point in points {
                    prop_assert_eq!(point.value, point.ts_us as f64);
                    prop_assert_eq!(1 + point.ts_us as u32 % 3, tag);
                },
                Err(error) => prop_assert!(matches!(error, Error::Corrupt(_)), "{}", error),
            }
        }
    }
}
