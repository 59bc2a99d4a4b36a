//! Stores that are not tidewall's engine on the test bed: what is wrong is found, what is right is left alone, and each
//! verdict has been seen.

#[allow(dead_code)]
#[path = "../examples/naive_log.rs"]
mod naive_log;

#[allow(dead_code)]
#[path = "../examples/crash.rs"]
mod crash;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidewall::disk::{Disk, OpenMode};
use tidewall::{Config, Engine, InOrder, Point};
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::Persistence;
use tidewall_sim::fault::Fault;
use tidewall_sim::model::Verdict;
use tidewall_sim::subject::{
    Ack, Draw, Ending, Failure, Oracle, Plan, Report, Since, Subject, campaign, certify, replay, run, shrink,
    story,
};

/// Runs in which each mistake of the naive log must be found, and the last version must not fail.
const RUNS: u64 = 2000;

#[test]
fn each_mistake_of_the_naive_log_is_found_and_the_last_version_survives() {
    use Verdict::{Invented, Lost, Survived};
    let wanted = [Lost, Invented, Lost, Invented, Lost, Invented, Lost, Lost, Survived];
    for ((what, campaign), wanted) in naive_log::STEPS.into_iter().zip(wanted) {
        let report = campaign(RUNS);
        assert_eq!(report.verdict(), wanted, "step {what}\n{report}");
        println!("step {what}: {wanted:?} after {} runs", report.runs);
    }
}

#[test]
fn the_program_of_the_guide_is_the_one_that_runs_and_its_store_survives() {
    let (guide, program) =
        (include_str!("../../docs/your-own-store.md"), include_str!("../examples/crash.rs"));
    let (_, program) = program.split_once("\n\n").expect("the example has a comment in front");
    let (program, _) = program.split_once("\n/// A map in memory").expect("a store follows");
    assert!(guide.contains(&format!("```rust\n{program}```\n")), "section 2 is not\n{program}");
    let report = campaign::<crash::Bed>(&Plan { runs: RUNS, ..Plan::harsh() });
    assert_eq!(report.verdict(), Verdict::Survived, "{report}");
}

#[test]
fn a_seed_is_its_run_and_a_shrunk_run_fails_for_the_same_reason() {
    type Log = naive_log::Log<4>;
    let plan = Plan { runs: RUNS, shrink_runs: 0, ..Plan::default() };
    let found = campaign::<Log>(&plan).first.expect("step 4 has a mistake");
    let (first, again) = (replay::<Log>(found.seed, &plan), replay::<Log>(found.seed, &plan));
    assert_eq!((first.hash, &first.lines), (again.hash, &again.lines));
    assert_eq!(first.violation.as_ref(), Some(&found.violation));
    let shrunk = shrink::<Log>(first.tape.clone(), &Plan { shrink_runs: 2000, ..plan }).expect("it fails");
    assert!(shrunk.tape.len() < first.tape.len());
    let same = |violation: &tidewall_sim::model::Violation| (violation.verdict, violation.promise);
    assert_eq!(shrunk.violation.as_ref().map(same), Some(same(&found.violation)));
    let made = run::<Log>(Chooser::from_tape(shrunk.tape.clone()), &plan, false);
    assert_eq!(made.hash, shrunk.hash, "the tape makes itself");
}

#[test]
fn the_first_failing_seed_does_not_depend_on_the_number_of_threads() {
    let plan = |jobs| Plan { runs: RUNS, shrink_runs: 0, jobs, ..Plan::with_errors() };
    let seed = |jobs: usize| {
        let jobs = jobs.try_into().expect("not zero");
        campaign::<naive_log::Log<8>>(&plan(jobs)).first.map(|found| found.seed)
    };
    assert_eq!(seed(1), seed(3));
    assert!(seed(1).is_some());
}

