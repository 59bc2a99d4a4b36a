//! Opening a store: from whatever a crash left to an engine that can accept points.
//!
//! ```text
//!  1 read     manifest → version; segments → frames from checkpoint_lsn on; chunks: are they there?
//!  2 judge    the log must reach everything that was proven durable, or it is corrupt (I6)
//!  3 burn     a new manifest: the same version, and an epoch that no frame has ever carried
//!  4 replay   frames → buffers, but for the points that blocks hold already (I5)
//!  5 rewrite  the tail that nothing proves durable goes into the new epoch, synced
//!  6 switch   one more manifest makes the new epoch part of the log and cuts the old tail off
//! ```
//!
//! Until step 3 nothing is written. A crash in 3 leaves the old manifest or the new, which say the same; a crash in 4
//! or 5 leaves frames of an epoch that is no part of the log, and is never used again; step 6 is atomic. So any number
//! of crashes in here end in the same state (I10).
//!
//! Steps 3 and 6 write a whole manifest rather than append to the old one: what was read from that, too, may be in a
//! page cache only; and the end of a log is where damage cannot be told from a torn tail, but the first record of a
//! manifest is never torn.
//!
//! Streams are read at the same time and recovered one after the other; they share the epoch and both manifests.
//!
//! Why rewrite the tail: a frame that can be read is not therefore on the disk. After a killed process it may be in
//! the page cache only, and after a failed sync in a page that is marked clean and will never be written. A point that
//! a query has shown after recovery must survive the next crash, so recovery writes it itself.

use crate::buffer::Buffers;
use crate::config::Config;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::exec::{self, Exec};
use crate::health::Health;
use crate::lsn::{Append, Lsn, Span};
use crate::plant::{self, Bug};
use crate::store::version::{Edit, Geometry, StreamEdit, Version};
use crate::store::{ChunkNumbers, ChunkWriter, ManifestWriter, chunk, manifest};
use crate::survey::{self, StreamLog};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::wal::frame::{self, Frame, Kind};
use crate::wal::ring::{Ring, Slot};
use crate::wal::scan::End;
use crate::wal::{Log, Room, Start, create_segment, segment_name};
use std::collections::BTreeMap;

/// What opening a store found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// There was no store, or one whose creation had been cut short; this is a new one.
    pub created: bool,
    /// Records of the manifest.
    pub manifest_records: u64,
    /// Bytes of an edit at the manifest's end that had not been finished, and so never happened.
    pub manifest_torn_bytes: u64,
    /// Blocks that the manifest names.
    pub blocks: u64,
    /// Points in them.
    pub block_points: u64,
    /// Log segments found.
    pub segments: u64,
    /// Segments that held no part of the log: free ones, and those that were begun by an opening which was cut short.
    pub stale_segments: u64,
    /// Intact frames that are no part of the log: of an earlier use of their segment, behind a torn tail, or of an opening
    /// that did not end.
    pub stale_frames: u64,
    /// Segments that were made because a crash had left them out, or not whole, or with a name that may not last, or because
    /// the configuration asks for more. 0 for a new store.
    pub segments_made: u64,
    /// Frames read back.
    pub frames_replayed: u64,
    /// Points put back into buffers.
    pub points_replayed: u64,
    /// Points of replayed segments that blocks held already.
    pub points_skipped: u64,
    /// Of the replayed points, those that nothing proved to be durable; they were written again.
    pub points_rewritten: u64,
    /// Where a stream's log ended in bytes that are no frame: a write that the crash interrupted, or what is left of
    /// the segment's earlier use. File and offset.
    pub torn_tails: Vec<(String, u64)>,
    /// Chunk files that no edit names, removed.
    pub orphans_removed: u64,
}

