//! A smaller script, and a plainer one, that breaks the same promise.
//!
//! The run was shrunk already, as a tape. What is left to do is what a tape cannot say: an act less where its tape would
//! have drawn another one, limits that are the engine's own, points that are numbered.

use super::Aim;
use super::perform::aimed;
use super::script::{Act, Form, Script, What};
use std::collections::BTreeMap;
use tidewall::{Config, Point};

/// Scripts to perform, at most.
const BUDGET: u32 = 4000;

struct Reducer<'a> {
    aim: &'a Aim,
    best: Script,
    budget: u32,
}

/// Cuts a script off behind what it shows and makes it small. `None` if it does not show what it should.
pub(super) fn reduce(mut script: Script, aim: &Aim) -> Option<Script> {
    let found = aimed(&script, aim)?;
    script.acts.truncate(found.at + 1);
    let mut reducer = Reducer { aim, best: script, budget: BUDGET };
    loop {
        let before = reducer.budget;
        let smaller = reducer.acts() | reducer.fates() | reducer.points() | reducer.cuts();
        if !smaller || reducer.budget == 0 || before == reducer.budget {
            break;
        }
    }
    reducer.limits();
    reducer.numbers();
    Some(reducer.best)
}

impl Reducer<'_> {
    fn attempt(&mut self, change: impl FnOnce(&mut Script)) -> bool {
        if self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        let mut script = self.best.clone();
        change(&mut script);
        let Some(found) = aimed(&script, self.aim) else { return false };
        script.acts.truncate(found.at + 1);
        self.best = script;
        true
    }

    fn acts(&mut self) -> bool {
        let mut any = false;
        let mut size = self.best.acts.len();
        while size > 0 {
            let mut end = self.best.acts.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                any |= self.attempt(|script| drop(script.acts.drain(start..end)));
                end = start.min(self.best.acts.len());
            }
            size /= 2;
        }
        any
    }

    fn fates(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.best.acts.len() {
            let Some(act) = self.best.acts.get(at) else { break };
            for call in act.fates.keys().copied().collect::<Vec<_>>() {
                any |= self.attempt(|script| {
                    script.acts[at].fates.remove(&call);
                });
            }
        }
        any
    }

    fn points(&mut self) -> bool {
        let mut any = false;
        let points = |script: &mut Script, at: usize| match script.acts.get_mut(at) {
            Some(Act { what: What::Write(points), .. }) => std::mem::take(points),
            _ => Vec::new(),
        };
        for at in 0..self.best.acts.len() {
            let mut size = points(&mut self.best.clone(), at).len() / 2;
            while size > 0 {
                let mut end = points(&mut self.best.clone(), at).len();
                while end > size {
                    let start = end - size;
                    any |= self.attempt(|script| {
                        if let What::Write(points) = &mut script.acts[at].what {
                            points.drain(start..end);
                        }
                    });
                    end = start;
                }
                size /= 2;
            }
        }
        any
    }

    /// Of a power cut: first whether it needs anything at all to survive, or to be lost, then each piece.
    fn cuts(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.best.acts.len() {
            let Some(What::Cut(left)) = self.best.acts.get(at).map(|act| &act.what) else { continue };
            let (kept, torn) = (left.kept.len(), left.torn.len());
            if kept + torn > 0 {
                for others in [0, usize::MAX] {
                    any |= self.attempt(|script| {
                        if let What::Cut(left) = &mut script.acts[at].what {
                            (left.others, left.kept, left.torn) = (others, Vec::new(), Vec::new());
                        }
                    });
                }
            }
            let less = |script: &mut Script, index: usize, of_torn: bool| {
                if let What::Cut(left) = &mut script.acts[at].what {
                    if of_torn && index < left.torn.len() {
                        left.torn.remove(index);
                    } else if !of_torn && index < left.kept.len() {
                        left.kept.remove(index);
                    }
                }
            };
            let now = |reducer: &Self| match reducer.best.acts.get(at).map(|act| &act.what) {
                Some(What::Cut(left)) => (left.kept.len(), left.torn.len()),
                _ => (0, 0),
            };
            let (kept, torn) = now(self);
            for index in (0..kept).rev() {
                any |= self.attempt(|script| less(script, index, false));
            }
            for index in (0..torn).rev() {
                any |= self.attempt(|script| less(script, index, true));
            }
        }
        any
    }

    /// Limits that do not matter are the engine's own. Those of the geometry are left alone: its own are for large disks.
    fn limits(&mut self) {
        let first = self.best.acts.iter().find_map(|act| match &act.what {
            What::Open(config) => Some(config.clone()),
            _ => None,
        });
        let Some(first) = first else { return };
        let each = |script: &mut Script, change: &dyn Fn(&mut Config)| {
            for act in &mut script.acts {
                if let What::Open(config) = &mut act.what {
                    change(config);
                }
            }
        };
        self.attempt(|script| each(script, &|config| *config = first.clone()));
        let own = Config::default;
        let changes: [&dyn Fn(&mut Config); 14] = [
            &|config| config.durability = own().durability,
            &|config| config.batch_points = own().batch_points,
            &|config| config.block_points = own().block_points,
            &|config| config.backlog_points = own().backlog_points,
            &|config| config.buffer_bytes = own().buffer_bytes,
            &|config| config.shards = 1,
            &|config| config.inbox_points = 0,
            &|config| config.segments_max = own().segments_max,
            &|config| config.segments = own().segments,
            &|config| config.staging_bytes = own().staging_bytes,
            &|config| config.manifest_bytes = own().manifest_bytes,
            &|config| config.cache_bytes = own().cache_bytes,
            &|config| config.wal_streams = own().wal_streams,
            &|config| config.flush_workers = own().flush_workers,
        ];
        if self.best.form() == Form::Image {
            // What lies on the disk was written under these.
            return;
        }
        for change in changes {
            self.attempt(|script| each(script, change));
        }
    }

    /// One tag, if that will do, or few; points that are numbered.
    fn numbers(&mut self) {
        if self.best.form() == Form::Image {
            return;
        }
        self.attempt(|script| {
            each_point(script, |point, _| point.tag = 1);
            number(script);
        });
        self.attempt(|script| {
            let mut tags = BTreeMap::new();
            each_point(script, |point, _| {
                let next = tags.len() as u32 + 1;
                point.tag = *tags.entry(point.tag).or_insert(next);
            });
            number(script);
        });
        self.attempt(number);
        self.attempt(|script| each_point(script, |point, n| (point.value, point.quality) = (n as f64, 192)));
    }
}

/// Changes each point that is written; it is told how many there were before.
fn each_point(script: &mut Script, mut change: impl FnMut(&mut Point, i64)) {
    let mut n = 0;
    for act in &mut script.acts {
        if let What::Write(points) = &mut act.what {
            for point in points {
                change(point, n);
                n += 1;
            }
        }
    }
}

/// Of each tag the point number `n` has the time `n` and the value `n`.
fn number(script: &mut Script) {
    let mut written = BTreeMap::<u32, i64>::new();
    each_point(script, |point, _| {
        let n = written.entry(point.tag).or_default();
        *point = Point::new(point.tag, *n, *n as f64);
        *n += 1;
    });
}
