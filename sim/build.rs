//! Hashes the sources, so that a summary can say what it was measured on and shards of two builds are not added up.
//!
//! Sources rather than a commit: a container or an archive has no repository, and a changed working copy has no commit.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let mut paths = Vec::new();
    for root in ["src", "../src", "../Cargo.lock"] {
        // Not all are there when the package is built on its own.
        if Path::new(root).exists() {
            println!("cargo::rerun-if-changed={root}");
            collect(Path::new(root), &mut paths);
        }
    }
    paths.sort();
    let mut hash = FNV_OFFSET;
    for path in paths {
        let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        hash = fnv(fnv(hash, path.to_string_lossy().as_bytes()), &content);
    }
    println!("cargo::rustc-env=TIDEWALL_SOURCES={hash:016x}");
}

fn collect(path: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(path) else { return out.push(path.into()) };
    entries.flatten().for_each(|entry| collect(&entry.path(), out));
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
