//! One engine at a time has a directory open: in this process, in another one, and after the other one's sudden death.
//!
//! This test has a file of its own because a child that is being started shares all open files of its parent for a
//! moment: in a process that runs other tests at the same time, an engine dropped in that moment would stay locked.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use tidewall::disk::RealDisk;
use tidewall::{Config, Engine, Error, Point, Result};

const NAME: &str = "one_engine_at_a_time_has_a_directory_open_whatever_process_it_is_in";
const DIR: &str = "TIDEWALL_LOCK_TEST_DIR";

fn open(dir: &Path) -> Result<Engine> {
    let config = Config {
        segment_bytes: 64 << 10,
        segments: 2,
        chunk_bytes: 128 << 10,
        flush_delay_ms: None,
        ..Config::default()
    };
    Engine::open(Arc::new(RealDisk::new(dir).unwrap()), config)
}

/// The other process: opens the directory, says what came of it, and keeps what it has until its input ends.
fn be_the_other_process(dir: &Path) {
    let opened = open(dir);
    let answer = match &opened {
        Ok(engine) => {
            let written = engine.query(1, ..).unwrap().len() as i64;
            engine.write(Point::new(1, written, 0.5)).unwrap();
            engine.sync().unwrap();
            "opened"
        }
        Err(Error::Locked) => "locked",
        Err(other) => panic!("{other}"),
    };
    // The first newline ends whatever the test harness has put on this line.
    println!("\nanswer {answer}");
    io::stdout().flush().unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Other {
    process: Child,
    /// Kept open to its end: a process that cannot print fails.
    output: BufReader<ChildStdout>,
    answer: String,
}

impl Other {
    fn start(dir: &Path) -> Other {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.by_ref().lines().map_while(|line| line.ok());
        let answer = lines.find_map(|line| Some(line.strip_prefix("answer ")?.to_owned()));
        Other { answer: answer.expect("the other process answers"), output, process }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        self.output.read_to_end(&mut Vec::new()).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
fn one_engine_at_a_time_has_a_directory_open_whatever_process_it_is_in() {
    if let Some(dir) = env::var_os(DIR) {
        return be_the_other_process(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let points = |count: i64| (0..count).map(|ts_us| Point::new(1, ts_us, 0.5)).collect::<Vec<_>>();

    let ours = open(dir).unwrap();
    assert!(matches!(open(dir), Err(Error::Locked)), "by this process");
    let other = Other::start(dir);
    assert_eq!(other.answer, "locked");
    other.end();

    // A closed engine no longer holds it, though its handle is still there.
    ours.close().unwrap();
    let other = Other::start(dir);
    assert_eq!(other.answer, "opened");
    assert!(matches!(open(dir), Err(Error::Locked)), "by the other process");
    other.end();

    // Nor does a dropped one, nor a process that ended without closing anything.
    drop(open(dir).unwrap());
    let other = Other::start(dir);
    assert_eq!(other.answer, "opened");
    assert!(matches!(open(dir), Err(Error::Locked)));
    other.kill();
    let ours = open(dir).unwrap();
    assert_eq!(ours.query(1, ..).unwrap(), points(2), "what the other process synced, twice");
}
