//! What a process has used so far, and what lies in a directory.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

/// A moment: differences of two are what the work between them took.
#[derive(Clone, Copy)]
pub struct Moment {
    at: Instant,
    cpu_us: i64,
}

/// What some work took.
#[derive(Clone, Copy)]
pub struct Took {
    /// Wall time.
    pub seconds: f64,
    /// User and system time of all threads of the process.
    pub cpu_seconds: f64,
}

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
        let cpu_us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Moment { at: Instant::now(), cpu_us }
    }

    /// User and system time of all threads until then.
    pub fn cpu_seconds(self) -> f64 {
        self.cpu_us as f64 / 1e6
    }

    /// What has been used since.
    pub fn took(self) -> Took {
        let now = Moment::now();
        Took {
            seconds: (now.at - self.at).as_secs_f64(),
            cpu_seconds: (now.cpu_us - self.cpu_us) as f64 / 1e6,
        }
    }
}

/// Bytes that a process has written.
#[derive(Clone, Copy)]
pub struct Written {
    /// What it has made the kernel write to storage: pages made dirty, mapped files included. A page that is made dirty
    /// again before it was written counts once; one that is part of a large folio may count as all of it.
    pub storage_bytes: f64,
    /// What it has handed to write calls: mapped files are not in it, and every byte counts each time.
    pub call_bytes: f64,
}

impl Written {
    /// Until now.
    pub fn now() -> Written {
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
        Written {
            storage_bytes: field("write_bytes: ").unwrap_or(f64::NAN),
            call_bytes: field("wchar: ").unwrap_or(f64::NAN),
        }
    }
}

/// Bytes allocated by the files below a directory whose names are wanted.
pub fn allocated_bytes(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            sum += allocated_bytes(&entry.path(), wanted);
        } else if wanted(&entry.file_name().to_string_lossy()) {
            sum += metadata.blocks() * 512;
        }
    }
    sum
}

/// What some points cost: the numbers that every bench prints.
#[derive(Clone, Copy)]
pub struct Cost {
    /// How many there were.
    pub points: f64,
    /// What they took.
    pub took: Took,
    /// Bytes that went to storage for them.
    pub bytes: f64,
}

impl Cost {
    /// Measures work on this many points.
    pub fn of(points: usize, work: impl FnOnce()) -> Cost {
        let (written, begin) = (Written::now(), Moment::now());
        work();
        let took = begin.took();
        let bytes = Written::now().storage_bytes - written.storage_bytes;
        Cost { points: points as f64, took, bytes }
    }
}

/// The columns of [`row`].
pub fn head(what: &str) {
    println!("\n{what:<52} {:>10} {:>12} {:>14} {:>14}", "ms", "points/s", "CPU ns a point", "bytes a point");
}

/// Prints the medians of one case.
pub fn row(name: &str, costs: &[Cost]) {
    let of = |part: &dyn Fn(&Cost) -> f64| crate::median(costs.iter().map(part).collect());
    println!(
        "{name:<52} {:>10.2} {:>12.0} {:>14.1} {:>14.1}",
        of(&|cost| cost.took.seconds * 1e3),
        of(&|cost| cost.points / cost.took.seconds),
        of(&|cost| cost.took.cpu_seconds * 1e9 / cost.points),
        of(&|cost| cost.bytes / cost.points)
    );
}
