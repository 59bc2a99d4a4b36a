//! The engine: open, write, sync, flush, query, close. Wiring; the algorithms are in the modules below it.
//!
//! A call's way: `write` pushes into a tag buffer, in memory. The background threads, or whoever needs it sooner, append
//! full batches to the log of the tag's stream. `sync` appends what is left in every stream and commits. A flush seals
//! buffers, commits their frames, writes blocks, and - in `Stream::flush_in` - makes chunk, manifest and ring follow each
//! other in the one order that loses nothing (I4).

use crate::background::{Background, Unreported};
use crate::config::{Config, Durability};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::exec::{Exec, InOrder, Pool};
use crate::health::Health;
use crate::plant::{self, Bug};
use crate::point::{Point, TagId};
use crate::query::{self, Scan};
use crate::recovery::{self, Progress, RecoveryReport, Watch};
use crate::stats::{Counters, Stats};
use crate::store::{Committer, Store};
use crate::stream::{Shared, Stream};
use crate::sync::{Arc, AtomicBool, Bell, Mutex, Ordering, Rank};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

/// The name of the file whose lock makes sure that one engine at a time is open.
pub(crate) const LOCK_NAME: &str = "LOCK";

/// An open store: a shared handle. Clones are the same engine; all methods may be called from many threads.
///
/// Dropping the last handle stops its threads and flushes nothing: what was not made durable is as if the process had
/// been killed. [`close`](Engine::close) is the way to end that promises something.
///
/// ```
/// # use std::sync::Arc;
/// # use tidewall::disk::MemDisk;
/// # use tidewall::{Config, Engine, Point};
/// let engine = Engine::open(Arc::new(MemDisk::new()), Config::default())?;
/// let sensors: Vec<_> = (1..=3)
///     .map(|tag| {
///         let engine = engine.clone();
///         std::thread::spawn(move || (0..100).try_for_each(|ts| engine.write(Point::new(tag, ts, 0.5))))
///     })
///     .collect();
/// for sensor in sensors {
///     sensor.join().unwrap()?;
/// }
/// assert_eq!(engine.tags()?, [1, 2, 3]);
/// engine.close()?;
/// # Ok::<(), tidewall::Error>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    // Declared first, so dropped first: the threads end before the core does.
    background: Option<Arc<Background>>,
    core: Arc<Core>,
}

struct Core {
    shared: Arc<Shared>,
    streams: Vec<Arc<Stream>>,
    unreported: Arc<Unreported>,
    /// Held while the engine is open; dropping it lets another one in.
    lock: Mutex<Option<Arc<dyn DiskFile>>>,
    report: RecoveryReport,
}

