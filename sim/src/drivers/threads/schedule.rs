//! Which thread runs next: drawn from the run's tape.
//!
//! | mode | finds | after |
//! |---|---|---|
//! | random walk | bugs in which many switches matter | each step any runnable thread |
//! | sticky | bugs behind long stretches of one thread | the same thread again in most steps |
//! | PCT | bugs of small depth, with a probability that does not shrink with the run | Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010 |
//!
//! The plainest choice, 0, is always the thread that is running: a shrunk tape is one with few switches.

use super::disk::is_background;
use super::{World, event};
use crate::choice::Concern;
use crate::model::{Verdict, Violation};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Steps that a run is assumed to have when PCT places its change points.
const STEPS: [u32; 3] = [1000, 200, 4000];

#[derive(Debug)]
enum Mode {
    Random,
    /// Another thread in this many of 256 steps.
    Sticky {
        share: u32,
    },
    /// Priorities by task, the highest runs; at the change points the running one falls behind all others.
    Pct {
        priorities: Vec<i64>,
        change_at: Vec<u32>,
        lowest: i64,
    },
}

/// Draws a mode, and with it one schedule.
pub(super) struct TapeScheduler {
    world: Arc<World>,
    mode: Mode,
    steps: u32,
    preemptions: u32,
    begun: bool,
}

impl Drop for TapeScheduler {
    fn drop(&mut self) {
        self.world.count(event::CHOICES, self.steps.into());
        self.world.count(event::PREEMPTIONS, self.preemptions.into());
    }
}

impl TapeScheduler {
    pub(super) fn new(world: Arc<World>) -> TapeScheduler {
        let mode = {
            let mut chooser = world.chooser.lock();
            match chooser.below(Concern::Schedule, 3) {
                0 => Mode::Sticky { share: chooser.pick(Concern::Schedule, &[16, 4, 64]) },
                1 => Mode::Random,
                _ => {
                    let steps = chooser.pick(Concern::Schedule, &STEPS);
                    let depth = chooser.between(Concern::Schedule, 1, 4);
                    let change_at = (0..depth).map(|_| chooser.below(Concern::Schedule, steps)).collect();
                    Mode::Pct { priorities: Vec::new(), change_at, lowest: -1 }
                }
            }
        };
        let name = match mode {
            Mode::Random => event::RANDOM,
            Mode::Sticky { .. } => event::STICKY,
            Mode::Pct { .. } => event::PCT,
        };
        world.count(name, 1);
        TapeScheduler { world, mode, steps: 0, preemptions: 0, begun: false }
    }
}

impl Scheduler for TapeScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        // One life of the machine is one execution.
        (!std::mem::replace(&mut self.begun, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yielding: bool) -> Option<TaskId> {
        if self.world.ended.load(Ordering::Relaxed)
            && let Some(name) =
                runnable.iter().find_map(|task| task.name().filter(|name| is_background(name)))
        {
            let story = format!("{name} runs after a close has returned Ok");
            self.world.violate(Violation::new(Verdict::Stuck, "close stops every thread", story));
        }
        self.world.steps.fetch_add(1, Ordering::Relaxed);
        if let [only] = runnable {
            return Some(only.id());
        }
        self.steps += 1;
        let mut chooser = self.world.chooser.lock();
        let here = runnable.iter().position(|task| Some(task.id()) == current);
        // Counted from the running thread, so that 0 is to go on.
        let any = |choice: u32| runnable[(here.unwrap_or(0) + choice as usize) % runnable.len()].id();
        let count = runnable.len() as u32;
        let next = match &mut self.mode {
            Mode::Random => any(chooser.below(Concern::Schedule, count)),
            Mode::Sticky { share } => {
                let leave = here.is_none() || yielding || chooser.chance(Concern::Schedule, *share);
                any(if leave { chooser.below(Concern::Schedule, count) } else { 0 })
            }
            Mode::Pct { priorities, change_at, lowest } => {
                let known = runnable.iter().map(|task| usize::from(task.id()) + 1).max().unwrap_or(0);
                while priorities.len() < known {
                    priorities.push(chooser.below(Concern::Schedule, 1 << 16).into());
                }
                if let Some(current) = current
                    && (change_at.contains(&self.steps) || yielding)
                {
                    priorities[usize::from(current)] = *lowest;
                    *lowest -= 1;
                }
                let highest = runnable.iter().max_by_key(|task| priorities[usize::from(task.id())]);
                highest.expect("there are at least two").id()
            }
        };
        self.preemptions += u32::from(here.is_some() && Some(next) != current);
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        self.world.chooser.lock().below(Concern::Schedule, u32::MAX).into()
    }
}
