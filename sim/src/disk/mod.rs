//! A disk in memory that fails the way disks do.
//!
//! | file | subject |
//! |---|---|
//! | `media` | what is on it: per sector the durable version and every unsynced one since; unsynced names |
//! | [`persistence`] | which disk it is: what may be there after a crash, as pure functions |
//! | `atom` | what shares one fate at a crash, in all its versions |
//! | `survival` | a crash: from media to the media that survives it, drawn |
//! | `fates` | a crash that is decided when somebody looks: all that may survive, at once |
//! | `explain` | whether what a real disk holds after a power cut is what a crash here could have left |
//! | `site` | an I/O by its kind, such as the one at which the power failed |
//! | [`recorder`] | calls as values: recorded on one disk, made again on another |
//! | `recorded` | what the record of a run is told of the disk |
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
mod explain;
mod fates;
mod media;
pub mod persistence;
mod recorded;
pub mod recorder;
mod site;
mod survival;

pub use at_rest::{Damage, Renewed};
pub use errors::{Armed, Effect, IoKind};
pub use explain::{Explained, Unexplained};
pub use media::SECTOR;
use persistence::NameOrder;
pub use persistence::{Persistence, Profile};
pub use site::Site;

use crate::blind::{self, Blind};
use crate::choice::{Chooser, SharedChooser};
use crate::fault::{Fault, FaultCounts};
use crate::record::{Detail, Event, Failure};
use crate::timeline::Timeline;
use at_rest::BadSector;
use fates::Fates;
use media::Media;
use num_bigint::BigUint;
use parking_lot::Mutex;
use rustc_hash::FxHasher;
use std::collections::BTreeMap;
use std::hash::Hasher;
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
    /// What an earlier crash left open and nobody had decided.
    fates: Option<Fates>,
    /// Which I/O, counting those that change something.
    pub at: u64,
    /// Before or after its effect.
    pub when: When,
    /// What it was; `None` between two.
    pub site: Option<Site>,
    /// Decisions made by then about what a crash had left open.
    pub decided: usize,
}

impl Snapshot {
    /// Everything that may survive if the power fails here.
    ///
    /// # Panics
    /// On a disk that cannot be decided piece by piece ([`Persistence::is_piecemeal`]).
    pub fn crash(&self, disk: Persistence) -> Crashed {
        let (media, fates) = Fates::of_crash(&self.media, self.fates.as_ref(), disk);
        Crashed { media, fates }
    }
}

/// A crash of which nothing is decided yet: all the images that may survive it.
#[derive(Clone)]
pub struct Crashed {
    media: Media,
    fates: Fates,
}

impl Crashed {
    /// A disk on which the crash is decided by the tape, bit by bit as somebody looks.
    pub fn disk(&self, chooser: SharedChooser, timeline: Timeline) -> SimDisk {
        let disk = SimDisk::with(self.media.clone(), timeline);
        disk.0.lock().open = Some(Open { fates: self.fates.clone(), chooser });
        disk
    }

    /// A disk on which the crash is decided now, all of it; the record is told how that came from the state before.
    pub fn settled(&self, before: &Snapshot, chooser: &mut Chooser, timeline: Timeline) -> SimDisk {
        let Crashed { mut media, mut fates } = self.clone();
        fates.decide_all(&mut media, chooser);
        recorded::cut(&timeline, &before.media, &media);
        SimDisk::with(media, timeline)
    }

    /// A disk that holds what a run on [`Crashed::disk`] has decided by now; what it has not looked at is the plainest. The
    /// record is told how that came from the state before the crash.
    pub fn as_decided(&self, run: &SimDisk, before: &Snapshot, timeline: Timeline) -> SimDisk {
        let state = run.0.lock();
        let open = state.open.as_ref().expect("a disk whose crash the tape decides");
        let media = open.fates.image(self.media.clone());
        recorded::cut(&timeline, &before.media, &media);
        SimDisk::with(media, timeline)
    }

