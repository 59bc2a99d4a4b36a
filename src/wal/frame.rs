//! A frame: one tag batch in the log, whole or absent.
//!
//! ```text
//! offset  bytes
//!      0      4  magic "TWF1"
//!      4      4  CRC-32 of bytes 8 .. 48 + payload
//!      8      4  payload bytes
//!     12      4  tag, never 0
//!     16      4  epoch  ┐ generation of the segment: tells a stale frame,
//!     20      4  seq    ┘ left by an earlier use of the segment
//!     24      4  count of points, never 0
//!     28      4  mask: what every four bytes of the payload are XORed with; nearly always 0
//!     32      8  first_lsn: the frame covers first_lsn .. first_lsn + count
//!     40      8  durable_lsn when the frame was written: everything below it had been synced (I1)
//!     48      …  payload: count × time (i64 µs), count × value (f64 bits), count × quality (u8)
//!      …    0-7  zeros up to a multiple of 8
//! ```
//!
//! All numbers are little-endian. Frames follow each other without a gap, except that after a sync zeros fill the
//! sector, because a synced sector is never written again. A frame's first byte is never 0, so zeros at the place
//! of a frame are padding inside a sector, and the end at the start of one.
//!
//! Behind damage, frames are looked for at every multiple of 8, and a payload is what a client has chosen: eight times in a
//! row can be a frame, checksum and all, that says that anything was durable. So no payload holds the magic at such a
//! place: one that would is masked.
//!
//! `durable_lsn` is what makes a hole provable: a frame that is intact says of everything below its watermark that
//! it was on the disk, so its absence is corruption and not a torn tail (I6).

use crate::codec::{self, ENTRY_BYTES, Reader};
use crate::lsn::{Generation, Lsn};
use crate::plant::{self, Bug};
use crate::point::{Entry, TagId};
use rustc_hash::FxHashSet;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 48;
/// Points of a frame, at most: a header that states more is damage, and no reason to look at so many bytes.
pub const POINTS_MAX: usize = 1 << 16;
/// Frames begin at multiples of this.
pub const ALIGN: usize = 8;
const MASK_AT: usize = 28;
/// The first bytes of every frame, format version included.
pub const MAGIC: [u8; 4] = *b"TWF1";

const MAGIC_WORD: u32 = u32::from_le_bytes(MAGIC);

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whose points these are.
    pub tag: TagId,
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
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it says about itself.
    pub header: FrameHeader,
    /// Its points, encoded.
    pub payload: &'a [u8],
    /// What the payload is XORed with.
    pub mask: u32,
    /// Bytes that it takes in the segment.
    pub len: usize,
}

impl<'a> Frame<'a> {
    /// Its points in the order in which they were accepted.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + 'a {
        let (count, mask) = (self.header.count as usize, self.mask);
        let entries = codec::columns(self.payload, count).expect("decode checked the payload's length");
        entries.enumerate().map(move |(at, entry)| if mask == 0 { entry } else { unmasked(entry, at, mask) })
    }
}

/// The entry number `at` of a masked payload. Every column begins at a multiple of four bytes.
fn unmasked(entry: Entry, at: usize, mask: u32) -> Entry {
    let word = u64::from(mask) << 32 | u64::from(mask);
    Entry {
        ts_us: entry.ts_us ^ word as i64,
        value: f64::from_bits(entry.value.to_bits() ^ word),
        quality: entry.quality ^ mask.to_le_bytes()[at % 4],
    }
}

/// The words of a payload at which a frame could be looked for.
fn words(payload: &[u8]) -> impl Iterator<Item = u32> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("chunks_exact gives 8 bytes"));
    payload.chunks_exact(ALIGN).map(word)
}

/// Masks a payload that holds the magic where a frame could begin.
fn mask(payload: &mut [u8]) -> u32 {
    // All of them, rather than up to the first: that is a loop without a branch.
    if words(payload).fold(0, |found, word| found | u32::from(word == MAGIC_WORD)) == 0 {
        return 0;
    }
    let taken: FxHashSet<u32> = words(payload).map(|word| word ^ MAGIC_WORD).collect();
    let mask =
        (1..).find(|mask| !taken.contains(mask)).expect("a frame has fewer words than there are masks");
    for (byte, mask) in payload.iter_mut().zip(mask.to_le_bytes().into_iter().cycle()) {
        *byte ^= mask;
    }
    mask
}

/// Why there is no frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// Zeros: nothing was written here.
    Blank,
    /// Something else: torn, corrupt, or the middle of an older frame.
    Damaged,
}

/// Bytes of a frame with `count` points.
pub fn frame_bytes(count: usize) -> usize {
    (HEADER_BYTES + count * ENTRY_BYTES).next_multiple_of(ALIGN)
}

