//! Real power cuts: what the simulations assume of a disk, tried on file systems of the machine that runs the test.
//!
//! The engine runs in a child process on a file system in a loop device. At some moment the power is cut: the child is
//! killed, and the backing file - what has reached the device, not the page cache above it - is copied. The copy is mounted,
//! the file system replays its own journal, and then
//!
//! 1. `inspect` finds no damage;
//! 2. the store opens, and every acknowledged point is there bit for bit, with a prefix of each tag's others, by the oracle
//!    of the simulations;
//! 3. every sector, length and name of the directory is one that the simulated disk, after the same calls, could have
//!    left: the child's calls are recorded and made again to it. If this fails alone, the model is too kind.
//!
//! The next child goes on from what survived. Some cuts are preceded by a write-back of one file, as the system does one
//! at its leisure; where `xfs_io` is installed, some strike the running file system itself, in the middle of whatever it
//! does. When a cut strikes differs from run to run; what must hold does not.
//!
//! Needs root, loop devices, and `mkfs` of a file system that the kernel knows; says what is missing and skips the rest.
//! Everything runs in a mount namespace of its own, so nothing stays mounted, however the test ends.
//!
//! | module | subject |
//! |---|---|
//! | `volume` | the file system, and the cut |
//! | `child` | the process that writes |
//! | `journal` | what it says that it did |
//! | `truth` | what it was promised, judged |

#[path = "power_cut/child.rs"]
mod child;
#[path = "power_cut/journal.rs"]
mod journal;
#[path = "power_cut/truth.rs"]
mod truth;
#[path = "power_cut/volume.rs"]
mod volume;
mod writers;

use child::Honesty;
use journal::{Begun, Line};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdout, Command, Stdio};
use std::sync::Arc;
use tidewall::disk::{Disk, RealDisk};
use tidewall::{Engine, inspect};
use tidewall_sim::disk::recorder::{Call, Player};
use tidewall_sim::disk::{Explained, SimDisk, Unexplained};
use tidewall_sim::model::{Verdict, Violation};
use truth::Truth;
use volume::{FileSystem, Volume, tool};
use writers::{Random, config};

/// Set for the process that works in the namespace.
const INSIDE: &str = "TIDEWALL_POWER_CUT_INSIDE";
/// Set for the child: the directory, the journal, and whether the disk lies.
const CHILD: [&str; 3] =
    ["TIDEWALL_POWER_CUT_DIR", "TIDEWALL_POWER_CUT_JOURNAL", "TIDEWALL_POWER_CUT_SYNCS_NO_LOG"];

/// Cuts of the first file system, and of each other one.
const CUTS: [usize; 2] = [24, 6];
/// A disk that does not sync the log must be found out within this many lives, by the oracle and by the model.
const CUTS_OF_A_LIAR: usize = 12;

/// Names and bytes of a directory.
type Contents = BTreeMap<String, Vec<u8>>;

#[test]
fn every_acknowledged_point_survives_real_power_cuts() {
    in_a_namespace("every_acknowledged_point_survives_real_power_cuts", || {
        let mut sum = Sum::default();
        for (number, system) in volume::ALL.iter().enumerate() {
            let cuts = CUTS[number.min(1)];
            match cut_repeatedly(system, cuts) {
                Ok(own) => {
                    println!("{:<22} {}", system.name, own.to_text());
                    sum.add(&own);
                }
                Err(missing) => println!("{:<22} NOT RUN: {missing}", system.name),
            }
        }
        if sum.cuts == 0 {
            return println!("{:<22} NOT RUN: no file system that this machine can make", "POWER CUTS");
        }
        println!("{:<22} {}", "POWER CUTS", sum.to_text());
        assert!(sum.acked > 0, "no acknowledged point was compared");
    });
}

