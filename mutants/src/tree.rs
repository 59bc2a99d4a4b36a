//! The copy of the repository that the mutants are woven into, and how it is made to compile.

use crate::list::{Genre, Mutant};
use crate::planted::Planted;
use crate::weave::{self, Woven};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compiled into the woven engine: which mutant is on is said once, by the environment of the process.
const SWITCH: &str = r#"//! The mutant that is on: that of the environment.
static ACTIVE: std::sync::LazyLock<u32> =
    std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|id| id.parse().ok()).unwrap_or(0));

#[inline]
pub(crate) fn on(id: u32) -> bool {
    *ACTIVE == id
}

/// What a function returns that returns an iterator and has mutants.
pub(crate) enum Either<A, B> {
    One(A),
    Other(B),
}

impl<A: Iterator, B: Iterator<Item = A::Item>> Iterator for Either<A, B> {
    type Item = A::Item;

    fn next(&mut self) -> Option<A::Item> {
        match self {
            Either::One(one) => one.next(),
            Either::Other(other) => other.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Either::One(one) => one.size_hint(),
            Either::Other(other) => other.size_hint(),
        }
    }
}
"#;

/// A copy of the repository.
pub struct Tree {
    /// The engine's sources as they were when it was made: somebody may be at work on them.
    sources: BTreeMap<String, String>,
    pub dir: PathBuf,
    pub target: PathBuf,
}

/// Why a mutant is in no binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absent {
    /// It concerns planted bugs only.
    Planted,
    /// It compiles neither in here nor on its own: cargo-mutants calls such a one unviable.
    Unviable,
    /// It compiles on its own, but cannot have a switch.
    NotWoven,
}

/// What the compiler has said of mutants: it takes seconds for each, so it is kept for as long as their files stay the same.
pub struct Facts {
    path: PathBuf,
    lines: BTreeSet<String>,
}

impl Facts {
    pub fn load(path: PathBuf) -> Facts {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Facts { path, lines: text.lines().map(String::from).collect() }
    }

    fn line(fact: &str, mutant: &Mutant, hash: u64) -> String {
        format!("{fact} {hash:016x} {}", mutant.key)
    }

    pub fn has(&self, fact: &str, mutant: &Mutant, hash: u64) -> bool {
        self.lines.contains(&Facts::line(fact, mutant, hash))
    }

    pub fn add(&mut self, fact: &str, mutant: &Mutant, hash: u64) -> Result<()> {
        self.lines.insert(Facts::line(fact, mutant, hash));
        let text: String = self.lines.iter().flat_map(|line| [line, "\n"]).collect();
        std::fs::write(&self.path, text).with_context(|| self.path.display().to_string())
    }
}

/// All files of the repository that the judges are built from.
fn files(root: &Path) -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    ensure!(listed.status.success(), "git ls-files failed");
    let listed = String::from_utf8(listed.stdout)?;
    let others = ["mutants/", "compare/", "adapters/", "docs/"];
    let wanted = |name: &&str| !name.is_empty() && !others.iter().any(|other| name.starts_with(other));
    Ok(listed.split('\0').filter(wanted).map(String::from).collect())
}

/// Writes a file if it is not the same already: cargo looks at the times of files.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    std::fs::create_dir_all(path.parent().context("a file in no directory")?)?;
    std::fs::write(path, content).with_context(|| path.display().to_string())
}

impl Tree {
    /// Copies all but the sources of the engine.
    pub fn copy(root: &Path, dir: PathBuf) -> Result<Tree> {
        let (mut kept, mut sources) = (BTreeSet::new(), BTreeMap::new());
        for name in files(root)? {
            let from = root.join(&name);
            if !from.is_file() {
                continue;
            }
            if name.starts_with("src/") {
                sources.insert(name, std::fs::read_to_string(from)?);
                continue;
            }
            put(&dir.join(&name), &std::fs::read(from)?)?;
            kept.insert(name);
        }
        // What a test that is no longer there has left would be compiled.
        for folder in ["tests", "sim", "benches"] {
            remove_others(&dir, Path::new(folder), &kept)?;
        }
        // The replacements of cargo-mutants are not written for a linter.
        let config = std::fs::read_to_string(root.join(".cargo/config.toml"))?;
        let quiet = config.replace("rustflags = [", "rustflags = [\"--cap-lints\", \"allow\", ");
        put(&dir.join(".cargo/config.toml"), quiet.as_bytes())?;
        let target = dir.join("target");
        Ok(Tree { sources, dir, target })
    }

    fn source(&self, file: &str) -> Result<&str> {
        self.sources.get(file).map(String::as_str).with_context(|| format!("{file} is no source"))
    }

    /// Tells whether a source is still the same.
    pub fn hash(&self, file: &str) -> Result<u64> {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(self.source(file)?.as_bytes());
        Ok(hasher.finish())
    }

    /// Writes the engine's sources with these mutants woven in.
    fn write(&self, mutants: &[&Mutant]) -> Result<HashMap<String, Woven>> {
        let mut woven = HashMap::new();
        for (file, source) in &self.sources {
            let own: Vec<&Mutant> = mutants.iter().copied().filter(|mutant| mutant.file == *file).collect();
            let parsed = syn::parse_file(source).with_context(|| file.clone())?;
            let mut new = weave::weave(source, &parsed, &own);
            if file == "src/lib.rs" {
                new.text.push_str("\nmod mutant;\n");
            }
            put(&self.dir.join(file), new.text.as_bytes())?;
            woven.insert(file.clone(), new);
        }
        put(&self.dir.join("src/mutant.rs"), SWITCH.as_bytes())?;
        Ok(woven)
    }

