//! Every limit of the engine, with its unit and its reason. Checked once, at open.

use crate::codec::{ENTRY_BYTES, round_up};
use crate::error::{Error, Result};
use crate::store::{block, chunk};
use crate::wal::frame;

/// When `write` may return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// As soon as the points are accepted; [`Engine::sync`](crate::Engine::sync) makes them durable.
    #[default]
    Batched,
    /// Once the points are durable. Concurrent writers share syncs.
    Immediate,
}

/// The limits of one engine. `Config::default()` suits a machine with a disk of its own; tests shrink everything.
///
/// The four fields marked *geometry* are written into the store when it is created and compared at each open.
///
/// ```
/// use tidewall::{Config, Durability};
///
/// // A small machine whose every measurement counts: 4 MiB of log, and a write returns when its point is durable.
/// let config = Config { durability: Durability::Immediate, segment_bytes: 1 << 20, ..Config::default() };
/// config.check()?;
///
/// let wrong = Config { segment_bytes: 1000, ..Config::default() };
/// assert_eq!(
///     wrong.check().unwrap_err().to_string(),
///     "config: segment_bytes is 1000, must be 4096 to 1099511627776"
/// );
/// # Ok::<(), tidewall::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// When `write` may return.
    pub durability: Durability,
    /// Points in a full tag batch, 1 to 65,536; each batch is one frame. At a sync, half a batch or more of a tag gets a frame of its
    /// own, while fewer points share one with those of other tags. Larger batches cost fewer appends and less framing;
    /// smaller ones bound what a crash can take from a tag that is never synced.
    pub batch_points: usize,
    /// Points of one tag after which its buffer is sealed, and the most that a block holds: 1 to 1,048,576.
    /// Larger blocks make fewer manifest entries; smaller ones make short queries cheaper.
    pub block_points: usize,
    /// Points in full tag batches, by stream, that may wait for the log, 1 to 2^40. Beyond that writers wait: they help to append
    /// them. Bounds what a crash of the process can take, and memory: they are encoded, one to seventeen bytes a point.
    pub backlog_points: usize,
    /// Bytes of memory, over all streams, for points that are in frames and in no block yet, 1 to 2^50: the flusher begins at half of
    /// it, and writers wait when it is full. A point of most sensors takes one to four. More makes larger flushes, and longer
    /// recoveries.
    pub buffer_bytes: u64,
    /// Shards, independently locked parts of the tag table, over all streams, 1 to 65,536. Each stream gets an equal share, rounded up to
    /// a power of two. With more of them writers meet less often, and what a single point touches leaves the processor's cache
    /// sooner; each costs some 4 KB, and an inbox of each writer.
    pub shards: usize,
    /// Points that may wait in one inbox, 0 to 65,536; 0 turns inboxes off. Each of up to eight writers has an inbox for every
    /// shard; more of them share. Points of small calls wait there and are moved to the buffers of their tags together, when the inbox is full
    /// or the log asks for them: with many tags that costs a fraction of moving each alone. Waiting points do not
    /// complete a batch. The inbox of a shard with more than half as many tags has room for two points of each, up to 16 times
    /// `inbox_points`.
    pub inbox_points: usize,
    /// *Geometry.* Log streams, 1 to 16: independent rings of segments with syncs of their own. A tag belongs to one of
    /// them. More let more points be appended and synced at the same time, on disks that gain from it.
    pub wal_streams: usize,
    /// *Geometry.* Bytes of one log segment: a multiple of `sector_bytes`, with room for the largest frame, up to 2^40.
    pub segment_bytes: u64,
    /// Log segments of each stream, created with the store, 2 to 999.
    pub segments: usize,
    /// Log segments that the ring of a stream may grow to when all are busy, `segments` to 999; after that appends wait for a flush.
    pub segments_max: usize,
    /// Bytes of frames gathered before they are written to the segment at once, 1 to 2^30. One `pwrite` of 1 MiB costs about as
    /// much as a hundred of 2.4 KiB.
    pub staging_bytes: usize,
    /// *Geometry.* The unit that the disk may damage when a write into it is interrupted, a power of two from 512 to 65,536 bytes: after
    /// each sync the log, the chunk and the manifest go on in a new one, so that a synced sector is never written again.
    pub sector_bytes: u64,
    /// *Geometry.* Bytes after which a chunk file is sealed and the next one begun: room for its header and the largest block, up to
    /// 2^40.
    pub chunk_bytes: u64,
    /// Bytes of the manifest at which it is replaced by one that holds only the result of its edits, 1 to 2^40; never before it is
    /// twice as long as when it was new.
    pub manifest_bytes: u64,
    /// Bytes of verified blocks that are kept in memory for later queries, 0 to 2^50; 0 keeps none. Queries that read up to four blocks
    /// use it and add to it; longer ones, and scans, read past it, so as not to push those blocks out.
    pub cache_bytes: u64,
    /// Threads of the pool that encodes and writes blocks during a flush, reads them for long queries, and syncs streams, 1 to 256;
    /// the caller works too. There are at least as many as log streams. With one stream, 1 means no pool: the caller does
    /// everything.
    pub flush_workers: usize,
    /// Time between two background steps, in milliseconds, 1 to 60,000; a tag batch waits at most two of them. If a step takes
    /// more than a fourth of this time the next one begins no sooner than four times its duration after it began, so with very many
    /// slow tags it is more. `None` starts no
    /// thread, and [`Engine::step`](crate::Engine::step) is the caller's business: points are appended there, by `sync`
    /// and `flush`, and by writers that find the backlog too long.
    pub flush_delay_ms: Option<u64>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            durability: Durability::Batched,
            batch_points: 100,
            block_points: 4096,
            backlog_points: 1 << 20,
            buffer_bytes: 64 << 20,
            shards: 64,
            inbox_points: 256,
            wal_streams: 1,
            segment_bytes: 64 << 20,
            segments: 4,
            segments_max: 8,
            staging_bytes: 1 << 20,
            sector_bytes: 4096,
            chunk_bytes: 64 << 20,
            manifest_bytes: 4 << 20,
            cache_bytes: 32 << 20,
            flush_workers: 2,
            flush_delay_ms: Some(10),
        }
    }
}

