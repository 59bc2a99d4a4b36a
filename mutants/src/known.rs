//! `survivors.csv`: the mutants that may survive, each with its reason.

use crate::list::Key;
use crate::outcome::{Fate, Outcome};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Why no test is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No input makes a difference.
    Equivalent,
    /// The same answers, later or with more memory or I/O.
    Performance,
    /// What differs is only seen with a planted bug, or under a checker that is not among the judges.
    Elsewhere,
    /// A difference that no promise is about.
    NoPromise,
}

#[derive(Deserialize)]
struct Line {
    file: String,
    change: String,
    ordinal: usize,
    kind: Kind,
    reason: String,
}

pub struct Known(BTreeMap<Key, Kind>);

impl Known {
    pub fn load(path: &Path) -> Result<Known> {
        let mut known = BTreeMap::new();
        let mut reader = csv::Reader::from_path(path).with_context(|| path.display().to_string())?;
        for line in reader.deserialize() {
            let line: Line = line.with_context(|| path.display().to_string())?;
            let key = Key { file: line.file, change: line.change, ordinal: line.ordinal };
            ensure!(!line.reason.trim().is_empty(), "{key}: no reason is given");
            ensure!(known.insert(key.clone(), line.kind).is_none(), "{key}: listed twice");
        }
        Ok(Known(known))
    }

    pub fn kind(&self, key: &Key) -> Option<Kind> {
        self.0.get(key).copied()
    }

    /// What is not as the list says, one line each. `all` are the keys of all mutants that there are; only those of
    /// `outcomes` have been judged.
    pub fn differences(&self, outcomes: &[Outcome], all: &BTreeSet<Key>) -> Vec<String> {
        let mut differences = Vec::new();
        for outcome in outcomes {
            let key = outcome.key();
            match (outcome.fate, self.kind(&key)) {
                (Fate::Survived, None) => {
                    differences.push(format!("survived, and no reason is given: {key}"))
                }
                (Fate::Survived | Fate::NotJudged, Some(_)) | (_, None) => {}
                (fate, Some(_)) => {
                    let by = &outcome.judge;
                    differences.push(format!("listed as a survivor, but {fate:?} {by}: {key}"));
                }
            }
        }
        let gone = self.0.keys().filter(|key| !all.contains(key));
        differences
            .extend(gone.map(|key| format!("listed as a survivor, but there is no such mutant: {key}")));
        differences
    }
}
