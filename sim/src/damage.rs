//! Damage at rest: what is done to a disk on which everything is durable, and what the store must say to it.
//!
//! It must notice, or not be harmed: never a wrong value, never a durable point dropped in silence (I6). What exactly it
//! owes depends on the place, which `inspect` of the undamaged disk tells.
//!
//! One loss is allowed, and no more than that one: [`Expected::EndsAt`].

use crate::choice::{Chooser, Concern};
use crate::disk::{self, Damage, Renewed};
use crate::fault::Fault;
use std::collections::BTreeSet;
use std::ops::Range;
use tidewall::store::block::BlockRef;
use tidewall::store::chunk;
use tidewall::wal::scan::FrameAt;
use tidewall::{Inspection, Lsn, SegmentInfo};

const SECTOR: u64 = disk::SECTOR as u64;

/// How often a store opened, and showed everything, on a disk that is damaged where nothing is: one that refuses them all keeps its
/// promises, and is of no use.
pub const UNHARMED: &str = "opened_on_harmless_damage";

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Everything as if nothing had happened.
    Unharmed,
    /// The log of this file may end at this offset, and then the store shows exactly what it would if nothing had been
    /// written there or behind it: the damage is in the last group of a log, and nothing that is left proves that the group
    /// was durable. No store that syncs a group once can tell this from a torn tail. Where bytes cannot be read rather
    /// than being wrong it can, and then the loss is not allowed either.
    EndsAt(u64),
    /// Opening must refuse.
    Refusal,
    /// Queries of these tags must fail; the other tags are unharmed.
    TagsFail(BTreeSet<u32>),
}

impl Expected {
    /// Something that must be there cannot be: `inspect` has to say so.
    pub fn is_owed(&self) -> bool {
        matches!(self, Expected::Refusal | Expected::TagsFail(_))
    }
}

/// What damage to the sectors of a disk is drawn from.
pub struct Places<'a> {
    /// What is on the disk.
    pub inspection: &'a Inspection,
    /// Its files and their lengths.
    pub files: Vec<(String, u64)>,
    /// The sectors of a file that held something else before.
    pub renewed: &'a dyn Fn(&str) -> Vec<Renewed>,
}

/// Draws damage. `None` if the drawn kind finds nothing to strike.
pub fn draw(chooser: &mut Chooser, places: &Places<'_>) -> Option<Strike> {
    let inspection = places.inspection;
    match chooser.below(Concern::Faults, 18) {
        0 => misdirected(chooser, inspection),
        1 => gone(chooser, inspection),
        2 => cut(chooser, inspection),
        3 | 4 => flip_anywhere(chooser, inspection, &places.files),
        5..=11 => flip_where_it_matters(chooser, inspection),
        12 | 13 => aged(chooser, places, Fault::LostWrite),
        14 | 15 => aged(chooser, places, Fault::StaleRead),
        _ => unreadable(chooser, places),
    }
}

/// By kind of file first: there may be hundreds of sectors of logs to one of the manifest.
fn draw_file<'a>(chooser: &mut Chooser, places: &'a Places<'_>) -> Option<&'a (String, u64)> {
    let kind = chooser.pick(Concern::Faults, &["wal", "MANIFEST", "wal", "chunk"]);
    let used = |file: &str| {
        let mut segments = places.inspection.segments.iter();
        file.starts_with("wal") == segments.any(|segment| segment.file == file && !segment.live.is_empty())
    };
    let of_kind = |(name, len): &&(String, u64)| name.starts_with(kind) && *len > 0 && used(name);
    let files: Vec<_> = places.files.iter().filter(of_kind).collect();
    let index = (!files.is_empty()).then(|| chooser.below(Concern::Faults, files.len() as u32))?;
    Some(files[index as usize])
}

/// A sector holds, or is read once as, what it held before.
fn aged(chooser: &mut Chooser, places: &Places<'_>, fault: Fault) -> Option<Strike> {
    let (file, _) = draw_file(chooser, places)?;
    let mut renewed = (places.renewed)(file);
    if renewed.is_empty() {
        return None;
    }
    let index = chooser.below(Concern::Faults, renewed.len() as u32) as usize;
    let Renewed { sector, bytes } = renewed.swap_remove(index);
    let change = if fault == Fault::LostWrite { Damage::Age { sector } } else { Damage::AgeOnce { sector } };
    let expected = hit(places.inspection, file, &bytes);
    Some(Strike { fault, file: file.clone(), change, expected })
}

