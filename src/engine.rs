//! The engine: open, write, sync, flush, query, close. Wiring; the algorithms are in the modules below it.
//!
//! A call's way: `write` pushes into a tag buffer and, when that makes a full batch, appends a frame to the log.
//! `sync` appends what is left and commits. A flush seals buffers, commits their frames, writes blocks, and - in
//! [`Core::flush_scope`] - makes chunk, manifest and ring follow each other in the one order that loses nothing (I4).

use crate::background::Ticker;
use crate::buffer::{Buffers, Scope, Tails};
use crate::config::{Config, Durability};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::exec::{Exec, InOrder, Pool};
use crate::flush::{plan, write_blocks};
use crate::health::Health;
use crate::plant::{self, Bug};
use crate::point::{Point, TagId};
use crate::query;
use crate::recovery::{self, RecoveryReport};
use crate::stats::Stats;
use crate::store::version::Edit;
use crate::store::{ChunkWriter, ManifestWriter, Store};
use crate::sync::{Arc, AtomicBool, AtomicU64, Guard, Mutex, Ordering, Rank};
use crate::wal::Log;
use std::io;
use std::ops::RangeBounds;
use std::time::Duration;

/// The name of the file whose lock makes sure that one engine at a time is open.
pub(crate) const LOCK_NAME: &str = "LOCK";

/// An open store: a shared handle. Clones are the same engine; all methods may be called from many threads.
///
/// Dropping the last handle stops its thread and flushes nothing: what was not made durable is as if the process had
/// been killed. [`close`](Engine::close) is the way to end that promises something.
#[derive(Clone)]
pub struct Engine {
    // Declared first, so dropped first: the thread ends before the core does.
    _ticker: Option<Arc<Ticker>>,
    core: Arc<Core>,
}

struct Core {
    config: Config,
    exec: Box<dyn Exec>,
    health: Arc<Health>,
    buffers: Buffers,
    log: Log,
    store: Store,
    /// The turn to flush, and what only a flush writes to.
    flusher: Mutex<Flusher>,
    /// A batch could not be appended: the next call tries again, and reports it if it still cannot.
    stalled: AtomicBool,
    closed: AtomicBool,
    /// Held while the engine is open; dropping it lets another one in.
    lock: Mutex<Option<Arc<dyn DiskFile>>>,
    report: RecoveryReport,
    counters: Counters,
}

struct Flusher {
    chunks: ChunkWriter,
    manifest: ManifestWriter,
}

/// Counted outside the flusher, so that nobody has to wait for a flush to read them.
#[derive(Default)]
struct Counters {
    backpressure_waits: AtomicU64,
    flushes: AtomicU64,
    blocks: AtomicU64,
    block_bytes: AtomicU64,
}

impl Engine {
    /// Opens the store on `disk`, creating it if there is none, and recovers what a crash left.
    ///
    /// Everything that queries show after this call is durable.
    ///
    /// # Errors
    /// `Locked` if it is open already; `InvalidConfig` and `Geometry`; `Corrupt` when durable bytes are damaged
    /// (nothing is changed then); `Io`, and `ReadOnly` when a sync or a rename failed, after both of which opening can be
    /// tried again.
    pub fn open(disk: Arc<dyn Disk>, config: Config) -> Result<Engine> {
        let exec: Box<dyn Exec> = if config.flush_workers > 1 {
            Box::new(Pool::new(config.flush_workers))
        } else {
            Box::new(InOrder)
        };
        Engine::open_with(disk, config, exec)
    }

