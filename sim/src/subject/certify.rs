//! From samples to a certificate: every crash of a short story, every image that may survive it, and every crash in the
//! openings that follow.
//!
//! What a crash has left is decided when the store looks at it, and one opening is run for each way to decide
//! ([`Chooser::depth_first`]); what it did not look at it would have treated alike. The power fails before each sync: what may
//! survive a crash elsewhere may survive one there, since what came in between may be lost.

use super::oracle::{Oracle, Since};
use super::plug::Plug;
use super::{Draw, Failure, Subject};
use crate::choice::Chooser;
use crate::disk::{Crashed, Persistence, SimDisk, Snapshot};
use crate::drivers::watched;
use crate::model::{Verdict, Violation};
use crate::runner::quiet_panics;
use crate::timeline::Timeline;
use num_bigint::BigUint;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::fmt;
use std::sync::Arc;

/// What was covered.
#[derive(Clone, Debug, Default)]
pub struct Certificate {
    /// Crashes that differ, those in openings included.
    pub crashes: u64,
    /// Images that may survive the first crash, each counted once for each different crash.
    pub images: BigUint,
    /// Those that may survive a crash in an opening.
    pub images_in_recovery: BigUint,
    /// Openings run.
    pub runs: u64,
    /// Acknowledged operations that these had to show, each counted at each opening.
    pub acked_checked: u64,
}

impl Certificate {
    /// Adds what was covered of another story.
    pub fn add(&mut self, other: &Certificate) {
        self.crashes += other.crashes;
        self.images += &other.images;
        self.images_in_recovery += &other.images_in_recovery;
        self.runs += other.runs;
        self.acked_checked += other.acked_checked;
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Certificate { crashes, images, images_in_recovery, runs, acked_checked } = self;
        write!(
            f,
            "{crashes} crashes, {images} images and {images_in_recovery} in recovery, {runs} openings; "
        )?;
        write!(f, "{acked_checked} acknowledged operations looked for")
    }
}

/// This many operations of the run of a seed, without what else happens in it.
pub fn story<S: Subject>(seed: u64, operations: u64) -> Vec<S::Op> {
    let mut chooser = Chooser::from_seed(seed);
    let mut state = S::State::default();
    let mut next = |number| {
        let op = S::draw(&mut Draw { chooser: &mut chooser, number }, &state);
        S::expect(&mut state, &op);
        op
    };
    (0..operations).map(&mut next).collect()
}

/// Lets the power fail everywhere in a story, and in the openings after that `depth` deep.
///
/// # Errors
/// The first promise that breaks.
///
/// # Panics
/// On a disk that cannot be decided piece by piece ([`Persistence::is_piecemeal`]).
pub fn certify<S: Subject>(ops: &[S::Op], disk: Persistence, depth: u32) -> Result<Certificate, Violation> {
    assert!(disk.is_piecemeal(), "{disk}: what becomes of a name or a length depends on other data there");
    quiet_panics();
    let mut explorer: Explorer<S> = Explorer {
        disk,
        certificate: Certificate::default(),
        seen: FxHashSet::default(),
        duties: 0,
        nested: false,
        marker: std::marker::PhantomData,
    };
    watched(None, || explorer.story(ops, depth))?;
    Ok(explorer.certificate)
}

struct Explorer<S> {
    disk: Persistence,
    certificate: Certificate,
    /// A crash, what was owed then, and how deep it was explored.
    seen: FxHashSet<(u128, u64, u32)>,
    duties: u64,
    nested: bool,
    marker: std::marker::PhantomData<S>,
}

/// What a store owes, with a number.
struct Duty<S: Subject>(u64, Oracle<S>);

impl<S: Subject> Explorer<S> {
    fn duty(&mut self, oracle: Oracle<S>) -> Duty<S> {
        self.duties += 1;
        Duty(self.duties, oracle)
    }

    fn story(&mut self, ops: &[S::Op], depth: u32) -> Result<(), Violation> {
        let disk = SimDisk::new(Timeline::default());
        disk.keep_crash_points(self.disk);
        let mut oracle = Oracle::<S>::default();
        let mut store =
            S::open(Arc::new(Plug::into(&disk, S::ENDING))).map_err(|error| stuck("open", &error))?;
        self.crashes(disk.take_snapshots(), oracle.clone(), depth, "a new store was opened")?;
        for (number, op) in ops.iter().enumerate() {
            let mut meanwhile = oracle.clone();
            meanwhile.in_doubt(op);
            let ack = store.apply(op).map_err(|error| stuck("apply", &error))?;
            oracle.performed(op, ack);
            let place =
                format!("operation {number}, {}, was running", super::oracle::short(&format!("{op:?}")));
            self.crashes(disk.take_snapshots(), meanwhile, depth, &place)?;
            self.crashes(
                vec![disk.snapshot()],
                oracle.clone(),
                depth,
                &format!("operation {number} had returned"),
            )?;
        }
        Ok(())
    }

    fn crashes(
        &mut self,
        snapshots: Vec<Snapshot>,
        oracle: Oracle<S>,
        depth: u32,
        place: &str,
    ) -> Result<(), Violation> {
        let duty = self.duty(oracle);
        for snapshot in snapshots {
            self.nested = false;
            self.crash(&snapshot.crash(self.disk), &duty, depth).map_err(|violation| {
                let story = format!("when {place}, the power failed: {}", violation.story);
                Violation { story, ..violation }
            })?;
        }
        Ok(())
    }

    fn crash(&mut self, crashed: &Crashed, duty: &Duty<S>, depth: u32) -> Result<(), Violation> {
        if !self.seen.insert((crashed.digest(), duty.0, depth)) {
            return Ok(());
        }
        let images = crashed.images();
        let certificate = &mut self.certificate;
        certificate.crashes += 1;
        *(if self.nested { &mut certificate.images_in_recovery } else { &mut certificate.images }) += &images;
        let mut covered = BigUint::ZERO;
        let mut next = Some(Chooser::depth_first());
        while let Some(chooser) = next {
            let chooser = Arc::new(Mutex::new(chooser));
            let disk = crashed.disk(chooser.clone(), Timeline::default());
            if depth > 0 {
                disk.keep_crash_points(self.disk);
            }
            let plug = Plug::into(&disk, S::ENDING);
            self.certificate.runs += 1;
            let mut store = S::open(Arc::new(plug.clone())).map_err(|error| stuck("open", &error))?;
            let mut after = duty.1.clone();
            let shown = store.dump().map_err(|error| stuck("dump", &error))?;
            after.judge(&shown, Since::PowerCut)?;
            self.certificate.acked_checked += duty.1.acked();
            covered += disk.images();
            let inside = disk.take_snapshots();
            let behind = disk.snapshot();
            plug.pull();
            super::run::end(store);
            if depth > 0 {
                self.nested = true;
                for snapshot in inside {
                    self.crash(&snapshot.crash(self.disk), duty, depth - 1)?;
                }
                let duty = self.duty(after);
                self.crash(&behind.crash(self.disk), &duty, depth - 1)?;
            }
            next = chooser.lock().advance();
        }
        // No image twice, and none left out.
        assert_eq!(covered, images, "the leaves of the tree do not add up to its images");
        Ok(())
    }
}

fn stuck(call: &str, error: &Failure) -> Violation {
    let story = format!("{call} fails, and no call of the disk has: {error}");
    Violation::new(Verdict::Stuck, "calls succeed on a sound disk", story)
}
