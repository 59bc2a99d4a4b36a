//! A crash that is decided when somebody looks.
//!
//! After a crash, a sector that was written and not synced may hold any of its versions. To decide all of them at once
//! gives as many images as there are combinations, 2^17 for a tail of 17 sectors. But recovery reads the log from its
//! start and stops at the first frame that is not whole, so most of these images are alike to it. Here each sector keeps
//! all that it may hold until it is read, or written in part; then, and only then, it is decided. A run that never looks
//! at a sector stands for all the images that differ there, and says for how many ([`Fates::images`]).
//!
//! Names and lengths are open in the same way: names until the first call that depends on them, a file's length until the
//! first call on the file. What was not decided stays open through the next crash, beside what was written since.
//!
//! The idea is that of load-driven model checking of persistent memory (Jaaru: Gorjiara, Xu and Demsky, ASPLOS 2021).

use super::media::{DirtySector, File, Media, NameChange, Names, SECTOR};
use super::survival::Profile;
use crate::choice::{Chooser, Concern};
use num_bigint::BigUint;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// One content of a sector.
type Content = Arc<[u8]>;

/// What a sector holds that nobody has looked at. Loud, so that a read that does not ask first is found out.
const UNSEEN: u8 = 0xa5;

/// What a crash has left open.
#[derive(Clone, Debug)]
pub(super) struct Fates {
    /// What the directory may be; one when that is decided.
    names: Vec<Arc<Names>>,
    /// By inode.
    files: BTreeMap<usize, FileFates>,
}

#[derive(Clone, Debug)]
struct FileFates {
    /// How long it may be; one when that is decided.
    lens: Vec<u64>,
    /// Sectors that are not decided.
    sectors: BTreeMap<u32, Fate>,
}

#[derive(Clone, Debug)]
struct Fate {
    /// Two or more.
    candidates: Vec<Content>,
    /// Overwritten, and that is durable: it will never be seen, but the images that differ in it still count.
    buried: bool,
}

impl Fates {
    /// What a crash leaves, and what it leaves open; `before` is what the last one left open and nobody has decided since.
    pub(super) fn of_crash(media: &Media, before: Option<&Fates>, profile: Profile) -> (Media, Fates) {
        let names = match before {
            // Nobody has changed a directory that nobody has looked at.
            Some(before) if before.names.len() > 1 => before.names.clone(),
            _ => surviving_names(media),
        };
        let mut open = BTreeMap::new();
        let mut files = media.files.clone();
        let inodes: BTreeSet<usize> = names.iter().flat_map(|names| names.values().copied()).collect();
        for inode in inodes {
            let file = &media.files[inode];
            let before = before.and_then(|before| before.files.get(&inode));
            if file.is_clean() && before.is_none_or(FileFates::is_decided) {
                continue;
            }
            let mut fates = FileFates::of_crash(file, before, profile);
            files[inode] = Arc::new(fates.hide(file));
            open.insert(inode, fates);
        }
        let media = Media::durable(files, Names::clone(&names[0]));
        (media, Fates { names, files: open })
    }

    /// In how many images the crash may have ended, as far as it is not decided: exactly, and each counted once.
    pub(super) fn images(&self) -> BigUint {
        let of_names = |names: &Arc<Names>| -> BigUint {
            let inodes: BTreeSet<&usize> = names.values().collect();
            inodes.into_iter().filter_map(|inode| self.files.get(inode)).map(FileFates::images).product()
        };
        self.names.iter().map(of_names).sum()
    }

    /// Somebody looks at the directory.
    pub(super) fn decide_names(&mut self, media: &mut Media, chooser: &mut Chooser) {
        if self.names.len() > 1 {
            let chosen = chooser.below(Concern::Survival, self.names.len() as u32) as usize;
            self.names = vec![self.names.swap_remove(chosen)];
            media.settle_names(&self.names[0]);
        }
    }

