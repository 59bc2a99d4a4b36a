//! A crash: what of the unsynced survives.
//!
//! Every unsynced sector survives in any of its versions, independently of the others, and every unsynced change of a
//! name has happened or not, as far as the disk's [`Persistence`] allows. Drawing each of them alone would hardly ever
//! give the images that hurt - all but one, only the last, everything up to some moment - so each crash first draws a
//! [`Pattern`].

use super::atom::{Atom, dirty_atoms};
use super::media::{File, Media, NameChange, Names, SECTOR};
use super::persistence::{self, Content, NameOrder, Persistence, Profile, Rest, Torn};
use crate::blind::{self, Blind};
use crate::choice::{Chooser, Concern};
use crate::fault::{Fault, FaultCounts};
use crate::timeline::Timeline;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How the unsynced versions of a crash are chosen.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// Nothing unsynced survives.
    Nothing,
    /// Everything does.
    Everything,
    /// Each sector in any version.
    Any,
    /// Everything but one sector.
    AllButOne { sector: u32 },
    /// One sector alone.
    OnlyOne { sector: u32 },
    /// What was written up to a moment.
    Until { write: u64 },
    /// What was written after a moment.
    After { write: u64 },
    /// Of each file all or nothing.
    WholeFiles,
    /// Everything that was written, but no file has become shorter: what was cut off is there again, behind what was written
    /// since.
    Uncut,
}

impl Pattern {
    fn draw(chooser: &mut Chooser, dirty: u32, writes: &[u64], cuts: &[u64]) -> Pattern {
        let moment =
            |chooser: &mut Chooser| writes[chooser.below(Concern::Survival, writes.len() as u32) as usize];
        if dirty == 0 {
            return Pattern::Nothing;
        }
        if blind::on(Blind::NeverReorders) {
            return Pattern::Until { write: moment(chooser) };
        }
        match chooser.below(Concern::Survival, if cuts.is_empty() { 10 } else { 13 }) {
            0 => Pattern::Nothing,
            1 => Pattern::Everything,
            2 | 3 => Pattern::AllButOne { sector: chooser.below(Concern::Survival, dirty) },
            4 => Pattern::OnlyOne { sector: chooser.below(Concern::Survival, dirty) },
            5 => Pattern::Until { write: moment(chooser) },
            6 => Pattern::After { write: moment(chooser) },
            7 => Pattern::WholeFiles,
            10.. => Pattern::Uncut,
            _ => Pattern::Any,
        }
    }

    fn version(self, chooser: &mut Chooser, index: u32, atom: &Atom<'_>, whole: bool, cuts: &[u64]) -> usize {
        let last = atom.last();
        match self {
            Pattern::Nothing => 0,
            Pattern::Everything => last,
            Pattern::Any => chooser.below(Concern::Survival, last as u32 + 1) as usize,
            Pattern::AllButOne { sector } if sector == index => {
                chooser.below(Concern::Survival, last as u32) as usize
            }
            Pattern::AllButOne { .. } => last,
            Pattern::OnlyOne { sector } => usize::from(sector == index) * last,
            Pattern::Until { write } => atom.version_at(write),
            Pattern::After { write } => usize::from(atom.writes[last - 1] > write) * last,
            Pattern::WholeFiles => usize::from(whole) * last,
            Pattern::Uncut => {
                atom.writes.iter().rposition(|write| !cuts.contains(write)).map_or(0, |written| written + 1)
            }
        }
    }
}