impl Engine {
    /// Opens the store on `disk`, creating it if there is none, and recovers what a crash left.
    ///
    /// Everything that queries show after this call is durable.
    ///
    /// # Errors
    /// `Locked` if it is open already; `InvalidConfig` and `Geometry`; `Corrupt` when durable bytes are damaged, and
    /// `NewerFormat` when they are a later version's (nothing is changed then); `Io`, and `ReadOnly` when a sync or a rename
    /// failed, after both of which opening can be tried again.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub fn open(disk: Arc<dyn Disk>, config: Config) -> Result<Engine> {
        Engine::open_watched(disk, config, |_| ())
    }

    /// As [`open`](Engine::open), and reports progress to `watch`: replaying gigabytes of log takes seconds. `watch` is called
    /// once for each segment that was read, and once for each that was replayed, on whichever thread did it.
    ///
    /// ```
    /// # use tidewall::disk::MemDisk;
    /// # use tidewall::{Config, Engine, Progress};
    /// # let disk = std::sync::Arc::new(MemDisk::new());
    /// let engine = Engine::open_watched(disk, Config::default(), |progress| match progress {
    ///     Progress::Read { segments, of } => eprintln!("{segments} of {of} segments read"),
    ///     Progress::Replayed { segments, of } => eprintln!("{segments} of {of} segments replayed"),
    ///     _ => {}
    /// })?;
    /// # Ok::<(), tidewall::Error>(())
    /// ```
    ///
    /// # Errors and panics
    /// As [`open`](Engine::open).
    pub fn open_watched(
        disk: Arc<dyn Disk>,
        config: Config,
        watch: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Engine> {
        // At least a thread for each stream, so that their syncs are at work at the same time.
        let workers = config.flush_workers.max(config.wal_streams);
        let exec: Box<dyn Exec> = if workers > 1 { Box::new(Pool::new(workers)) } else { Box::new(InOrder) };
        Engine::recover(disk, config, exec, Arc::new(watch))
    }

    /// As [`open`](Engine::open), with the caller's own way to run parallel work, for which [`flush_workers`](Config::flush_workers)
    /// is then not used.
    ///
    /// # Errors and panics
    /// As [`open`](Engine::open).
    pub fn open_with(disk: Arc<dyn Disk>, config: Config, exec: Box<dyn Exec>) -> Result<Engine> {
        Engine::recover(disk, config, exec, Arc::new(|_| ()))
    }

    fn recover(
        disk: Arc<dyn Disk>,
        config: Config,
        exec: Box<dyn Exec>,
        watch: Arc<Watch>,
    ) -> Result<Engine> {
        config.check()?;
        let mode = if plant::on(Bug::F21) { OpenMode::Create } else { OpenMode::Lock };
        let lock = disk.open(LOCK_NAME, mode).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked,
            _ => Error::io("lock", LOCK_NAME, error),
        })?;
        let health = Arc::new(Health::new());
        let recovered = recovery::recover(&disk, &health, &config, &*exec, &watch)?;
        let shared = Arc::new(Shared {
            exec: exec.into(),
            health,
            store: Arc::new(Store::new(disk, recovered.version, config.cache_bytes)),
            manifest: Committer::new(recovered.manifest),
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            flusher: Bell::new(),
            config,
        });
        let stream = |(number, parts): (usize, recovery::StreamParts)| {
            Arc::new(Stream::new(number, shared.clone(), parts.buffers, parts.log, parts.chunks))
        };
        let streams: Vec<_> = recovered.streams.into_iter().enumerate().map(stream).collect();
        let unreported = Arc::new(Unreported::new());
        let background = shared
            .config
            .flush_delay_ms
            .map(|ms| Arc::new(Background::start(Duration::from_millis(ms), &streams, &shared, &unreported)));
        let lock = Mutex::new(Rank::Leaf, Some(lock));
        let core = Arc::new(Core { shared, streams, unreported, lock, report: recovered.report });
        Ok(Engine { background, core })
    }

    /// What opening found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.core.report
    }

    /// Accepts a point: every later query sees it. It is durable after [`sync`](Engine::sync), or on return with
    /// [`Durability::Immediate`].
    ///
    /// # Errors
    /// As [`write_batch`](Engine::write_batch).
    #[inline]
    pub fn write(&self, point: Point) -> Result<()> {
        // Not `ok_or`: an error that is made for each point has to be dropped for each, too.
        let Some(tag) = TagId::new(point.tag) else { return Err(Error::InvalidTag { index: 0 }) };
        let core = &*self.core;
        let stream = core.stream(tag);
        core.admit([stream])?;
        stream.accept(point)?;
        match core.shared.config.durability {
            Durability::Batched => Ok(()),
            Durability::Immediate => stream.sync(),
        }
    }

    /// Accepts points, in this order. Cheaper than one at a time, above all when points of one tag stand together.
    ///
    /// ```
    /// # use tidewall::disk::MemDisk;
    /// # use tidewall::{Config, Engine, Point};
    /// # let engine = Engine::open(std::sync::Arc::new(MemDisk::new()), Config::default())?;
    /// let minute: Vec<_> = (0..60).map(|second| Point::new(7, second * 1_000_000, 21.5)).collect();
    /// engine.write_batch(&minute)?;
    /// assert_eq!(engine.query(7, ..)?, minute);
    ///
    /// // All or nothing: 0 is no tag, so the first point is not accepted either.
    /// assert!(engine.write_batch(&[Point::new(8, 0, 1.0), Point::new(0, 0, 1.0)]).is_err());
    /// assert_eq!(engine.tags()?, [7]);
    /// # Ok::<(), tidewall::Error>(())
    /// ```
    ///
    /// Does not wait for the disk, unless the log or the flusher has fallen behind by
    /// [`backlog_points`](Config::backlog_points) or [`buffer_bytes`](Config::buffer_bytes), or with
    /// [`Durability::Immediate`].
    ///
    /// # Errors
    /// `InvalidTag`, `Closed`, `ReadOnly`, and `Io` when a background thread has run into an error since the last call
    /// that could report one, or when the log has fallen behind and cannot catch up (for want of space): nothing
    /// of the call was accepted. With [`Durability::Immediate`], `Io` and `ReadOnly` may also mean that the points
    /// were accepted and are not durable. If another thread calls `close` meanwhile, `Closed` may come when some of the points have been
    /// accepted and others have not; those that have been are flushed if that `close` returns `Ok`.
    pub fn write_batch(&self, points: &[Point]) -> Result<()> {
        if let Some(index) = points.iter().position(|point| point.tag == 0) {
            if plant::on(Bug::W19) {
                self.write_batch(&points[..index])?;
            }
            return Err(Error::InvalidTag { index });
        }
        let core = &*self.core;
        core.admit(core.streams_of(points).map(|stream| &**stream))?;
        core.streams_of(points).try_for_each(|stream| stream.accept_all(points))?;
        match core.shared.config.durability {
            Durability::Batched => Ok(()),
            Durability::Immediate if plant::on(Bug::X1) => core.sync_streams_of(&points[..1]),
            Durability::Immediate => core.sync_streams_of(points),
        }
    }

    /// Makes every point that was accepted before this call durable. Concurrent calls share their disk syncs.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidewall::disk::MemDisk;
    /// # use tidewall::{Config, Engine, Point};
    /// let disk = MemDisk::new();
    /// let engine = Engine::open(Arc::new(disk.clone()), Config::default())?;
    /// engine.write(Point::new(7, 1, 21.5))?;
    /// engine.sync()?;
    /// engine.write(Point::new(7, 2, 22.5))?; // accepted, and in no sync
    ///
    /// let disk = disk.power_cut(|_| 0); // of what was not synced, nothing survives
    /// let engine = Engine::open(Arc::new(disk), Config::default())?;
    /// assert_eq!(engine.query(7, ..)?, [Point::new(7, 1, 21.5)]);
    /// # Ok::<(), tidewall::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io` when frames could not be written: nothing is lost, and the call can be repeated. `ReadOnly` when a sync
    /// failed: what was accepted since the last successful one may or may not survive a crash. `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.core.begin()?;
        self.core.sync()
    }

    /// Makes every point that was accepted before this call durable and puts it into blocks; its log segments are free
    /// again.
    ///
    /// # Errors
    /// As [`sync`](Engine::sync); points that are not flushed are still in the log and in memory.
    pub fn flush(&self) -> Result<()> {
        self.core.begin()?;
        self.core.flush()
    }

    /// The points of one tag in a range of time (µs), in order of time, each time once.
    ///
    /// ```
    /// # use tidewall::disk::MemDisk;
    /// # use tidewall::{Config, Engine, Point};
    /// # let engine = Engine::open(std::sync::Arc::new(MemDisk::new()), Config::default())?;
    /// for ts_us in [30, 10, 20, 10] {
    ///     engine.write(Point::new(7, ts_us, ts_us as f64))?;
    /// }
    /// engine.write(Point::new(7, 20, -1.0))?; // a key that is there: the last accepted write wins
    ///
    /// assert_eq!(engine.query(7, 20..=30)?, [Point::new(7, 20, -1.0), Point::new(7, 30, 30.0)]);
    /// assert_eq!(engine.query(7, ..)?.len(), 3);
    /// assert_eq!(engine.query(8, ..)?, []);
    /// # Ok::<(), tidewall::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidTag`, `Closed`; `Corrupt` or `Io` when a block cannot be read as it was written. There are no partial
    /// answers. Works on a read-only engine.
    pub fn query(&self, tag: u32, range: impl RangeBounds<i64>) -> Result<Vec<Point>> {
        let tag = TagId::new(tag).ok_or(Error::InvalidTag { index: 0 })?;
        self.core.check()?;
        let (shared, buffers) = (&self.core.shared, self.core.stream(tag).buffers());
        if plant::on(Bug::Q7) {
            shared.health.check()?;
        }
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        query::run(&*shared.exec, buffers, &shared.store, tag, range)
    }

    /// As [`query`](Engine::query), for answers too large for memory: blocks are read as the iterator reaches them. It shows what
    /// was there when `scan` was called.
    ///
    /// ```
    /// # use tidewall::disk::MemDisk;
    /// # use tidewall::{Config, Engine, Point};
    /// # let engine = Engine::open(std::sync::Arc::new(MemDisk::new()), Config::default())?;
    /// engine.write_batch(&[Point::new(7, 1, 20.0), Point::new(7, 2, 30.0), Point::new(7, 3, 25.0)])?;
    /// let mut hottest = f64::MIN;
    /// for point in engine.scan(7, 2..)? {
    ///     hottest = hottest.max(point?.value);
    /// }
    /// assert_eq!(hottest, 30.0);
    /// # Ok::<(), tidewall::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidTag`, `Closed`. The iterator's: `Corrupt` or `Io` when a block cannot be read as it was written; nothing comes
    /// after that. It goes on when the engine is closed.
    pub fn scan(&self, tag: u32, range: impl RangeBounds<i64>) -> Result<Scan> {
        let tag = TagId::new(tag).ok_or(Error::InvalidTag { index: 0 })?;
        self.core.check()?;
        let end = if plant::on(Bug::Q8) { Bound::Unbounded } else { range.end_bound().cloned() };
        let range = (range.start_bound().cloned(), end);
        Ok(Scan::begin(self.core.stream(tag).buffers(), &self.core.shared.store, tag, range))
    }

    /// The point of a tag with the latest time, if it has any. Of its blocks only those are read that may hold it.
    ///
    /// ```
    /// # use tidewall::disk::MemDisk;
    /// # use tidewall::{Config, Engine, Point};
    /// # let engine = Engine::open(std::sync::Arc::new(MemDisk::new()), Config::default())?;
    /// engine.write(Point::new(7, 2_000_000, 22.5))?;
    /// engine.write(Point::new(7, 1_000_000, 21.5))?; // came late, and is not the latest
    /// assert_eq!(engine.latest(7)?, Some(Point::new(7, 2_000_000, 22.5)));
    /// assert_eq!(engine.latest(8)?, None);
    /// # Ok::<(), tidewall::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`query`](Engine::query).
    pub fn latest(&self, tag: u32) -> Result<Option<Point>> {
        let id = TagId::new(tag).ok_or(Error::InvalidTag { index: 0 })?;
        self.core.check()?;
        match query::latest_ts(self.core.stream(id).buffers(), &self.core.shared.store, id) {
            // Not only that time: a later point may have been accepted meanwhile.
            Some(ts_us) => Ok(self.query(tag, ts_us..)?.pop()),
            None => Ok(None),
        }
    }

    /// All tags that have points, in rising order.
    ///
    /// # Errors
    /// `Closed`.
    pub fn tags(&self) -> Result<Vec<u32>> {
        self.core.check()?;
        // Memory first, as in a query.
        let mut tags: Vec<_> = self.core.streams.iter().flat_map(|stream| stream.buffers().tags()).collect();
        if !plant::on(Bug::Q3) {
            self.core.shared.store.version(|version| tags.extend(version.tags.keys()));
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(tags.into_iter().map(TagId::get).collect())
    }

    /// Counters and watermarks. Works on a closed engine too.
    pub fn stats(&self) -> Stats {
        Stats::gather(&self.core.shared, &self.core.streams)
    }

    /// One background step. It appends what waits in inboxes, tag batches that are half full, and those that an earlier step saw
    /// already, and writes them to the log without a sync: they then survive the process, but not the machine. It flushes the tags
    /// that keep the log from its next segment and, if [`buffer_bytes`](Config::buffer_bytes) is at least half used, sealed
    /// buffers; if that is not enough, everything that is in frames. The engine's own threads do so every
    /// [`flush_delay_ms`](Config::flush_delay_ms); without them, the caller should.
    ///
    /// # Errors
    /// As [`sync`](Engine::sync).
    pub fn step(&self) -> Result<()> {
        self.core.begin()?;
        self.core.step()
    }

    /// Flushes everything and ends: opening the store again will replay nothing. The background threads have ended, all
    /// handles answer `Closed` from then on, and the directory is free for another opener. Calls in flight on other
    /// threads complete, or get `Closed`; what they were told was accepted has been flushed.
    ///
    /// # Errors
    /// As [`flush`](Engine::flush), and then the engine is still open, unless it was `Closed` already. After `ReadOnly`
    /// nothing but dropping it is left to do.
    pub fn close(&self) -> Result<()> {
        self.core.begin()?;
        if self.core.shared.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::Closed);
        }
        // Writers look at the flag under the lock of a lane, or of a shard: after this no point is accepted any more.
        if !plant::on(Bug::R9) {
            self.core.streams.iter().for_each(|stream| stream.buffers().wait_for_writers());
        }
        let flushed = if plant::on(Bug::F22) { self.core.step() } else { self.core.flush() };
        if let Err(error) = flushed {
            self.core.shared.closed.store(false, Ordering::Release);
            return Err(error);
        }
        if let Some(background) = &self.background {
            background.stop();
        }
        drop(self.core.lock.lock().take());
        Ok(())
    }
}

