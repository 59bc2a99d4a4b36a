//! What the record is told of the disk: each I/O, and of a power cut what became of everything unsynced.
//!
//! The fates of sectors are read off the media before and after the cut, not asked of whoever decided them: this holds
//! for any way of deciding, and an error in it would show in the picture as what it is.

use super::media::{DirtySector, Media, NameChange, SECTOR};
use super::{Armed, IoKind, State};
use crate::record::{Detail, Event, Fate, FileFate, Io, PowerCut};
use crate::timeline::Timeline;
use std::fmt;

impl fmt::Display for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("{:?}", self.kind).to_lowercase();
        let files = if self.only.is_empty() { "any file" } else { self.only };
        let after = self.after;
        write!(f, "an I/O error lies in wait: {kind} of {files}, after {after} that go well")?;
        if self.sticky { write!(f, ", and each one behind it") } else { Ok(()) }
    }
}

impl State {
    /// An I/O that was just noted with these words and this text.
    pub(super) fn io(&self, kind: IoKind, words: [u64; 4], ok: bool, text: &str) -> Io {
        let concerns_file =
            matches!(kind, IoKind::Read | IoKind::Write | IoKind::Sync | IoKind::SetLen | IoKind::Len);
        let (inode, offset, len) = match kind {
            IoKind::Read | IoKind::Write => (words[0], words[1], words[2]),
            IoKind::SetLen => (words[0], 0, words[1]),
            _ => (words[0], 0, 0),
        };
        let (file, to) = match (concerns_file, text.split_once(" -> ")) {
            (true, _) => (self.media.name_of(inode as usize), None),
            (false, Some((from, to))) => (from.to_string(), Some(to.to_string())),
            (false, None) => (text.split(" (").next().unwrap_or_default().to_string(), None),
        };
        let reads = matches!(kind, IoKind::Read | IoKind::List | IoKind::Len)
            || (kind == IoKind::Open && !text.ends_with("(create)"));
        let mut bytes = Vec::new();
        if kind == IoKind::Write && ok {
            let content = self.media.file(inode as usize).bytes();
            bytes = content.get(offset as usize..(offset + len) as usize).unwrap_or_default().to_vec();
        }
        let unsynced = match concerns_file {
            true => self.media.file(inode as usize).dirty_count(),
            false => self.media.name_changes.len(),
        };
        Io {
            kind,
            file,
            to,
            offset,
            len,
            bytes,
            ok,
            crashed: self.dead,
            change: (!reads).then(|| self.clock.saturating_sub(1)),
            unsynced: unsynced as u32,
        }
    }
}

/// Records a power cut, and what it left.
pub(super) fn cut(timeline: &Timeline, before: &Media, after: &Media) {
    timeline.record(|| Event::PowerCut(power_cut(before, after)));
    timeline.record(|| {
        let bytes = |inode: &usize| after.file(*inode).bytes().to_vec();
        let files = after.names().iter().map(|(name, inode)| (name.to_string(), bytes(inode)));
        Event::Detail(Box::new(Detail::Left(files.collect())))
    });
}

/// What became of everything unsynced, from the media before the cut and after it.
pub(super) fn power_cut(before: &Media, after: &Media) -> PowerCut {
    let files = before.files.iter().enumerate().filter(|(_, file)| !file.is_clean());
    let fates = files.map(|(inode, file)| {
        let left = after.file(inode).bytes();
        let fate = |sector: &DirtySector<'_>| (sector.sector as u64, fate(sector, left));
        FileFate {
            file: before.name_of(inode),
            len: (file.len(), left.len() as u64),
            sectors: file.dirty_sectors().iter().map(fate).collect(),
        }
    });
    let names = before.name_changes.iter().map(|change| name_fate(change, after));
    PowerCut { files: fates.collect(), names: names.collect() }
}

fn fate(sector: &DirtySector<'_>, left: &[u8]) -> Fate {
    let start = sector.sector * SECTOR;
    let Some(left) = left.get(start..).filter(|left| !left.is_empty()) else { return Fate::CutOff };
    let left = &left[..left.len().min(SECTOR)];
    let last = sector.writes.len();
    // The latest of those that look alike: a write that changed nothing has lost nothing.
    match (0..=last).rev().find(|version| sector.contents[*version][..left.len()] == *left) {
        Some(version) if version == last => Fate::Kept,
        Some(0) => Fate::Lost,
        Some(version) => Fate::Older(version, last),
        None => Fate::Torn,
    }
}

fn name_fate(change: &NameChange, after: &Media) -> (String, bool) {
    let names = after.names();
    match change {
        // Under this name, or under the one that an unsynced rename gave it.
        NameChange::Create { name, inode } => {
            (format!("create {name}"), names.values().any(|found| found == inode))
        }
        NameChange::Rename { from, to, inode, .. } => {
            (format!("rename {from} to {to}"), names.get(to) == Some(inode))
        }
        NameChange::Remove { name } => (format!("remove {name}"), !names.contains_key(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::media::File;
    use super::*;

    /// One file of `sectors` sectors, durable, of the byte `1`; then the first two of the byte `2`, then the first of `3`.
    fn written() -> Media {
        let mut media = Media::default();
        let inode = media.create("f");
        media.write(inode, 0, &[1; 3 * SECTOR]);
        media.file_mut(inode).sync();
        media.sync_names(false);
        media.write(inode, 0, &[2; 2 * SECTOR]);
        media.write(inode, 0, &[3; SECTOR]);
        media
    }

    fn left(sectors: &[[u8; SECTOR]]) -> Media {
        let names = written().names().clone();
        Media::durable(vec![File::durable(sectors.concat()).into()], names, 0)
    }

    #[test]
    fn each_unsynced_sector_has_one_fate() {
        let fates = |sectors: &[[u8; SECTOR]]| {
            let cut = power_cut(&written(), &left(sectors));
            cut.files[0].sectors.iter().map(|(_, fate)| *fate).collect::<Vec<_>>()
        };
        let (one, two, three) = ([1; SECTOR], [2; SECTOR], [3; SECTOR]);
        assert_eq!(fates(&[three, two, one]), [Fate::Kept, Fate::Kept]);
        assert_eq!(fates(&[one, one, one]), [Fate::Lost, Fate::Lost]);
        assert_eq!(fates(&[two, two, one]), [Fate::Older(1, 2), Fate::Kept]);
        let mut torn = three;
        torn[100..].fill(2);
        assert_eq!(fates(&[torn, one, one]), [Fate::Torn, Fate::Lost]);
        assert_eq!(fates(&[three]), [Fate::Kept, Fate::CutOff]);
    }

    #[test]
    fn unsynced_names_have_happened_or_not() {
        let mut before = written();
        let inode = before.lookup("f").unwrap();
        before.rename("f", "g").unwrap();
        before.create("h");
        let mut survived = before.names().clone();
        survived.remove("h");
        let file = || File::durable(vec![1; 3 * SECTOR]).into();
        let after = Media::durable(vec![file(), file()], survived, 0);
        let (renamed, created) = (("rename f to g".to_string(), true), ("create h".to_string(), false));
        assert_eq!(power_cut(&before, &after).names, [renamed, created]);
        assert_eq!(after.lookup("g"), Some(inode));
    }
}