/// The media that survive.
pub(super) fn crash(
    media: &Media,
    chooser: &mut Chooser,
    profile: Profile,
    counts: &mut FaultCounts,
    timeline: &Timeline,
) -> Media {
    let disk = match &profile.points()[..] {
        [one] => *one,
        several => chooser.pick(Concern::Survival, several),
    };
    let mut writes: Vec<u64> = media.files.iter().flat_map(|file| file.unsynced_writes()).collect();
    writes.sort_unstable();
    writes.dedup();
    let atoms: Vec<_> = media
        .files
        .iter()
        .map(|file| if file.is_clean() { Vec::new() } else { dirty_atoms(file, disk.atom_sectors()) })
        .collect();
    let dirty = atoms.iter().map(|atoms| atoms.len() as u32).sum();
    let cuts: Vec<u64> = media.files.iter().flat_map(|file| file.cuts()).collect();
    let pattern = Pattern::draw(chooser, dirty, &writes, &cuts);
    let mut fates = Fates::default();
    let mut index = 0;
    let mut torn = Vec::new();
    // What survives whole of each file: whether names and lengths that wait for data may survive depends on it.
    let mut whole_until = vec![u64::MAX; media.files.len()];
    let files = media
        .files
        .iter()
        .zip(&atoms)
        .enumerate()
        .map(|(inode, (file, atoms))| {
            if file.is_clean() {
                return file.clone();
            }
            let owed = data_owed(media, inode, disk);
            let whole = matches!(pattern, Pattern::WholeFiles) && chooser.below(Concern::Survival, 2) == 1;
            let drawn_len = draw_length(chooser, file, &pattern);
            let mut contents = Vec::with_capacity(atoms.len());
            for atom in atoms {
                let chosen = pattern.version(chooser, index, atom, whole, &cuts).max(atom.version_at(owed));
                index += 1;
                fates.note(atom, chosen);
                contents.push(tear(chooser, disk, chosen, atom.version_at(owed), counts));
            }
            let covered = covered_until(atoms, &contents);
            let length = surviving_length(file, drawn_len, disk, owed..=covered);
            let length = if blind::on(Blind::KeepsSizes) { file.lens.len() } else { length };
            if disk.waits_for_data() {
                let settled = length.checked_sub(1).map_or(0, |last| file.lens[last].write);
                undo_cuts(file, settled, atoms, &mut contents);
            }
            let later_length = file.lens.get(length).map_or(u64::MAX, |later| later.write - 1);
            whole_until[inode] = covered.min(later_length);
            let len = if length == 0 { file.durable_len } else { file.lens[length - 1].bytes };
            if let Some(last) = file.lens.last() {
                counts.count(Fault::SizeLost, len < last.bytes);
            }
            let mut bytes = file.bytes().to_vec();
            bytes.resize(bytes.len().max(len as usize), 0);
            let mut hollow = false;
            for (atom, content) in atoms.iter().zip(contents) {
                if let Content::Interrupted { at, .. } = content {
                    torn.push((inode, atom.offset + at));
                }
                let at = atom.offset as u64;
                hollow |= content == Content::Version(0) && at >= file.durable_len && at < len;
                let start = atom.offset.min(bytes.len());
                let end = (atom.offset + atom.contents[0].len()).min(bytes.len());
                content.fill(&atom.contents, &mut bytes[start..end]);
            }
            bytes.truncate(len as usize);
            if len > file.durable_len {
                counts.count(Fault::SizeKept, hollow);
            }
            Arc::new(file.survivor(bytes))
        })
        .collect();
    fates.count(counts);
    let names = surviving_names(media, chooser, disk, &whole_until, counts);
    timeline.note(&[fates.lost, fates.kept, names.len() as u64], || {
        format!(
            "POWER CUT  {pattern:?}, {disk}: of {dirty} unsynced sectors {} lost, {} kept; {} files{}",
            fates.lost,
            fates.kept,
            names.len(),
            interrupted(&names, &torn)
        )
    });
    Media::durable(files, names, media.writes)
}

/// Where writes stopped inside themselves, in words: the file, and its first byte that did not arrive.
fn interrupted(names: &Names, torn: &[(usize, usize)]) -> String {
    let named = |inode: usize| names.iter().find(|(_, named)| **named == inode).map(|(name, _)| name);
    let places = torn.iter().filter_map(|(inode, at)| Some(format!("{} at byte {at}", named(*inode)?)));
    let places = places.collect::<Vec<_>>();
    if places.is_empty() { String::new() } else { format!("; torn: {}", places.join(", ")) }
}