fn unreadable(chooser: &mut Chooser, places: &Places<'_>) -> Option<Strike> {
    let (file, len) = draw_file(chooser, places)?;
    let sector = u64::from(chooser.below(Concern::Faults, len.div_ceil(SECTOR) as u32));
    let bytes: Vec<u64> = (sector * SECTOR..((sector + 1) * SECTOR).min(*len)).collect();
    let expected = match hit(places.inspection, file, &bytes) {
        // A log whose end cannot be read is not one that ends.
        Expected::EndsAt(_) => Expected::Refusal,
        expected => expected,
    };
    Some(Strike {
        fault: Fault::LatentSector,
        file: file.clone(),
        change: Damage::Unreadable { sector },
        expected,
    })
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
    let mut places: Vec<(&str, Range<u64>)> = Vec::new();
    for segment in inspection.segments.iter().filter(|segment| !segment.live.is_empty()) {
        let used = |at: &FrameAt| (&segment.file[..], at.offset..at.offset + at.used);
        places.extend(segment.frames.iter().map(used));
    }
    for chunk in inspection.chunks.iter().filter(|chunk| !chunk.blocks.is_empty()) {
        places.push((&chunk.file, 0..chunk::FIELDS_BYTES as u64));
        let used = |block: &BlockRef| block.offset..block.end();
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

fn flip(chooser: &mut Chooser, inspection: &Inspection, file: &str, bytes: Range<u64>) -> Strike {
    let bits = (bytes.end - bytes.start) as u32 * 8;
    let bit = bytes.start * 8 + u64::from(chooser.below(Concern::Faults, bits));
    let expected = hit(inspection, file, &[bit / 8]);
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
    let expected = Expected::TagsFail([to.tag.get()].into());
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
    // By kind of file first: there is one manifest.
    let kind = chooser.pick(Concern::Faults, &["wal", "MANIFEST", "chunk"]);
    files.retain(|file| file.starts_with(kind));
    if files.is_empty() {
        return None;
    }
    let file = files.swap_remove(chooser.below(Concern::Faults, files.len() as u32) as usize);
    Some(Strike { fault: Fault::FileGone, file, change: Damage::Remove, expected: Expected::Refusal })
}

/// What follows from these damaged bytes of a file, in rising order.
fn hit(inspection: &Inspection, file: &str, bytes: &[u64]) -> Expected {
    let within = |range: &Range<u64>| bytes.iter().any(|byte| range.contains(byte));
    if let Some(segment) = inspection.segments.iter().find(|segment| segment.file == file) {
        return hit_in_segment(inspection, segment, within);
    }
    if let Some(chunk) = inspection.chunks.iter().find(|chunk| chunk.file == file && !chunk.blocks.is_empty())
    {
        // The fields of the header; padding follows them.
        if within(&(0..chunk::FIELDS_BYTES as u64)) {
            return Expected::Refusal;
        }
        let blocks = chunk.blocks.iter().map(|(block, _)| block);
        let hit = blocks.filter(|block| within(&(block.offset..block.end())));
        let tags: BTreeSet<u32> = hit.map(|block| block.tag.get()).collect();
        return if tags.is_empty() { Expected::Unharmed } else { Expected::TagsFail(tags) };
    }
    // A record with another one behind it was durable, and so was the first. Without the last edit the log must still
    // have what that put into blocks, or its segments' next use betrays that they were given back.
    let records = if file == "MANIFEST" { &inspection.manifest_records[..] } else { &[] };
    match records.iter().position(within) {
        Some(index) if index == 0 || index + 1 < records.len() => Expected::Refusal,
        _ => Expected::Unharmed,
    }
}

fn hit_in_segment(
    inspection: &Inspection,
    segment: &SegmentInfo,
    within: impl Fn(&Range<u64>) -> bool,
) -> Expected {
    let version = inspection.version.as_ref().and_then(|version| version.streams.get(segment.stream));
    let Some(version) = version.filter(|_| !segment.live.is_empty()) else { return Expected::Unharmed };
    let used = |at: &FrameAt| at.offset..at.offset + at.used;
    let place = |index: usize| {
        let next = segment.frames.get(index + 1).map_or(segment.end_offset, |next| next.offset);
        segment.frames[index].offset..next
    };
    // Of what is not needed something behind it may become unreachable: an intact frame there says so.
    let needed = |index: &usize| segment.frames[*index].header.end_lsn() > version.checkpoint_lsn;
    let first = (0..segment.frames.len()).filter(|index| within(&place(*index))).find(needed);
    let Some(first) = first.map(|index| &segment.frames[index]) else { return Expected::Unharmed };
    // What is left of the proofs once the frames that were hit are unreadable.
    let own = inspection.segments.iter().filter(|other| other.stream == segment.stream);
    let left = own
        .flat_map(|other| other.frames.iter().filter(|at| other.file != segment.file || !within(&used(at))));
    let proven = left.map(|at| at.header.durable_lsn).fold(version.durable_lsn, Lsn::max);
    let in_frame = within(&used(first));
    if first.header.end_lsn() > proven {
        Expected::EndsAt(if in_frame { first.offset } else { used(first).end })
    } else if in_frame && segment.live.end == segment.frames.len() {
        Expected::Refusal
    } else {
        Expected::Unharmed
    }
}
