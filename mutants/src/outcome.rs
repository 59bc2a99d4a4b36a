//! What became of each mutant; kept from run to run, so that a part can be judged again.

use crate::list::{Key, Mutant};
use crate::trial::Sentence;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A judge turned red.
    Killed,
    /// A judge did not end in time: killed as well.
    Late,
    /// Every judge stayed green.
    Survived,
    /// It compiles, but not all judges have seen it: it could not be woven in, or the run was ended before.
    NotJudged,
    /// Does not compile: no mutant.
    Unviable,
    /// Concerns planted bugs only: no mutant of the engine.
    Planted,
}

/// A line of the outcomes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub module: String,
    pub file: String,
    pub line: usize,
    pub change: String,
    pub ordinal: usize,
    pub fate: Fate,
    /// Who noticed, and what failed.
    pub judge: String,
    pub detail: String,
    pub seconds: f64,
}

impl Outcome {
    pub fn new(mutant: &Mutant, fate: Fate) -> Outcome {
        let Key { file, change, ordinal } = mutant.key.clone();
        let module = mutant.module().to_string();
        let (judge, detail) = (String::new(), String::new());
        Outcome { module, file, line: mutant.line, change, ordinal, fate, judge, detail, seconds: 0.0 }
    }

    /// Takes down what a judge says. Whether it has noticed the mutant.
    pub fn hear(&mut self, judge: &str, sentence: Sentence) -> bool {
        let (fate, detail) = match sentence {
            Sentence::Green => return false,
            Sentence::Red(what) => (Fate::Killed, what),
            Sentence::Late => (Fate::Late, String::new()),
        };
        (self.fate, self.judge, self.detail) = (fate, judge.into(), detail);
        true
    }

    pub fn key(&self) -> Key {
        Key { file: self.file.clone(), change: self.change.clone(), ordinal: self.ordinal }
    }
}

/// What was kept; nothing if there is nothing that can be read.
pub fn load(path: &Path) -> HashMap<Key, Outcome> {
    let Ok(mut reader) = csv::Reader::from_path(path) else { return HashMap::new() };
    let outcomes = reader.deserialize::<Outcome>().map_while(Result::ok);
    outcomes.map(|outcome| (outcome.key(), outcome)).collect()
}

pub fn save<'a>(path: &Path, mut outcomes: impl Iterator<Item = &'a Outcome>) -> Result<()> {
    let mut writer = csv::Writer::from_path(path).with_context(|| path.display().to_string())?;
    outcomes.try_for_each(|outcome| writer.serialize(outcome))?;
    Ok(writer.flush()?)
}