/// The write up to which a file's data and length survive in any case: its name is durable, and no name before that.
pub(super) fn data_owed(media: &Media, inode: usize, disk: Persistence) -> u64 {
    if !disk.waits_for_data() {
        return 0;
    }
    let durable = media.file(inode).named_after;
    if disk.names != NameOrder::AtOnce {
        return durable;
    }
    media.name_changes.iter().filter_map(|change| change.data_before(inode)).fold(durable, u64::max)
}

/// The write up to which everything that was written to a file survives.
fn covered_until(atoms: &[Atom<'_>], contents: &[Content]) -> u64 {
    let first_lost = |(atom, content): (&Atom<'_>, &Content)| atom.writes.get(content.whole()).copied();
    let lost = atoms.iter().zip(contents).filter_map(first_lost).min();
    lost.map_or(u64::MAX, |first| first - 1)
}

/// A length that does not survive has not cut anything off either: where lengths wait for data, a file is not shortened in
/// parts. `settled` is the write that made the length which survives.
fn undo_cuts(file: &File, settled: u64, atoms: &[Atom<'_>], contents: &mut [Content]) {
    let cuts: Vec<u64> = file.cuts().filter(|write| *write > settled).collect();
    for (atom, content) in atoms.iter().zip(contents) {
        while let Some(version) =
            content.whole().checked_sub(1).filter(|last| cuts.contains(&atom.writes[*last]))
        {
            *content = Content::Version(version);
        }
    }
}

/// A file's size is metadata of its own. Counted from the durable length, which is 0.
fn draw_length(chooser: &mut Chooser, file: &File, pattern: &Pattern) -> usize {
    let count = file.lens.len();
    if count == 0 {
        return 0;
    }
    match pattern {
        Pattern::Nothing => 0,
        Pattern::Everything => count,
        Pattern::Uncut => {
            file.lengths().enumerate().max_by_key(|(_, bytes)| *bytes).map_or(0, |(longest, _)| longest)
        }
        _ => match chooser.below(Concern::Survival, 4) {
            0 => 0,
            1 => chooser.below(Concern::Survival, count as u32) as usize + 1,
            _ => count,
        },
    }
}

/// The drawn length, or the next one that the disk allows, where what was written up to the end of `data` survives, and
/// up to its start had to.
fn surviving_length(file: &File, drawn: usize, disk: Persistence, data: RangeInclusive<u64>) -> usize {
    let up_to = |write: u64| file.lens.partition_point(|length| length.write <= write);
    let possible = disk.lengths(file.lens.len(), up_to(*data.end()));
    drawn.clamp(*possible.start(), *possible.end()).max(up_to(*data.start()))
}

/// What becomes of an atom whose version `chosen` was the last to be written; the first `owed` are there for sure.
fn tear(
    chooser: &mut Chooser,
    disk: Persistence,
    chosen: usize,
    owed: usize,
    counts: &mut FaultCounts,
) -> Content {
    let bytes = disk.atom == persistence::Atom::Byte;
    let fault = match disk.torn {
        Torn::Old if bytes => Fault::TornByte,
        Torn::Old => return Content::Version(chosen),
        Torn::Zero | Torn::Garbage => Fault::Garbage,
    };
    if chosen == 0 || chosen == owed || blind::on(Blind::NeverTears) {
        return Content::Version(chosen);
    }
    // Rarely: more than one torn sector in a crash hides what the first one shows.
    let torn = chooser.chance(Concern::Survival, 24);
    counts.count(fault, torn);
    if !torn {
        return Content::Version(chosen);
    }
    let at = if bytes { chooser.below(Concern::Survival, SECTOR as u32) as usize } else { 0 };
    let rest = match disk.torn {
        Torn::Old => Rest::Old,
        Torn::Zero => Rest::Zero,
        Torn::Garbage => Rest::Noise(chooser.below(Concern::Survival, 256) as u8),
    };
    Content::Interrupted { version: chosen, at, rest }
}

fn surviving_names(
    media: &Media,
    chooser: &mut Chooser,
    disk: Persistence,
    whole_until: &[u64],
    counts: &mut FaultCounts,
) -> Names {
    let mut names = Names::clone(&media.durable_names);
    let changes = &media.name_changes;
    if changes.is_empty() {
        return names;
    }
    let mut kept = draw_names(chooser, disk, changes.len());
    if disk.waits_for_data() {
        let data_is_there = |change: &NameChange| {
            (0..media.files.len())
                .filter_map(|inode| Some((inode, change.data_before(inode)?)))
                .all(|(inode, before)| before <= whole_until[inode])
        };
        kept.iter_mut().zip(changes).for_each(|(kept, change)| *kept &= data_is_there(change));
        if disk.names == NameOrder::InOrder {
            let first_lost = kept.iter().position(|kept| !kept).unwrap_or(kept.len());
            kept[first_lost..].fill(false);
        }
    }
    for (change, kept) in changes.iter().zip(kept) {
        let kept = kept || blind::on(Blind::KeepsNames);
        let (lost_fault, kept_fault) = match change {
            NameChange::Create { .. } => (Fault::CreateLost, Fault::CreateKept),
            NameChange::Rename { .. } => (Fault::RenameLost, Fault::RenameKept),
            NameChange::Remove { .. } => (Fault::RemoveLost, Fault::RemoveKept),
        };
        counts.count(lost_fault, !kept);
        counts.count(kept_fault, kept);
        if kept {
            change.apply(&mut names);
        }
    }
    names
}

/// One of the sets that [`Persistence::name_sets`] lists.
fn draw_names(chooser: &mut Chooser, disk: Persistence, changes: usize) -> Vec<bool> {
    if disk.names == NameOrder::AtOnce {
        return vec![true; changes];
    }
    match (chooser.below(Concern::Survival, 4), disk.names) {
        (0, _) => vec![false; changes],
        (1, _) => vec![true; changes],
        (_, NameOrder::InOrder) => {
            let happened = chooser.below(Concern::Survival, changes as u32 + 1) as usize;
            (0..changes).map(|change| change < happened).collect()
        }
        _ => (0..changes).map(|_| chooser.below(Concern::Survival, 2) == 1).collect(),
    }
}

/// What became of the writes of a crash.
#[derive(Default)]
struct Fates {
    lost: u64,
    kept: u64,
    stale: u64,
    /// The latest write of which something survives, the earliest of which something is lost.
    last_kept: u64,
    first_lost: Option<u64>,
    /// (write, whether this sector of it survives)
    sectors: Vec<(u64, bool)>,
}

impl Fates {
    fn note(&mut self, atom: &Atom<'_>, chosen: usize) {
        let (kept, lost) = atom.writes.split_at(chosen);
        if lost.is_empty() {
            self.kept += 1;
        } else {
            self.lost += 1;
        }
        if let Some(write) = kept.last() {
            self.stale += u64::from(!lost.is_empty());
            self.last_kept = self.last_kept.max(*write);
            self.sectors.push((*write, true));
        }
        if let Some(write) = lost.first() {
            self.first_lost = Some(self.first_lost.map_or(*write, |first| first.min(*write)));
        }
        self.sectors.extend(lost.iter().map(|write| (*write, false)));
    }

    fn count(&mut self, counts: &mut FaultCounts) {
        if self.lost + self.kept == 0 {
            return;
        }
        counts.count(Fault::Lost, self.lost > 0);
        counts.count(Fault::Reordered, self.first_lost.is_some_and(|first| first < self.last_kept));
        counts.count(Fault::Stale, self.stale > 0);
        self.sectors.sort_unstable();
        let torn = self.sectors.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1);
        counts.count(Fault::Torn, torn);
    }
}
