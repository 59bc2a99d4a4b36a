//! The write-ahead log: frames, in segments, in a ring.
//!
//! | file | subject |
//! |---|---|
//! | [`frame`] | the bytes of one frame |
//! | [`scan`] | from bytes back to frames and to one log; what is torn, stale or corrupt |
//! | `ring` | which segment is free, active or busy |
//! | `commit` | group commit: many waiters, one sync |
//! | this one | `Log`: the append path and rotation |
//!
//! A segment file has no header: it begins with a frame, and every frame carries the generation of its segment. There
//! is nothing to rewrite when a segment is used again, and so nothing that a crash could leave half-rewritten.
//!
//! The log never calls up. When no segment is free it says so (`Append::NoSegment`), and whoever asked plans the
//! flush that frees one.

mod commit;
pub mod frame;
pub(crate) mod ring;
pub mod scan;

use crate::config::Config;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::lsn::{Append, Generation, Lsn};
use crate::point::{Entry, TagId};
use crate::sync::{Arc, Condvar, Guard, Mutex, Rank};
use frame::FrameHeader;
use ring::{Next, Ring};

/// The name of segment `slot`.
pub(crate) fn segment_name(slot: usize) -> String {
    format!("wal-{slot:03}.log")
}

/// The segment that has this name, if it is the name of one.
pub(crate) fn segment_slot(name: &str) -> Option<usize> {
    let slot = name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()?;
    (segment_name(slot) == name).then_some(slot)
}

/// Creates a segment. It is durable after a sync and its name after `sync_dir`, which the caller owes.
fn create_segment(disk: &dyn Disk, slot: usize, segment_bytes: u64) -> Result<Arc<dyn DiskFile>> {
    let name = segment_name(slot);
    let file = disk.open(&name, OpenMode::Create).map_err(|error| Error::io("create", &name, error))?;
    file.set_len(segment_bytes).map_err(|error| Error::io("reserve", &name, error))?;
    Ok(file)
}

/// Counters of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogStats {
    pub(crate) appends: u64,
    pub(crate) appended_points: u64,
    pub(crate) lock_acquisitions: u64,
    pub(crate) syncs: u64,
    pub(crate) sync_waits: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) rotations: u64,
    pub(crate) grown_segments: u64,
}

/// The three watermarks; I7 orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) appended: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) checkpoint: Lsn,
}

/// The log of one open engine.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    health: Arc<Health>,
    segment_bytes: u64,
    sector_bytes: u64,
    staging_bytes: usize,
    state: Mutex<State>,
    /// The sync in flight has ended.
    synced: Condvar,
}

struct State {
    ring: Ring,
    /// Open segment files by slot.
    files: Vec<Arc<dyn DiskFile>>,
    active: Option<usize>,
    /// Of the active segment; `seq` counts from 1.
    generation: Generation,
    /// Frames (and padding) not yet written, and where in the active segment they go. A failed write leaves them
    /// here, and the next one writes them again to the same place.
    staging: Vec<u8>,
    staging_offset: u64,
    marks: Watermarks,
    /// A sync of the active segment is in flight. Two syncs of one file never overlap: the kernel reports a lost
    /// page to one of them only, and the other would believe that it is on the disk.
    syncing: bool,
    stats: LogStats,
}

