//! A disk in memory that fails the way disks do.
//!
//! | file | subject |
//! |---|---|
//! | `media` | what is on it: per sector the durable version and every unsynced one since; unsynced names |
//! | `survival` | a crash: from media to the media that survives it |
//! | `recorded` | what the record is told of it |
//! | this one | [`SimDisk`]: the calls, the faults and crashes that are set up for them |
//!
//! A crash is a value. [`SimDisk::power_cut`] takes the dead disk and returns the one that survives; the dead one
//! answers every later call with an error and changes nothing any more, whoever still holds it. A *snapshot* is the
//! state at one I/O of a run that goes on: a crash there can be judged on the side.

mod media;
mod recorded;
mod survival;

pub use media::SECTOR;
pub use survival::Profile;

use crate::choice::{Chooser, Concern};
use crate::fault::{Fault, FaultCounts};
use crate::record::Event;
use crate::timeline::Timeline;
use media::Media;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};

/// A kind of I/O, as far as errors are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// `read_at`
    Read,
    /// `write_at`
    Write,
    /// `sync`
    Sync,
    /// `open`, in any mode
    Open,
    /// `list`
    List,
    /// `rename`
    Rename,
    /// `remove`
    Remove,
    /// `sync_dir`
    SyncDir,
    /// `set_len`
    SetLen,
    /// `len`
    Len,
}

impl IoKind {
    /// All kinds.
    pub const ALL: [IoKind; 10] = [
        IoKind::Write,
        IoKind::Sync,
        IoKind::Read,
        IoKind::Open,
        IoKind::SyncDir,
        IoKind::Rename,
        IoKind::Remove,
        IoKind::SetLen,
        IoKind::List,
        IoKind::Len,
    ];

    fn fault(self) -> Fault {
        match self {
            IoKind::Read => Fault::ReadError,
            IoKind::Write => Fault::WriteError,
            IoKind::Sync => Fault::SyncError,
            IoKind::Open => Fault::OpenError,
            IoKind::List => Fault::ListError,
            IoKind::Rename => Fault::RenameError,
            IoKind::Remove => Fault::RemoveError,
            IoKind::SyncDir => Fault::SyncDirError,
            IoKind::SetLen => Fault::SetLenError,
            IoKind::Len => Fault::LenError,
        }
    }
}

/// What a failing operation does to the disk all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing. A failed sync leaves its pages dirty.
    None,
    /// A failed write has written this many 1/256 of its bytes; a failed rename or removal has happened.
    Part(u8),
    /// A failed sync has dropped the dirty pages: reads see the old content again (xfs, btrfs).
    PagesDropped,
    /// A failed sync has marked the pages clean: reads see the new content, and no sync will write it (ext4).
    PagesClean,
}

/// An error that is set up for an operation to come.
#[derive(Clone, Copy, Debug)]
pub struct Armed {
    /// Of this kind.
    pub kind: IoKind,
    /// On files whose names begin so; for calls that concern one open file.
    pub only: &'static str,
    /// After so many that go well.
    pub after: u32,
    /// And for all that follow.
    pub sticky: bool,
    /// With this effect.
    pub effect: Effect,
}

impl Effect {
    /// Draws what a failing operation of a kind does all the same.
    pub fn draw(chooser: &mut Chooser, kind: IoKind) -> Effect {
        match kind {
            IoKind::Sync => {
                chooser.pick(Concern::Faults, &[Effect::None, Effect::PagesDropped, Effect::PagesClean])
            }
            _ => Effect::Part(chooser.below(Concern::Faults, 256) as u8),
        }
    }
}

impl Armed {
    /// Draws an error for one of the next `within` operations of a kind.
    pub fn draw(chooser: &mut Chooser, kind: IoKind, within: u32) -> Armed {
        let faults = Concern::Faults;
        let effect = Effect::draw(chooser, kind);
        // Often one kind of file: what follows from a manifest that cannot be written is seen only if the rest can.
        let only = chooser.pick(faults, &["", "MANIFEST", "chunk", "wal"]);
        let after = chooser.below(faults, within);
        Armed { kind, only, after, sticky: chooser.chance(faults, 64), effect }
    }
}

/// Which side of an I/O's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The I/O has no effect.
    Before,
    /// The I/O has taken effect, and its caller is not told.
    After,
}

/// A disk that does not keep its own promises: what an oracle is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// `sync` says `Ok` and does nothing.
    IgnoresSync,
    /// `sync_dir` says `Ok` and does nothing.
    ForgetsNames,
    /// A read gives one wrong bit, now and then.
    FlipsBits,
}