    /// As [`open`](Engine::open), with the caller's own way to run parallel block work.
    ///
    /// # Errors
    /// As [`open`](Engine::open).
    pub fn open_with(disk: Arc<dyn Disk>, config: Config, exec: Box<dyn Exec>) -> Result<Engine> {
        config.check()?;
        let lock = disk.open(LOCK_NAME, OpenMode::Lock).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::Locked,
            _ => Error::io("lock", LOCK_NAME, error),
        })?;
        let health = Arc::new(Health::new());
        let recovered = recovery::recover(&disk, &health, &config)?;
        let core = Arc::new(Core {
            exec,
            health,
            buffers: recovered.buffers,
            log: recovered.log,
            store: Store::new(disk, recovered.version),
            flusher: Mutex::new(
                Rank::Flush,
                Flusher { chunks: recovered.chunks, manifest: recovered.manifest },
            ),
            stalled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Rank::Leaf, Some(lock)),
            report: recovered.report,
            counters: Counters::default(),
            config,
        });
        let ticker = core.config.flush_delay_ms.map(|ms| {
            let core = core.clone();
            // A step that fails leaves what it wanted to do undone, and `stalled` or the log's health as a trace: the
            // next call that can report the cause runs into it.
            Arc::new(Ticker::start(Duration::from_millis(ms), move || drop(core.step())))
        });
        Ok(Engine { _ticker: ticker, core })
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
    pub fn write(&self, point: Point) -> Result<()> {
        self.write_batch(&[point])
    }

    /// Accepts points, in this order. Cheaper than one at a time, above all when points of one tag stand together.
    ///
    /// # Errors
    /// `InvalidTag`, `Closed`, `ReadOnly`, and `Io` when earlier batches cannot be appended for want of space: nothing
    /// of the call was accepted. With [`Durability::Immediate`], `Io` and `ReadOnly` may also mean that the points
    /// were accepted and are not durable. A `close` from another thread may cut the call short with `Closed`.
    pub fn write_batch(&self, points: &[Point]) -> Result<()> {
        if let Some(index) = points.iter().position(|point| point.tag == 0) {
            return Err(Error::InvalidTag { index });
        }
        let core = &*self.core;
        core.admit()?;
        for run in points.chunk_by(|a, b| a.tag == b.tag) {
            core.accept(TagId::new(run[0].tag).expect("checked above"), run)?;
        }
        if core.stalled.load(Ordering::Acquire) {
            // The points are accepted; what keeps their batch from the log is the next call's to report.
            drop(core.relieve());
        }
        match core.config.durability {
            Durability::Batched => Ok(()),
            Durability::Immediate => core.sync(),
        }
    }

    /// Makes every point that was accepted before this call durable. Concurrent calls share their disk syncs.
    ///
    /// # Errors
    /// `Io` when frames could not be written: nothing is lost, and the call can be repeated. `ReadOnly` when a sync
    /// failed: what was accepted since the last successful one may or may not survive a crash. `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.core.check()?;
        self.core.sync()
    }

    /// Makes every point that was accepted before this call durable and puts it into blocks; its log segments are free
    /// again.
    ///
    /// # Errors
    /// As [`sync`](Engine::sync); points that are not flushed are still in the log and in memory.
    pub fn flush(&self) -> Result<()> {
        self.core.check()?;
        self.core.flush()
    }

    /// The points of one tag in a range of time (µs), in order of time, each time once.
    ///
    /// # Errors
    /// `InvalidTag`, `Closed`; `Corrupt` or `Io` when a block cannot be read as it was written. There are no partial
    /// answers. Works on a read-only engine.
    pub fn query(&self, tag: u32, range: impl RangeBounds<i64>) -> Result<Vec<Point>> {
        let tag = TagId::new(tag).ok_or(Error::InvalidTag { index: 0 })?;
        self.core.check()?;
        query::run(&self.core.buffers, &self.core.store, tag, &range)
    }

    /// All tags that have points, in rising order.
    ///
    /// # Errors
    /// `Closed`.
    pub fn tags(&self) -> Result<Vec<u32>> {
        self.core.check()?;
        // Memory first, as in a query.
        let mut tags = self.core.buffers.tags();
        self.core.store.version(|version| tags.extend(version.tags.keys()));
        tags.sort_unstable();
        tags.dedup();
        Ok(tags.into_iter().map(TagId::get).collect())
    }

    /// Counters and watermarks. Works on a closed engine too.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// One background step: appends tag batches that are half full or that an earlier step saw already, hands what is
    /// appended to the operating system, and flushes sealed buffers. The engine's own thread calls it every
    /// [`flush_delay_ms`](Config::flush_delay_ms); without one, the caller should.
    ///
    /// # Errors
    /// As [`sync`](Engine::sync).
    pub fn step(&self) -> Result<()> {
        self.core.step()
    }

    /// Flushes everything and ends: opening the store again will replay nothing. All handles answer `Closed` from then
    /// on, and the directory is free for another opener.
    ///
    /// # Errors
    /// As [`flush`](Engine::flush), and then the engine is still open, unless it was `Closed` already. After `ReadOnly`
    /// nothing but dropping it is left to do.
    pub fn close(&self) -> Result<()> {
        self.core.close()
    }
}