#[test]
fn short_stories_of_the_last_version_are_certified_and_of_the_others_are_not() {
    fn certified<const STEP: u32>(disk: Persistence) -> Result<u64, Verdict> {
        let mut images = 0;
        for seed in 0..20 {
            let ops = story::<naive_log::Log<STEP>>(seed, 4);
            let certificate =
                certify::<naive_log::Log<STEP>>(&ops, disk, 1).map_err(|broken| broken.verdict)?;
            assert!(certificate.runs > 0 && certificate.crashes > 0, "{certificate}");
            images += u64::try_from(&certificate.images).expect("short stories have few images");
        }
        Ok(images)
    }
    let images = certified::<9>(Persistence::SECTOR).expect("nothing is known to be wrong");
    assert!(images > 1000, "{images}");
    // Without a checksum that is looked at, half of a record may come first, or the want of one.
    for broken in [
        certified::<1>(Persistence::SECTOR),
        certified::<2>(Persistence::SECTOR),
        certified::<3>(Persistence::SECTOR),
    ] {
        assert!(matches!(broken, Err(Verdict::Lost | Verdict::Invented)), "{broken:?}");
    }
    println!("certified: {images} images");
}

/// A store of one number, in a file of its own for each version of it; what is wrong with it is the parameter.
struct Number<const WRONG: u32>(Arc<dyn Disk>, u32);

const SOUND: u32 = 0;
const PROMISES_NOTHING: u32 = 1;
const REFUSES_TO_OPEN: u32 = 2;
const PANICS_ON_ERRORS: u32 = 3;
const PANICS_AND_SAYS_SO: u32 = 4;
const RANDOM: u32 = 5;
const FAILS: u32 = 6;
const RAISES: u32 = 7;
const IS_DROPPED: u32 = 8;

/// What no store may have: a state that outlives it.
static CALLS: AtomicU64 = AtomicU64::new(0);

