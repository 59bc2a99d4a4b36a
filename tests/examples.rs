//! The examples, run as their readers will: the logger is killed while lines pour in, and `read_back` then has to show
//! every line that it had called safe, and nothing that was never said.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

const SENSORS: [&str; 3] = ["pump", "tank", "motor"];
const KILLS: usize = 6;

/// Cargo builds the examples before it runs the tests of a package, but not when it is asked for this test alone.
fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.is_file(),
        "`cargo test` builds the examples; for this test alone, `cargo build --examples` does"
    );
    path
}

/// The time of the `n`th line is `n`, so that what is read back can be told apart.
fn line(n: u64) -> String {
    format!("{n},{},{}", SENSORS[n as usize % SENSORS.len()], n as f64 / 8.0)
}

struct Logger {
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Logger {
    /// Started, and given lines from the `first` on by a thread, until it is gone.
    fn start(dir: &Path, first: u64, last: u64) -> Logger {
        let mut process = Command::new(example("sensor_logger"))
            .arg(dir)
            .args(["--points", "50"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        thread::spawn(move || (first..last).try_for_each(|n| writeln!(input, "{}", line(n))));
        let says = BufReader::new(process.stdout.take().unwrap());
        Logger { process, says }
    }

    /// The next whole line that it prints.
    fn says(&mut self) -> Option<String> {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        Some(line.strip_suffix('\n')?.to_owned())
    }

    /// This many of the lines that this one was given are safe.
    fn safe(&mut self) -> Option<u64> {
        loop {
            if let Some(count) = self.says()?.strip_prefix("safe ") {
                return Some(count.split(',').next().unwrap().parse().unwrap());
            }
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_back(args: &[&str]) -> String {
    let output = Command::new(example("read_back")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_the_logger_called_safe_is_read_back_after_each_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    // Of each life: the first line it was given, and how many were safe.
    let mut lives: Vec<(u64, u64)> = Vec::new();
    let (mut first, mut replayed) = (1, 0);
    for kill in 0..KILLS as u64 {
        let mut logger = Logger::start(dir.path(), first, u64::MAX);
        let found = logger.says().expect("it says what it has found");
        replayed += u64::from(found.contains("more from the log") && !found.contains(" 0 more from the log"));
        let mut safe = 0;
        for _ in 0..1 + 7 * kill {
            safe = logger.safe().expect("it goes on until it is killed");
        }
        logger.process.kill().unwrap();
        // Said before it died, and not read until now.
        while let Some(more) = logger.safe() {
            safe = more;
        }
        lives.push((first, safe));
        // It may have taken lines beyond those; the next life's are far from them.
        first += 10_000_000;
    }
    assert!(replayed as usize >= KILLS - 2, "{replayed} of {KILLS} starts found points in the log");

    let mut shown = BTreeMap::new();
    for name in SENSORS {
        let csv = read_back(&[path, name]);
        let mut rows = csv.lines();
        assert_eq!(rows.next(), Some("time_us,name,value"));
        shown
            .extend(rows.map(|row| (row.split(',').next().unwrap().parse::<u64>().unwrap(), row.to_owned())));
    }
    for (n, row) in &shown {
        assert_eq!(*row, line(*n), "nobody said this");
    }
    for (first, safe) in lives {
        let missing = (first..first + safe).find(|n| !shown.contains_key(n));
        assert_eq!(missing, None, "line {missing:?} was called safe");
    }
}

#[test]
fn an_input_that_ends_is_closed_and_listed_with_its_latest_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut logger = Logger::start(dir.path(), 1, 101);
    assert_eq!(logger.says().as_deref(), Some("a new store"));
    while let Some(said) = logger.says() {
        assert!(said.starts_with("safe "), "{said}");
        if said.ends_with("closed") {
            assert_eq!(said, "safe 100, and closed");
        }
    }
    assert!(logger.process.wait().unwrap().success());

    let list = read_back(&[path]);
    let latest: Vec<_> =
        list.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>()).collect();
    assert_eq!(latest, [["tank", "12.5"], ["motor", "12.25"], ["pump", "12.375"]]);
    let range = read_back(&[path, "tank", "90", "96"]);
    assert_eq!(range, format!("time_us,name,value\n{}\n{}\n", line(91), line(94)));
}
