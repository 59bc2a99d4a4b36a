//! The write-ahead log: frames, in segments, in a ring. One `Log` is one stream.
//!
//! | file | subject |
//! |---|---|
//! | [`frame`] | the bytes of one frame |
//! | [`scan`] | from bytes back to frames and to one log; what is torn, stale or corrupt |
//! | `ring` | which segment is free, active or busy |
//! | `turn` | the turn to do I/O: writing out, syncing, rotation; all without the lock |
//! | `commit` | group commit: many waiters, one sync |
//! | this one | `Log`: the append path, in memory |
//!
//! A segment file has no header: it begins with a frame, and every frame carries the generation of its segment. There
//! is nothing to rewrite when a segment is used again, and so nothing that a crash could leave half-rewritten.
//!
//! The log never calls up. When no segment is free it says so (`Room::NoSegment`), and whoever asked plans the flush that
//! frees one.

mod commit;
pub mod frame;
pub(crate) mod ring;
pub mod scan;
mod turn;

pub(crate) use turn::Room;

use crate::codec::mixed::Batch;
use crate::config::Config;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::lsn::{Append, Generation, Lsn};
use crate::plant::{self, Bug};
use crate::sync::{Arc, AtomicU64, Event, Guard, Mutex, Rank};
use commit::Company;
use frame::FrameHeader;
use ring::{Next, Ring};
use turn::Io;

/// The name of a segment: `wal-SLOT.log` in stream 0, `wal-STREAM-SLOT.log` in the others.
pub(crate) fn segment_name(stream: usize, slot: usize) -> String {
    match stream {
        0 => format!("wal-{slot:03}.log"),
        _ => format!("wal-{stream:02}-{slot:03}.log"),
    }
}

/// Slots of a stream, and more streams than any store has: as many as two and three digits can number. Whoever counts
/// files by their names counts no further.
const SLOTS_LIMIT: usize = 1000;
const STREAMS_LIMIT: usize = 100;

/// The stream and slot of the segment that has this name, if it is the name of one.
pub(crate) fn segment_place(name: &str) -> Option<(usize, usize)> {
    let numbers = name.strip_prefix("wal-")?.strip_suffix(".log")?;
    let (stream, slot) = numbers.split_once('-').unwrap_or(("0", numbers));
    let (stream, slot) = (stream.parse().ok()?, slot.parse().ok()?);
    let numbered = stream < STREAMS_LIMIT && slot < SLOTS_LIMIT;
    (numbered && segment_name(stream, slot) == name).then_some((stream, slot))
}

/// Creates a segment. It is durable after a sync and its name after `sync_dir`, which the caller owes.
pub(crate) fn create_segment(disk: &dyn Disk, name: &str, segment_bytes: u64) -> Result<Arc<dyn DiskFile>> {
    let file = disk.open(name, OpenMode::Create).map_err(|error| Error::io("create", name, error))?;
    match file.set_len(segment_bytes) {
        Ok(()) => Ok(file),
        Err(error) => {
            // A full disk may have given it the last space there was, which the flush needs that is to free another segment. If
            // it cannot be removed, the next one of this name takes its place.
            drop(file);
            let _ = disk.remove(name);
            Err(Error::io("reserve", name, error))
        }
    }
}

/// Counters of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogStats {
    pub(crate) appends: u64,
    pub(crate) appended_points: u64,
    pub(crate) lock_acquisitions: u64,
    pub(crate) syncs: u64,
    pub(crate) turn_waits: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) rotations: u64,
    pub(crate) grown_segments: u64,
    pub(crate) segments: u64,
    pub(crate) busy_segments: u64,
}

/// The three watermarks; I7 orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) appended: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) checkpoint: Lsn,
}

/// One stream's log in an open engine.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    stream: usize,
    segment_bytes: u64,
    sector_bytes: u64,
    staging_bytes: usize,
    state: Mutex<State>,
    /// A copy of `state.marks.durable`, so that a thread that has been woken need not lock.
    durable: AtomicU64,
    /// Where threads wait: committers by whether the sync that covers them has an even or an odd number, since one is under way at
    /// most and the others wait for the next; and whoever waits for the turn to do I/O.
    places: [Event; 3],
}

