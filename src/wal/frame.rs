//! A frame: one tag batch in the log, or short ones of several tags, whole or absent.
//!
//! ```text
//! offset  bytes
//!      0      4  magic "TWF2", or "TWF3" if it has points of several tags
//!      4      4  CRC-32 of bytes 8 .. 48 + payload
//!      8      4  payload bytes
//!     12      4  tag, never 0; of several, the first
//!     16      4  epoch  ┐ generation of the segment: tells a stale frame,
//!     20      4  seq    ┘ left by an earlier use of the segment
//!     24      4  count of points, never 0, as in the payload
//!     28      4  mask: what every four bytes of the payload are XORed with; nearly always 0
//!     32      8  first_lsn: the frame covers first_lsn .. first_lsn + count
//!     40      8  durable_lsn when the frame was written: everything below it had been synced (I1)
//!     48      …  payload: a run of points (`codec/run.rs`), or points of several tags (`codec/mixed.rs`)
//!      …    0-7  zeros up to a multiple of 8
//! ```
//!
//! Frames of the first format version are read as before. Their magic is "TWF1", and their payload is three raw columns:
//! count × time (i64 µs), count × value (f64 bits), count × quality (u8).
//!
//! All numbers are little-endian. Frames follow each other without a gap, except that after a sync zeros fill the
//! sector, because a synced sector is never written again. A frame's first byte is never 0, so zeros at the place
//! of a frame are padding inside a sector, and the end at the start of one.
//!
//! Behind damage, the scan looks for frames at every multiple of 8. Clients choose what a payload holds: the timestamps of a few
//! points in a row could spell a whole frame, checksum included, that calls anything durable. So no payload holds a magic
//! at such a place: one that would is masked.
//!
//! `durable_lsn` is what makes a hole provable: a frame that is intact says of everything below its watermark that
//! it was on the disk, so its absence is corruption and not a torn tail (I6).

pub use crate::codec::mixed::Share;
use crate::codec::mixed::{self, Batch, Mixed};
use crate::codec::run::{self, Encoder, Run};
use crate::codec::{self, ENTRY_BYTES, Reader};
use crate::lsn::{Generation, Lsn};
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId};
use rustc_hash::FxHashSet;
use std::borrow::Cow;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 48;
/// Points of a frame, at most. A header that states more is damage, so its payload is not even read.
pub const POINTS_MAX: usize = run::POINTS_MAX;
/// Frames begin at multiples of this.
pub const ALIGN: usize = 8;
const MASK_AT: usize = 28;
/// The first bytes of a frame of one tag, format version included.
pub const MAGIC: [u8; 4] = *b"TWF2";
/// Those of a frame of several tags.
pub const MAGIC_MIXED: [u8; 4] = *b"TWF3";
/// Those of a frame with raw columns, which are still read.
pub const MAGIC_RAW: [u8; 4] = *b"TWF1";
/// All of them.
pub const MAGICS: [[u8; 4]; 3] = [MAGIC, MAGIC_MIXED, MAGIC_RAW];

const MAGIC_WORDS: [u32; 3] =
    [u32::from_le_bytes(MAGIC), u32::from_le_bytes(MAGIC_MIXED), u32::from_le_bytes(MAGIC_RAW)];

/// What a frame's payload holds; its magic says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The raw columns of the first format version.
    Columns,
    /// A run of one tag's points.
    Run,
    /// Points of several tags.
    Mixed,
}

impl Kind {
    fn of(bytes: &[u8]) -> Option<Kind> {
        Some(match *bytes.first_chunk()? {
            MAGIC => Kind::Run,
            MAGIC_MIXED => Kind::Mixed,
            MAGIC_RAW => Kind::Columns,
            _ => return None,
        })
    }
}

