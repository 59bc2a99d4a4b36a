//! Locks, atomics and threads: the only file that names one, so that a checker can replace them all.
//!
//! Every mutex has a [`Rank`]. A thread takes locks in rising rank only; debug and test builds check this at
//! each acquisition and panic with both names, which finds a lock inversion in any single-threaded run that
//! takes both locks, without a real deadlock ever happening. The hierarchy, outermost first:
//!
//! | rank | guards | taken by |
//! |---|---|---|
//! | `Flush` | the turn to flush: one flush at a time | `flush`, `close`, `step`, a writer that found no free segment |
//! | `Shard` | the tag buffers of one shard | `write`, `query`, `sync`, seal and release |
//! | `Wal` | the log: ring, staging buffer, watermarks | append, group commit, retire |
//! | `Store` | the version, the manifest's tail, the active chunk | queries, the end of a flush |
//! | `Pool` | the task queue of the block workers | flush |
//! | `Leaf` | a value that is copied in or out, nothing is called under it | everybody |
//!
//! There is no timed wait in this file and none in the engine: a lost wake-up must show as a hang.

use std::ops::{Deref, DerefMut};
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The place of a lock in the hierarchy; see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Flush,
    Shard,
    Wal,
    Store,
    Pool,
    Leaf,
}

/// A mutex with a rank. It has parking_lot's shape: no poison, and a panic under it leaves it usable.
pub(crate) struct Mutex<T> {
    rank: Rank,
    inner: parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(rank: Rank, value: T) -> Mutex<T> {
        Mutex { rank, inner: parking_lot::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        // Checked before the lock is taken: an inversion must panic, not deadlock.
        let held = Held::push(self.rank);
        Guard { inner: self.inner.lock(), _held: held }
    }
}

/// Access to the value of a locked [`Mutex`]; dropping it unlocks.
pub(crate) struct Guard<'a, T> {
    inner: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A condition variable. Waits have no time limit.
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(parking_lot::Condvar::new())
    }

    /// Releases the lock while it sleeps. The rank stays on the thread's list: the lock is held again on return.
    pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
        self.0.wait(&mut guard.inner);
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// The ranks that this thread holds; checked builds only.
#[cfg(debug_assertions)]
mod ranks {
    use super::Rank;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) struct Held(Rank);

    impl Held {
        pub(crate) fn push(rank: Rank) -> Held {
            HELD.with_borrow_mut(|held| {
                if let Some(top) = held.iter().max()
                    && *top >= rank
                {
                    panic!("lock order: {rank:?} taken while holding {top:?}");
                }
                held.push(rank);
            });
            Held(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            HELD.with_borrow_mut(|held| {
                let at = held.iter().rposition(|rank| *rank == self.0).expect("a held rank is on the list");
                held.remove(at);
            });
        }
    }
}

#[cfg(not(debug_assertions))]
mod ranks {
    pub(crate) struct Held;

    impl Held {
        #[inline(always)]
        pub(crate) fn push(_: super::Rank) -> Held {
            Held
        }
    }
}

use ranks::Held;

pub(crate) mod thread {
    use std::time::Duration;

    pub(crate) type JoinHandle = std::thread::JoinHandle<()>;

    /// Starts a named thread.
    ///
    /// # Panics
    /// If the system refuses a thread: a store that cannot start its workers cannot keep its promises later.
    pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle {
        std::thread::Builder::new().name(name.into()).spawn(body).expect("the system gives us a thread")
    }

    /// Sleeps until [`unpark`] or the time is over. For the ticker outside the core only.
    pub(crate) fn park_timeout(time: Duration) {
        std::thread::park_timeout(time);
    }

    pub(crate) fn unpark(thread: &JoinHandle) {
        thread.thread().unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_in_rising_rank_are_fine() {
        let (a, b) = (Mutex::new(Rank::Shard, 1), Mutex::new(Rank::Wal, 2));
        let (a, b) = (a.lock(), b.lock());
        assert_eq!(*a + *b, 3);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "lock order: Shard taken while holding Wal")]
    fn a_lock_inversion_panics_with_both_names() {
        let (a, b) = (Mutex::new(Rank::Shard, 1), Mutex::new(Rank::Wal, 2));
        let _b = b.lock();
        let _a = a.lock();
    }
}
