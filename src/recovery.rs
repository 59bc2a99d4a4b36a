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
use crate::codec::mixed::Batch;
use crate::config::Config;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::exec::{self, Exec};
use crate::health::Health;
use crate::lsn::{Append, Lsn, Span};
use crate::plant::{self, Bug};
use crate::store::version::{Edit, Geometry, StreamEdit, StreamVersion, Version};
use crate::store::{ChunkNumbers, ChunkWriter, ManifestWriter, chunk, manifest};
use crate::survey;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::wal::frame::{self, Kind};
use crate::wal::ring::{Ring, Slot};
use crate::wal::scan::End;
use crate::wal::{Log, Room, Start, segment_name};
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
    /// Segments that held no part of the log: free ones, and what an opening left that did not end.
    pub stale_segments: u64,
    /// Intact frames that are no part of the log: of an earlier use of their segment, behind a torn tail, or of an opening
    /// that did not end.
    pub stale_frames: u64,
    /// Segments made again, or completed: a crash had left them out, or the configuration asks for more than there were.
    /// 0 for a new store.
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
        /// So many have been.
        segments: u64,
        /// So many there are.
        of: u64,
    },
    /// The points of one more segment are back in memory.
    Replayed {
        /// Of so many they are.
        segments: u64,
        /// So many hold a part of the log.
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

pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    health: &Arc<Health>,
    config: &Config,
    exec: &dyn Exec,
    watch: &Arc<Watch>,
) -> Result<Recovered> {
    let mut names = disk.list().map_err(|error| Error::io("list", ".", error))?;
    let mut report = RecoveryReport::default();

    // 1 read
    let mut loaded = None;
    if names.iter().any(|name| name == manifest::NAME) {
        match survey::read_manifest(&**disk) {
            Err(_) if plant::on(Bug::F13) => names.clear(),
            read => loaded = Some(read?),
        }
    }
    let (mut version, next_number) = match loaded {
        Some(loaded) => {
            check_geometry(&loaded.version.geometry, config)?;
            report.manifest_records = loaded.records.len() as u64;
            report.manifest_torn_bytes = loaded.torn_bytes;
            (loaded.version, loaded.next_number)
        }
        None => {
            if !plant::on(Bug::J2) {
                refuse_headless(disk, &names, config, exec)?;
            }
            report.created = true;
            (Version::new(geometry(config)), 1)
        }
    };
    let mut places = survey::segment_places(&names);
    places.retain(|(stream, _)| *stream < config.wal_streams);
    let segments = read_segments(disk, places, config, exec, watch)?;
    let logs = survey::order_logs(segments, &version, |stream, segments| {
        if plant::on(Bug::W8) { lowest(segments) } else { stream.checkpoint_lsn }
    });
    if !plant::on(Bug::J1) {
        check_chunks(&**disk, &version)?;
    }

    // 2 judge
    for (log, stream) in logs.iter().zip(&version.streams) {
        if let Some(corruption) = log.corruption(stream) {
            return Err(Error::Corrupt(corruption));
        }
    }
    describe(&mut report, &version, &logs);

    // 3 burn. Synced logs without unproven tails need no step 5 and 6: the one record says it all.
    let mut files = Vec::new();
    for (log, stream) in logs.iter().zip(&version.streams) {
        let ring = complete_ring(&**disk, health, config, &names, log, stream.segments as usize)?;
        report.segments_made += if report.created { 0 } else { ring.made };
        files.push(ring.files);
    }
    let epoch = if plant::on(Bug::W9) { version.epoch.max(1) } else { version.epoch + 1 };
    let counted = files.iter().map(|files| Some(files.len() as u32));
    let counted =
        (0..).zip(counted).map(|(stream, segments)| StreamEdit { stream, segments, ..StreamEdit::default() });
    version.apply(&Edit { epoch: Some(epoch), streams: counted.collect(), ..Edit::default() });
    let tails: Vec<_> =
        logs.iter().zip(&version.streams).map(|(log, stream)| Tail::of(log, stream)).collect();
    let has_tail = tails.iter().any(Tail::is_there) && !plant::on(Bug::S1);
    let switch = (0..).zip(&tails).zip(&version.streams).map(|((stream, tail), version)| StreamEdit {
        stream,
        spans: vec![Span { epoch, first_lsn: if has_tail { tail.proven } else { tail.end } }],
        watermarks: Some((version.checkpoint_lsn, tail.end)),
        ..StreamEdit::default()
    });
    let switch = Edit { streams: switch.collect(), ..Edit::default() };
    if !has_tail {
        version.apply(&switch);
    }
    let mut manifest = ManifestWriter::replace(disk, health, config, &version, next_number)?;

    // 4 replay, 5 rewrite
    let numbers = Arc::new(ChunkNumbers::new(&version));
    let mut streams = Vec::new();
    let mut replayed = 0;
    let of = logs.iter().map(|log| log.chain.parts.len() as u64).sum();
    let mut note_segment = || {
        replayed += 1;
        watch(Progress::Replayed { segments: replayed, of });
    };
    for (((log, tail), switch), files) in logs.iter().zip(&tails).zip(&switch.streams).zip(files) {
        let rewrite_from = switch.spans[0].first_lsn;
        let stream = log.stream;
        let start = Start {
            stream,
            ring: ring(log, files.len(), config.segments_max),
            files,
            epoch,
            durable_lsn: if plant::on(Bug::W1) { Lsn(0) } else { rewrite_from },
            checkpoint_lsn: version.streams[stream].checkpoint_lsn,
        };
        let wal = Log::new(disk.clone(), health.clone(), config, start);
        let buffers = Buffers::new(config);
        replay(log, &version, &buffers, &wal, rewrite_from, &mut report, &mut note_segment)?;
        if has_tail {
            wal.commit(tail.end).or_else(|error| if plant::on(Bug::W2) { Ok(()) } else { Err(error) })?;
            if !plant::on(Bug::S2) {
                wal.leave_spare()?;
            }
        }
        let chunks =
            ChunkWriter::new(disk.clone(), health.clone(), config, &version, stream, numbers.clone())?;
        streams.push(StreamParts { buffers, log: wal, chunks });
    }

    // 6 switch
    if has_tail {
        version.apply(&switch);
        manifest = ManifestWriter::replace(disk, health, config, &version, manifest.next_number())?;
    }
    report.orphans_removed = remove_orphans(&**disk, &names, &version);
    Ok(Recovered { version, streams, manifest, report })
}