/// The state of the disk at one I/O of a run that went on.
#[derive(Clone)]
pub struct Snapshot {
    media: Media,
    /// Which I/O, counting those that change something.
    pub at: u64,
}

/// Far more than any run needs; an engine that goes round in circles runs into it.
const IO_LIMIT: u64 = 1_000_000;

struct State {
    media: Media,
    dead: bool,
    locked: bool,
    /// I/Os that change something, since the disk was made.
    clock: u64,
    io_ops: u64,
    crash_at: Option<(u64, When)>,
    snapshot_at: Option<(u64, When)>,
    snapshots: Vec<Snapshot>,
    armed: Option<Armed>,
    /// The armed error is sticky and has begun.
    stuck: bool,
    no_space: bool,
    lie: Option<Lie>,
    /// Faults that fired since [`SimDisk::take_fired`].
    fired: Vec<Fault>,
    counts: FaultCounts,
    timeline: Timeline,
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn enospc() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

impl SimDisk {
    /// An empty disk.
    pub fn new(timeline: Timeline) -> SimDisk {
        SimDisk::with(Media::default(), timeline)
    }

    fn with(media: Media, timeline: Timeline) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            media,
            dead: false,
            locked: false,
            clock: 0,
            io_ops: 0,
            crash_at: None,
            snapshot_at: None,
            snapshots: Vec::new(),
            armed: None,
            stuck: false,
            no_space: false,
            lie: None,
            fired: Vec::new(),
            counts: FaultCounts::default(),
            timeline,
        })))
    }

    /// The power fails at the I/O that is `changes` changing I/Os away; 0 is the next.
    pub fn arm_crash(&self, changes: u32, when: When) {
        let mut state = self.0.lock();
        state.crash_at = Some((state.clock + u64::from(changes), when));
        state.counts.arm(if when == When::Before { Fault::CrashBefore } else { Fault::CrashAfter });
    }

    /// The state at the I/O that is `changes` changing I/Os away will be kept.
    pub fn arm_snapshot(&self, changes: u32, when: When) {
        let mut state = self.0.lock();
        state.snapshot_at = Some((state.clock + u64::from(changes), when));
    }

    /// Whether a snapshot is set up and not yet taken.
    pub fn awaits_snapshot(&self) -> bool {
        self.0.lock().snapshot_at.is_some()
    }

    /// The snapshots taken since the last call.
    pub fn take_snapshots(&self) -> Vec<Snapshot> {
        std::mem::take(&mut self.0.lock().snapshots)
    }

    /// Sets up an error.
    pub fn arm(&self, armed: Armed) {
        let mut state = self.0.lock();
        state.counts.arm(fault_of(&armed));
        if armed.sticky {
            state.counts.arm(Fault::Sticky);
        }
        state.armed = Some(armed);
        state.stuck = false;
    }

    /// From now on, or no longer, whatever needs space fails.
    pub fn set_no_space(&self, no_space: bool) {
        let mut state = self.0.lock();
        if no_space && !state.no_space {
            state.counts.arm(Fault::NoSpace);
        }
        state.no_space = no_space;
    }

    /// Makes it a liar.
    pub fn set_lie(&self, lie: Option<Lie>) {
        self.0.lock().lie = lie;
    }

    /// Whether whatever needs space fails now.
    pub fn has_no_space(&self) -> bool {
        self.0.lock().no_space
    }

    /// Lifts every error and cancels a crash that is set up.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.armed = None;
        state.stuck = false;
        state.no_space = false;
        state.crash_at = None;
        state.fired.clear();
    }

    /// Lifts an error that is set up for reads.
    pub fn heal_reads(&self) {
        let mut state = self.0.lock();
        state.armed = state.armed.filter(|armed| !matches!(armed.kind, IoKind::Read | IoKind::Open));
    }

    /// The faults that fired since the last call.
    pub fn take_fired(&self) -> Vec<Fault> {
        std::mem::take(&mut self.0.lock().fired)
    }

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// I/O calls since they were last taken.
    pub fn io_ops(&self) -> u64 {
        self.0.lock().io_ops
    }

    /// I/O calls since the last time this was asked.
    pub fn take_io_ops(&self) -> u64 {
        std::mem::take(&mut self.0.lock().io_ops)
    }

    /// Counts of the faults of this disk, which are taken out of it.
    pub fn take_counts(&self) -> FaultCounts {
        std::mem::take(&mut self.0.lock().counts)
    }

    /// The power fails, if it has not: this disk is dead, and the one returned is what survives.
    pub fn power_cut(&self, chooser: &mut Chooser, profile: Profile) -> SimDisk {
        let mut state = self.0.lock();
        state.dead = true;
        let timeline = state.timeline.clone();
        let State { media, counts, lie, .. } = &mut *state;
        let left = survival::crash(media, chooser, profile, counts, &timeline);
        timeline.record(|| Event::PowerCut(recorded::power_cut(media, &left)));
        let survivor = SimDisk::with(left, timeline);
        survivor.set_lie(*lie);
        survivor
    }

    /// What survives if the power fails at a snapshot.
    pub fn from_snapshot(&self, snapshot: &Snapshot, chooser: &mut Chooser, profile: Profile) -> SimDisk {
        let mut state = self.0.lock();
        let timeline = state.timeline.clone();
        let media = survival::crash(&snapshot.media, chooser, profile, &mut state.counts, &timeline);
        timeline.record(|| Event::PowerCut(recorded::power_cut(&snapshot.media, &media)));
        let survivor = SimDisk::with(media, timeline);
        survivor.set_lie(state.lie);
        survivor
    }

    /// A disk with the same durable content. Only for a disk without anything unsynced, such as one that a crash just
    /// left.
    pub fn copy(&self) -> SimDisk {
        let state = self.0.lock();
        assert!(state.media.is_clean(), "a copy of a disk is made when everything on it is durable");
        SimDisk::with(state.media.clone(), state.timeline.clone())
    }

    /// Names and lengths of all files.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.0.lock();
        let len = |inode: &usize| state.media.file(*inode).len();
        state.media.names().iter().map(|(name, inode)| (name.to_string(), len(inode))).collect()
    }

    /// The content of a file as reads see it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.media.lookup(name).map(|inode| state.media.file(inode).bytes().to_vec())
    }

    /// The contents of all files as reads see them, by name.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        let content = |inode: &usize| state.media.file(*inode).bytes().to_vec();
        state.media.names().iter().map(|(name, inode)| (name.to_string(), content(inode))).collect()
    }

    /// A disk with these files, all durable.
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> SimDisk {
        let disk = SimDisk::new(Timeline::default());
        for (name, bytes) in files {
            let file = disk.open(name, OpenMode::Create).expect("nothing is set up to fail");
            file.write_at(0, bytes).and_then(|()| file.sync()).expect("nothing is set up to fail");
        }
        disk.sync_dir().expect("nothing is set up to fail");
        disk
    }

    /// Changes what is at rest, and notes the fault that did it.
    pub fn damage(&self, fault: Fault, name: &str, change: Damage) {
        let mut state = self.0.lock();
        let inode = state.media.lookup(name).expect("damage strikes files that are there");
        state.counts.count(fault, true);
        state.timeline.note(&[fault as u64], || format!("    {} of {name}: {change:?}", fault.name()));
        match change {
            Damage::Flip { bit } => state.media.file_mut(inode).flip(bit),
            Damage::Copy { from, to, len } => state.media.file_mut(inode).copy_within(from, to, len),
            Damage::Cut { len } => state.media.file_mut(inode).cut(len),
            Damage::Remove => state.media.lose(name),
        }
    }
}