#[test]
fn a_disk_that_does_not_sync_the_log_is_found_out_by_real_power_cuts() {
    in_a_namespace("a_disk_that_does_not_sync_the_log_is_found_out_by_real_power_cuts", || {
        let system = &volume::ALL[0];
        let (mut by_oracle, mut by_model) = (None, None);
        for cut in 1..=CUTS_OF_A_LIAR {
            // A store that has once been found damaged stays so, and then nobody asks the oracle any more.
            let dir = tempfile::tempdir().unwrap();
            let volume = match Volume::format(system, dir.path()) {
                Ok(volume) => volume,
                Err(missing) => return println!("{:<22} NOT RUN: {missing}", system.name),
            };
            let mut bench = Bench::new(dir.path(), volume);
            // A life that was acknowledged something.
            let life = bench.live(20, How::Kill, Honesty::SyncsNoLog);
            bench = bench.cut(cut);
            by_model = by_model.or(bench.explain(&life).err());
            let lost = bench.judge(&life, Judge::OnTheVolume).err();
            println!("cut {cut}: {}", lost.as_ref().map_or("not noticed".into(), Violation::to_string));
            // Gone, or back to what an acknowledged point had replaced. The engine itself may notice sooner, if a manifest
            // says what was durable (I4).
            by_oracle = by_oracle.or(lost.filter(|lost| ["I2", "I5"].contains(&lost.promise)));
            if by_oracle.is_some() && by_model.is_some() {
                break;
            }
        }
        by_oracle.expect("the oracle sees that acknowledged points are gone");
        println!("{}", by_model.expect("the survivors are none that an honest disk leaves"));
    });
}

/// Runs this process's work, or is the child of that, or starts the namespace that both are in.
fn in_a_namespace(name: &str, work: impl FnOnce()) {
    println!();
    if let [Some(dir), Some(journal)] = [CHILD[0], CHILD[1]].map(env::var_os) {
        let honesty = if env::var_os(CHILD[2]).is_some() { Honesty::SyncsNoLog } else { Honesty::Honest };
        return child::write_until_the_power_fails(dir.as_ref(), journal.as_ref(), honesty);
    }
    if env::var_os(INSIDE).is_some() {
        return work();
    }
    if let Err(missing) = tool("unshare", &["--mount", "true"]) {
        return println!("NOT RUN: no mount namespace, which takes root: {missing}");
    }
    let status = Command::new("unshare")
        .arg("--mount")
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}; its output is above");
}

/// How the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// With everything unsynced in memory.
    Kill,
    /// When the system has just written back one of the files.
    WriteBack,
    /// Under the running file system.
    ShutDown,
}

/// Where a survivor is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    /// Where it is.
    OnTheVolume,
    /// A copy in memory; the volume stays as the cut left it, and is the next child's to recover.
    OnACopy,
}

/// What came of some cuts.
#[derive(Default)]
struct Sum {
    cuts: u64,
    by_how: [u64; 3],
    acked: u64,
    /// Points that survived without having been acknowledged.
    more: u64,
    with_replay: u64,
    calls: u64,
    explained: Explained,
    /// Names that a file system has brought back from before a sync.
    revived: u64,
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        self.cuts += other.cuts;
        self.by_how.iter_mut().zip(other.by_how).for_each(|(sum, more)| *sum += more);
        self.acked += other.acked;
        self.more += other.more;
        self.with_replay += other.with_replay;
        self.calls += other.calls;
        self.explained.add(&other.explained);
        self.revived += other.revived;
    }

    fn to_text(&self) -> String {
        let [killed, written_back, shut_down] = self.by_how;
        let explained = self.explained;
        format!(
            "{} cuts ({killed} at rest, {written_back} after a write-back, {shut_down} in a running file system), {} \
             acked points compared, {} more survived, {} recoveries with replay; {} calls modelled, {} sectors \
             explained: of the unsynced {} kept, {} lost, {} torn; {} of {} unsynced names lost, {} came back",
            self.cuts,
            self.acked,
            self.more,
            self.with_replay,
            self.calls,
            explained.sectors,
            explained.kept,
            explained.lost,
            explained.torn,
            explained.names_lost,
            explained.name_changes,
            self.revived
        )
    }
}

