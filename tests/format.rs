//! Every byte on disk, named: what a small deterministic run leaves in `MANIFEST`, a log segment and a chunk, taken
//! apart field by field as the module documentation draws it (`wal::frame`, `store::{block, chunk, manifest}`).
//!
//! A snapshot that changes is a format that has changed: it needs a new magic, and a new golden store beside the old
//! one, which every later version must still read. The pictures are checked as well: put together again from its text,
//! each must give the file's bytes, so no byte is left out of one.
//!
//! The only knowledge shared with the engine is CRC-32 itself; offsets, sizes and order are written down here a second
//! time, on purpose.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use tidewall::disk::{Disk, DiskFile, OpenMode, RealDisk};
use tidewall::{Config, Engine, Error, InOrder, Point, inspect};
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::{Profile, SimDisk, When};
use tidewall_sim::timeline::Timeline;

const SECTOR: usize = 512;

/// The smallest store there can be: two segments of two sectors, chunks of four, batches and blocks of four points.
fn config() -> Config {
    Config {
        batch_points: 4,
        block_points: 4,
        // A step flushes a full buffer, and leaves the points of other tags where they are.
        buffer_bytes: 320,
        // The order of the shards is that of the frames.
        shards: 16,
        inbox_points: 0,
        segment_bytes: 1024,
        segments: 2,
        segments_max: 3,
        sector_bytes: SECTOR as u64,
        chunk_bytes: 2048,
        flush_workers: 1,
        flush_delay_ms: None,
        ..Config::default()
    }
}

fn open(dir: &Path) -> Engine {
    Engine::open(Arc::new(RealDisk::new(dir).unwrap()), config()).unwrap()
}

fn point(tag: u32, ts_us: i64, bits: u64, quality: u8) -> Point {
    Point { tag, ts_us, value: f64::from_bits(bits), quality }
}

/// A frame of one tag and one of two with a sync behind each, flushed into two blocks.
fn small_run() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_small_run(&open(dir.path()));
    dir
}

fn write_small_run(engine: &Engine) {
    engine.write_batch(&[Point::new(7, 1_000, 1.5), Point::new(7, -1, -2.0)]).unwrap();
    engine.sync().unwrap();
    engine.write(point(300, i64::MAX, 0x7ff8_dead_beef_cafe, 64)).unwrap();
    engine.write(Point::new(7, 2_000, 0.25)).unwrap();
    engine.sync().unwrap();
    engine.flush().unwrap();
}

#[test]
fn the_manifest_is_a_log_of_edits() {
    let dir = small_run();
    let bytes = fs::read(dir.path().join("MANIFEST")).unwrap();
    insta::assert_snapshot!("manifest", manifest(&bytes));
}

#[test]
fn a_segment_is_frames_and_padding() {
    let dir = small_run();
    let bytes = fs::read(dir.path().join("wal-000.log")).unwrap();
    insta::assert_snapshot!("segment", segment(&bytes));
}

#[test]
fn a_chunk_is_a_header_and_blocks() {
    let dir = small_run();
    let bytes = fs::read(dir.path().join("chunk-00000000.tw")).unwrap();
    insta::assert_snapshot!("chunk", chunk(&bytes));
}

/// The small run again in a store with three log streams, of which it uses two: tag 7 is in stream 0, tag 300 in
/// stream 1.
fn small_run_with_streams() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_small_run(&open_streams(dir.path(), &Config { wal_streams: 3, ..config() }));
    dir
}

/// Streams one after the other, so that their chunks and edits have an order.
fn open_streams(dir: &Path, config: &Config) -> Engine {
    let disk = Arc::new(RealDisk::new(dir).unwrap());
    Engine::open_with(disk, config.clone(), Box::new(InOrder)).unwrap()
}

#[test]
fn the_manifest_says_of_each_log_stream_what_it_says_of_one() {
    let dir = small_run_with_streams();
    let bytes = fs::read(dir.path().join("MANIFEST")).unwrap();
    insta::assert_snapshot!("manifest_streams", manifest(&bytes));
}

#[test]
fn a_segment_of_another_stream_is_frames_and_padding_too() {
    let dir = small_run_with_streams();
    let bytes = fs::read(dir.path().join("wal-01-000.log")).unwrap();
    insta::assert_snapshot!("segment_streams", segment(&bytes));
    assert_eq!(fs::read(dir.path().join("wal-02-000.log")).unwrap(), [0; 1024], "no tag of it was written");
}

#[test]
fn these_are_all_files_of_a_store_with_streams() {
    let dir = small_run_with_streams();
    let files: Vec<_> = files(dir.path()).into_iter().map(|(name, bytes)| (name, bytes.len())).collect();
    let expected = [
        ("LOCK", 0),
        ("MANIFEST", 1536),
        ("chunk-00000000.tw", 512 + 115 + 113),
        ("chunk-00000001.tw", 512 + 113),
        ("wal-000.log", 1024),
        ("wal-001.log", 1024),
        ("wal-01-000.log", 1024),
        ("wal-01-001.log", 1024),
        ("wal-02-000.log", 1024),
        ("wal-02-001.log", 1024),
    ];
    assert_eq!(files, expected.map(|(name, len)| (name.to_owned(), len)));
}

