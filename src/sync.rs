//! Locks, atomics, threads and the clock: the only file that names one, so that a checker can replace them all.
//!
//! This crate's sources are compiled three times: with parking_lot, spin, atomic-wait and std, and by two member crates under `cfg(loom)`
//! and `cfg(shuttle)`, in which every operation of this file is a point where the checker may switch threads.
//!
//! Every mutex has a [`Rank`]. A thread takes locks in rising rank only; debug and test builds, and the checkers',
//! look at each acquisition and panic with both names, which finds a lock inversion in any run that takes both locks,
//! without a real deadlock ever happening. Of one rank a thread holds one lock, or, of the shards, several in the order of their
//! numbers. The hierarchy, outermost first:
//!
//! | rank | guards | taken by | held across I/O |
//! |---|---|---|---|
//! | `Flush` | a stream's turn to flush, and its active chunk | `flush`, `close`, the flusher, who found no free segment | yes: it is a turn |
//! | `Lane` | points of small calls, by writer; the only [`SpinMutex`]es | `write`, `query`, `sync`, the logger | no |
//! | `Shard` | the tag buffers of one shard | `write`, `query`, `sync`, the logger, seal and release | no |
//! | `Wal` | a stream's log: ring, staging buffer, watermarks | append, group commit, rotation, retire | no: see `wal::turn` |
//! | `Manifest` | the queue of edits | the end of a flush | no: the leader takes the writer out |
//! | `Store` | the version, the files open for reading | queries, the end of a flush | no |
//! | `Names` | the turn to sync the directory | who has made a file or renamed one | yes: it is a turn |
//! | `Pool` | the task queue of the block workers | flush, query, sync of several streams | no |
//! | `Leaf` | a value that is copied in or out, nothing of the engine is called under it | everybody | no |
//! | `Disk` | the content of a `MemDisk`; where the unwritten part of a `RealDisk`'s file begins | whoever calls that disk; a handle may be dropped under a leaf | it is the disk |
//!
//! No wait in the engine has a time limit: a lost wake-up must show as a hang. There are two exceptions, both in this file: the
//! [`Bell`] of the background threads, which stand outside the core (under a checker it waits without a limit), and the pauses of a
//! thread that finds a [`SpinMutex`] taken, since nobody wakes it.

use crate::plant::{self, Bug};
pub(crate) use imp::{AtomicBool, AtomicU8, AtomicU64, Ordering, Stopwatch, thread};
use std::ops::{Deref, DerefMut};
pub(crate) use std::sync::Arc;
use std::time::Duration;

/// Whether a checker runs these sources: then large tables are small, since it keeps an account of each atomic.
pub(crate) const IS_CHECKED: bool = cfg!(any(loom, shuttle));

/// The place of a lock in the hierarchy; see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Flush,
    Lane,
    Shard,
    Wal,
    Manifest,
    Store,
    Names,
    Pool,
    Leaf,
    /// Inside a disk: the innermost, since a handle may be dropped under a leaf.
    Disk,
}

/// A mutex with a rank. It has parking_lot's shape: no poison, and a panic under it leaves it usable.
pub(crate) struct Mutex<T> {
    rank: Rank,
    inner: imp::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(rank: Rank, value: T) -> Mutex<T> {
        Mutex { rank, inner: imp::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.lock_next(0)
    }

    /// Locks it while others of its rank are held, with smaller numbers.
    pub(crate) fn lock_next(&self, number: usize) -> Guard<'_, T> {
        // Checked before the lock is taken: an inversion must panic, not deadlock.
        let held = Held::push(self.rank, number);
        Ranked { inner: imp::lock(&self.inner), _held: held }
    }
}

/// Access to the value of a locked [`Mutex`]; dropping it unlocks.
pub(crate) type Guard<'a, T> = Ranked<imp::Guard<'a, T>>;

/// A lock that is held, whose place in the order is on the thread's list until it is dropped.
pub(crate) struct Ranked<G> {
    inner: G,
    _held: Held,
}

impl<G: Deref> Deref for Ranked<G> {
    type Target = G::Target;
    fn deref(&self) -> &G::Target {
        &self.inner
    }
}

