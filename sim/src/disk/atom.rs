//! What shares one fate at a crash: one sector, or the sectors of one physical sector, in all their versions.

use super::media::{DirtySector, File, SECTOR};
use std::borrow::Cow;

/// The versions of one atom that is not durable.
pub(super) struct Atom<'a> {
    /// Its first byte in the file.
    pub(super) offset: usize,
    /// The durable content, then the content after each write. All have the same length; behind the end of the file they
    /// are zero.
    pub(super) contents: Vec<Cow<'a, [u8]>>,
    /// The writes, one for each version but the first.
    pub(super) writes: Vec<u64>,
}

impl Atom<'_> {
    /// The latest version.
    pub(super) fn last(&self) -> usize {
        self.writes.len()
    }

    /// The version after everything that was written up to a moment.
    pub(super) fn version_at(&self, write: u64) -> usize {
        self.writes.partition_point(|at| *at <= write)
    }
}

/// The dirty atoms of a file, in order; each has this many sectors.
pub(super) fn dirty_atoms(file: &File, sectors: usize) -> Vec<Atom<'_>> {
    let dirty = file.dirty_sectors();
    if sectors == 1 {
        return dirty.into_iter().map(sector).collect();
    }
    let groups = dirty.chunk_by(|a, b| a.sector / sectors == b.sector / sectors);
    groups.map(|group| physical_sector(file, group, sectors)).collect()
}

fn sector(dirty: DirtySector<'_>) -> Atom<'_> {
    let contents = dirty.contents.into_iter().map(Cow::Borrowed).collect();
    Atom { offset: dirty.sector * SECTOR, contents, writes: dirty.writes }
}

/// The physical sector of some dirty ones: what it held after each write to any of them, clean ones included.
fn physical_sector<'a>(file: &File, group: &[DirtySector<'a>], sectors: usize) -> Atom<'a> {
    let offset = group[0].sector / sectors * sectors * SECTOR;
    let mut writes: Vec<u64> = group.iter().flat_map(|dirty| dirty.writes.iter().copied()).collect();
    writes.sort_unstable();
    writes.dedup();
    let mut now = file.bytes().get(offset..).unwrap_or_default().to_vec();
    now.resize(sectors * SECTOR, 0);
    let at_moment = |write: u64| {
        let mut content = now.clone();
        for dirty in group {
            let start = dirty.sector * SECTOR - offset;
            let version = dirty.writes.partition_point(|at| *at <= write);
            content[start..start + SECTOR].copy_from_slice(dirty.contents[version]);
        }
        Cow::Owned(content)
    };
    let contents = std::iter::once(0).chain(writes.iter().copied()).map(at_moment).collect();
    Atom { offset, contents, writes }
}
