//! Events to items, one by one.

use super::words::{describe, glyph};
use super::{Item, LaneKind, Look, Outcome, lane_of};
use crate::disk::IoKind;
use crate::picture::lives::End;
use crate::record::{Call, Entry, Event, Fate, Io, PowerCut, Recovery};
use std::collections::BTreeMap;

/// Units of the things that need room.
const CALL: u32 = 5;
const QUERY: u32 = 4;
const IO: u32 = 2;
const CUT: u32 = 8;

const DIRECTORY: &str = "directory";

/// A layout in the making.
#[derive(Default)]
pub(super) struct Drawing {
    pub(super) now: u32,
    pub(super) lanes: BTreeMap<(LaneKind, String), Vec<Item>>,
    pub(super) columns: BTreeMap<usize, u32>,
    /// Calls that have not returned: where they are.
    open_calls: BTreeMap<u64, (String, usize)>,
    names: BTreeMap<u64, Call>,
    /// By lane: since when something of it is unsynced, and how much.
    pub(super) unsynced: BTreeMap<String, (u32, u32)>,
    pub(super) left: BTreeMap<String, u32>,
    /// The latest thing was a read, and more of them join it: the lane and the number of its item.
    reading: Option<(u32, BTreeMap<String, usize>)>,
    opening: Option<usize>,
    shown: Option<usize>,
    crashed: bool,
    /// Points accepted and not yet promised, by tag, and promised ones.
    waiting: BTreeMap<u32, u64>,
    kept: u64,
}

impl Drawing {
    fn lane(&mut self, kind: LaneKind, name: &str) -> &mut Vec<Item> {
        self.lanes.entry((kind, name.into())).or_default()
    }

    fn step(&mut self, units: u32) -> u32 {
        self.now += units;
        self.now - units
    }

    pub(super) fn draw(&mut self, at: usize, entry: &Entry) {
        let is_read = matches!(&entry.event, Event::Io(io) if io.change.is_none());
        if !is_read {
            self.reading = None;
        }
        if !matches!(entry.event, Event::Shown { .. }) {
            self.shown = None;
        }
        match &entry.event {
            Event::Called(call) => self.called(at, call),
            Event::Returned { call, error } => self.returned(*call, error.as_deref()),
            Event::Promised { call, tags } => self.promise(at, *call, tags.as_deref()),
            Event::Watermarks(marks) => self.watermarks(at, marks),
            Event::Io(io) => self.io(at, io, entry.thread.as_deref()),
            Event::PowerCut(cut) => self.power_cut(at, cut),
            Event::Killed => {
                let column = self.step(CUT);
                self.columns.insert(at, column);
                let detail =
                    "The process dies here; the machine goes on, and what is in the page cache stays.";
                self.note(LaneKind::World, "test bed", at, column, "process killed", detail.into());
            }
            Event::Found(_) => {
                let column = self.step(CALL);
                let detail = "The store is opened: recovery reads what is on the disk.";
                let item = Item {
                    at: column,
                    width: CALL,
                    look: Look::Call(Outcome::CutShort),
                    label: "open".into(),
                    detail: detail.into(),
                    event: Some(at),
                };
                let lane = self.lane(LaneKind::Recovery, "recovery");
                lane.push(item);
                self.opening = Some(self.lanes[&(LaneKind::Recovery, "recovery".into())].len() - 1);
            }
            Event::Opened(result) => self.opened(result),
            Event::Shown { tag, points } => self.show(at, *tag, *points),
            Event::Note { who, what } => {
                let column = self.step(IO);
                self.note(LaneKind::World, who, at, column, "", what.clone());
            }
            Event::Broken(violation) => {
                let column = self.step(IO);
                self.note(LaneKind::World, "oracle", at, column, "", violation.to_string());
            }
            Event::Aside { .. } | Event::Back | Event::Detail(_) => {}
        }
        let now = self.now.saturating_sub(1);
        self.columns.entry(at).or_insert(now);
    }

