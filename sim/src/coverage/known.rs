//! The triples that are known to exist, and what a campaign has to say about them.
//!
//! `known.txt` has one line for each point and fault: `point | fault | decision, decision`. It holds what a campaign of
//! 200,000 seeds reached at least [`OFTEN`] times; 20,000 other seeds would miss one of these once in some millions. Of each
//! decision it holds the most frequent triple, even if that is rarer, so that none is left out; and points that have no such
//! triple, as `(rare) point`, so that a new one is told from a rare one. What is rarer exists too, and is counted, but not demanded: some ten thousand triples in all came up in those 200,000 seeds, some of them once.
//!
//! Write the table anew when what runs draw, or what the engine does, has changed:
//! `cargo sim run --seeds 200000 --recheck 0 --write-known sim/src/coverage/known.txt`. The diff says what is new and what
//! is not reached any more; the latter needs a reason.

use super::{Coverage, triple_name};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Times in 200,000 seeds that make a triple known.
pub const OFTEN: u64 = 150;

/// Seeds, from 0 on, of which all known triples are demanded.
pub const DEMANDED_SEEDS: u64 = 20_000;

const TABLE: &str = include_str!("known.txt");

/// Before a point that is known to exist, and too rare to be demanded.
const RARE: &str = "(rare) ";

fn rare_points() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter_map(|line| line.strip_prefix(RARE))
}

/// The names of all known triples.
pub fn all() -> &'static BTreeSet<String> {
    static ALL: OnceLock<BTreeSet<String>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = BTreeSet::new();
        let other = |line: &&str| line.starts_with('#') || line.starts_with(RARE);
        for line in TABLE.lines().filter(|line| !other(line)) {
            let (key, decisions) = line.rsplit_once(" | ").expect("the table is written by `write`");
            all.extend(decisions.split(", ").map(|decision| format!("{key} | {decision}")));
        }
        all
    })
}

/// How a campaign compares with the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Known triples.
    pub known: usize,
    /// Known ones that were not reached, by name.
    #[serde(rename = "never_reached")]
    pub missing: Vec<&'static str>,
    /// Triples that were reached and are not in the table.
    pub others: usize,
    /// Crash points of these that are in no line of the table, not even as rare.
    pub new: Vec<String>,
}

fn point_of(name: &str) -> &str {
    name.split_once(" | ").map_or(name, |(point, _)| point)
}

/// Compares what a campaign has reached.
pub fn compare(coverage: &Coverage) -> Reached {
    compare_names(&coverage.triples().map(|(triple, _)| triple_name(triple)).collect())
}

/// Compares triples by name.
pub fn compare_names(reached: &BTreeSet<String>) -> Reached {
    let points: BTreeSet<&str> = all().iter().map(|name| point_of(name)).chain(rare_points()).collect();
    let others: Vec<_> = reached.iter().filter(|name| !all().contains(*name)).collect();
    let new: BTreeSet<String> = others
        .iter()
        .map(|name| point_of(name).to_owned())
        .filter(|point| !points.contains(&point[..]))
        .collect();
    Reached {
        known: all().len(),
        missing: all().iter().map(String::as_str).filter(|name| !reached.contains(*name)).collect(),
        others: others.len(),
        new: new.into_iter().collect(),
    }
}

/// The table that a campaign of this many seeds would make.
pub fn write(coverage: &Coverage, seeds: u64) -> String {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut most = BTreeMap::new();
    for ((_, _, decision), times) in coverage.triples() {
        let most = most.entry(*decision).or_insert(times);
        *most = times.max(*most);
    }
    for (triple, times) in coverage.triples() {
        // In proportion: the same frequency, whatever the number of seeds.
        if times * 200_000 >= OFTEN * seeds || times == most[&triple.2] {
            let name = triple_name(triple);
            let (key, decision) = name.rsplit_once(" | ").expect("a triple has three names");
            lines.entry(key.to_owned()).or_default().push(decision.to_owned());
        }
    }
    let points: BTreeSet<String> = coverage.triples().map(|((point, ..), _)| point.to_string()).collect();
    let rare = |point: &&String| !lines.keys().any(|key| point_of(key) == **point);
    let mut table: Vec<_> = points.iter().filter(rare).map(|point| format!("{RARE}{point}\n")).collect();
    for (key, mut decisions) in lines {
        decisions.sort();
        table.push(format!("{key} | {}\n", decisions.join(", ")));
    }
    format!(
        "# point | fault | decisions; see known.rs. Written by `cargo sim run --write-known`.\n{}",
        table.concat()
    )
}