/// What recovery hands over: an empty place in the log, behind everything that was replayed.
pub(crate) struct Start {
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
            files: start.files,
            active: None,
            generation: Generation { epoch: start.epoch, seq: 0 },
            staging: Vec::new(),
            staging_offset: 0,
            marks,
            syncing: false,
            stats: LogStats::default(),
        };
        Log {
            disk,
            health,
            segment_bytes: config.segment_bytes,
            sector_bytes: config.sector_bytes,
            staging_bytes: config.staging_bytes,
            state: Mutex::new(Rank::Wal, state),
            synced: Condvar::new(),
        }
    }

    fn lock(&self) -> Guard<'_, State> {
        let mut state = self.state.lock();
        state.stats.lock_acquisitions += 1;
        state
    }

    /// Appends one tag batch as one frame; a single point is a batch of one. On return it has positions, and is durable after a commit that covers
    /// them.
    ///
    /// # Errors
    /// `Io` when an older frame had to be written to make room and could not be; nothing was appended, everything
    /// appended before is kept, and the call can be repeated. `ReadOnly` after a failed sync.
    pub(crate) fn batch_append(&self, tag: TagId, entries: &[Entry]) -> Result<Append> {
        self.append_in(&mut self.lock(), tag, entries, false)
    }

    /// As [`batch_append`](Log::batch_append), while recovery writes the unproven tail anew: may take the spare
    /// segment.
    pub(crate) fn append_tail(&self, tag: TagId, entries: &[Entry]) -> Result<Append> {
        self.append_in(&mut self.lock(), tag, entries, true)
    }

    /// Recovery has written the tail. If that took the spare segment no point may be added to it: the next recovery
    /// would have no place for a tail there. The next append waits for a flush.
    pub(crate) fn leave_spare(&self) -> Result<()> {
        let mut state = self.lock();
        match state.active {
            Some(slot) if state.ring.is_over_full() => self.close_active(&mut state, slot),
            _ => Ok(()),
        }
    }

    fn append_in(
        &self,
        state: &mut Guard<'_, State>,
        tag: TagId,
        entries: &[Entry],
        spare: bool,
    ) -> Result<Append> {
        let frame_bytes = frame::frame_bytes(entries.len()) as u64;
        let active = loop {
            self.health.check()?;
            let active = state.active;
            match active {
                Some(slot) if state.offset() + frame_bytes <= self.segment_bytes => break slot,
                Some(slot) => self.close_active(state, slot)?,
                None if !self.begin_next(state, spare)? => return Ok(Append::NoSegment),
                None => {}
            }
        };
        if state.staging.len() >= self.staging_bytes {
            self.write_out(state, active)?;
        }
        let first_lsn = state.marks.appended;
        let header = FrameHeader {
            tag,
            generation: state.generation,
            count: entries.len() as u32,
            first_lsn,
            durable_lsn: state.marks.durable,
        };
        frame::encode(&mut state.staging, &header, entries);
        state.marks.appended = header.end_lsn();
        state.stats.appends += 1;
        state.stats.appended_points += entries.len() as u64;
        Ok(Append::Appended { first_lsn, end_lsn: header.end_lsn() })
    }

    /// First half of a rotation: the active segment is full. Leaves no active segment, or on an error everything as
    /// it was. May release the lock while it waits for a sync in flight, and then leaves the decision to the caller.
    fn close_active(&self, state: &mut Guard<'_, State>, slot: usize) -> Result<()> {
        if state.syncing {
            self.synced.wait(state);
            return Ok(());
        }
        self.write_out(state, slot)?;
        // The old segment is durable before the next one has its first frame: that frame's watermark then proves
        // that nothing before it can be a torn tail (I6).
        if state.marks.durable < state.marks.appended {
            self.sync_now(state, slot)?;
            state.marks.durable = state.marks.appended;
        }
        let end_lsn = state.marks.appended;
        state.ring.close(slot, end_lsn);
        state.active = None;
        state.stats.rotations += 1;
        Ok(())
    }

    /// Second half of a rotation: the next segment becomes active. `false` when none is free.
    fn begin_next(&self, state: &mut Guard<'_, State>, spare: bool) -> Result<bool> {
        let slot = match state.ring.next(spare) {
            Next::Reuse(slot) => slot,
            Next::Full => return Ok(false),
            Next::Grow(slot) => {
                let file = match create_segment(&*self.disk, slot, self.segment_bytes) {
                    Ok(file) => file,
                    // No space for one more: the ring stays as it is, and a flush can free a segment of it.
                    Err(_) if !spare && state.ring.busy() > 0 => return Ok(false),
                    Err(error) => return Err(error),
                };
                let name = segment_name(slot);
                self.health.final_result("sync", &name, file.sync())?;
                // Without the name a crash would take the whole segment, however well synced.
                self.health.final_result(
                    "sync of the directory after creating",
                    &name,
                    self.disk.sync_dir(),
                )?;
                state.files.push(file);
                state.stats.grown_segments += 1;
                slot
            }
        };
        state.ring.begin(slot);
        state.active = Some(slot);
        state.staging_offset = 0;
        state.generation.seq += 1;
        Ok(true)
    }

    /// Writes the staged frames to the active segment. After an error they are still staged.
    fn write_out(&self, state: &mut State, slot: usize) -> Result<()> {
        if state.staging.is_empty() {
            return Ok(());
        }
        let (file, offset) = (&state.files[slot], state.staging_offset);
        file.write_at(offset, &state.staging)
            .map_err(|error| Error::io("write", &segment_name(slot), error))?;
        state.stats.writes += 1;
        state.stats.written_bytes += state.staging.len() as u64;
        state.staging_offset += state.staging.len() as u64;
        state.staging.clear();
        Ok(())
    }

    /// Writes what is staged, without a sync: it survives the death of the process, not that of the machine.
    pub(crate) fn write_staged(&self) -> Result<()> {
        self.health.check()?;
        let mut state = self.lock();
        match state.active {
            Some(slot) => self.write_out(&mut state, slot),
            None => Ok(()),
        }
    }

    fn sync_now(&self, state: &mut State, slot: usize) -> Result<()> {
        state.stats.syncs += 1;
        self.health.final_result("sync", &segment_name(slot), state.files[slot].sync())
    }

    /// Makes segments free that hold nothing at or above the checkpoint. The manifest that says so must be durable
    /// (I4).
    pub(crate) fn retire(&self, checkpoint_lsn: Lsn) -> usize {
        let mut state = self.lock();
        debug_assert!(checkpoint_lsn <= state.marks.durable, "I7");
        state.marks.checkpoint = state.marks.checkpoint.max(checkpoint_lsn);
        state.ring.retire(checkpoint_lsn)
    }

    /// What must be flushed before an append finds a segment: everything below this. `None` when there is one.
    pub(crate) fn wanted_checkpoint(&self) -> Option<Lsn> {
        let state = self.lock();
        if state.active.is_some() || matches!(state.ring.next(false), Next::Reuse(_)) {
            return None;
        }
        // The ring may still be allowed to grow; then there was no space to, and its oldest segment must do.
        state.ring.oldest_busy()
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        self.lock().marks
    }

    pub(crate) fn stats(&self) -> (LogStats, usize, usize) {
        let state = self.lock();
        (state.stats, state.ring.len(), state.ring.busy())
    }
}

impl State {
    /// Where in the active segment the next frame begins.
    fn offset(&self) -> u64 {
        self.staging_offset + self.staging.len() as u64
    }
}
