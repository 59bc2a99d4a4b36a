//! Mutation testing of the engine: all mutants of cargo-mutants in one binary, one of them on at a time.
//!
//! ```text
//!  cargo mutants --list ──► woven copy of the sources ──► judges, built once ──► each mutant before each judge
//!        (list)              (planted, weave, tree)          (judges)               (trial)
//!                                                                                      │
//!                               survivors.csv (known) ──► as they must be? ◄──── outcomes, table
//! ```

mod judges;
mod known;
mod list;
mod outcome;
mod planted;
mod report;
mod tree;
mod trial;
mod weave;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use judges::Judge;
use known::Known;
use list::{Key, Mutant};
use outcome::{Fate, Outcome};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tree::{Absent, Facts, Tree};
use trial::{Limits, Sentence};

/// Judges every mutant of the engine. Exit status: 0 what survives is what survivors.csv says; 1 it is not; 2 nothing was
/// judged.
#[derive(Parser)]
struct Args {
    /// Only mutants of these modules: `wal`, `store`, `recovery`, …
    #[arg(long)]
    module: Vec<String>,
    /// Only mutants whose file and change match.
    #[arg(long, value_name = "REGEX")]
    name: Option<regex::Regex>,
    /// Only those that were not killed the last time, and those that nobody has judged; the others keep their outcome.
    #[arg(long)]
    again: bool,
    /// Judges working at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Builds and judges what could not be woven in on its own: a minute or two for each.
    #[arg(long)]
    slow: bool,
    /// Only says which mutants there are.
    #[arg(long)]
    list: bool,
    /// Only says what became of them the last time.
    #[arg(long)]
    report: bool,
}

/// A mutant that must not survive, or nothing is being measured.
const MUST_DIE: (&str, &str) = ("src/store/writer.rs", "replace ChunkWriter::sync -> Result<()> with Ok(())");

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.parent().context("the repository around this crate")?;
    install()?;
    let known = Known::load(&own.join("survivors.csv"))?;
    let mutants = list::list(root)?;
    let is_selected = |mutant: &&Mutant| {
        let module = args.module.is_empty() || args.module.iter().any(|module| module == mutant.module());
        module && args.name.as_ref().is_none_or(|name| name.is_match(&mutant.key.to_string()))
    };
    let selected: Vec<&Mutant> = mutants.iter().filter(is_selected).collect();
    ensure!(!selected.is_empty(), "no mutant is selected");
    if args.list {
        selected.iter().for_each(|mutant| println!("{} {} (line {})", mutant.id, mutant.key, mutant.line));
        return Ok(true);
    }
    let work = own.join("target");
    let kept_at = work.join("outcomes.csv");
    if args.report {
        let mut kept = outcome::load(&kept_at);
        let outcome = |mutant: &&Mutant| {
            kept.remove(&mutant.key).unwrap_or_else(|| Outcome::new(mutant, Fate::NotJudged))
        };
        let shown: Vec<Outcome> = selected.iter().map(outcome).collect();
        return Ok(is_as_known(&shown, &known, &mutants));
    }
    let tree = Tree::copy(root, work.join("woven"))?;
    let plain = Tree::copy(root, work.join("plain"))?;
    let absent = weave(&tree, &plain, &mutants, &work)?;
    println!("{} mutants listed, {} woven in", mutants.len(), mutants.len() - absent.len());
    let judges = judges::build(&tree, 0..judges::COUNT)?;
    let limits = control(&judges, &mutants, &work)?;

    let mut kept = outcome::load(&kept_at);
    let is_open = |mutant: &&Mutant| {
        let fate = kept.get(&mutant.key).map(|outcome| outcome.fate);
        !args.again || !matches!(fate, Some(Fate::Killed | Fate::Late))
    };
    let open: Vec<&Mutant> = selected.iter().copied().filter(is_open).collect();
    let woven = open.iter().copied().filter(|mutant| !absent.contains_key(&mutant.id));
    let mut left: Vec<Outcome> = woven.map(|mutant| Outcome::new(mutant, Fate::NotJudged)).collect();
    let ids: HashMap<Key, u32> = mutants.iter().map(|mutant| (mutant.key.clone(), mutant.id)).collect();
    let mut keep = |outcome: Outcome| drop(kept.insert(outcome.key(), outcome));
    for mutant in &open {
        match absent.get(&mutant.id) {
            Some(Absent::NotWoven) if args.slow => keep(alone(&plain, mutant, &limits, &work)?),
            Some(Absent::NotWoven) => keep(Outcome::new(mutant, Fate::NotJudged)),
            Some(Absent::Planted) => keep(Outcome::new(mutant, Fate::Planted)),
            Some(Absent::Unviable) => keep(Outcome::new(mutant, Fate::Unviable)),
            None => {}
        }
    }
    // One judge after the other: what the fast ones notice is known when the slow ones begin.
    for (judge, limits) in judges.iter().zip(&limits) {
        println!("{} mutants before {}", left.len(), judge.name);
        let hearing = Hearing {
            judge,
            limits: *limits,
            ids: &ids,
            next: AtomicUsize::new(0),
            kept: Mutex::new((kept, Vec::new())),
            kept_at: &kept_at,
            error: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            for job in 0..args.jobs.max(1) {
                let (hearing, left, work) = (&hearing, &left, &work);
                scope.spawn(move || hearing.work(left, &work.join(format!("scratch-{job}"))));
            }
        });
        if let Some(error) = hearing.error.into_inner().expect("no thread has panicked") {
            return Err(error);
        }
        (kept, left) = hearing.kept.into_inner().expect("no thread has panicked");
        outcome::save(&kept_at, kept.values())?;
    }
    let survived = |outcome: Outcome| (outcome.key(), Outcome { fate: Fate::Survived, ..outcome });
    kept.extend(left.into_iter().map(survived));
    let all: Vec<Outcome> = mutants.iter().filter_map(|mutant| kept.remove(&mutant.key)).collect();
    outcome::save(&kept_at, all.iter())?;
    let chosen: BTreeSet<&Key> = selected.iter().map(|mutant| &mutant.key).collect();
    let shown: Vec<Outcome> = all.into_iter().filter(|outcome| chosen.contains(&outcome.key())).collect();
    Ok(is_as_known(&shown, &known, &mutants))
}

