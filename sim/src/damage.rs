//! Damage at rest: what is done to a disk on which everything is durable, and what the store must say to it.
//!
//! It must notice, or not be harmed: never a wrong value, never a durable point dropped in silence (I6). What exactly it
//! owes depends on the place, which `inspect` of the undamaged disk tells.

use crate::choice::{Chooser, Concern};
use crate::disk::Damage;
use crate::fault::Fault;
use tidewall::store::block::BlockRef;
use tidewall::wal::scan::FrameAt;
use tidewall::{Inspection, Lsn, SegmentInfo};

/// One piece of damage.
#[derive(Clone, Debug)]
pub struct Strike {
    /// What did it.
    pub fault: Fault,
    /// The file that it strikes.
    pub file: String,
    /// What happens to it.
    pub change: Damage,
    /// What the store owes.
    pub expected: Expected,
}

/// What a store owes to damage. Refusing to open is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Everything as if nothing had happened.
    Unharmed,
    /// Points may be gone: the damage is in the last group of a log, and nothing that is left proves that it was
    /// durable. No store that syncs a group once can tell this from a torn tail.
    MayLoseTail,
    /// Opening must refuse.
    Refusal,
    /// Queries of this tag must fail; the other tags are unharmed.
    TagFails(u32),
}

/// Draws damage to one of these files. `None` if the drawn kind finds nothing to strike.
pub fn draw(chooser: &mut Chooser, inspection: &Inspection, files: &[(String, u64)]) -> Option<Strike> {
    match chooser.below(Concern::Faults, 12) {
        0 => misdirected(chooser, inspection),
        1 => gone(chooser, inspection),
        2 => cut(chooser, inspection),
        3 | 4 => flip_anywhere(chooser, inspection, files),
        _ => flip_where_it_matters(chooser, inspection),
    }
}

fn flip_anywhere(chooser: &mut Chooser, inspection: &Inspection, files: &[(String, u64)]) -> Option<Strike> {
    let files: Vec<_> = files.iter().filter(|(_, len)| *len > 0).collect();
    if files.is_empty() {
        return None;
    }
    let (file, len) = files[chooser.below(Concern::Faults, files.len() as u32) as usize];
    Some(flip(chooser, inspection, file, 0..*len))
}

/// In a frame, a block, a header or a record of the manifest; half of the time in its first bytes, whose fields a
/// decoder could believe without checking them.
fn flip_where_it_matters(chooser: &mut Chooser, inspection: &Inspection) -> Option<Strike> {
    let mut places: Vec<(&str, std::ops::Range<u64>)> = Vec::new();
    for segment in inspection.segments.iter().filter(|segment| !segment.live.is_empty()) {
        let used =
            |at: &FrameAt| (&segment.file[..], at.offset..at.offset + 48 + u64::from(at.header.count) * 17);
        places.extend(segment.frames.iter().map(used));
    }
    for chunk in inspection.chunks.iter().filter(|chunk| !chunk.blocks.is_empty()) {
        places.push((&chunk.file, 0..32));
        let used = |block: &BlockRef| block.offset..block.offset + u64::from(block.len);
        places.extend(chunk.blocks.iter().map(|(block, _)| (&chunk.file[..], used(block))));
    }
    places.extend(inspection.manifest_records.iter().map(|record| ("MANIFEST", record.clone())));
    // By kind of file first: there may be hundreds of frames to one record.
    let kind = chooser.pick(Concern::Faults, &["wal", "MANIFEST", "wal", "chunk"]);
    places.retain(|(file, _)| file.starts_with(kind));
    if places.is_empty() {
        return None;
    }
    let (file, mut range) = places.swap_remove(chooser.below(Concern::Faults, places.len() as u32) as usize);
    if chooser.chance(Concern::Faults, 128) {
        range.end = range.end.min(range.start + 48);
    }
    Some(flip(chooser, inspection, file, range))
}

fn flip(chooser: &mut Chooser, inspection: &Inspection, file: &str, bytes: std::ops::Range<u64>) -> Strike {
    let bits = (bytes.end - bytes.start) as u32 * 8;
    let bit = bytes.start * 8 + u64::from(chooser.below(Concern::Faults, bits));
    let expected = flipped(inspection, file, bit / 8);
    Strike { fault: Fault::BitRot, file: file.into(), change: Damage::Flip { bit }, expected }
}

/// A chunk ends before its last block does.
fn cut(chooser: &mut Chooser, inspection: &Inspection) -> Option<Strike> {
    let chunks: Vec<_> = inspection.chunks.iter().filter(|chunk| !chunk.blocks.is_empty()).collect();
    if chunks.is_empty() {
        return None;
    }
    let chunk = chunks[chooser.below(Concern::Faults, chunks.len() as u32) as usize];
    let end = chunk.blocks.iter().map(|(block, _)| block.offset + u64::from(block.len)).max()?;
    let change = Damage::Cut { len: chooser.below(Concern::Faults, end as u32).into() };
    Some(Strike { fault: Fault::FileCut, file: chunk.file.clone(), change, expected: Expected::Refusal })
}

