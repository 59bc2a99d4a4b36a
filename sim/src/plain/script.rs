//! Scripts: what a plain test does, as values.

use crate::damage::Expected;
use crate::model::Model;
use std::collections::BTreeMap;
use tidewall::disk::Fate;
use tidewall::{Config, Point};

/// A disk to begin with, and what is done from there.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// What lies on the disk, and what the store there owes; nothing for an empty one.
    pub(super) image: Option<Image>,
    /// Tags that there may be.
    pub(super) tags: u32,
    pub(super) acts: Vec<Act>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Story,
    Image,
}

impl Script {
    pub(super) fn form(&self) -> Form {
        if self.image.is_none() { Form::Story } else { Form::Image }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) model: Model,
    pub(super) exists: bool,
    pub(super) durable_lsn: u64,
}

/// One thing that is done, and what the disk does to it.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) what: What,
    /// Of the changing calls of the disk in it, counted from 0, those that do not succeed.
    pub(super) fates: BTreeMap<u64, Fate>,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Open(Config),
    Write(Vec<Point>),
    Sync,
    Flush,
    Step,
    Close,
    /// The process dies.
    Kill,
    /// The power fails, or has failed.
    Cut(Left),
    /// A file is changed behind the engine's back, or is gone.
    Damage {
        file: String,
        change: Change,
        expected: Expected,
    },
}

/// Damage at rest, so that it can strike a file whose other bytes have become plainer.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Gone,
    /// This many bytes are left.
    Cut(usize),
    /// Bits of the byte at this offset are the other way round.
    Flip(usize, u8),
    /// These bytes are at this offset.
    Bytes(usize, Vec<u8>),
}

/// What a power cut leaves: of everything unsynced that is not named here the version `others`, 0 being what was durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    pub(super) others: usize,
    pub(super) kept: Vec<(Unsynced, usize)>,
    /// Sectors that were torn inside, byte for byte: file, offset, content.
    pub(super) torn: Vec<(String, usize, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsynced {
    Sector(String, usize),
    Len(String),
    Name(String),
}

/// What the test asserts of its last act.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// It succeeds.
    Succeeds,
    /// It fails: after a failed sync nothing may be called durable, or accepted (I8).
    Fails,
    /// It ends without a panic.
    Returns,
    /// A tag shows what this many of these points make, at least; they were written in this order.
    Shows { tag: u32, written: Vec<Point>, least: usize },
    /// The store is not taken for a new one.
    IsNotNew,
    /// After a close nothing is replayed.
    ReplaysNothing,
    /// This many points are called durable, at least, and no more are in the log.
    IsDurable(u64),
    /// Opening is refused.
    IsRefused,
    /// Opening is refused, or a query of this tag.
    IsNoticed(u32),
    /// `inspect` finds damage.
    IsSeen,
    /// `inspect` finds none.
    IsSound,
    /// It does not use the disk.
    IsSilent,
    /// Everything is in blocks, and no segment is in use.
    IsFlushed(u64),
    /// This many points are in the log, and no buffer waits for a flush.
    IsAppended(u64),
}

/// A check, and of which act.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) at: usize,
    pub(super) check: Check,
    /// Changing calls of the disk before each act, counted anew for each disk.
    pub(super) calls: Vec<u64>,
    /// Which acts succeed.
    pub(super) succeeds: Vec<bool>,
}
