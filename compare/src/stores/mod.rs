//! The stores, behind one trait. A new one is a file, and a line in [`ALL`].

mod batcher;
#[cfg(feature = "fjall")]
mod fjall;
// Which of it is used depends on the features.
#[allow(dead_code)]
mod keyed;
mod limits;
mod okaywal;
#[cfg(feature = "raft-engine")]
mod raft_engine;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tidewall;
#[cfg(feature = "tsink")]
mod tsink;
#[cfg(feature = "walrus")]
mod walrus;

use crate::Result;
use ::tidewall::Point;
use std::path::Path;

/// How points arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Shape {
    /// One at a time, round-robin over the tags. Who needs batches makes them.
    Points,
    /// 100 of one tag at a time, round-robin over the tags.
    Batches,
}

/// What a store may know of the work before it.
#[derive(Clone, Copy)]
pub struct Options {
    /// How points arrive.
    pub shape: Shape,
    /// Each call of `write` is followed by `sync`, by several threads at once.
    pub immediate: bool,
    /// Points between syncs; 0 is only at the end.
    #[cfg_attr(not(feature = "tsink"), allow(dead_code))]
    pub sync_every: usize,
    /// About how many points will be written.
    pub points: usize,
}

/// An open store.
pub trait Store: Sync {
    /// One for each thread that writes.
    fn writer(&self) -> Result<Box<dyn Writer + Send + '_>>;
    /// The points of a tag from `from` and before `to`, in order of time.
    fn query(&self, tag: u32, from_us: i64, to_us: i64) -> Result<Vec<Point>>;
    /// Ends in the way that the store calls clean.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A way to write.
pub trait Writer {
    /// Takes points in the order of their arrival: a call is a thousand of several tags, or a batch of one tag.
    fn write(&mut self, points: &[Point]) -> Result<()>;
    /// Makes all that this writer was given durable, in the store's own meaning of it.
    fn sync(&mut self) -> Result<()>;
}

/// Opens a store, creating it if there is none.
pub type Open = fn(&Path, Options) -> Result<Box<dyn Store>>;

/// What the table says of a store.
pub struct Kind {
    /// On the command line.
    pub name: &'static str,
    /// In the table.
    pub title: &'static str,
    /// What an acknowledged sync is.
    pub sync: &'static str,
    /// How it is used here.
    pub how: &'static str,
    /// Whether what it stores is there when it is opened again.
    pub keeps: bool,
    /// Whether a query is a use that it is made for; otherwise it is read whole, to verify.
    pub queries: bool,
    /// Files kept to be used again, which hold nothing after a clean close.
    pub spare: fn(&str) -> bool,
    pub open: Open,
}

fn none(_: &str) -> bool {
    false
}

/// Every store that was compiled in, in the order of the tables.
pub const ALL: &[Kind] = &[
    Kind {
        name: "tidewall",
        title: "**tidewall**",
        sync: "one write and one fdatasync of the log, shared by all that wait",
        how: "`write` for each point, or `write_batch` for 100 of a tag",
        keeps: true,
        queries: true,
        spare: |name| name.starts_with("wal-"),
        open: tidewall::open,
    },
    Kind {
        name: "tidewall-calls",
        title: "**tidewall**, `write_batch` only",
        sync: "the same",
        how: "`write_batch` of what has arrived: a thousand points of many tags, or as many as the others put into a transaction",
        keeps: true,
        queries: true,
        spare: |name| name.starts_with("wal-"),
        open: tidewall::open_for_calls,
    },
    Kind {
        name: "nothing",
        title: "the harness alone",
        sync: "nothing",
        how: "points are made and dropped",
        keeps: false,
        queries: false,
        spare: none,
        open: limits::open_nothing,
    },
    Kind {
        name: "memory",
        title: "limit: vectors in memory",
        sync: "nothing",
        how: "a vector for each tag, a map of each writer's own with a fast hash; no I/O",
        keeps: false,
        queries: true,
        spare: none,
        open: limits::open_memory,
    },
    Kind {
        name: "file",
        title: "limit: growing file",
        sync: "one write and one fdatasync",
        how: "24 bytes a point in order of arrival, buffers of 1 MiB",
        keeps: true,
        queries: false,
        spare: none,
        open: limits::open_file,
    },
    Kind {
        name: "file-preallocated",
        title: "limit: preallocated file",
        sync: "one write and one fdatasync",
        how: "the same into a file whose blocks were written before",
        keeps: true,
        queries: false,
        spare: none,
        open: limits::open_preallocated,
    },
    Kind {
        name: "okaywal",
        title: "okaywal 0.3.1 (log)",
        sync: "commit of an entry: one fdatasync, shared. There is no commit without, so also after each 16 MiB",
        how: "a chunk for each tag batch of 100, preallocated, never checkpointed; positions kept in memory",
        keeps: true,
        queries: true,
        spare: none,
        open: okaywal::open,
    },
    #[cfg(feature = "raft-engine")]
    Kind {
        name: "raft-engine",
        title: "raft-engine 0.4.2 (log)",
        sync: "a write with sync: one fdatasync, shared",
        how: "an entry for each tag batch of 100, log batches of 64 KiB, compressed with LZ4",
        keeps: true,
        queries: false,
        spare: none,
        open: raft_engine::open,
    },
    #[cfg(feature = "walrus")]
    Kind {
        name: "walrus",
        title: "walrus 0.2.0 (log)",
        sync: "there is no call for it: its files are synced from outside; in the table of waiting calls, its own sync of each append",
        how: "an append for each tag batch of 100, a topic for each writer",
        keeps: true,
        queries: false,
        spare: none,
        open: walrus::open,
    },
    #[cfg(feature = "rocksdb")]
    Kind {
        name: "rocksdb",
        title: "RocksDB 10.4.2 (rocksdb 0.24.0)",
        sync: "a write with `sync`: fdatasync of its log, shared by all that wait",
        how: "batches of up to 10,000 points; LZ4, blocks of 16 KiB, a block cache of 256 MiB, else defaults; close flushes",
        keeps: true,
        queries: true,
        spare: none,
        open: rocksdb::open,
    },
    #[cfg(feature = "fjall")]
    Kind {
        name: "fjall",
        title: "fjall 3.1.13",
        sync: "`persist(SyncData)`: fdatasync of its journal",
        how: "batches of up to 10,000 points; defaults",
        keeps: true,
        queries: true,
        spare: none,
        open: fjall::open,
    },
    #[cfg(feature = "redb")]
    Kind {
        name: "redb",
        title: "redb 4.6.0",
        sync: "a commit with `Durability::Immediate`; the others are `None`",
        how: "transactions of up to 10,000 points",
        keeps: true,
        queries: true,
        spare: none,
        open: redb::open,
    },
    #[cfg(feature = "sqlite")]
    Kind {
        name: "sqlite",
        title: "SQLite (WAL)",
        sync: "a commit with `synchronous=FULL`: fdatasync of its log; the others are `NORMAL`",
        how: "transactions of up to 10,000 points, table without rowid",
        keeps: true,
        queries: true,
        spare: none,
        open: sqlite::open,
    },
    #[cfg(feature = "sled")]
    Kind {
        name: "sled",
        title: "sled 0.34.7",
        sync: "`flush`: on Linux `sync_file_range`, which writes pages out, but neither metadata nor the cache of the disk: less than all others",
        how: "batches of up to 10,000 points; defaults",
        keeps: true,
        queries: true,
        spare: none,
        open: sled::open,
    },
    #[cfg(feature = "tsink")]
    Kind {
        name: "tsink",
        title: "tsink 0.10.2 (time series)",
        sync: "`PerAppend`: fsync of its log after each call; for one sync at the end there is no call, and its files are synced from outside",
        how: "`insert_rows` of up to 10,000 points, without quality; defaults",
        keeps: true,
        queries: true,
        spare: none,
        open: tsink::open,
    },
];

/// The store of a name.
pub fn named(name: &str) -> Result<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name).ok_or_else(|| format!("no store {name} here").into())
}