/// What can happen to a file at rest.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// This bit is the other way round.
    Flip {
        /// Counted from the start of the file.
        bit: u64,
    },
    /// What belongs at one offset is at another one, too.
    Copy {
        /// Where it belongs.
        from: u64,
        /// Where it was written.
        to: u64,
        /// Bytes.
        len: u64,
    },
    /// What is behind this length is gone.
    Cut {
        /// Bytes that are left.
        len: u64,
    },
    /// The file is gone.
    Remove,
}

fn fault_of(armed: &Armed) -> Fault {
    match armed.effect {
        Effect::PagesDropped => Fault::SyncDropped,
        Effect::PagesClean => Fault::SyncClean,
        Effect::None | Effect::Part(_) => armed.kind.fault(),
    }
}

impl State {
    /// One I/O begins. `Err` when the power is off.
    fn begin(&mut self) -> io::Result<()> {
        // Counted on a dead disk, too: an engine that goes on trying must be found out.
        self.io_ops += 1;
        assert!(
            self.io_ops < IO_LIMIT,
            "more than {IO_LIMIT} I/Os in one life of a disk: something does not end"
        );
        if self.dead {
            return Err(power_is_off());
        }
        Ok(())
    }

    /// Whether the error that is set up strikes this operation, and with what effect.
    fn strike(&mut self, kind: IoKind) -> Option<Effect> {
        self.strike_file(kind, None)
    }

