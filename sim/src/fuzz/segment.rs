//! Target `segment`: of anything that lies in a segment, what is taken for the log is intact and belongs together, and
//! nothing that belongs to it is left out.
//!
//! The bytes are a segment; cut into pieces of 2 KiB they are also the segments of a small store.

use super::{reference, seal, wrong_accept, wrong_refusal};
use crate::drivers::Step;
use tidewall::wal::frame::{ALIGN, FrameHeader};
use tidewall::wal::scan::{self, End, SegmentScan};
use tidewall::{Lsn, Span, TagId};

const SECTOR: usize = 512;
/// Segments of the small store.
const PIECE: usize = 2048;

pub(super) fn ask(bytes: &[u8]) -> Step {
    scanned_as_described(bytes)?;
    let mut sealed = bytes.to_vec();
    seal::file(&mut sealed);
    scanned_as_described(&sealed)?;
    one_log(&sealed)
}

/// One of two streams: the tags of the other are in the wrong place here.
fn belongs(tag: TagId) -> bool {
    tag.stream(2) == 0
}

fn scanned_as_described(bytes: &[u8]) -> Step {
    let scan = scan::segment(bytes, SECTOR as u64, belongs);
    let (frames, place) = described(bytes);
    let found: Vec<_> = scan.frames.iter().map(|at| (at.offset as usize, at.header)).collect();
    if found != frames {
        let story = format!("frames at {:?}, not at {:?}", offsets(&found), offsets(&frames));
        return Err(if found.len() > frames.len() { wrong_accept(story) } else { wrong_refusal(story) });
    }
    let rest = bytes.get(place..).unwrap_or_default();
    let end = match reference::frame(rest) {
        Some(_) => End::Stale,
        None if rest.iter().take(8).all(|byte| *byte == 0) && (rest.len() >= 8 || is_zero(rest)) => {
            End::Blank
        }
        None => End::Torn,
    };
    if scan.end != end {
        return Err(wrong_accept(format!(
            "the log ends in {:?} at {place}, where there is {end:?}",
            scan.end
        )));
    }
    let behind = intact_behind(bytes, place);
    let strays: Vec<_> = behind.iter().copied().filter(|header| belongs(header.tag)).collect();
    if scan.strays != strays || scan.foreign.is_some() != (strays.len() < behind.len()) {
        return Err(wrong_accept(format!("behind {place} there are {strays:?}, not {:?}", scan.strays)));
    }
    let headers = frames.iter().map(|(_, header)| header).chain(&strays);
    let proven = headers.map(|header| header.durable_lsn).max().unwrap_or_default();
    if scan.proven != proven {
        return Err(wrong_accept(format!("{} is proven durable, not {proven}", scan.proven)));
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn offsets(frames: &[(usize, FrameHeader)]) -> Vec<usize> {
    frames.iter().map(|(offset, _)| *offset).collect()
}

/// The frames of one use of the segment, and the place where the next one would be.
fn described(bytes: &[u8]) -> (Vec<(usize, FrameHeader)>, usize) {
    let mut frames: Vec<(usize, FrameHeader)> = Vec::new();
    let mut place = 0;
    loop {
        let rest = bytes.get(place..).unwrap_or_default();
        if let Some(frame) = reference::frame(rest) {
            let follows = frames.last().is_none_or(|(_, last)| {
                last.generation == frame.header.generation && last.end_lsn() == frame.header.first_lsn
            });
            if !follows || !frame.shares.iter().all(|share| belongs(share.tag)) {
                return (frames, place);
            }
            frames.push((place, frame.header));
            place += frame.len;
        } else if !place.is_multiple_of(SECTOR) && !rest.is_empty() && is_zero(&rest[..rest.len().min(8)]) {
            // Padding: a frame's first byte is not 0, and the next one is at the start of a sector.
            place = place.next_multiple_of(SECTOR);
        } else {
            return (frames, place);
        }
    }
}

/// Every intact frame behind a place; what lies inside of one is its payload.
fn intact_behind(bytes: &[u8], place: usize) -> Vec<FrameHeader> {
    let mut found = Vec::new();
    let mut at = place.next_multiple_of(ALIGN);
    while at < bytes.len() {
        let frame = reference::frame(&bytes[at..]);
        at += frame.as_ref().map_or(ALIGN, |frame| frame.len);
        found.extend(frame.map(|frame| frame.header));
    }
    found
}

/// The log that several segments make: each part goes on where the one before ended, in rising generations.
fn one_log(bytes: &[u8]) -> Step {
    let segments: Vec<SegmentScan> =
        bytes.chunks(PIECE).map(|piece| scan::segment(piece, SECTOR as u64, belongs)).collect();
    let firsts = segments.iter().filter_map(|segment| segment.frames.first());
    let from = firsts.clone().map(|at| at.header.first_lsn).min().unwrap_or_default();
    // All epochs that come up are part of the log, each from its first frame on.
    let mut spans: Vec<Span> =
        firsts.map(|at| Span { epoch: at.header.generation.epoch, first_lsn: at.header.first_lsn }).collect();
    spans.sort_by_key(|span| (span.epoch, span.first_lsn));
    spans.dedup_by_key(|span| span.epoch);
    let chain = scan::chain(&segments, &spans, from);
    let mut end = from;
    let mut generation = None;
    for part in &chain.parts {
        let scan = &segments[part.segment];
        let frames = scan.frames.get(part.frames.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Err(wrong_accept(format!("a part of the log without a frame: {part:?}")));
        };
        if first.header.first_lsn > end || part.end_lsn <= end || last.header.end_lsn() < part.end_lsn {
            return Err(wrong_accept(format!("{part:?} does not go on at {end}")));
        }
        if scan.generation < generation {
            return Err(wrong_accept(format!("{part:?} is older than the part before it")));
        }
        (end, generation) = (part.end_lsn, scan.generation);
    }
    let read: usize = chain.parts.len() + chain.stale.len();
    let with_frames = segments.iter().filter(|segment| segment.generation.is_some()).count();
    if chain.end_lsn != end || read != with_frames {
        return Err(wrong_accept(format!("{read} of {with_frames} segments, the end is {}", chain.end_lsn)));
    }
    for segment in &segments {
        // Only that it ends, and that what it misses is there.
        if let Some(missing) = scan::cut_off(segment, &spans, end, Lsn(u64::MAX))
            && !segment.strays.contains(&missing)
        {
            return Err(wrong_accept(format!("{missing:?} is missed and is not there")));
        }
    }
    Ok(())
}
