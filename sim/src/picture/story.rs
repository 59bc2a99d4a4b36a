//! Where promise and fact part: the moments of a run that a reader has to see, in words.

use super::suspects::{Suspect, suspects};
use super::written::{FileKind, Piece, pieces};
use crate::disk::IoKind;
use crate::model::{Verdict, Violation, Witness};
use crate::record::{Entry, Event, Io};

/// What a moment is in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Here the promise was given.
    Promise,
    /// Here something was relied on that was not so.
    Cause,
    /// Here it was seen broken.
    Fact,
}

/// One moment of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The event's place in the record.
    pub event: usize,
    /// What it is.
    pub role: Role,
    /// In words.
    pub words: String,
}

/// The moments of a run in which a promise broke, in the order of time; none where all promises held.
pub fn moments(record: &[Entry], violation: Option<&Violation>) -> Vec<Moment> {
    let Some(violation) = violation else { return Vec::new() };
    if record.is_empty() {
        return Vec::new();
    }
    let fact = fact(record, violation);
    let told = Told { record, main: main_line(record, fact) };
    let mut moments = Vec::new();
    if let Some((event, words)) = told.promise(violation, fact) {
        moments.push(Moment { event, role: Role::Promise, words });
    }
    if let Some(Suspect { event, against, words }) = told.cause(violation, fact) {
        // Where the promise was given without ground, one moment is both.
        let given = moments.pop_if(|promise| promise.event == event).map(|promise| promise.words + " ");
        let words = format!("{}{words} Against {against}.", given.unwrap_or_default());
        moments.push(Moment { event, role: Role::Cause, words });
    }
    moments.push(Moment { event: fact, role: Role::Fact, words: fact_words(violation) });
    moments.sort_by_key(|moment| moment.event);
    moments
}

/// What broke, in one plain sentence.
pub fn headline(violation: Option<&Violation>) -> String {
    let Some(violation) = violation else {
        return "Every promise held.".into();
    };
    match (&violation.witness, violation.verdict) {
        (Some(Witness::Position { durable, found }), _) => {
            format!("The engine called {durable} points durable. After the crash its log ends at {found}.")
        }
        (Some(Witness::Point { tag, .. }), Verdict::Invented) => {
            format!("Tag {tag} shows a point that nobody wrote, or one that had been overwritten.")
        }
        (Some(Witness::Point { tag, count, .. }), _) => {
            let (points, are) = if *count == 1 { ("point", "is") } else { ("points", "are") };
            format!("{count} {points} of tag {tag} had been promised, and {are} not there.")
        }
        (Some(Witness::Place { file, offset }), _) => {
            format!("What has to lie in {file} at byte {offset} is not there.")
        }
        (None, _) if violation.promise == "I8" => {
            "A sync failed, and a later call said Ok as if nothing had happened.".into()
        }
        (None, Verdict::Lost) => "Something that was promised is not there.".into(),
        (None, Verdict::Invented) => "The store shows something that nobody wrote.".into(),
        (None, Verdict::Stuck) => "A call failed or did not end, and nothing on the disk was wrong.".into(),
        (None, Verdict::NotMeasured) => "What should have been tried was not tried.".into(),
        (None, Verdict::HarnessBroken) => "The test bed itself went wrong.".into(),
        (None, Verdict::Survived) => "Every promise held.".into(),
    }
}

/// Where the promise was seen broken: where somebody said so, else where the call returned that should have shown it, else at
/// the record's end.
fn fact(record: &[Entry], violation: &Violation) -> usize {
    let number = match violation.witness {
        Some(Witness::Point { seen, .. }) => seen,
        _ => None,
    };
    let is_it = |entry: &Entry| match entry.event {
        Event::Broken(_) => true,
        Event::Returned { call, .. } => Some(call) == number,
        _ => false,
    };
    record.iter().position(is_it).unwrap_or(record.len() - 1)
}

fn fact_words(violation: &Violation) -> String {
    match violation.witness {
        Some(Witness::Position { durable, found }) => {
            let gone = durable.saturating_sub(found);
            format!(
                "Recovery finds the log to end at {found}: {gone} points that had been called durable are gone."
            )
        }
        _ => capital(&violation.story) + ".",
    }
}