/// A store may keep at most this many segment files: their numbers have three digits.
const SEGMENTS_LIMIT: usize = 999;

/// Points of several tags are gathered for a frame until there are this many.
const MIXED_POINTS_MAX: usize = 1024;

impl Config {
    /// The backlog at which the logger is woken: two thirds of what would be written at once if a point took 17 bytes, and no
    /// more than half of what writers wait at.
    pub fn wake_points(&self) -> u64 {
        (self.staging_bytes / ENTRY_BYTES / 3 * 2).min(self.backlog_points / 2).max(1) as u64
    }

    /// Independently locked parts of the tag table of one stream.
    pub fn stream_shards(&self) -> usize {
        self.shards.div_ceil(self.wal_streams).next_power_of_two()
    }

    /// Points of several tags that share a frame, at most: it is no more than a fourth of a segment.
    pub(crate) fn mixed_points(&self) -> usize {
        frame::mixed_points(self.segment_bytes / 4).clamp(1, MIXED_POINTS_MAX)
    }

    /// Each stream's part of [`buffer_bytes`](Config::buffer_bytes): the encoded points in memory at which its writers wait.
    pub fn stream_buffer_bytes(&self) -> u64 {
        (self.buffer_bytes / self.wal_streams as u64).max(1)
    }

    /// Checks every limit.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with the field and what it must be.
    pub fn check(&self) -> Result<()> {
        let within = |field: &'static str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::InvalidConfig { field, reason: format!("is {value}, must be {least} to {most}") })
        };
        within("batch_points", self.batch_points as u64, 1, frame::POINTS_MAX as u64)?;
        within("block_points", self.block_points as u64, 1, 1 << 20)?;
        within("backlog_points", self.backlog_points as u64, 1, 1 << 40)?;
        within("wal_streams", self.wal_streams as u64, 1, 16)?;
        within("buffer_bytes", self.buffer_bytes, 1, 1 << 50)?;
        within("shards", self.shards as u64, 1, 1 << 16)?;
        within("inbox_points", self.inbox_points as u64, 0, 1 << 16)?;
        within("segments", self.segments as u64, 2, SEGMENTS_LIMIT as u64)?;
        within("segments_max", self.segments_max as u64, self.segments as u64, SEGMENTS_LIMIT as u64)?;
        within("staging_bytes", self.staging_bytes as u64, 1, 1 << 30)?;
        within("sector_bytes", self.sector_bytes, 512, 1 << 16)?;
        within("flush_workers", self.flush_workers as u64, 1, 256)?;
        within("manifest_bytes", self.manifest_bytes, 1, 1 << 40)?;
        within("cache_bytes", self.cache_bytes, 0, 1 << 50)?;
        if let Some(ms) = self.flush_delay_ms {
            within("flush_delay_ms", ms, 1, 60_000)?;
        }
        let sector = self.sector_bytes;
        if !sector.is_power_of_two() {
            let reason = format!("is {sector}, must be a power of two");
            return Err(Error::InvalidConfig { field: "sector_bytes", reason });
        }
        // The largest frame and the largest block must have room in one file.
        let frame = frame::frame_bytes_max(self.batch_points) as u64;
        let frame = round_up(frame, sector).expect("limits above");
        within("segment_bytes", self.segment_bytes, frame, 1 << 40)?;
        if !self.segment_bytes.is_multiple_of(sector) {
            let reason = format!("is {}, must be a multiple of sector_bytes = {sector}", self.segment_bytes);
            return Err(Error::InvalidConfig { field: "segment_bytes", reason });
        }
        let block = block::block_bytes_max(self.block_points) as u64;
        let least = chunk::header_bytes(sector) + round_up(block, sector).expect("limits above");
        within("chunk_bytes", self.chunk_bytes, least, 1 << 40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        Config::default().check().unwrap();
    }

