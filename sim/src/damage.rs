//! Damage at rest: what is done to a disk on which everything is durable, and what the store must say to it.
//!
//! It must notice, or not be harmed: never a wrong value, never a durable point dropped in silence (I6). What exactly it
//! owes depends on the place, which `inspect` of the undamaged disk tells.

use crate::choice::{Chooser, Concern};
use crate::disk::Damage;
use crate::fault::Fault;
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
    match chooser.below(Concern::Faults, 8) {
        0 => misdirected(chooser, inspection),
        1 => gone(chooser, inspection),
        _ => flip(chooser, inspection, files),
    }
}

fn flip(chooser: &mut Chooser, inspection: &Inspection, files: &[(String, u64)]) -> Option<Strike> {
    let files: Vec<_> = files.iter().filter(|(_, len)| *len > 0).collect();
    if files.is_empty() {
        return None;
    }
    let (file, len) = files[chooser.below(Concern::Faults, files.len() as u32) as usize];
    let bit = u64::from(chooser.below(Concern::Faults, *len as u32 * 8));
    let expected = flipped(inspection, file, bit / 8);
    Some(Strike { fault: Fault::BitRot, file: file.clone(), change: Damage::Flip { bit }, expected })
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
    if let Some(chunk) = inspection.chunks.iter().find(|chunk| chunk.file == file && !chunk.blocks.is_empty()) {
        let hit = chunk.blocks.iter().find(|(block, _)| {
            (block.offset..block.offset + u64::from(block.len)).contains(&byte)
        });
        return match hit {
            Some((block, _)) => Expected::TagFails(block.tag.get()),
            // The fields of the header; padding follows them.
            None if byte < 32 => Expected::Refusal,
            None => Expected::Unharmed,
        };
    }
    // The header of the first record. Behind it, padding and a torn edit may be damaged without harm.
    if file == "MANIFEST" && byte < 24 { Expected::Refusal } else { Expected::Unharmed }
}

fn in_segment(inspection: &Inspection, segment: &SegmentInfo, byte: u64) -> Expected {
    let Some(version) = &inspection.version else { return Expected::Unharmed };
    let next = |index: usize| segment.frames.get(index + 1).map_or(segment.end_offset, |next| next.offset);
    let hit = segment.frames.iter().enumerate().find(|(index, at)| (at.offset..next(*index)).contains(&byte));
    let Some((_, hit)) = hit.filter(|_| !segment.live.is_empty()) else { return Expected::Unharmed };
    // What is left of the proofs once this frame is unreadable.
    let others = inspection.segments.iter().flat_map(|segment| &segment.frames);
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
