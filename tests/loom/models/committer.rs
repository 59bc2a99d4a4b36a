//! Edits of several flushes in one record.

use super::disk::MemDisk;
use super::engine::{query, reopened};
use super::log::config;
use super::{Model, Twin, all, bounded, together};
use crate::config::Config;
use crate::disk::Disk;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::exec::Pool;
use crate::health::Health;
use crate::lsn::Lsn;
use crate::plant::Bug;
use crate::point::Point;
use crate::store::version::{Edit, Geometry, StreamEdit, Version};
use crate::store::{Committer, ManifestWriter, Store};
use crate::survey;
use crate::sync::Arc;

const TOLD: &str = "an edit is told durable that";
const EARLY: &str = "an edit is told durable that is not on the disk (I4)";
const UNPUBLISHED: &str = "an edit is told durable that queries do not see";
const MIXED: &str = "the block that the manifest names, not another one";
const BEHIND: &str = "an edit is told durable behind one whose sync has failed (I8)";
const LOST: &str = "a flushed point did not survive (I4)";

/// The manifest of a new store, with a log stream for every thread.
struct Shared {
    manifest: Committer,
    store: Store,
    config: Config,
}

impl Shared {
    fn new(disk: &MemDisk, threads: usize) -> Arc<Shared> {
        let config = Config { wal_streams: threads, ..config() };
        let version = Version::new(Geometry {
            segment_bytes: config.segment_bytes,
            sector_bytes: config.sector_bytes,
            chunk_bytes: config.chunk_bytes,
            wal_streams: threads as u32,
        });
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let writer = ManifestWriter::replace(&disk, &Arc::new(Health::new()), &config, &version, 1);
        let manifest = Committer::new(writer.expect("the disk is whole"));
        Arc::new(Shared { manifest, store: Store::new(disk, version, config.cache_bytes), config })
    }

    /// Commits an edit of stream `number`.
    fn commit(&self, number: usize) -> Result<()> {
        let watermarks = Some((lsn(number), lsn(number)));
        let stream = StreamEdit { stream: number as u32, watermarks, ..StreamEdit::default() };
        let edit = Edit { streams: vec![stream], ..Edit::default() };
        self.manifest.commit(edit, &self.store, &self.config)
    }
}

fn lsn(number: usize) -> Lsn {
    Lsn(number as u64 + 1)
}

/// Every thread commits one edit, of a stream of its own.
pub(super) const COMMITTER: Model = Model {
    name: "committer",
    question: "Is each edit of a group durable and published when its flush is told so?",
    body: |threads| {
        let disk = MemDisk::watched();
        let shared = Shared::new(&disk, threads);
        together(threads, move |number| {
            shared.commit(number).expect("the disk is whole");
            let names = |version: &Version| version.streams[number].checkpoint_lsn == lsn(number);
            let survivor = survey::read_manifest(&disk.crashed()).expect("a whole manifest");
            assert!(names(&survivor.version), "{EARLY}");
            assert!(shared.store.version(names), "{UNPUBLISHED}");
        });
    },
    sizes: &[all(2), bounded(3, 2)],
    // The one who leaves too early is neither the leader of the first round nor that of the second.
    twins: &[Twin { bug: Bug::R2, size: bounded(3, 2), reason: TOLD }],
};

/// The sync of the first record fails: no edit is durable any more, and a crash leaves the manifest as it was.
pub(super) const FAILED_EDIT: Model = Model {
    name: "failed_edit",
    question: "Is nothing written behind an edit whose sync has failed, and nobody told that his is durable?",
    body: |threads| {
        let disk = MemDisk::new();
        let shared = Shared::new(&disk, threads);
        disk.fail_syncs(1);
        let seen = disk.clone();
        together(threads, move |number| {
            let outcome = shared.commit(number);
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{BEHIND}: {outcome:?}");
            assert!(survey::read_manifest(&seen.crashed()).is_ok(), "a crash leaves a corrupt manifest (I6)");
        });
    },
    sizes: &[all(2), bounded(3, 2)],
    twins: &[Twin { bug: Bug::R4, size: all(2), reason: BEHIND }],
};

/// A flush of two streams, on a pool whose worker is the second thread; a third one looks on.
pub(super) const STREAMS: Model = Model {
    name: "streams",
    question: "Do streams that are flushed at the same time keep out of each other's chunks?",
    body: |threads| {
        let config = Config { wal_streams: 2, ..config() };
        let disk = MemDisk::new();
        let pool = Box::new(Pool::new(1));
        let engine = Engine::open_with(Arc::new(disk.clone()), config.clone(), pool).expect("a new store");
        // Tags 1 and 2 belong to streams 1 and 0.
        engine.write_batch(&[Point::new(1, 1, 0.5), Point::new(2, 2, 0.5)]).expect("accepted");
        together(threads - 1, move |number| match number {
            0 => engine.flush().expect("the disk is whole"),
            _ => assert_eq!((query(&engine, 1), query(&engine, 2)), (vec![1], vec![2]), "{LOST}"),
        });
        let engine = reopened(&disk.crashed(), config);
        assert_eq!((query(&engine, 1), query(&engine, 2)), (vec![1], vec![2]), "{LOST}");
        assert_eq!(engine.recovery_report().points_replayed, 0, "{LOST}");
    },
    sizes: &[bounded(2, 3), bounded(3, 2)],
    twins: &[Twin { bug: Bug::C1, size: bounded(2, 3), reason: MIXED }],
};