impl Core {
    fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Whether points may be accepted: a batch that an earlier call could not append has to go first, so that what is
    /// in memory and not in the log is bounded, and so that the cause is heard.
    fn admit(&self) -> Result<()> {
        self.check()?;
        self.health.check()?;
        if self.stalled.load(Ordering::Acquire) { self.relieve() } else { Ok(()) }
    }

    fn accept(&self, tag: TagId, points: &[Point]) -> Result<()> {
        let batch_points = self.config.batch_points;
        let mut shard = self.buffers.lock(tag);
        // Under the shard's lock: `close` raises the flag before it goes through the shards.
        self.check()?;
        for point in points {
            let buffer = shard.push(tag, point.entry());
            if buffer.tail_points() < batch_points || self.stalled.load(Ordering::Relaxed) {
                continue;
            }
            let append = &mut |tag, batch: &[_]| self.log.batch_append(tag, batch);
            if !matches!(buffer.append_tail(tag, batch_points, false, append), Ok(true)) {
                self.stalled.store(true, Ordering::Release);
            }
            if buffer.appended_points() >= self.config.block_points && buffer.seal(tag) {
                self.buffers.count_sealed(1);
                if self.too_much_sealed() {
                    self.stalled.store(true, Ordering::Release);
                }
            }
        }
        Ok(())
    }

    fn too_much_sealed(&self) -> bool {
        self.buffers.sealed() >= self.config.sealed_max as u64
    }

    /// Does what writers are waiting for: sealed buffers to be flushed, segments to be free, batches to be appended.
    fn relieve(&self) -> Result<()> {
        self.counters.backpressure_waits.fetch_add(1, Ordering::Relaxed);
        if self.too_much_sealed() {
            self.flush_scope(&mut self.flusher.lock(), Scope::Sealed)?;
        }
        self.append_tails(Tails::Full)?;
        self.stalled.store(false, Ordering::Release);
        Ok(())
    }

