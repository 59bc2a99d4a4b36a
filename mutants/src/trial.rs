//! One mutant before its judges.

use crate::judges::Judge;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What a judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// It has noticed nothing.
    Green,
    /// It has: the test that failed, or how the process ended.
    Red(String),
    /// It has not ended in time, or has taken more memory or processor time than it may: noticed, too.
    Late,
}

/// What a judge may take. A mutant can make a loop endless, and fill memory or the disk in it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub wall: Duration,
    pub cpu_seconds: u64,
}

const MEMORY_KIB: u64 = 4 << 20;
const FILE_KIB: u64 = 1 << 20;

impl Limits {
    /// For the first look at a judge, with no mutant on.
    pub const FIRST: Limits = Limits { wall: Duration::from_secs(600), cpu_seconds: 600 };

    /// What a judge may take that took so long with no mutant on. Generous as to the time, since who else is at work on the
    /// machine should not decide; processor time tells an endless loop sooner.
    pub fn after(took: Duration) -> Limits {
        Limits {
            wall: Duration::from_secs(20) + 10 * took,
            cpu_seconds: 5 + 3 * took.as_secs_f64().ceil() as u64,
        }
    }
}

/// Lets a judge look at a mutant; at none if `mutant` is 0.
pub fn hear(judge: &Judge, mutant: u32, limits: Limits, scratch: &Path) -> Result<Sentence> {
    let _ = std::fs::remove_dir_all(scratch);
    std::fs::create_dir_all(scratch)?;
    // The shell sets the limits, for itself and so for the judge.
    let limited =
        format!("ulimit -v {MEMORY_KIB} -f {FILE_KIB} -t {} -c 0; exec \"$0\" \"$@\"", limits.cpu_seconds);
    let mut child = Command::new("bash")
        .arg("-c")
        .arg(limited)
        .arg(&judge.program)
        .args(&judge.args)
        .current_dir(&judge.dir)
        .env("CARGO_MANIFEST_DIR", &judge.dir)
        .env("MUTANT", mutant.to_string())
        .env("TMPDIR", scratch)
        // A snapshot that differs is a failure, and nothing to be written down.
        .env("INSTA_UPDATE", "no")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| judge.program.display().to_string())?;
    let failed = watch(&mut child);
    let sentence = wait(&mut child, &failed, limits.wall);
    // Itself, and whatever it has started.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    child.wait()?;
    let _ = std::fs::remove_dir_all(scratch);
    Ok(sentence)
}

/// Whether something of a process group would go on if it was given a processor: on a machine that others keep busy it has
/// not hung, it has not had its turn. Says no where nobody can tell.
fn is_starved(group: u32) -> bool {
    let look = || {
        std::thread::sleep(Duration::from_millis(20));
        let Ok(processes) = std::fs::read_dir("/proc") else { return false };
        processes.flatten().any(|process| is_runnable(&process.path(), group))
    };
    (0..10).filter(|_| look()).count() > 5
}

/// Whether a process is of this group and has a thread that is ready to run.
fn is_runnable(process: &Path, group: u32) -> bool {
    // `pid (name) state parent group …`
    let fields = |path: PathBuf| -> Option<(String, u32)> {
        let stat = std::fs::read_to_string(path).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.to_string();
        Some((state, fields.nth(1)?.parse().ok()?))
    };
    let Some((_, own)) = fields(process.join("stat")) else { return false };
    let Ok(threads) = std::fs::read_dir(process.join("task")) else { return false };
    // Running, at the disk, or stopped from outside.
    let ready = |thread: PathBuf| {
        fields(thread.join("stat")).is_some_and(|(state, _)| ["R", "D", "T"].contains(&&*state))
    };
    own == group && threads.flatten().any(|thread| ready(thread.path()))
}

/// Names the first test that fails: there is no need to wait for the others.
fn watch(child: &mut Child) -> Receiver<String> {
    let (found, failed) = channel();
    let output = child.stdout.take().expect("it is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(test) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
                let _ = found.send(test.to_string());
            }
        }
    });
    failed
}

fn wait(child: &mut Child, failed: &Receiver<String>, wall: Duration) -> Sentence {
    let (mut waited, mut deadline, mut last) = (Duration::ZERO, wall, Instant::now());
    loop {
        // If all of this has been stopped for a while, that time was nobody's.
        waited += last.elapsed().min(Duration::from_secs(1));
        last = Instant::now();
        if let Ok(test) = failed.recv_timeout(Duration::from_millis(5)) {
            return Sentence::Red(test);
        }
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Sentence::Green,
            Ok(Some(status)) => {
                use std::os::unix::process::ExitStatusExt;
                return match (failed.recv_timeout(Duration::from_millis(100)), status.signal()) {
                    (Ok(test), _) => Sentence::Red(test),
                    (_, Some(signal))
                        if signal == Signal::SIGXCPU as i32 || signal == Signal::SIGKILL as i32 =>
                    {
                        Sentence::Late
                    }
                    _ => Sentence::Red(status.to_string()),
                };
            }
            Ok(None) => {}
            Err(error) => return Sentence::Red(error.to_string()),
        }
        if waited > deadline {
            if !is_starved(child.id()) || waited > wall * 20 {
                return Sentence::Late;
            }
            deadline = waited + wall / 4;
        }
        // The channel is closed once the output is: then it no longer waits.
        std::thread::sleep(Duration::from_millis(5));
    }
}
