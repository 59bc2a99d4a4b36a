//! Reading segments back: from bytes to frames, and from segments to one log. Pure functions; I/O is recovery's.
//!
//! A scan of one segment ends where the next frame is not one of this use of the segment:
//!
//! ```text
//! ┌───────┬───────┬───┬─────────────┬───────┬──────────────────────────────┐
//! │ frame │ frame │ 0 │ frame       │ frame │  blank | stale | damaged     │
//! └───────┴───────┴───┴─────────────┴───────┴──────────────────────────────┘
//!                   └ padding up to the sector, after a sync               └ segment_bytes
//! ```
//!
//! Whether that end is a torn tail or corruption cannot be read off the bytes there. It is decided by what
//! everything else proves: each intact frame, wherever it lies, and the manifest, say which LSNs were durable.
//! An end below that is corruption, and so is a frame that was cut off although all before it was durable; any other
//! end is the tail of what was never synced (I6).

use super::frame::{self, FrameHeader, NoFrame};
use crate::codec::round_up;
use crate::lsn::{Generation, Lsn, Span};
use crate::plant::{self, Bug};
use crate::point::TagId;

/// A frame's place in its segment.
#[derive(Clone, Copy, Debug)]
pub struct FrameAt {
    /// Byte offset.
    pub offset: u64,
    /// Bytes that hold it, without the zeros up to a multiple of [`frame::ALIGN`].
    pub used: u64,
    /// What the frame says about itself.
    pub header: FrameHeader,
}

/// What lies where the next frame would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The segment's last byte, or zeros.
    Blank,
    /// An intact frame of another use of the segment.
    Stale,
    /// Bytes that are no frame: a write that stopped part-way, or damage, or the middle of a stale frame.
    Torn,
}

/// The frames of one use of a segment.
#[derive(Clone, Debug)]
pub struct SegmentScan {
    /// Which use: that of the first frame. `None` when there is none.
    pub generation: Option<Generation>,
    /// Its frames, without a gap in LSNs.
    pub frames: Vec<FrameAt>,
    /// Byte offset behind the last frame.
    pub end_offset: u64,
    /// What is there.
    pub end: End,
    /// Intact frames behind the end: of an earlier use, or cut off by what is damaged.
    pub strays: Vec<FrameHeader>,
    /// The highest watermark that any intact frame of the segment carries, strays included.
    pub proven: Lsn,
    /// There are intact frames of tags that do not belong here, at or behind this offset: the disk has put them there.
    pub foreign: Option<u64>,
}

impl SegmentScan {
    /// Position of the first point; 0 without frames.
    pub fn first_lsn(&self) -> Lsn {
        self.frames.first().map_or(Lsn(0), |at| at.header.first_lsn)
    }

    /// Position behind the last point; 0 without frames.
    pub fn end_lsn(&self) -> Lsn {
        self.frames.last().map_or(Lsn(0), |at| at.header.end_lsn())
    }
}

/// Reads the frames of a segment. `sector_bytes` is where padding ends, `belongs` says whether the frames of a tag may
/// be in it: another one's is taken for the end, as a stale one is.
pub fn segment(bytes: &[u8], sector_bytes: u64, belongs: impl Fn(TagId) -> bool) -> SegmentScan {
    let mut scan = SegmentScan {
        generation: None,
        frames: Vec::new(),
        end_offset: 0,
        end: End::Blank,
        strays: Vec::new(),
        proven: Lsn(0),
        foreign: None,
    };
    let mut offset = 0u64;
    loop {
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        match frame::decode(rest) {
            Ok(frame) if plant::on(Bug::W3) && frame.len as u64 > 2 * sector_bytes => break,
            Ok(frame) if !frame.shares().all(|share| belongs(share.tag)) => {
                scan.end = End::Stale;
                break;
            }
            Ok(frame) => {
                scan.proven = scan.proven.max(frame.header.durable_lsn);
                let first = scan.frames.is_empty();
                let follows = scan.generation == Some(frame.header.generation)
                    && scan.end_lsn() == frame.header.first_lsn;
                if !first && !follows && !plant::on(Bug::W6) {
                    scan.end = End::Stale;
                    break;
                }
                scan.generation.get_or_insert(frame.header.generation);
                let used = (frame::HEADER_BYTES + frame.payload.len()) as u64;
                scan.frames.push(FrameAt { offset, used, header: frame.header });
                offset += frame.len as u64;
                scan.end_offset = offset;
            }
            Err(NoFrame::Blank)
                if !rest.is_empty() && !offset.is_multiple_of(sector_bytes) && !plant::on(Bug::W4) =>
            {
                offset = round_up(offset, sector_bytes).unwrap_or(bytes.len() as u64);
            }
            Err(NoFrame::Blank) => {
                scan.end = End::Blank;
                break;
            }
            Err(NoFrame::Damaged) => {
                scan.end = End::Torn;
                break;
            }
        }
    }
    scan.strays = frames_behind(bytes, offset as usize);
    if scan.strays.iter().any(|header| !belongs(header.tag)) {
        scan.foreign = Some(offset);
        scan.strays.retain(|header| belongs(header.tag));
    }
    let proofs = scan.strays.iter().filter(|_| !plant::on(Bug::G1)).map(|header| header.durable_lsn);
    scan.proven = proofs.fold(scan.proven, Lsn::max);
    scan
}