/// How far an opening has come, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// One more segment of the log has been read. Several may be read at a time, so these can come out of order.
    Read {
        /// Segments read so far.
        segments: u64,
        /// Segments to read.
        of: u64,
    },
    /// The points of one more segment are back in memory.
    Replayed {
        /// Segments replayed so far.
        segments: u64,
        /// Segments that hold a part of the log.
        of: u64,
    },
}

/// Is told how far an opening has come, on whichever thread has brought it there.
pub(crate) type Watch = dyn Fn(Progress) + Send + Sync;

/// Everything that an engine is made of.
pub(crate) struct Recovered {
    pub(crate) version: Version,
    pub(crate) streams: Vec<StreamParts>,
    pub(crate) manifest: ManifestWriter,
    pub(crate) report: RecoveryReport,
}

/// Everything that a stream is made of.
pub(crate) struct StreamParts {
    pub(crate) buffers: Buffers,
    pub(crate) log: Log,
    pub(crate) chunks: ChunkWriter,
}

/// What the steps of one opening share.
struct Opening<'a> {
    disk: &'a Arc<dyn Disk>,
    health: &'a Arc<Health>,
    config: &'a Config,
    exec: &'a dyn Exec,
    watch: &'a Arc<Watch>,
    /// The files that were there when it began.
    names: Vec<String>,
    report: RecoveryReport,
    /// Segments replayed so far, and those that hold a part of the log.
    replayed: (u64, u64),
}

/// What becomes of one stream's log.
struct Plan {
    log: StreamLog,
    /// Its ring: all segments, by slot.
    files: Vec<Arc<dyn DiskFile>>,
    /// The frames from here on, its *tail*, are written again: nothing proves them to be durable.
    rewrite_from: Lsn,
}

pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    health: &Arc<Health>,
    config: &Config,
    exec: &dyn Exec,
    watch: &Arc<Watch>,
) -> Result<Recovered> {
    let names = disk.list().map_err(|error| Error::io("list", ".", error))?;
    let report = RecoveryReport::default();
    let mut opening = Opening { disk, health, config, exec, watch, names, report, replayed: (0, 0) };

    // 1 read
    let (mut version, next_number) = opening.load()?;
    let logs = opening.read_logs(&version)?;
    if !plant::on(Bug::J1) {
        check_chunks(&**disk, &version)?;
    }

    // 2 judge
    for (log, stream) in logs.iter().zip(&version.streams) {
        if let Some(corruption) = log.corruption(stream) {
            return Err(Error::Corrupt(corruption));
        }
    }
    describe(&mut opening.report, &version, &logs);

    // 3 burn. Logs without tails need no step 5 and 6: the one record says it all.
    let plans = logs.into_iter().map(|log| opening.plan(log, &version));
    let mut plans = plans.collect::<Result<Vec<_>>>()?;
    let epoch = if plant::on(Bug::W9) { version.epoch.max(1) } else { version.epoch + 1 };
    let counted = plans.iter().map(Plan::counted).collect();
    version.apply(&Edit { epoch: Some(epoch), streams: counted, ..Edit::default() });
    let has_tail = plans.iter().any(Plan::has_tail) && !plant::on(Bug::S1);
    if !has_tail {
        plans.iter_mut().for_each(|plan| plan.rewrite_from = plan.log.chain.end_lsn);
    }
    let switch = plans.iter().map(|plan| plan.switch(epoch, &version)).collect();
    let switch = Edit { streams: switch, ..Edit::default() };
    if !has_tail {
        version.apply(&switch);
    }
    let mut manifest = ManifestWriter::replace(disk, health, config, &version, next_number)?;

    // 4 replay, 5 rewrite
    opening.replayed.1 = plans.iter().map(|plan| plan.log.chain.parts.len() as u64).sum();
    let numbers = Arc::new(ChunkNumbers::new(&version));
    let streams = plans.into_iter().map(|plan| opening.rebuild(plan, epoch, &version, &numbers));
    let streams = streams.collect::<Result<Vec<_>>>()?;

    // 6 switch
    if has_tail {
        version.apply(&switch);
        manifest = ManifestWriter::replace(disk, health, config, &version, manifest.next_number())?;
    }
    streams.iter().for_each(|stream| stream.log.prove());
    opening.report.orphans_removed = remove_orphans(&**disk, &opening.names, &version);
    Ok(Recovered { version, streams, manifest, report: opening.report })
}

