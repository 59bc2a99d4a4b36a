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
//! What may be there is [`Persistence`]'s to say, as it is for a crash that is drawn. Only disks on which everything has a
//! fate of its own can be decided piece by piece ([`Persistence::is_piecemeal`]); since these promise least, what holds on
//! them holds on the others.
//!
//! The idea is that of load-driven model checking of persistent memory (Jaaru: Gorjiara, Xu and Demsky, ASPLOS 2021).

use super::atom::{Atom, dirty_atoms};
use super::media::{File, Media, Names, SECTOR};
use super::persistence::Persistence;
use crate::choice::{Chooser, Concern, Tape};
use num_bigint::BigUint;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// One content of an atom.
type Bytes = Arc<[u8]>;

/// What an atom holds that nobody has looked at. Loud, so that a read that does not ask first is found out.
const UNSEEN: u8 = 0xa5;

/// What a crash has left open.
#[derive(Clone, Debug)]
pub(super) struct Fates {
    disk: Persistence,
    /// What the directory may be; one when that is decided.
    names: Vec<Arc<Names>>,
    /// By inode.
    files: BTreeMap<usize, FileFates>,
    /// What was decided, in order.
    decided: Vec<Decided>,
}

/// Something that is known of the image by now.
#[derive(Clone, Debug)]
enum Decided {
    Names(Arc<Names>),
    Len(usize, u64),
    Content(usize, usize, Bytes),
}

impl Decided {
    fn settle(&self, media: &mut Media) {
        match self {
            Decided::Names(names) => media.settle_names(names),
            Decided::Len(inode, len) => media.file_mut(*inode).settle_len(*len),
            Decided::Content(inode, offset, content) => media.file_mut(*inode).settle(*offset, content),
        }
    }
}

#[derive(Clone, Debug)]
struct FileFates {
    /// How long it may be; one when that is decided.
    lens: Vec<u64>,
    /// Atoms that are not decided, by their first byte.
    atoms: BTreeMap<usize, Fate>,
}

#[derive(Clone, Debug)]
struct Fate {
    /// Two or more.
    candidates: Vec<Bytes>,
    /// Overwritten, and that is durable: it will never be seen, but the images that differ in it still count.
    buried: bool,
}