impl<G: DerefMut> DerefMut for Ranked<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.inner
    }
}

pub(crate) use spinning::{SpinGuard, SpinMutex};

/// A mutex that one thread locks for every point, and others hardly ever. To lock and unlock it takes one atomic read-modify-write, where
/// a [`Mutex`] needs two, because no sleeper has to be woken. A thread that finds it taken looks again, soon yields, and then
/// sleeps between looks, which costs it more; so under this lock a thread waits only for locks that guard memory.
#[cfg(not(any(loom, shuttle)))]
mod spinning {
    use super::{Held, Rank, Ranked};
    use spin::mutex;
    use std::hint::spin_loop;
    use std::thread::{sleep, yield_now};
    use std::time::Duration;

    /// How often a thread looks again at once: most likely nobody has interrupted the one that has it.
    const SPINS: u32 = 30;
    /// Up to this many looks it lets others go first in between.
    const PATIENCE: u32 = 60;
    /// Then it sleeps in between: whatever the priorities of the threads, the one that has it can go on.
    const PAUSE: Duration = Duration::from_micros(50);

    pub(crate) struct SpinMutex<T> {
        rank: Rank,
        inner: mutex::SpinMutex<T>,
    }

    impl<T> SpinMutex<T> {
        pub(crate) fn new(rank: Rank, value: T) -> SpinMutex<T> {
            SpinMutex { rank, inner: mutex::SpinMutex::new(value) }
        }

        #[inline]
        pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
            let held = Held::push(self.rank, 0);
            let inner = self.inner.try_lock().unwrap_or_else(|| self.wait());
            Ranked { inner, _held: held }
        }

        #[cold]
        fn wait(&self) -> mutex::SpinMutexGuard<'_, T> {
            let mut looks = 0;
            loop {
                match looks {
                    0..SPINS => spin_loop(),
                    SPINS..PATIENCE => yield_now(),
                    _ => sleep(PAUSE),
                }
                looks = PATIENCE.min(looks + 1);
                // Looked at before it is taken: that does not take it out of the cache of who has it.
                if !self.inner.is_locked()
                    && let Some(inner) = self.inner.try_lock()
                {
                    return inner;
                }
            }
        }
    }

    /// Access to the value of a locked [`SpinMutex`]; dropping it unlocks.
    pub(crate) type SpinGuard<'a, T> = Ranked<mutex::SpinMutexGuard<'a, T>>;
}

/// To a checker they are like the others.
#[cfg(any(loom, shuttle))]
mod spinning {
    pub(crate) use super::{Guard as SpinGuard, Mutex as SpinMutex};
}

/// A condition variable. Waits have no time limit.
pub(crate) struct Condvar(imp::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(imp::Condvar::new())
    }

    /// Releases the lock while it sleeps. The rank stays on the thread's list: the lock is held again on return.
    pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
        imp::wait(&self.0, &mut guard.inner);
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Where threads wait until something has happened, with no lock (an eventcount: Reed and Kanodia, 1979). Those who wait on a
/// [`Condvar`] come back one after the other, each through its lock and each woken by the one before; those who wait here all wake at
/// once, and need not lock anything if they see without that they have what they wanted.
pub(crate) struct Event(imp::Futex);

impl Event {
    pub(crate) fn new() -> Event {
        Event(imp::Futex::new())
    }

    /// How often it has happened so far. To be read under the lock under which a thread finds that it has to wait; then it unlocks, and
    /// calls [`wait`](Event::wait).
    pub(crate) fn times(&self) -> u32 {
        self.0.value()
    }

    /// Sleeps until it has happened more often than `times`; may wake before that, for no reason.
    pub(crate) fn wait(&self, times: u32) {
        self.0.sleep_at(times);
    }

    /// It has happened: wakes one of those who wait, and whoever has asked and not yet fallen asleep.
    pub(crate) fn notify_one(&self) {
        self.0.count_and_wake_one();
    }

    /// It has happened: wakes all.
    pub(crate) fn notify_all(&self) {
        self.0.count_and_wake_all();
    }
}