    #[test]
    fn each_limit_is_refused_by_name() {
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            match config.check() {
                Err(Error::InvalidConfig { field, .. }) => field,
                other => panic!("expected a refusal, got {other:?}"),
            }
        };
        assert_eq!(refused(|c| c.batch_points = 0), "batch_points");
        assert_eq!(refused(|c| c.batch_points = 65_537), "batch_points");
        assert_eq!(refused(|c| c.block_points = 0), "block_points");
        assert_eq!(refused(|c| c.segments = 1), "segments");
        assert_eq!(refused(|c| c.segments_max = 3), "segments_max");
        assert_eq!(refused(|c| c.sector_bytes = 768), "sector_bytes");
        assert_eq!(refused(|c| c.segment_bytes = 2048), "segment_bytes");
        assert_eq!(refused(|c| c.segment_bytes = 64 * 1024 + 1), "segment_bytes");
        assert_eq!(refused(|c| c.chunk_bytes = 4096), "chunk_bytes");
        assert_eq!(refused(|c| c.flush_workers = 0), "flush_workers");
        assert_eq!(refused(|c| c.wal_streams = 0), "wal_streams");
        assert_eq!(refused(|c| c.wal_streams = 17), "wal_streams");
        assert_eq!(refused(|c| c.backlog_points = 0), "backlog_points");
    }

    #[test]
    fn streams_share_shards_and_memory_evenly_and_none_goes_without() {
        for (shards, buffer_bytes, wal_streams) in
            [(1, 1, 1), (64, 64 << 20, 1), (64, 1 << 20, 3), (5, 1000, 16), (3, 10, 16), (65, 4097, 2)]
        {
            let config = Config { shards, buffer_bytes, wal_streams, ..Config::default() };
            let (own, streams) = (config.stream_shards(), wal_streams as u64);
            assert!(own.is_power_of_two(), "a hash is cut to its lower bits");
            assert!(own * wal_streams >= shards && own < 2 * shards.div_ceil(wal_streams), "{config:?}");
            let own = config.stream_buffer_bytes();
            assert!(own >= 1 && (own == 1 || own * streams <= buffer_bytes), "{config:?}");
            assert!((own + 1) * streams > buffer_bytes, "{config:?}");
        }
    }

    #[test]
    fn the_logger_is_woken_for_most_of_a_write_and_long_before_writers_wait() {
        for (staging_bytes, backlog_points) in
            [(1 << 20, 1 << 20), (1 << 20, 1000), (4096, 1 << 20), (1, 1), (600, 90)]
        {
            let config = Config { staging_bytes, backlog_points, ..Config::default() };
            let (points, at_once) = (config.wake_points() as usize, staging_bytes / 17);
            assert!(
                points >= 1 && (points == 1 || points <= at_once && points <= backlog_points / 2),
                "{config:?}"
            );
            assert!(2 * points >= at_once || 2 * points + 1 >= backlog_points, "{config:?}");
        }
    }

    #[test]
    fn a_frame_of_several_tags_is_no_more_than_a_fourth_of_a_segment_nor_much_less() {
        for segment_bytes in [4096, 16 << 10, 64 << 10, 1 << 20, 64 << 20] {
            let config = Config { segment_bytes, ..Config::default() };
            let points = config.mixed_points();
            let len = |points| frame::frame_bytes(crate::codec::mixed::bytes_max(points)) as u64;
            assert!(4 * len(points) <= segment_bytes, "{points} points in {segment_bytes} bytes");
            assert!(
                points == MIXED_POINTS_MAX || 4 * len(2 * points) > segment_bytes,
                "{points} points in {segment_bytes} bytes"
            );
        }
        // However small it is, there is room for one.
        assert_eq!(Config { segment_bytes: 512, ..Config::default() }.mixed_points(), 1);
    }
}
