//! A logger that survives being unplugged.
//!
//! ```text
//! cargo run --release --example sensor_logger -- DIR --demo          three sensors of its own, until it is killed
//! cargo run --release --example sensor_logger -- DIR [FILE]          lines from a file, or from another program
//! ```
//!
//! A line is `name=value`, measured now, or `time,name,value` with the time in microseconds since 1970, as `read_back` prints it.
//! Every second, and every `--points N` (1,000), it makes durable what it has and says so. Ctrl-C, `kill -9` or the plug: there is
//! nothing to tidy up, and what it has called safe is there at the next start.

mod store;

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use store::{NAMES, Store, now_us};
use tidewall::Point;
use tidewall::disk::{Disk, OpenMode, RealDisk};

/// How much may be lost at most, in time.
const SYNC_EVERY: Duration = Duration::from_secs(1);

struct Args {
    dir: String,
    /// How much may be lost at most, in points.
    points: u64,
    source: Source,
}

enum Source {
    Stdin,
    File(String),
    Demo,
}

fn args() -> Option<Args> {
    let mut words = env::args().skip(1);
    let mut args = Args { dir: words.next()?, points: 1000, source: Source::Stdin };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--points" => args.points = words.next()?.parse().ok()?,
            "--demo" => args.source = Source::Demo,
            file => args.source = Source::File(file.to_owned()),
        }
    }
    Some(args)
}

fn main() -> ExitCode {
    let Some(args) = args() else {
        eprintln!("usage: sensor_logger DIR [--points N] [--demo | FILE]");
        return ExitCode::from(2);
    };
    match log(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn log(args: Args) -> Result<(), Box<dyn Error>> {
    let mut store = Store::open(&args.dir)?;
    let dir = RealDisk::new(&args.dir)?;
    say(&found(&store))?;
    let lines = lines(args.source)?;
    let (mut accepted, mut safe, mut next_sync) = (0, 0, Instant::now() + SYNC_EVERY);
    loop {
        match lines.recv_timeout(next_sync.saturating_duration_since(Instant::now())) {
            Ok(line) => match parse(&line) {
                Some((ts_us, name, value)) => {
                    let tag = match store.tag(name) {
                        Some(tag) => tag,
                        None => add(name, &mut store, &dir)?,
                    };
                    patiently(|| store.engine.write(Point::new(tag, ts_us, value)))?;
                    accepted += 1;
                }
                None => eprintln!("this is no measurement: {line}"),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if accepted - safe >= args.points || Instant::now() >= next_sync {
            if accepted > safe {
                patiently(|| store.engine.sync())?;
                safe = accepted;
                say(&format!("safe {safe}"))?;
            }
            next_sync = Instant::now() + SYNC_EVERY;
        }
    }
    patiently(|| store.engine.close())?;
    say(&format!("safe {accepted}, and closed"))
}

/// A new sensor. Its name is on the disk before the first point of it can be: a durable point whose name is lost would be nobody's.
fn add(name: &str, store: &mut Store, dir: &RealDisk) -> io::Result<u32> {
    store.names.push(name.to_owned());
    // Never written in place: whenever the power fails, one of the two files is whole.
    let file = dir.open("names.new", OpenMode::Create)?;
    file.write_at(0, (store.names.join("\n") + "\n").as_bytes())?;
    file.sync()?;
    dir.rename("names.new", NAMES)?;
    dir.sync_dir()?;
    Ok(store.names.len() as u32)
}

/// What the last end, whatever it was, has left.
fn found(store: &Store) -> String {
    let report = store.engine.recovery_report();
    if report.created {
        return "a new store".into();
    }
    let mut text = format!(
        "{} sensors, {} points in blocks, {} more from the log",
        store.names.len(),
        report.block_points,
        report.points_replayed
    );
    if report.points_rewritten > 0 {
        text += &format!(", {} of which nobody was told that they were safe", report.points_rewritten);
    }
    for (file, offset) in &report.torn_tails {
        text += &format!("; the last write into {file} stopped at byte {offset}");
    }
    text
}

/// A full disk, a loose cable: nothing that was accepted is lost, so it waits and tries again. Any other error ends the program;
/// whoever starts it again opens the store anew.
fn patiently(mut call: impl FnMut() -> tidewall::Result<()>) -> tidewall::Result<()> {
    loop {
        match call() {
            Err(error) if error.is_transient() => eprintln!("{error}; trying again"),
            done => return done,
        }
        thread::sleep(SYNC_EVERY);
    }
}

/// A whole line at once, so that a reader never takes a part of a number for one.
fn say(line: &str) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    Ok(out.flush()?)
}

fn parse(line: &str) -> Option<(i64, &str, f64)> {
    let (ts_us, name, value) = match line.split_once('=') {
        Some((name, value)) => (now_us(), name, value),
        None => {
            let (time, rest) = line.split_once(',')?;
            let (name, value) = rest.split_once(',')?;
            (time.trim().parse().ok()?, name, value)
        }
    };
    let name = name.trim();
    // A comma would make two columns of it when it is read back.
    (!name.is_empty() && !name.contains(',')).then_some((ts_us, name, value.trim().parse().ok()?))
}

/// Lines from a thread of their own, so that a source that says nothing delays no sync.
fn lines(source: Source) -> io::Result<Receiver<String>> {
    // Bounded: a source that is faster than the disk waits.
    let (sender, receiver) = sync_channel(1024);
    let input: Box<dyn BufRead + Send> = match source {
        Source::Stdin => Box::new(BufReader::new(io::stdin())),
        Source::File(name) => Box::new(BufReader::new(File::open(name)?)),
        Source::Demo => {
            thread::spawn(move || demo(&sender));
            return Ok(receiver);
        }
    };
    thread::spawn(move || {
        for line in input.lines() {
            match line.map(|line| sender.send(line)) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(error) => return eprintln!("the input: {error}"),
            }
        }
    });
    Ok(receiver)
}

/// A pump that runs warm, a tank that fills and empties, and a motor that trembles, a hundred times a second.
fn demo(sender: &SyncSender<String>) {
    for tick in 0u64.. {
        let seconds = tick as f64 / 100.0;
        let readings = [
            ("pump.temperature", 60.0 + 8.0 * (seconds / 20.0).sin()),
            ("tank.level", 2.0 + (seconds / 45.0 % 1.0)),
            ("motor.vibration", 0.3 * (seconds * 31.0).sin() * (seconds * 7.0).cos()),
        ];
        for (name, value) in readings {
            if sender.send(format!("{name}={value:.2}")).is_err() {
                return;
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}
