//! The summaries of a campaign's shards, added up to the summary that one machine would have given.
//!
//! ```text
//!  sim run --shard 0/3 --json > a ─┐
//!  sim run --shard 1/3 --json > b ─┼─► sim merge a b c ─► what `sim run --json` would have said
//!  sim run --shard 2/3 --json > c ─┘
//! ```
//!
//! What a summary holds is added by the kind of its value, and not by a list of fields, so that a count that is new
//! today is merged tomorrow:
//!
//! | value | together |
//! |---|---|
//! | number | the sum; of `seconds` the longest |
//! | `A_per_B` | `A` divided by `B`, both added up before |
//! | object | name by name |
//! | list `not_…`, `never_…` | what is in all of them: what one shard has seen has been seen |
//! | other list | what is in any of them |
//! | `trace_hash` | the sum modulo 2^64: it does not depend on the order of the seeds |
//! | other text | must be the same |
//!
//! Nothing is added up that does not belong together: another driver, profile, plant, recording, start or build, a shard
//! that is missing, there twice, or shorter than it was asked to be, is refused.

mod part;

pub use part::{Part, SOURCES, parse_shard};

use crate::coverage::known;
use crate::report::{Evidence, Result as Conclusion, rounded};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Why summaries cannot be added up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// The lines that shards have left.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// One for each shard that came to its end.
    pub summaries: Vec<Map<String, Value>>,
    /// Promises that broke, in any shard, even in one that did not come to its end.
    pub violations: Vec<Value>,
}

/// All shards as one.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The summary.
    pub summary: Map<String, Value>,
    /// What the campaign came to.
    pub result: Conclusion,
}

/// What must be the same in all shards of a campaign.
const SAME: [&str; 11] = [
    "sources",
    "driver",
    "profile",
    "sector_bytes",
    "plant",
    "trace_files",
    "trace_bad_rows",
    "start",
    "seeds_asked",
    "time_asked",
    "recheck_percent",
];

