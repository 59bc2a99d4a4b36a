//! The pool: one worker and those who call it.

use super::{DEADLOCK, Model, Twin, all, bounded, together};
use crate::exec::{Exec, Pool, map};
use crate::plant::Bug;
use crate::sync::Arc;

/// Of the threads one is the worker, the others call.
pub(super) const POOL: Model = Model {
    name: "pool",
    question: "Does every call of the pool end with all its results, and the pool itself with its worker?",
    body: |threads| {
        let pool = Arc::new(Pool::new(1));
        let shared = pool.clone();
        together(threads - 1, move |number| {
            assert_eq!(
                map(&*shared, vec![1, 2], move |n| 10 * number + n),
                [10 * number + 1, 10 * number + 2]
            );
        });
        drop(pool);
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[Twin { bug: Bug::R8, size: all(2), reason: DEADLOCK }],
};

/// The tasks of one call are calls themselves.
pub(super) const NESTED: Model = Model {
    name: "nested",
    question: "Does a call of the pool from one of its tasks end, although no worker is free for it?",
    body: |_| {
        let pool: Arc<dyn Exec> = Arc::new(Pool::new(1));
        let inner = pool.clone();
        let sums = map(&*pool, vec![1, 2], move |n| map(&*inner, vec![n, n], |m| m).iter().sum::<i32>());
        assert_eq!(sums, [2, 4]);
    },
    sizes: &[bounded(2, 3)],
    twins: &[Twin { bug: Bug::R8, size: bounded(2, 3), reason: DEADLOCK }],
};