/// Prints what became of mutants, and whether it is what survivors.csv says.
fn is_as_known(shown: &[Outcome], known: &Known, mutants: &[Mutant]) -> bool {
    report(shown, known, mutants);
    let keys = mutants.iter().map(|mutant| mutant.key.clone()).collect();
    let differences = known.differences(shown, &keys);
    differences.iter().for_each(|line| println!("{line}"));
    println!(
        "{}",
        if differences.is_empty() {
            "survivors.csv says what survives"
        } else {
            "survivors.csv does NOT say what survives"
        }
    );
    differences.is_empty()
}

/// The tool that knows which mutants there are.
fn install() -> Result<()> {
    let is_there =
        |args: &[&str]| Command::new("cargo").args(args).output().is_ok_and(|output| output.status.success());
    if !is_there(&["mutants", "--version"]) {
        eprintln!("installing cargo-mutants");
        let installed =
            Command::new("cargo").args(["install", "--locked", "--quiet", "cargo-mutants"]).status()?;
        ensure!(installed.success(), "cargo-mutants cannot be installed");
    }
    Ok(())
}

/// Weaves, and finds out of each mutant that does not compile whether it does so on its own.
fn weave(tree: &Tree, plain: &Tree, mutants: &[Mutant], work: &Path) -> Result<BTreeMap<u32, Absent>> {
    let mut facts = Facts::load(work.join("facts.txt"));
    let mut absent = tree.weave(mutants, &mut facts)?;
    for mutant in mutants {
        if absent.get(&mutant.id) != Some(&Absent::NotWoven) {
            continue;
        }
        let hash = plain.hash(&mutant.file)?;
        if !facts.has("unviable", mutant, hash) && !facts.has("viable", mutant, hash) {
            let fact = if plain.is_viable(mutant)? { "viable" } else { "unviable" };
            facts.add(fact, mutant, hash)?;
        }
        if facts.has("unviable", mutant, hash) {
            absent.insert(mutant.id, Absent::Unviable);
        } else {
            println!("not woven: {}", mutant.key);
        }
    }
    Ok(absent)
}