#[test]
fn these_are_all_files_of_a_store() {
    let dir = small_run();
    let files: Vec<_> = files(dir.path()).into_iter().map(|(name, bytes)| (name, bytes.len())).collect();
    let expected = [
        ("LOCK", 0),
        ("MANIFEST", 1024),
        ("chunk-00000000.tw", 512 + 115 + 113 + 113),
        ("wal-000.log", 1024),
        ("wal-001.log", 1024),
    ];
    assert_eq!(files, expected.map(|(name, len)| (name.to_owned(), len)));
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

// Pictures.

/// A file being taken apart from front to back: each field takes the bytes that follow the one before it.
struct Picture<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl<'a> Picture<'a> {
    fn new(bytes: &'a [u8]) -> Picture<'a> {
        Picture { bytes, at: 0, text: String::new() }
    }

    fn title(&mut self, title: &str) {
        writeln!(self.text, "-- {title}").unwrap();
    }

    fn field(&mut self, len: usize, name: &str, decode: impl FnOnce(&[u8]) -> String) {
        let bytes = &self.bytes[self.at..self.at + len];
        writeln!(self.text, "{:04x}  {:<16}  {name:<14}  {}", self.at, hex(bytes), decode(bytes)).unwrap();
        self.at += len;
    }

    fn magic(&mut self) {
        self.field(4, "magic", |bytes| format!("{:?}", str::from_utf8(bytes).unwrap()));
    }

    /// The checksum, behind the magic, of what lies behind it in a structure of `len` bytes.
    fn crc(&mut self, len: usize) {
        let start = self.at - 4;
        let covered = &self.bytes[start + 8..start + len];
        let (stored, computed) = (self.peek_u32(0), crc32fast::hash(covered));
        assert_eq!(stored, computed, "the CRC-32 of the structure at {start:#x}");
        self.field(4, "crc", |_| format!("of {:04x}..{:04x}", start + 8, start + len));
    }

    fn peek_u32(&self, ahead: usize) -> u32 {
        let at = self.at + ahead;
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn u8(&mut self, name: &str) {
        self.field(1, name, |bytes| bytes[0].to_string());
    }

    fn u32s<const N: usize>(&mut self, names: [&str; N]) {
        for name in names {
            self.field(4, name, |bytes| u32::from_le_bytes(bytes.try_into().unwrap()).to_string());
        }
    }

    fn u64s<const N: usize>(&mut self, names: [&str; N]) {
        for name in names {
            self.field(8, name, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()).to_string());
        }
    }

    fn i64(&mut self, name: &str) {
        self.field(8, name, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()).to_string());
    }

    fn f64(&mut self, name: &str) {
        self.field(8, name, |bytes| format!("{:?}", f64::from_le_bytes(bytes.try_into().unwrap())));
    }

    /// Of several tags: which, and how many points of each.
    fn shares(&mut self) {
        let at = self.at;
        let tags = self.peek_u32(0) as usize;
        let [tag_bits, count_bits] = [12, 13].map(|byte| usize::from(self.bytes[at + byte]));
        self.u32s(["tags", "least tag", "least count"]);
        ["tag bits", "count bits"].into_iter().for_each(|name| self.u8(name));
        self.zeros(at + 16, "zeros");
        self.packed("tags", tags * tag_bits);
        self.packed("counts", tags * count_bits);
    }

    /// Points: a header, then packed columns.
    fn run(&mut self) {
        let at = self.at;
        let [time_bits, value_bits, predictor, quality_bytes, exceptions] =
            [2, 3, 5, 6, 7].map(|byte| usize::from(self.bytes[at + byte]));
        let count = usize::from(u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap())) + 1;
        self.field(2, "count - 1", |bytes| u16::from_le_bytes(bytes.try_into().unwrap()).to_string());
        ["time bits", "value bits", "scale", "predictor", "quality bytes", "exceptions"]
            .into_iter()
            .for_each(|name| self.u8(name));
        ["first time", "step", "base"].into_iter().for_each(|name| self.i64(name));
        self.packed("times", (count - 1) * time_bits);
        self.packed("values", (count - predictor) * value_bits);
        (0..if quality_bytes == 0 { 1 } else { count }).for_each(|n| self.u8(&format!("quality {n}")));
        for _ in 0..exceptions {
            self.field(2, "exception at", |bytes| u16::from_le_bytes(bytes.try_into().unwrap()).to_string());
            self.f64("its value");
        }
    }

    /// This many bits of numbers.
    fn packed(&mut self, name: &str, bits: usize) {
        if bits > 0 {
            self.field(bits.div_ceil(8), name, |_| format!("{bits} bits"));
        }
    }

    /// Bytes up to `end`, which must all be zero.
    fn zeros(&mut self, end: usize, name: &str) {
        if end == self.at {
            return;
        }
        let bytes = &self.bytes[self.at..end];
        assert!(bytes.iter().all(|byte| *byte == 0), "{name} at {:#x}..{end:#x} is not zero", self.at);
        let run = format!("00 x {}", bytes.len());
        writeln!(self.text, "{:04x}  {run:<16}  {name}", self.at).unwrap();
        self.at = end;
    }

    fn sector_end(&self) -> usize {
        (self.at + 1).next_multiple_of(SECTOR).min(self.bytes.len())
    }

    fn starts_with(&self, magic: &[u8]) -> bool {
        self.bytes[self.at..].starts_with(magic)
    }

    fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The text, once it is shown to say everything: read back, it is the file.
    fn finish(self) -> String {
        let mut read_back = Vec::new();
        for line in self.text.lines().filter(|line| !line.starts_with("--")) {
            let (offset, rest) = line.split_once("  ").unwrap();
            assert_eq!(usize::from_str_radix(offset, 16).unwrap(), read_back.len(), "a gap before: {line}");
            match rest.strip_prefix("00 x ") {
                Some(run) => {
                    let count: usize = run.split(' ').next().unwrap().parse().unwrap();
                    read_back.resize(read_back.len() + count, 0);
                }
                None => read_back.extend(unhex(rest.split(' ').next().unwrap())),
            }
        }
        assert!(read_back == self.bytes, "the picture is not the whole file");
        self.text
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> impl Iterator<Item = u8> + '_ {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
}

fn manifest(bytes: &[u8]) -> String {
    let mut picture = Picture::new(bytes);
    while !picture.is_done() {
        picture.title("record");
        let start = picture.at;
        let (record_bytes, body_bytes) = (picture.peek_u32(8) as usize, picture.peek_u32(12) as usize);
        picture.magic();
        picture.crc(24 + body_bytes);
        picture.u32s(["record bytes", "body bytes"]);
        picture.u64s(["number"]);
        while picture.at < start + 24 + body_bytes {
            let kind = bytes[picture.at];
            let names = [
                "",
                "geometry",
                "epoch",
                "span",
                "watermarks",
                "block",
                "segments",
                "stream",
                "streams",
                "format",
            ];
            let name = names[usize::from(kind)];
            picture.field(1, "field", |_| format!("{kind} = {name}"));
            match name {
                "geometry" => picture.u64s(["segment_bytes", "sector_bytes", "chunk_bytes"]),
                "epoch" => picture.u32s(["epoch"]),
                "segments" => picture.u32s(["segments"]),
                "stream" => picture.u32s(["stream"]),
                "streams" => picture.u32s(["streams"]),
                "format" => picture.u32s(["version"]),
                "span" => {
                    picture.u32s(["epoch"]);
                    picture.u64s(["first_lsn"]);
                }
                "watermarks" => picture.u64s(["checkpoint_lsn", "durable_lsn"]),
                _ => {
                    picture.u32s(["tag", "len", "crc", "count"]);
                    picture.u64s(["chunk", "offset", "first_lsn", "end_lsn"]);
                    ["first_ts", "last_ts"].into_iter().for_each(|name| picture.i64(name));
                }
            }
        }
        picture.zeros(start + record_bytes, "padding");
    }
    picture.finish()
}

fn segment(bytes: &[u8]) -> String {
    let mut picture = Picture::new(bytes);
    while !picture.is_done() {
        let is_mixed = picture.starts_with(b"TWF3");
        if !is_mixed && !picture.starts_with(b"TWF2") {
            let inside = !picture.at.is_multiple_of(SECTOR);
            picture.zeros(picture.sector_end(), if inside { "padding" } else { "blank" });
            continue;
        }
        picture.title("frame");
        let payload_bytes = picture.peek_u32(8) as usize;
        picture.magic();
        picture.crc(48 + payload_bytes);
        picture.u32s(["payload bytes", "tag", "epoch", "seq", "count", "mask"]);
        picture.u64s(["first_lsn", "durable_lsn"]);
        if is_mixed {
            picture.shares();
        }
        picture.run();
        picture.zeros(picture.at.next_multiple_of(8), "up to 8");
    }
    picture.finish()
}

fn chunk(bytes: &[u8]) -> String {
    let mut picture = Picture::new(bytes);
    picture.title("chunk");
    picture.magic();
    picture.crc(32);
    picture.u64s(["number", "chunk_bytes", "zero"]);
    picture.zeros(SECTOR, "up to the sector");
    while !picture.is_done() {
        if !picture.starts_with(b"TWB1") {
            picture.zeros(picture.sector_end(), "padding");
            continue;
        }
        picture.title("block");
        let payload_bytes = picture.peek_u32(8) as usize;
        let end = picture.at + 80 + payload_bytes;
        picture.magic();
        picture.crc(80 + payload_bytes);
        picture.u32s(["payload bytes", "tag", "count", "encoding"]);
        picture.u64s(["chunk", "offset", "first_lsn", "end_lsn"]);
        ["first_ts", "last_ts"].into_iter().for_each(|name| picture.i64(name));
        picture.u64s(["zero"]);
        while picture.at < end {
            picture.run();
        }
    }
    picture.finish()
}

// The golden store.

fn golden_config() -> Config {
    Config { segment_bytes: 4096, ..config() }
}

/// A directory whose log segments can be made to report every write as failed that has been done all the same: "after an
/// error any part may have been written".
struct FailingLog {
    inner: RealDisk,
    fails: Arc<AtomicBool>,
}

struct FailingSegment {
    inner: Arc<dyn DiskFile>,
    fails: Arc<AtomicBool>,
}

impl FailingLog {
    fn new(dir: &Path) -> Arc<FailingLog> {
        Arc::new(FailingLog { inner: RealDisk::new(dir).unwrap(), fails: Arc::default() })
    }
}

impl Disk for FailingLog {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(name, mode)?;
        if !name.starts_with("wal-") {
            return Ok(inner);
        }
        Ok(Arc::new(FailingSegment { inner, fails: self.fails.clone() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
}

impl DiskFile for FailingSegment {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, buf)?;
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
}

/// Makes what `STORE_V1` has in it, too: what a recovery can meet: blocks of two flushes; one time in two blocks, and in a
/// block and the log; points that a block and the log both hold; a tail that an earlier recovery wrote anew, and so a
/// span and a segment of each epoch; a tail that was never synced; and, made by hand, the torn end of that.
fn golden_run(dir: &Path) {
    let disk = FailingLog::new(dir);
    let open = || Engine::open(disk.clone(), golden_config()).unwrap();
    let engine = open();
    engine
        .write_batch(&[
            point(7, 10, 0x7ff8_dead_beef_cafe, 192),
            point(7, 20, (-0.0_f64).to_bits(), 0),
            point(7, 30, 1.5_f64.to_bits(), 192),
            point(7, i64::MIN, f64::INFINITY.to_bits(), 1),
            point(9, 5, 1, 255),
            point(9, i64::MAX, f64::MAX.to_bits(), 64),
        ])
        .unwrap();
    engine.flush().unwrap();
    engine
        .write_batch(&[Point::new(7, 20, 2.0), Point::new(7, 40, -3.25), Point::new(u32::MAX, 0, 0.1)])
        .unwrap();
    engine.sync().unwrap();
    drop(engine);

    let engine = open();
    engine.write_batch(&[5, 6, 7, 8].map(|ts| Point::new(9, ts, ts as f64 + 2.0))).unwrap();
    engine.write(point(7, 30, f64::NEG_INFINITY.to_bits(), 3)).unwrap();
    // The full buffer of tag 9 goes into a block; those of the other tags stay in the log, and it with them.
    engine.step().unwrap();
    engine.sync().unwrap();
    engine.write_batch(&[Point::new(7, 50, 5.0), Point::new(9, 9, 11.0)]).unwrap();
    engine.sync().unwrap();
    // The log's last write reaches the disk and is reported as failed, so this step ends before it flushes anything.
    disk.fails.store(true, Ordering::SeqCst);
    engine.write_batch(&[1, 2, 3].map(|ts| Point::new(u32::MAX, ts, ts as f64))).unwrap();
    engine.write_batch(&[60, 70, 80].map(|ts| Point::new(7, ts, 0.0))).unwrap();
    engine.step().unwrap_err();
    drop(engine);

    let inspection = inspect(&RealDisk::new(dir).unwrap()).unwrap();
    let live = inspection.segments.iter().filter(|segment| !segment.live.is_empty());
    let last = live.max_by_key(|segment| segment.generation).unwrap();
    let mut bytes = fs::read(dir.join(&last.file)).unwrap();
    bytes[last.end_offset as usize - 40..last.end_offset as usize].fill(0);
    fs::write(dir.join(&last.file), bytes).unwrap();
}

fn golden_streams_config() -> Config {
    // A buffer is sealed when one more batch would not fit: at four points.
    Config { block_points: 7, segment_bytes: 2048, wal_streams: 3, buffer_bytes: 1 << 20, ..config() }
}

/// Three streams - tags 2 and 7 in stream 0, tags 1 and 300 in stream 1, tags 3 and `u32::MAX` in stream 2 - with blocks in
/// a chunk of each; in stream 1 a rotation, and a tail that an earlier recovery wrote anew; in stream 2 a time that is in
/// a block and in the log, and, made by hand, a torn tail. `STORE_V1_STREAMS` was made by a forerunner, and has in stream 0
/// a checkpoint behind all of its points.
fn golden_streams_run(dir: &Path) {
    let open = || open_streams(dir, &golden_streams_config());
    let engine = open();
    for tag in [1, 2, 3] {
        let times = [i64::MIN, -5, i64::from(tag)];
        engine.write_batch(&times.map(|ts| Point::new(tag, ts, f64::from(tag) / 4.0))).unwrap();
    }
    engine.flush().unwrap();
    // One point and one sector at a time: stream 1 needs its second segment.
    for n in 0..4 {
        engine.write(point(1, 100 + n, 0xfff0_0000_0000_0001 + n as u64, n as u8)).unwrap();
        engine.write(Point::new(300, n, -0.5)).unwrap();
        engine.sync().unwrap();
    }
    engine.write_batch(&[Point::new(3, -5, 9.0), Point::new(u32::MAX, 0, f64::MIN_POSITIVE)]).unwrap();
    engine.sync().unwrap();
    // Half a batch, appended and written, and never synced.
    engine.write_batch(&[Point::new(300, 50, 1.0), Point::new(300, 51, 2.0)]).unwrap();
    engine.step().unwrap();
    drop(engine);

    let engine = open();
    engine.write_batch(&[7, 8, 9, 10].map(|ts| Point::new(7, ts, ts as f64))).unwrap();
    engine.write_batch(&[Point::new(3, 60, 6.0), Point::new(300, 52, 3.0)]).unwrap();
    engine.sync().unwrap();
    engine.write_batch(&[Point::new(u32::MAX, 1, 1.0), Point::new(u32::MAX, 2, 2.0)]).unwrap();
    engine.step().unwrap();
    drop(engine);

    let inspection = inspect(&RealDisk::new(dir).unwrap()).unwrap();
    let live = inspection.segments.iter().filter(|segment| segment.stream == 2 && !segment.live.is_empty());
    let last = live.max_by_key(|segment| segment.generation).unwrap();
    let mut bytes = fs::read(dir.join(&last.file)).unwrap();
    bytes[last.end_offset as usize - 24..last.end_offset as usize].fill(0);
    fs::write(dir.join(&last.file), bytes).unwrap();
}

/// A store as text: rows of 32 bytes, those of zeros left out.
fn print(dir: &Path) -> String {
    let mut text = String::new();
    for (name, bytes) in files(dir).iter().filter(|(name, _)| *name != "LOCK") {
        text += &format!("{name} {}\n", bytes.len());
        for (row, bytes) in bytes.chunks(32).enumerate().filter(|(_, row)| row.iter().any(|byte| *byte != 0))
        {
            text += &format!("  {:04x} {}\n", 32 * row, hex(bytes));
        }
    }
    text
}

/// A change of any format shows here. The old golden store stays, and must go on being read; the new one joins it.
#[test]
fn the_engine_writes_the_newest_golden_store() {
    let dir = tempfile::tempdir().unwrap();
    golden_run(dir.path());
    let printed = print(dir.path());
    assert!(printed.trim() == NEWEST.trim(), "this is what it writes now:\n{printed}");
}

#[test]
fn the_engine_writes_the_newest_golden_store_with_streams() {
    let dir = tempfile::tempdir().unwrap();
    golden_streams_run(dir.path());
    let printed = print(dir.path());
    assert!(printed.trim() == NEWEST_STREAMS.trim(), "this is what it writes now:\n{printed}");
}

/// Puts a printed store back into a directory.
fn unpack(store: &str, dir: &Path) {
    let mut file = None;
    let mut files = BTreeMap::new();
    for line in store.lines() {
        match line.strip_prefix("  ").map(|row| row.split_once(' ').unwrap()) {
            None => {
                let (name, len) = line.split_once(' ').unwrap();
                file = Some(files.entry(name).or_insert(vec![0; len.parse().unwrap()]));
            }
            Some((offset, row)) => {
                let offset = usize::from_str_radix(offset, 16).unwrap();
                let row: Vec<u8> = unhex(row).collect();
                file.as_mut().unwrap()[offset..offset + row.len()].copy_from_slice(&row);
            }
        }
    }
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// `cargo sim inspect DIR` prints this.
#[test]
fn an_inspection_says_what_is_there_and_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    unpack(NEWEST_STREAMS, dir.path());
    fs::write(dir.path().join("notes.txt"), "water the plants").unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    insta::assert_snapshot!("inspection", inspect(&disk).unwrap().to_string());
    // The last byte of a block.
    let chunk = inspect(&disk).unwrap().chunks.swap_remove(0);
    let block = chunk.blocks[0].0;
    let mut bytes = fs::read(dir.path().join(&chunk.file)).unwrap();
    bytes[block.offset as usize + block.len as usize - 1] ^= 1;
    fs::write(dir.path().join(&chunk.file), bytes).unwrap();
    insta::assert_snapshot!("inspection_damaged", inspect(&disk).unwrap().to_string());
}

#[test]
fn a_store_of_the_first_version_opens_and_reads_back_exactly() {
    [STORE_V1, STORE_V1_SPREAD].iter().for_each(|store| reads_back_store_v1(store));
}

fn reads_back_store_v1(store: &str) {
    let dir = tempfile::tempdir().unwrap();
    unpack(store, dir.path());
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let inspection = inspect(&*disk).unwrap();
    assert_eq!(inspection.damage, [], "{inspection}");

    let engine = Engine::open(disk.clone(), golden_config()).unwrap();
    let report = engine.recovery_report().clone();
    assert_eq!((report.blocks, report.block_points), (3, 10));
    assert_eq!((report.frames_replayed, report.points_replayed, report.points_skipped), (7, 9, 4));
    assert_eq!(report.points_rewritten, 3, "the tail that was never synced");
    assert_eq!(report.torn_tails, [("wal-001.log".into(), 0x868)]);

    let seven = [
        point(7, i64::MIN, f64::INFINITY.to_bits(), 1),
        point(7, 10, 0x7ff8_dead_beef_cafe, 192),
        Point::new(7, 20, 2.0),
        point(7, 30, f64::NEG_INFINITY.to_bits(), 3),
        Point::new(7, 40, -3.25),
        Point::new(7, 50, 5.0),
    ];
    let nine = [
        Point::new(9, 5, 7.0),
        Point::new(9, 6, 8.0),
        Point::new(9, 7, 9.0),
        Point::new(9, 8, 10.0),
        Point::new(9, 9, 11.0),
        point(9, i64::MAX, f64::MAX.to_bits(), 64),
    ];
    let last = [(0, 0.1), (1, 1.0), (2, 2.0), (3, 3.0)].map(|(ts, value)| Point::new(u32::MAX, ts, value));
    let reads_back = |engine: &Engine| {
        assert_eq!(engine.tags().unwrap(), [7, 9, u32::MAX]);
        assert_eq!(engine.query(7, ..).unwrap(), seven);
        assert_eq!(engine.query(9, ..).unwrap(), nine);
        assert_eq!(engine.query(u32::MAX, ..).unwrap(), last);
    };
    reads_back(&engine);
    // What the opening has written again, in today's format, is read again.
    drop(engine);
    let engine = Engine::open(disk.clone(), golden_config()).unwrap();
    assert_eq!(engine.recovery_report().points_replayed, report.points_replayed);
    reads_back(&engine);
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(disk, golden_config()).unwrap();
    assert_eq!(engine.recovery_report().points_replayed, 0);
    reads_back(&engine);
}

#[test]
fn a_store_of_the_first_version_with_streams_opens_and_reads_back_exactly() {
    [STORE_V1_STREAMS, STORE_V1_SPREAD_STREAMS].iter().for_each(|store| reads_back_store_v1_streams(store));
}

fn reads_back_store_v1_streams(store: &str) {
    let dir = tempfile::tempdir().unwrap();
    unpack(store, dir.path());
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let inspection = inspect(&*disk).unwrap();
    assert_eq!(inspection.damage, [], "{inspection}");
    assert_eq!(inspection.unknown_files, [] as [&str; 0]);
    let ends: Vec<_> = inspection.streams.iter().map(|stream| stream.end_lsn.0).collect();
    assert_eq!((ends, inspection.end_lsn().0), (vec![7, 14, 6], 27));
    let proven: Vec<_> = inspection.streams.iter().map(|stream| stream.proven_lsn.0).collect();
    assert_eq!((proven, inspection.proven_lsn().0), (vec![7, 13, 5], 25));

    // Opened by a pool of threads, it is the same.
    let engine = Engine::open(disk.clone(), golden_streams_config()).unwrap();
    let report = engine.recovery_report().clone();
    assert_eq!((report.blocks, report.block_points), (6, 21));
    assert_eq!((report.frames_replayed, report.points_replayed, report.points_skipped), (5, 6, 0));
    assert_eq!(
        (report.points_rewritten, report.segments),
        (2, 6),
        "nothing proves what came last in streams 1 and 2"
    );
    assert_eq!(report.torn_tails, [("wal-02-001.log".into(), 0x248)]);

    let three = |tag: u32, value| [i64::MIN, -5, tag.into()].map(|ts| Point::new(tag, ts, value)).to_vec();
    let mut one = three(1, 0.25);
    one.extend((0..4).map(|n| point(1, 100 + n, 0xfff0_0000_0000_0001 + n as u64, n as u8)));
    let mut with_later_writes = three(3, 0.75);
    with_later_writes[1].value = 9.0;
    with_later_writes.push(Point::new(3, 60, 6.0));
    let mut three_hundred = [0, 1, 2, 3].map(|ts| Point::new(300, ts, -0.5)).to_vec();
    three_hundred.extend([(50, 1.0), (51, 2.0), (52, 3.0)].map(|(ts, value)| Point::new(300, ts, value)));
    let expected = [
        (1, one),
        (2, three(2, 0.5)),
        (3, with_later_writes),
        (7, [7, 8, 9, 10].map(|ts| Point::new(7, ts, ts as f64)).to_vec()),
        (300, three_hundred),
        (u32::MAX, vec![Point::new(u32::MAX, 0, f64::MIN_POSITIVE)]),
    ];
    let reads_back = |engine: &Engine| {
        assert_eq!(engine.tags().unwrap(), expected.each_ref().map(|(tag, _)| *tag));
        for (tag, points) in &expected {
            assert_eq!(engine.query(*tag, ..).unwrap(), *points);
        }
    };
    reads_back(&engine);
    drop(engine);
    let engine = Engine::open(disk.clone(), golden_streams_config()).unwrap();
    assert_eq!(engine.recovery_report().points_replayed, report.points_replayed);
    reads_back(&engine);
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(disk, golden_streams_config()).unwrap();
    assert_eq!(engine.recovery_report().points_replayed, 0);
    reads_back(&engine);
}

#[test]
fn a_store_of_the_second_version_opens_and_reads_back_exactly() {
    insta::assert_snapshot!("store_v2", read_back(STORE_V2, &golden_config()));
    insta::assert_snapshot!("store_v2_streams", read_back(STORE_V2_STREAMS, &golden_streams_config()));
}

#[test]
fn a_store_of_the_third_version_opens_and_reads_back_exactly() {
    insta::assert_snapshot!("store_v3", read_back(NEWEST, &golden_config()));
    insta::assert_snapshot!("store_v3_streams", read_back(NEWEST_STREAMS, &golden_streams_config()));
}

/// What `inspect` and a recovery say of a store, and every point that queries show: before it is closed, and after.
fn read_back(store: &str, config: &Config) -> String {
    let dir = tempfile::tempdir().unwrap();
    unpack(store, dir.path());
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let inspection = inspect(&*disk).unwrap();
    assert_eq!(inspection.damage, [], "{inspection}");
    let points = |engine: &Engine| {
        let mut text = String::new();
        for point in engine.tags().unwrap().iter().flat_map(|tag| engine.query(*tag, ..).unwrap()) {
            let Point { tag, ts_us, value, quality } = point;
            writeln!(text, "{tag} {ts_us} {value:?} {:016x} {quality}", value.to_bits()).unwrap();
        }
        text
    };
    let engine = open_streams(dir.path(), config);
    let (report, shown) = (format!("{:#?}", engine.recovery_report()), points(&engine));
    engine.close().unwrap();
    drop(engine);
    let engine = open_streams(dir.path(), config);
    assert_eq!(engine.recovery_report().points_replayed, 0);
    assert_eq!(points(&engine), shown);
    format!("{report}\n{shown}")
}

/// A store as a newer engine would leave it: its manifest states the version before anything that we could not know.
#[test]
fn a_store_of_a_newer_version_is_refused_as_such_and_not_as_damage() {
    for (store, config) in [(NEWEST, golden_config()), (NEWEST_STREAMS, golden_streams_config())] {
        let dir = tempfile::tempdir().unwrap();
        unpack(store, dir.path());
        let mut manifest = fs::read(dir.path().join("MANIFEST")).unwrap();
        let body = [&[9][..], &4u32.to_le_bytes(), &[250, 1, 2, 3]].concat();
        manifest[12..16].copy_from_slice(&(body.len() as u32).to_le_bytes());
        manifest[24..24 + body.len()].copy_from_slice(&body);
        let crc = crc32fast::hash(&manifest[8..24 + body.len()]);
        manifest[4..8].copy_from_slice(&crc.to_le_bytes());
        fs::write(dir.path().join("MANIFEST"), &manifest).unwrap();

        let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
        let before = files(dir.path());
        let newer = |error| matches!(error, Error::NewerFormat { stored: 4, known: 3 });
        assert!(newer(Engine::open(disk.clone(), config.clone()).err().unwrap()));
        assert!(newer(inspect(&*disk).unwrap_err()));
        let mut after = files(dir.path());
        after.retain(|name, _| before.contains_key(name));
        assert!(after == before, "what is refused is not changed; a lock is left beside it");

        // Rot cannot make one of an old store, nor of a newer one anything but damage.
        for bit in 0..8 * (24 + body.len()) {
            manifest[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join("MANIFEST"), &manifest).unwrap();
            let refused = Engine::open(disk.clone(), config.clone()).err().unwrap();
            assert!(matches!(refused, Error::Corrupt(_)), "bit {bit}: {refused}");
            manifest[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// What the engine writes today: since the third version, short tails of several tags share a frame (`wal::frame`).
const NEWEST: &str = include_str!("golden/store_v3.txt");
const NEWEST_STREAMS: &str = include_str!("golden/store_v3_streams.txt");

/// Since the second version, points are encoded as runs (`wal::frame`, `store::block`).
const STORE_V2: &str = include_str!("golden/store_v2.txt");
const STORE_V2_STREAMS: &str = include_str!("golden/store_v2_streams.txt");

/// In between, the numbers of manifest records had begun to jump where a file begins (`manifest::encode_first`).
const STORE_V1_SPREAD: &str = include_str!("golden/store_v1_spread_numbers.txt");
const STORE_V1_SPREAD_STREAMS: &str = include_str!("golden/store_v1_spread_numbers_streams.txt");

/// Left by `golden_run` when the format was at its first version. Never to be changed: a later format gets a store of
/// its own beside this one. Each file with its length, and its bytes in rows of 32; rows that are not there are zero.
const STORE_V1: &str = "\
MANIFEST 1024
  0000 54574d31ad5ec30400020000c300000004000000000000000100100000000000
  0020 0000020000000000000008000000000000020200000006020000000302000000
  0040 0600000000000000040600000000000000090000000000000005070000009400
  0060 00003ffb0ce00400000000000000000000000002000000000000000000000000
  0080 0000040000000000000000000000000000801e00000000000000050900000072
  00a0 0000007d5ded8602000000000000000000000094020000000000000400000000
  00c0 00000006000000000000000500000000000000ffffffffffffff7f0000000000
  0200 54574d31763d7a4b000200005200000005000000000000000406000000000000
  0220 000d000000000000000509000000940000004010ed1b04000000000000000000
  0240 0000000400000000000009000000000000000d00000000000000050000000000
  0260 0000080000000000000000000000000000000000000000000000000000000000
chunk-00000000.tw 1172
  0000 54574331a706486c000000000000000000080000000000000000000000000000
  0200 545742313ffb0ce0440000000700000004000000000000000000000000000000
  0220 0002000000000000000000000000000004000000000000000000000000000080
  0240 1e00000000000000000000000000000000000000000000800a00000000000000
  0260 14000000000000001e00000000000000000000000000f07ffecaefbeaddef87f
  0280 0000000000000080000000000000f83f01c000c0545742317d5ded8622000000
  02a0 0900000002000000000000000000000000000000940200000000000004000000
  02c0 0000000006000000000000000500000000000000ffffffffffffff7f00000000
  02e0 000000000500000000000000ffffffffffffff7f0100000000000000ffffffff
  0300 ffffef7fff400000000000000000000000000000000000000000000000000000
  0400 545742314010ed1b440000000900000004000000000000000000000000000000
  0420 000400000000000009000000000000000d000000000000000500000000000000
  0440 0800000000000000000000000000000005000000000000000600000000000000
  0460 070000000000000008000000000000000000000000001c400000000000002040
  0480 00000000000022400000000000002440c0c0c0c0
wal-000.log 4096
  0000 54574631c1305dc6440000000700000001000000010000000400000000000000
  0020 000000000000000000000000000000000a000000000000001400000000000000
  0040 1e000000000000000000000000000080fecaefbeaddef87f0000000000000080
  0060 000000000000f83f000000000000f07fc000c00100000000545746313246ea2f
  0080 2200000009000000010000000100000002000000000000000400000000000000
  00a0 00000000000000000500000000000000ffffffffffffff7f0100000000000000
  00c0 ffffffffffffef7fff4000000000000000000000000000000000000000000000
  0200 5457463131cc1ff1220000000700000001000000010000000200000000000000
  0220 0600000000000000060000000000000014000000000000002800000000000000
  0240 00000000000000400000000000000ac0c0c0000000000000545746314b0b368b
  0260 11000000ffffffff010000000100000001000000000000000800000000000000
  0280 060000000000000000000000000000009a9999999999b93fc000000000000000
wal-001.log 4096
  0000 54574631103b252b220000000700000002000000010000000200000000000000
  0020 0600000000000000060000000000000014000000000000002800000000000000
  0040 00000000000000400000000000000ac0c0c0000000000000545746313f7cafc1
  0060 11000000ffffffff020000000100000001000000000000000800000000000000
  0080 060000000000000000000000000000009a9999999999b93fc000000000000000
  0200 545746314a0c6a65440000000900000002000000010000000400000000000000
  0220 0900000000000000090000000000000005000000000000000600000000000000
  0240 070000000000000008000000000000000000000000001c400000000000002040
  0260 00000000000022400000000000002440c0c0c0c0000000000000000000000000
  0400 54574631227ee1a3110000000700000002000000010000000100000000000000
  0420 0d000000000000000d000000000000001e00000000000000000000000000f0ff
  0440 0300000000000000000000000000000000000000000000000000000000000000
  0600 54574631ce7a7bb9110000000700000002000000010000000100000000000000
  0620 0e000000000000000e0000000000000032000000000000000000000000001440
  0640 c00000000000000054574631134d9bb911000000090000000200000001000000
  0660 01000000000000000f000000000000000e000000000000000900000000000000
  0680 0000000000002640c00000000000000000000000000000000000000000000000
  0800 545746317b7baa9533000000ffffffff02000000010000000300000000000000
  0820 1000000000000000100000000000000001000000000000000200000000000000
  0840 0300000000000000000000000000f03f00000000000000400000000000000840
  0860 c0c0c0000000000054574631fb6555e033000000070000000200000001000000
  0880 0300000000000000130000000000000010000000000000003c00000000000000
  08a0 4600000000000000000000000000000000000000000000000000000000000000
";

/// Left by `golden_streams_run`, likewise, and likewise never to be changed.
const STORE_V1_STREAMS: &str = "\
MANIFEST 1024
  0000 54574d31ad95f8f500020000db01000007000000000000000100080000000000
  0020 0000020000000000000008000000000000080300000002020000000602000000
  0040 0302000000030000000000000004030000000000000003000000000000000701
  0060 000000060200000003020000000b00000000000000040b000000000000000d00
  0080 0000000000000702000000060200000003020000000300000000000000040300
  00a0 00000000000005000000000000000501000000830000000b6bb0470300000001
  00c0 0000000000000000020000000000000000000000000000030000000000000000
  00e0 000000000000800100000000000000050100000094000000de81db2304000000
  0100 0100000000000000000400000000000003000000000000000a00000000000000
  0120 64000000000000006700000000000000050200000083000000ceed3b03030000
  0140 0000000000000000000002000000000000000000000000000003000000000000
  0160 0000000000000000800200000000000000050300000083000000becdd5e80300
  0180 0000020000000000000000020000000000000000000000000000030000000000
  01a0 000000000000000000800300000000000000052c01000094000000629d94be04
  01c0 0000000100000000000000940400000000000004000000000000000b00000000
  01e0 0000000000000000000000030000000000000000000000000000000000000000
  0200 54574d31d7a00283000200005200000008000000000000000407000000000000
  0220 0007000000000000000507000000940000000c6f22f504000000000000000000
  0240 0000000400000000000003000000000000000700000000000000070000000000
  0260 00000a0000000000000000000000000000000000000000000000000000000000
chunk-00000000.tw 1172
  0000 54574331a706486c000000000000000000080000000000000000000000000000
  0200 54574231ceed3b03330000000200000003000000000000000000000000000000
  0220 0002000000000000000000000000000003000000000000000000000000000080
  0240 020000000000000000000000000000000000000000000080fbffffffffffffff
  0260 0200000000000000000000000000e03f000000000000e03f000000000000e03f
  0280 c0c0c00000000000000000000000000000000000000000000000000000000000
  0400 545742310c6f22f5440000000700000004000000000000000000000000000000
  0420 0004000000000000030000000000000007000000000000000700000000000000
  0440 0a00000000000000000000000000000007000000000000000800000000000000
  0460 09000000000000000a000000000000000000000000001c400000000000002040
  0480 00000000000022400000000000002440c0c0c0c0
chunk-00000001.tw 1320
  0000 5457433180636ded010000000000000000080000000000000000000000000000
  0200 545742310b6bb047330000000100000003000000000000000100000000000000
  0220 0002000000000000000000000000000003000000000000000000000000000080
  0240 010000000000000000000000000000000000000000000080fbffffffffffffff
  0260 0100000000000000000000000000d03f000000000000d03f000000000000d03f
  0280 c0c0c00000000000000000000000000000000000000000000000000000000000
  0400 54574231de81db23440000000100000004000000000000000100000000000000
  0420 000400000000000003000000000000000a000000000000006400000000000000
  0440 6700000000000000000000000000000064000000000000006500000000000000
  0460 66000000000000006700000000000000010000000000f0ff020000000000f0ff
  0480 030000000000f0ff040000000000f0ff0001020354574231629d94be44000000
  04a0 2c01000004000000000000000100000000000000940400000000000004000000
  04c0 000000000b000000000000000000000000000000030000000000000000000000
  04e0 0000000000000000000000000100000000000000020000000000000003000000
  0500 00000000000000000000e0bf000000000000e0bf000000000000e0bf00000000
  0520 0000e0bfc0c0c0c0
chunk-00000002.tw 643
  0000 54574331a8ca73b5020000000000000000080000000000000000000000000000
  0200 54574231becdd5e8330000000300000003000000000000000200000000000000
  0220 0002000000000000000000000000000003000000000000000000000000000080
  0240 030000000000000000000000000000000000000000000080fbffffffffffffff
  0260 0300000000000000000000000000e83f000000000000e83f000000000000e83f
  0280 c0c0c0
wal-000.log 2048
  0000 54574631fbd872b6440000000700000002000000010000000400000000000000
  0020 0300000000000000030000000000000007000000000000000800000000000000
  0040 09000000000000000a000000000000000000000000001c400000000000002040
  0060 00000000000022400000000000002440c0c0c0c0000000000000000000000000
wal-001.log 2048
wal-01-000.log 2048
  0000 545746313410bd3c220000002c01000002000000010000000200000000000000
  0020 0b000000000000000b0000000000000032000000000000003300000000000000
  0040 000000000000f03f0000000000000040c0c00000000000000000000000000000
  0200 54574631b90ee414110000002c01000002000000010000000100000000000000
  0220 0d000000000000000d0000000000000034000000000000000000000000000840
  0240 c000000000000000000000000000000000000000000000000000000000000000
  0400 545746313c2ff265110000000100000001000000010000000100000000000000
  0420 050000000000000005000000000000006500000000000000020000000000f0ff
  0440 010000000000000054574631d7e10dbc110000002c0100000100000001000000
  0460 0100000000000000060000000000000005000000000000000100000000000000
  0480 000000000000e0bfc00000000000000000000000000000000000000000000000
  0600 54574631fa369945110000000100000001000000010000000100000000000000
  0620 070000000000000007000000000000006600000000000000030000000000f0ff
  0640 020000000000000054574631fd7f3ba5110000002c0100000100000001000000
  0660 0100000000000000080000000000000007000000000000000200000000000000
  0680 000000000000e0bfc00000000000000000000000000000000000000000000000
wal-01-001.log 2048
  0000 5457463191c28873110000000100000001000000020000000100000000000000
  0020 090000000000000009000000000000006700000000000000040000000000f0ff
  0040 030000000000000054574631dc146337110000002c0100000100000002000000
  0060 01000000000000000a0000000000000009000000000000000300000000000000
  0080 000000000000e0bfc00000000000000000000000000000000000000000000000
  0200 54574631c4c1dae7220000002c01000001000000020000000200000000000000
  0220 0b000000000000000b0000000000000032000000000000003300000000000000
  0240 000000000000f03f0000000000000040c0c00000000000000000000000000000
wal-02-000.log 2048
  0000 5457463110713cad330000000300000001000000010000000300000000000000
  0020 000000000000000000000000000000000000000000000080fbffffffffffffff
  0040 0300000000000000000000000000e83f000000000000e83f000000000000e83f
  0060 c0c0c00000000000000000000000000000000000000000000000000000000000
  0200 54574631f055965f11000000ffffffff01000000010000000100000000000000
  0220 0300000000000000030000000000000000000000000000000000000000001000
  0240 c00000000000000054574631101177d811000000030000000100000001000000
  0260 010000000000000004000000000000000300000000000000fbffffffffffffff
  0280 0000000000002240c00000000000000000000000000000000000000000000000
wal-02-001.log 2048
  0000 5457463184220f1511000000ffffffff02000000010000000100000000000000
  0020 0300000000000000030000000000000000000000000000000000000000001000
  0040 c000000000000000545746316466ee9211000000030000000200000001000000
  0060 010000000000000004000000000000000300000000000000fbffffffffffffff
  0080 0000000000002240c00000000000000000000000000000000000000000000000
  0200 5457463151a942ff110000000300000002000000010000000100000000000000
  0220 050000000000000005000000000000003c000000000000000000000000001840
  0240 c000000000000000000000000000000000000000000000000000000000000000
  0400 54574631868eb78a22000000ffffffff02000000010000000200000000000000
  0420 0600000000000000060000000000000001000000000000000200000000000000
";

/// A frame of the first version with one point of tag 1.
fn raw_frame(first_lsn: u64) -> Vec<u8> {
    let mut frame = b"TWF1".to_vec();
    frame.resize(48, 0);
    for (at, word) in [(8, 17), (12, 1), (16, 1), (20, 1), (24, 1)] {
        frame[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
    }
    frame[32..40].copy_from_slice(&first_lsn.to_le_bytes());
    frame.extend_from_slice(&(first_lsn as i64).to_le_bytes());
    frame.extend_from_slice(&(first_lsn as f64 + 0.5).to_le_bytes());
    frame.push(192);
    let crc = crc32fast::hash(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame.resize(72, 0);
    frame
}

/// In today's format the frames are longer, so that a tail that fills a segment is written into two. What the first one says to be
/// durable is so only if the opening comes to its end.
#[test]
fn power_cuts_while_a_tail_of_the_first_version_is_written_again_leave_a_store_that_opens() {
    let config = || Config {
        batch_points: 4,
        segment_bytes: 4096,
        segments: 2,
        segments_max: 4,
        staging_bytes: 1,
        sector_bytes: 512,
        flush_delay_ms: None,
        inbox_points: 0,
        ..Config::default()
    };
    let open =
        |disk: &SimDisk| Engine::open_with(Arc::new(disk.clone()), config(), Box::new(InOrder)).unwrap();
    let frames = config().segment_bytes / 72;
    let (mut crashes, mut seed) = (0, 0);
    for away in (0..).step_by(2) {
        let disk = SimDisk::new(Timeline::default());
        drop(open(&disk));
        let file = disk.open("wal-000.log", OpenMode::Write).unwrap();
        (0..frames).for_each(|lsn| file.write_at(lsn * 72, &raw_frame(lsn)).unwrap());
        drop(file);
        // And no sync: the process has been killed.
        disk.arm_crash(away, When::After);
        let opened = Engine::open_with(Arc::new(disk.clone()), config(), Box::new(InOrder));
        if !disk.is_dead() {
            assert_eq!(opened.unwrap().query(1, ..).unwrap().len() as u64, frames);
            break;
        }
        for _ in 0..5 {
            seed += 1;
            crashes += 1;
            let left = disk.power_cut(&mut Chooser::from_seed(seed), Profile::Any);
            let found = open(&left).query(1, ..).unwrap();
            assert!(found.iter().map(|point| point.ts_us).eq(0..found.len() as i64), "a prefix");
        }
    }
    assert!(crashes > 100, "{crashes} power cuts");
}
