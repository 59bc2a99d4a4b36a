//! The simulated crash against a real one: whether a directory that survived a power cut is one of the images that a
//! crash of the simulated disk, after the same calls, could have left.
//!
//! Every 512-byte sector must hold one of the versions that it had since it was last durable, or be new up to a byte and
//! old behind it; every length must be one that the file had; and the names must follow from some subset of the unsynced
//! changes. What does not fit says that the simulated disk is too kind: real disks do more than it does.

use super::SimDisk;
use super::media::{File, Media, NameChange, Names, SECTOR};
use std::collections::BTreeMap;
use std::fmt;

/// What became of the unsynced, by the best explanation of a survivor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// Sectors compared.
    pub sectors: u64,
    /// Of these, unsynced ones that survive in their last version.
    pub kept: u64,
    /// Unsynced ones that survive in an older version.
    pub lost: u64,
    /// Unsynced ones that are new up to a byte and old behind it.
    pub torn: u64,
    /// Unsynced name changes.
    pub name_changes: u64,
    /// Of these, such as did not happen.
    pub names_lost: u64,
}

impl Explained {
    /// Adds what became of another survivor.
    pub fn add(&mut self, other: &Explained) {
        let pairs = [
            (&mut self.sectors, other.sectors),
            (&mut self.kept, other.kept),
            (&mut self.lost, other.lost),
            (&mut self.torn, other.torn),
            (&mut self.name_changes, other.name_changes),
            (&mut self.names_lost, other.names_lost),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

/// What no crash of the simulated disk could have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained(pub String);

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// More unsynced name changes than that are not tried in all combinations.
const NAME_CHANGES_MAX: usize = 16;

impl SimDisk {
    /// Whether a crash of this disk now could leave these files.
    ///
    /// # Errors
    /// What does not fit, in words, for the explanation that comes closest.
    ///
    /// # Panics
    /// With more than sixteen unsynced name changes, whose combinations are too many.
    pub fn explain(&self, found: &BTreeMap<String, Vec<u8>>) -> Result<Explained, Unexplained> {
        let state = self.0.lock();
        let media = &state.media;
        let changes = media.name_changes.len();
        assert!(changes <= NAME_CHANGES_MAX, "{changes} unsynced name changes");
        let mut files = FilesExplained { media, known: BTreeMap::new() };
        let mut closest: Option<Unexplained> = None;
        // From "all happened" to "none did": after most calls the first one fits.
        for kept in (0..1_u32 << changes).rev() {
            match files.under(&names(media, kept), found) {
                Ok(mut explained) => {
                    explained.name_changes = changes as u64;
                    explained.names_lost = changes as u64 - u64::from(kept.count_ones());
                    return Ok(explained);
                }
                // A file that does not fit says more than names that do not.
                Err(why) if closest.is_none() || why.names_fit => closest = Some(why.what),
                Err(_) => {}
            }
        }
        Err(closest.expect("there is one subset of no changes"))
    }
}

/// The names if these of the unsynced changes happened.
fn names(media: &Media, kept: u32) -> Names {
    let mut names = Names::clone(&media.durable_names);
    let kept = |(at, _): &(usize, &NameChange)| kept >> at & 1 == 1;
    media.name_changes.iter().enumerate().filter(kept).for_each(|(_, change)| change.apply(&mut names));
    names
}

struct Misfit {
    names_fit: bool,
    what: Unexplained,
}

/// Files that were looked at: a file is compared once, however many combinations of names lead to it.
struct FilesExplained<'a> {
    media: &'a Media,
    known: BTreeMap<(usize, String), Result<Explained, Unexplained>>,
}

impl FilesExplained<'_> {
    fn under(&mut self, names: &Names, found: &BTreeMap<String, Vec<u8>>) -> Result<Explained, Misfit> {
        if !names.keys().map(|name| &**name).eq(found.keys().map(String::as_str)) {
            let expected: Vec<_> = names.keys().collect();
            let what = Unexplained(format!("names {:?}, expected {expected:?}", found.keys()));
            return Err(Misfit { names_fit: false, what });
        }
        let mut sum = Explained::default();
        for ((name, bytes), inode) in found.iter().zip(names.values()) {
            let file = self.media.file(*inode);
            let known = self.known.entry((*inode, name.clone()));
            match known.or_insert_with(|| explain_file(name, file, bytes)) {
                Ok(explained) => sum.add(explained),
                Err(what) => return Err(Misfit { names_fit: true, what: what.clone() }),
            }
        }
        Ok(sum)
    }
}

fn explain_file(name: &str, file: &File, found: &[u8]) -> Result<Explained, Unexplained> {
    let len = found.len() as u64;
    if len != file.durable_len && !file.lens.iter().any(|length| length.bytes == len) {
        let story =
            format!("{name} has {len} bytes; durable {}, since then {:?}", file.durable_len, file.lens);
        return Err(Unexplained(story));
    }
    let mut explained = Explained { sectors: len.div_ceil(SECTOR as u64), ..Explained::default() };
    let dirty = file.dirty_sectors();
    let mut dirty = dirty.iter().peekable();
    for (sector, content) in found.chunks(SECTOR).enumerate() {
        let fits = |version: &[u8]| version.starts_with(content);
        let Some(versions) = dirty.next_if(|versions| versions.sector == sector) else {
            let start = sector * SECTOR;
            let mut clean = file.bytes().get(start..).unwrap_or_default().to_vec();
            clean.truncate(SECTOR);
            clean.resize(SECTOR, 0);
            if !fits(&clean) {
                return Err(Unexplained(format!("{name}: sector {sector} was durable and is another")));
            }
            continue;
        };
        let last = versions.writes.len();
        if fits(versions.contents[last]) {
            explained.kept += 1;
        } else if (0..last).any(|version| fits(versions.contents[version])) {
            explained.lost += 1;
        } else if (1..=last).any(|at| is_torn(content, versions.contents[at], versions.contents[at - 1])) {
            explained.torn += 1;
        } else {
            let story = format!("{name}: sector {sector} is none of its {} versions", last + 1);
            return Err(Unexplained(story));
        }
    }
    Ok(explained)
}

/// New up to a byte, old behind it.
fn is_torn(content: &[u8], new: &[u8], old: &[u8]) -> bool {
    let same = content.iter().zip(new).take_while(|(found, new)| found == new).count();
    content[same..] == old[same..content.len()]
}