/// Wakes a background thread. A ring is never lost: one that comes while the thread works ends its next wait at once.
pub(crate) struct Bell {
    rung: AtomicBool,
    sleeping: Mutex<()>,
    wake: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell { rung: AtomicBool::new(false), sleeping: Mutex::new(Rank::Leaf, ()), wake: Condvar::new() }
    }

    /// One atomic swap if it has been rung already and nobody has answered yet.
    pub(crate) fn ring(&self) {
        if plant::on(Bug::R1) && self.rung.load(Ordering::Relaxed) {
            return;
        }
        // A swap and not a load: the sleeper's swap has its place in the same order, so either it comes later, and what
        // was done before this ring is seen, or this one finds that the bell has been answered.
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // A sleeper that has looked at the bell and not yet fallen asleep holds the lock.
        let _sleeping = (!plant::on(Bug::C10)).then(|| self.sleeping.lock());
        self.wake.notify_all();
    }

    /// Sleeps until somebody rings or the time is over.
    pub(crate) fn wait(&self, time: Option<Duration>) {
        let mut sleeping = self.sleeping.lock();
        while !self.rung.swap(false, Ordering::AcqRel) {
            if imp::wait_for(&self.wake.0, &mut sleeping.inner, time) {
                return;
            }
        }
    }
}

/// How often each pair of locks was taken one inside the other. Counted in checked builds only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockCount {
    /// The innermost lock that the thread held already; `None` when it held none.
    pub holding: Option<&'static str>,
    /// The lock that it took.
    pub taken: &'static str,
    /// How often, in this process.
    pub times: u64,
}

/// The part of the lock hierarchy that this process has used, outermost first: which rank was taken inside which.
/// Empty in builds that do not check ranks (release builds outside the checkers).
pub fn lock_counts() -> Vec<LockCount> {
    ranks::counts()
}

/// The ranks that this thread holds; checked builds only.
#[cfg(any(debug_assertions, loom, shuttle))]
// The checkers' `thread_local` knows no `const`.
#[allow(clippy::missing_const_for_thread_local)]
mod ranks {
    use super::{LockCount, Rank};
    use std::cell::RefCell;
    // Not the checkers' own: these count, and nobody waits for what they say.
    use std::sync::atomic::{AtomicU64, Ordering};

    const RANKS: [(Rank, &str); 10] = [
        (Rank::Flush, "Flush"),
        (Rank::Lane, "Lane"),
        (Rank::Shard, "Shard"),
        (Rank::Wal, "Wal"),
        (Rank::Manifest, "Manifest"),
        (Rank::Store, "Store"),
        (Rank::Names, "Names"),
        (Rank::Pool, "Pool"),
        (Rank::Leaf, "Leaf"),
        (Rank::Disk, "Disk"),
    ];

    super::imp::thread_local! {
        /// With their numbers among those of one rank.
        static HELD: RefCell<Vec<(Rank, usize)>> = RefCell::new(Vec::new());
    }

    /// Row 0 is "holding none".
    static TAKEN: [[AtomicU64; RANKS.len()]; RANKS.len() + 1] =
        [const { [const { AtomicU64::new(0) }; RANKS.len()] }; RANKS.len() + 1];

    pub(crate) struct Held(Rank, usize);

    impl Held {
        pub(crate) fn push(rank: Rank, number: usize) -> Held {
            HELD.with(|held| {
                let mut held = held.borrow_mut();
                let top = held.iter().max().copied();
                if let Some((top, before)) = top
                    && (top, before) >= (rank, number)
                {
                    panic!(
                        "lock order: {rank:?} taken while holding {top:?}, number {number} after {before}"
                    );
                }
                let row = top.map_or(0, |(top, _)| top as usize + 1);
                TAKEN[row][rank as usize].fetch_add(1, Ordering::Relaxed);
                held.push((rank, number));
            });
            Held(rank, number)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            HELD.with(|held| {
                let mut held = held.borrow_mut();
                // Absent only when the thread is being unwound by a checker that has given up on the run.
                if let Some(at) = held.iter().rposition(|held| *held == (self.0, self.1)) {
                    held.remove(at);
                }
            });
        }
    }

