//! Where a promise had no ground: the moments at which a call, the manifest or recovery relied on what was not so.
//!
//! A violation is seen when somebody looks, often long after the mistake. These rules look at the I/O itself, as a
//! reader of the picture would, and are silent in every run of a sound engine:
//!
//! | rule | against |
//! |---|---|
//! | a call says `Ok` to what is in no synced sector of the log | I1 |
//! | a frame or an edit calls durable what no sync has covered | I1 |
//! | the manifest names a block, or takes a name, that no sync has covered, or a block that could not be written | I4 |
//! | a segment is begun anew while points in it are in no block | I4 |
//! | a call that began after a failed sync says `Ok` | I8 |
//! | recovery reads the disk otherwise than it is, or refuses a sound one | I5, I6 |
//! | a client of the service is told that a batch is durable before the engine has said so | the service's own promise |

use super::written::{FileKind, Piece, pieces};
use crate::disk::IoKind;
use crate::record::{Call, Entry, Event, Findings, Io, Unit, UnitState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A moment at which something was relied on without ground.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The event's place in the record.
    pub event: usize,
    /// The invariant that it is against.
    pub against: &'static str,
    /// What is wrong, in words.
    pub words: String,
}

/// All of them in a record, in order.
pub fn suspects(record: &[Entry]) -> Vec<Suspect> {
    let mut walk = Walk::default();
    let mut before_aside = None;
    for (at, entry) in record.iter().enumerate() {
        match &entry.event {
            // A crash on the side begins with what the power cut leaves, and the run goes on as if it had not been.
            Event::Aside { .. } => before_aside = Some(walk.life.clone()),
            Event::Back => walk.life = before_aside.take().unwrap_or_default(),
            event => {
                if let Some(failed) = &mut walk.life.failed_sync
                    && failed.thread == entry.thread
                {
                    failed.known.get_or_insert(at);
                }
                walk.see(at, &entry.thread, event);
            }
        }
    }
    walk.found
}

/// A write that no sync has covered.
#[derive(Clone)]
struct Pending {
    at: usize,
    offset: u64,
    len: u64,
    tags: Vec<u32>,
    /// The positions of its frames.
    lsn: Option<(u64, u64)>,
}

/// The first sync that failed.
#[derive(Clone)]
struct FailedSync {
    thread: Option<Arc<str>>,
    /// The next event of its thread: before that the engine need not have heard of it. Other threads may be faster.
    known: Option<usize>,
}

/// What is known of one opening of the store.
#[derive(Clone, Default)]
struct Life {
    /// Unsynced writes by file.
    pending: BTreeMap<String, Vec<Pending>>,
    /// Where writes have failed and none has succeeded since, by file: offset and length.
    holes: BTreeMap<String, Vec<(u64, u64)>>,
    /// Created and not yet made durable.
    new_names: Vec<String>,
    failed_sync: Option<FailedSync>,
    /// The end of the frames in each segment, and the generation of the last one written.
    segments: BTreeMap<String, (u64, String)>,
    /// By stream: what the synced manifest says, and what an unsynced edit would.
    checkpoints: BTreeMap<u64, (u64, u64)>,
    /// The disk was sound when it was opened.
    is_sound: bool,
}

