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
//!
//! Those whom a sync has released come back with their next points while the next one is about to begin: a leader that knows of
//! others lets them go first, for a moment.

use super::turn::{Turn, Why, place_of_sync};
use super::{Log, State};
use crate::error::Result;
use crate::lsn::Lsn;
use crate::sync::{IS_CHECKED, Ordering, Stopwatch, thread};
use std::time::Duration;

/// How often a leader that expects company yields before it writes: with nobody there that takes some microseconds. Never under a
/// checker, whose threads take no time.
const YIELDS_MAX: usize = if IS_CHECKED { 0 } else { 10 };
/// After this time it yields no more.
const YIELD_TIME_MAX: Duration = Duration::from_micros(100);
/// If yielding took this long the processors are busy with something else, which has had a time slice of its own.
const BUSY_AFTER: Duration = Duration::from_micros(500);
/// For this many commits after that no leader yields.
const BUSY_COMMITS: u32 = 200;

/// Lets other threads go first, for a moment. `false` if that has taken much longer.
fn give_way() -> bool {
    let watch = Stopwatch::start();
    (0..YIELDS_MAX).take_while(|_| watch.elapsed() < YIELD_TIME_MAX).for_each(|_| thread::yield_now());
    watch.elapsed() < BUSY_AFTER
}

/// Whether committers come together.
#[derive(Default)]
pub(super) struct Company {
    /// Some thread has had to wait since the last commit began.
    pub(super) waited: bool,
    /// Commits in which no leader yields.
    commits_without: u32,
}

impl Company {
    /// Asked once by each commit.
    fn is_expected(&mut self) -> bool {
        let may_yield = self.commits_without == 0;
        self.commits_without = self.commits_without.saturating_sub(1);
        std::mem::take(&mut self.waited) && may_yield
    }
}

impl Log {
    /// Returns when everything below `target` is durable.
    ///
    /// # Errors
    /// `Io` when staged frames could not be written: they stay staged, and another call tries again. `ReadOnly` when
    /// a sync failed, this one or any before it (I8).
    pub(crate) fn commit(&self, target: Lsn) -> Result<()> {
        // With those whom the same sync covers: the last one that has begun, or the next.
        let place = |state: &State| {
            let is_covered = state.covering >= target;
            place_of_sync(if is_covered { state.sync_number } else { state.sync_number + 1 })
        };
        let is_durable = || self.durable.load(Ordering::Acquire) >= target.0;
        while let Some(mut turn) = self.turn_at(|state| state.marks.durable >= target, place, is_durable)? {
            turn.commit()?;
        }
        Ok(())
    }
}

impl Turn<'_> {
    /// Writes and syncs everything appended so far.
    fn commit(&mut self) -> Result<()> {
        // Those whom the last sync has released are on their way here with their next points: better one sync for all of them
        // than one for who came first, and one for the others.
        let expected = self.log.lock().company.is_expected();
        if expected && !give_way() {
            self.log.lock().company.commits_without = BUSY_COMMITS;
        }
        self.sync_out(Why::Commit)
    }
}
