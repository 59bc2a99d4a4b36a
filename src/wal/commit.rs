//! Group commit: many threads wait for their positions to become durable, one of them syncs for all.
//!
//! The first to get the turn becomes the leader. It writes the staged frames and syncs, without the lock; appends go on
//! meanwhile. Those who come while it syncs wait for the turn; when it is done, all whose position it covered return, and
//! one of the others leads the next round. So `n` waiters cost at most two syncs: the one in flight, and one for
//! everything that was appended during it.

use super::Log;
use crate::error::Result;
use crate::lsn::Lsn;

impl Log {
    /// Returns when everything below `target` is durable.
    ///
    /// # Errors
    /// `Io` when staged frames could not be written: they stay staged, and another call tries again. `ReadOnly` when
    /// a sync failed, this one or any before it (I8).
    pub(crate) fn commit(&self, target: Lsn) -> Result<()> {
        while let Some(mut turn) = self.turn(|state| state.marks.durable >= target)? {
            turn.commit()?;
        }
        Ok(())
    }
}
