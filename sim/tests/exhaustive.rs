//! The explorer finds what there is to find, leaves nothing out, and counts what it covers.

use num_bigint::BigUint;
use std::collections::BTreeSet;
use std::num::NonZero;
use tidewall::plant::Bug;
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::{Persistence, Profile, Snapshot};
use tidewall_sim::drivers::exhaustive::{
    Bounds, CRASH_STATES, Certificate, CrashPoint, Deaf, Duty, Explorer, Listener, Play, Story, certify,
    recover,
};
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::model::Violation;
use tidewall_sim::report;
use tidewall_sim::scenario::Setting;
use tidewall_sim::timeline::Timeline;

fn bounds(short: usize, depth: u32) -> Bounds {
    Bounds {
        ops: 6,
        short,
        stories: 0,
        depth,
        persistence: Persistence::SECTOR,
        sector_bytes: 512,
        crash_states: CRASH_STATES,
        plant: None,
        jobs: NonZero::new(2).unwrap(),
    }
}

/// Compares the explorer with somebody who writes out every image and recovers from each.
struct BruteForce {
    story: Story,
    disk: Persistence,
    images: u64,
    runs: u64,
}

impl Listener for BruteForce {
    fn could_crash(&mut self, at: CrashPoint, duty: &Duty) -> Result<(), Violation> {
        let config = self.story.geometry.config();
        let crashed = at.snapshot.crash(self.disk);
        let (mut states, mut images, mut broken) = (BTreeSet::new(), 0_u64, None);
        let mut next = Some(Chooser::depth_first());
        while let Some(mut chooser) = next {
            let disk = crashed.settled(&at.snapshot, &mut chooser, Timeline::default());
            match recover(&disk, &config, duty, &Timeline::default()) {
                Ok(recovered) => drop(states.insert(recovered.state)),
                Err(violation) => broken = broken.or(Some(violation)),
            }
            images += 1;
            next = chooser.advance();
        }
        let mut explorer = Explorer::new(config, self.disk, 0);
        let explored = explorer.explore(&crashed, duty);
        if let Some(violation) = broken {
            assert!(
                explored.is_err(),
                "{}, change {}: the explorer finds nothing wrong",
                self.story,
                at.change
            );
            return Err(violation);
        }
        let explored = explored?;
        assert_eq!(*explored, states, "{}, change {}: other outcomes", self.story, at.change);
        assert_eq!(explorer.tally.images, BigUint::from(images), "{}, change {}", self.story, at.change);
        self.images += images;
        self.runs += explorer.tally.runs;
        Ok(())
    }
}

#[test]
fn the_explorer_reaches_what_brute_force_reaches_and_counts_each_image_once() {
    let all = ["", "w", "b", "bs", "wt", "bb", "wf", "bfw", "rs", "btk", "bxb", "bbbt", "wtwtwt"];
    // Each byte at which a write can end makes an image of its own, and so does each of three kinds of rest.
    let few = ["", "ws", "wts", "bt"];
    let disks = [
        ("512/old/independent/any/none", &all[..]),
        ("512/garbage/independent/any/none", &few),
        ("4096/zero/at-once/any/none", &few),
        ("byte/old/in-order/any/none", &few[..2]),
    ];
    let (mut images, mut runs) = (0, 0);
    for (disk, story) in
        disks.iter().flat_map(|(disk, stories)| stories.iter().map(move |story| (disk, story)))
    {
        let (disk, story): (Persistence, Story) = (disk.parse().unwrap(), story.parse().unwrap());
        let mut brute = BruteForce { story: story.clone(), disk, images: 0, runs: 0 };
        let mut play = Play::new(story.geometry, disk, 0, None, Timeline::default());
        // On physical sectors that an interrupted write destroys, the engine's own sectors are too small. Such a crash is
        // found by both; what comes after it is not compared.
        let mut told = || -> Result<(), Violation> {
            play.begin(&mut brute)?;
            story.ops.iter().try_for_each(|op| play.perform(*op, &mut brute))
        };
        let ended = told();
        assert!(ended.is_ok() || disk.destroys_neighbours(), "{disk}: {ended:?}");
        (images, runs) = (images + brute.images, runs + brute.runs);
    }
    println!("{images} images written out one by one, {runs} recoveries of the explorer");
    assert!(images > 500 && runs < images, "{images} images, {runs} runs");
}

/// All outcomes of all crash points that a story tells of.
struct Outcomes {
    story: Story,
    disk: Persistence,
    states: BTreeSet<u128>,
}

impl Outcomes {
    fn of(&self, snapshot: &Snapshot, duty: &Duty) -> Result<BTreeSet<u128>, Violation> {
        let mut explorer = Explorer::new(self.story.geometry.config(), self.disk, 0);
        Ok(BTreeSet::clone(&*explorer.explore(&snapshot.crash(self.disk), duty)?))
    }
}

impl Listener for Outcomes {
    fn could_crash(&mut self, at: CrashPoint, duty: &Duty) -> Result<(), Violation> {
        let mut states = self.of(&at.snapshot, duty)?;
        self.states.append(&mut states);
        Ok(())
    }
}

