//! The turn to do I/O on a log: one thread at a time writes, syncs and rotates, and never with the log's lock held.
//!
//! ```text
//!            lock           no lock                     lock
//!   turn() ───────► Turn ──────────────► write / sync ───────► watermark, ring ──► dropped: the next waiter's turn
//!                     │ takes the staging buffer
//!   appends ──────────┴──► go on into the other buffer
//! ```
//!
//! The turn is a value: `Io` holds what I/O is done with, and whoever has taken it out of the state is the only one who
//! has it. So two syncs of one file never overlap, which matters when one fails: the kernel reports a lost page to one of
//! them only, and the other would believe that it is on the disk.

use super::ring::Next;
use super::{Log, State, create_segment};
use crate::codec::round_up;
use crate::disk::DiskFile;
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::sync::{Arc, Event, Ordering, thread};

/// For the planted bug L1: looks at a turn that others have.
const PATIENCE: u32 = 200;

/// What I/O is done with.
#[derive(Clone, Default)]
pub(super) struct Io {
    /// Open segment files by slot.
    pub(super) files: Vec<Arc<dyn DiskFile>>,
    /// Empty: the buffer that is exchanged for the staged one.
    pub(super) bytes: Vec<u8>,
}

/// Why staged frames are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// To have the memory free, or to have them survive the process.
    Write,
    /// To sync them: what follows begins in a new sector.
    Commit,
    /// To sync them as the last of their segment.
    Leave,
}

/// What became of the wish for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Room {
    /// An append will find some, unless others are faster.
    Made,
    /// Every segment is busy; a flush has to free one.
    NoSegment,
}

/// The turn, until it is dropped.
pub(super) struct Turn<'a> {
    pub(super) log: &'a Log,
    io: Io,
    /// A write or a sync has begun and not ended: the disk has panicked, if the turn is dropped now.
    at_disk: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.at_disk {
            // What was staged is lost, so nobody may write what comes behind it.
            self.log.health.poison("write of the log, which panicked");
        }
        let mut state = self.log.lock();
        state.io = Some(std::mem::take(&mut self.io));
        let (covered, next) = (place_of_sync(state.sync_number), place_of_sync(state.sync_number + 1));
        let awaited = std::mem::take(&mut state.awaited);
        // Some of them go on waiting.
        state.awaited[next] = awaited[next];
        drop(state);
        if plant::on(Bug::C11) {
            return;
        }
        if self.log.health.has_failed() {
            self.log.wake_all();
            return;
        }
        let places = &self.log.places;
        if awaited[next] {
            // Of those whom this sync has not covered one is enough: it leads the next one, which covers the others.
            places[next].notify_one();
        }
        for place in [covered, TURN_FREE] {
            if awaited[place] {
                places[place].notify_all();
            }
        }
    }
}

/// The place of those whom the sync of this number covers.
pub(super) fn place_of_sync(number: u64) -> usize {
    (number % 2) as usize
}

/// The place of those who wait for the turn.
const TURN_FREE: usize = 2;

impl Log {
    fn wake_all(&self) {
        self.places.iter().for_each(Event::notify_all);
    }

