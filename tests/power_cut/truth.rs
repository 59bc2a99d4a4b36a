//! What a child was promised and what it tried, as the oracle of the simulations sees it.

use crate::journal::Line;
use crate::writers::{Counts, Told, point, tags};
use tidewall::{Engine, Point};
use tidewall_sim::model::{Model, Verdict, Violation};

/// The oracle, for tags by their position in `tags()`: it counts from 1.
pub struct Truth {
    model: Model,
    /// Points that must be there.
    acked: Counts,
    /// Points that may be.
    tried: Counts,
    /// An opening has succeeded: there is a store to lose.
    pub exists: bool,
}

impl Truth {
    pub fn new() -> Truth {
        let model = Model::new(tags().count() as u32);
        Truth { model, acked: Counts::default(), tried: Counts::default(), exists: false }
    }

    /// Believes what a child has written down, but for what it found when it opened the store: that is judged.
    pub fn hear(&mut self, lines: &[Line]) -> Result<(), Violation> {
        for line in lines {
            match line {
                Line::Found(counts) => {
                    self.exists = true;
                    for (at, found) in counts.iter().enumerate() {
                        if !(self.acked[at]..=self.tried[at]).contains(found) {
                            let story = format!(
                                "the store opened with {found} points of tag {}, {} acked, {} tried",
                                at + 1,
                                self.acked[at],
                                self.tried[at]
                            );
                            return Err(Violation::new(Verdict::Lost, "I2", story));
                        }
                        self.survived(at, found - self.acked[at]);
                    }
                }
                Line::Told(Told::Trying, counts) => {
                    for (at, count) in counts {
                        let new = self.tried[*at]..*count;
                        new.for_each(|n| self.model.accept(&modelled(tag(*at), *at, n)));
                        self.tried[*at] = *count;
                    }
                }
                Line::Told(Told::Acked, counts) => {
                    self.model.ack_where(|tag| counts.iter().any(|(at, _)| *at as u32 + 1 == tag));
                    counts.iter().for_each(|(at, count)| self.acked[*at] = *count);
                }
                Line::Failed(_) | Line::Call(_) | Line::Returned { .. } => {}
            }
        }
        Ok(())
    }

    /// Compares everything that a reopened store shows; what survived of the maybes is promised from now on. The number of
    /// points that had to be there, and of those that need not.
    pub fn judge(&mut self, engine: &Engine) -> Result<(u64, u64), Violation> {
        let mut survived = Vec::new();
        for (at, tag) in tags().enumerate() {
            let found = engine.query(tag, ..).map_err(|error| {
                Violation::new(Verdict::Stuck, "calls succeed on a sound disk", error.to_string())
            })?;
            let found: Vec<_> =
                found.into_iter().map(|point| Point { tag: at as u32 + 1, ..point }).collect();
            survived.push(self.model.judge(at as u32 + 1, &found)?);
        }
        let acked = self.acked.iter().sum::<usize>() as u64;
        let more = survived.iter().sum::<usize>() as u64;
        survived.into_iter().enumerate().for_each(|(at, survived)| self.survived(at, survived));
        Ok((acked, more))
    }

    fn survived(&mut self, at: usize, maybes: usize) {
        self.model.recovered(at as u32 + 1, maybes);
        self.acked[at] += maybes;
        self.tried[at] = self.acked[at];
    }
}

fn tag(at: usize) -> u32 {
    tags().nth(at).expect("a position in `tags()`")
}

fn modelled(tag: u32, at: usize, n: usize) -> Point {
    Point { tag: at as u32 + 1, ..point(tag, n) }
}