/// What of a log nothing proves to be durable.
struct Tail {
    proven: Lsn,
    end: Lsn,
}

impl Tail {
    fn of(log: &survey::Log, version: &StreamVersion) -> Tail {
        Tail { proven: log.proven.max(version.checkpoint_lsn), end: log.chain.end_lsn }
    }

    fn is_there(&self) -> bool {
        self.proven < self.end
    }
}

/// Reads segments, at the same time where there are threads for it.
fn read_segments(
    disk: &Arc<dyn Disk>,
    places: Vec<(usize, usize)>,
    config: &Config,
    exec: &dyn Exec,
    watch: &Arc<Watch>,
) -> Result<Vec<survey::Segment>> {
    let (disk, sector_bytes, streams) = (disk.clone(), config.sector_bytes, config.wal_streams);
    let (watch, read, of) = (watch.clone(), AtomicU64::new(0), places.len() as u64);
    let read = move |place| {
        let segment = survey::read_segment(&*disk, place, sector_bytes, streams);
        let segments = read.fetch_add(1, Ordering::Relaxed) + 1;
        watch(Progress::Read { segments, of });
        segment
    };
    exec::map(exec, places, read).into_iter().collect()
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

/// Without a manifest there must be no data either: creation writes it before anything else holds any.
fn refuse_headless(disk: &Arc<dyn Disk>, names: &[String], config: &Config, exec: &dyn Exec) -> Result<()> {
    let headless =
        |found: &str| Error::corrupt(manifest::NAME, 0, format!("a manifest, since {found} is there"));
    if let Some(chunk) = names.iter().find(|name| chunk::number(name).is_some()) {
        return Err(headless(chunk));
    }
    // Of all streams: that there were as many as there are now is what the manifest would say.
    let unwatched: Arc<Watch> = Arc::new(|_| ());
    let segments = read_segments(disk, survey::segment_places(names), config, exec, &unwatched)?;
    let has_frame = |segment: &&survey::Segment| {
        let scan = &segment.scan;
        !scan.frames.is_empty() || !scan.strays.is_empty() || scan.foreign.is_some()
    };
    match segments.iter().find(|segment| plant::on(Bug::W26) || has_frame(segment)) {
        Some(found) => Err(headless(&format!("a frame in {}", segment_name(found.stream, found.slot)))),
        None => Ok(()),
    }
}

fn check_chunks(disk: &dyn Disk, version: &Version) -> Result<()> {
    let mut ends = BTreeMap::new();
    for block in version.blocks() {
        let end: &mut u64 = ends.entry(block.chunk).or_default();
        *end = (*end).max(block.offset.saturating_add(block.len.into()));
    }
    ends.iter()
        .try_for_each(|(chunk, end)| survey::check_chunk(disk, *chunk, *end, version.geometry.chunk_bytes))
}

fn lowest(segments: &[survey::Segment]) -> Lsn {
    let with_frames = segments.iter().filter(|segment| segment.scan.generation.is_some());
    with_frames.map(|segment| segment.scan.first_lsn()).min().unwrap_or_default()
}

fn describe(report: &mut RecoveryReport, version: &Version, logs: &[survey::Log]) {
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

/// The segment files of a stream.
struct RingFiles {
    files: Vec<Arc<dyn DiskFile>>,
    /// So many were not there, or not whole.
    made: u64,
}

/// Opens all segments, and creates or completes those that the ring must have and a crash (or a larger
/// configuration) left out. Their names are durable before the manifest counts them.
fn complete_ring(
    disk: &dyn Disk,
    health: &Health,
    config: &Config,
    names: &[String],
    log: &survey::Log,
    counted: usize,
) -> Result<RingFiles> {
    // A file that is not whole and holds no part of the log is what is left of a segment that could not be made. The
    // ring can do without it, as it did before, and makes it anew when it has to grow.
    let whole = |(index, segment): &(usize, &survey::Segment)| {
        segment.len == config.segment_bytes || log.chain.parts.iter().any(|part| part.segment == *index)
    };
    let found = log.segments.iter().enumerate().filter(whole).map(|(_, segment)| segment.slot + 1).max();
    let (mut files, mut made) = (Vec::new(), 0);
    for slot in 0..found.unwrap_or(0).max(config.segments) {
        let name = segment_name(log.stream, slot);
        let mode = if names.contains(&name) { OpenMode::Write } else { OpenMode::Create };
        let file = disk.open(&name, mode).map_err(|error| Error::io("open", &name, error))?;
        let len = file.len().map_err(|error| Error::io("measure", &name, error))?;
        if len != config.segment_bytes {
            made += 1;
            file.set_len(config.segment_bytes).map_err(|error| Error::io("reserve", &name, error))?;
            health.final_result("sync", &name, file.sync())?;
        }
        files.push(file);
    }
    // One that was found may be as new as one that was made here: a process that died had no time to sync its name.
    if files.len() > counted && !plant::on(Bug::N3) {
        health.sync_dir(disk, "segments")?;
    }
    Ok(RingFiles { files, made })
}

fn ring(log: &survey::Log, count: usize, max: usize) -> Ring {
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

/// Puts the points of the log into buffers; those at or behind `rewrite_from` go into the new log as well.
fn replay(
    log: &survey::Log,
    version: &Version,
    buffers: &Buffers,
    wal: &Log,
    rewrite_from: Lsn,
    report: &mut RecoveryReport,
    note_segment: &mut dyn FnMut(),
) -> Result<()> {
    for part in &log.chain.parts {
        let segment = &log.segments[part.segment];
        for at in &segment.scan.frames[part.frames.clone()] {
            let frame =
                frame::decode(&segment.bytes[at.offset as usize..]).expect("the scan found it intact");
            let header = frame.header;
            report.frames_replayed += 1;
            // All of it: what is in blocks is below everything that is written again.
            if header.first_lsn >= rewrite_from {
                report.points_rewritten += u64::from(header.count);
                let same = Append::Appended { first_lsn: header.first_lsn, end_lsn: header.end_lsn() };
                let appended = append_tail(wal, &frame.batch(&mut Vec::new()))?;
                assert_eq!(appended, same, "the tail is written again to the positions that it had");
            }
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
                report.points_skipped += skip;
                report.points_replayed += u64::from(share.count) - skip;
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
        note_segment();
    }
    Ok(())
}

fn append_tail(wal: &Log, batch: &Batch) -> Result<Append> {
    loop {
        match wal.batch_append(batch)? {
            Append::NoRoom { frame_bytes } => {
                let room = wal.make_room_for_tail(frame_bytes)?;
                assert_eq!(room, Room::Made, "recovery has a segment to spare");
            }
            appended => return Ok(appended),
        }
    }
}

/// Removes chunks that no edit names. The log has been found complete from the checkpoint on, and the blocks hold
/// everything below: whatever is in such a chunk is in the log as well. One that cannot be removed is a waste of space
/// and no more; the next opening tries again.
fn remove_orphans(disk: &dyn Disk, names: &[String], version: &Version) -> u64 {
    let named = version.blocks().skip(plant::on(Bug::O1).into());
    let named: std::collections::BTreeSet<u64> = named.map(|block| block.chunk).collect();
    let orphans =
        names.iter().filter(|name| chunk::number(name).is_some_and(|number| !named.contains(&number)));
    orphans.filter(|name| disk.remove(name).is_ok()).count() as u64
}