    pub(super) fn counts() -> Vec<LockCount> {
        let mut counts = Vec::new();
        for (row, taken) in TAKEN.iter().enumerate() {
            for ((_, name), times) in RANKS.iter().zip(taken) {
                let holding = row.checked_sub(1).map(|outer| RANKS[outer].1);
                let times = times.load(Ordering::Relaxed);
                if times > 0 {
                    counts.push(LockCount { holding, taken: name, times });
                }
            }
        }
        counts
    }
}

#[cfg(not(any(debug_assertions, loom, shuttle)))]
mod ranks {
    pub(crate) struct Held;

    impl Held {
        #[inline(always)]
        pub(crate) fn push(_: super::Rank, _: usize) -> Held {
            Held
        }
    }

    pub(super) fn counts() -> Vec<super::LockCount> {
        Vec::new()
    }
}

use ranks::Held;

/// The machine's own: parking_lot for locks, atomic-wait for what has happened, std for the rest.
#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub(super) use parking_lot::{Condvar, Mutex, MutexGuard as Guard};
    use std::sync::atomic::AtomicU32;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
    #[cfg(debug_assertions)]
    pub(super) use std::thread_local;
    use std::time::{Duration, Instant};

    /// A number at which threads sleep: the system looks at it once more before one does.
    pub(super) struct Futex(AtomicU32);

    impl Futex {
        pub(super) fn new() -> Futex {
            Futex(AtomicU32::new(0))
        }

        pub(super) fn value(&self) -> u32 {
            self.0.load(Ordering::Acquire)
        }

        pub(super) fn sleep_at(&self, value: u32) {
            atomic_wait::wait(&self.0, value);
        }

        pub(super) fn count_and_wake_one(&self) {
            self.0.fetch_add(1, Ordering::Release);
            atomic_wait::wake_one(&self.0);
        }

        pub(super) fn count_and_wake_all(&self) {
            self.0.fetch_add(1, Ordering::Release);
            atomic_wait::wake_all(&self.0);
        }
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
        mutex.lock()
    }

    pub(super) fn wait<T>(condvar: &Condvar, guard: &mut Guard<'_, T>) {
        condvar.wait(guard);
    }

    /// Whether the time is over.
    pub(super) fn wait_for<T>(condvar: &Condvar, guard: &mut Guard<'_, T>, time: Option<Duration>) -> bool {
        match time {
            Some(time) => condvar.wait_for(guard, time).timed_out(),
            None => {
                condvar.wait(guard);
                false
            }
        }
    }

    /// How long writers wait, and when the next tick is due. In the core nothing depends on it but how long a leader lets others
    /// go first.
    #[derive(Clone, Copy)]
    pub(crate) struct Stopwatch(Instant);

    impl Stopwatch {
        pub(crate) fn start() -> Stopwatch {
            Stopwatch(Instant::now())
        }

        pub(crate) fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
    }

    pub(crate) mod thread {
        use std::sync::atomic::{AtomicUsize, Ordering};

        pub(crate) type JoinHandle = std::thread::JoinHandle<()>;
        pub(crate) use std::thread::yield_now;

        static THREADS: AtomicUsize = AtomicUsize::new(0);

        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }

        /// Tells this thread from others: they are numbered as they first ask. One that is ending has none of its own any more.
        pub(crate) fn number() -> usize {
            NUMBER.try_with(|number| *number).unwrap_or(0)
        }

        /// Starts a named thread.
        ///
        /// # Panics
        /// If the system refuses a thread: a store that cannot start its workers cannot keep its promises later.
        pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle {
            std::thread::Builder::new().name(name).spawn(body).expect("the system gives us a thread")
        }
    }
}

/// A checker's: the same shapes over its own locks and threads. Waits have no limit, and no time passes.
#[cfg(any(loom, shuttle))]
mod imp {
    #[cfg(loom)]
    pub(super) use loom::thread_local;
    #[cfg(loom)]
    use loom::{sync, thread as threads};
    #[cfg(shuttle)]
    pub(super) use shuttle::thread_local;
    #[cfg(shuttle)]
    use shuttle::{sync, thread as threads};
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::time::Duration;
    pub(crate) use sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
    pub(super) use sync::{Condvar, Mutex};