impl Opening<'_> {
    /// What the manifest says, and the number of its next record; or, where there is no store yet, what a new one begins with.
    fn load(&mut self) -> Result<(Version, u64)> {
        let mut loaded = None;
        if self.names.iter().any(|name| name == manifest::NAME) {
            match survey::read_manifest(&**self.disk) {
                Err(_) if plant::on(Bug::F13) => self.names.clear(),
                read => loaded = Some(read?),
            }
        }
        let Some(loaded) = loaded else {
            if !plant::on(Bug::J2) {
                self.refuse_headless()?;
            }
            self.report.created = true;
            return Ok((Version::new(geometry(self.config)), 1));
        };
        check_geometry(&loaded.version.geometry, self.config)?;
        self.report.manifest_records = loaded.records.len() as u64;
        self.report.manifest_torn_bytes = loaded.torn_bytes;
        Ok((loaded.version, loaded.next_number))
    }

    /// Without a manifest there must be no data either: creation writes it before anything else holds any.
    fn refuse_headless(&self) -> Result<()> {
        let headless =
            |found: &str| Error::corrupt(manifest::NAME, 0, format!("a manifest, since {found} is there"));
        if let Some(chunk) = self.names.iter().find(|name| chunk::number(name).is_some()) {
            return Err(headless(chunk));
        }
        // Of all streams: that there were as many as there are now is what the manifest would say.
        let unwatched: Arc<Watch> = Arc::new(|_| ());
        let segments = self.read_segments(survey::segment_places(&self.names), &unwatched)?;
        match segments.iter().find(|segment| plant::on(Bug::W26) || segment.has_frame()) {
            Some(found) => Err(headless(&format!("a frame in {}", segment_name(found.stream, found.slot)))),
            None => Ok(()),
        }
    }

    /// The logs of all streams, from their checkpoints on.
    fn read_logs(&self, version: &Version) -> Result<Vec<StreamLog>> {
        let mut places = survey::segment_places(&self.names);
        places.retain(|(stream, _)| *stream < self.config.wal_streams);
        let segments = self.read_segments(places, self.watch)?;
        Ok(survey::order_logs(segments, version, |stream, segments| {
            if plant::on(Bug::W8) { lowest(segments) } else { stream.checkpoint_lsn }
        }))
    }

    /// Reads segments, at the same time where there are threads for it.
    fn read_segments(&self, places: Vec<(usize, usize)>, watch: &Arc<Watch>) -> Result<Vec<survey::Segment>> {
        let (sector_bytes, streams) = (self.config.sector_bytes, self.config.wal_streams);
        let (disk, watch) = (self.disk.clone(), watch.clone());
        let (read, of) = (AtomicU64::new(0), places.len() as u64);
        let read = move |place| {
            let segment = survey::read_segment(&*disk, place, sector_bytes, streams);
            let segments = read.fetch_add(1, Ordering::Relaxed) + 1;
            watch(Progress::Read { segments, of });
            segment
        };
        exec::map(self.exec, places, read).into_iter().collect()
    }

    /// Opens all segments of a stream, and makes those that the ring must have and a crash (or a larger configuration) left
    /// out. Their names are durable before the manifest counts them.
    fn plan(&mut self, log: StreamLog, version: &Version) -> Result<Plan> {
        let (disk, config) = (&**self.disk, self.config);
        let stream = &version.streams[log.stream];
        // A file that is not whole and holds no part of the log is what is left of a segment that could not be made. The
        // ring can do without it, as it did before, and makes it anew when it has to grow.
        let whole = |(index, segment): &(usize, &survey::Segment)| {
            segment.len == config.segment_bytes || log.chain.parts.iter().any(|part| part.segment == *index)
        };
        let found = log.segments.iter().enumerate().filter(whole).map(|(_, segment)| segment.slot + 1).max();
        // A name that is there is not therefore on the disk: a sync of the directory that failed, in a process before this one,
        // may have dropped it, and the next sync of it says `Ok`. The manifest counts what has been synced, and no frame goes
        // into a segment before. What is neither counted nor holds a frame is made anew.
        let is_proven = |segment: &survey::Segment| {
            segment.slot < stream.segments as usize || segment.has_frame() || plant::on(Bug::N6)
        };
        let mut files = Vec::new();
        for slot in 0..found.unwrap_or(0).max(config.segments) {
            let name = segment_name(log.stream, slot);
            let is_there = log.segments.iter().any(|segment| segment.slot == slot && is_proven(segment));
            let (file, is_whole) = match is_there {
                true => open_segment(disk, &name, config.segment_bytes)?,
                false => (create_segment(disk, &name, config.segment_bytes)?, false),
            };
            if !is_whole {
                self.report.segments_made += u64::from(!self.report.created);
                self.health.final_result("sync", &name, file.sync())?;
            }
            files.push(file);
        }
        // One that was found may be as new as one that was made here: a process that died had no time to sync its name.
        if files.len() > stream.segments as usize && !plant::on(Bug::N3) {
            self.health.sync_dir(disk, "segments")?;
        }
        let rewrite_from = log.proven.max(stream.checkpoint_lsn);
        Ok(Plan { log, files, rewrite_from })
    }

    /// Makes of a stream's log what an open engine needs: its points are in buffers, and its tail is written again and synced.
    fn rebuild(
        &mut self,
        mut plan: Plan,
        epoch: u32,
        version: &Version,
        numbers: &Arc<ChunkNumbers>,
    ) -> Result<StreamParts> {
        let (disk, health, config) = (self.disk.clone(), self.health.clone(), self.config);
        let stream = plan.log.stream;
        let start = Start {
            stream,
            ring: ring_of(&plan.log, plan.files.len(), config.segments_max),
            files: std::mem::take(&mut plan.files),
            epoch,
            durable_lsn: if plant::on(Bug::W1) { Lsn(0) } else { plan.rewrite_from },
            checkpoint_lsn: version.streams[stream].checkpoint_lsn,
        };
        let log = Log::new(disk.clone(), health.clone(), config, start);
        log.prove_nothing_above(plan.rewrite_from);
        let buffers = Buffers::new(config);
        self.replay(&plan, version, &buffers, &log)?;
        if plan.has_tail() {
            let synced = log.commit(plan.log.chain.end_lsn);
            synced.or_else(|error| if plant::on(Bug::W2) { Ok(()) } else { Err(error) })?;
            if !plant::on(Bug::S2) {
                log.leave_spare()?;
            }
        }
        let chunks = ChunkWriter::new(disk, health, config, version, stream, numbers.clone())?;
        Ok(StreamParts { buffers, log, chunks })
    }

    /// Puts the points of a log into buffers; those of the tail go into the new log as well.
    fn replay(&mut self, plan: &Plan, version: &Version, buffers: &Buffers, new_log: &Log) -> Result<()> {
        for part in &plan.log.chain.parts {
            let segment = &plan.log.segments[part.segment];
            for at in &segment.scan.frames[part.frames.clone()] {
                let frame =
                    frame::decode(&segment.bytes[at.offset as usize..]).expect("the scan found it intact");
                self.report.frames_replayed += 1;
                // All of it: what is in blocks is below everything that is written again.
                if frame.header.first_lsn >= plan.rewrite_from {
                    self.report.points_rewritten += u64::from(frame.header.count);
                    rewrite(new_log, &frame)?;
                }
                self.put_back(&frame, version, buffers);
            }
            self.replayed.0 += 1;
            let (segments, of) = self.replayed;
            (self.watch)(Progress::Replayed { segments, of });
        }
        Ok(())
    }

    /// Puts the points of a frame into buffers, but for those that blocks hold.
    fn put_back(&mut self, frame: &Frame, version: &Version, buffers: &Buffers) {
        let header = frame.header;
        let mut entries = Vec::new();
        let mut first_lsn = header.first_lsn;
        for share in frame.shares() {
            let end_lsn = first_lsn.advance(share.count.into());
            let of = if plant::on(Bug::B6) { &header.tag } else { &share.tag };
            let mut flushed = version.tags.get(of).map_or(Lsn(0), |tag| tag.flushed_lsn);
            if plant::on(Bug::W8) {
                flushed = Lsn(0);
            }
            // I5: a point that a block holds already does not come back a second time.
            let skip = flushed.0.saturating_sub(first_lsn.0).min(share.count.into());
            self.report.points_skipped += skip;
            self.report.points_replayed += u64::from(share.count) - skip;
            let replayed = first_lsn.advance(skip)..end_lsn;
            if frame.kind == Kind::Run && skip == 0 {
                buffers.replay(share.tag, &frame.run(), first_lsn, end_lsn);
            } else if !replayed.is_empty() {
                if entries.is_empty() {
                    entries = frame.entries();
                }
                let own = [replayed.start, end_lsn].map(|lsn| (lsn.0 - header.first_lsn.0) as usize);
                buffers.replay_few(share.tag, &entries[own[0]..own[1]], replayed.start);
            }
            first_lsn = end_lsn;
        }
    }
}