    fn note(&mut self, kind: LaneKind, lane: &str, event: usize, at: u32, label: &str, detail: String) {
        let width = if label.is_empty() { IO } else { CUT };
        let item = Item { at, width, look: Look::Note, label: label.into(), detail, event: Some(event) };
        self.lane(kind, lane).push(item);
    }

    fn called(&mut self, at: usize, call: &Call) {
        let reads = matches!(call.name.as_str(), "query" | "tags" | "stats");
        let width = if reads { QUERY } else { CALL };
        let column = self.step(width);
        self.columns.insert(at, column);
        let label = match call.points.len() {
            0 => call.name.clone(),
            points => format!("{} ×{points}", call.name),
        };
        let mut detail = format!("{} calls {}", call.caller, call.name);
        if !call.points.is_empty() {
            let mut tags: BTreeMap<u32, usize> = BTreeMap::new();
            call.points.iter().for_each(|key| *tags.entry(key.tag).or_default() += 1);
            let tags: Vec<_> = tags.iter().map(|(tag, points)| format!("tag {tag}: {points}")).collect();
            detail += &format!(" with {} points ({})", call.points.len(), tags.join(", "));
        }
        let item =
            Item { at: column, width, look: Look::Call(Outcome::CutShort), label, detail, event: Some(at) };
        let lane = self.lane(LaneKind::Caller, &call.caller);
        lane.push(item);
        let index = lane.len() - 1;
        self.open_calls.insert(call.id, (call.caller.clone(), index));
        self.names.insert(call.id, call.clone());
    }

    fn returned(&mut self, call: u64, error: Option<&str>) {
        let Some((caller, index)) = self.open_calls.remove(&call) else { return };
        let now = self.now;
        let item = &mut self.lanes.get_mut(&(LaneKind::Caller, caller)).expect("it was called there")[index];
        item.width = item.width.max(now - item.at);
        match error {
            None => {
                item.look = Look::Call(Outcome::Ok);
                item.detail += ": returned Ok.";
                if let Some(written) = self.names.get(&call) {
                    written.points.iter().for_each(|key| *self.waiting.entry(key.tag).or_default() += 1);
                }
            }
            Some(error) => {
                item.look = Look::Call(Outcome::Failed);
                item.detail += &format!(": failed: {error}.");
            }
        }
    }

    fn promise(&mut self, at: usize, call: u64, tags: Option<&[u32]>) {
        let is_in = |tag: &u32| tags.is_none_or(|tags| tags.contains(tag));
        let more: u64 = self.waiting.iter().filter(|(tag, _)| is_in(tag)).map(|(_, points)| points).sum();
        self.waiting.retain(|tag, _| !is_in(tag));
        self.kept += more;
        let name = self.names.get(&call).map_or("a call", |call| &call.name);
        let label = if self.kept == 1 { "1 point".into() } else { format!("{} points", self.kept) };
        let detail = format!(
            "`{name}` returned Ok: {more} more points of this life must survive any crash, {} in all.",
            self.kept
        );
        self.next_promise(at, "promised", label, detail);
    }

    fn watermarks(&mut self, at: usize, marks: &[u64; 3]) {
        let label = format!("{}", marks[1]);
        let same = self.lanes.get(&(LaneKind::Promise, "durable_lsn".into()));
        if same.and_then(|items| items.last()).is_some_and(|last| last.label == label) {
            return;
        }
        let detail = format!(
            "The engine's word: checkpoint_lsn {}, durable_lsn {}, appended_lsn {}.",
            marks[0], marks[1], marks[2]
        );
        self.next_promise(at, "durable_lsn", label, detail);
    }

    /// The frontier moves: the stretch before it ends here.
    fn next_promise(&mut self, at: usize, lane: &str, label: String, detail: String) {
        let now = self.now;
        let items = self.lane(LaneKind::Promise, lane);
        if let Some(last) = items.last_mut() {
            last.width = now.saturating_sub(last.at).max(1);
        }
        items.push(Item { at: now, width: 1, look: Look::Promised, label, detail, event: Some(at) });
    }

