//! One log stream and the tags that belong to it: from a tag buffer to a checkpoint, without a look at other streams.
//!
//! ```text
//!  writers ──► buffers ──(logger)──► log ──► durable
//!                 │                              flusher
//!                 └──(seal)──► blocks ──► chunk ─────────► manifest (shared by all streams) ──► retire
//! ```
//!
//! Writers only push into memory, and ring a bell when enough has come together. Two background threads do the rest: the
//! stream's *logger* appends and writes out, the engine's *flusher* turns sealed buffers into blocks. Either's work can
//! also be done by whoever needs it sooner - a `sync`, a writer that finds the backlog too long - because all of it is
//! guarded by locks and turns, not by being done on a certain thread.

use crate::background::Woken;
use crate::buffer::{Buffers, Scope, Sealed, Tails};
use crate::codec::mixed::Batch;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::exec::{self, Exec};
use crate::flush::{plan, write_blocks};
use crate::health::Health;
use crate::lsn::Lsn;
use crate::plant::{self, Bug};
use crate::point::Point;
use crate::stats::Counters;
use crate::store::version::{Edit, StreamEdit};
use crate::store::{ChunkWriter, Committer, Store};
use crate::sync::{Arc, AtomicBool, AtomicU64, Bell, Mutex, Ordering, Rank, Stopwatch};
use crate::wal::{Log, LogStats, Room, Watermarks};

/// What the streams of an engine share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) exec: Arc<dyn Exec>,
    pub(crate) health: Arc<Health>,
    pub(crate) store: Arc<Store>,
    pub(crate) manifest: Committer,
    pub(crate) counters: Counters,
    pub(crate) closed: AtomicBool,
    /// Wakes the flusher.
    pub(crate) flusher: Bell,
}

impl Shared {
    /// Works on some streams, at the same time where there are threads for it: flushes that end together share a record of
    /// the manifest, and syncs are at work together.
    pub(crate) fn each(
        &self,
        streams: &[Arc<Stream>],
        work: impl Fn(&Stream) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        exec::map(&*self.exec, streams.to_vec(), move |stream| work(&stream)).into_iter().collect()
    }
}

/// How much of the memory for encoded points is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    /// Less than half.
    Low,
    /// The flusher is at work.
    High,
    /// All of it: writers wait.
    Full,
}

/// One stream of an open engine.
pub(crate) struct Stream {
    number: u32,
    shared: Arc<Shared>,
    buffers: Buffers,
    /// The most that they may hold.
    buffer_bytes: u64,
    log: Log,
    /// The turn to flush, and the chunk that only a flush writes to.
    chunks: Mutex<ChunkWriter>,
    /// Wakes the logger.
    logger: Bell,
    /// Calls that wait for a sync of the disk.
    syncing: AtomicU64,
}

impl Stream {
    pub(crate) fn new(
        number: usize,
        shared: Arc<Shared>,
        buffers: Buffers,
        log: Log,
        chunks: ChunkWriter,
    ) -> Stream {
        let chunks = Mutex::new(Rank::Flush, chunks);
        let buffer_bytes = shared.config.stream_buffer_bytes();
        let stream = Stream {
            number: number as u32,
            shared,
            buffers,
            buffer_bytes,
            log,
            chunks,
            logger: Bell::new(),
            syncing: AtomicU64::new(0),
        };
        // Of what recovery has brought back.
        stream.wake_flusher();
        stream
    }

    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    pub(crate) fn logger(&self) -> &Bell {
        &self.logger
    }

    /// Accepts a point: memory only, and at most a bell.
    pub(crate) fn accept(&self, point: Point) -> Result<()> {
        let tag = point.tag_id();
        if plant::on(Bug::C6) && !self.buffers.lock(tag).has(tag) {
            self.buffers.lock(tag).make(tag);
        }
        self.buffers.accept_one(&point, || self.admit(), || self.note_grown())
    }

    /// Accepts those of a call's points that belong to this stream, in their order. Points of one tag that stand together are
    /// accepted together, or none of them.
    pub(crate) fn accept_all(&self, points: &[Point]) -> Result<()> {
        let streams = self.shared.config.wal_streams;
        let is_own = |run: &&[Point]| streams == 1 || run[0].tag_id().stream(streams) == self.number as usize;
        let runs = points.chunk_by(|a, b| a.tag == b.tag).filter(is_own);
        self.buffers.accept(runs, || self.admit(), || self.note_grown())
    }