/// The first letter as a capital.
fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Which events lead to the fact: all before it, but for crashes on the side that it is not in.
fn main_line(record: &[Entry], fact: usize) -> Vec<bool> {
    let mut leads = vec![true; record.len()];
    let mut begun = None;
    for (at, entry) in record.iter().enumerate() {
        match entry.event {
            Event::Aside { .. } => begun = Some(at),
            Event::Back => {
                if let Some(begun) = begun.take()
                    && fact > at
                {
                    leads[begun..=at].fill(false);
                }
            }
            _ => {}
        }
    }
    leads[(fact + 1).min(record.len())..].fill(false);
    leads
}

struct Told<'a> {
    record: &'a [Entry],
    main: Vec<bool>,
}

impl Told<'_> {
    fn events(&self) -> impl DoubleEndedIterator<Item = (usize, &Event)> {
        let leads = |(at, _): &(usize, &Entry)| self.main[*at];
        self.record.iter().enumerate().filter(leads).map(|(at, entry)| (at, &entry.event))
    }

    fn ios(&self) -> impl DoubleEndedIterator<Item = (usize, &Io)> {
        self.events().filter_map(|(at, event)| if let Event::Io(io) = event { Some((at, io)) } else { None })
    }

    /// Where the promise was given that the violation is about.
    fn promise(&self, violation: &Violation, fact: usize) -> Option<(usize, String)> {
        match &violation.witness {
            Some(Witness::Position { durable, found }) => self.called_durable(*durable, *found),
            Some(Witness::Point { .. }) if violation.verdict == Verdict::Invented => None,
            Some(Witness::Point { tag, ts_us, count, call, seen }) => {
                self.kept((*tag, *ts_us), *count, *call, seen.is_some())
            }
            Some(Witness::Place { file, offset }) => self.sound().or_else(|| self.named(file, *offset)),
            None if violation.promise == "I8" => {
                let finals = [IoKind::Sync, IoKind::SyncDir, IoKind::Rename];
                let failed = |(_, io): &(usize, &Io)| !io.ok && !io.crashed && finals.contains(&io.kind);
                let opened = self.events().rev().find(|(_, event)| matches!(event, Event::Found(_)));
                let since = opened.map_or(0, |(at, _)| at);
                let (at, io) = self.ios().filter(|(at, _)| (since..fact).contains(at)).find(failed)?;
                let file = if io.file.is_empty() { "the directory" } else { &io.file };
                let words = format!(
                    "A {:?} of {file} fails here. From here on nobody knows what is on the disk, and until it is opened again the engine must not say Ok to anything that has to last.",
                    io.kind
                );
                Some((at, words))
            }
            None => None,
        }
    }

    /// The store lies on a disk on which nothing is damaged: it must open, and show what was promised.
    fn sound(&self) -> Option<(usize, String)> {
        let (at, findings) = self.events().rev().find_map(|(at, event)| match event {
            Event::Found(findings) => Some((at, findings)),
            _ => None,
        })?;
        let words = "The disk that is read here is sound, every checksum and every reference: recovery must open it and show what was promised.";
        findings.disk.damage.is_empty().then(|| (at, words.into()))
    }

    fn called_durable(&self, durable: u64, found: u64) -> Option<(usize, String)> {
        let shows = |event: &Event| matches!(event, Event::Watermarks(marks) if marks[1] > found);
        let (seen, _) = self.events().find(|(_, event)| shows(event))?;
        let returned = self
            .events()
            .take_while(|(at, _)| *at <= seen)
            .filter(|(_, event)| matches!(event, Event::Returned { error: None, .. }));
        let (at, call) = match returned.last() {
            Some((at, Event::Returned { call, .. })) => (at, self.name(*call)),
            _ => (seen, "a call".into()),
        };
        let words = format!(
            "`{call}` has returned Ok, and `durable_lsn` has passed {found} on its way to {durable}: everything below it must survive any crash."
        );
        Some((at, words))
    }

    fn name(&self, number: u64) -> String {
        let called = self.events().find_map(|(_, event)| match event {
            Event::Called(call) if call.id == number => Some(call.name.clone()),
            _ => None,
        });
        called.unwrap_or_default()
    }

    /// The call that promised to keep a point, or the one that accepted it.
    fn kept(
        &self,
        (tag, ts_us): (u32, i64),
        count: u64,
        call: Option<u64>,
        must_be_seen: bool,
    ) -> Option<(usize, String)> {
        let mut best = None;
        for (at, event) in self.events() {
            let Event::Called(written) = event else { continue };
            let is_it = call.is_none_or(|number| number == written.id);
            if !is_it || !written.points.iter().any(|key| (key.tag, key.ts_us) == (tag, ts_us)) {
                continue;
            }
            let returned = self.events().skip_while(|(later, _)| *later < at).find(
                |(_, event)| matches!(event, Event::Returned { call, error: None } if *call == written.id),
            );
            let Some((accepted, _)) = returned else { continue };
            let promised = self.events().skip_while(|(later, _)| *later < accepted).find_map(
                |(at, event)| match event {
                    Event::Promised { call, tags }
                        if tags.as_ref().is_none_or(|tags| tags.contains(&tag)) =>
                    {
                        Some((at, *call))
                    }
                    _ => None,
                },
            );
            // A later write of the same key that nobody was promised does not count, if there is one that was.
            if promised.is_some()
                || best.is_none_or(|(_, earlier): (usize, Option<(usize, u64)>)| earlier.is_none())
            {
                best = Some((accepted, promised));
            }
        }
        let (points, them) = match count {
            1 => (format!("the point of tag {tag} at time {ts_us}"), "must"),
            _ => (format!("{count} points of tag {tag}, the one at time {ts_us} among them,"), "must"),
        };
        match best? {
            (_, Some((at, call))) if !must_be_seen => Some((
                at,
                format!(
                    "`{}` returned Ok here: {points} {them} survive any crash from here on.",
                    self.name(call)
                ),
            )),
            (at, _) => Some((
                at,
                format!("`write` returned Ok here: every later query must see {points}")
                    .trim_end_matches(',')
                    .to_string()
                    + ".",
            )),
        }
    }

    /// What says that something lies at a place: the manifest's edit that names a block there, or the write itself.
    fn named(&self, file: &str, offset: u64) -> Option<(usize, String)> {
        if let FileKind::Chunk { number } = FileKind::of(file) {
            let names = |io: &Io| {
                let is_it = |piece: &Piece| match piece {
                    Piece::Edit(_, edit) => edit
                        .blocks
                        .iter()
                        .any(|block| block.chunk == number && offset < block.offset + u64::from(block.len)),
                    _ => false,
                };
                pieces(&io.file, io.offset, &io.bytes).iter().any(is_it)
            };
            let manifest = self.ios().filter(|(_, io)| {
                io.kind == IoKind::Write && io.ok && FileKind::of(&io.file) == FileKind::Manifest
            });
            if let Some((at, _)) = manifest.into_iter().find(|(_, io)| names(io)) {
                let words = format!(
                    "The manifest names a block in {file} here that reaches beyond byte {offset}: it must be on the disk already."
                );
                return Some((at, words));
            }
        }
        let covers = |(_, io): &(usize, &Io)| {
            io.kind == IoKind::Write
                && io.ok
                && io.file == file
                && (io.offset..io.offset + io.len).contains(&offset)
        };
        let (at, io) = self.ios().rev().find(covers)?;
        let what = pieces(&io.file, io.offset, &io.bytes)
            .first()
            .map_or_else(String::new, |piece| format!(" ({})", piece.what()));
        Some((at, format!("{file}, byte {offset}, was last written here{what}.")))
    }

    /// The suspect that explains the violation best: against the same promise if there is one, else the first in the life
    /// of the promise or after it.
    fn cause(&self, violation: &Violation, fact: usize) -> Option<Suspect> {
        let mut found = suspects(self.record);
        found.retain(|suspect| suspect.event <= fact && self.main[suspect.event]);
        let given = self.promise(violation, fact).map_or(fact, |(at, _)| at);
        // The life of the promise and what comes after it.
        let opened = |(at, event): &(usize, &Event)| *at < given && matches!(event, Event::Found(_));
        let begun = self.events().rfind(opened).map_or(0, |(at, _)| at);
        let file = match &violation.witness {
            Some(Witness::Place { file, .. }) => file.as_str(),
            _ => "",
        };
        let is_about = |suspect: &&Suspect| suspect.event >= begun && suspect.words.contains(file);
        let first = found.iter().find(is_about);
        let at_promise = || found.iter().find(|suspect| suspect.event == given);
        let since = || found.iter().find(|suspect| suspect.event >= begun);
        let first = if file.is_empty() { at_promise() } else { first };
        let first = first.or_else(since).or(found.last());
        first.cloned()
    }
}