/// Where an engine reads a disk otherwise than it is. What it believes wrongly says more than what it does not believe.
fn misread(facts: &[Unit], seen: &[Unit]) -> String {
    let only = |these: &[Unit], those: &[Unit]| {
        these.iter().find(|unit| unit.state == UnitState::Live && !those.contains(unit)).cloned()
    };
    let over = |units: &[Unit], unit: &Unit| {
        let overlaps = |other: &&Unit| {
            other.file == unit.file
                && other.offset < unit.offset + unit.len
                && unit.offset < other.offset + other.len
        };
        units.iter().find(overlaps).cloned()
    };
    let missed = only(facts, seen);
    let taken = only(seen, facts).or_else(|| over(seen, missed.as_ref()?));
    match (taken, missed) {
        (Some(unit), _) => {
            let truth = match over(facts, &unit) {
                Some(truth) if truth.what == unit.what => format!("In fact it is {}", truth.state.name()),
                Some(truth) => format!("In fact it is {}: {}", truth.state.name(), truth.what),
                None => "In fact nothing that counts lies there".into(),
            };
            let (file, offset, state) = (&unit.file, unit.offset, unit.state.name());
            format!("Recovery takes {file} at byte {offset} for {state}: {}. {truth}.", unit.what)
        }
        (None, Some(unit)) => {
            format!(
                "Recovery does not see what lies in {} at byte {}: {}.",
                unit.file, unit.offset, unit.what
            )
        }
        (None, None) => "Recovery reads this disk otherwise than it is.".into(),
    }
}

/// Who calls the engine in the service.
const COLLECTOR: &str = "collector";

#[derive(Default)]
struct Walk {
    life: Life,
    found: Vec<Suspect>,
    /// When each call began. Clients of the service wait while its store is opened anew.
    calls: BTreeMap<u64, (usize, Call)>,
    /// What the collector has written, and what of it is durable: (tag, time).
    written: BTreeSet<(u32, i64)>,
    durable: BTreeSet<(u32, i64)>,
}

impl Walk {
    fn suspect(&mut self, event: usize, against: &'static str, words: String) {
        self.found.push(Suspect { event, against, words });
    }

    fn see(&mut self, at: usize, thread: &Option<Arc<str>>, event: &Event) {
        match event {
            Event::PowerCut(_) | Event::Killed => self.life = Life::default(),
            Event::Found(findings) => {
                self.life = Life::default();
                self.find(at, findings);
            }
            Event::Called(call) => {
                if call.caller != COLLECTOR {
                    for key in &call.points {
                        self.durable.remove(&(key.tag, key.ts_us));
                    }
                }
                self.calls.insert(call.id, (at, call.clone()));
            }
            Event::Returned { call, error: None } => self.returned(*call),
            // Other errors have I/O errors behind them.
            Event::Opened(Err(error)) if self.life.is_sound && error.starts_with("corrupt") => {
                let words = "Recovery refuses this disk here, though a sound reader finds every checksum and every reference of it intact";
                self.suspect(at, "I6", format!("{words}: {error}."));
            }
            Event::Promised { call, tags } => self.promised(at, thread.is_some(), *call, tags.as_deref()),
            Event::Io(io) => self.io(at, thread, io),
            _ => {}
        }
    }

    fn find(&mut self, at: usize, findings: &Findings) {
        for unit in findings.disk.units.iter().filter(|unit| unit.state == UnitState::Live) {
            if let Some((_, end)) = unit.lsn {
                let segment = self.life.segments.entry(unit.file.clone()).or_default();
                segment.0 = segment.0.max(end);
            }
        }
        self.life.is_sound = findings.disk.damage.is_empty();
        let Some(engine) = &findings.engine else { return };
        self.suspect(at, "I5", misread(&findings.disk.units, &engine.units));
    }

    fn promised(&mut self, at: usize, has_threads: bool, call: u64, tags: Option<&[u32]>) {
        let Some((begun, call)) = self.calls.get(&call).cloned() else { return };
        let name = &call.name;
        if call.caller.starts_with("client ") {
            return self.told(at, &call);
        }
        // With several threads only what came before the call is surely its business.
        let until = if has_threads { begun } else { at };
        let known = self.life.failed_sync.as_ref().and_then(|failed| failed.known);
        if known.is_some_and(|known| known <= until) {
            let words = format!(
                "`{name}` returned Ok here, though a sync had failed and nobody knows what is on the disk."
            );
            return self.suspect(at, "I8", words);
        }
        let concerns = |pending: &&Pending| {
            pending.at < until
                && tags.is_none_or(|tags| pending.tags.iter().any(|tag| tags.contains(tag)))
                && !pending.tags.is_empty()
        };
        let open = self
            .life
            .pending
            .iter()
            .filter(|(file, _)| matches!(FileKind::of(file), FileKind::Segment { .. }));
        let open: Vec<String> = open
            .filter_map(|(file, pending)| {
                let first = pending.iter().find(concerns)?;
                Some(format!("{file} from byte {} on", first.offset))
            })
            .collect();
        if let Some(first) = open.first() {
            let words = format!(
                "`{name}` returned Ok here, but what it answers for is in the page cache only: no sync has covered {first}."
            );
            self.suspect(at, "I1", words);
        }
    }