/// A write of one block landed where another one of its chunk is.
fn misdirected(chooser: &mut Chooser, inspection: &Inspection) -> Option<Strike> {
    let chunks: Vec<_> = inspection.chunks.iter().filter(|chunk| chunk.blocks.len() >= 2).collect();
    if chunks.is_empty() {
        return None;
    }
    let chunk = chunks[chooser.below(Concern::Faults, chunks.len() as u32) as usize];
    let mut pick = || chunk.blocks[chooser.below(Concern::Faults, chunk.blocks.len() as u32) as usize].0;
    let (mut from, mut to) = (pick(), pick());
    if from.len > to.len {
        (from, to) = (to, from);
    }
    let change = Damage::Copy { from: from.offset, to: to.offset, len: from.len.into() };
    let expected = Expected::TagFails(to.tag.get());
    (from != to).then(|| Strike { fault: Fault::Misdirected, file: chunk.file.clone(), change, expected })
}

/// A file that the store cannot do without.
fn gone(chooser: &mut Chooser, inspection: &Inspection) -> Option<Strike> {
    let chunks = inspection.chunks.iter().filter(|chunk| !chunk.blocks.is_empty());
    let mut files: Vec<_> = chunks.map(|chunk| chunk.file.clone()).collect();
    if !files.is_empty() || inspection.segments.iter().any(|segment| !segment.frames.is_empty()) {
        files.push("MANIFEST".into());
    }
    // Of each stream as many as the manifest counts.
    let streams = inspection.version.iter().flat_map(|version| version.streams.iter().enumerate());
    files.extend(streams.flat_map(|(number, stream)| {
        let own = inspection.segments.iter().filter(move |segment| segment.stream == number);
        own.take(stream.segments as usize).map(|segment| segment.file.clone())
    }));
    if files.is_empty() {
        return None;
    }
    let file = files.swap_remove(chooser.below(Concern::Faults, files.len() as u32) as usize);
    Some(Strike { fault: Fault::FileGone, file, change: Damage::Remove, expected: Expected::Refusal })
}

/// What follows from one damaged byte.
fn flipped(inspection: &Inspection, file: &str, byte: u64) -> Expected {
    if let Some(segment) = inspection.segments.iter().find(|segment| segment.file == file) {
        return in_segment(inspection, segment, byte);
    }
    if let Some(chunk) = inspection.chunks.iter().find(|chunk| chunk.file == file && !chunk.blocks.is_empty())
    {
        let hit = chunk
            .blocks
            .iter()
            .find(|(block, _)| (block.offset..block.offset + u64::from(block.len)).contains(&byte));
        return match hit {
            Some((block, _)) => Expected::TagFails(block.tag.get()),
            // The fields of the header; padding follows them.
            None if byte < 32 => Expected::Refusal,
            None => Expected::Unharmed,
        };
    }
    // A record with another one behind it was durable, and so was the first. Without the last edit the log must still
    // have what that put into blocks, or its segments' next use betrays that they were given back.
    let records = if file == "MANIFEST" { &inspection.manifest_records[..] } else { &[] };
    match records.iter().position(|record| record.contains(&byte)) {
        Some(index) if index == 0 || index + 1 < records.len() => Expected::Refusal,
        _ => Expected::Unharmed,
    }
}

fn in_segment(inspection: &Inspection, segment: &SegmentInfo, byte: u64) -> Expected {
    let version = inspection.version.as_ref().and_then(|version| version.streams.get(segment.stream));
    let Some(version) = version else { return Expected::Unharmed };
    let next = |index: usize| segment.frames.get(index + 1).map_or(segment.end_offset, |next| next.offset);
    let hit = segment.frames.iter().enumerate().find(|(index, at)| (at.offset..next(*index)).contains(&byte));
    let Some((_, hit)) = hit.filter(|_| !segment.live.is_empty()) else { return Expected::Unharmed };
    // What is left of the proofs once this frame is unreadable.
    let own = inspection.segments.iter().filter(|other| other.stream == segment.stream);
    let others = own.flat_map(|segment| &segment.frames);
    let proofs = others.filter(|other| other.header != hit.header).map(|other| other.header.durable_lsn);
    let proven = proofs.fold(version.durable_lsn, Lsn::max);
    let used = 48 + u64::from(hit.header.count) * 17;
    if hit.header.end_lsn() <= version.checkpoint_lsn {
        // Not needed, but what lies behind it may become unreachable: an intact frame there says so.
        Expected::Unharmed
    } else if hit.header.end_lsn() > proven {
        Expected::MayLoseTail
    } else if byte < hit.offset + used && segment.live.end == segment.frames.len() {
        Expected::Refusal
    } else {
        Expected::Unharmed
    }
}