/// The intact frames that lie anywhere at or behind `offset`.
fn frames_behind(bytes: &[u8], offset: usize) -> Vec<FrameHeader> {
    let mut found = Vec::new();
    let mut at = offset.next_multiple_of(frame::ALIGN);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if frame::has_magic(rest)
            && let Ok(frame) = frame::decode(rest)
        {
            found.push(frame.header);
            at += frame.len;
        } else {
            at += frame::ALIGN;
        }
    }
    found
}

/// A segment's part in the log: its frames `frames` are to be read, no point at or behind `end_lsn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index of the segment in the list given to [`chain`].
    pub segment: usize,
    /// Indices of its frames.
    pub frames: std::ops::Range<usize>,
    /// The log goes on elsewhere from here.
    pub end_lsn: Lsn,
}

/// The log that a set of segments holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// In order; each begins where the one before ended.
    pub parts: Vec<Part>,
    /// Position behind the last point.
    pub end_lsn: Lsn,
    /// Segments whose frames are not part of the log: free, or of an epoch that never became part of it.
    pub stale: Vec<usize>,
}

/// Where the frames of an epoch end being the log: at the beginning of the next span. `None` if they never were.
fn span_end(spans: &[Span], epoch: u32) -> Option<Lsn> {
    let at = spans.iter().position(|span| span.epoch == epoch)?;
    Some(spans.get(at + 1).map_or(Lsn(u64::MAX), |next| next.first_lsn))
}

/// An intact frame that damage has cut off from the log: everything before it was durable, so the frame before it
/// must be readable, and the log should have reached it. `None` if the log lacks no such frame.
pub fn cut_off(segment: &SegmentScan, spans: &[Span], chain_end: Lsn, proven: Lsn) -> Option<FrameHeader> {
    let in_span = |header: &FrameHeader| {
        span_end(spans, header.generation.epoch).is_some_and(|end| header.first_lsn < end)
    };
    let missing =
        |header: &&FrameHeader| header.end_lsn() > chain_end && header.first_lsn <= proven && in_span(header);
    segment.strays.iter().find(missing).copied().filter(|_| !plant::on(Bug::G2))
}

/// A frame of the log that lies across a position at which one must end: what is proven durable, and where the log goes on
/// in another segment. A sync covers whole frames, so `durable_lsn` is never inside of one (I1), and no more is the beginning
/// of a segment or a span, which follow it. The segment and the frame's index in it.
///
/// Nothing that the engine writes is like this, so it is damage (I6). Neither end of the frame would do in its place: at
/// its end points would count as durable that nothing proves to be, and before it points as lost that something does.
pub fn split_frame<'a>(
    frames_of: impl Fn(usize) -> &'a [FrameAt],
    chain: &Chain,
    proven: Lsn,
) -> Option<(usize, usize)> {
    let mut seam = None;
    for part in &chain.parts {
        let frames = &frames_of(part.segment)[part.frames.clone()];
        // Where the log begins, at the checkpoint, a block may have ended inside a frame.
        for at in [seam, Some(proven), Some(part.end_lsn)].into_iter().flatten() {
            let index = frames.partition_point(|frame| frame.header.end_lsn() <= at);
            if frames.get(index).is_some_and(|frame| frame.header.first_lsn < at) {
                return Some((part.segment, part.frames.start + index));
            }
        }
        seam = Some(part.end_lsn);
    }
    None
}