/// A chain of cuts, each in a life that goes on from what the one before left; or what this machine lacks for it.
fn cut_repeatedly(system: &'static FileSystem, cuts: usize) -> Result<Sum, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), Volume::format(system, dir.path())?);
    let mut random = Random(0x5eed);
    let mut sum = Sum::default();
    let can_shut_down = system.shuts_down && tool("xfs_io", &["-V"]).is_ok();
    for cut in 1..=cuts {
        let how = match cut % 3 {
            0 => How::WriteBack,
            1 if can_shut_down => How::ShutDown,
            _ => How::Kill,
        };
        // Every fifth one strikes while the store is being opened, or soon after.
        let ticks = if cut % 5 == 4 { 0 } else { 1 + random.below(40) };
        bench.spins = random.below(2_000_000);
        let life = bench.live(ticks, how, Honesty::Honest);
        bench = bench.cut(cut);
        let place = if cut % 2 == 0 { Judge::OnTheVolume } else { Judge::OnACopy };
        let story = format!("{}, cut {cut} ({how:?}, judged {place:?})", system.name);
        let explained = bench.explain(&life);
        let judged = bench.judge(&life, place).unwrap_or_else(|violation| panic!("{story}: {violation}"));
        let (explained, revived) = explained.unwrap_or_else(|why| {
            let last: Vec<_> = life.calls.iter().rev().take(12).collect();
            panic!(
                "{story}: THE MODEL IS TOO KIND, no simulated crash leaves what a real one has left: {why}; its last \
                 calls, latest first: {last:#?}"
            )
        });
        sum.cuts += 1;
        sum.by_how[how as usize] += 1;
        sum.acked += judged.acked;
        sum.more += judged.more;
        sum.with_replay += u64::from(judged.replayed > 0);
        sum.calls += life.calls.len() as u64;
        sum.explained.add(&explained);
        sum.revived += revived;
    }
    Ok(sum)
}

/// What one child did.
struct Life {
    before: Contents,
    lines: Vec<Line>,
    calls: Vec<Begun>,
}

/// What the opening of a survivor showed.
struct Judged {
    acked: u64,
    more: u64,
    replayed: u64,
}

/// A volume, and everything that was promised on it.
struct Bench {
    journal: PathBuf,
    volume: Volume,
    truth: Truth,
    /// Instructions, more or less, between what a child says and the cut.
    spins: u64,
}

impl Bench {
    fn new(dir: &Path, volume: Volume) -> Bench {
        Bench { journal: dir.join("journal"), volume, truth: Truth::new(), spins: 0 }
    }

    /// Lets a child live until it has said this many things, and then ends it.
    fn live(&mut self, ticks: u64, how: How, honesty: Honesty) -> Life {
        let before = contents(&self.volume.store());
        let _ = fs::remove_file(&self.journal);
        let mut child = Child::start(&self.volume.store(), &self.journal, honesty);
        for _ in 0..ticks {
            if !child.next_tick() {
                break;
            }
        }
        (0..self.spins).for_each(|_| std::hint::spin_loop());
        let mut before_the_cut = usize::MAX;
        match how {
            How::Kill => {}
            How::WriteBack => write_back_one(&self.volume.store(), self.spins),
            How::ShutDown => {
                before_the_cut = journal::read(&self.journal).len();
                self.volume.shut_down().expect("the file system is shut down");
            }
        }
        child.kill();
        let mut lines = journal::read(&self.journal);
        journal::forget_promises(&mut lines, before_the_cut);
        for line in &lines {
            if let Line::Failed(why) = line {
                assert_eq!(how, How::ShutDown, "a call failed without a reason: {why}");
            }
        }
        Life { before, calls: journal::calls(lines.clone()), lines }
    }

    fn cut(self, cut: usize) -> Bench {
        Bench { volume: self.volume.cut_power(cut), ..self }
    }