    fn strike_file(&mut self, kind: IoKind, inode: Option<usize>) -> Option<Effect> {
        let armed = self.armed.as_mut().filter(|armed| armed.kind == kind)?;
        if let Some(inode) = inode
            && !armed.only.is_empty()
            && !self.media.name_of(inode).starts_with(armed.only)
        {
            return None;
        }
        if armed.after > 0 {
            armed.after -= 1;
            return None;
        }
        let armed = *armed;
        if armed.sticky {
            if !self.stuck {
                self.counts.fire(fault_of(&armed));
            } else {
                self.counts.fire(Fault::Sticky);
            }
            self.stuck = true;
        } else {
            self.counts.fire(fault_of(&armed));
            self.armed = None;
        }
        self.fired.push(armed.kind.fault());
        Some(armed.effect)
    }

    /// Fails for want of space, if that is so.
    fn need_space(&mut self) -> io::Result<()> {
        if !self.no_space {
            return Ok(());
        }
        self.counts.fire(Fault::NoSpace);
        self.fired.push(Fault::NoSpace);
        Err(enospc())
    }

    /// Runs an I/O that changes something: a place for a crash and for a snapshot, on both sides of its effect.
    fn change<R>(&mut self, apply: impl FnOnce(&mut State) -> io::Result<R>) -> io::Result<R> {
        self.begin()?;
        let now = self.clock;
        self.clock += 1;
        self.crash_here(now, When::Before)?;
        self.snapshot_here(now, When::Before);
        let result = apply(self);
        self.snapshot_here(now, When::After);
        self.crash_here(now, When::After)?;
        result
    }

    fn crash_here(&mut self, now: u64, when: When) -> io::Result<()> {
        if self.crash_at != Some((now, when)) {
            return Ok(());
        }
        self.dead = true;
        self.counts.fire(if when == When::Before { Fault::CrashBefore } else { Fault::CrashAfter });
        self.timeline.note(&[now, when as u64], || format!("    CRASH    {when:?} this I/O").to_lowercase());
        Err(power_is_off())
    }

    fn snapshot_here(&mut self, now: u64, when: When) {
        if self.snapshot_at == Some((now, when)) {
            self.snapshot_at = None;
            self.snapshots.push(Snapshot { media: self.media.clone(), at: now });
        }
    }