    /// Waits for the turn. `None` as soon as `done` says that there is nothing left to do.
    fn turn(&self, done: impl Fn(&State) -> bool) -> Result<Option<Turn<'_>>> {
        self.turn_at(done, |_| TURN_FREE, || false)
    }

    /// Likewise, waiting at the place that `place` names, so that not every waiter is woken each time. A thread that has been woken asks
    /// first, without the lock, whether it `is_over`.
    pub(super) fn turn_at(
        &self,
        done: impl Fn(&State) -> bool,
        place: impl Fn(&State) -> usize,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<Turn<'_>>> {
        let mut state = self.lock();
        let mut looks = 0;
        loop {
            if let Err(error) = self.health.check() {
                // It may have been woken alone.
                drop(state);
                self.wake_all();
                return Err(error);
            }
            if done(&state) {
                return Ok(None);
            }
            let io = if plant::on(Bug::C8) { state.io.clone() } else { state.io.take() };
            if let Some(io) = io {
                return Ok(Some(Turn { log: self, io, at_disk: false }));
            }
            state.stats.turn_waits += 1;
            state.company.waited = true;
            if plant::on(Bug::L1) {
                drop(state);
                thread::yield_now();
                state = self.lock();
                looks += 1;
                if looks == PATIENCE {
                    return Ok(None);
                }
                continue;
            }
            let place = place(&state);
            state.awaited[place] = true;
            let mut times = self.places[place].times();
            drop(state);
            if plant::on(Bug::C14) {
                times = self.places[place].times();
            }
            self.places[place].wait(times);
            // I8: after a failed sync every waiter hears of it, even one whose points were durable before.
            if is_over() && !self.health.has_failed() {
                return Ok(None);
            }
            state = self.lock();
        }
    }

    /// Does the I/O that an append of a frame of this size waits for.
    ///
    /// # Errors
    /// `Io` when staged frames could not be written or a segment not be made; nothing is lost, and the call can be
    /// repeated. `ReadOnly` after a failed sync.
    pub(crate) fn make_room(&self, frame_bytes: u64) -> Result<Room> {
        self.make_room_in(frame_bytes, false)
    }

    /// As [`make_room`](Log::make_room), while recovery writes the unproven tail anew: may take the spare segment.
    pub(crate) fn make_room_for_tail(&self, frame_bytes: u64) -> Result<Room> {
        self.make_room_in(frame_bytes, true)
    }

    fn make_room_in(&self, frame_bytes: u64, spare: bool) -> Result<Room> {
        let Some(mut turn) = self.turn(|state| self.has_room(state, frame_bytes))? else {
            return Ok(Room::Made);
        };
        if self.segment_has_room(&self.lock(), frame_bytes) {
            turn.write_out(Why::Write)?;
            return Ok(Room::Made);
        }
        turn.leave_active()?;
        turn.begin_next(spare)
    }

    /// Writes what is staged, without a sync: it survives the death of the process, not that of the machine.
    pub(crate) fn write_staged(&self) -> Result<()> {
        match self.turn(|state| state.staging.is_empty())? {
            Some(mut turn) => turn.write_out(Why::Write).map(drop),
            None => Ok(()),
        }
    }

    /// Recovery has written the tail. If that took the spare segment no point may be added to it: the next recovery
    /// would have no place for a tail there. The next append waits for a flush.
    pub(crate) fn leave_spare(&self) -> Result<()> {
        match self.turn(|state| !state.ring.is_over_full())? {
            Some(mut turn) => turn.leave_active(),
            None => Ok(()),
        }
    }
}

