//! A store in a directory of its own, points that can be told apart, a disk with a hook before every call, and ways to
//! wait for other threads that neither sleep nor read a clock.

use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use tempfile::TempDir;
use tidewall::disk::{Disk, DiskFile, OpenMode, RealDisk};
use tidewall::{Config, Corruption, Engine, Error, Inspection, Point, Result, TagId, inspect};
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::{Profile, SimDisk};

/// Everything small, so that a few hundred points fill batches, blocks, segments, chunks and the manifest; and no
/// thread of the engine's own, so that a test does the same each time: a writer that finds a full batch appends it.
pub fn small() -> Config {
    Config {
        batch_points: 10,
        block_points: 40,
        backlog_points: 10,
        buffer_bytes: 1_000,
        shards: 4,
        inbox_points: 0,
        segment_bytes: 4096,
        segments: 2,
        segments_max: 4,
        staging_bytes: 1024,
        sector_bytes: 512,
        chunk_bytes: 8192,
        manifest_bytes: 4096,
        cache_bytes: 1 << 20,
        flush_workers: 2,
        flush_delay_ms: None,
        ..Config::default()
    }
}

/// A log that never gets full, so that nothing is flushed before the test says so.
pub fn roomy() -> Config {
    Config { segment_bytes: 1 << 20, chunk_bytes: 1 << 20, buffer_bytes: 1 << 30, ..small() }
}

/// The `n`th point of a tag: a time, a value and a quality that no other point has all of.
pub fn point(tag: u32, n: usize) -> Point {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(tag) << 17;
    Point { tag, ts_us: 1_000 * n as i64, value: (mixed >> 11) as f64 / 1024.0, quality: mixed as u8 }
}

/// The points `0 .. count` of a tag, in order of time.
pub fn points(tag: u32, count: usize) -> Vec<Point> {
    (0..count).map(|n| point(tag, n)).collect()
}

/// As [`small`], with log streams, and with the engine's own threads at the shortest tick there is. What they do not do,
/// nobody does: no writer ever finds the backlog too long.
pub fn with_threads(wal_streams: usize) -> Config {
    Config { wal_streams, backlog_points: 1 << 20, flush_delay_ms: Some(1), ..small() }
}

/// The log stream of a tag.
pub fn stream_of(tag: u32, wal_streams: usize) -> usize {
    TagId::new(tag).expect("a tag").stream(wal_streams)
}

/// The first tag of each log stream.
pub fn tag_of_each(wal_streams: usize) -> Vec<u32> {
    let first = |stream| (1..).find(|tag| stream_of(*tag, wal_streams) == stream).expect("each has some");
    (0..wal_streams).map(first).collect()
}

/// Enough for a thread that is there to do what it does each millisecond, on any machine that this runs on.
const POLLS: u64 = 50_000_000;

/// Waits for something that another thread does.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..POLLS {
        if done() {
            return;
        }
        thread::yield_now();
    }
    panic!("nobody did it: {what}");
}

/// What is left when the power fails, drawn from a seed.
pub fn power_cut(disk: &SimDisk, seed: u64) -> SimDisk {
    disk.power_cut(&mut Chooser::from_seed(seed), Profile::Any)
}

pub fn open_sim(disk: &SimDisk, config: &Config) -> Engine {
    Engine::open(Arc::new(disk.clone()), config.clone()).expect("a sound store opens")
}

/// A directory, and the configuration that its store is opened with.
pub struct Store {
    dir: TempDir,
    pub config: Config,
}

impl Store {
    pub fn new(config: Config) -> Store {
        Store { dir: tempfile::tempdir().expect("a temporary directory"), config }
    }

    pub fn disk(&self) -> RealDisk {
        RealDisk::new(self.dir.path()).expect("the directory is there")
    }

    pub fn try_open(&self) -> Result<Engine> {
        Engine::open(Arc::new(self.disk()), self.config.clone())
    }

    pub fn open(&self) -> Engine {
        self.try_open().expect("a sound store opens")
    }

    /// Opens the store on a disk that asks `hook` first.
    pub fn try_open_hooked(&self, hook: impl Hook) -> Result<Engine> {
        let disk = Hooked { inner: Arc::new(self.disk()), hook: Arc::new(hook) };
        Engine::open(Arc::new(disk), self.config.clone())
    }

    pub fn open_hooked(&self, hook: impl Hook) -> Engine {
        self.try_open_hooked(hook).expect("a sound store opens")
    }

