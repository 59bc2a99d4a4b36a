//! A life as lanes: who called, what each file was told, and when it was on the disk. Places, not pixels.
//!
//! Time goes from left to right in *units*; what happens takes a few of them whatever time it took, and calls that only
//! read are drawn together, because a picture of durability is made of writes and syncs.

//!
//! | file | subject |
//! |---|---|
//! | this one | what a layout is made of |
//! | `drawing` | events to items, one by one |
//! | `words` | what a reader is told of them |

mod drawing;
mod words;

use super::lives::Life;
use super::written::FileKind;
use crate::record::{Entry, Fate};
use drawing::Drawing;
use std::collections::BTreeMap;

/// A life, laid out.
#[derive(Debug, Default)]
pub struct View {
    /// Units from left to right.
    pub width: u32,
    /// Lanes from top to bottom.
    pub lanes: Vec<Lane>,
    /// Where each event of the life is.
    pub columns: BTreeMap<usize, u32>,
}

/// A lane.
#[derive(Debug)]
pub struct Lane {
    /// What it is about.
    pub name: String,
    /// Which kind of thing that is.
    pub kind: LaneKind,
    /// Its items in order.
    pub items: Vec<Item>,
}

/// What a lane is about, in the order from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneKind {
    /// What somebody calls.
    Caller,
    /// What the test bed or the world does.
    World,
    /// What has been promised so far.
    Promise,
    /// What recovery does.
    Recovery,
    /// What a thread asks of the disk.
    Thread,
    /// Names.
    Directory,
    /// The manifest.
    Manifest,
    /// A log segment.
    Segment,
    /// A chunk.
    Chunk,
    /// Another file.
    Other,
}

/// Something in a lane.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// Its first unit.
    pub at: u32,
    /// How many.
    pub width: u32,
    /// What it looks like.
    pub look: Look,
    /// What stands in it or beside it.
    pub label: String,
    /// What a reader who asks is told; empty for what is no thing of its own.
    pub detail: String,
    /// The event that it stands for.
    pub event: Option<usize>,
}

/// What an item looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A call that returned Ok, one that failed, one that never returned.
    Call(Outcome),
    /// An I/O.
    Io { glyph: &'static str, failed: bool },
    /// A stretch in which something is in the page cache only.
    Unsynced,
    /// A stretch in which this many points are promised.
    Promised,
    /// A note.
    Note,
    /// What a power cut does to each unsynced sector.
    Fates(Vec<(Fate, String)>),
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned `Ok`.
    Ok,
    /// It returned an error.
    Failed,
    /// It did not return.
    CutShort,
}

/// Lays out a life. `unsynced` is what the files that it begins with have in the page cache; it is what they have at its end,
/// afterwards.
pub fn view(record: &[Entry], life: &Life, unsynced: &mut BTreeMap<String, u32>) -> View {
    let mut drawing = Drawing::default();
    for (lane, count) in unsynced.iter() {
        drawing.unsynced.insert(lane.clone(), (0, *count));
    }
    if life.after_cut.is_some() {
        drawing.unsynced.clear();
    }
    for at in &life.events {
        drawing.draw(*at, &record[*at]);
    }
    drawing.finish(life.end);
    *unsynced = std::mem::take(&mut drawing.left);
    let mut lanes: Vec<Lane> = drawing
        .lanes
        .into_iter()
        .map(|((kind, name), items)| Lane { name, kind, items })
        .filter(|lane| !lane.items.is_empty())
        .collect();
    lanes.sort_by_key(|lane| lane.kind);
    View { width: drawing.now + 1, lanes, columns: drawing.columns }
}

/// The lane of a file: a replacement of the manifest is drawn with the manifest.
fn lane_of(file: &str) -> (LaneKind, String) {
    match FileKind::of(file) {
        FileKind::Manifest => (LaneKind::Manifest, "MANIFEST".into()),
        FileKind::Segment { .. } => (LaneKind::Segment, file.into()),
        FileKind::Chunk { .. } => (LaneKind::Chunk, file.into()),
        FileKind::Other => (LaneKind::Other, file.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::IoKind;
    use crate::picture::lives::End;
    use crate::record::{Call, Event, FileFate, Io, PowerCut};

    fn io(kind: IoKind, unsynced: u32) -> Event {
        let file = "wal-000.log".to_string();
        let (to, bytes) = (None, Vec::new());
        let change = Some(0);
        Event::Io(Io { kind, file, to, offset: 0, len: 8, bytes, ok: true, crashed: false, change, unsynced })
    }

    fn call(id: u64) -> Event {
        Event::Called(Call { id, caller: "client".into(), name: "sync".into(), points: Vec::new() })
    }

    fn laid_out(events: Vec<Event>, end: End, unsynced: &mut BTreeMap<String, u32>) -> View {
        let places = (0..events.len()).collect();
        let record: Vec<_> = events.into_iter().map(|event| Entry { thread: None, event }).collect();
        view(&record, &Life { events: places, end, ..Life::default() }, unsynced)
    }

    fn lane(view: &View, kind: LaneKind) -> &Lane {
        view.lanes.iter().find(|lane| lane.kind == kind).expect("the lane is there")
    }

    fn stretches(view: &View) -> Vec<(u32, u32)> {
        let items = lane(view, LaneKind::Segment).items.iter();
        items.filter(|item| item.look == Look::Unsynced).map(|item| (item.at, item.width)).collect()
    }

    #[test]
    fn what_is_written_is_unsynced_up_to_the_sync() {
        let returned = Event::Returned { call: 1, error: None };
        let events = vec![call(1), io(IoKind::Write, 1), io(IoKind::Sync, 0), returned, call(2)];
        let view = laid_out(events, End::Over, &mut BTreeMap::new());
        let (write, sync) = (view.columns[&1], view.columns[&2]);
        assert_eq!(stretches(&view), [(write, sync - write)]);
        let calls = &lane(&view, LaneKind::Caller).items;
        assert_eq!(calls[0].look, Look::Call(Outcome::Ok));
        assert!(calls[0].at + calls[0].width > sync, "the sync is in the call");
        assert_eq!(calls[1].look, Look::Call(Outcome::CutShort), "nobody was told anything");
    }

    #[test]
    fn a_kill_leaves_what_is_unsynced_to_the_next_life_and_a_power_cut_gives_it_a_fate() {
        let mut unsynced = BTreeMap::new();
        laid_out(vec![io(IoKind::Write, 3), Event::Killed], End::Killed, &mut unsynced);
        assert_eq!(unsynced, BTreeMap::from([("wal-000.log".into(), 3)]));
        let fates = vec![(0, Fate::Lost), (1, Fate::Kept)];
        let file = FileFate { file: "wal-000.log".into(), len: (1024, 1024), sectors: fates };
        let cut = Event::PowerCut(PowerCut { files: vec![file], names: Vec::new() });
        let view = laid_out(vec![call(1), cut], End::PowerCut, &mut unsynced);
        assert_eq!(stretches(&view), [(0, view.columns[&1])], "unsynced from the beginning to the cut");
        let last = lane(&view, LaneKind::Segment).items.iter().find(|item| item.event == Some(1)).unwrap();
        assert!(matches!(&last.look, Look::Fates(cells) if cells.len() == 2));
        assert!(unsynced.is_empty(), "a power cut leaves nothing in a page cache");
    }
}
