//! Group commit: many threads wait for their positions to become durable, one of them syncs for all.
//!
//! The first to get the turn becomes the leader. It writes the staged frames and syncs, without the lock; appends go on
//! meanwhile. Those who come while it syncs wait for the next one; when it is done, all whose position it covered return, and
//! one of the others leads that next sync. So `n` waiters cost at most two syncs: the one in flight, and one for
//! everything that was appended during it.
//!
//! ```text
//!   sync 6 ├─────────────────────┤  who waits for 6 returns; one of those who wait for 7 wakes, and leads it
//!   sync 7                        ├──────────────────┤
//!   waits         ●──── for 7 ───────────────────────►  asleep all the time, also when 6 ends
//! ```

use super::{Log, State};
use crate::error::Result;
use crate::lsn::Lsn;

impl Log {
    /// Returns when everything below `target` is durable.
    ///
    /// # Errors
    /// `Io` when staged frames could not be written: they stay staged, and another call tries again. `ReadOnly` when
    /// a sync failed, this one or any before it (I8).
    pub(crate) fn commit(&self, target: Lsn) -> Result<()> {
        let place = |state: &State| match state.covering >= target {
            true => state.sync_number,
            false => state.sync_number + 1,
        };
        while let Some(mut turn) = self.turn_at(|state| state.marks.durable >= target, place)? {
            turn.commit()?;
        }
        Ok(())
    }
}
