//! A disk in memory that fails the way disks do.
//!
//! | file | subject |
//! |---|---|
//! | `media` | what is on it: per sector the durable version and every unsynced one since; unsynced names |
//! | [`persistence`] | which disk it is: what may be there after a crash, as pure functions |
//! | `atom` | what shares one fate at a crash, in all its versions |
//! | `survival` | a crash: from media to the media that survives it, drawn |
//! | `errors` | which I/O fails, and what it does all the same |
//! | `at_rest` | damage to what is durable, and to how it is read |
//! | this one | [`SimDisk`]: the calls, the faults and crashes that are set up for them |
//!
//! A crash is a value. [`SimDisk::power_cut`] takes the dead disk and returns the one that survives; the dead one
//! answers every later call with an error and changes nothing any more, whoever still holds it. A *snapshot* is the
//! state at one I/O of a run that goes on: a crash there can be judged on the side.

mod at_rest;
mod atom;
mod errors;
mod media;
pub mod persistence;
mod survival;

pub use at_rest::{Damage, Renewed};
pub use errors::{Armed, Effect, IoKind};
pub use media::SECTOR;
use persistence::NameOrder;
pub use persistence::{Persistence, Profile};

use crate::choice::Chooser;
use crate::fault::{Fault, FaultCounts};
use crate::timeline::Timeline;
use at_rest::BadSector;
use media::Media;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};

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

/// How long there is space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Enough,
    /// For so many calls that need some.
    For(u32),
}

impl Space {
    fn runs_out(self) -> bool {
        self != Space::Enough
    }
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
    space: Space,
    /// After so many I/Os, one that takes so many steps of other threads.
    stall: Option<(u32, u32)>,
    /// The I/O that is late.
    stalled: bool,
    bad_sector: Option<BadSector>,
    lie: Option<Lie>,
    /// Which disk it is, as far as a failed sync is concerned; a crash is told.
    profile: Profile,
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
            space: Space::Enough,
            stall: None,
            stalled: false,
            bad_sector: None,
            lie: None,
            profile: Profile::default(),
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
        state.counts.arm(armed.fault());
        if armed.sticky {
            state.counts.arm(Fault::Sticky);
        }
        state.armed = Some(armed);
        state.stuck = false;
    }

    /// After so many calls that need space and find it, all that do fail.
    pub fn arm_no_space(&self, after: u32) {
        let mut state = self.0.lock();
        if !state.space.runs_out() {
            NEEDS_SPACE.into_iter().for_each(|fault| state.counts.arm(fault));
        }
        state.space = Space::For(after);
    }

    /// There is space again.
    pub fn make_space(&self) {
        self.0.lock().space = Space::Enough;
    }

    /// After `after` I/Os, one takes so long that other threads can take `steps` steps before it begins. Only a driver with
    /// threads can keep an I/O waiting: it asks [`stalls_for`](SimDisk::stalls_for). For one thread late is on time.
    pub fn arm_stall(&self, after: u32, steps: u32) {
        let mut state = self.0.lock();
        state.counts.arm(Fault::Stall);
        state.stall = Some((after, steps));
    }

    /// How many steps the I/O that is about to begin has to wait.
    pub fn stalls_for(&self) -> u32 {
        let mut state = self.0.lock();
        match state.stall {
            Some((0, steps)) if !state.dead => {
                state.counts.fire(Fault::Stall);
                state.stall = None;
                state.stalled = true;
                steps
            }
            Some((after, steps)) => {
                state.stall = Some((after.saturating_sub(1), steps));
                0
            }
            None => 0,
        }
    }

    /// Whether an I/O that is late goes on being late.
    pub fn is_stalled(&self) -> bool {
        self.0.lock().stalled
    }

    /// No I/O is late from now on.
    pub fn end_stalls(&self) {
        let mut state = self.0.lock();
        state.stall = None;
        state.stalled = false;
    }

    /// A failed sync keeps what this disk promises.
    pub fn set_profile(&self, profile: Profile) {
        self.0.lock().profile = profile;
    }

    /// Makes it a liar.
    pub fn set_lie(&self, lie: Option<Lie>) {
        self.0.lock().lie = lie;
    }

    /// Whether space has run out, or will.
    pub fn has_no_space(&self) -> bool {
        self.0.lock().space.runs_out()
    }

    /// Lifts every error and cancels a crash that is set up; there is space again.
    pub fn heal(&self) {
        self.make_space();
        self.heal_errors();
    }

    /// Lifts every error but the want of space, and cancels a crash that is set up.
    pub fn heal_errors(&self) {
        let mut state = self.0.lock();
        state.armed = None;
        state.stuck = false;
        state.stall = None;
        state.stalled = false;
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
        let survivor = SimDisk::with(survival::crash(media, chooser, profile, counts, &timeline), timeline);
        survivor.set_lie(*lie);
        survivor.set_profile(profile);
        survivor
    }

    /// What survives if the power fails at a snapshot.
    pub fn from_snapshot(&self, snapshot: &Snapshot, chooser: &mut Chooser, profile: Profile) -> SimDisk {
        let mut state = self.0.lock();
        let timeline = state.timeline.clone();
        let media = survival::crash(&snapshot.media, chooser, profile, &mut state.counts, &timeline);
        let survivor = SimDisk::with(media, timeline);
        survivor.set_lie(state.lie);
        survivor.set_profile(profile);
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
}