    /// Somebody asks for a file's length, or needs to know it.
    pub(super) fn decide_len(&mut self, inode: usize, media: &mut Media, chooser: &mut Chooser) {
        let Some(file) = self.files.get_mut(&inode).filter(|file| file.lens.len() > 1) else { return };
        let chosen = chooser.below(Concern::Survival, file.lens.len() as u32) as usize;
        let len = file.lens[chosen];
        file.lens = vec![len];
        file.sectors = file.visible(len);
        media.file_mut(inode).settle_len(len);
    }

    /// Somebody reads this part of a file whose length is decided.
    pub(super) fn decide(
        &mut self,
        inode: usize,
        sectors: std::ops::Range<u32>,
        media: &mut Media,
        chooser: &mut Chooser,
    ) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        let seen = |(sector, fate): (&u32, &Fate)| {
            (!fate.buried && !media.file(inode).is_dirty(*sector)).then_some(*sector)
        };
        let seen: Vec<u32> = file.sectors.range(sectors).filter_map(seen).collect();
        for sector in seen {
            let fate = file.sectors.remove(&sector).expect("just found");
            let chosen = chooser.below(Concern::Survival, fate.candidates.len() as u32) as usize;
            media.file_mut(inode).settle(sector, &fate.candidates[chosen]);
        }
    }

    /// Somebody looks at everything.
    pub(super) fn decide_all(&mut self, media: &mut Media, chooser: &mut Chooser) {
        self.decide_names(media, chooser);
        let inodes: BTreeSet<usize> = media.names().values().copied().collect();
        for inode in inodes {
            self.decide_len(inode, media, chooser);
            self.decide(inode, 0..u32::MAX, media, chooser);
        }
    }

    /// Somebody overwrites this part of a file: what stays of a sector must be known.
    pub(super) fn decide_edges(
        &mut self,
        inode: usize,
        bytes: std::ops::Range<u64>,
        media: &mut Media,
        chooser: &mut Chooser,
    ) {
        let sector = SECTOR as u64;
        for edge in [bytes.start, bytes.end] {
            if !edge.is_multiple_of(sector) {
                let at = (edge / sector) as u32;
                self.decide(inode, at..at + 1, media, chooser);
            }
        }
    }

    /// A file is about to be synced: what was overwritten will never be seen.
    pub(super) fn bury(&mut self, inode: usize, media: &Media) {
        if let Some(file) = self.files.get_mut(&inode) {
            for (sector, fate) in &mut file.sectors {
                fate.buried |= media.file(inode).is_dirty(*sector);
            }
        }
    }

    /// The same for two states exactly if no program can tell them apart, ever; but for a collision of 128 bits.
    pub(super) fn digest(&self, media: &Media) -> u128 {
        let mut hash = Xxh3::new();
        let mut files: BTreeMap<usize, u128> = BTreeMap::new();
        for names in &self.names {
            hash.update(&(names.len() as u64).to_le_bytes());
            for (name, inode) in names.iter() {
                let digest = files.entry(*inode).or_insert_with(|| {
                    file_digest(media.file(*inode), self.files.get(inode).filter(|file| !file.is_decided()))
                });
                hash.update(&(name.len() as u64).to_le_bytes());
                hash.update(name.as_bytes());
                hash.update(&digest.to_le_bytes());
            }
        }
        hash.digest128()
    }
}

fn file_digest(file: &File, fates: Option<&FileFates>) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(file.bytes());
    if let Some(fates) = fates {
        fates.lens.iter().for_each(|len| hash.update(&len.to_le_bytes()));
        for (sector, fate) in fates.sectors.iter().filter(|(_, fate)| !fate.buried) {
            hash.update(&sector.to_le_bytes());
            hash.update(&(fate.candidates.len() as u64).to_le_bytes());
            fate.candidates.iter().for_each(|content| hash.update(content));
        }
    }
    hash.digest128()
}

