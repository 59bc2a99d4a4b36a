//! The plain tests that `sim shrink` ends with: they compile with the engine alone, fail with the bug, and pass without.

use std::path::{Path, PathBuf};
use std::process::Command;
use tidewall::plant::Bug;
use tidewall_sim::choice::Tape;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::plain::{self, LINES, PlainTest};
use tidewall_sim::runner::{self, Campaign};
use tidewall_sim::scenario::Setting;
use tidewall_sim::shrink::shrink;

/// The smallest run that a planted bug breaks, and the setting of it.
fn smallest(bug: Bug, driver: Driver) -> (Tape, Setting<'static>, String) {
    let setting = Setting { plant: Some(bug), driver, ..Setting::default() };
    let sum =
        runner::run(&Campaign::first(20_000, setting), |_| {}, |seed| panic!("seed {seed} does not end"));
    let seed = sum.failures.first().unwrap_or_else(|| panic!("{} survives", bug.name())).seed;
    let tape = runner::run_seed(seed, setting).tape;
    let shrunk = shrink(tape, setting, 6000, |_| panic!("a candidate does not end")).expect("it fails");
    println!("{:<3} seed {seed}: {shrunk}", bug.name());
    (shrunk.outcome.tape, setting, shrunk.violation.to_string())
}

/// The folder in which the engine lies that this very test was linked with.
fn deps() -> PathBuf {
    std::env::current_exe().expect("a test has a file").parent().expect("in a folder").to_path_buf()
}

/// The engine's libraries there, the newest first.
fn engines() -> Vec<PathBuf> {
    let files = std::fs::read_dir(deps()).expect("it can be listed").map(|entry| entry.unwrap().path());
    let is_engine = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("libtidewall-") && name.ends_with(".rlib")
    };
    let mut engines: Vec<_> = files.filter(is_engine).collect();
    engines.sort_by_key(|path| std::cmp::Reverse(path.metadata().and_then(|file| file.modified()).unwrap()));
    engines
}

/// Compiles a test with the engine and nothing else; one of the engine's libraries has the feature `plant`.
fn compiled(dir: &Path, name: &str, text: &str) -> PathBuf {
    let (source, program) = (dir.join(format!("{name}.rs")), dir.join(name));
    std::fs::write(&source, text).unwrap();
    let mut said = String::new();
    for engine in engines() {
        let mut rustc = Command::new(option_env!("RUSTC").unwrap_or("rustc"));
        rustc.args(["--edition", "2024", "--test", "-D", "warnings", "-o"]).args([&program, &source]);
        rustc.arg("--extern").arg(format!("tidewall={}", engine.display()));
        rustc.arg("-L").arg(format!("dependency={}", deps().display()));
        let output = rustc.output().expect("the compiler starts");
        if output.status.success() {
            return program;
        }
        said += &String::from_utf8_lossy(&output.stderr);
    }
    panic!("{name} does not compile:\n{text}\n{said}");
}

/// Whether a compiled test passes, and what it says.
fn passes(program: &Path) -> (bool, String) {
    let output = Command::new(program).env_remove("RUST_BACKTRACE").output().expect("it starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_plain(bug: Bug, test: &PlainTest, says: &str) {
    let (name, text) = (bug.name(), &test.text);
    println!("{name}, {} lines, {}:\n{text}", test.lines(), test.form);
    assert!(test.lines() <= LINES, "{name}: {} lines", test.lines());
    assert!(!text.contains("tidewall_sim"), "{name} needs the test bed");
    let dir = tempfile::tempdir().unwrap();
    let (fails, said) = passes(&compiled(dir.path(), "planted", text));
    assert!(!fails && said.contains("panicked") && said.contains(says), "{name} does not fail so:\n{said}");
    let planted = |line: &&str| line.contains("tidewall::plant::set");
    assert_eq!(text.lines().filter(planted).count(), 1, "{name}: one line plants the bug");
    let sound: Vec<_> = text.lines().filter(|line| !planted(line)).collect();
    let (passes, said) = passes(&compiled(dir.path(), "sound", &sound.join("\n")));
    assert!(passes, "{name} fails without the bug, too:\n{said}");
}

/// One of each kind of failure, and what its test must say when it fails.
const KINDS: &[(Bug, &str)] = &[
    // Acked points are gone after a power cut.
    (Bug::F1, ""),
    (Bug::W4, ""),
    // Points come back that nobody wrote, or that were overwritten.
    (Bug::F6, ""),
    (Bug::W6, ""),
    // The store does not open, or is taken for a new one.
    (Bug::N1, ""),
    (Bug::F13, ""),
    // What becomes of I/O errors.
    (Bug::I9, ""),
    (Bug::W18, ""),
    // Damage at rest is not noticed.
    (Bug::F7, ""),
];

#[test]
fn a_planted_bug_becomes_a_test_that_fails_with_it_and_passes_without() {
    for &(bug, says) in KINDS {
        let (tape, setting, violation) = smallest(bug, Driver::Sequential);
        let test = plain::of_tape(&tape, setting, "shrunk");
        let test = test.unwrap_or_else(|why| panic!("{}: {violation}: {why}", bug.name()));
        is_plain(bug, &test, says);
        assert_eq!(plain::of_tape(&tape, setting, "shrunk"), Ok(test), "the same each time");
    }
}

#[test]
fn a_counterexample_of_the_explorer_becomes_a_test_too() {
    let (tape, setting, violation) = smallest(Bug::F1, Driver::Exhaustive);
    let test = plain::of_tape(&tape, setting, "shrunk").unwrap_or_else(|why| panic!("{violation}: {why}"));
    is_plain(Bug::F1, &test, "");
}

#[test]
fn where_there_is_no_plain_test_it_says_why() {
    let threads = Setting { driver: Driver::Threads, ..Setting::default() };
    let why = plain::of_tape(&Tape::default(), threads, "threads").unwrap_err();
    assert!(why.contains("threads driver"), "{why}");
    let why = plain::of_tape(&Tape::default(), Setting::default(), "sound").unwrap_err();
    assert_eq!(why, "the run does not fail");
    let outcome = drivers::run(tidewall_sim::choice::Chooser::from_tape(Tape::default()), Setting::default());
    assert_eq!(outcome.violation, None);
}