impl Lines {
    /// Adds the output of `sim run --json`, or of several, one after the other.
    ///
    /// # Errors
    /// A line that is not one of it, by `name` and number.
    pub fn read(&mut self, name: &str, text: &str) -> Result<(), Refusal> {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let object: Map<String, Value> = serde_json::from_str(line)
                .map_err(|error| Refusal(format!("{name}:{}: not an object: {error}", number + 1)))?;
            match object.get("kind").and_then(Value::as_str) {
                Some("summary") => self.summaries.push(object),
                Some("violation") => self.violations.push(Value::Object(object)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether any shard has seen a promise break.
    pub fn violated(&self) -> bool {
        let broke = |summary: &Map<String, Value>| count(summary, "violations") > 0;
        !self.violations.is_empty() || self.summaries.iter().any(broke)
    }

    /// Adds the summaries up.
    ///
    /// # Errors
    /// When they are not all shards of one campaign, each once and whole.
    pub fn merge(&self) -> Result<Merged, Refusal> {
        let first = self.summaries.first().ok_or_else(|| Refusal("there is no summary".into()))?;
        let part = |summary: &Map<String, Value>| {
            serde_json::from_value::<Part>(Value::Object(summary.clone()))
                .map_err(|error| Refusal(format!("a summary does not say what it is about: {error}")))
        };
        let parts = self.summaries.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        for (summary, part) in self.summaries.iter().zip(&parts) {
            if let Some(name) = SAME.iter().find(|name| summary.get(**name) != first.get(**name)) {
                let values = [first, summary].map(|from| from.get(*name).unwrap_or(&Value::Null).to_string());
                let story = format!("{name} is {} in shard {}", values[0], parts[0].shard);
                return Err(Refusal(format!("{story}, and {} in shard {}", values[1], part.shard)));
            }
            whole(summary, part)?;
        }
        part::complete(&parts)?;
        let mut sum = first.clone();
        for other in &self.summaries[1..] {
            add_objects(&mut sum, other)?;
        }
        Ok(conclude(sum))
    }
}

/// A shard that held has run all of its seeds, and has looked for something.
fn whole(summary: &Map<String, Value>, part: &Part) -> Result<(), Refusal> {
    let seeds = count(summary, "seeds");
    let stopped = ["violations", "diverged", "harness_failures"].iter().any(|name| count(summary, name) > 0);
    let short = part.seeds_expected()?.filter(|expected| seeds != *expected);
    if let Some(expected) = short.filter(|_| !stopped && part.time_asked.is_none()) {
        return Err(Refusal(format!("shard {} has run {seeds} of its {expected} seeds", part.shard)));
    }
    if !stopped && count(summary, "acked_points_checked") == 0 {
        return Err(Refusal(format!("shard {} has measured nothing", part.shard)));
    }
    Ok(())
}

fn count(summary: &Map<String, Value>, name: &str) -> u64 {
    summary.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn add_objects(sum: &mut Map<String, Value>, other: &Map<String, Value>) -> Result<(), Refusal> {
    for (name, more) in other {
        match sum.get_mut(name) {
            Some(value) => add(name, value, more)?,
            None => {
                sum.insert(name.clone(), more.clone());
            }
        }
    }
    Ok(())
}

fn add(name: &str, sum: &mut Value, more: &Value) -> Result<(), Refusal> {
    if SAME.contains(&name) || ["shard", "result"].contains(&name) || name.contains("_per_") {
        return Ok(());
    }
    match (&mut *sum, more) {
        (_, Value::Null) => {}
        (Value::Null, _) => *sum = more.clone(),
        (Value::Number(a), Value::Number(b)) => {
            *sum = match (a.as_u64(), b.as_u64()) {
                (Some(a), Some(b)) => json!(a.saturating_add(b)),
                _ => {
                    let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
                    json!(rounded(if name == "seconds" { a.max(b) } else { a + b }))
                }
            };
        }
        (Value::Object(sum), Value::Object(more)) => add_objects(sum, more)?,
        (Value::Array(sum), Value::Array(more)) if name.starts_with("not_") || name.starts_with("never_") => {
            sum.retain(|value| more.contains(value));
        }
        (Value::Array(sum), Value::Array(more)) => {
            let new: Vec<_> = more.iter().filter(|value| !sum.contains(value)).cloned().collect();
            sum.extend(new);
        }
        // The first line that replays something, or makes it smaller, is enough.
        (Value::String(_), Value::String(_)) if ["replay", "shrink"].contains(&name) => {}
        (Value::String(a), Value::String(b)) if name == "trace_hash" => {
            let hash = |text: &str| {
                u64::from_str_radix(text, 16).map_err(|_| Refusal(format!("{text} is no trace hash")))
            };
            *a = format!("{:016x}", hash(a)?.wrapping_add(hash(b)?));
        }
        (a, b) if a == b => {}
        (a, b) => return Err(Refusal(format!("{name} is {a} in one shard, and {b} in another one"))),
    }
    Ok(())
}

/// What follows from the sums.
fn conclude(mut sum: Map<String, Value>) -> Merged {
    let rates: Vec<String> = sum.keys().filter(|name| name.contains("_per_")).cloned().collect();
    for rate in rates {
        let (above, below) = rate.split_once("_per_").expect("filtered above");
        let number = |name: &str| sum.get(name).and_then(Value::as_f64);
        let divided = number(above).zip(number(below).or_else(|| number(&format!("{below}s"))));
        match divided {
            Some((above, below)) => sum.insert(rate, json!(rounded(above / below.max(0.01)))),
            None => sum.remove(&rate),
        };
    }
    let faults = sum.get("faults").and_then(Value::as_object);
    let not_measured = sum.get("not_measured").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_fault =
        |name: &&Value| name.as_str().is_some_and(|name| faults.is_some_and(|all| all.contains_key(name)));
    let unfired_faults = not_measured.iter().filter(is_fault).count();
    let evidence = Evidence {
        seeds: count(&sum, "seeds"),
        diverged: count(&sum, "diverged"),
        harness_failures: count(&sum, "harness_failures"),
        violations: count(&sum, "violations"),
        acked_points_checked: count(&sum, "acked_points_checked"),
        unfired_faults,
        absent_events: not_measured.len() - unfired_faults,
        uncovered: conclude_coverage(&mut sum),
    };
    let result = evidence.result();
    sum.insert("result".into(), json!(result));
    sum.insert("shard".into(), json!("0/1"));
    Merged { summary: sum, result }
}

/// Compares the triples of all shards with the table; how many are missing that the default campaign must reach.
fn conclude_coverage(sum: &mut Map<String, Value>) -> usize {
    let is = |name: &str, value: Value| sum.get(name) == Some(&value);
    let of_default_seeds = is("driver", json!("sequential"))
        && is("profile", json!("any"))
        && is("sector_bytes", Value::Null)
        && is("plant", Value::Null)
        && is("trace_files", json!([]))
        && is("start", json!(0))
        && count(sum, "seeds") >= known::DEMANDED_SEEDS;
    let Some(coverage) = sum.get_mut("coverage").and_then(Value::as_object_mut) else { return 0 };
    let keys =
        |value: &Value| value.as_object().map_or_else(Vec::new, |object| object.keys().cloned().collect());
    let Some(triples) = coverage.get("triples").cloned() else { return 0 };
    let mut reached = BTreeSet::new();
    for point in keys(&triples) {
        for fault in keys(&triples[&point]) {
            reached.extend(
                keys(&triples[&point][&fault])
                    .iter()
                    .map(|decision| format!("{point} | {fault} | {decision}")),
            );
        }
    }
    let compared = known::compare_names(&reached);
    let missing = compared.missing.len();
    if let Value::Object(compared) = json!(compared) {
        coverage.extend(compared);
    }
    // What is distinct within each shard need not be so between two.
    for name in ["distinct_images", "distinct_states"] {
        coverage.insert(name.into(), Value::Null);
    }
    sum.insert("coverage_demanded".into(), json!(of_default_seeds));
    if of_default_seeds { missing } else { 0 }
}

#[cfg(test)]
mod tests;