    /// What survived is sound, opens, and shows what was promised.
    fn judge(&mut self, life: &Life, place: Judge) -> Result<Judged, Violation> {
        self.truth.hear(&life.lines)?;
        let store = self.volume.store();
        if !store.is_dir() && !self.truth.exists {
            return Ok(Judged { acked: 0, more: 0, replayed: 0 });
        }
        let real = RealDisk::new(&store).expect("the directory is there");
        let inspection = inspect(&real).expect("a real directory can be read");
        // Before the first opening has ended there may be no manifest.
        if let Some(damage) = inspection.damage.first().filter(|_| self.truth.exists) {
            let story = format!("the disk that a power cut left is damaged: {damage}");
            return Err(Violation::new(Verdict::Lost, "I4", story));
        }
        let disk: Arc<dyn Disk> = match place {
            Judge::OnTheVolume => Arc::new(real),
            Judge::OnACopy => Arc::new(simulated(&contents(&store))),
        };
        let engine = Engine::open(disk, config())
            .map_err(|error| Violation::new(Verdict::Lost, "I6", format!("it does not open: {error}")))?;
        if engine.recovery_report().created && self.truth.exists {
            return Err(Violation::new(Verdict::Lost, "I5", "the store was taken for a new one"));
        }
        let (acked, more) = self.truth.judge(&engine)?;
        self.truth.exists |= place == Judge::OnTheVolume;
        Ok(Judged { acked, more, replayed: engine.recovery_report().points_replayed })
    }

    /// What survived is one of the images that a simulated crash, after the same calls, may leave: how much of what was unsynced it
    /// kept, and how many names there are besides, which no simulated crash brings back.
    fn explain(&self, life: &Life) -> Result<(Explained, u64), Unexplained> {
        let disk = simulated(&life.before);
        let mut player = Player::new(Arc::new(disk.clone()));
        for Begun { call, ok } in &life.calls {
            // What is not known to have synced has synced nothing.
            if *ok != Some(true) && matches!(call, Call::Sync { .. } | Call::SyncDir) {
                continue;
            }
            let played = player.play(call);
            if *ok == Some(true) && played.is_err() {
                return Err(Unexplained(format!(
                    "{call:?} went well, and on the simulated disk: {played:?}"
                )));
            }
        }
        let mut found = contents(&self.volume.store());
        let explained = disk.explain(&found).map(|explained| (explained, 0));
        if explained.is_ok() || !self.volume.system.revives_names {
            return explained;
        }
        let mut revived = 0;
        for Begun { call, .. } in &life.calls {
            if let Call::Rename { from, .. } = call {
                revived += u64::from(found.remove(from).is_some());
            }
        }
        disk.explain(&found).map(|explained| (explained, revived))
    }
}

fn simulated(files: &Contents) -> SimDisk {
    SimDisk::from_files(files.iter().map(|(name, bytes)| (&name[..], &bytes[..])))
}

/// What is in a directory; nothing, if it is not there.
fn contents(dir: &Path) -> Contents {
    let Ok(entries) = fs::read_dir(dir) else { return Contents::new() };
    let content = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("the store's names are ASCII");
        (name, fs::read(entry.path()).expect("a file that is there can be read"))
    };
    entries.map(|entry| content(entry.expect("a directory can be read"))).collect()
}

/// The system writes the dirty pages of one file to the device, as it does now and then.
fn write_back_one(dir: &Path, which: u64) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    if !paths.is_empty() {
        // It may be gone by now.
        let path = paths.swap_remove(which as usize % paths.len());
        let _ = fs::File::open(path).and_then(|file| file.sync_data());
    }
}

/// A running child. It dies with this value, so that a failing parent leaves none behind.
struct Child {
    process: process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    fn start(dir: &Path, journal: &Path, honesty: Honesty) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        // Any test of this file: each of them is the child where the variables say so.
        command
            .args(["--exact", "every_acknowledged_point_survives_real_power_cuts", "--nocapture"])
            .env(CHILD[0], dir)
            .env(CHILD[1], journal)
            .stdout(Stdio::piped());
        if honesty == Honesty::SyncsNoLog {
            command.env(CHILD[2], "1");
        }
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Child { process, lines }
    }

    /// Waits until the child says something; `false` if there is no more to come.
    fn next_tick(&mut self) -> bool {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            match line.trim_end() {
                journal::TICK => return true,
                journal::REST => return false,
                // The test harness's.
                _ => {}
            }
        }
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
