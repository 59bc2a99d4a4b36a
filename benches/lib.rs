//! What the benches have in common, and with `compare/` too: points, and what they cost.

pub mod data;
pub mod measure;
#[allow(dead_code)]
#[path = "../sim/src/trace.rs"]
mod trace;

use std::io;
use std::sync::Arc;
use std::time::Duration;
use tidewall::disk::{Disk, DiskFile, OpenMode, RealDisk};

/// A real directory whose syncs take a while longer.
pub struct Slow {
    /// The directory.
    pub disk: RealDisk,
    /// How much longer each sync takes.
    pub sync: Duration,
}

impl Slow {
    fn wait(&self) {
        if !self.sync.is_zero() {
            std::thread::sleep(self.sync);
        }
    }
}

struct SlowFile {
    file: Arc<dyn DiskFile>,
    sync: Duration,
}

impl Disk for Slow {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile { file: self.disk.open(name, mode)?, sync: self.sync }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.wait();
        self.disk.sync_dir()
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, buf)
    }

    fn sync(&self) -> io::Result<()> {
        if !self.sync.is_zero() {
            std::thread::sleep(self.sync);
        }
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

/// Processor seconds that this process has used, all threads.
pub fn cpu_seconds() -> f64 {
    measure::Moment::now().cpu_seconds()
}

/// Processor seconds that the calling thread has used.
pub fn thread_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// The middle of some measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A number on the command line, by name: `--points 1000000`.
pub fn argument(name: &str, default: u64) -> u64 {
    let mut words = std::env::args().skip_while(|word| word != &format!("--{name}"));
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or(default)
}

/// A size by name, and a thousandth of it when nobody has asked for a bench: `cargo test --benches` only sees that it works.
pub fn size(name: &str, default: u64) -> usize {
    let benched = std::env::args().any(|word| word == "--bench");
    argument(name, if benched { default } else { (default / 1000).max(1) }) as usize
}