    /// The system looks at the number and falls asleep in one step: here a lock makes one of it.
    pub(super) struct Futex {
        value: Mutex<u32>,
        wake: Condvar,
    }

    impl Futex {
        pub(super) fn new() -> Futex {
            Futex { value: Mutex::new(0), wake: Condvar::new() }
        }

        pub(super) fn value(&self) -> u32 {
            *lock(&self.value)
        }

        pub(super) fn sleep_at(&self, value: u32) {
            let mut now = lock(&self.value);
            if *now == value {
                wait(&self.wake, &mut now);
            }
        }

        pub(super) fn count_and_wake_one(&self) {
            *lock(&self.value) += 1;
            self.wake.notify_one();
        }

        pub(super) fn count_and_wake_all(&self) {
            *lock(&self.value) += 1;
            self.wake.notify_all();
        }
    }

    /// `None` only inside `wait`.
    pub(crate) struct Guard<'a, T>(Option<sync::MutexGuard<'a, T>>);

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
        Guard(Some(mutex.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("held outside wait")
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held outside wait")
        }
    }

    pub(super) fn wait<T>(condvar: &Condvar, guard: &mut Guard<'_, T>) {
        let held = guard.0.take().expect("held outside wait");
        guard.0 = Some(condvar.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn wait_for<T>(condvar: &Condvar, guard: &mut Guard<'_, T>, _: Option<Duration>) -> bool {
        wait(condvar, guard);
        false
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Stopwatch;

    impl Stopwatch {
        pub(crate) fn start() -> Stopwatch {
            Stopwatch
        }

        pub(crate) fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    pub(crate) mod thread {
        pub(crate) type JoinHandle = super::threads::JoinHandle<()>;
        pub(crate) use super::threads::yield_now;

        /// Tells this thread from others.
        #[cfg(shuttle)]
        pub(crate) fn number() -> usize {
            super::threads::current().id().into()
        }

        #[cfg(loom)]
        super::thread_local! {
            static NUMBER: std::cell::Cell<usize> = std::cell::Cell::new(0);
        }

        /// loom's threads have no numbers that can be read: a model gives them some.
        #[cfg(loom)]
        pub(crate) fn number() -> usize {
            NUMBER.with(std::cell::Cell::get)
        }

        #[cfg(loom)]
        pub(crate) fn set_number(number: usize) {
            NUMBER.with(|it| it.set(number));
        }

        pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle {
            super::threads::Builder::new().name(name).spawn(body).expect("the checker gives us a thread")
        }
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

    #[test]
    fn who_finds_a_spinning_lock_taken_waits_until_it_is_not() {
        let value = SpinMutex::new(Rank::Lane, 0);
        // As long as it takes to come to each way of waiting.
        for pause in [Duration::ZERO, Duration::from_micros(20), Duration::from_millis(5)] {
            let mut first = value.lock();
            std::thread::scope(|scope| {
                let second = scope.spawn(|| {
                    let mut second = value.lock();
                    *second *= 2;
                });
                std::thread::sleep(pause);
                assert!(!second.is_finished());
                *first += 1;
                drop(first);
            });
        }
        assert_eq!(*value.lock(), 14);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "lock order: Lane taken while holding Shard")]
    fn a_spinning_lock_has_its_place_in_the_order() {
        let (a, b) = (SpinMutex::new(Rank::Lane, 1), Mutex::new(Rank::Shard, 2));
        let _b = b.lock();
        let _a = a.lock();
    }

    #[test]
    #[cfg(debug_assertions)]
    fn nested_locks_are_counted_by_pair() {
        let (a, b) = (Mutex::new(Rank::Manifest, ()), Mutex::new(Rank::Pool, ()));
        let times = || {
            let counts = lock_counts();
            counts.iter().find(|c| (c.holding, c.taken) == (Some("Manifest"), "Pool")).map_or(0, |c| c.times)
        };
        let before = times();
        let _a = a.lock();
        let _b = b.lock();
        assert_eq!(times(), before + 1);
    }

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let bell = Bell::new();
        bell.ring();
        bell.wait(None);
        bell.ring();
        bell.ring();
        bell.wait(None);
        bell.wait(Some(Duration::from_millis(1)));
    }
}