    fn note(&self, kind: IoKind, words: [u64; 4], ok: bool, line: impl FnOnce() -> String) {
        let [a, b, c, d] = words;
        let mut text = String::new();
        self.timeline.note(&[kind as u64, a, b, c, d, u64::from(ok)], || {
            text = line();
            format!("    {:<8} {text}{}", format!("{kind:?}").to_lowercase(), if ok { "" } else { "  FAILS" })
        });
        self.timeline.record(|| Event::Io(self.io(kind, words, ok, &text)));
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        let exists = state.media.lookup(name);
        let open = |state: &mut State| {
            if state.strike(IoKind::Open).is_some() {
                return Err(eio());
            }
            match (mode, exists) {
                (OpenMode::Read | OpenMode::Write, None) => Err(io::ErrorKind::NotFound.into()),
                (OpenMode::Lock, _) if state.locked => Err(io::ErrorKind::WouldBlock.into()),
                (OpenMode::Create, Some(inode)) => {
                    state.media.set_len(inode, 0);
                    Ok(inode)
                }
                (OpenMode::Create | OpenMode::Lock, None) => {
                    state.need_space()?;
                    Ok(state.media.create(name))
                }
                (_, Some(inode)) => Ok(inode),
            }
        };
        let changes = mode == OpenMode::Create || (mode == OpenMode::Lock && exists.is_none());
        let opened = if changes { state.change(open) } else { state.begin().and_then(|()| open(&mut state)) };
        state.note(IoKind::Open, [mode as u64, 0, 0, 0], opened.is_ok(), || {
            format!("{name} ({})", format!("{mode:?}").to_lowercase())
        });
        let inode = opened?;
        let lock = (mode == OpenMode::Lock).then(|| {
            state.locked = true;
            Lock(self.clone())
        });
        Ok(Arc::new(SimFile { disk: self.clone(), inode, _lock: lock }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.begin()?;
        let struck = state.strike(IoKind::List).is_some();
        state.note(IoKind::List, [0; 4], !struck, String::new);
        if struck {
            return Err(eio());
        }
        Ok(state.media.names().keys().map(|name| name.to_string()).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let result = state.change(|state| {
            state.need_space()?;
            let struck = state.strike(IoKind::Rename);
            if matches!(struck, None | Some(Effect::Part(128..))) {
                state.media.rename(from, to)?;
            }
            if struck.is_some() { Err(eio()) } else { Ok(()) }
        });
        state.note(IoKind::Rename, [0; 4], result.is_ok(), || format!("{from} -> {to}"));
        result
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let result = state.change(|state| {
            let struck = state.strike(IoKind::Remove);
            if matches!(struck, None | Some(Effect::Part(128..))) {
                state.media.remove(name)?;
            }
            if struck.is_some() { Err(eio()) } else { Ok(()) }
        });
        state.note(IoKind::Remove, [0; 4], result.is_ok(), || name.to_string());
        result
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let result = state.change(|state| {
            if state.strike(IoKind::SyncDir).is_some() {
                return Err(eio());
            }
            if state.lie != Some(Lie::ForgetsNames) {
                state.media.sync_names();
            }
            Ok(())
        });
        state.note(IoKind::SyncDir, [0; 4], result.is_ok(), String::new);
        result
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
    _lock: Option<Lock>,
}

/// The lock is free when the last handle that holds it is dropped, as the system does it for a process.
struct Lock(SimDisk);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.0.lock().locked = false;
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        let result = if state.strike_file(IoKind::Read, Some(self.inode)).is_some() {
            Err(eio())
        } else {
            let bytes = state.media.file(self.inode).bytes();
            let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= bytes.len() as u64);
            match end {
                Some(end) => {
                    buf.copy_from_slice(&bytes[offset as usize..end as usize]);
                    if state.lie == Some(Lie::FlipsBits) && state.io_ops.is_multiple_of(64) && !buf.is_empty()
                    {
                        buf[0] ^= 4;
                    }
                    Ok(())
                }
                // As a real file has it: nothing can be read from anywhere.
                None if buf.is_empty() => Ok(()),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        state.note(IoKind::Read, [self.inode as u64, offset, buf.len() as u64, 0], result.is_ok(), || {
            format!("{} {offset}..{}", state.media.name_of(self.inode), offset + buf.len() as u64)
        });
        result
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let inode = self.inode;
        let result = state.change(|state| {
            let grows = offset + buf.len() as u64 > state.media.file(inode).len();
            if grows {
                state.need_space()?;
            }
            match state.strike_file(IoKind::Write, Some(inode)) {
                None => state.media.write(inode, offset, buf),
                Some(effect) => {
                    let share = if let Effect::Part(share) = effect { usize::from(share) } else { 0 };
                    state.media.write(inode, offset, &buf[..buf.len() * share / 256]);
                    return Err(eio());
                }
            }
            Ok(())
        });
        let words = [inode as u64, offset, buf.len() as u64, u64::from(crc32fast::hash(buf))];
        state.note(IoKind::Write, words, result.is_ok(), || {
            format!("{} {offset}..{}", state.media.name_of(inode), offset + buf.len() as u64)
        });
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let inode = self.inode;
        let result = state.change(|state| {
            match state.strike_file(IoKind::Sync, Some(inode)) {
                None => {
                    if state.lie != Some(Lie::IgnoresSync) {
                        state.media.file_mut(inode).sync();
                    }
                    return Ok(());
                }
                Some(Effect::PagesDropped) => state.media.file_mut(inode).drop_dirty(),
                Some(Effect::PagesClean) => state.media.file_mut(inode).abandon_dirty(),
                Some(Effect::None | Effect::Part(_)) => {}
            }
            Err(eio())
        });
        state.note(IoKind::Sync, [inode as u64, 0, 0, 0], result.is_ok(), || state.media.name_of(inode));
        result
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        if state.strike_file(IoKind::Len, Some(self.inode)).is_some() {
            return Err(eio());
        }
        Ok(state.media.file(self.inode).len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let inode = self.inode;
        let result = state.change(|state| {
            if len > state.media.file(inode).len() {
                state.need_space()?;
            }
            if state.strike_file(IoKind::SetLen, Some(inode)).is_some() {
                return Err(eio());
            }
            state.media.set_len(inode, len);
            Ok(())
        });
        state.note(IoKind::SetLen, [inode as u64, len, 0, 0], result.is_ok(), || {
            format!("{} {len}", state.media.name_of(inode))
        });
        result
    }
}