#[test]
fn a_crash_anywhere_leads_to_what_a_crash_at_one_of_the_explored_points_leads_to() {
    let mut others = 0;
    for disk in ["512/old/independent/any/none", "512/zero/at-once/any/none", "512/old/in-order/any/none"] {
        for story in ["", "bs", "wtb", "bfw", "rs", "c", "wsxb"] {
            let (disk, story): (Persistence, Story) = (disk.parse().unwrap(), story.parse().unwrap());
            let play = |cut_at: u64, listener: &mut dyn Listener| {
                let mut play = Play::new(story.geometry, disk, cut_at, None, Timeline::default());
                play.begin(listener).unwrap();
                for op in &story.ops {
                    if !play.is_over() {
                        play.perform(*op, listener).unwrap();
                    }
                }
                play.end();
                play
            };
            let mut told = Outcomes { story: story.clone(), disk, states: BTreeSet::new() };
            let changes = play(0, &mut told).changes();
            for cut_at in 1..=changes {
                let cut = play(cut_at, &mut Deaf);
                assert!(cut.is_over());
                let states = told.of(&cut.disk.snapshot(), &cut.duty).unwrap();
                assert!(states.is_subset(&told.states), "{disk}, {story}: change {cut_at} of {changes}");
                others += 1;
            }
        }
    }
    assert!(others > 300, "{others} crash points");
}

fn violated(certificate: &Certificate) -> &tidewall_sim::drivers::exhaustive::Counterexample {
    assert_eq!(certificate.result(), report::Result::Violated);
    certificate.counterexample.as_ref().unwrap()
}

#[test]
fn every_planted_bug_that_a_crash_alone_can_show_is_found() {
    // The others need an I/O error, damage at rest, or a second thread.
    let shown = [
        Bug::W4,
        Bug::W5,
        Bug::W6,
        Bug::W7,
        Bug::W8,
        Bug::W15,
        Bug::W18,
        Bug::W24,
        Bug::F1,
        Bug::F6,
        Bug::N1,
        Bug::N2,
        Bug::S1,
    ];
    for bug in shown {
        let certificate = certify(&Bounds { plant: Some(bug), ..bounds(3, 1) }, |_, _| ());
        let found = violated(&certificate);
        println!("{}: {:?}: {}", bug.name(), found.story.to_string(), found.violation);
        // Its tape is a run of the driver, and without the bug nothing is wrong with it.
        let setting = Setting { driver: Driver::Exhaustive, profile: Profile::Sector, ..Setting::default() };
        let sound = drivers::run(Chooser::from_tape(found.tape.clone()), setting);
        assert_eq!(sound.violation, None, "{}", bug.name());
    }
}

#[test]
fn the_engine_is_certified_within_small_bounds() {
    let certificate = certify(&Bounds { stories: 1, ..bounds(1, 2) }, |_, _| ());
    assert_eq!(certificate.result(), report::Result::Survived, "{:?}", certificate.counterexample);
    let tally = &certificate.tally;
    assert_eq!(certificate.stories, 1 + 10 + 1);
    assert!(certificate.explored_points > 30 && certificate.crash_points > certificate.explored_points);
    assert!(tally.images > BigUint::from(100_u32) && tally.images_in_recovery > tally.images);
    assert!(tally.states.len() > 5 && tally.seen_again > 0);
}

#[test]
fn what_is_counted_does_not_depend_on_the_number_of_threads() {
    let with = |jobs| {
        let bounds = Bounds { jobs: NonZero::new(jobs).unwrap(), ..bounds(2, 1) };
        let mut json = certify(&bounds, |_, _| ()).to_json(&bounds);
        let object = json.as_object_mut().unwrap();
        ["seconds", "cpu_seconds"].iter().for_each(|name| drop(object.remove(*name)));
        json
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn nothing_explored_is_not_a_certificate() {
    // The making of a store alone owes nothing.
    let certificate = certify(&bounds(0, 0), |_, _| ());
    assert_eq!(certificate.result(), report::Result::NotMeasured);
}

#[test]
fn a_tree_with_more_crashes_than_are_remembered_is_not_certified() {
    let whole = certify(&bounds(1, 1), |_, _| ());
    let most = whole.tally.crash_states as usize;
    let within = |crash_states| certify(&Bounds { crash_states, ..bounds(1, 1) }, |_, _| ());
    let enough = within(most);
    assert_eq!((enough.result(), enough.tally.runs), (report::Result::Survived, whole.tally.runs));
    let few = Bounds { crash_states: 10, ..bounds(1, 1) };
    let short = within(10);
    assert_eq!(short.result(), report::Result::NotMeasured);
    assert!(short.tally.runs < whole.tally.runs && !short.unfinished.is_empty());
    let text = short.to_text(&few);
    assert!(text.contains("have more than 10 different crashes") && text.contains("NOT MEASURED"), "{text}");
    // What is found before the limit is found.
    let broken = certify(&Bounds { plant: Some(Bug::F1), crash_states: 200, ..bounds(2, 1) }, |_, _| ());
    assert_eq!(broken.result(), report::Result::Violated);
}

#[test]
fn a_recovery_that_does_not_converge_is_found() {
    // It writes a fresh log before it has replayed the old one: what is there depends on where the power fails again.
    let certificate = certify(&Bounds { plant: Some(Bug::W7), ..bounds(1, 2) }, |_, _| ());
    assert_eq!(violated(&certificate).violation.promise, "I10");
}