impl Plan {
    fn has_tail(&self) -> bool {
        self.rewrite_from < self.log.chain.end_lsn
    }

    /// How many segments the manifest has to count.
    fn counted(&self) -> StreamEdit {
        let segments = Some(self.files.len() as u32);
        StreamEdit { stream: self.log.stream as u32, segments, ..StreamEdit::default() }
    }

    /// What makes the new epoch the log, from where the old one ends or is cut off.
    fn switch(&self, epoch: u32, version: &Version) -> StreamEdit {
        let stream = self.log.stream;
        StreamEdit {
            stream: stream as u32,
            spans: vec![Span { epoch, first_lsn: self.rewrite_from }],
            watermarks: Some((version.streams[stream].checkpoint_lsn, self.log.chain.end_lsn)),
            ..StreamEdit::default()
        }
    }
}

/// Opens a segment, and says whether it was whole. If not it is now, after a sync.
fn open_segment(disk: &dyn Disk, name: &str, segment_bytes: u64) -> Result<(Arc<dyn DiskFile>, bool)> {
    let file = disk.open(name, OpenMode::Write).map_err(|error| Error::io("open", name, error))?;
    let len = file.len().map_err(|error| Error::io("measure", name, error))?;
    if len != segment_bytes {
        file.set_len(segment_bytes).map_err(|error| Error::io("reserve", name, error))?;
    }
    Ok((file, len == segment_bytes))
}