/// What fails when there is no space.
const NEEDS_SPACE: [Fault; 4] =
    [Fault::NoSpaceWrite, Fault::NoSpaceGrow, Fault::NoSpaceCreate, Fault::NoSpaceRename];

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
                self.counts.fire(armed.fault());
            } else {
                self.counts.fire(Fault::Sticky);
            }
            self.stuck = true;
        } else {
            self.counts.fire(armed.fault());
            self.armed = None;
        }
        self.fired.push(armed.kind.fault());
        Some(armed.effect)
    }

    /// Whether the disk promises something, whichever of the profile's points it is.
    fn promises(&self, what: impl Fn(Persistence) -> bool) -> bool {
        self.profile.points().into_iter().all(what)
    }

    /// The write up to which a file's data is durable without a sync.
    fn data_owed(&self, inode: usize) -> u64 {
        let owed = |disk| survival::data_owed(&self.media, inode, disk);
        self.profile.points().into_iter().map(owed).min().unwrap_or(0)
    }

    /// Fails for want of space, if that is so.
    fn need_space(&mut self, fault: Fault) -> io::Result<()> {
        match &mut self.space {
            Space::Enough => return Ok(()),
            Space::For(0) => {}
            Space::For(calls) => {
                *calls -= 1;
                return Ok(());
            }
        }
        self.counts.fire(fault);
        self.fired.push(fault);
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
        self.timeline.note(&[kind as u64, a, b, c, d, u64::from(ok)], || {
            format!(
                "    {:<8} {}{}",
                format!("{kind:?}").to_lowercase(),
                line(),
                if ok { "" } else { "  FAILS" }
            )
        });
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
                    state.need_space(Fault::NoSpaceCreate)?;
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
            state.need_space(Fault::NoSpaceRename)?;
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
            if let Some(effect) = state.strike(IoKind::SyncDir) {
                // Names that are durable at once are nothing that a failed sync could drop.
                let at_once = state.promises(|disk| disk.names == NameOrder::AtOnce);
                match effect {
                    _ if at_once => {}
                    Effect::PagesDropped | Effect::RolledBack => state.media.roll_back_names(),
                    Effect::PagesClean => state.media.abandon_names(),
                    Effect::None | Effect::Part(_) => {}
                }
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
                    let read = state.read_badly(self.inode, offset, buf);
                    if state.lie == Some(Lie::FlipsBits) && state.io_ops.is_multiple_of(64) && !buf.is_empty()
                    {
                        buf[0] ^= 4;
                    }
                    read
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
                state.need_space(Fault::NoSpaceWrite)?;
            }
            // A sector that is written to is a good one again.
            state.bad_sector = state.bad_sector.filter(|bad| !bad.meets(inode, offset, buf.len()));
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
                Some(Effect::PagesDropped) => {
                    let owed = state.data_owed(inode);
                    state.media.file_mut(inode).drop_dirty(owed);
                }
                Some(Effect::PagesClean) => state.media.file_mut(inode).abandon_dirty(),
                Some(Effect::RolledBack) => {
                    let owed = state.data_owed(inode);
                    state.media.file_mut(inode).roll_back(owed);
                }
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
                state.need_space(Fault::NoSpaceGrow)?;
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
