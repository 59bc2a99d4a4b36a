//! The parent: which cells there are, a child for each of them in each round, and what it said.

use crate::cell::{Cell, Work};
use crate::child::SAYS;
use crate::report::{self, Measured};
use crate::stores::{ALL, Kind};
use crate::{Args, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

pub fn run(args: &Args) -> Result<()> {
    let stores: Vec<&Kind> = match args.stores.as_slice() {
        [] => ALL.iter().collect(),
        names => ALL.iter().filter(|kind| names.iter().any(|name| name == kind.name)).collect(),
    };
    if let Some(name) = args.stores.iter().find(|name| ALL.iter().all(|kind| kind.name != **name)) {
        return Err(format!("no store {name} here; --list names them").into());
    }
    let tables = report::tables(args)?;
    if args.list {
        println!("stores: {}", ALL.iter().map(|kind| kind.name).collect::<Vec<_>>().join(","));
        println!("tables: {}", tables.iter().map(|table| table.name).collect::<Vec<_>>().join(","));
        return Ok(());
    }
    let mut measured = Measured::default();
    if let Some(file) = &args.from {
        for line in std::fs::read_to_string(file)?.lines() {
            measured.read(line).ok_or_else(|| format!("{line:?} is no measurement"))?;
        }
    } else {
        std::fs::create_dir_all(&args.dir)?;
        measure(args, &report::cells(&tables, &stores), &mut measured)?;
    }
    print!("{}", report::render(args, &tables, &stores, &measured));
    Ok(())
}

fn measure(args: &Args, cells: &[Cell], measured: &mut Measured) -> Result<()> {
    let mut save = match &args.save {
        Some(file) => Some(File::options().create(true).append(true).open(file)?),
        None => None,
    };
    let begin = Instant::now();
    for round in 1..=args.rounds {
        for (number, cell) in cells.iter().enumerate() {
            // What has failed once will not get a median.
            if measured.failed(cell).is_some() {
                continue;
            }
            let line = match measure_cell(args, cell) {
                Ok(said) => Measured::line(cell, &said.join(" ")),
                Err(reason) => Measured::line(cell, &format!("FAILED {reason}")),
            };
            measured.read(&line).ok_or_else(|| format!("{line:?} is no measurement"))?;
            if let Some(file) = &mut save {
                writeln!(file, "{line}")?;
            }
            eprintln!("[{round}/{} {:>3}/{} {:>5.0} s] {line}", args.rounds, number + 1, cells.len(), {
                begin.elapsed().as_secs_f64()
            });
        }
    }
    Ok(())
}

/// Measures a cell once, in a directory of its own.
fn measure_cell(args: &Args, cell: &Cell) -> Result<Vec<String>> {
    let dir = tempfile::tempdir_in(&args.dir)?;
    // What the one before left for later would be written during this one.
    nix::unistd::sync();
    if cell.work == Work::Reopen {
        let crash = Cell { work: Work::Crash, ..cell.clone() };
        let (said, ended) = child(args, &crash, dir.path())?;
        if ended || said != ["synced 1"] {
            return Err("it did not get as far as the crash".into());
        }
    }
    let (said, ended) = child(args, cell, dir.path())?;
    if !ended {
        return Err("the child did not end well".into());
    }
    Ok(said)
}

/// The lines that a child has said, and whether it ended well.
fn child(args: &Args, cell: &Cell, dir: &Path) -> Result<(Vec<String>, bool)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--dir").arg(dir).arg("--jitter-us").arg(args.jitter_us.to_string());
    for trace in &args.traces {
        command.arg("--trace").arg(trace);
    }
    command.arg("--child").args(cell.words());
    // walrus hears in no other way where it is, and not to talk.
    command.env("WALRUS_DATA_DIR", dir).env("WALRUS_QUIET", "1");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let read = |from: &mut dyn Read| {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    std::thread::scope(|scope| {
        let out = scope.spawn(move || read(&mut out));
        let err = scope.spawn(move || read(&mut err));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(POLL);
        };
        let (out, err) = (out.join().expect("no panic"), err.join().expect("no panic"));
        let Some(status) = status else { return Err(format!("not done after {} s", args.timeout).into()) };
        // An abort is what a crash is made of; an exit status is an error that has a message.
        if status.code().is_some_and(|code| code != 0) {
            let last = err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("without a word");
            return Err(last.to_string().into());
        }
        Ok((
            out.lines().filter_map(|line| line.strip_prefix(SAYS)).map(String::from).collect(),
            status.success(),
        ))
    })
}