/// Appends a frame to the new log, to the positions that it has.
fn rewrite(new_log: &Log, frame: &Frame) -> Result<()> {
    let header = &frame.header;
    let same = Append::Appended { first_lsn: header.first_lsn, end_lsn: header.end_lsn() };
    let mut payload = Vec::new();
    let batch = frame.batch(&mut payload);
    loop {
        match new_log.batch_append(&batch)? {
            Append::NoRoom { frame_bytes } => {
                let room = new_log.make_room_for_tail(frame_bytes)?;
                assert_eq!(room, Room::Made, "recovery has a segment to spare");
            }
            appended => {
                assert_eq!(appended, same, "the tail is written again to the positions that it had");
                return Ok(());
            }
        }
    }
}

fn geometry(config: &Config) -> Geometry {
    Geometry {
        segment_bytes: config.segment_bytes,
        sector_bytes: config.sector_bytes,
        chunk_bytes: config.chunk_bytes,
        wal_streams: config.wal_streams as u32,
    }
}

fn check_geometry(stored: &Geometry, config: &Config) -> Result<()> {
    let compare = |field, stored, configured| {
        if stored == configured { Ok(()) } else { Err(Error::Geometry { field, stored, configured }) }
    };
    compare("segment_bytes", stored.segment_bytes, config.segment_bytes)?;
    compare("sector_bytes", stored.sector_bytes, config.sector_bytes)?;
    if !plant::on(Bug::F20) {
        compare("chunk_bytes", stored.chunk_bytes, config.chunk_bytes)?;
    }
    compare("wal_streams", stored.wal_streams.into(), config.wal_streams as u64)
}

