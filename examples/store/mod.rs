//! What both examples share: a store of sensors that have names.

use std::io;
use std::sync::Arc;
use tidewall::disk::{Disk, OpenMode, RealDisk};
use tidewall::{Config, Engine};

/// A directory with the names of sensors, and in it one with their points.
pub struct Store {
    pub engine: Engine,
    /// The sensor at place n has tag n + 1; a name never moves.
    pub names: Vec<String>,
}

/// One name a line.
pub const NAMES: &str = "names";

impl Store {
    pub fn open(dir: &str) -> Result<Store, Box<dyn std::error::Error>> {
        let points = RealDisk::new(format!("{dir}/points"))?;
        // For a small machine: 8 MiB of log, where the default reserves 256.
        let config = Config { segment_bytes: 2 << 20, chunk_bytes: 16 << 20, ..Config::default() };
        // First, since it refuses a second process, which must not touch the names.
        let engine = Engine::open(Arc::new(points), config)?;
        let dir = RealDisk::new(dir)?;
        let names = if dir.list()?.iter().any(|name| name == NAMES) { read(&dir)? } else { Vec::new() };
        Ok(Store { engine, names })
    }

    pub fn tag(&self, name: &str) -> Option<u32> {
        Some(self.names.iter().position(|known| known == name)? as u32 + 1)
    }
}

fn read(dir: &RealDisk) -> io::Result<Vec<String>> {
    let file = dir.open(NAMES, OpenMode::Read)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_at(0, &mut bytes)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970");
    since.as_micros() as i64
}