    fn io(&mut self, at: usize, io: &Io, thread: Option<&str>) {
        if io.file == "LOCK" || (self.crashed && io.crashed) {
            return;
        }
        self.crashed |= io.crashed;
        let (kind, lane) = match io.kind {
            IoKind::Open | IoKind::Rename | IoKind::Remove if io.change.is_some() => {
                (LaneKind::Directory, DIRECTORY.to_string())
            }
            IoKind::SyncDir | IoKind::List => (LaneKind::Directory, DIRECTORY.to_string()),
            _ => lane_of(&io.file),
        };
        if io.change.is_none() && io.ok {
            return self.read(at, kind, &lane);
        }
        let column = self.step(IO);
        self.columns.insert(at, column);
        if let Some(thread) = thread.filter(|thread| !thread.is_empty()) {
            let label = String::new();
            let detail = format!("{thread}: {}", describe(io));
            let look = Look::Io { glyph: "dot", failed: !io.ok };
            self.lane(LaneKind::Thread, thread).push(Item {
                at: column,
                width: IO,
                look,
                label,
                detail,
                event: None,
            });
        }
        let mut detail = describe(io);
        if let Some(thread) = thread.filter(|thread| !thread.is_empty()) {
            detail += &format!("\nBy thread {thread}.");
        }
        let look = Look::Io { glyph: glyph(io), failed: !io.ok };
        let label = String::new();
        self.lane(kind, &lane).push(Item { at: column, width: IO, look, label, detail, event: Some(at) });
        if !io.crashed {
            self.unsync(kind, &lane, column, io.unsynced);
        }
    }

    /// Consecutive reads are one thing.
    fn read(&mut self, at: usize, kind: LaneKind, lane: &str) {
        let column = match &self.reading {
            Some((column, _)) => *column,
            None => self.step(IO),
        };
        let (_, lanes) = self.reading.get_or_insert((column, BTreeMap::new()));
        let known = lanes.get(lane).copied();
        self.columns.insert(at, column);
        let items = self.lanes.entry((kind, lane.into())).or_default();
        match known {
            Some(index) => {
                let reads = items[index].label.parse::<u32>().unwrap_or(1) + 1;
                items[index].detail = format!("{lane} is opened, listed or read: {reads} calls.");
                items[index].label = reads.to_string();
            }
            None => {
                let look = Look::Io { glyph: "read", failed: false };
                let detail = format!("{lane} is opened, listed or read.");
                items.push(Item { at: column, width: IO, look, label: "1".into(), detail, event: Some(at) });
                let index = items.len() - 1;
                if let Some((_, lanes)) = &mut self.reading {
                    lanes.insert(lane.into(), index);
                }
            }
        }
    }

    fn unsync(&mut self, kind: LaneKind, lane: &str, column: u32, count: u32) {
        let before = self.unsynced.remove(lane);
        if let Some((since, was)) = before
            && was != count
        {
            self.stretch(kind, lane, since, column, was);
        }
        if count > 0 {
            let since = before.filter(|(_, was)| *was == count).map_or(column, |(since, _)| since);
            self.unsynced.insert(lane.into(), (since, count));
        }
    }

    fn stretch(&mut self, kind: LaneKind, lane: &str, since: u32, until: u32, count: u32) {
        if until <= since {
            return;
        }
        let what = if kind == LaneKind::Directory { "changes of names" } else { "sectors" };
        let detail =
            format!("{count} {what} of {lane} are in the page cache only: a power cut may take any of them.");
        let item = Item {
            at: since,
            width: until - since,
            look: Look::Unsynced,
            label: String::new(),
            detail,
            event: None,
        };
        self.lane(kind, lane).push(item);
    }

    fn opened(&mut self, result: &Result<Recovery, String>) {
        let now = self.now;
        let Some(index) = self.opening.take() else { return };
        let item =
            &mut self.lanes.get_mut(&(LaneKind::Recovery, "recovery".into())).expect("it was opened there")
                [index];
        item.width = item.width.max(now - item.at);
        match result {
            Ok(report) => {
                item.look = Look::Call(Outcome::Ok);
                let report: Vec<_> = report.iter().map(|(name, count)| format!("{name}: {count}")).collect();
                item.detail = format!("Recovery has opened the store.\n{}", report.join("\n"));
            }
            Err(error) => {
                item.look = Look::Call(Outcome::Failed);
                item.detail = format!("Recovery refuses: {error}.");
            }
        }
    }