fn check_chunks(disk: &dyn Disk, version: &Version) -> Result<()> {
    let mut ends = BTreeMap::new();
    for block in version.blocks() {
        let end: &mut u64 = ends.entry(block.chunk).or_default();
        *end = (*end).max(block.end());
    }
    ends.iter()
        .try_for_each(|(chunk, end)| survey::check_chunk(disk, *chunk, *end, version.geometry.chunk_bytes))
}

fn lowest(segments: &[survey::Segment]) -> Lsn {
    let with_frames = segments.iter().filter(|segment| segment.scan.generation.is_some());
    with_frames.map(|segment| segment.scan.first_lsn()).min().unwrap_or_default()
}

fn describe(report: &mut RecoveryReport, version: &Version, logs: &[StreamLog]) {
    report.blocks = version.blocks().count() as u64;
    report.block_points = version.blocks().map(|block| u64::from(block.count)).sum();
    for log in logs {
        report.segments += log.segments.len() as u64;
        report.stale_segments += (log.segments.len() - log.chain.parts.len()) as u64;
        report.stale_frames +=
            log.segments.iter().map(|segment| segment.scan.strays.len() as u64).sum::<u64>();
        let is_part = |index: &usize| log.chain.parts.iter().any(|part| part.segment == *index);
        let idle = (0..log.segments.len()).filter(|index| !is_part(index));
        report.stale_frames += idle.map(|index| log.segments[index].scan.frames.len() as u64).sum::<u64>();
        let Some(last) = log.chain.parts.last() else { continue };
        let scan = &log.segments[last.segment].scan;
        if scan.end == End::Torn && last.frames.end == scan.frames.len() {
            report.torn_tails.push(log.end());
        }
    }
}

fn ring_of(log: &StreamLog, count: usize, max: usize) -> Ring {
    let mut slots = vec![Slot::Free; count];
    if !plant::on(Bug::W7) {
        for part in &log.chain.parts {
            let scan = &log.segments[part.segment].scan;
            let end_lsn = if plant::on(Bug::W11) { scan.first_lsn() } else { part.end_lsn };
            slots[log.segments[part.segment].slot] = Slot::Busy { end_lsn };
        }
    }
    Ring::new(slots, max)
}

/// Removes chunks that no edit names. The log has been found complete from the checkpoint on, and the blocks hold
/// everything below: whatever is in such a chunk is in the log as well. One that cannot be removed is a waste of space
/// and no more; the next opening tries again.
fn remove_orphans(disk: &dyn Disk, names: &[String], version: &Version) -> u64 {
    let named = version.blocks().skip(plant::on(Bug::O1).into());
    let named: std::collections::BTreeSet<u64> = named.map(|block| block.chunk).collect();
    let orphans =
        names.iter().filter(|name| chunk::number(name).is_some_and(|number| !named.contains(&number)));
    let most = if plant::on(Bug::O2) { 1 } else { usize::MAX };
    orphans.take(most).filter(|name| disk.remove(name).is_ok()).count() as u64
}
