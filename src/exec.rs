//! Where parallel work runs (blocks written and read, streams synced): a pool of threads, the caller's own thread, or whatever a test bed provides.

use crate::plant::{self, Bug};
use crate::sync::{Arc, Condvar, Mutex, Rank, thread};
use std::collections::VecDeque;

/// One piece of work. Tasks of one call do not depend on each other.
pub type Task = Box<dyn FnOnce() + Send>;

/// Runs tasks. A test bed implements it to run them in an order of its own choice.
pub trait Exec: Send + Sync {
    /// Runs every task to its end, in any order, on any threads, and returns when all have ended. A task may call `run` itself, or
    /// wait for a lock whose holder is inside `run`, so there must be progress without a free thread: the caller should work on
    /// its own tasks, too.
    ///
    /// # Panics
    /// If a task has panicked.
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

/// A fixed number of worker threads. Dropping it ends them.
///
/// The caller of `run` works on its own tasks, too, so every call can finish without a free worker.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// A batch came, or the pool is ending.
    work: Condvar,
    /// A task ended.
    done: Condvar,
}

struct Queue {
    /// Batches that have tasks left, oldest first.
    batches: VecDeque<Arc<Mutex<Batch>>>,
    ending: bool,
}

/// The tasks of one `run`, which ends when `open` is 0.
struct Batch {
    tasks: VecDeque<Task>,
    open: usize,
    panicked: bool,
}

impl Pool {
    /// A pool of `workers` threads, at least one.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub fn new(workers: usize) -> Pool {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Rank::Pool, Queue { batches: VecDeque::new(), ending: false }),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let spawn = |worker| {
            let shared = shared.clone();
            thread::spawn(format!("tidewall-pool-{worker}"), move || shared.work())
        };
        Pool { workers: (0..workers.max(1)).map(spawn).collect(), shared }
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            let Some(batch) = queue.batches.front().cloned() else {
                if queue.ending {
                    return;
                }
                self.work.wait(&mut queue);
                continue;
            };
            let Some(task) = next_task(&mut queue, &batch) else { continue };
            drop(queue);
            self.finish(&batch, task);
            queue = self.queue.lock();
        }
    }

    fn finish(&self, batch: &Mutex<Batch>, task: Task) {
        // A panic must reach the caller of `run`, and must not take the worker with it.
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err();
        let _queue = (!plant::on(Bug::R8)).then(|| self.queue.lock());
        let mut batch = batch.lock();
        batch.open -= 1;
        batch.panicked |= panicked;
        if batch.open == 0 {
            self.done.notify_all();
        }
    }
}

/// Takes a task of a batch; the batch leaves the queue with its last one.
fn next_task(queue: &mut Queue, batch: &Arc<Mutex<Batch>>) -> Option<Task> {
    let mut open = batch.lock();
    let task = open.tasks.pop_front();
    if open.tasks.is_empty() {
        queue.batches.retain(|queued| !Arc::ptr_eq(queued, batch));
    }
    task
}

impl Exec for Pool {
    fn run(&self, tasks: Vec<Task>) {
        let open = tasks.len();
        if open == 0 {
            return;
        }
        let batch = Batch { tasks: tasks.into(), open, panicked: false };
        let batch = Arc::new(Mutex::new(Rank::Leaf, batch));
        let mut queue = self.shared.queue.lock();
        queue.batches.push_back(batch.clone());
        if open > 1 {
            self.shared.work.notify_all();
        }
        while let Some(task) = next_task(&mut queue, &batch) {
            drop(queue);
            self.shared.finish(&batch, task);
            queue = self.shared.queue.lock();
        }
        while batch.lock().open > 0 {
            self.shared.done.wait(&mut queue);
        }
        drop(queue);
        assert!(!batch.lock().panicked, "a task of the pool panicked; its message is above");
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
    fn a_task_may_use_the_pool_that_runs_it() {
        let pool: Arc<dyn Exec> = Arc::new(Pool::new(1));
        let inner = pool.clone();
        let sums = map(&*pool, (1..=8u64).collect(), move |n| {
            map(&*inner, (0..n).collect(), |m| m).iter().sum::<u64>()
        });
        assert_eq!(sums, [0, 1, 3, 6, 10, 15, 21, 28]);
    }

    #[test]
    #[should_panic(expected = "a task of the pool panicked")]
    fn a_panic_in_a_task_reaches_the_caller() {
        map(&Pool::new(2), vec![1, 2, 3], |n| assert!(n != 2, "planted in this test"));
    }
}