struct State {
    ring: Ring,
    active: Option<usize>,
    /// The active segment is being left: no frame may be added to it.
    leaving: bool,
    /// Of the active segment; `seq` counts from 1.
    generation: Generation,
    /// Frames (and padding) not yet written, and where in the active segment they go.
    staging: Vec<u8>,
    staging_offset: u64,
    marks: Watermarks,
    /// No frame says of anything at or above this that it is durable.
    proof_max: Lsn,
    /// What the turn to do I/O consists of; `None` while a thread has it.
    io: Option<Io>,
    /// Number of the last sync that has begun,
    sync_number: u64,
    /// and what it covers; nothing, if it has failed.
    covering: Lsn,
    /// Where somebody waits, or may.
    awaited: [bool; 3],
    company: Company,
    stats: LogStats,
}

/// What recovery hands over: an empty place in the log, behind everything that was replayed.
pub(crate) struct Start {
    pub(crate) stream: usize,
    pub(crate) ring: Ring,
    pub(crate) files: Vec<Arc<dyn DiskFile>>,
    pub(crate) epoch: u32,
    pub(crate) durable_lsn: Lsn,
    pub(crate) checkpoint_lsn: Lsn,
}

impl Log {
    pub(crate) fn new(disk: Arc<dyn Disk>, health: Arc<Health>, config: &Config, start: Start) -> Log {
        let marks = Watermarks {
            appended: start.durable_lsn,
            durable: start.durable_lsn,
            checkpoint: start.checkpoint_lsn,
        };
        let state = State {
            ring: start.ring,
            active: None,
            leaving: false,
            generation: Generation { epoch: start.epoch, seq: 0 },
            staging: Vec::new(),
            staging_offset: 0,
            marks,
            proof_max: Lsn(u64::MAX),
            io: Some(Io { files: start.files, bytes: Vec::new() }),
            sync_number: 0,
            covering: start.durable_lsn,
            awaited: [false; 3],
            company: Company::default(),
            stats: LogStats::default(),
        };
        Log {
            disk,
            health,
            stream: start.stream,
            segment_bytes: config.segment_bytes,
            sector_bytes: config.sector_bytes,
            staging_bytes: config.staging_bytes,
            state: Mutex::new(Rank::Wal, state),
            durable: AtomicU64::new(start.durable_lsn.0),
            places: [Event::new(), Event::new(), Event::new()],
        }
    }

    /// Until [`prove`](Log::prove) no frame says of anything at or above `lsn` that it is durable: while recovery writes a tail again
    /// it is so in an epoch only that may never become part of the log. A frame that called it durable would have the next recovery
    /// miss it, if this one does not come to its end.
    pub(crate) fn prove_nothing_above(&self, lsn: Lsn) {
        self.lock().proof_max = lsn;
    }

    /// The manifest says that this epoch is part of the log.
    pub(crate) fn prove(&self) {
        self.lock().proof_max = Lsn(u64::MAX);
    }