/// Whether a frame of any format version can begin with these bytes.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    Kind::of(bytes).is_some()
}

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whose points these are; of several, the first one's.
    pub tag: TagId,
    /// Number of tags.
    pub tags: u32,
    /// The use of the segment it was written in.
    pub generation: Generation,
    /// Number of points.
    pub count: u32,
    /// Position of its first point.
    pub first_lsn: Lsn,
    /// Everything below this was durable when the frame was written.
    pub durable_lsn: Lsn,
}

impl FrameHeader {
    /// The position after its last point.
    pub fn end_lsn(&self) -> Lsn {
        self.first_lsn.advance(self.count.into())
    }
}

/// An intact frame in a segment's bytes.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// What it says about itself.
    pub header: FrameHeader,
    /// Its points, encoded, without the mask.
    pub payload: Cow<'a, [u8]>,
    /// What the payload is XORed with on the disk.
    pub mask: u32,
    /// What its payload is.
    pub kind: Kind,
    /// Whose its points are, if they are several tags'.
    several: Vec<Share>,
    /// Where in the payload its run begins.
    run_at: usize,
    /// Bytes that it takes in the segment.
    pub len: usize,
}

impl Frame<'_> {
    /// Its points in the order in which they were accepted; of several tags, one share behind the other.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.header.count as usize);
        match self.kind {
            Kind::Columns => entries.extend(
                codec::columns(&self.payload, self.header.count as usize)
                    .expect("decode checked the payload's length"),
            ),
            Kind::Run | Kind::Mixed => self.run().for_each(|entry| entries.push(entry)),
        }
        entries
    }

    /// Whose its points are, in their order.
    pub fn shares(&self) -> impl Iterator<Item = Share> {
        let FrameHeader { tag, count, .. } = self.header;
        let one = self.several.is_empty().then_some(Share { tag, count });
        one.into_iter().chain(self.several.iter().copied())
    }

    /// What it carries, for another frame; raw columns become a run, in `memory`.
    pub(crate) fn batch<'a>(&'a self, memory: &'a mut Vec<u8>) -> Batch<'a> {
        let FrameHeader { tag, tags, count, .. } = self.header;
        match self.kind {
            Kind::Run | Kind::Mixed => Batch { tag, tags, count, payload: &self.payload },
            Kind::Columns => {
                Batch::encode(memory, &mut Encoder::default(), &[Share { tag, count }], &self.entries())
            }
        }
    }

    /// The run that its points are.
    ///
    /// # Panics
    /// If they are raw columns.
    pub(crate) fn run(&self) -> Run<'_> {
        assert_ne!(self.kind, Kind::Columns);
        Run::split(&self.payload[self.run_at..]).expect("decode checked the run").0
    }
}

/// The words of a payload at which a frame could be looked for; the last one may be all that is left of it.
fn words(payload: &[u8]) -> impl Iterator<Item = u32> {
    let (whole, rest) = payload.as_chunks::<ALIGN>();
    let first = |[a, b, c, d, ..]: &[u8; ALIGN]| u32::from_le_bytes([*a, *b, *c, *d]);
    whole.iter().map(first).chain(rest.first_chunk().copied().map(u32::from_le_bytes))
}

/// Masks a payload that holds the magic where a frame could begin.
fn mask(payload: &mut [u8]) -> u32 {
    // All of them, rather than up to the first: that is a loop without a branch.
    if words(payload).fold(0, |found, word| found | u32::from(MAGIC_WORDS.contains(&word))) == 0 {
        return 0;
    }
    let taken: FxHashSet<u32> =
        words(payload).flat_map(|word| MAGIC_WORDS.map(|magic| word ^ magic)).collect();
    let mask =
        (1..).find(|mask| !taken.contains(mask)).expect("a frame has fewer words than there are masks");
    apply(mask, payload);
    mask
}

/// XORs with a mask; twice is as if it had not been.
fn apply(mask: u32, payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.to_le_bytes().into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// Why there is no frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// Zeros: nothing was written here.
    Blank,
    /// Something else: torn, corrupt, or the middle of an older frame.
    Damaged,
}