    /// The number of images, each counted once.
    pub fn images(&self) -> BigUint {
        self.fates.images()
    }

    /// The same for two crashes that no program can tell apart.
    pub fn digest(&self) -> u128 {
        self.fates.digest(&self.media)
    }
}

/// What a crash left open on this disk, and what decides it.
struct Open {
    fates: Fates,
    chooser: SharedChooser,
}

/// How long there is space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Enough,
    /// For this many calls that need some.
    For(u32),
}

impl Space {
    fn runs_out(self) -> bool {
        self != Space::Enough
    }
}

/// Far more than any run needs; an engine that goes round in circles runs into it.
const IO_LIMIT: u64 = 1_000_000;

/// How the panic begins that ends such a run: it comes from here, and is the engine's fault.
pub(crate) const ENDLESS: &str = "one life of a disk does not end";

struct State {
    media: Media,
    dead: bool,
    locked: bool,
    /// I/Os that change something, since the disk was made.
    clock: u64,
    io_ops: u64,
    crash_at: Option<(u64, When)>,
    /// Where that struck.
    crash_site: Option<Site>,
    snapshot_at: Option<(u64, When)>,
    snapshots: Vec<Snapshot>,
    /// Keep a snapshot wherever a crash of this disk can leave something new.
    keeps: Option<Persistence>,
    open: Option<Open>,
    /// Errors that are set up, and whether each is sticky and has begun.
    armed: Vec<(Armed, bool)>,
    space: Space,
    /// After this many I/Os, one that takes this many steps of other threads.
    stall: Option<(u32, u32)>,
    /// The I/O that is late.
    stalled: bool,
    bad_sector: Option<BadSector>,
    lie: Option<Lie>,
    /// Which disk it is, as far as a failed sync is concerned; a crash is told.
    profile: Profile,
    /// Faults that fired since [`SimDisk::take_fired`].
    fired: Vec<Fault>,
    /// Why the I/O that is under way fails.
    failure: Option<Failure>,
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
            crash_site: None,
            snapshot_at: None,
            snapshots: Vec::new(),
            keeps: None,
            open: None,
            armed: Vec::new(),
            space: Space::Enough,
            stall: None,
            stalled: false,
            bad_sector: None,
            lie: None,
            profile: Profile::default(),
            fired: Vec::new(),
            failure: None,
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

    /// From now on the states will be kept in which a crash can leave all that it can leave anywhere: those before each sync,
    /// of a file or of the directory. What may survive a crash before a write may survive one at the sync that follows: a
    /// crash loses whatever was not synced, or does not. Where names are durable at once, those before each name as well.
    pub fn keep_crash_points(&self, disk: Persistence) {
        self.0.lock().keeps = Some(disk);
    }

