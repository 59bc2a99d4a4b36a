//! The corpus: inputs that a fuzzer starts from, with their origins. `fuzz/corpus/TARGET/` holds them; what a fuzzer has
//! found since stands beside them, under a name that says what it was.

use super::Target;
use super::open::image;
use crate::choice::SplitMix;
use std::io;
use std::path::{Path, PathBuf};
use tidewall::store::{block, chunk, manifest};
use tidewall::wal::frame;

/// The first inputs of a target, by name: cut from the files of small stores that the engine wrote on a simulated disk,
/// and for tapes, noise.
pub fn seeds(target: Target) -> Vec<(String, Vec<u8>)> {
    match target {
        Target::Frame => frames(),
        Target::Segment => segments(),
        Target::Block => blocks(),
        Target::Manifest => files(|name| name == manifest::NAME),
        Target::Open => changes(),
        Target::Crash => noise(),
    }
}

/// The inputs below a corpus directory, sorted by name.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn load(dir: &Path, target: Target) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir.join(target.name()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(&path).map(|bytes| (path, bytes))).collect()
}

fn files(wanted: impl Fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for streams in [1, 3] {
        for (name, bytes) in image::sound(streams).iter().filter(|(name, _)| wanted(name)) {
            found.push((format!("store-{streams}-{name}"), bytes.clone()));
        }
    }
    found
}

/// Every place where something begins with this magic, up to the next one.
fn cut(magic: [u8; 4], wanted: impl Fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for (name, bytes) in files(wanted) {
        let starts: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&magic)).collect();
        for (start, end) in starts.iter().zip(starts[1.min(starts.len())..].iter().chain([&bytes.len()])) {
            found.push((format!("{name}-at-{start}"), bytes[*start..*end].to_vec()));
        }
    }
    found
}

fn is_segment(name: &str) -> bool {
    name.starts_with("wal-")
}

fn frames() -> Vec<(String, Vec<u8>)> {
    let mut seeds = cut(frame::MAGIC, is_segment);
    seeds.truncate(6);
    seeds.extend(cut(frame::MAGIC_MIXED, is_segment).into_iter().take(6));
    seeds.push(("zeros".into(), vec![0; 64]));
    // What is made of bytes for a round trip is 29 bytes of header and then entries of 17.
    let mut disguised = vec![1; 29];
    for word in seeds[0].1.chunks_exact(8) {
        disguised.extend_from_slice(word);
        disguised.extend([0; 9]);
    }
    seeds.push(("a-frame-as-times".into(), disguised));
    seeds
}

fn segments() -> Vec<(String, Vec<u8>)> {
    let mut seeds = files(is_segment);
    let all: Vec<u8> = seeds.iter().take(2).flat_map(|(_, bytes)| bytes.clone()).collect();
    let mut torn = seeds[0].1.clone();
    torn[512..1024].fill(0);
    seeds.push(("two-in-a-row".into(), all));
    seeds.push(("a-sector-lost".into(), torn));
    seeds
}

fn blocks() -> Vec<(String, Vec<u8>)> {
    let mut seeds = cut(block::MAGIC, |name| chunk::number(name).is_some());
    seeds.truncate(6);
    seeds.extend(cut(frame::MAGIC_MIXED, is_segment).into_iter().take(6));
    seeds
}

/// Changes of a store, as the target `open` reads them.
fn changes() -> Vec<(String, Vec<u8>)> {
    let manifest = &image::sound(1)[manifest::NAME];
    let mut replaced = vec![8, 128, 1];
    replaced.extend((manifest.len() as u16).to_le_bytes());
    replaced.extend(manifest);
    // Files in order: LOCK MANIFEST chunk-… wal-…
    let overwrite = |flags: u8, file: u8, at: u16, noise: &[u8]| {
        let mut bytes = vec![flags, file, 0];
        bytes.extend(at.to_le_bytes());
        bytes.push(noise.len() as u8);
        bytes.extend(noise);
        bytes
    };
    let last = image::sound(1).len() as u8 - 1;
    vec![
        ("nothing-1".into(), vec![0]),
        ("nothing-3".into(), vec![2]),
        ("no-file".into(), vec![8]),
        ("a-manifest-alone".into(), replaced),
        ("noise-in-the-manifest".into(), overwrite(0, 1, 40, b"\x05\xff\xff\xff\xff")),
        ("noise-in-a-chunk".into(), overwrite(0, 2, 600, b"\xff")),
        ("noise-in-a-segment".into(), overwrite(1, last, 60, b"\xff\xff")),
        ("intact-nonsense-in-the-manifest".into(), overwrite(4, 1, 40, b"\xff\xff\xff\xff")),
        ("intact-nonsense-in-a-segment".into(), overwrite(4, last, 32, b"\xff\xff\xff\xff")),
        ("a-chunk-is-cut".into(), vec![0, 2, 3, 0, 4]),
        ("a-chunk-is-gone".into(), vec![0, 2, 5]),
        ("a-copied-sector".into(), vec![4, last, 2, 0, 0, 0, 2, 0, 2]),
        ("a-chunk-of-a-high-number".into(), vec![0, 132, 255, 255, 255, 255, 255, 255, 255, 255, 4, 0, 8]),
        ("a-segment-of-a-high-number".into(), vec![0, 133, 0, 0, 1, 0, 4, 0, 8]),
        ("a-segment-of-a-high-stream-alone".into(), vec![8, 134, 255, 255, 255, 255, 0, 4, 0, 8]),
    ]
}

fn noise() -> Vec<(String, Vec<u8>)> {
    let lengths = [0, 40, 80, 120, 160, 200, 300, 400, 600, 800];
    let noise = |(seed, len): (usize, &usize)| {
        let mut random = SplitMix::new(seed as u64, 2026);
        (format!("noise-{seed}-{len}"), (0..*len).map(|_| random.next_u64() as u8).collect())
    };
    lengths.iter().enumerate().map(noise).collect()
}