impl<const WRONG: u32> Number<WRONG> {
    fn write(&self, number: u32) -> std::io::Result<()> {
        let file = self.0.open("number.new", OpenMode::Create)?;
        let mut bytes = number.to_le_bytes().to_vec();
        if WRONG == RANDOM {
            bytes.extend(CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        }
        file.write_at(0, &bytes)?;
        file.sync()?;
        self.0.rename("number.new", "number")?;
        self.0.sync_dir()
    }

    fn read(disk: &dyn Disk) -> std::io::Result<u32> {
        if !disk.list()?.iter().any(|name| name == "number") {
            return Ok(0);
        }
        let mut bytes = [0; 4];
        disk.open("number", OpenMode::Read)?.read_at(0, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

impl<const WRONG: u32> Drop for Number<WRONG> {
    fn drop(&mut self) {
        // What a store would do that believes in clean-up.
        if WRONG == IS_DROPPED {
            self.write(self.1).expect("a destructor on a disk that fails");
        }
    }
}

impl<const WRONG: u32> Subject for Number<WRONG> {
    type Op = u32;
    type State = Vec<u32>;

    const PANICS_ON_ERRORS: bool = WRONG == PANICS_AND_SAYS_SO;
    const ENDING: Ending = if WRONG == IS_DROPPED { Ending::Fail } else { Ending::Leak };

    fn draw(draw: &mut Draw<'_>, _: &Vec<u32>) -> u32 {
        1 + draw.below(1000)
    }

    fn expect(state: &mut Vec<u32>, number: &u32) {
        *state = vec![*number];
    }

    fn open(disk: Arc<dyn Disk>) -> Result<Self, Failure> {
        if WRONG == REFUSES_TO_OPEN && disk.list()?.iter().any(|name| name == "number.new") {
            return Err("a file that I do not know".into());
        }
        // A failed sync of the directory may have left a name that only the page cache has.
        let number = Self::read(&*disk)?;
        let store = Number(disk, number);
        if number > 0 {
            store.write(number)?;
        }
        Ok(store)
    }

    fn apply(&mut self, number: &u32) -> Result<Ack, Failure> {
        match WRONG {
            PANICS_ON_ERRORS | PANICS_AND_SAYS_SO => self.write(*number).expect("the disk does not fail"),
            FAILS if *number > 990 => return Err("I do not like this number".into()),
            RAISES => self.write(number + 1)?,
            _ => self.write(*number)?,
        }
        self.1 = *number;
        Ok(if WRONG == PROMISES_NOTHING { Ack::Accepted } else { Ack::Durable })
    }

    fn dump(&mut self) -> Result<Vec<u32>, Failure> {
        let number = Self::read(&*self.0)?;
        Ok(if number == 0 { Vec::new() } else { vec![number] })
    }
}

fn judged<const WRONG: u32>(plan: &Plan) -> Report {
    campaign::<Number<WRONG>>(&Plan { runs: 500, shrink_runs: 200, ..*plan })
}

#[test]
fn a_sound_store_survives_whatever_the_disk_does() {
    let report = judged::<SOUND>(&Plan::harsh());
    assert_eq!(report.verdict(), Verdict::Survived, "{report}");
    assert_eq!(report.exit_code(), 0);
    for fault in
        [Fault::CrashRecovery, Fault::CrashNested, Fault::RenameLost, Fault::SyncXfs, Fault::NoSpaceCreate]
    {
        assert!(report.faults.of(fault).fired > 0, "{} never struck", fault.name());
    }
}

#[test]
fn a_store_that_writes_what_it_was_not_told_invents() {
    let report = judged::<RAISES>(&Plan::default());
    assert_eq!(report.verdict(), Verdict::Invented, "{report}");
    assert_eq!(report.first.expect("it failed").violation.promise, "nothing is invented");
}

#[test]
fn a_store_that_gives_up_is_stuck() {
    for (promise, report) in [
        ("it opens after any crash", judged::<REFUSES_TO_OPEN>(&Plan::default())),
        ("calls succeed on a sound disk", judged::<FAILS>(&Plan::default())),
        ("no call panics", judged::<PANICS_ON_ERRORS>(&Plan::with_errors())),
    ] {
        assert_eq!((report.verdict(), report.exit_code()), (Verdict::Stuck, 1), "{report}");
        assert_eq!(report.first.expect("it failed").violation.promise, promise);
    }
}

#[test]
fn a_store_may_end_its_process_if_it_says_so() {
    let report = judged::<PANICS_AND_SAYS_SO>(&Plan::with_errors());
    assert_eq!(report.verdict(), Verdict::Survived, "{report}");
}

#[test]
fn a_store_that_promises_nothing_is_not_measured() {
    let report = judged::<PROMISES_NOTHING>(&Plan::default());
    assert_eq!((report.verdict(), report.exit_code()), (Verdict::NotMeasured, 2), "{report}");
}

#[test]
fn without_a_control_that_fails_nothing_is_measured() {
    let report = judged::<SOUND>(&Plan { control_runs: 0, ..Plan::default() });
    assert_eq!(report.verdict(), Verdict::NotMeasured, "{report}");
    let report = judged::<SOUND>(&Plan::default());
    let control = report.control.expect("there was one").violation.verdict;
    assert!(matches!(control, Verdict::Lost | Verdict::Invented), "{control:?}");
}

#[test]
fn a_store_that_is_not_a_function_of_its_calls_breaks_the_harness() {
    let report = judged::<RANDOM>(&Plan { recheck_percent: 100, ..Plan::default() });
    assert_eq!((report.verdict(), report.exit_code()), (Verdict::HarnessBroken, 2), "{report}");
    let difference = report.difference.expect("its runs part somewhere");
    assert!(difference.contains("number.new") && difference.contains("other bytes"), "{difference}");
}

#[test]
fn a_destructor_that_panics_on_a_disk_that_we_broke_is_no_finding() {
    let report = judged::<IS_DROPPED>(&Plan::default());
    assert_eq!(report.verdict(), Verdict::Survived, "{report}");
}

/// tidewall's own engine, as anybody's: what is ordered is what concerns one tag.
struct Tidewall(Engine);

#[derive(Debug)]
enum Op {
    Write(Vec<Point>),
    Sync,
    Flush,
}

impl Subject for Tidewall {
    type Op = Op;
    type State = BTreeMap<(u32, i64), u64>;

    fn draw(draw: &mut Draw<'_>, _: &Self::State) -> Op {
        match draw.below(10) {
            0..7 => {
                let (tag, value) = (draw.between(1, 4), draw.number() as f64);
                let point = |_| Point::new(tag, i64::from(draw.below(50)), value);
                Op::Write((0..20).map(point).collect())
            }
            7 | 8 => Op::Sync,
            _ => Op::Flush,
        }
    }

    fn expect(state: &mut Self::State, op: &Op) {
        if let Op::Write(points) = op {
            state.extend(points.iter().map(|point| ((point.tag, point.ts_us), point.value.to_bits())));
        }
    }

    fn open(disk: Arc<dyn Disk>) -> Result<Self, Failure> {
        let config = Config {
            batch_points: 20,
            block_points: 100,
            buffer_bytes: 2_000,
            shards: 1,
            wal_streams: 1,
            segment_bytes: 8192,
            sector_bytes: 512,
            chunk_bytes: 8192,
            manifest_bytes: 4096,
            cache_bytes: 1 << 20,
            flush_workers: 1,
            flush_delay_ms: None,
            ..Config::default()
        };
        Ok(Tidewall(Engine::open_with(disk, config, Box::new(InOrder))?))
    }

    fn apply(&mut self, op: &Op) -> Result<Ack, Failure> {
        match op {
            Op::Write(points) => return Ok(self.0.write_batch(points).map(|()| Ack::Accepted)?),
            Op::Sync => self.0.sync()?,
            Op::Flush => self.0.flush()?,
        }
        Ok(Ack::Durable)
    }

    fn dump(&mut self) -> Result<Self::State, Failure> {
        let mut state = BTreeMap::new();
        for tag in self.0.tags()? {
            let points = self.0.query(tag, ..)?;
            state.extend(points.iter().map(|point| ((point.tag, point.ts_us), point.value.to_bits())));
        }
        Ok(state)
    }

    fn lane(op: &Op) -> Option<u64> {
        match op {
            Op::Write(points) => points.first().map(|point| point.tag.into()),
            Op::Sync | Op::Flush => None,
        }
    }

    fn split(state: &Self::State) -> BTreeMap<u64, Self::State> {
        let mut lanes: BTreeMap<u64, Self::State> = BTreeMap::new();
        for ((tag, time), value) in state {
            lanes.entry((*tag).into()).or_default().insert((*tag, *time), *value);
        }
        lanes
    }
}

#[test]
fn tidewalls_own_engine_is_a_subject_like_any_other() {
    let report = campaign::<Tidewall>(&Plan { runs: 300, ..Plan::default() });
    assert_eq!(report.verdict(), Verdict::Survived, "{report}");
}

#[test]
fn lanes_survive_each_by_itself_and_no_lane_has_a_hole() {
    let write = |tag, time| Op::Write(vec![Point::new(tag, time, 1.0)]);
    let state = |keys: &[(u32, i64)]| keys.iter().map(|key| (*key, 1.0_f64.to_bits())).collect();
    let after_crash = |keys: &[(u32, i64)]| {
        let mut oracle = Oracle::<Tidewall>::default();
        oracle.performed(&write(1, 1), Ack::Accepted);
        oracle.performed(&Op::Sync, Ack::Durable);
        oracle.performed(&write(1, 2), Ack::Accepted);
        oracle.performed(&write(1, 3), Ack::Accepted);
        oracle.performed(&write(2, 1), Ack::Accepted);
        oracle.in_doubt(&write(2, 2));
        oracle.judge(&state(keys), Since::PowerCut).map_err(|violation| violation.verdict)
    };
    for sound in
        [&[(1, 1)][..], &[(1, 1), (1, 2)], &[(1, 1), (2, 1)], &[(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]]
    {
        assert_eq!(after_crash(sound), Ok(()), "{sound:?}");
    }
    for (wrong, verdict) in [
        (&[][..], Verdict::Lost),
        (&[(2, 1)], Verdict::Lost),
        (&[(1, 1), (1, 3)], Verdict::Invented),
        (&[(1, 1), (2, 2)], Verdict::Invented),
        (&[(1, 1), (1, 4)], Verdict::Invented),
        (&[(1, 1), (3, 1)], Verdict::Invented),
    ] {
        assert_eq!(after_crash(wrong), Err(verdict), "{wrong:?}");
    }
}

#[test]
fn what_failed_is_in_doubt_until_the_store_shows_it() {
    let mut oracle = Oracle::<Number<SOUND>>::default();
    oracle.performed(&1, Ack::Durable);
    oracle.in_doubt(&2);
    assert_eq!(oracle.judge(&vec![2], Since::Nothing), Ok(()));
    // Seen once, it stays.
    assert!(oracle.judge(&vec![1], Since::Nothing).is_err());
    // And a crash may take what was seen and not durable.
    assert_eq!(oracle.judge(&vec![1], Since::PowerCut), Ok(()));
    // But not what was read from the disk after a power cut.
    oracle.in_doubt(&3);
    assert_eq!(oracle.judge(&vec![3], Since::PowerCut), Ok(()));
    assert!(oracle.judge(&vec![1], Since::PowerCut).is_err());
}