impl FileFates {
    fn of_crash(file: &File, before: Option<&FileFates>, profile: Profile) -> FileFates {
        let lens = match before {
            Some(before) if before.lens.len() > 1 => before.lens.clone(),
            _ => distinct([file.durable_len].into_iter().chain(file.lens.iter().copied())),
        };
        let mut sectors: BTreeMap<u32, Fate> = BTreeMap::new();
        let open =
            |sector: u32| before.and_then(|before| before.sectors.get(&sector)).filter(|fate| !fate.buried);
        for versions in &file.dirty_sectors() {
            let base = open(versions.sector as u32).map(|fate| &fate.candidates[..]);
            let candidates = surviving_contents(base, versions, profile);
            sectors.insert(versions.sector as u32, Fate { candidates, buried: false });
        }
        for (sector, fate) in before.iter().flat_map(|before| &before.sectors) {
            if !fate.buried && !sectors.contains_key(sector) {
                sectors.insert(*sector, fate.clone());
            }
        }
        FileFates { lens, sectors }
    }

    fn is_decided(&self) -> bool {
        self.lens.len() <= 1 && self.sectors.values().all(|fate| fate.buried)
    }

    /// What the media hold until something is decided. Sectors that can hold one thing only are not open.
    fn hide(&mut self, file: &File) -> File {
        let mut bytes = file.bytes().to_vec();
        bytes.resize(self.lens.iter().copied().max().unwrap_or(0) as usize, 0);
        let mut hidden = File::durable(bytes);
        self.sectors.retain(|sector, fate| {
            let open = fate.candidates.len() > 1;
            hidden.settle(*sector, if open { &[UNSEEN; SECTOR] } else { &fate.candidates[0] });
            open
        });
        hidden
    }

    /// The sectors that a file of this length has, each with the contents that differ in it.
    fn visible(&self, len: u64) -> BTreeMap<u32, Fate> {
        let visible = self.sectors.range(..len.div_ceil(SECTOR as u64) as u32);
        visible
            .map(|(sector, fate)| {
                let shown = (len - u64::from(*sector) * SECTOR as u64).min(SECTOR as u64) as usize;
                let candidates = if shown == SECTOR {
                    fate.candidates.clone()
                } else {
                    distinct(fate.candidates.iter().map(|content| zeroed_behind(content, shown)))
                };
                (*sector, Fate { candidates, buried: fate.buried })
            })
            .collect()
    }

    fn images(&self) -> BigUint {
        let of_len = |len: &u64| -> BigUint {
            self.visible(*len).values().map(|fate| BigUint::from(fate.candidates.len())).product()
        };
        self.lens.iter().map(of_len).sum()
    }
}

/// A cut file that grows again shows zeros there.
fn zeroed_behind(content: &Content, shown: usize) -> Content {
    let mut content = content.to_vec();
    content[shown..].fill(0);
    content.into()
}

/// Each once, in the order in which they came.
fn distinct<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// What a sector may hold: what it held durably, or any version since.
fn surviving_contents(
    base: Option<&[Content]>,
    versions: &DirtySector<'_>,
    _profile: Profile,
) -> Vec<Content> {
    let base = base.map_or_else(|| vec![versions.get(0).into()], <[Content]>::to_vec);
    distinct(base.into_iter().chain((1..=versions.last()).map(|version| versions.get(version).into())))
}

/// Every subset of the unsynced changes, in their order.
fn surviving_names(media: &Media) -> Vec<Arc<Names>> {
    let changes = &media.name_changes;
    assert!(changes.len() < 16, "{} unsynced names are too many to try all their subsets", changes.len());
    let subset = |kept: u32| {
        let kept = changes.iter().enumerate().filter(|(at, _)| kept >> at & 1 == 1).map(|(_, change)| change);
        let mut names = Names::clone(&media.durable_names);
        kept.for_each(|change| NameChange::apply(change, &mut names));
        Arc::new(names)
    };
    distinct((0..1 << changes.len()).map(subset))
}
