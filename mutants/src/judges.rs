//! The judges: what a mutant has to get past to survive, the cheapest first.

use crate::tree::Tree;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::ops::Range;
use std::path::PathBuf;

/// A program that must end with 0.
#[derive(Clone, Debug)]
pub struct Judge {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Where tests find their files.
    pub dir: PathBuf,
}

/// What is asked of whom, in this order.
enum Call {
    /// Unit tests of the engine.
    Lib,
    /// An integration test of the engine.
    Test(&'static str),
    /// A test of the member crate `tidewall-sim`.
    SimTest(&'static str),
    /// The command `sim`.
    Sim(&'static [&'static str]),
}

const CALLS: &[(&str, Call)] = &[
    ("unit tests", Call::Lib),
    ("sequential", Call::Sim(&["run", "--seeds", "500", "--jobs", "1"])),
    ("format", Call::Test("format")),
    ("prop_formats", Call::Test("prop_formats")),
    ("regressions", Call::Test("regressions")),
    ("lock", Call::Test("lock")),
    ("lock_order", Call::Test("lock_order")),
    ("disk_conformance", Call::Test("disk_conformance")),
    ("api", Call::Test("api")),
    ("fuzz", Call::SimTest("fuzz")),
    ("kill", Call::Test("kill")),
    ("threads", Call::Sim(&["run", "--driver", "threads", "--seeds", "300", "--jobs", "1"])),
];

#[derive(Deserialize)]
struct Artifact {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// How many there are.
pub const COUNT: usize = CALLS.len();

/// Builds what some of the judges need.
pub fn build(tree: &Tree, which: Range<usize>) -> Result<Vec<Judge>> {
    let calls = &CALLS[which];
    let mut tests = vec!["test", "--no-run", "--message-format=json", "-p", "tidewall"];
    let mut sim_tests = vec!["test", "--no-run", "--message-format=json", "-p", "tidewall-sim"];
    let mut sim = vec!["build", "--message-format=json", "-p", "tidewall-sim"];
    for (_, call) in calls {
        match call {
            Call::Lib => tests.push("--lib"),
            Call::Test(name) => tests.extend(["--test", name]),
            Call::SimTest(name) => sim_tests.extend(["--test", name]),
            // A build with checks: of locks, and of numbers that overflow.
            Call::Sim(_) if sim.contains(&"--bin") => {}
            Call::Sim(_) => sim.extend(["--bin", "sim"]),
        }
    }
    let mut built = Vec::new();
    // Without a target named, cargo would build all that there are.
    let names_one = |args: &&Vec<&str>| args.iter().any(|arg| ["--lib", "--test", "--bin"].contains(arg));
    for args in [tests, sim_tests, sim].iter().filter(names_one) {
        let output = tree.cargo().args(args).output().context("cargo")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo {}:\n{said}", args.join(" "));
        let lines = String::from_utf8_lossy(&output.stdout);
        built.extend(lines.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok()));
    }
    let find = |kind: &str, name: &str| {
        let is = |target: &Target| target.name == name && target.kind.iter().any(|own| own == kind);
        let mut found = built.iter().filter(|artifact| artifact.target.as_ref().is_some_and(is));
        match found.find_map(|artifact| artifact.executable.clone()) {
            Some(program) => Ok(program),
            None => bail!("cargo has built no {kind} {name}"),
        }
    };
    let of = |(name, call): &(&'static str, Call)| {
        let (program, args, dir) = match call {
            Call::Lib => (find("lib", "tidewall")?, &[][..], tree.dir.clone()),
            Call::Test(test) => (find("test", test)?, &[][..], tree.dir.clone()),
            Call::SimTest(test) => (find("test", test)?, &[][..], tree.dir.join("sim")),
            Call::Sim(args) => (find("bin", "sim")?, *args, tree.dir.clone()),
        };
        let args = args.iter().map(|arg| arg.to_string()).collect();
        Ok(Judge { name, program, args, dir })
    };
    calls.iter().map(of).collect()
}
