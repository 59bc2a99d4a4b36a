//! From the record of a run to its scripts.

use super::script::{Act, Change, Image, Left, Script, Unsynced, What};
use crate::disk::{Effect, IoKind, SECTOR, When};
use crate::record::{Detail, Entry, Event, Failure, Fate as Kept, Io, Opening, PowerCut};
use std::collections::BTreeMap;
use tidewall::disk::Fate;

/// The run so far: acts, and where in the life of their disk each of them began.
#[derive(Default)]
struct Walk {
    acts: Vec<(Act, u64)>,
    /// Changing calls of the present disk so far.
    clock: u64,
    failure: Option<Failure>,
    /// The power cut whose files come next.
    cut: Option<PowerCut>,
    snapped: Option<When>,
    /// What was owed at each opening, with the number of its act.
    openings: Vec<(usize, Opening)>,
    /// What each power cut left, with the number of its act.
    images: Vec<(usize, BTreeMap<String, Vec<u8>>)>,
    /// A call that writes, whose points come next.
    writes: bool,
}

/// The scripts of a failing run, the best first.
pub(super) fn scripts(record: &[Entry]) -> Vec<Script> {
    let mut walk = Walk::default();
    let mut at = 0;
    while let Some(entry) = record.get(at) {
        at += 1;
        // A crash on the side of which the run came back has shown nothing.
        if matches!(entry.event, Event::Aside { .. })
            && let Some(back) = record[at..].iter().position(|entry| matches!(entry.event, Event::Back))
        {
            at += back + 1;
            continue;
        }
        walk.take(&entry.event);
    }
    let Some((_, opening)) = walk.openings.first() else { return Vec::new() };
    let tags = opening.model.all_tags().count() as u32;
    let acts: Vec<Act> = walk.acts.iter().map(|(act, _)| act.clone()).collect();
    let mut scripts = vec![Script { image: None, tags, acts: acts.clone() }];
    // From the last crash on, or from the one before it.
    for (cut, files) in walk.images.iter().rev().take(2) {
        let Some((_, opening)) = walk.openings.iter().find(|(opened, _)| opened > cut) else { continue };
        let Opening { model, exists, durable_lsn, .. } = opening.clone();
        let image = Image { files: files.clone(), model, exists, durable_lsn };
        scripts.push(Script { image: Some(image), tags, acts: acts[cut + 1..].to_vec() });
    }
    scripts
}

impl Walk {
    fn act(&mut self, what: What) {
        self.acts.push((Act { what, fates: BTreeMap::new() }, self.clock));
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Called(call) => {
                self.writes = call.name.starts_with("write");
                match &call.name[..] {
                    "sync" => self.act(What::Sync),
                    "flush" => self.act(What::Flush),
                    "step" => self.act(What::Step),
                    "close" => self.act(What::Close),
                    _ => {}
                }
            }
            Event::Io(io) => self.io(io),
            Event::PowerCut(cut) => self.cut = Some(cut.clone()),
            Event::Killed => self.act(What::Kill),
            Event::Aside { change } => self.aside(*change),
            Event::Detail(detail) => self.detail(detail),
            _ => {}
        }
    }

    fn detail(&mut self, detail: &Detail) {
        match detail {
            Detail::Opening(opening) => {
                self.openings.push((self.acts.len(), opening.clone()));
                self.act(What::Open(opening.config.clone()));
            }
            Detail::Written(points) => {
                if std::mem::take(&mut self.writes) {
                    self.act(What::Write(points.clone()));
                }
            }
            Detail::Fails(failure) => self.failure = Some(*failure),
            Detail::Snapped(when) => self.snapped = Some(*when),
            Detail::Left(files) => {
                if let Some(cut) = self.cut.take() {
                    self.images.push((self.acts.len(), files.clone()));
                    self.act(What::Cut(left(&cut, files)));
                    self.clock = 0;
                }
            }
            Detail::Damaged { file, left, expected } => {
                let before = self.images.last().and_then(|(_, files)| files.get(file));
                if let Some(change) = change(before.map_or(&[], |bytes| &bytes[..]), left.as_deref()) {
                    self.act(What::Damage { file: file.clone(), change, expected: expected.clone() });
                }
            }
        }
    }

    fn io(&mut self, io: &Io) {
        let failure = self.failure.take();
        let Some(change) = io.change else { return };
        // Calls on a disk that is dead count no more.
        self.clock = self.clock.max(change + 1);
        if let Some((act, begun)) = self.acts.last_mut()
            && let Some(fate) = failure.map(|failure| fate(failure, io))
            && change >= *begun
        {
            act.fates.insert(change - *begun, fate);
        }
    }

    /// The crash is at a change that was some time ago: what came behind it has not happened.
    fn aside(&mut self, change: u64) {
        let Some(when) = self.snapped.take() else { return };
        let lives = |(act, _): &(Act, u64)| matches!(act.what, What::Cut(_));
        let first = self.acts.iter().rposition(lives).map_or(0, |cut| cut + 1);
        let Some(last) = self.acts[first..].iter().rposition(|(_, begun)| *begun <= change) else { return };
        self.acts.truncate(first + last + 1);
        self.openings.retain(|(opened, _)| *opened <= first + last);
        let (act, begun) = self.acts.last_mut().expect("cut behind it");
        let change = change - *begun;
        act.fates.retain(|call, _| *call < change);
        act.fates.insert(change, power(when));
    }
}