    fn lock(&self) -> Guard<'_, State> {
        let mut state = self.state.lock();
        state.stats.lock_acquisitions += 1;
        state
    }

    fn name(&self, slot: usize) -> String {
        segment_name(self.stream, slot)
    }

    /// Appends one tag batch, or short ones of several tags, as one frame. On return the points have positions, and are
    /// durable after a commit that covers them. A matter of memory only: when I/O is needed first, nothing is appended
    /// and [`make_room`](Log::make_room) has to be called, without any lock. The batch is encoded already, so that the
    /// lock is held for little more than a copy of it.
    ///
    /// # Errors
    /// `ReadOnly` after a failed sync.
    pub(crate) fn batch_append(&self, batch: &Batch) -> Result<Append> {
        let frame_bytes = frame::frame_bytes(batch.payload.len()) as u64;
        let stale_lsn = plant::on(Bug::C4).then(|| self.lock().marks.appended);
        let mut state = self.lock();
        self.health.check()?;
        if !self.has_room(&state, frame_bytes) {
            return Ok(Append::NoRoom { frame_bytes });
        }
        let first_lsn = stale_lsn.unwrap_or(state.marks.appended);
        let header = FrameHeader {
            tag: batch.tag,
            tags: batch.tags,
            generation: state.generation,
            count: batch.count,
            first_lsn,
            durable_lsn: if plant::on(Bug::A1) {
                first_lsn
            } else {
                state.marks.durable.min(state.proof_max)
            },
        };
        frame::put(&mut state.staging, &header, batch.payload);
        state.marks.appended = header.end_lsn();
        state.stats.appends += 1;
        state.stats.appended_points += u64::from(batch.count);
        Ok(Append::Appended { first_lsn, end_lsn: header.end_lsn() })
    }

    fn segment_has_room(&self, state: &State, frame_bytes: u64) -> bool {
        let leaving = state.leaving && !plant::on(Bug::R6);
        let offset = if plant::on(Bug::W12) { state.staging_offset } else { state.offset() };
        state.active.is_some() && !leaving && offset + frame_bytes <= self.segment_bytes
    }

    fn has_room(&self, state: &State, frame_bytes: u64) -> bool {
        state.staging.len() < self.staging_bytes && self.segment_has_room(state, frame_bytes)
    }

    /// Makes segments free that hold nothing at or above the checkpoint. The manifest that says so must be durable
    /// (I4).
    pub(crate) fn retire(&self, checkpoint_lsn: Lsn) -> usize {
        let mut state = self.lock();
        debug_assert!(checkpoint_lsn <= state.marks.durable || cfg!(feature = "plant"), "I7");
        state.marks.checkpoint = state.marks.checkpoint.max(checkpoint_lsn);
        state.ring.retire(checkpoint_lsn)
    }

    /// What must be flushed before an append finds a segment: everything below this. `None` when there is one.
    pub(crate) fn wanted_checkpoint(&self) -> Option<Lsn> {
        let state = self.lock();
        if state.active.is_some() || matches!(state.ring.next(false), Next::Reuse(_)) {
            return None;
        }
        // Even if the ring may still grow: it has just tried to, and there was no space, so the oldest segment must become free.
        state.ring.oldest_busy()
    }

    /// What should be flushed, so that the next rotation finds a segment: there is none besides the active one.
    pub(crate) fn checkpoint_ahead(&self) -> Option<Lsn> {
        let state = self.lock();
        if state.ring.is_full() { state.ring.oldest_busy() } else { None }
    }

    /// For the planted bug C9: something is done inside this lock.
    pub(crate) fn with_lock<R>(&self, inside: impl FnOnce() -> R) -> R {
        let _state = self.lock();
        inside()
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        self.lock().marks
    }

    pub(crate) fn stats(&self) -> (LogStats, Watermarks) {
        let state = self.lock();
        let (segments, busy_segments) = (state.ring.len() as u64, state.ring.busy() as u64);
        (LogStats { segments, busy_segments, ..state.stats }, state.marks)
    }
}

impl State {
    /// Where in the active segment the next frame begins.
    fn offset(&self) -> u64 {
        self.staging_offset + self.staging.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_lead_back_to_their_places_and_nothing_else_does() {
        for place in [(0, 0), (0, 7), (1, 0), (15, 998), (STREAMS_LIMIT - 1, SLOTS_LIMIT - 1)] {
            assert_eq!(segment_place(&segment_name(place.0, place.1)), Some(place));
        }
        for name in
            ["wal-1.log", "wal-00-001.log", "wal-0001.log", "wal-1-001.log", "wal-x.log", "wal--1.log"]
        {
            assert_eq!(segment_place(name), None, "{name}");
        }
        // More than any store has, however well they are written.
        for place in [(0, SLOTS_LIMIT), (1, SLOTS_LIMIT), (STREAMS_LIMIT, 0), (STREAMS_LIMIT, SLOTS_LIMIT)] {
            assert_eq!(segment_place(&segment_name(place.0, place.1)), None, "{place:?}");
        }
    }
}
