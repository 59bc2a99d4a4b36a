//! Where parallel block work runs: a pool of threads, the caller's own thread, or whatever a test bed provides.

use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, Rank, thread};
use std::collections::VecDeque;

/// One piece of work. Tasks of one call do not depend on each other.
pub type Task = Box<dyn FnOnce() + Send>;

/// Runs tasks. A test bed implements it to run them in an order of its own choice.
pub trait Exec: Send + Sync {
    /// Runs all tasks, in any order, on any threads, and returns when all have ended.
    fn run(&self, tasks: Vec<Task>);
}

/// Runs tasks one after the other on the calling thread.
pub struct InOrder;

impl Exec for InOrder {
    fn run(&self, tasks: Vec<Task>) {
        for task in tasks {
            task();
        }
    }
}

/// Applies `work` to every item through `exec`; results come in the order of the items.
pub(crate) fn map<T, R>(
    exec: &dyn Exec,
    items: Vec<T>,
    work: impl Fn(T) -> R + Send + Sync + 'static,
) -> Vec<R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    if items.len() <= 1 {
        return items.into_iter().map(work).collect();
    }
    let work = Arc::new(work);
    let slots: Arc<Vec<Mutex<Option<R>>>> =
        Arc::new(items.iter().map(|_| Mutex::new(Rank::Leaf, None)).collect());
    let task = |(index, item): (usize, T)| -> Task {
        let (work, slots) = (work.clone(), slots.clone());
        Box::new(move || {
            let result = work(item);
            *slots[index].lock() = Some(result);
        })
    };
    exec.run(items.into_iter().enumerate().map(task).collect());
    slots.iter().map(|slot| slot.lock().take().expect("every task ran to its end")).collect()
}

/// A fixed number of worker threads with one queue. Dropping it ends them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// A task came, or the pool is ending.
    work: Condvar,
    /// A task ended.
    done: Condvar,
}

struct Queue {
    tasks: VecDeque<(Arc<Batch>, Task)>,
    ending: bool,
}

/// The tasks of one `run`, which ends when `open` is 0.
struct Batch {
    open: Mutex<usize>,
    panicked: AtomicBool,
}

impl Pool {
    /// A pool of `workers` threads, at least one.
    pub fn new(workers: usize) -> Pool {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Rank::Pool, Queue { tasks: VecDeque::new(), ending: false }),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let spawn = |_| {
            let shared = shared.clone();
            thread::spawn("tidewall-block", move || shared.work())
        };
        Pool { workers: (0..workers.max(1)).map(spawn).collect(), shared }
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let (batch, task) = {
                let mut queue = self.queue.lock();
                loop {
                    if let Some(next) = queue.tasks.pop_front() {
                        break next;
                    }
                    if queue.ending {
                        return;
                    }
                    self.work.wait(&mut queue);
                }
            };
            // A panic must reach the caller of `run`, and must not take the worker with it.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err() {
                batch.panicked.store(true, Ordering::Release);
            }
            let _queue = self.queue.lock();
            *batch.open.lock() -= 1;
            self.done.notify_all();
        }
    }
}

impl Exec for Pool {
    fn run(&self, tasks: Vec<Task>) {
        let batch =
            Arc::new(Batch { open: Mutex::new(Rank::Leaf, tasks.len()), panicked: AtomicBool::new(false) });
        let mut queue = self.shared.queue.lock();
        queue.tasks.extend(tasks.into_iter().map(|task| (batch.clone(), task)));
        self.shared.work.notify_all();
        while *batch.open.lock() > 0 {
            self.shared.done.wait(&mut queue);
        }
        drop(queue);
        assert!(!batch.panicked.load(Ordering::Acquire), "a block task panicked; its message is above");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().ending = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // Workers catch the panics of tasks; one of their own has been printed, and drop must not panic again.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_runs_every_task_and_keeps_the_order_of_results() {
        for workers in [1, 3] {
            let pool = Pool::new(workers);
            let squares = map(&pool, (0..100u64).collect(), |n| n * n);
            assert_eq!(squares, (0..100u64).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "a block task panicked")]
    fn a_panic_in_a_task_reaches_the_caller() {
        map(&Pool::new(2), vec![1, 2, 3], |n| assert!(n != 2, "planted in this test"));
    }
}