    /// Opens the store on a disk that counts such calls on files whose names begin with `prefix`.
    pub fn open_counting(&self, counted: Op, prefix: &'static str) -> (Engine, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        let at_disk = calls.clone();
        let engine = self.open_hooked(move |op, file: &str| {
            if op == counted && file.starts_with(prefix) {
                at_disk.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        (engine, calls)
    }

    /// Drops the engine - to the store that is as if its process had been killed - and opens the store again.
    pub fn reopen(&self, engine: Engine) -> Engine {
        drop(engine);
        self.open()
    }

    /// What the directory holds; it must be sound.
    pub fn inspect_sound(&self) -> Inspection {
        let inspection = inspect(&self.disk()).expect("the directory can be read");
        assert_eq!(inspection.damage, [], "{inspection}");
        assert_eq!(inspection.unknown_files, [] as [&str; 0]);
        inspection
    }

    /// Another store with the same files.
    pub fn copy(&self) -> Store {
        let copy = Store::new(self.config.clone());
        for (name, bytes) in self.files() {
            fs::write(copy.path(&name), bytes).expect("writable");
        }
        copy
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Every file and its bytes.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.disk().list().expect("the directory can be listed");
        names.into_iter().map(|name| (name.clone(), fs::read(self.path(&name)).expect("readable"))).collect()
    }

    /// The names of the files that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.files().into_keys().filter(|name| name.starts_with(prefix)).collect()
    }

    /// Changes one bit of a file.
    pub fn flip(&self, file: &str, offset: u64) {
        let mut bytes = fs::read(self.path(file)).expect("readable");
        bytes[offset as usize] ^= 0x10;
        fs::write(self.path(file), bytes).expect("writable");
    }
}

/// What a refused call says of the damage.
#[track_caller]
pub fn corruption<T>(outcome: Result<T>) -> Corruption {
    match outcome {
        Err(Error::Corrupt(corruption)) => corruption,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

/// Opening must refuse the store, for damage in this file at this offset, and change nothing.
#[track_caller]
pub fn assert_refused(store: &Store, file: &str, offset: u64, expected: &str) {
    let before = store.files();
    for _ in 0..2 {
        let found = corruption(store.try_open().map(|_: Engine| ()));
        assert_eq!((found.file.as_str(), found.offset, found.expected.as_str()), (file, offset, expected));
        assert!(store.files() == before, "the refused opening changed a file");
    }
    let inspection = inspect(&store.disk()).expect("the directory can be read");
    let named = |damage: &Corruption| (damage.file.as_str(), damage.offset) == (file, offset);
    assert!(inspection.damage.iter().any(named), "inspect does not show it: {inspection}");
    assert!(store.files() == before, "inspect changed a file");
}

#[track_caller]
pub fn assert_io<T>(outcome: Result<T>, expected_op: &str, expected_file: &str) {
    match outcome {
        Err(error @ Error::Io { op, .. }) => {
            assert!(error.is_transient());
            let Error::Io { file, .. } = &error else { unreachable!() };
            assert_eq!((op, &**file), (expected_op, expected_file));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[track_caller]
pub fn assert_read_only<T>(outcome: Result<T>, expected_cause: &str) {
    match outcome {
        Err(Error::ReadOnly { cause }) => assert_eq!(&*cause, expected_cause),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

/// Asserts that a tag has its first points, at least this many, and nothing else. Returns how many.
#[track_caller]
pub fn assert_prefix(engine: &Engine, tag: u32, least: usize) -> usize {
    let count = engine.query(tag, ..).expect("the tag can be read").len();
    assert!(count >= least, "of {least} points of tag {tag} {count} are there");
    assert_holds(engine, tag, &points(tag, count));
    count
}

/// Asserts that a query of all times answers exactly these points.
#[track_caller]
pub fn assert_holds(engine: &Engine, tag: u32, expected: &[Point]) {
    let found = engine.query(tag, ..).expect("the tag can be read");
    assert_eq!(found.len(), expected.len(), "number of points of tag {tag}");
    let differs = found.iter().zip(expected).find(|(found, expected)| found != expected);
    assert_eq!(differs, None, "the first point of tag {tag} that is not as it was written");
}

/// A call to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Open(OpenMode),
    List,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    Sync,
    SetLen,
}

/// Is asked before each call, with the name of the file (the new one of a rename, none for the directory); an error
/// is what the call then answers.
pub trait Hook: Fn(Op, &str) -> io::Result<()> + Send + Sync + 'static {}
impl<F: Fn(Op, &str) -> io::Result<()> + Send + Sync + 'static> Hook for F {}

/// The real directory behind a hook.
struct Hooked {
    inner: Arc<RealDisk>,
    hook: Arc<dyn Hook>,
}

struct HookedFile {
    name: String,
    inner: Arc<dyn DiskFile>,
    hook: Arc<dyn Hook>,
}

impl Disk for Hooked {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        (self.hook)(Op::Open(mode), name)?;
        let inner = self.inner.open(name, mode)?;
        Ok(Arc::new(HookedFile { name: name.into(), inner, hook: self.hook.clone() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        (self.hook)(Op::List, "")?;
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.hook)(Op::Rename, to)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (self.hook)(Op::Remove, name)?;
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        (self.hook)(Op::SyncDir, "")?;
        self.inner.sync_dir()
    }
}

impl DiskFile for HookedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (self.hook)(Op::Read, &self.name)?;
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        if let Err(error) = (self.hook)(Op::Write, &self.name) {
            // "After an error any part may have been written": half of it has.
            self.inner.write_at(offset, &buf[..buf.len() / 2])?;
            return Err(error);
        }
        self.inner.write_at(offset, buf)
    }

    fn sync(&self) -> io::Result<()> {
        (self.hook)(Op::Sync, &self.name)?;
        self.inner.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        (self.hook)(Op::SetLen, &self.name)?;
        self.inner.set_len(len)
    }
}

/// A fault that a test switches on and off: while it is on, every call of one kind on files whose names begin with a
/// prefix fails, or only the first of them.
#[derive(Default)]
pub struct Fault {
    armed: Mutex<Option<Armed>>,
    fired: AtomicU64,
}

struct Armed {
    op: Op,
    prefix: &'static str,
    once: bool,
    panics: bool,
}

impl Fault {
    pub fn new() -> Arc<Fault> {
        Arc::default()
    }

    pub fn arm(&self, op: Op, prefix: &'static str) {
        *self.armed.lock() = Some(Armed { op, prefix, once: false, panics: false });
    }

    pub fn arm_once(&self, op: Op, prefix: &'static str) {
        *self.armed.lock() = Some(Armed { op, prefix, once: true, panics: false });
    }

    /// The call does not fail, it panics: a mistake in somebody's disk.
    pub fn arm_panic(&self, op: Op, prefix: &'static str) {
        *self.armed.lock() = Some(Armed { op, prefix, once: true, panics: true });
    }

    pub fn disarm(&self) {
        *self.armed.lock() = None;
    }

    /// How often it has fired since it was made.
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::SeqCst)
    }

    /// The hook for [`Store::open_hooked`].
    pub fn hook(self: &Arc<Fault>) -> impl Hook {
        let fault = self.clone();
        move |op, name: &str| {
            let mut armed = fault.armed.lock();
            let Some(strikes) = armed.as_ref().filter(|it| it.op == op && name.starts_with(it.prefix)) else {
                return Ok(());
            };
            let panics = strikes.panics;
            if strikes.once {
                *armed = None;
            }
            drop(armed);
            fault.fired.fetch_add(1, Ordering::SeqCst);
            assert!(!panics, "planted in this test");
            let kind = if op == Op::Write { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            Err(io::Error::new(kind, "injected"))
        }
    }
}

/// The engine's own threads that have come by, and are still alive.
#[derive(Clone)]
pub struct Alive {
    /// What their names begin with.
    names: &'static str,
    count: Arc<AtomicU64>,
}

/// Dropped with the thread that it belongs to, before anybody has joined that.
struct Present(Arc<AtomicU64>);

impl Drop for Present {
    fn drop(&mut self) {
        // Who does not join does not wait for this.
        (0..1000).for_each(|_| thread::yield_now());
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

thread_local! {
    static PRESENT: RefCell<Vec<Present>> = const { RefCell::new(Vec::new()) };
}

impl Alive {
    pub fn named(names: &'static str) -> Alive {
        Alive { names, count: Arc::default() }
    }

    /// Called in a hook: counts the thread, if it is one of those.
    pub fn come_by(&self) {
        if !thread::current().name().is_some_and(|name| name.starts_with(self.names)) {
            return;
        }
        PRESENT.with_borrow_mut(|present| {
            if !present.iter().any(|known| Arc::ptr_eq(&known.0, &self.count)) {
                self.count.fetch_add(1, Ordering::SeqCst);
                present.push(Present(self.count.clone()));
            }
        });
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}
