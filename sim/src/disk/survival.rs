//! A crash: what of the unsynced survives.
//!
//! Every unsynced sector survives in any of its versions, independently of the others, and every unsynced change of a
//! name has happened or not. Drawing each of them alone would hardly ever give the images that hurt - all but one, only
//! the last, everything up to some moment - so each crash first draws a [`Pattern`].

use super::media::{DirtySector, File, Media, NameChange, Names, SECTOR};
use crate::choice::{Chooser, Concern};
use crate::fault::{Fault, FaultCounts};
use crate::timeline::Timeline;
use std::sync::Arc;

/// What an interrupted write can do inside a sector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Any of the others, drawn for each crash.
    #[default]
    Any,
    /// A sector holds one version or another.
    Sector,
    /// A sector may be new up to a byte and old behind it.
    Byte,
    /// A sector whose write was interrupted may hold zeros or noise.
    Garbage,
}

impl Profile {
    /// All profiles, with the names that the command line takes.
    pub const ALL: [(&str, Profile); 4] = [
        ("any", Profile::Any),
        ("sector", Profile::Sector),
        ("byte", Profile::Byte),
        ("garbage", Profile::Garbage),
    ];
}

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
}

impl Pattern {
    fn draw(chooser: &mut Chooser, dirty: u32, writes: &[u64]) -> Pattern {
        let moment =
            |chooser: &mut Chooser| writes[chooser.below(Concern::Survival, writes.len() as u32) as usize];
        if dirty == 0 {
            return Pattern::Nothing;
        }
        match chooser.below(Concern::Survival, 10) {
            0 => Pattern::Nothing,
            1 => Pattern::Everything,
            2 | 3 => Pattern::AllButOne { sector: chooser.below(Concern::Survival, dirty) },
            4 => Pattern::OnlyOne { sector: chooser.below(Concern::Survival, dirty) },
            5 => Pattern::Until { write: moment(chooser) },
            6 => Pattern::After { write: moment(chooser) },
            7 => Pattern::WholeFiles,
            _ => Pattern::Any,
        }
    }