fn power(when: When) -> Fate {
    match when {
        When::Before => Fate::PowerFailsBefore,
        When::After => Fate::PowerFailsAfter,
    }
}

fn fate(failure: Failure, io: &Io) -> Fate {
    let effect = match failure {
        Failure::Power(when) => return power(when),
        Failure::NoSpace => return Fate::NoSpace,
        Failure::Error(effect) => effect,
    };
    match (io.kind, effect) {
        (IoKind::Sync, Effect::PagesDropped | Effect::RolledBack) => Fate::SyncDrops,
        (IoKind::Sync, Effect::PagesClean) => Fate::SyncMarksClean,
        (IoKind::Write, Effect::Part(share)) if share > 0 => {
            Fate::FailsAfter(io.len as usize * usize::from(share) / 256)
        }
        (IoKind::Rename | IoKind::Remove, Effect::Part(128..)) => Fate::FailsAfter(1),
        _ => Fate::Fails,
    }
}

/// How a file was damaged. `None` if it is the reading that goes wrong.
fn change(before: &[u8], left: Option<&[u8]>) -> Option<Change> {
    let Some(left) = left else { return Some(Change::Gone) };
    if left.len() < before.len() {
        return Some(Change::Cut(left.len()));
    }
    let differs = |at: &usize| left[*at] != before[*at];
    let (first, last) = ((0..left.len()).find(differs)?, (0..left.len()).rfind(differs)?);
    if first == last {
        return Some(Change::Flip(first, left[first] ^ before[first]));
    }
    Some(Change::Bytes(first, left[first..=last].to_vec()))
}

/// What survives, in the words of the disk that the test has.
fn left(cut: &PowerCut, files: &BTreeMap<String, Vec<u8>>) -> Left {
    let mut left = Left::default();
    for file in &cut.files {
        let name = &file.file;
        let mut keep = |what, version| left.kept.push((what, version));
        if file.len.0 == file.len.1 {
            keep(Unsynced::Len(name.clone()), usize::MAX);
        }
        let mut torn = Vec::new();
        for (sector, fate) in &file.sectors {
            let version = match fate {
                Kept::Lost | Kept::CutOff => continue,
                Kept::Kept => usize::MAX,
                Kept::Older(version, _) => *version,
                Kept::Torn => {
                    torn.push(*sector as usize * SECTOR);
                    usize::MAX
                }
            };
            keep(Unsynced::Sector(name.clone(), *sector as usize), version);
        }
        for offset in torn {
            let bytes = files.get(name).and_then(|bytes| bytes.get(offset..)).unwrap_or_default();
            left.torn.push((name.clone(), offset, bytes[..bytes.len().min(SECTOR)].to_vec()));
        }
    }
    for (change, _) in cut.names.iter().filter(|(_, happened)| *happened) {
        let name = change.split(' ').next_back().unwrap_or_default();
        left.kept.push((Unsynced::Name(name.into()), usize::MAX));
    }
    left
}