/// Appends a frame. `header.count` is taken from `entries`.
pub fn encode(out: &mut Vec<u8>, header: &FrameHeader, entries: &[Entry]) {
    let start = out.len();
    let payload_bytes = (entries.len() * ENTRY_BYTES) as u32;
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    for word in [
        payload_bytes,
        header.tag.get(),
        header.generation.epoch,
        header.generation.seq,
        entries.len() as u32,
        0,
    ] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&header.first_lsn.0.to_le_bytes());
    out.extend_from_slice(&header.durable_lsn.0.to_le_bytes());
    codec::put_columns(out, entries);
    let mask = mask(&mut out[start + HEADER_BYTES..]);
    out[start + MASK_AT..start + MASK_AT + 4].copy_from_slice(&mask.to_le_bytes());
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + frame_bytes(entries.len()), 0);
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
    let mut reader = Reader(bytes.strip_prefix(&MAGIC)?);
    let crc = reader.u32()?;
    let payload_bytes = reader.u32()? as usize;
    let tag = TagId::new(reader.u32()?)?;
    let generation = Generation { epoch: reader.u32()?, seq: reader.u32()? };
    let count = reader.u32()?;
    let mask = reader.u32()?;
    let first_lsn = Lsn(reader.u64()?);
    let durable_lsn = Lsn(reader.u64()?);
    let payload = reader.0.get(..payload_bytes)?;
    let sound = (1..=POINTS_MAX).contains(&(count as usize))
        && (count as usize).checked_mul(ENTRY_BYTES) == Some(payload_bytes)
        && first_lsn.0.checked_add(count.into()).is_some()
        && durable_lsn <= first_lsn;
    let len = frame_bytes(count as usize);
    if !sound || len > bytes.len() {
        return None;
    }
    let checked = crc32fast::hash(&bytes[8..HEADER_BYTES + payload_bytes]) == crc;
    if !checked && !plant::on(Bug::W5) {
        return None;
    }
    Some(Frame { header: FrameHeader { tag, generation, count, first_lsn, durable_lsn }, payload, mask, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (FrameHeader, Vec<Entry>, Vec<u8>) {
        let header = FrameHeader {
            tag: TagId::new(7).unwrap(),
            generation: Generation { epoch: 2, seq: 9 },
            count: 3,
            first_lsn: Lsn(1000),
            durable_lsn: Lsn(900),
        };
        let entries: Vec<_> = [(i64::MIN, f64::NAN), (-1, -0.0), (i64::MAX, f64::INFINITY)]
            .map(|(ts_us, value)| Entry { ts_us, value, quality: 192 })
            .into();
        let mut bytes = Vec::new();
        encode(&mut bytes, &header, &entries);
        (header, entries, bytes)
    }

    #[test]
    fn a_frame_comes_back_bit_for_bit() {
        let (header, entries, bytes) = sample();
        let frame = decode(&bytes).unwrap();
        assert_eq!(frame.header, header);
        assert_eq!(frame.len, bytes.len());
        let bits = |entry: &Entry| (entry.ts_us, entry.value.to_bits(), entry.quality);
        assert!(frame.entries().map(|entry| bits(&entry)).eq(entries.iter().map(bits)));
    }

    /// The bytes of a frame as the times of another one's points.
    fn disguised(frame: &[u8]) -> Vec<Entry> {
        let time = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
        frame.chunks_exact(8).map(|bytes| Entry { ts_us: time(bytes), value: 1.0, quality: 192 }).collect()
    }

    #[test]
    fn no_frame_can_be_smuggled_in_as_points() {
        let (header, _, inner) = sample();
        let mut entries = disguised(&inner);
        // Nor can the mask be foreseen.
        entries.extend((1..300u32).map(|mask| Entry {
            ts_us: i64::from(MAGIC_WORD ^ mask),
            value: f64::from_bits(MAGIC_WORD.into()),
            quality: mask as u8,
        }));
        let mut bytes = Vec::new();
        encode(&mut bytes, &header, &entries);
        assert!(words(&bytes[HEADER_BYTES..]).all(|word| word != MAGIC_WORD));
        assert!((ALIGN..bytes.len()).step_by(ALIGN).all(|at| decode(&bytes[at..]).is_err()));
        let bits = |entry: &Entry| (entry.ts_us, entry.value.to_bits(), entry.quality);
        let frame = decode(&bytes).unwrap();
        assert_ne!(frame.mask, 0);
        assert!(frame.entries().map(|entry| bits(&entry)).eq(entries.iter().map(bits)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (_, entries, bytes) = sample();
        let used = HEADER_BYTES + entries.len() * ENTRY_BYTES;
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