/// Without a mutant every judge is green; with one that leaves out a sync one of them turns red. How long each may
/// take.
fn control(judges: &[Judge], mutants: &[Mutant], work: &Path) -> Result<Vec<Limits>> {
    let scratch = work.join("scratch-control");
    let mut limits = Vec::new();
    for judge in judges {
        let begin = Instant::now();
        let sentence = trial::hear(judge, 0, Limits::FIRST, &scratch)?;
        ensure!(sentence == Sentence::Green, "{} says without a mutant: {sentence:?}", judge.name);
        println!("{}: green without a mutant, in {:.1} s", judge.name, begin.elapsed().as_secs_f64());
        limits.push(Limits::after(begin.elapsed()));
    }
    let (file, change) = MUST_DIE;
    let Some(must_die) = mutants.iter().find(|mutant| mutant.file == file && mutant.key.change == change)
    else {
        bail!("the mutant that must die is not there: {file}: {change}");
    };
    let outcome = judge(must_die, must_die.id, judges, &limits, &scratch)?;
    ensure!(outcome.fate == Fate::Killed, "that chunks are not synced is noticed by nobody: {outcome:?}");
    println!("killed, as it must be, by {}: {}", outcome.judge, must_die.key);
    Ok(limits)
}

/// One mutant before all judges.
fn judge(mutant: &Mutant, on: u32, judges: &[Judge], limits: &[Limits], scratch: &Path) -> Result<Outcome> {
    let begin = Instant::now();
    let mut outcome = Outcome::new(mutant, Fate::Survived);
    for (judge, limits) in judges.iter().zip(limits) {
        if outcome.hear(judge.name, trial::hear(judge, on, *limits, scratch)?) {
            break;
        }
    }
    outcome.seconds = begin.elapsed().as_secs_f64();
    Ok(outcome)
}

/// A mutant that could not be woven in, built alone: for one judge after the other, since the first is the fastest to build.
fn alone(plain: &Tree, mutant: &Mutant, limits: &[Limits], work: &Path) -> Result<Outcome> {
    plain.write_plain(mutant)?;
    let mut outcome = Outcome::new(mutant, Fate::NotJudged);
    for (at, limits) in limits.iter().enumerate() {
        let next = judges::build(plain, at..at + 1)?;
        outcome = judge(mutant, 0, &next, &[*limits], &work.join("scratch-alone"))?;
        if outcome.fate != Fate::Survived {
            break;
        }
    }
    eprintln!("{:?} {}: {}", outcome.fate, outcome.judge, mutant.key);
    Ok(outcome)
}

/// What several threads bring before one judge, one mutant after the other.
struct Hearing<'a> {
    judge: &'a Judge,
    limits: Limits,
    ids: &'a HashMap<Key, u32>,
    next: AtomicUsize,
    /// What has become of mutants, and those that this judge has not noticed.
    kept: Mutex<(HashMap<Key, Outcome>, Vec<Outcome>)>,
    kept_at: &'a Path,
    error: Mutex<Option<anyhow::Error>>,
}

impl Hearing<'_> {
    fn work(&self, mutants: &[Outcome], scratch: &Path) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = mutants.get(at) else { return };
            let begin = Instant::now();
            let mut outcome = mutant.clone();
            let key = outcome.key();
            let sentence = trial::hear(self.judge, self.ids[&key], self.limits, scratch);
            outcome.seconds += begin.elapsed().as_secs_f64();
            let noticed = match sentence {
                Ok(sentence) => outcome.hear(self.judge.name, sentence),
                Err(error) => {
                    *self.error.lock().expect("no thread has panicked") = Some(error);
                    self.next.store(mutants.len(), Ordering::Relaxed);
                    return;
                }
            };
            let (seconds, by) = (outcome.seconds, self.judge.name);
            let said = if noticed { format!("{:?}", outcome.fate) } else { "not noticed".into() };
            eprintln!("{by} {}/{} {seconds:.1} s {said}: {key}", at + 1, mutants.len());
            let mut kept = self.kept.lock().expect("no thread has panicked");
            if noticed {
                kept.0.insert(key, outcome);
            } else {
                // Until the last one has heard it.
                kept.0.insert(key, outcome.clone());
                kept.1.push(outcome);
            }
            // A run of hours should not be lost with its last minute.
            if at.is_multiple_of(20) {
                let _ = outcome::save(self.kept_at, kept.0.values());
            }
        }
    }
}

fn report(outcomes: &[Outcome], known: &Known, mutants: &[Mutant]) {
    println!("\n{}", report::table(outcomes));
    for outcome in outcomes.iter().filter(|outcome| outcome.fate == Fate::Survived) {
        let why = known.kind(&outcome.key()).map_or("NO REASON".to_string(), |kind| format!("{kind:?}"));
        println!("survived, {why}: {} (line {})", outcome.key(), outcome.line);
    }
    let unjudged = mutants.len() - outcomes.len();
    if unjudged > 0 {
        println!("{unjudged} mutants are in no part that was selected");
    }
}