impl Core {
    fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    fn check(&self) -> Result<()> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Before a call that could report an error of the background threads.
    fn begin(&self) -> Result<()> {
        self.check()?;
        self.unreported.report()
    }

    fn stream(&self, tag: TagId) -> &Stream {
        &self.streams[tag.stream(self.streams.len())]
    }

    /// Whether points for these streams may be accepted. Before the first of them is, so that a refusal is one of the whole
    /// call.
    fn admit<'a>(&self, streams: impl IntoIterator<Item = &'a Stream>) -> Result<()> {
        // Looked at in one breath: results on the way of each point cost as much as its place in memory.
        if self.is_closed() || self.unreported.is_some() || self.shared.health.has_failed() {
            self.begin()?;
            self.shared.health.check()?;
        }
        for stream in streams {
            if stream.is_behind() {
                stream.catch_up()?;
            }
        }
        Ok(())
    }

    /// The streams that these points belong to, each once.
    fn streams_of(&self, points: &[Point]) -> impl Iterator<Item = &Arc<Stream>> {
        let streams = self.streams.len();
        let wanted = match (streams, points) {
            (1, _) => 1,
            (_, points) => points
                .iter()
                .filter_map(|point| TagId::new(point.tag))
                .fold(0u32, |wanted, tag| wanted | 1 << tag.stream(streams)),
        };
        self.streams.iter().enumerate().filter(move |(number, _)| wanted >> number & 1 == 1).map(|(_, it)| it)
    }

    fn sync(&self) -> Result<()> {
        self.shared.each(&self.streams, Stream::sync)
    }

    fn sync_streams_of(&self, points: &[Point]) -> Result<()> {
        self.shared.each(&self.streams_of(points).cloned().collect::<Vec<_>>(), Stream::sync)
    }

    fn flush(&self) -> Result<()> {
        self.shared.each(&self.streams, Stream::flush)
    }

    fn step(&self) -> Result<()> {
        self.shared.each(&self.streams, Stream::step_log)?;
        self.shared.each(&self.streams, Stream::step_flush)
    }
}