/// Puts segments in order, from `from` on. `spans` are those of the manifest, oldest first.
pub fn chain(segments: &[SegmentScan], spans: &[Span], from: Lsn) -> Chain {
    let mut order: Vec<usize> = (0..segments.len()).filter(|at| segments[*at].generation.is_some()).collect();
    order.sort_by_key(|at| segments[*at].generation.filter(|_| !plant::on(Bug::W10)));
    let mut chain = Chain { parts: Vec::new(), end_lsn: from, stale: Vec::new() };
    for at in order {
        let scan = &segments[at];
        let generation = scan.generation.expect("filtered above");
        let cut = span_end(spans, generation.epoch);
        let cut = cut.map(|cut| if plant::on(Bug::G3) { Lsn(u64::MAX) } else { cut });
        let end_lsn = cut.map_or(Lsn(0), |cut| cut.min(scan.end_lsn()));
        if end_lsn <= chain.end_lsn || scan.first_lsn() > chain.end_lsn {
            // Retired, cut off, or behind a gap. A gap shows in the end of the chain: this segment's first frame
            // says that everything below it was durable.
            chain.stale.push(at);
            continue;
        }
        let begin = scan.frames.partition_point(|frame| frame.header.end_lsn() <= chain.end_lsn);
        let end = scan.frames.partition_point(|frame| frame.header.first_lsn < end_lsn);
        chain.parts.push(Part { segment: at, frames: begin..end, end_lsn });
        chain.end_lsn = end_lsn;
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Entry;

    const SECTOR: u64 = 512;

    fn put(out: &mut Vec<u8>, generation: (u32, u32), first_lsn: u64, count: usize, durable_lsn: u64) {
        let entry = |n| Entry { ts_us: n as i64, value: n as f64, quality: 192 };
        let header = FrameHeader {
            tag: TagId::new(1).unwrap(),
            tags: 1,
            generation: Generation { epoch: generation.0, seq: generation.1 },
            count: count as u32,
            first_lsn: Lsn(first_lsn),
            durable_lsn: Lsn(durable_lsn),
        };
        let share = frame::Share { tag: header.tag, count: header.count };
        frame::encode(out, &header, &[share], &(0..count).map(entry).collect::<Vec<_>>());
    }

    fn pad(bytes: &mut Vec<u8>) {
        bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
    }

    #[test]
    fn padding_after_a_sync_does_not_end_the_log() {
        let mut bytes = Vec::new();
        put(&mut bytes, (1, 0), 0, 5, 0);
        pad(&mut bytes);
        put(&mut bytes, (1, 0), 5, 5, 5);
        let frames_end = bytes.len() as u64;
        bytes.resize(4096, 0);
        let scan = segment(&bytes, SECTOR, |_| true);
        assert_eq!((scan.frames.len(), scan.end_offset, scan.end), (2, frames_end, End::Blank));
        assert_eq!((scan.end_lsn(), scan.proven), (Lsn(10), Lsn(5)));
    }

    #[test]
    fn a_frame_of_an_earlier_use_is_stale_and_never_part_of_the_log() {
        let mut bytes = Vec::new();
        put(&mut bytes, (1, 4), 40, 5, 40);
        put(&mut bytes, (1, 0), 45, 5, 0);
        let scan = segment(&bytes, SECTOR, |_| true);
        assert_eq!((scan.frames.len(), scan.end), (1, End::Stale));
    }

    #[test]
    fn an_intact_frame_behind_a_hole_still_proves_what_was_durable() {
        let mut bytes = Vec::new();
        put(&mut bytes, (1, 0), 0, 5, 0);
        let hole = bytes.len();
        put(&mut bytes, (1, 0), 5, 5, 0);
        put(&mut bytes, (1, 0), 10, 5, 10);
        bytes[hole + 60] ^= 1;
        let scan = segment(&bytes, SECTOR, |_| true);
        assert_eq!((scan.end_lsn(), scan.end, scan.proven), (Lsn(5), End::Torn, Lsn(10)));
    }

    #[test]
    fn a_frame_cut_off_by_damage_in_what_was_durable_is_missed() {
        // The first frame is checkpointed and no longer needed, but the one behind it is, and nothing later proves it.
        let mut bytes = Vec::new();
        put(&mut bytes, (1, 0), 0, 5, 0);
        put(&mut bytes, (1, 0), 5, 5, 0);
        bytes[60] ^= 1;
        let spans = [Span { epoch: 1, first_lsn: Lsn(0) }];
        let scan = segment(&bytes, SECTOR, |_| true);
        assert_eq!(scan.generation, None);
        let missing = cut_off(&scan, &spans, Lsn(5), Lsn(5)).unwrap();
        assert_eq!(missing.first_lsn, Lsn(5));
        assert_eq!(cut_off(&scan, &spans, Lsn(0), Lsn(0)), None, "torn: the first frame was never synced");
        assert_eq!(cut_off(&scan, &[], Lsn(5), Lsn(5)), None, "an epoch that is no part of the log");
        assert!(cut_off(&scan, &spans, Lsn(9), Lsn(5)).is_some(), "its last point is missing");
        assert_eq!(cut_off(&scan, &spans, Lsn(10), Lsn(5)), None, "the log reaches behind it");
        for (next_span, is_missing) in [(5, false), (6, true)] {
            let spans = [spans[0], Span { epoch: 2, first_lsn: Lsn(next_span) }];
            assert_eq!(cut_off(&scan, &spans, Lsn(5), Lsn(5)).is_some(), is_missing, "up to {next_span}");
        }
    }

    #[test]
    fn frames_of_another_stream_s_tags_are_no_part_of_a_segment() {
        let mut bytes = Vec::new();
        put(&mut bytes, (1, 0), 0, 5, 0);
        put(&mut bytes, (1, 0), 5, 5, 5);
        let scan = segment(&bytes, SECTOR, |tag| tag.get() != 1);
        assert_eq!(
            (scan.generation, scan.end, scan.strays.len(), scan.proven),
            (None, End::Stale, 0, Lsn(0))
        );
    }

    #[test]
    fn a_later_epoch_cuts_the_tail_of_the_one_before() {
        let mut old = Vec::new();
        put(&mut old, (1, 0), 0, 5, 0);
        put(&mut old, (1, 0), 5, 5, 0);
        let mut new = Vec::new();
        put(&mut new, (3, 0), 5, 7, 5);
        let mut never = Vec::new();
        put(&mut never, (2, 0), 5, 9, 5);
        let segments = [&new, &never, &old].map(|bytes| segment(bytes, SECTOR, |_| true));
        let spans = [Span { epoch: 1, first_lsn: Lsn(0) }, Span { epoch: 3, first_lsn: Lsn(5) }];
        let chain = chain(&segments, &spans, Lsn(2));
        let part = |segment, frames, end| Part { segment, frames, end_lsn: Lsn(end) };
        assert_eq!(chain.parts, [part(2, 0..1, 5), part(0, 0..1, 12)]);
        assert_eq!((chain.end_lsn, chain.stale), (Lsn(12), vec![1]));
    }

    #[test]
    fn a_proof_or_a_seam_inside_a_frame_splits_it() {
        let mut old = Vec::new();
        put(&mut old, (1, 0), 0, 5, 0);
        put(&mut old, (1, 0), 5, 5, 0);
        let mut new = Vec::new();
        put(&mut new, (2, 0), 10, 5, 5);
        let split = |new: &Vec<u8>, cut, from, proven| {
            let segments = [&old, new].map(|bytes| segment(bytes, SECTOR, |_| true));
            let spans = [Span { epoch: 1, first_lsn: Lsn(0) }, Span { epoch: 2, first_lsn: Lsn(cut) }];
            split_frame(|at| &segments[at].frames, &chain(&segments, &spans, Lsn(from)), Lsn(proven))
        };
        for proven in [0, 5, 10, 15] {
            assert_eq!(split(&new, 10, 0, proven), None, "between frames");
        }
        assert_eq!(split(&new, 10, 3, 5), None, "a block has the first points of a frame");
        let inside = [4, 6, 11].map(|proven| split(&new, 10, 0, proven));
        assert_eq!(inside, [Some((0, 0)), Some((0, 1)), Some((1, 0))]);
        assert_eq!(split(&new, 7, 0, 0), Some((0, 1)), "the span behind it begins inside it");
        // A segment that begins below the end of the one before it.
        new.clear();
        put(&mut new, (2, 0), 8, 5, 0);
        assert_eq!(split(&new, 10, 0, 0), Some((1, 0)));
    }
}