    /// The present state.
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().snapshot()
    }

    /// I/Os that changed something, since the disk was made.
    pub fn changes(&self) -> u64 {
        self.0.lock().clock
    }

    /// The number of images that a run on this disk stands for: those that differ only where it has not looked.
    pub fn images(&self) -> BigUint {
        self.0.lock().open.as_ref().map_or(BigUint::ZERO, |open| open.fates.images())
    }

    /// The snapshots taken since the last call.
    pub fn take_snapshots(&self) -> Vec<Snapshot> {
        std::mem::take(&mut self.0.lock().snapshots)
    }

    /// Sets up an error, in the place of those that are.
    pub fn arm(&self, armed: Armed) {
        self.0.lock().armed.clear();
        self.arm_also(armed);
    }

    /// Sets up one more error.
    pub fn arm_also(&self, armed: Armed) {
        let mut state = self.0.lock();
        state.counts.arm(armed.fault());
        if armed.sticky {
            state.counts.arm(Fault::Sticky);
        }
        state.armed.push((armed, false));
    }

    /// Space lasts for `after` more calls that need some; every later one fails.
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
        state.armed.clear();
        state.stall = None;
        state.stalled = false;
        state.crash_at = None;
        state.fired.clear();
    }

    /// Lifts an error that is set up for reads.
    pub fn heal_reads(&self) {
        let mut state = self.0.lock();
        state.armed.retain(|(armed, _)| !matches!(armed.kind, IoKind::Read | IoKind::Open));
    }

    /// The faults that fired since the last call.
    pub fn take_fired(&self) -> Vec<Fault> {
        std::mem::take(&mut self.0.lock().fired)
    }

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// The I/O at which the power failed, if it failed at one.
    pub fn crash_site(&self) -> Option<Site> {
        self.0.lock().crash_site.clone()
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
        recorded::cut(&timeline, media, &left);
        let survivor = SimDisk::with(left, timeline);
        survivor.set_lie(*lie);
        survivor.set_profile(profile);
        survivor
    }

    /// What survives if the power fails at a snapshot.
    pub fn from_snapshot(&self, snapshot: &Snapshot, chooser: &mut Chooser, profile: Profile) -> SimDisk {
        let mut state = self.0.lock();
        let timeline = state.timeline.clone();
        let media = survival::crash(&snapshot.media, chooser, profile, &mut state.counts, &timeline);
        recorded::cut(&timeline, &snapshot.media, &media);
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

    /// A hash of all names and contents, as reads see them.
    pub fn image_hash(&self) -> u64 {
        let state = self.0.lock();
        let mut hasher = FxHasher::default();
        for (name, inode) in state.media.names() {
            let bytes = state.media.file(*inode).bytes();
            hasher.write(name.as_bytes());
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
        hasher.finish()
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

/// What an I/O is about.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// A name; the directory itself has none.
    Name(&'a str),
    /// An open file.
    File(usize),
}

impl State {
    /// One I/O begins. `Err` when the power is off.
    fn begin(&mut self) -> io::Result<()> {
        // Counted on a dead disk, too: an engine that goes on trying must be found out.
        self.io_ops += 1;
        self.failure = None;
        assert!(self.io_ops < IO_LIMIT, "{ENDLESS}: it has had {IO_LIMIT} I/Os");
        if self.dead {
            return Err(power_is_off());
        }
        Ok(())
    }

    /// Whether an error that is set up strikes this operation, and with what effect.
    fn strike(&mut self, kind: IoKind) -> Option<Effect> {
        self.strike_file(kind, None)
    }

    fn strike_file(&mut self, kind: IoKind, inode: Option<usize>) -> Option<Effect> {
        let concerns = |armed: &Armed| {
            let is_of = |inode| armed.only.is_empty() || self.media.name_of(inode).starts_with(armed.only);
            armed.kind == kind && inode.is_none_or(is_of)
        };
        let mut strikes = None;
        for (at, (armed, _)) in self.armed.iter_mut().enumerate().filter(|(_, (armed, _))| concerns(armed)) {
            match armed.after.checked_sub(1) {
                Some(after) => armed.after = after,
                None => strikes = strikes.or(Some(at)),
            }
        }
        let at = strikes?;
        let (armed, stuck) = self.armed[at];
        if stuck {
            self.counts.fire(Fault::Sticky);
        } else {
            self.count_strike(armed);
        }
        match armed.sticky {
            true => self.armed[at].1 = true,
            false => drop(self.armed.remove(at)),
        }
        self.fired.push(armed.kind.fault());
        self.failure = Some(Failure::Error(armed.effect));
        Some(armed.effect)
    }

    /// What a failed sync does to the pages is counted where it has been done.
    fn count_strike(&mut self, armed: Armed) {
        if armed.kind != IoKind::Sync || armed.fault() == Fault::SyncError {
            self.counts.fire(armed.fault());
        }
    }

    /// A sync has failed: what that does to what was dirty.
    fn fail_sync(&mut self, inode: usize, effect: Effect) {
        let before = self.media.file(inode).unsynced();
        match effect {
            _ if blind::on(Blind::KeepsPages) => {}
            Effect::PagesDropped => {
                let owed = self.data_owed(inode);
                self.media.file_mut(inode).drop_dirty(owed);
            }
            Effect::PagesClean => self.media.file_mut(inode).abandon_dirty(),
            Effect::RolledBack => {
                let owed = self.data_owed(inode);
                self.media.file_mut(inode).roll_back(owed);
            }
            Effect::None | Effect::Part(_) => {}
        }
        if self.media.file(inode).unsynced() != before {
            self.counts.fire(effect.of_sync());
        }
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
            _ if blind::on(Blind::AlwaysHasSpace) => return Ok(()),
            Space::Enough => return Ok(()),
            Space::For(0) => {}
            Space::For(calls) => {
                *calls -= 1;
                return Ok(());
            }
        }
        self.counts.fire(fault);
        self.fired.push(fault);
        self.failure = Some(Failure::NoSpace);
        Err(enospc())
    }

    /// Runs an I/O that changes something: a place for a crash and for a snapshot, on both sides of its effect.
    fn change<R>(
        &mut self,
        kind: IoKind,
        target: Target,
        apply: impl FnOnce(&mut State) -> io::Result<R>,
    ) -> io::Result<R> {
        self.begin()?;
        let now = self.clock;
        self.clock += 1;
        self.crash_here(now, When::Before, kind, target)?;
        self.snapshot_here(now, When::Before, kind, target);
        let result = apply(self);
        self.snapshot_here(now, When::After, kind, target);
        self.crash_here(now, When::After, kind, target)?;
        result
    }

    fn crash_here(&mut self, now: u64, when: When, kind: IoKind, target: Target) -> io::Result<()> {
        if self.crash_at != Some((now, when)) {
            return Ok(());
        }
        self.dead = true;
        self.failure = Some(Failure::Power(when));
        self.crash_site = Some(self.site(kind, target));
        self.counts.fire(if when == When::Before { Fault::CrashBefore } else { Fault::CrashAfter });
        self.timeline.note(&[now, when as u64], || format!("    CRASH    {when:?} this I/O").to_lowercase());
        Err(power_is_off())
    }

    fn snapshot_here(&mut self, now: u64, when: When, kind: IoKind, target: Target) {
        if self.snapshot_at == Some((now, when)) {
            self.snapshot_at = None;
            let site = Some(self.site(kind, target));
            let snapshot = self.snapshot();
            self.snapshots.push(Snapshot { at: now, when, site, ..snapshot });
        }
    }

    fn site(&self, kind: IoKind, target: Target) -> Site {
        match target {
            Target::Name(name) => Site::new(kind, name),
            Target::File(inode) => Site::new(kind, &self.media.name_of(inode)),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let fates = self.open.as_ref().map(|open| open.fates.clone());
        let decided = self.open.as_ref().map_or(0, |open| open.chooser.lock().made().len());
        Snapshot { media: self.media.clone(), fates, at: self.clock, when: When::Before, site: None, decided }
    }

    /// A sync is about to happen.
    fn at_sync(&mut self) {
        if self.keeps.is_some() && !self.dead {
            self.snapshots.push(self.snapshot());
        }
    }

    /// A name is about to change.
    fn at_name(&mut self) {
        if self.keeps.is_some_and(|disk| disk.names == NameOrder::AtOnce) {
            self.at_sync();
        }
    }

    /// Somebody looks at what a crash left open.
    fn decide(&mut self, look: impl FnOnce(&mut Fates, &mut Media, &mut Chooser)) {
        if let Some(open) = self.open.as_mut().filter(|_| !self.dead) {
            look(&mut open.fates, &mut self.media, &mut open.chooser.lock());
        }
    }

    /// A call on a file whose length may be open.
    fn decide_len(&mut self, inode: usize) {
        self.decide(|fates, media, chooser| fates.decide_len(inode, media, chooser));
    }

    /// A call changes these bytes of a file.
    fn decide_edges(&mut self, inode: usize, bytes: std::ops::Range<u64>) {
        self.decide(|fates, media, chooser| fates.decide_edges(inode, bytes, media, chooser));
    }

    fn note(&self, kind: IoKind, words: [u64; 4], ok: bool, line: impl FnOnce() -> String) {
        let [a, b, c, d] = words;
        let mut text = String::new();
        self.timeline.note(&[kind as u64, a, b, c, d, u64::from(ok)], || {
            text = line();
            format!("    {:<8} {text}{}", format!("{kind:?}").to_lowercase(), if ok { "" } else { "  FAILS" })
        });
        if let Some(failure) = self.failure.filter(|_| !ok) {
            self.timeline.record(|| Event::Detail(Box::new(Detail::Fails(failure))));
        }
        self.timeline.record(|| Event::Io(self.io(kind, words, ok, &text)));
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.decide(Fates::decide_names);
        let exists = state.media.lookup(name);
        let open = |state: &mut State| {
            if state.strike(IoKind::Open).is_some() {
                return Err(eio());
            }
            match (mode, exists) {
                (OpenMode::Read | OpenMode::Write, None) => Err(io::ErrorKind::NotFound.into()),
                (OpenMode::Lock, _) if state.locked => Err(io::ErrorKind::WouldBlock.into()),
                (OpenMode::Create, _) | (OpenMode::Lock, None) => {
                    state.need_space(Fault::NoSpaceCreate)?;
                    if exists.is_some() {
                        state.media.remove(name)?;
                    }
                    Ok(state.media.create(name))
                }
                (_, Some(inode)) => Ok(inode),
            }
        };
        let changes = mode == OpenMode::Create || (mode == OpenMode::Lock && exists.is_none());
        if changes {
            state.at_name();
        }
        let opened = if changes {
            state.change(IoKind::Open, Target::Name(name), open)
        } else {
            state.begin().and_then(|()| open(&mut state))
        };
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
        state.decide(Fates::decide_names);
        let struck = state.strike(IoKind::List).is_some();
        state.note(IoKind::List, [0; 4], !struck, String::new);
        if struck {
            return Err(eio());
        }
        Ok(state.media.names().keys().map(|name| name.to_string()).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.decide(Fates::decide_names);
        state.at_name();
        let result = state.change(IoKind::Rename, Target::Name(from), |state| {
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
        state.decide(Fates::decide_names);
        state.at_name();
        let result = state.change(IoKind::Remove, Target::Name(name), |state| {
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
        state.at_sync();
        let result = state.change(IoKind::SyncDir, Target::Name(""), |state| {
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
                let in_order = state.promises(|disk| disk.names != NameOrder::Independent);
                state.media.sync_names(in_order);
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
        state.decide_len(self.inode);
        let result = if state.strike_file(IoKind::Read, Some(self.inode)).is_some() {
            Err(eio())
        } else {
            let bytes = offset..offset + buf.len() as u64;
            state.decide(|fates, media, chooser| fates.decide(self.inode, bytes, media, chooser));
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
        state.decide_len(inode);
        state.decide_edges(inode, offset..offset + buf.len() as u64);
        let result = state.change(IoKind::Write, Target::File(inode), |state| {
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
        state.at_sync();
        let result = state.change(IoKind::Sync, Target::File(inode), |state| {
            if let Some(effect) = state.strike_file(IoKind::Sync, Some(inode)) {
                state.fail_sync(inode, effect);
                return Err(eio());
            }
            if state.lie != Some(Lie::IgnoresSync) {
                state.decide(|fates, media, _| fates.bury(inode, media));
                state.media.file_mut(inode).sync();
            }
            Ok(())
        });
        state.note(IoKind::Sync, [inode as u64, 0, 0, 0], result.is_ok(), || state.media.name_of(inode));
        result
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        state.decide_len(self.inode);
        if state.strike_file(IoKind::Len, Some(self.inode)).is_some() {
            return Err(eio());
        }
        Ok(state.media.file(self.inode).len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let inode = self.inode;
        state.decide_len(inode);
        let cut = len.min(state.media.file(inode).len());
        state.decide_edges(inode, cut..cut);
        let result = state.change(IoKind::SetLen, Target::File(inode), |state| {
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
