//! Group commit: many threads wait for their positions to become durable, one of them syncs for all.
//!
//! The first to find no sync in flight becomes the leader. It writes the staged frames, notes how far they reach,
//! releases the lock and syncs; appends go on meanwhile. Those who come while it syncs wait; when it is done, all
//! whose position it covered return, and one of the others leads the next round. So `n` waiters cost at most two
//! syncs: the one in flight, and one for everything that was appended during it.

use super::{Log, State};
use crate::codec::round_up;
use crate::error::Result;
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::sync::Guard;

impl Log {
    /// Returns when everything below `target` is durable.
    ///
    /// # Errors
    /// `Io` when staged frames could not be written: they stay staged, and another call tries again. `ReadOnly` when
    /// a sync failed, this one or any before it (I8).
    pub(crate) fn commit(&self, target: Lsn) -> Result<()> {
        let mut state = self.lock();
        loop {
            self.health.check()?;
            if state.marks.durable >= target {
                return Ok(());
            }
            if state.syncing {
                state.stats.sync_waits += 1;
                self.synced.wait(&mut state);
                continue;
            }
            let slot = state.active.expect("points that are not durable are in the active segment");
            self.pad(&mut state);
            self.write_out(&mut state, slot)?;
            state = self.lead(state, slot)?;
        }
    }

    /// Syncs for everybody who waits, without the lock.
    fn lead<'a>(&'a self, mut state: Guard<'a, State>, slot: usize) -> Result<Guard<'a, State>> {
        let covered = state.marks.appended;
        let file = state.files[slot].clone();
        state.stats.syncs += 1;
        state.syncing = true;
        drop(state);
        let result = if plant::on(Bug::F1) { Ok(()) } else { file.sync() };
        let mut state = self.lock();
        state.syncing = false;
        self.synced.notify_all();
        // I1: the watermark passes a frame only after a sync that covers it has returned success.
        self.health.final_result("sync", &super::segment_name(slot), result)?;
        state.marks.durable = state.marks.durable.max(covered);
        Ok(state)
    }

    /// Fills the sector with zeros, so that no later frame is written into a sector that this sync covers.
    fn pad(&self, state: &mut State) {
        let end =
            round_up(state.offset(), self.sector_bytes).expect("a segment's length is far from u64::MAX");
        let padding = end - state.offset();
        let padded = state.staging.len() + padding as usize;
        state.staging.resize(padded, 0);
    }
}