/// Bytes of a frame with a payload of this many.
pub(crate) fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN)
}

/// Bytes of a frame of one tag with `count` points, at most.
pub fn frame_bytes_max(count: usize) -> usize {
    frame_bytes(run::bytes_max(count))
}

/// Points of several tags whose frame has room in this many bytes, whatever they are.
pub(crate) fn mixed_points(bytes: u64) -> usize {
    let of_points = bytes.saturating_sub(frame_bytes(mixed::bytes_max(0)) as u64);
    (of_points / mixed::POINT_BYTES_MAX).try_into().unwrap_or(usize::MAX)
}

/// Appends a frame. `tag`, `tags` and `count` of `header` are ignored: they follow from `shares`.
///
/// # Panics
/// Without points, if a share is empty, and if the shares do not add up to the entries.
pub fn encode(out: &mut Vec<u8>, header: &FrameHeader, shares: &[Share], entries: &[Entry]) {
    let mut payload = Vec::new();
    let batch = Batch::encode(&mut payload, &mut Encoder::default(), shares, entries);
    put(out, &FrameHeader { tag: batch.tag, tags: batch.tags, count: batch.count, ..*header }, batch.payload);
}

/// Appends a frame with a payload that is what `header` says.
pub(crate) fn put(out: &mut Vec<u8>, header: &FrameHeader, payload: &[u8]) {
    let start = out.len();
    let mut fields = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| fields[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, if header.tags == 1 { &MAGIC } else { &MAGIC_MIXED });
    put(8, &(payload.len() as u32).to_le_bytes());
    put(12, &header.tag.get().to_le_bytes());
    put(16, &header.generation.epoch.to_le_bytes());
    put(20, &header.generation.seq.to_le_bytes());
    put(24, &header.count.to_le_bytes());
    put(32, &header.first_lsn.0.to_le_bytes());
    put(40, &header.durable_lsn.0.to_le_bytes());
    out.extend_from_slice(&fields);
    out.extend_from_slice(payload);
    let mask = mask(&mut out[start + HEADER_BYTES..]);
    out[start + MASK_AT..start + MASK_AT + 4].copy_from_slice(&mask.to_le_bytes());
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + frame_bytes(payload.len()), 0);
}

/// The frame at the start of `bytes`.
///
/// # Errors
/// [`NoFrame`] for anything else: this is where bytes of any origin are judged, and it never panics.
pub fn decode(bytes: &[u8]) -> Result<Frame<'_>, NoFrame> {
    match bytes.first_chunk::<8>() {
        None if bytes.iter().all(|byte| *byte == 0) => return Err(NoFrame::Blank),
        Some([0, 0, 0, 0, 0, 0, 0, 0]) => return Err(NoFrame::Blank),
        _ => {}
    }
    parse(bytes).ok_or(NoFrame::Damaged)
}

fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let kind = Kind::of(bytes)?;
    let mut reader = Reader(&bytes[MAGIC.len()..]);
    let crc = reader.u32()?;
    let payload_bytes = reader.u32()? as usize;
    let tag = TagId::new(reader.u32()?)?;
    let generation = Generation { epoch: reader.u32()?, seq: reader.u32()? };
    let count = reader.u32()?;
    let mask = reader.u32()?;
    let first_lsn = Lsn(reader.u64()?);
    let durable_lsn = Lsn(reader.u64()?);
    let payload =
        if plant::on(Bug::F19) { &reader.0[..payload_bytes] } else { reader.0.get(..payload_bytes)? };
    let sound = (1..=POINTS_MAX).contains(&(count as usize))
        && payload_bytes <= mixed::bytes_max(count as usize)
        && first_lsn.0.checked_add(count.into()).is_some()
        && durable_lsn <= first_lsn;
    let len = frame_bytes(payload_bytes);
    if !sound || len > bytes.len() {
        return None;
    }
    let checked = crc32fast::hash(&bytes[8..HEADER_BYTES + payload_bytes]) == crc;
    if !checked && !plant::on(Bug::W5) {
        return None;
    }
    let mut payload = Cow::Borrowed(payload);
    if mask != 0 {
        apply(mask, payload.to_mut());
    }
    let (several, run_at) = match kind {
        Kind::Columns => {
            (Some(payload.len()) == (count as usize).checked_mul(ENTRY_BYTES)).then_some((Vec::new(), 0))?
        }
        Kind::Run => {
            let (run, rest) = Run::split(&payload)?;
            (run.count == count as usize && rest.is_empty()).then_some((Vec::new(), 0))?
        }
        Kind::Mixed => {
            let Mixed { shares, run } = Mixed::parse(&payload)?;
            let sound = run.count == count as usize && shares[0].tag == tag;
            sound.then_some((shares, payload.len() - run.bytes.len()))?
        }
    };
    let tags = several.len().max(1) as u32;
    let header = FrameHeader { tag, tags, generation, count, first_lsn, durable_lsn };
    Some(Frame { header, payload, mask, kind, several, run_at, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_points_a_frame_has_is_said_by_its_shares() {
        let tag = |tag| TagId::new(tag).unwrap();
        let header = FrameHeader { tag: tag(9), tags: 7, count: 70, ..sample().0 };
        let entries = [Entry { ts_us: 1, value: 0.5, quality: 192 }; 3];
        for shares in [&[(3, 3)][..], &[(4, 1), (3, 2)]] {
            let shares: Vec<_> =
                shares.iter().map(|(of, count)| Share { tag: tag(*of), count: *count }).collect();
            let mut out = Vec::new();
            encode(&mut out, &header, &shares, &entries);
            let found = decode(&out).unwrap().header;
            assert_eq!((found.tag, found.tags, found.count), (shares[0].tag, shares.len() as u32, 3));
        }
    }

    fn encode_one(out: &mut Vec<u8>, header: &FrameHeader, entries: &[Entry]) {
        encode(out, header, &[Share { tag: header.tag, count: entries.len() as u32 }], entries);
    }

    fn sample() -> (FrameHeader, Vec<Entry>, Vec<u8>) {
        let header = FrameHeader {
            tag: TagId::new(7).unwrap(),
            tags: 1,
            generation: Generation { epoch: 2, seq: 9 },
            count: 3,
            first_lsn: Lsn(1000),
            durable_lsn: Lsn(900),
        };
        let entries: Vec<_> = [(i64::MIN, f64::NAN), (-1, -0.0), (i64::MAX, f64::INFINITY)]
            .map(|(ts_us, value)| Entry { ts_us, value, quality: 192 })
            .into();
        let mut bytes = Vec::new();
        encode_one(&mut bytes, &header, &entries);
        (header, entries, bytes)
    }

    #[test]
    fn a_frame_comes_back_bit_for_bit() {
        let (header, entries, bytes) = sample();
        let frame = decode(&bytes).unwrap();
        assert_eq!(frame.header, header);
        assert_eq!(frame.len, bytes.len());
        let bits = |entry: &Entry| (entry.ts_us, entry.value.to_bits(), entry.quality);
        assert!(frame.entries().iter().map(bits).eq(entries.iter().map(bits)));
    }

    /// The bytes of a frame as the times of another one's points.
    fn disguised(frame: &[u8]) -> Vec<Entry> {
        let time = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
        frame.chunks_exact(8).map(|bytes| Entry { ts_us: time(bytes), value: 1.0, quality: 192 }).collect()
    }

    #[test]
    fn as_many_points_of_several_tags_as_have_room_are_asked_for() {
        for bytes in [0, 100, 200, 512, 1000, 16 << 20] {
            let points = mixed_points(bytes);
            let len = |points| frame_bytes(mixed::bytes_max(points)) as u64;
            assert!(points == 0 || len(points) <= bytes, "{points} points in {bytes} bytes");
            assert!(len(points + points / 25 + 2) > bytes, "more than {points} points in {bytes} bytes");
        }
    }

    #[test]
    fn no_frame_can_be_smuggled_in_as_points() {
        let (header, _, inner) = sample();
        let mut entries = disguised(&inner);
        // Nor can the mask be foreseen.
        entries.extend((1..300u32).map(|mask| Entry {
            ts_us: i64::from(MAGIC_WORDS[mask as usize % 3] ^ mask),
            value: f64::from_bits(MAGIC_WORDS[0].into()),
            quality: mask as u8,
        }));
        // Numbers of 64 bits, so that they stand in the run as they are.
        entries.extend([i64::MIN, i64::MAX, 0].map(|ts_us| Entry { ts_us, value: f64::NAN, quality: 0 }));
        let header = FrameHeader { count: entries.len() as u32, ..header };
        let mut bytes = Vec::new();
        encode_one(&mut bytes, &header, &entries);
        assert!(words(&bytes[HEADER_BYTES..]).all(|word| !MAGIC_WORDS.contains(&word)));
        assert!((ALIGN..bytes.len()).step_by(ALIGN).all(|at| decode(&bytes[at..]).is_err()));
        let bits = |entry: &Entry| (entry.ts_us, entry.value.to_bits(), entry.quality);
        let frame = decode(&bytes).unwrap();
        assert_ne!(frame.mask, 0);
        assert!(frame.entries().iter().map(bits).eq(entries.iter().map(bits)));
    }

    #[test]
    fn the_magic_of_each_kind_of_frame_is_masked_although_no_other_is_there() {
        let (header, _, _) = sample();
        for magic in MAGIC_WORDS {
            // The value is no decimal number: its bits are the base of all values, and stand in the header of the run.
            let value = f64::from_bits(u64::from(magic) << 32 | u64::from(magic));
            let entries = [1, 2, 3].map(|ts_us| Entry { ts_us, value, quality: 0 });
            let mut bytes = Vec::new();
            encode_one(&mut bytes, &FrameHeader { count: entries.len() as u32, ..header }, &entries);
            assert_ne!(decode(&bytes).unwrap().mask, 0, "{magic:08x}");
            assert!(words(&bytes[HEADER_BYTES..]).all(|word| !MAGIC_WORDS.contains(&word)), "{magic:08x}");
        }
    }

    #[test]
    fn the_last_bytes_of_a_payload_are_no_magic() {
        let (header, _, _) = sample();
        // With equal times and values the qualities are all that a run has behind its 32 bytes.
        for count in 4..12 {
            let entry = |at: usize| Entry { ts_us: 0, value: 0.0, quality: MAGIC[at % 4] };
            let entries: Vec<_> = (0..count).map(entry).collect();
            let mut bytes = Vec::new();
            encode_one(&mut bytes, &header, &entries);
            let mut places = (ALIGN..bytes.len()).step_by(ALIGN);
            assert_eq!(places.find(|at| has_magic(&bytes[*at..])), None, "with {count} points");
            let quality = |entry: &Entry| entry.quality;
            assert!(decode(&bytes).unwrap().entries().iter().map(quality).eq(entries.iter().map(quality)));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (_, _, bytes) = sample();
        let used = HEADER_BYTES + decode(&bytes).unwrap().payload.len();
        for bit in 0..used * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged).err(), Some(NoFrame::Damaged), "bit {bit}");
        }
        for cut in 1..bytes.len() {
            assert_eq!(decode(&bytes[..cut]).err(), Some(NoFrame::Damaged), "cut at {cut}");
        }
        assert_eq!(decode(&[]).err(), Some(NoFrame::Blank));
        assert_eq!(decode(&[0; 64]).err(), Some(NoFrame::Blank));
    }
}