impl Turn<'_> {
    /// Writes what is staged. Returns how far the log has now been written. After an error the frames are staged as before.
    fn write_out(&mut self, why: Why) -> Result<Lsn> {
        let mut state = self.log.lock();
        let covered = state.marks.appended;
        if why != Why::Write {
            // Whoever comes later waits for the next one.
            state.sync_number += 1;
            state.covering = covered;
        }
        let Some(slot) = state.active else { return Ok(covered) };
        if why == Why::Commit && !plant::on(Bug::P1) {
            state.pad(self.log.sector_bytes);
        }
        if state.staging.is_empty() {
            return Ok(covered);
        }
        let offset = state.staging_offset;
        std::mem::swap(&mut state.staging, &mut self.io.bytes);
        state.staging_offset += self.io.bytes.len() as u64;
        drop(state);
        self.at_disk = true;
        let written = self.io.files[slot].write_at(offset, &self.io.bytes);
        self.at_disk = false;
        let mut state = self.log.lock();
        if let Err(error) = written {
            // Back to the front: what was staged meanwhile follows it.
            self.io.bytes.append(&mut state.staging);
            std::mem::swap(&mut state.staging, &mut self.io.bytes);
            state.staging_offset = if plant::on(Bug::W13) { state.staging_offset } else { offset };
            if plant::on(Bug::I9) {
                self.log.health.poison("write of the log");
            }
            return Err(Error::io("write", &self.log.name(slot), error));
        }
        state.stats.writes += 1;
        state.stats.written_bytes += self.io.bytes.len() as u64;
        self.io.bytes.clear();
        Ok(covered)
    }

    /// Writes what is staged, and syncs it.
    pub(super) fn sync_out(&mut self, why: Why) -> Result<()> {
        let synced = self.write_out(why).and_then(|covered| self.sync(covered));
        if synced.is_err() && !plant::on(Bug::C13) {
            // Whom it should have covered waits for the next one, too.
            self.log.lock().covering = Lsn(0);
        }
        synced
    }

    fn sync(&mut self, covered: Lsn) -> Result<()> {
        let mut state = self.log.lock();
        let Some(slot) = state.active.filter(|_| state.marks.durable < covered) else { return Ok(()) };
        state.stats.syncs += 1;
        let left_out = plant::on(Bug::W23) && !state.stats.syncs.is_multiple_of(8);
        drop(state);
        self.at_disk = true;
        let result = if plant::on(Bug::F1) || left_out { Ok(()) } else { self.io.files[slot].sync() };
        self.at_disk = false;
        // I1: the watermark passes a frame only after a sync that covers it has returned success.
        self.log.health.final_result("sync", &self.log.name(slot), result)?;
        let mut state = self.log.lock();
        let covered = if plant::on(Bug::R5) { state.marks.appended } else { covered };
        state.marks.durable = state.marks.durable.max(covered);
        // Released: what the sync was for has happened, for who sees that it has.
        self.log.durable.store(state.marks.durable.0, Ordering::Release);
        Ok(())
    }

    /// First half of a rotation: the active segment is full. Leaves no active segment, or on an error everything as it
    /// was.
    fn leave_active(&mut self) -> Result<()> {
        let mut state = self.log.lock();
        let Some(slot) = state.active else { return Ok(()) };
        state.leaving = true;
        drop(state);
        // The old segment is durable before the next one has its first frame: that frame's watermark then proves that
        // nothing before it can be a torn tail (I6).
        let left = self.sync_out(Why::Leave);
        let mut state = self.log.lock();
        state.leaving = false;
        left?;
        let marks = state.marks;
        state.ring.close(slot, marks.appended);
        // What it holds may be in blocks already: a flush can have ended while it was being left.
        if !plant::on(Bug::Z2) {
            state.ring.retire(marks.checkpoint);
        }
        state.active = None;
        state.stats.rotations += 1;
        Ok(())
    }

    /// Second half of a rotation: the next segment becomes active.
    fn begin_next(&mut self, spare: bool) -> Result<Room> {
        let log = self.log;
        let next = log.lock().ring.next(spare);
        let slot = match next {
            Next::Reuse(slot) => slot,
            Next::Full => return Ok(Room::NoSegment),
            Next::Grow(slot) => {
                let name = log.name(slot);
                let file = match create_segment(&*log.disk, &name, log.segment_bytes) {
                    Ok(file) => file,
                    // No space for one more: the ring stays as it is, and a flush can free a segment of it, since it only
                    // grows when all are busy.
                    Err(_) if !spare => return Ok(Room::NoSegment),
                    Err(error) => return Err(error),
                };
                log.health.final_result("sync", &name, file.sync())?;
                // Without the name a crash would take the whole segment, however well synced.
                if !plant::on(Bug::N4) {
                    log.health.sync_dir(&*log.disk, &name)?;
                }
                self.io.files.push(file);
                slot
            }
        };
        let mut state = log.lock();
        state.stats.grown_segments += u64::from(matches!(next, Next::Grow(_)));
        state.ring.begin(slot);
        state.active = Some(slot);
        state.staging_offset = 0;
        state.generation.seq += 1;
        Ok(Room::Made)
    }
}

impl State {
    /// Fills the sector with zeros, so that no later frame is written into a sector that a sync covers.
    fn pad(&mut self, sector_bytes: u64) {
        let end = round_up(self.offset(), sector_bytes).expect("a segment's length is far from u64::MAX");
        let padding = end - self.offset();
        self.staging.resize(self.staging.len() + padding as usize, 0);
    }
}