    fn show(&mut self, at: usize, tag: u32, points: u64) {
        let index = match self.shown {
            Some(index) => index,
            None => {
                let column = self.step(CALL);
                let look = Look::Note;
                let (label, detail) = ("compare".into(), "What queries show after recovery:".into());
                let lane = self.lane(LaneKind::Recovery, "recovery");
                lane.push(Item { at: column, width: CALL, look, label, detail, event: Some(at) });
                lane.len() - 1
            }
        };
        self.shown = Some(index);
        self.lane(LaneKind::Recovery, "recovery")[index].detail += &format!("\ntag {tag}: {points} points");
    }

    fn power_cut(&mut self, at: usize, cut: &PowerCut) {
        let column = self.step(CUT);
        self.columns.insert(at, column);
        // One of them is where links to the event lead.
        let mut event = Some(at);
        for file in &cut.files {
            let (kind, lane) = lane_of(&file.file);
            let cells: Vec<_> = file
                .sectors
                .iter()
                .map(|(sector, fate)| (*fate, format!("{}, sector {sector}: {}", file.file, fate.words())))
                .collect();
            let lost = file.sectors.iter().filter(|(_, fate)| *fate != Fate::Kept).count();
            let detail = format!(
                "Power cut: of {} unsynced sectors of {}, {} survive as they were written last.\n{}",
                cells.len(),
                file.file,
                cells.len() - lost,
                cells.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>().join("\n")
            );
            if !cells.is_empty() {
                self.fates(kind, &lane, event.take(), column, cells, detail);
            }
        }
        let cells: Vec<_> = cut
            .names
            .iter()
            .map(|(what, kept)| {
                let fate = if *kept { Fate::Kept } else { Fate::Lost };
                (fate, format!("{what}: {}", if *kept { "happened" } else { "did not happen" }))
            })
            .collect();
        if !cells.is_empty() {
            let words: Vec<_> = cells.iter().map(|(_, words)| words.as_str()).collect();
            let detail = format!("Power cut: unsynced changes of names.\n{}", words.join("\n"));
            self.fates(LaneKind::Directory, DIRECTORY, event, column, cells, detail);
        }
    }

    fn fates(
        &mut self,
        kind: LaneKind,
        lane: &str,
        event: Option<usize>,
        at: u32,
        cells: Vec<(Fate, String)>,
        detail: String,
    ) {
        let item = Item { at, width: CUT, look: Look::Fates(cells), label: String::new(), detail, event };
        self.lane(kind, lane).push(item);
    }

    /// The life is over: what is still open ends here.
    pub(super) fn finish(&mut self, end: End) {
        let last = if end == End::Over { self.now } else { self.now.saturating_sub(CUT) };
        for (caller, index) in std::mem::take(&mut self.open_calls).into_values() {
            let item =
                &mut self.lanes.get_mut(&(LaneKind::Caller, caller)).expect("it was called there")[index];
            item.width = item.width.max(last.saturating_sub(item.at));
            item.detail += ": never returned, so nobody was told anything.";
        }
        if let Some(index) = self.opening.take() {
            let item = &mut self
                .lanes
                .get_mut(&(LaneKind::Recovery, "recovery".into()))
                .expect("it was opened there")[index];
            item.width = item.width.max(last.saturating_sub(item.at));
        }
        for ((kind, _), items) in &mut self.lanes {
            if let (LaneKind::Promise, Some(item)) = (kind, items.last_mut()) {
                item.width = last.saturating_sub(item.at).max(1);
            }
        }
        for (lane, (since, count)) in std::mem::take(&mut self.unsynced) {
            let kind = if lane == DIRECTORY { LaneKind::Directory } else { lane_of(&lane).0 };
            self.stretch(kind, &lane, since, last, count);
            if end == End::Killed {
                self.left.insert(lane, count);
            }
        }
    }
}
