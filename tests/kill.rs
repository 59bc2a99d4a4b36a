//! Forty kills of one store: what `kill -9` leaves of each tag is a prefix, and at least all that was acknowledged.
//!
//! The test starts itself again as a child that writes points of six tags from two threads into one directory, and
//! after each successful `sync`, `flush` or `close` prints how many points of each tag are durable now. The parent
//! reads some of these lines, kills the child, reads what else had been printed, opens the directory itself, and
//! compares every point. The next child goes on from what survived. Where a kill hits - inside a write, a flush, a
//! rotation, a recovery - differs from run to run; what must hold does not.
//!
//! A killed process loses its memory and nothing else: what it handed to the system stays there. So this shows that
//! nothing is acknowledged too early and that recovery puts a real directory together again; that the syncs are in
//! the right places is for the simulated disk to show, which loses what was not synced, and for `power_cut`.

mod writers;

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{self, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use tidewall::disk::RealDisk;
use tidewall::{Engine, Point, inspect};
use writers::{Counts, Random, Told, WRITERS, all_written, config, point, tags, write_a_while, written};

const NAME: &str = "every_acknowledged_point_survives_every_kill";
const DIR: &str = "TIDEWALL_KILL_TEST_DIR";
const KILLS: usize = 40;
const SIGKILL: i32 = 9;

fn open(dir: &Path) -> Engine {
    Engine::open(Arc::new(RealDisk::new(dir).unwrap()), config()).expect("what a kill leaves opens")
}

/// The answer to a query when exactly the first `count` points of a tag are there.
fn prefix(tag: u32, count: usize) -> Vec<Point> {
    let mut points: Vec<_> =
        (0..count).filter(|n| n % 8 != 0 || n + 7 >= count).map(|n| point(tag, n)).collect();
    points.sort_by_key(|point| point.ts_us);
    points
}

// The child.

fn write_until_killed(dir: &Path) {
    let mut acked = Counts::default();
    for session in 0.. {
        let engine = open(dir);
        let mut counts = all_written(&engine);
        for (tag, (count, acked)) in tags().zip(counts.iter().zip(acked)) {
            assert!(
                *count >= acked,
                "of {acked} acknowledged points of tag {tag}, {count} are there after a drop"
            );
        }
        thread::scope(|scope| {
            let counts = counts.chunks_mut(3).zip(acked.chunks_mut(3));
            for (tags, (counts, acked)) in WRITERS.iter().zip(counts) {
                let engine = &engine;
                let seed = 1 + session + counts.iter().sum::<usize>() as u64;
                let tell = |told, counts: &[usize]| {
                    if told == Told::Acked {
                        acked.copy_from_slice(counts);
                        print_ack(tags.iter().copied().zip(counts.iter().copied()));
                    }
                };
                scope.spawn(move || write_a_while(engine, tags, counts, Random(seed), tell).unwrap());
            }
        });
        // Else it is dropped, which is as good as a kill.
        if session % 2 == 0 {
            engine.close().unwrap();
            acked = counts;
            print_ack(tags().zip(counts));
        }
    }
}

/// One line, whole or not at all, with everything that this writer knows to be durable.
fn print_ack(counts: impl Iterator<Item = (u32, usize)>) {
    let words: Vec<_> = counts.map(|(tag, count)| format!("{tag}={count}")).collect();
    let mut out = io::stdout().lock();
    out.write_all(format!("ack {}\n", words.join(" ")).as_bytes()).unwrap();
    out.flush().unwrap();
}

// The parent.

/// A running child. It dies with this value, so that a failing parent leaves none behind.
struct Child {
    process: process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    fn start(dir: &Path) -> Child {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Child { process, lines }
    }

    /// The next acknowledgement, taken into `acked`; `false` at the end of the child's output.
    fn next_ack(&mut self, acked: &mut Counts) -> bool {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            // A line that the kill has cut off acknowledges nothing; other lines are the test harness's.
            let Some(words) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("ack ")) else {
                continue;
            };
            for word in words.split(' ') {
                let (tag, count) = word.split_once('=').unwrap();
                let at = tags().position(|known| known == tag.parse().unwrap()).unwrap();
                acked[at] = acked[at].max(count.parse().unwrap());
            }
            return true;
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(SIGKILL),
            "the child had ended by itself: {status}; its output is above"
        );
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_acknowledged_point_survives_every_kill() {
    if let Some(dir) = env::var_os(DIR) {
        println!();
        return write_until_killed(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let mut random = Random(0x5eed);
    let mut acked = Counts::default();
    let (mut acks, mut with_replay, mut with_unacked) = (0, 0, 0);
    // The kills must be in the middle of something, or this test has shown nothing. On a machine that has other things to do,
    // fewer of them are, and it takes more of them.
    let is_enough = |acks, with_replay, with_unacked| {
        acks >= 10 * KILLS && with_replay >= KILLS / 2 && with_unacked >= KILLS / 4
    };
    let mut kill = 0;
    while kill < KILLS || (!is_enough(acks, with_replay, with_unacked) && kill < 4 * KILLS) {
        let mut child = Child::start(dir.path());
        // Every fifth child is killed after some instructions instead of some lines: that may be in its recovery.
        let lines = if kill % 5 == 4 { 0 } else { 1 + random.below(40) };
        for _ in 0..lines {
            assert!(child.next_ack(&mut acked), "kill {kill}: the child ended by itself");
            acks += 1;
        }
        for _ in 0..random.below(3_000_000) {
            std::hint::spin_loop();
        }
        child.kill();
        while child.next_ack(&mut acked) {
            acks += 1;
        }

        let inspection = inspect(&disk).unwrap();
        assert_eq!(inspection.damage, [], "kill {kill}: {inspection}");
        let engine = open(dir.path());
        let mut unacked = 0;
        for (tag, acked) in tags().zip(&mut acked) {
            let count = written(&engine, tag);
            assert!(
                count >= *acked,
                "kill {kill}: of {acked} acknowledged points of tag {tag}, {count} are there"
            );
            assert!(
                engine.query(tag, ..).unwrap() == prefix(tag, count),
                "kill {kill}: tag {tag} is no prefix"
            );
            unacked += count - *acked;
            // A query has shown them: from here on they are as good as acknowledged.
            *acked = count;
        }
        with_unacked += usize::from(unacked > 0);
        with_replay += usize::from(engine.recovery_report().points_replayed > 0);
        if kill % 7 == 6 {
            engine.close().unwrap();
        }
        drop(engine);
        assert_eq!(inspect(&disk).unwrap().damage, [], "after the recovery from kill {kill}");
        kill += 1;
    }
    println!(
        "{kill} kills, {acks} acks, {with_replay} with replay, {with_unacked} with unacknowledged survivors"
    );
    println!("points by tag: {acked:?}");
    assert!(
        is_enough(acks, with_replay, with_unacked),
        "{acks} acknowledgements, {with_replay} recoveries with anything to replay, \
         {with_unacked} kills with unacknowledged points in flight"
    );
    assert!(acked.iter().all(|count| *count > 1_000), "{acked:?}");
}