    fn version(self, chooser: &mut Chooser, index: u32, versions: &DirtySector, whole: bool) -> usize {
        let last = versions.last();
        match self {
            Pattern::Nothing => 0,
            Pattern::Everything => last,
            Pattern::Any => chooser.below(Concern::Survival, last as u32 + 1) as usize,
            Pattern::AllButOne { sector } if sector == index => {
                chooser.below(Concern::Survival, last as u32) as usize
            }
            Pattern::AllButOne { .. } => last,
            Pattern::OnlyOne { sector } => usize::from(sector == index) * last,
            Pattern::Until { write } => versions.writes.partition_point(|at| *at <= write),
            Pattern::After { write } => usize::from(versions.writes[last - 1] > write) * last,
            Pattern::WholeFiles => usize::from(whole) * last,
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
    let profile = match profile {
        Profile::Any => chooser.pick(Concern::Survival, &[Profile::Sector, Profile::Byte, Profile::Garbage]),
        given => given,
    };
    let mut writes: Vec<u64> = media.files.iter().flat_map(|file| file.unsynced_writes()).collect();
    writes.sort_unstable();
    writes.dedup();
    let dirty = media.files.iter().map(|file| file.dirty_count() as u32).sum();
    let pattern = Pattern::draw(chooser, dirty, &writes);
    let mut fates = Fates::default();
    let mut index = 0;
    let files = media
        .files
        .iter()
        .map(|file| {
            if file.is_clean() {
                return file.clone();
            }
            let whole = matches!(pattern, Pattern::WholeFiles) && chooser.below(Concern::Survival, 2) == 1;
            let mut bytes = file.bytes().to_vec();
            let len = surviving_len(chooser, file, &pattern, counts);
            bytes.resize(bytes.len().max(len as usize), 0);
            let mut hollow = false;
            for versions in &file.dirty_sectors() {
                let chosen = pattern.version(chooser, index, versions, whole);
                index += 1;
                fates.note(versions, chosen);
                let start = versions.sector * SECTOR;
                hollow |= chosen == 0 && start as u64 >= file.durable_len && (start as u64) < len;
                let mut content = versions.get(chosen).to_vec();
                if chosen > 0 {
                    tear(chooser, profile, &mut content, versions.get(chosen - 1), counts);
                }
                let start = start.min(bytes.len());
                let end = (start + SECTOR).min(bytes.len());
                bytes[start..end].copy_from_slice(&content[..end - start]);
            }
            bytes.truncate(len as usize);
            if len > file.durable_len {
                counts.count(Fault::SizeKept, hollow);
            }
            Arc::new(File::durable(bytes))
        })
        .collect();
    fates.count(counts);
    let names = surviving_names(media, chooser, counts);
    timeline.note(&[fates.lost, fates.kept, names.len() as u64], || {
        format!(
            "POWER CUT  {pattern:?}, {profile:?}: of {dirty} unsynced sectors {} lost, {} kept; {} files",
            fates.lost,
            fates.kept,
            names.len()
        )
    });
    Media::durable(files, names)
}

/// A file's size is metadata of its own: it may be any that the file had, whatever became of the data.
fn surviving_len(chooser: &mut Chooser, file: &File, pattern: &Pattern, counts: &mut FaultCounts) -> u64 {
    let Some(last) = file.lens.last() else { return file.durable_len };
    let len = match pattern {
        Pattern::Nothing => file.durable_len,
        Pattern::Everything => *last,
        _ => match chooser.below(Concern::Survival, 4) {
            0 => file.durable_len,
            1 => file.lens[chooser.below(Concern::Survival, file.lens.len() as u32) as usize],
            _ => *last,
        },
    };
    counts.count(Fault::SizeLost, len < *last);
    len
}

/// What an interrupted write leaves inside a sector that was being replaced.
fn tear(chooser: &mut Chooser, profile: Profile, content: &mut [u8], old: &[u8], counts: &mut FaultCounts) {
    // Rarely: more than one torn sector in a crash hides what the first one shows.
    match profile {
        Profile::Any | Profile::Sector => {}
        Profile::Byte => {
            let torn = chooser.chance(Concern::Survival, 24);
            counts.count(Fault::TornByte, torn);
            if torn {
                let at = chooser.below(Concern::Survival, SECTOR as u32) as usize;
                content[at..].copy_from_slice(&old[at..]);
            }
        }
        Profile::Garbage => {
            let garbage = chooser.chance(Concern::Survival, 24);
            counts.count(Fault::Garbage, garbage);
            if garbage {
                let noise = chooser.below(Concern::Survival, 256);
                for (at, byte) in content.iter_mut().enumerate() {
                    // 0 is a sector of zeros.
                    *byte = (noise.wrapping_mul(at as u32 * 2 + 1) >> 3) as u8;
                }
            }
        }
    }
}

fn surviving_names(media: &Media, chooser: &mut Chooser, counts: &mut FaultCounts) -> Names {
    let mut names = Names::clone(&media.durable_names);
    if media.name_changes.is_empty() {
        return names;
    }
    let all = chooser.below(Concern::Survival, 4);
    for change in &media.name_changes {
        let kept = match all {
            0 => false,
            1 => true,
            _ => chooser.below(Concern::Survival, 2) == 1,
        };
        let (lost_fault, kept_fault) = match change {
            NameChange::Create { .. } => (Fault::CreateLost, Fault::CreateKept),
            NameChange::Rename { .. } => (Fault::RenameLost, Fault::RenameKept),
            NameChange::Remove { .. } => (Fault::RemoveLost, Fault::RemoveKept),
        };
        counts.count(lost_fault, !kept);
        counts.count(kept_fault, kept);
        if !kept {
            continue;
        }
        apply_name_change(&mut names, change);
    }
    names
}

/// A change of the directory takes effect, whatever became of those before it.
pub(super) fn apply_name_change(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Create { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename { from, to, inode } => {
            // The old name may lead to another file by now, or to none because its creation was lost.
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
        NameChange::Remove { name } => {
            names.remove(name);
        }
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
    fn note(&mut self, versions: &DirtySector, chosen: usize) {
        let (kept, lost) = versions.writes.split_at(chosen);
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