    /// Weaves as many mutants as compile. Those that are missing, and why.
    pub fn weave(&self, mutants: &[Mutant], facts: &mut Facts) -> Result<BTreeMap<u32, Absent>> {
        let mut absent = BTreeMap::new();
        for mutant in mutants {
            if facts.has("not woven", mutant, self.hash(&mutant.file)?) {
                absent.insert(mutant.id, Absent::NotWoven);
            }
        }
        for (file, source) in &self.sources {
            let planted = Planted::of(&syn::parse_file(source)?);
            let own = mutants.iter().filter(|mutant| mutant.file == *file && planted.covers(&mutant.range));
            absent.extend(own.map(|mutant| (mutant.id, Absent::Planted)));
        }
        loop {
            let present: Vec<_> = mutants.iter().filter(|mutant| !absent.contains_key(&mutant.id)).collect();
            let woven = self.write(&present)?;
            let mut dropped = BTreeSet::new();
            dropped.extend(woven.values().flat_map(|woven| &woven.left_out).map(|(id, _)| *id));
            let is_left_out = !dropped.is_empty();
            if !is_left_out {
                dropped = self.offenders(&woven)?;
            }
            if dropped.is_empty() {
                return Ok(absent);
            }
            eprintln!("{} mutants do not compile in the woven engine", dropped.len());
            for mutant in mutants.iter().filter(|mutant| dropped.contains(&mutant.id)) {
                let hash = self.hash(&mutant.file)?;
                facts.add("not woven", mutant, hash)?;
                // A value that a function cannot return early is none that its body could be.
                let is_iterator = woven[&mutant.file].iterators.contains(&mutant.id);
                if mutant.genre == Genre::FnValue && !is_left_out && !is_iterator {
                    facts.add("unviable", mutant, hash)?;
                }
            }
            absent.extend(dropped.into_iter().map(|id| (id, Absent::NotWoven)));
        }
    }

    /// The mutants that the compiler's errors are about; none if there is no error.
    fn offenders(&self, woven: &HashMap<String, Woven>) -> Result<BTreeSet<u32>> {
        let mut offenders = BTreeSet::new();
        let mut others = Vec::new();
        for error in self.check()? {
            let Some(span) = error.spans.iter().find(|span| span.is_primary) else { continue };
            let file =
                span.file_name.split("src/").last().map(|rest| format!("src/{rest}")).unwrap_or_default();
            let pieces = woven.get(&file).map_or(&[][..], |woven| &woven.pieces);
            let inside = |piece: &&(std::ops::Range<usize>, u32)| piece.0.contains(&span.byte_start);
            match pieces.iter().find(inside) {
                Some((_, id)) => drop(offenders.insert(*id)),
                None => others.push((file, error.message)),
            }
        }
        if offenders.is_empty() {
            let files = others.iter().filter_map(|(file, _)| woven.get(file));
            offenders.extend(files.flat_map(|woven| &woven.iterators));
        }
        if offenders.is_empty() && !others.is_empty() {
            bail!("the woven engine does not compile, and no mutant is to blame: {others:?}");
        }
        Ok(offenders)
    }

    /// The compiler's errors in the engine, as it is and as it is built for shuttle.
    fn check(&self) -> Result<Vec<Message>> {
        let packages = ["-p", "tidewall", "-p", "tidewall-shuttle", "--features", "tidewall/plant"];
        let output =
            self.cargo().args(["check", "--lib", "--message-format=json"]).args(packages).output()?;
        let lines = String::from_utf8_lossy(&output.stdout);
        let messages = lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()?.message);
        let errors: Vec<_> = messages.filter(|message| message.level.starts_with("error")).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() || !errors.is_empty(), "cargo check: {said}");
        Ok(errors)
    }

    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", &self.target)
            .env_remove("RUSTFLAGS")
            .stdin(Stdio::null());
        cargo
    }

    /// Writes the sources with one mutant, as cargo-mutants does it.
    pub fn write_plain(&self, mutant: &Mutant) -> Result<()> {
        for (file, source) in &self.sources {
            let mutated = (*file == mutant.file).then(|| weave::plain(source, mutant));
            put(&self.dir.join(file), mutated.as_ref().unwrap_or(source).as_bytes())?;
        }
        Ok(())
    }

    /// Whether the engine compiles with this mutant alone.
    pub fn is_viable(&self, mutant: &Mutant) -> Result<bool> {
        self.write_plain(mutant)?;
        Ok(self.check()?.is_empty())
    }
}

fn remove_others(dir: &Path, folder: &Path, kept: &BTreeSet<String>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir.join(folder)) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(dir, &name, kept)?;
        } else if !kept.contains(&*name.to_string_lossy()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    message: String,
    spans: Vec<CodeSpan>,
}

#[derive(Deserialize)]
struct CodeSpan {
    file_name: String,
    byte_start: usize,
    is_primary: bool,
}
