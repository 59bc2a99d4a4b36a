//! What a campaign's summary says about its coverage.

use super::known::{self, Reached};
use super::{Coverage, DISTINCT_MAX};
use crate::report::grouped;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// In the summary's JSON. `triples` of shards are merged by adding; numbers of distinct things cannot be: each is that of
/// this campaign.
#[derive(Debug, Serialize)]
pub struct CoverageSummary {
    distinct_images: u64,
    distinct_states: u64,
    /// This many were counted, and there were more.
    distinct_capped: bool,
    #[serde(flatten)]
    reached: Reached,
    triples: BTreeMap<String, BTreeMap<&'static str, BTreeMap<&'static str, u64>>>,
    #[serde(skip)]
    seeds: u64,
}

/// Names that the text lists at most; the JSON has all.
const LISTED_MAX: usize = 12;

impl CoverageSummary {
    /// Puts a campaign's coverage into words.
    pub fn new(coverage: &Coverage, seeds: u64) -> CoverageSummary {
        CoverageSummary {
            distinct_images: coverage.images.count(),
            distinct_states: coverage.states.count(),
            distinct_capped: coverage.images.capped || coverage.states.capped,
            reached: known::compare(coverage),
            triples: coverage.by_name(),
            seeds,
        }
    }

    /// Known triples that were not reached.
    pub fn missing(&self) -> usize {
        self.reached.missing.len()
    }

    /// For a person: (name, value) of each line of the summary.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let a_seed = |count: u64| count as f64 / self.seeds.max(1) as f64;
        let most = if self.distinct_capped {
            format!("; counted up to {}", grouped(DISTINCT_MAX as u64))
        } else {
            String::new()
        };
        let distinct =
            |count: u64| format!("{} distinct ({:.1} a seed){most}", grouped(count), a_seed(count));
        let mut lines = vec![
            ("crash images", distinct(self.distinct_images)),
            ("recovered states", distinct(self.distinct_states)),
        ];
        // A driver that does not know where its crashes strike has none.
        if !self.triples.is_empty() {
            let Reached { known, missing, others, .. } = &self.reached;
            let value = format!(
                "reached {} of {} known (crash point × fault × decision), and {} rarer ones",
                grouped((known - missing.len()) as u64),
                grouped(*known as u64),
                grouped(*others as u64)
            );
            lines.push(("crash triples", value));
        }
        lines
    }

    /// The names of what was never reached, and of what is new; empty if there is neither.
    pub fn notices(&self) -> String {
        let mut text = String::new();
        if self.triples.is_empty() {
            return text;
        }
        let mut list = |title: &str, names: &[&str]| {
            if names.is_empty() {
                return;
            }
            writeln!(text, "\n  {title}").expect("a string takes everything");
            for name in names.iter().take(LISTED_MAX) {
                writeln!(text, "    {name}").expect("a string takes everything");
            }
            if let Some(more) = names.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
                writeln!(text, "    and {more} more: see --json").expect("a string takes everything");
            }
        };
        list("never reached:", &self.reached.missing);
        let new: Vec<&str> = self.reached.new.iter().map(String::as_str).collect();
        list("crash points that the table does not know:", &new);
        text
    }
}
