//! The mutants, as cargo-mutants lists them. Nothing is invented here: what it would try, and no more, is tried.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Genre {
    /// A function that does nothing and returns a fixed value.
    FnValue,
    /// `==` for `!=`, and so on.
    BinaryOperator,
    /// A `!` or `-` left out.
    UnaryOperator,
    /// An arm left out of a match that has one for everything else.
    MatchArm,
    /// A guard that is always true, or never.
    MatchArmGuard,
    /// A field left out of a struct expression that has a base.
    StructField,
}

/// One mutant.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// What switches it on.
    pub id: u32,
    /// Path in the repository.
    pub file: String,
    pub genre: Genre,
    /// The bytes of the file that it replaces.
    pub range: Range<usize>,
    pub replacement: String,
    pub line: usize,
    pub key: Key,
}

/// What a mutant is called. It stays the same when lines above it come or go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub file: String,
    /// What cargo-mutants says of it, without the line.
    pub change: String,
    /// Among those of the file of which it says the same; from 1.
    pub ordinal: usize,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} #{}", self.file, self.change, self.ordinal)
    }
}

impl Mutant {
    /// `wal` for `src/wal/ring.rs`, `recovery` for `src/recovery.rs`.
    pub fn module(&self) -> &str {
        let path = self.file.strip_prefix("src/").unwrap_or(&self.file);
        path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
    }
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    file: String,
    span: Lines,
    replacement: String,
    genre: Genre,
}

#[derive(Deserialize)]
struct Lines {
    start: Place,
    end: Place,
}

/// Both from 1; columns are characters.
#[derive(Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

/// Asks cargo-mutants for all mutants of the engine but the registry of planted bugs, in the order of files and places.
pub fn list(root: &Path) -> Result<Vec<Mutant>> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--package", "tidewall", "--exclude", "src/plant.rs"])
        .current_dir(root)
        .output()
        .context("cargo mutants")?;
    ensure!(output.status.success(), "cargo mutants --list: {}", String::from_utf8_lossy(&output.stderr));
    let mut listed: Vec<Listed> = serde_json::from_slice(&output.stdout).context("cargo mutants --list")?;
    ensure!(!listed.is_empty(), "cargo mutants lists nothing");
    // The models of loom, which `lib.rs` includes for that checker only, are tests.
    listed.retain(|listed| !listed.file.contains(".."));
    listed.sort_by(|a, b| a.file.cmp(&b.file));
    let mut sources: HashMap<String, String> = HashMap::new();
    let mut ordinals: HashMap<(String, String), usize> = HashMap::new();
    let mut mutants = Vec::new();
    for (listed, id) in listed.into_iter().zip(1..) {
        if !sources.contains_key(&listed.file) {
            let source = std::fs::read_to_string(root.join(&listed.file)).context(listed.file.clone())?;
            sources.insert(listed.file.clone(), source);
        }
        let source = &sources[&listed.file];
        let range = at(source, &listed.span.start)?..at(source, &listed.span.end)?;
        let change = change(&listed);
        let ordinal = ordinals.entry((listed.file.clone(), change.clone())).or_default();
        *ordinal += 1;
        mutants.push(Mutant {
            id,
            key: Key { file: listed.file.clone(), change, ordinal: *ordinal },
            file: listed.file,
            genre: listed.genre,
            range,
            replacement: listed.replacement,
            line: listed.span.start.line,
        });
    }
    Ok(mutants)
}

/// Its name is `FILE:LINE:COLUMN: CHANGE`.
fn change(listed: &Listed) -> String {
    let place = format!("{}:{}:{}: ", listed.file, listed.span.start.line, listed.span.start.column);
    listed.name.strip_prefix(&place).unwrap_or(&listed.name).to_string()
}

/// The byte at a place.
fn at(source: &str, place: &Place) -> Result<usize> {
    let mut begin = 0;
    for _ in 1..place.line {
        begin += source[begin..].find('\n').context("a line that the file does not have")? + 1;
    }
    let line = &source[begin..];
    let column = line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(place.column - 1);
    Ok(begin + column.context("a column that the line does not have")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = "a\nöb\n";
        let at = |line, column| at(source, &Place { line, column }).unwrap();
        assert_eq!([at(1, 1), at(2, 1), at(2, 2), at(2, 3)], [0, 2, 4, 5]);
    }
}