    /// Asked under locks: `close` raises the flag before it goes through these.
    fn admit(&self) -> Result<()> {
        match self.shared.closed.load(Ordering::Acquire) && !plant::on(Bug::C7) {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// The backlog, or the memory in use, has become more.
    fn note_grown(&self) {
        // A wake-up costs as much as some hundred points, so the logger sleeps until there is some work. What does not
        // come to that much is appended at the next step.
        if self.buffers.backlog() >= self.shared.config.wake_points() {
            self.logger.ring();
        }
        // Points that were in frames already can take more as runs.
        self.wake_flusher();
    }

    /// Whether writers have to wait: the log or the flusher has fallen too far behind.
    pub(crate) fn is_behind(&self) -> bool {
        let behind =
            self.buffers.backlog() >= self.shared.config.backlog_points as u64 && !plant::on(Bug::W24);
        behind || self.fill() == Fill::Full
    }

    fn fill(&self) -> Fill {
        let (bytes, most) = (self.buffers.bytes(), self.buffer_bytes);
        match bytes {
            bytes if bytes >= most => Fill::Full,
            bytes if bytes >= most.div_ceil(2) => Fill::High,
            _ => Fill::Low,
        }
    }

    /// Backpressure: a writer waits for, or does itself, what the background threads have not managed.
    pub(crate) fn catch_up(&self) -> Result<()> {
        self.counted_as_wait(|| {
            self.append_and_free(Tails::Full, || self.free_segment())?;
            // After it: appending is what fills memory.
            if self.fill() == Fill::Full { self.flush_some() } else { Ok(()) }
        })
    }

    /// Appends tails; when the log has no free segment the oldest one's tags are flushed on the way.
    pub(crate) fn append_tails(&self, which: Tails) -> Result<()> {
        self.append_and_free(which, || self.counted_as_wait(|| self.free_segment()))
    }

    fn append_and_free(&self, which: Tails, free_segment: impl Fn() -> Result<()>) -> Result<()> {
        let append = &mut |batch: &Batch| self.log.batch_append(batch);
        self.buffers.append(which, append, |frame_bytes| match self.log.make_room(frame_bytes)? {
            Room::Made => Ok(()),
            Room::NoSegment => free_segment(),
        })?;
        self.wake_flusher();
        Ok(())
    }

    fn counted_as_wait(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let waiting = Stopwatch::start();
        let outcome = work();
        self.shared.counters.waited(waiting.elapsed());
        outcome
    }

    /// Rings for it if memory is at least half full.
    fn wake_flusher(&self) {
        if self.fill() != Fill::Low {
            self.shared.flusher.ring();
        }
    }

    fn free_segment(&self) -> Result<()> {
        let mut chunks = self.chunks.lock();
        // Another thread may have freed one while this one waited for its turn.
        let Some(lsn) = self.log.wanted_checkpoint() else { return Ok(()) };
        let retired = if plant::on(Bug::W17) {
            let mut copy = chunks.clone();
            drop(chunks);
            self.flush_in(&mut copy, Scope::Below(lsn))
        } else {
            self.flush_in(&mut chunks, Scope::Below(lsn))
        };
        let freed = retired? > 0 || plant::on(Bug::W17);
        assert!(freed, "flushing everything below LSN {lsn} frees the segment that ends there");
        Ok(())
    }

    /// Makes everything accepted so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.append_tails(Tails::All)?;
        self.syncing.fetch_add(1, Ordering::Relaxed);
        if self.buffers.has_much_logged() {
            // What this thread would have to do next time, it does not have to do now that it waits for the disk.
            self.logger.ring();
        }
        let outcome = self.log.commit(self.log.watermarks().appended);
        self.syncing.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Puts everything accepted so far into blocks.
    pub(crate) fn flush(&self) -> Result<()> {
        self.append_tails(Tails::All)?;
        self.flush_in(&mut self.chunks.lock(), Scope::All).map(drop)
    }

    /// What the logger does when it wakes.
    pub(crate) fn work_log(&self, woken: Woken) -> Result<()> {
        match woken {
            Woken::Rung => {
                self.append_tails(Tails::Full)?;
                // In the time of those who wait anyway.
                self.buffers.take_in_logged(|| self.syncing.load(Ordering::Relaxed) > 0);
                self.wake_flusher();
                Ok(())
            }
            Woken::Tick => self.step_log(),
        }
    }

    /// The logger's part of a background step.
    pub(crate) fn step_log(&self) -> Result<()> {
        self.append_tails(Tails::Due)?;
        if plant::on(Bug::W21) { Ok(()) } else { self.log.write_staged() }
    }

    /// The flusher's part: what keeps the log from its next segment, and what fills memory.
    pub(crate) fn step_flush(&self) -> Result<()> {
        if let Some(lsn) = self.log.checkpoint_ahead() {
            self.flush_in(&mut self.chunks.lock(), Scope::Below(lsn))?;
        }
        if self.fill() == Fill::Low { Ok(()) } else { self.flush_some() }
    }

    /// Makes memory free: flushes sealed buffers and, if it is still half full after that, everything that is in frames.
    fn flush_some(&self) -> Result<()> {
        let mut chunks = self.chunks.lock();
        // Another thread may have done it while this one waited for its turn.
        if self.fill() == Fill::Low {
            return Ok(());
        }
        self.flush_in(&mut chunks, Scope::Sealed)?;
        if self.fill() != Fill::Low {
            self.flush_in(&mut chunks, Scope::All)?;
        }
        Ok(())
    }

    /// One flush: the blocks of sealed buffers, named by one edit. Returns how many segments became free.
    fn flush_in(&self, chunks: &mut ChunkWriter, scope: Scope) -> Result<usize> {
        let shared = &*self.shared;
        let appended_lsn = self.log.watermarks().appended;
        let sealed = self.buffers.seal(scope);
        if plant::on(Bug::F2) {
            self.buffers.release(&sealed);
        }
        // I3: a block holds only points below `durable_lsn`.
        let sealed_to = sealed.iter().map(|sealed| sealed.end_lsn).max().unwrap_or_default();
        self.log.commit(sealed_to)?;
        let blocks = write_blocks(&*shared.exec, chunks, shared.config.block_points, &sealed)?;
        let checkpoint_lsn = self.checkpoint(appended_lsn, &sealed);
        let published_lsn = self.published_checkpoint();
        if blocks.is_empty() && checkpoint_lsn <= published_lsn {
            return Ok(0);
        }
        let counted = (blocks.len() as u64, blocks.iter().map(|block| u64::from(block.len)).sum());
        let watermarks = Some((checkpoint_lsn, self.log.watermarks().durable));
        let watermarks = watermarks.filter(|_| !plant::on(Bug::W25) || shared.closed.load(Ordering::Acquire));
        let stream = StreamEdit { stream: self.number, watermarks, ..StreamEdit::default() };
        let edit = Edit { streams: vec![stream], blocks, ..Edit::default() };
        // I4: the blocks are durable before the manifest names them, and the manifest before a segment is reused.
        chunks.sync()?;
        if plant::on(Bug::C3) {
            self.buffers.release(&sealed);
        }
        shared.manifest.commit(edit, &shared.store, &shared.config)?;
        let retired = self.log.retire(checkpoint_lsn);
        // The edit is published, so a query finds the points there before they are gone from memory.
        self.buffers.release(&sealed);
        shared.counters.flushed(counted);
        Ok(retired)
    }

    /// The checkpoint after a flush of what was sealed. `appended_lsn` must be the log's end from *before* the buffers were sealed: later
    /// points are in none of them.
    fn checkpoint(&self, appended_lsn: Lsn, sealed: &[Arc<Sealed>]) -> Lsn {
        let first_unflushed = self.buffers.first_unflushed(sealed);
        let appended_lsn = if plant::on(Bug::W16) { self.log.watermarks().appended } else { appended_lsn };
        plan::checkpoint(appended_lsn, first_unflushed)
    }

    fn published_checkpoint(&self) -> Lsn {
        self.shared.store.version(|version| version.streams[self.number as usize].checkpoint_lsn)
    }

    /// Points in memory.
    pub(crate) fn buffered_points(&self) -> u64 {
        if plant::on(Bug::C9) {
            return self.log.with_lock(|| self.buffers.points());
        }
        self.buffers.points()
    }

    pub(crate) fn log_stats(&self) -> (LogStats, Watermarks) {
        self.log.stats()
    }
}
