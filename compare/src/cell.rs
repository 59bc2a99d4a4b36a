//! What is measured: a cell is one store at one piece of work, and a row of words on a command line.

use crate::stores::Shape;
use clap::ValueEnum;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Work {
    /// All points, a sync at the end and, if asked for, in between; a clean close; read back.
    Write,
    /// Threads that wait for each single point.
    Immediate,
    /// Queries after a clean close.
    Query,
    /// All points, a sync, an abort.
    Crash,
    /// What comes after that.
    Reopen,
}

/// Where the points are from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Source {
    Generated,
    Recorded,
}

/// One measurement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    pub store: String,
    pub work: Work,
    pub shape: Shape,
    pub source: Source,
    pub tags: usize,
    pub writers: usize,
    /// Points between syncs; 0 is only at the end.
    pub sync_every: usize,
    pub points: usize,
}

fn word<T: ValueEnum>(value: T) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().to_string()
}

impl Cell {
    /// As words.
    pub fn words(&self) -> Vec<String> {
        vec![
            self.store.clone(),
            word(self.work),
            word(self.shape),
            word(self.source),
            self.tags.to_string(),
            self.writers.to_string(),
            self.sync_every.to_string(),
            self.points.to_string(),
        ]
    }

    /// From words.
    pub fn parse(words: &[String]) -> Option<Cell> {
        let [store, work, shape, source, tags, writers, sync_every, points] = words else { return None };
        Some(Cell {
            store: store.clone(),
            work: Work::from_str(work, false).ok()?,
            shape: Shape::from_str(shape, false).ok()?,
            source: Source::from_str(source, false).ok()?,
            tags: tags.parse().ok()?,
            writers: writers.parse().ok()?,
            sync_every: sync_every.parse().ok()?,
            points: points.parse().ok()?,
        })
    }
}