    /// A call of the collector says when what a client is waiting for is durable.
    fn returned(&mut self, call: u64) {
        let Some((_, call)) = self.calls.get(&call).filter(|(_, call)| call.caller == COLLECTOR) else {
            return;
        };
        if call.name == "sync" {
            self.durable.append(&mut self.written);
        } else {
            self.written.extend(call.points.iter().map(|key| (key.tag, key.ts_us)));
        }
    }

    /// A client is told that its batch is durable.
    fn told(&mut self, at: usize, call: &Call) {
        if call.points.iter().any(|key| !self.durable.contains(&(key.tag, key.ts_us))) {
            let words = format!(
                "{} is told here that its {} is durable, and the collector has not yet had an Ok of a sync behind it.",
                call.caller, call.name
            );
            self.suspect(at, "the service's own promise", words);
        }
    }

    fn io(&mut self, at: usize, thread: &Option<Arc<str>>, io: &Io) {
        if io.crashed {
            return;
        }
        match io.kind {
            IoKind::Write => self.write(at, io),
            IoKind::Sync if io.ok => {
                // What a failed sync of an earlier life has left behind stays unsynced, and is no business of this one.
                self.life.pending.remove(&io.file);
                if FileKind::of(&io.file) == FileKind::Manifest {
                    self.life.checkpoints.values_mut().for_each(|(synced, written)| *synced = *written);
                }
            }
            IoKind::SyncDir if io.ok => self.life.new_names.clear(),
            IoKind::Sync | IoKind::SyncDir | IoKind::Rename if !io.ok => {
                let thread = thread.clone();
                self.life.failed_sync.get_or_insert(FailedSync { thread, known: None });
            }
            IoKind::Open if io.ok && io.change.is_some() => self.life.new_names.push(io.file.clone()),
            IoKind::Rename => {
                let pending = self.life.pending.remove(&io.file);
                if let Some(to) = &io.to {
                    if pending.is_some_and(|pending| !pending.is_empty()) {
                        let words = format!(
                            "{} takes the name {to}, and no sync has covered what is in it.",
                            io.file
                        );
                        self.suspect(at, "I4", words);
                    }
                    self.life.pending.remove(to);
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, at: usize, io: &Io) {
        let pieces = pieces(&io.file, io.offset, &io.bytes);
        let tags = |piece: &Piece| match piece {
            Piece::Frame(_, _, tags) => tags.iter().map(|tag| tag.get()).collect(),
            Piece::Block(_, block) => vec![block.tag.get()],
            Piece::Edit(..) => Vec::new(),
        };
        for piece in &pieces {
            match piece {
                Piece::Edit(_, edit) if io.ok => {
                    let blocks = edit.blocks.iter();
                    let unfounded = blocks.filter_map(|block| {
                        let file = tidewall::store::chunk::name(block.chunk);
                        let end = block.offset + u64::from(block.len);
                        let is_open = self.life.pending.get(&file).is_some_and(|pending| {
                            pending.iter().any(|write| write.offset < end && block.offset < write.offset + write.len)
                        });
                        let is_new = self.life.new_names.contains(&file);
                        let what = format!("{file}, bytes {}..{end}, {} points of tag {}", block.offset, block.count, block.tag);
                        let is_hole = self.life.holes.get(&file).is_some_and(|holes| {
                            holes.iter().any(|(offset, len)| *offset < end && block.offset < offset + len)
                        });
                        if is_hole {
                            Some(format!("The manifest names a block here ({what}) whose write had failed."))
                        } else if is_open {
                            Some(format!("The manifest names a block here ({what}) that no sync has covered."))
                        } else {
                            is_new.then(|| format!("The manifest names a block here ({what}) in a file whose name no sync of the directory has covered."))
                        }
                    });
                    if let Some(words) = unfounded.collect::<Vec<_>>().into_iter().next() {
                        self.suspect(at, "I4", words);
                    }
                    for stream in &edit.streams {
                        if let Some((checkpoint, durable)) = stream.watermarks {
                            self.called_durable(at, &io.file, stream.stream.into(), durable.0);
                            self.life.checkpoints.entry(stream.stream.into()).or_default().1 = checkpoint.0;
                        }
                    }
                }
                Piece::Frame(_, header, _) => {
                    if let FileKind::Segment { stream } = FileKind::of(&io.file) {
                        self.called_durable(at, &io.file, stream, header.durable_lsn.0);
                    }
                    self.frame(at, io, &header.generation.to_string(), header.end_lsn().0);
                }
                _ => {}
            }
        }
        let holes = self.life.holes.entry(io.file.clone()).or_default();
        let end = io.offset + io.len;
        // What is left of each before this write and behind it.
        *holes = std::mem::take(holes)
            .into_iter()
            .flat_map(|(offset, len)| {
                let hole_end = offset + len;
                [(offset, hole_end.min(io.offset)), (offset.max(end), hole_end)]
            })
            .filter(|(from, to)| from < to)
            .map(|(from, to)| (from, to - from))
            .collect();
        if !io.ok {
            holes.push((io.offset, io.len));
        }
        let tags = pieces.iter().flat_map(tags).collect();
        let positions = pieces.iter().filter_map(|piece| match piece {
            Piece::Frame(_, header, _) => Some((header.first_lsn.0, header.end_lsn().0)),
            _ => None,
        });
        let lsn = positions.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
        let write = Pending { at, offset: io.offset, len: io.len, tags, lsn };
        self.life.pending.entry(io.file.clone()).or_default().push(write);
    }

    /// A watermark is written down: everything below it must be in synced sectors.
    fn called_durable(&mut self, at: usize, file: &str, stream: u64, durable: u64) {
        let of_stream = |file: &String| FileKind::of(file) == FileKind::Segment { stream };
        let pending = self.life.pending.iter().filter(|(file, _)| of_stream(file));
        let unfounded = pending
            .flat_map(|(file, writes)| writes.iter().map(move |write| (file, write)))
            .find(|(_, write)| write.lsn.is_some_and(|(first, _)| first < durable));
        let Some((segment, write)) = unfounded else { return };
        let (first, end) = write.lsn.unwrap_or_default();
        let words = format!(
            "What is written to {file} here says that everything below LSN {durable} is durable, but no sync has covered LSN {first}..{end} in {segment} from byte {} on.",
            write.offset
        );
        self.suspect(at, "I1", words);
    }

    /// A frame is written to a segment: if it is of another use than the one before, that one must be over.
    fn frame(&mut self, at: usize, io: &Io, generation: &str, end: u64) {
        let FileKind::Segment { stream } = FileKind::of(&io.file) else { return };
        let (held, used_by) = self.life.segments.get(&io.file).cloned().unwrap_or_default();
        let checkpoint = self.life.checkpoints.get(&stream).map_or(0, |(synced, _)| *synced);
        if used_by != generation && held > checkpoint && io.offset == 0 {
            let words = format!(
                "{} is begun anew here, while it holds points up to LSN {held} and only those below {checkpoint} are in blocks that the synced manifest names.",
                io.file
            );
            self.suspect(at, "I4", words);
        }
        let start = if used_by == generation { held } else { 0 };
        self.life.segments.insert(io.file.clone(), (start.max(end), generation.into()));
    }
}