impl Fates {
    /// What a crash leaves, and what it leaves open; `before` is what the last one left open and nobody has decided since.
    ///
    /// # Panics
    /// On a disk that cannot be decided piece by piece.
    pub(super) fn of_crash(media: &Media, before: Option<&Fates>, disk: Persistence) -> (Media, Fates) {
        assert!(
            disk.is_piecemeal(),
            "{disk}: what becomes of a name or a length depends on other data there"
        );
        let names = match before {
            // Nobody has changed a directory that nobody has looked at.
            Some(before) if before.names.len() > 1 => before.names.clone(),
            _ => surviving_names(media, disk),
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
            let mut fates = FileFates::of_crash(file, before, disk);
            files[inode] = Arc::new(fates.hide(file));
            open.insert(inode, fates);
        }
        let media = Media::durable(files, Names::clone(&names[0]), media.writes);
        (media, Fates { disk, names, files: open, decided: Vec::new() })
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
            self.settle(Decided::Names(self.names[0].clone()), media);
        }
    }

    fn settle(&mut self, decided: Decided, media: &mut Media) {
        decided.settle(media);
        self.decided.push(decided);
    }

    /// What was decided, on the media that the crash left; and of the rest the plainest.
    pub(super) fn image(&self, mut media: Media) -> Media {
        self.decided.iter().for_each(|decided| decided.settle(&mut media));
        let mut rest = self.clone();
        // What was overwritten since lay there all the same.
        let open = rest.files.values_mut().flat_map(|file| file.atoms.values_mut());
        open.for_each(|fate| fate.buried = false);
        rest.decide_all(&mut media, &mut Chooser::from_tape(Tape::default()));
        media
    }

    /// Somebody asks for a file's length, or needs to know it.
    pub(super) fn decide_len(&mut self, inode: usize, media: &mut Media, chooser: &mut Chooser) {
        let Some(file) = self.files.get_mut(&inode).filter(|file| file.lens.len() > 1) else { return };
        let chosen = chooser.below(Concern::Survival, file.lens.len() as u32) as usize;
        let len = file.lens[chosen];
        file.lens = vec![len];
        file.cut(len);
        self.settle(Decided::Len(inode, len), media);
    }

    /// Somebody reads these bytes of a file whose length is decided.
    pub(super) fn decide(
        &mut self,
        inode: usize,
        bytes: Range<u64>,
        media: &mut Media,
        chooser: &mut Chooser,
    ) {
        let size = self.atom_bytes();
        let Some(file) = self.files.get(&inode) else { return };
        let seen = |(offset, fate): (&usize, &Fate)| {
            (!fate.buried && !media.file(inode).is_dirty(*offset, size)).then_some(*offset)
        };
        let atoms = bytes.start as usize / size * size..bytes.end as usize;
        let seen: Vec<usize> = file.atoms.range(atoms).filter_map(seen).collect();
        for offset in seen {
            let file = self.files.get_mut(&inode).expect("just found");
            let fate = file.atoms.remove(&offset).expect("just found");
            let chosen = chooser.below(Concern::Survival, fate.candidates.len() as u32) as usize;
            self.settle(Decided::Content(inode, offset, fate.candidates[chosen].clone()), media);
        }
    }

    /// Somebody looks at everything.
    pub(super) fn decide_all(&mut self, media: &mut Media, chooser: &mut Chooser) {
        self.decide_names(media, chooser);
        let inodes: BTreeSet<usize> = media.names().values().copied().collect();
        for inode in inodes {
            self.decide_len(inode, media, chooser);
            self.decide(inode, 0..media.file(inode).len(), media, chooser);
        }
    }

    /// Somebody overwrites these bytes of a file: what stays of an atom must be known.
    pub(super) fn decide_edges(
        &mut self,
        inode: usize,
        bytes: Range<u64>,
        media: &mut Media,
        chooser: &mut Chooser,
    ) {
        for edge in [bytes.start, bytes.end] {
            if !edge.is_multiple_of(self.atom_bytes() as u64) {
                self.decide(inode, edge..edge + 1, media, chooser);
            }
        }
    }

    fn atom_bytes(&self) -> usize {
        self.disk.atom_sectors() * SECTOR
    }

    /// A file is about to be synced: what was overwritten will never be seen.
    pub(super) fn bury(&mut self, inode: usize, media: &Media) {
        let size = self.atom_bytes();
        if let Some(file) = self.files.get_mut(&inode) {
            for (offset, fate) in &mut file.atoms {
                fate.buried |= media.file(inode).is_dirty(*offset, size);
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
        for (offset, fate) in fates.atoms.iter().filter(|(_, fate)| !fate.buried) {
            hash.update(&offset.to_le_bytes());
            hash.update(&(fate.candidates.len() as u64).to_le_bytes());
            fate.candidates.iter().for_each(|content| hash.update(content));
        }
    }
    hash.digest128()
}

impl FileFates {
    fn of_crash(file: &File, before: Option<&FileFates>, disk: Persistence) -> FileFates {
        let lens = match before {
            Some(before) if before.lens.len() > 1 => before.lens.clone(),
            _ => distinct([file.durable_len].into_iter().chain(file.lens.iter().map(|length| length.bytes))),
        };
        let mut atoms = BTreeMap::new();
        let open =
            |offset: usize| before.and_then(|before| before.atoms.get(&offset)).filter(|fate| !fate.buried);
        for atom in &dirty_atoms(file, disk.atom_sectors()) {
            let base = open(atom.offset).map(|fate| &fate.candidates[..]);
            let candidates = surviving_contents(base, atom, disk);
            atoms.insert(atom.offset, Fate { candidates, buried: false });
        }
        for (offset, fate) in before.iter().flat_map(|before| &before.atoms) {
            if !fate.buried && !atoms.contains_key(offset) {
                atoms.insert(*offset, fate.clone());
            }
        }
        FileFates { lens, atoms }
    }

    fn is_decided(&self) -> bool {
        self.lens.len() <= 1 && self.atoms.values().all(|fate| fate.buried)
    }

    /// What the media hold until something is decided. Atoms that can hold one thing only are not open.
    fn hide(&mut self, file: &File) -> File {
        let mut bytes = file.bytes().to_vec();
        bytes.resize(self.lens.iter().copied().max().unwrap_or(0) as usize, 0);
        let mut hidden = File::durable(bytes);
        self.atoms.retain(|offset, fate| {
            let open = fate.candidates.len() > 1;
            let hiding: Bytes = vec![UNSEEN; fate.candidates[0].len()].into();
            hidden.settle(*offset, if open { &hiding } else { &fate.candidates[0] });
            open
        });
        hidden
    }

    /// A file of this length has no other atoms than those before its end, each with the contents that differ in it.
    fn cut(&mut self, len: u64) {
        drop(self.atoms.split_off(&(len as usize)));
        for (offset, fate) in &mut self.atoms {
            if let Some(shown) = fate.shown(*offset, len) {
                fate.candidates = fate.shortened(shown);
            }
        }
    }

    fn images(&self) -> BigUint {
        let of_len = |len: &u64| -> BigUint {
            let count = |(offset, fate): (&usize, &Fate)| match fate.shown(*offset, *len) {
                Some(shown) => fate.shortened(shown).len(),
                None => fate.candidates.len(),
            };
            // Nearly always they fit into a word; then no number has to be made for each of them.
            let (mut product, mut small) = (BigUint::from(1_u32), 1_u64);
            for count in self.atoms.range(..*len as usize).map(count) {
                small = small.checked_mul(count as u64).unwrap_or_else(|| {
                    product *= small;
                    count as u64
                });
            }
            product * small
        };
        self.lens.iter().map(of_len).sum()
    }
}

impl Fate {
    /// How many bytes a file of this length shows of the atom at `offset`, if not all.
    fn shown(&self, offset: usize, len: u64) -> Option<usize> {
        let shown = len as usize - offset;
        (shown < self.candidates[0].len()).then_some(shown)
    }

    /// What differs in the first bytes, this many.
    fn shortened(&self, shown: usize) -> Vec<Bytes> {
        distinct(self.candidates.iter().map(|content| zeroed_behind(content, shown)))
    }
}

/// A cut file that grows again shows zeros there.
fn zeroed_behind(content: &Bytes, shown: usize) -> Bytes {
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

/// What an atom may hold: what the disk makes of its versions, and of whatever it may have held before them.
fn surviving_contents(base: Option<&[Bytes]>, atom: &Atom<'_>, disk: Persistence) -> Vec<Bytes> {
    let durable = [atom.contents[0].as_ref().into()];
    let base = base.unwrap_or(&durable);
    let mut survivors = Vec::new();
    for first in base {
        let versions: Vec<&[u8]> =
            std::iter::once(&first[..]).chain(atom.contents[1..].iter().map(AsRef::as_ref)).collect();
        survivors.extend(disk.contents(&versions).into_iter().map(|content| {
            let mut bytes = vec![0; first.len()];
            content.fill(&versions, &mut bytes);
            Bytes::from(bytes)
        }));
    }
    distinct(survivors)
}

/// The directories that the unsynced changes may have led to.
fn surviving_names(media: &Media, disk: Persistence) -> Vec<Arc<Names>> {
    let changes = &media.name_changes;
    assert!(changes.len() < 16, "{} unsynced names are too many to try all their subsets", changes.len());
    let happened = |kept: Vec<bool>| {
        let mut names = Names::clone(&media.durable_names);
        changes.iter().zip(kept).filter(|(_, kept)| *kept).for_each(|(change, _)| change.apply(&mut names));
        Arc::new(names)
    };
    distinct(disk.name_sets(changes.len()).map(happened))
}