    /// Appends tails, flushing the oldest segment's tags whenever the log has no free segment.
    fn append_tails(&self, which: Tails) -> Result<()> {
        while !self.buffers.append_tails(which, &mut |tag, batch| self.log.batch_append(tag, batch))? {
            let mut flusher = self.flusher.lock();
            // Another thread may have freed one while this one waited for its turn.
            if let Some(lsn) = self.log.wanted_checkpoint() {
                self.counters.backpressure_waits.fetch_add(1, Ordering::Relaxed);
                let retired = self.flush_scope(&mut flusher, Scope::Below(lsn))?;
                assert!(retired > 0, "flushing everything below LSN {lsn} frees the segment that ends there");
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.append_tails(Tails::All)?;
        self.log.commit(self.log.watermarks().appended)
    }

    fn flush(&self) -> Result<()> {
        self.append_tails(Tails::All)?;
        self.flush_scope(&mut self.flusher.lock(), Scope::All).map(drop)
    }

    /// One flush: the blocks of sealed buffers, named by one edit. Returns how many segments became free.
    fn flush_scope(&self, flusher: &mut Guard<'_, Flusher>, scope: Scope) -> Result<usize> {
        let flusher = &mut **flusher;
        let appended_lsn = self.log.watermarks().appended;
        let sealed = self.buffers.seal(scope);
        if plant::on(Bug::F2) {
            self.buffers.release(&sealed);
        }
        // I3: a block holds only points below `durable_lsn`.
        let durable_lsn = sealed.iter().map(|sealed| sealed.end_lsn).max().unwrap_or_default();
        self.log.commit(durable_lsn)?;
        let blocks = write_blocks(&*self.exec, &mut flusher.chunks, self.config.block_points, &sealed)?;
        let checkpoint_lsn = plan::checkpoint(appended_lsn, self.buffers.first_unflushed(&sealed));
        let durable_lsn = self.log.watermarks().durable;
        let edit = Edit { blocks, watermarks: Some((checkpoint_lsn, durable_lsn)), ..Edit::default() };
        let published_lsn = self.store.version(|version| version.checkpoint_lsn);
        if edit.blocks.is_empty() && checkpoint_lsn <= published_lsn {
            // Nothing to say; but a segment may have been filled since the last edit with points that it covers.
            return Ok(self.log.retire(published_lsn));
        }
        // I4: the blocks are durable before the manifest names them, and the manifest before a segment is reused.
        flusher.chunks.sync()?;
        flusher.manifest.append(&edit)?;
        flusher.manifest.sync()?;
        let retired = self.log.retire(checkpoint_lsn);
        // Visible in the version before it is gone from memory, so that a query finds it in one of the two.
        self.store.publish(&edit);
        self.buffers.release(&sealed);
        let block_bytes = edit.blocks.iter().map(|block| u64::from(block.len)).sum();
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        self.counters.blocks.fetch_add(edit.blocks.len() as u64, Ordering::Relaxed);
        self.counters.block_bytes.fetch_add(block_bytes, Ordering::Relaxed);
        let manifest = &mut flusher.manifest;
        self.store.version(|version| manifest.shorten(&self.config, version))?;
        Ok(retired)
    }

    fn step(&self) -> Result<()> {
        self.check()?;
        self.append_tails(Tails::Due)?;
        self.log.write_staged()?;
        if self.buffers.sealed() > 0 {
            self.flush_scope(&mut self.flusher.lock(), Scope::Sealed)?;
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::Closed);
        }
        // From here no point is accepted: writers look at the flag under their shard's lock.
        if let Err(error) = self.flush() {
            self.closed.store(false, Ordering::Release);
            return Err(error);
        }
        drop(self.lock.lock().take());
        Ok(())
    }

    fn stats(&self) -> Stats {
        let (log, segments, busy) = self.log.stats();
        let marks = self.log.watermarks();
        Stats {
            frames: log.appends,
            appended_points: log.appended_points,
            log_lock_acquisitions: log.lock_acquisitions,
            log_syncs: log.syncs,
            log_sync_waits: log.sync_waits,
            log_writes: log.writes,
            log_written_bytes: log.written_bytes,
            rotations: log.rotations,
            grown_segments: log.grown_segments,
            segments: segments as u64,
            busy_segments: busy as u64,
            backpressure_waits: self.counters.backpressure_waits.load(Ordering::Relaxed),
            flushes: self.counters.flushes.load(Ordering::Relaxed),
            blocks_written: self.counters.blocks.load(Ordering::Relaxed),
            block_bytes: self.counters.block_bytes.load(Ordering::Relaxed),
            buffered_points: self.buffers.points(),
            sealed_buffers: self.buffers.sealed(),
            appended_lsn: marks.appended,
            durable_lsn: marks.durable,
            checkpoint_lsn: marks.checkpoint,
        }
    }
}
