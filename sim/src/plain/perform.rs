//! A script on the real engine: under the oracle, which finds what the test has to assert; and as the test runs it.

use super::Aim;
use super::script::{Act, Change, Check, Found, Left, Script, Unsynced, What};
use crate::damage::Expected;
use crate::drivers::{self, stuck};
use crate::model::{Model, Verdict, Violation};
use crate::shrink::Reason;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidewall::disk::{Disk, Fate, IoKind, MemDisk, What as MemWhat};
use tidewall::plant::Bug;
use tidewall::{Config, Durability, Engine, Error, InOrder, Point, inspect};

/// The disk and the engine on it.
struct Stage {
    disk: MemDisk,
    engine: Option<Engine>,
    /// Kinds of the calls that failed in the present act.
    struck: Arc<Mutex<Vec<IoKind>>>,
}

impl Stage {
    fn new(script: &Script) -> Stage {
        let disk = match &script.image {
            None => MemDisk::new(),
            Some(image) => {
                let pieces: Vec<_> = image.files.values().map(|bytes| [(0, &bytes[..])]).collect();
                let files = image.files.iter().zip(&pieces);
                MemDisk::from_files(files.map(|((name, bytes), piece)| (&name[..], bytes.len(), &piece[..])))
            }
        };
        Stage { disk, engine: None, struck: Arc::default() }
    }

    /// Does one thing. `None` if it cannot be done: there is no engine.
    fn act(&mut self, act: &Act) -> Option<tidewall::Result<()>> {
        let (begun, fates, struck) = (self.disk.calls(), act.fates.clone(), self.struck.clone());
        struck.lock().clear();
        self.disk.on_change(move |io| {
            let fate = fates.get(&(io.number - begun)).copied().unwrap_or_default();
            if fate != Fate::Succeeds {
                struck.lock().push(io.kind);
            }
            fate
        });
        Some(match &act.what {
            What::Open(config) => {
                self.engine = None;
                let opened =
                    Engine::open_with(Arc::new(self.disk.clone()), config.clone(), Box::new(InOrder));
                opened.map(|engine| self.engine = Some(engine))
            }
            What::Write(points) => match &points[..] {
                [one] => self.engine.as_ref()?.write(*one),
                many => self.engine.as_ref()?.write_batch(many),
            },
            What::Sync => self.engine.as_ref()?.sync(),
            What::Flush => self.engine.as_ref()?.flush(),
            What::Step => self.engine.as_ref()?.step(),
            What::Close => {
                let closed = self.engine.as_ref()?.close();
                if closed.is_ok() {
                    self.engine = None;
                }
                closed
            }
            What::Kill => {
                self.engine = None;
                Ok(())
            }
            What::Cut(left) => {
                self.engine = None;
                self.disk = cut(&self.disk, left);
                Ok(())
            }
            What::Damage { file, change, .. } => {
                self.disk.on_change(|_| Fate::Succeeds);
                if !self.disk.list().is_ok_and(|names| names.contains(file)) {
                    return None;
                }
                let damage = |change: &dyn Fn(&mut Vec<u8>)| self.disk.damage(file, |bytes| change(bytes));
                match change {
                    Change::Gone => {
                        self.disk.remove(file).and_then(|()| self.disk.sync_dir()).expect("nothing fails");
                    }
                    Change::Cut(len) => damage(&|bytes| bytes.truncate(*len)),
                    Change::Flip(at, bits) => {
                        damage(&|bytes| bytes.iter_mut().skip(*at).take(1).for_each(|byte| *byte ^= bits));
                    }
                    Change::Bytes(offset, left) => {
                        damage(&|bytes| {
                            bytes.iter_mut().skip(*offset).zip(left).for_each(|(at, byte)| *at = *byte)
                        });
                    }
                }
                Ok(())
            }
        })
    }

    fn holds(&self, check: &Check, result: &tidewall::Result<()>, calls: u64) -> bool {
        let stats = || self.engine.as_ref().map(Engine::stats);
        let report = || self.engine.as_ref().map(Engine::recovery_report);
        match check {
            Check::Succeeds => result.is_ok(),
            Check::Fails | Check::IsRefused => result.is_err(),
            Check::Returns => true,
            Check::Shows { tag, written, least } => {
                let found = self.engine.as_ref().and_then(|engine| engine.query(*tag, ..).ok());
                found.is_some_and(|found| (*least..=written.len()).any(|n| found == state(&written[..n])))
            }
            Check::IsNotNew => report().is_some_and(|report| !report.created),
            Check::ReplaysNothing => report().is_some_and(|report| report.points_replayed == 0),
            Check::IsDurable(least) => stats().is_some_and(|stats| {
                stats.durable_lsn == stats.appended_lsn && stats.durable_lsn.0 >= *least
            }),
            Check::IsNoticed(tag) => {
                self.engine.as_ref().is_none_or(|engine| engine.query(*tag, ..).is_err())
            }
            Check::IsSeen => inspect(&self.disk).is_ok_and(|seen| !seen.damage.is_empty()),
            Check::IsSound => inspect(&self.disk).is_ok_and(|seen| seen.damage.is_empty()),
            Check::IsSilent => self.disk.calls() == calls,
            Check::IsFlushed(all) => stats().is_some_and(|stats| {
                stats.checkpoint_lsn.0 == *all && stats.buffered_points == 0 && stats.busy_segments == 0
            }),
            Check::IsAppended(all) => stats().is_some_and(|stats| stats.appended_lsn.0 == *all),
        }
    }
}

/// What a tag shows when these were written: of each time the last, in order of time.
fn state(written: &[Point]) -> Vec<Point> {
    let by_time: BTreeMap<_, _> = written.iter().map(|point| (point.ts_us, *point)).collect();
    by_time.into_values().collect()
}

fn cut(disk: &MemDisk, left: &Left) -> MemDisk {
    let survivor = disk.power_cut(|unsynced| {
        let what = match unsynced.what {
            MemWhat::Sector(name, sector) => Unsynced::Sector(name.into(), sector),
            MemWhat::Len(name) => Unsynced::Len(name.into()),
            MemWhat::Name(name) => Unsynced::Name(name.into()),
        };
        left.kept.iter().find(|(kept, _)| *kept == what).map_or(left.others, |(_, version)| *version)
    });
    let names = survivor.list().unwrap_or_default();
    for (file, offset, torn) in left.torn.iter().filter(|(file, ..)| names.contains(file)) {
        survivor.damage(file, |bytes| {
            let there = bytes.iter_mut().skip(*offset);
            there.zip(torn).for_each(|(byte, torn)| *byte = *torn);
        });
    }
    survivor
}

/// How a test ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Passes,
    /// At its check.
    Fails,
    /// Before it gets there.
    Breaks,
}

/// What the printed test does.
fn test(script: &Script, found: &Found, plant: Option<Bug>) -> Ends {
    let (mut stage, mut at) = (Stage::new(script), 0);
    let mut ends = Ends::Breaks;
    let ran = drivers::watched(plant, || {
        for act in &script.acts[..found.at] {
            let Some(result) = stage.act(act) else { return Ok(()) };
            if result.is_err() && found.succeeds[at] {
                return Ok(());
            }
            at += 1;
        }
        let calls = stage.disk.calls();
        if let Some(result) = stage.act(&script.acts[found.at]) {
            ends = if stage.holds(&found.check, &result, calls) { Ends::Passes } else { Ends::Fails };
        }
        Ok(())
    });
    if ran.is_err() { if at == found.at { Ends::Fails } else { Ends::Breaks } } else { ends }
}

/// What a script's test asserts, if it breaks the promise that it is about, and the test fails for that; with a planted
/// bug, if it passes without.
pub(super) fn aimed(script: &Script, aim: &Aim) -> Option<Found> {
    let mut play = Play::new(script, &aim.reason);
    let violation = drivers::watched(aim.plant, || play.all(script)).err()?;
    if Reason::of(&violation) != aim.reason {
        return None;
    }
    let check = play.check.take().unwrap_or(Check::Returns);
    let found = Found { at: play.calls.len() - 1, check, calls: play.calls, succeeds: play.succeeds };
    let fails = test(script, &found, aim.plant) == Ends::Fails;
    let is_it = aim.plant.is_none() || test(script, &found, None) == Ends::Passes;
    (fails && is_it).then_some(found)
}

/// A script being performed, and what the oracle knows.
struct Play<'a> {
    stage: Stage,
    wanted: &'a Reason,
    model: Model,
    exists: bool,
    closed: bool,
    read_only: bool,
    /// Everything was handed to the system, which goes on when the process dies.
    handed: bool,
    must_keep_all: bool,
    durable_lsn: u64,
    /// The log's end when the engine was opened, and the points accepted since.
    base_lsn: u64,
    accepted: u64,
    config: Config,
    damaged: Option<Expected>,
    /// The call before was a `step`, too.
    stepped: bool,
    calls: Vec<u64>,
    succeeds: Vec<bool>,
    check: Option<Check>,
}

impl<'a> Play<'a> {
    fn new(script: &Script, wanted: &'a Reason) -> Play<'a> {
        let image = script.image.as_ref();
        Play {
            stage: Stage::new(script),
            wanted,
            model: image.map_or_else(|| Model::new(script.tags), |image| image.model.clone()),
            exists: image.is_some_and(|image| image.exists),
            durable_lsn: image.map_or(0, |image| image.durable_lsn),
            closed: false,
            read_only: false,
            handed: false,
            must_keep_all: false,
            base_lsn: 0,
            accepted: 0,
            config: Config::default(),
            damaged: None,
            stepped: false,
            calls: Vec::new(),
            succeeds: Vec::new(),
            check: None,
        }
    }

    fn all(&mut self, script: &Script) -> drivers::Step {
        for act in &script.acts {
            self.calls.push(self.stage.disk.calls());
            // Before the engine is asked: after the last act it is what was asked of it.
            let backlog = self.stage.engine.as_ref().map(Engine::stats);
            let Some(result) = self.stage.act(act) else { return Ok(()) };
            self.succeeds.push(result.is_ok());
            self.judge(&act.what, &result)?;
            let stepped = matches!(act.what, What::Step);
            if stepped && self.stepped && result.is_ok() {
                self.judge_step()?;
            }
            self.stepped = stepped && !self.stepped;
            let may_not_wait = backlog.is_some_and(|stats| {
                self.config.durability == Durability::Batched
                    && stats.backlog_points < self.config.backlog_points as u64
                    && stats.buffered_bytes < self.config.stream_buffer_bytes()
            });
            if matches!(act.what, What::Write(_)) && may_not_wait {
                let calls = *self.calls.last().expect("pushed above");
                let is_silent = self.stage.disk.calls() == calls;
                self.expect(
                    is_silent,
                    || Check::IsSilent,
                    Verdict::Stuck,
                    "write does not wait for the disk",
                )?;
            }
            self.judge_visible()?;
        }
        Ok(())
    }

    fn expect(
        &mut self,
        holds: bool,
        check: impl FnOnce() -> Check,
        verdict: Verdict,
        promise: &'static str,
    ) -> drivers::Step {
        if holds {
            return Ok(());
        }
        self.broken(check(), Violation::new(verdict, promise, "seen by the script"))
    }

    fn broken(&mut self, check: Check, violation: Violation) -> drivers::Step {
        self.check = Some(check);
        Err(violation)
    }

    fn struck(&self) -> Vec<IoKind> {
        self.stage.struck.lock().clone()
    }

    fn judge(&mut self, what: &What, result: &tidewall::Result<()>) -> drivers::Step {
        match what {
            What::Open(config) => {
                self.config = config.clone();
                self.judge_open(result)
            }
            What::Write(points) => self.judge_write(points, result),
            What::Sync => self.judge_durable("sync", result),
            What::Flush => {
                self.judge_durable("flush", result)?;
                self.judge_flush(result)
            }
            What::Close => {
                self.judge_durable("close", result)?;
                self.closed = result.is_ok();
                Ok(())
            }
            What::Step => {
                let is_final = self.struck().into_iter().any(is_final);
                self.expect(!(is_final && result.is_ok()), || Check::Fails, Verdict::Lost, "I8")?;
                self.excuse("step", result)
            }
            What::Kill => {
                self.must_keep_all = self.handed && !self.read_only;
                Ok(())
            }
            What::Cut(_) if self.exists && self.wanted.is_about("I4") => {
                let is_sound = self.stage.holds(&Check::IsSound, result, 0);
                self.expect(is_sound, || Check::IsSound, Verdict::Lost, "I4")
            }
            What::Cut(_) => Ok(()),
            What::Damage { expected, .. } => {
                self.damaged = Some(expected.clone());
                let seen = !expected.is_owed() || self.stage.holds(&Check::IsSeen, result, 0);
                self.expect(seen, || Check::IsSeen, Verdict::Lost, "I6")
            }
        }
    }

    /// A call failed: there must be a reason.
    fn excuse(&mut self, call: &'static str, result: &tidewall::Result<()>) -> drivers::Step {
        let struck = self.struck();
        let is_final = struck.iter().copied().any(is_final);
        let Err(error) = result else {
            self.read_only |= is_final;
            return Ok(());
        };
        let expected = match error {
            Error::ReadOnly { .. } => self.read_only || is_final,
            Error::Io { .. } => !struck.is_empty(),
            _ => false,
        };
        self.read_only |= is_final;
        if expected || self.stage.disk.is_dead() {
            return Ok(());
        }
        self.broken(Check::Succeeds, stuck(call, error))
    }

    fn judge_write(&mut self, points: &[Point], result: &tidewall::Result<()>) -> drivers::Step {
        self.expect(!(self.read_only && result.is_ok()), || Check::Fails, Verdict::Lost, "I8")?;
        let is_immediate = self.config.durability == Durability::Immediate;
        // The contract leaves open whether a write was accepted that could not be made durable.
        let shown = |point: &Point| {
            let found = self.stage.engine.as_ref()?.query(point.tag, point.ts_us..=point.ts_us).ok()?;
            Some(found.first() == Some(point))
        };
        let in_doubt = || {
            is_immediate
                && (self.stage.disk.is_dead() || points.last().is_some_and(|last| shown(last) == Some(true)))
        };
        if result.is_ok() || in_doubt() {
            points.iter().for_each(|point| self.model.accept(point));
            self.accepted += points.len() as u64;
            self.handed = false;
            self.closed = false;
        }
        if result.is_ok() && is_immediate {
            self.model.ack_where(|tag| points.iter().any(|point| point.tag == tag));
        }
        self.excuse("write", result)
    }

    fn judge_durable(&mut self, call: &'static str, result: &tidewall::Result<()>) -> drivers::Step {
        let is_final = self.struck().into_iter().any(is_final);
        let is_false = result.is_ok() && (is_final || self.read_only);
        self.expect(!is_false, || Check::Fails, Verdict::Lost, "I8")?;
        if result.is_ok() {
            self.model.ack();
        }
        self.excuse(call, result)
    }

    fn judge_flush(&mut self, result: &tidewall::Result<()>) -> drivers::Step {
        if result.is_err() || !self.wanted.is_about("flush") {
            return Ok(());
        }
        let check = Check::IsFlushed(self.base_lsn + self.accepted);
        let holds = self.stage.holds(&check, result, 0);
        self.expect(holds, || check, Verdict::Stuck, "flush")
    }

    /// Two steps: what the first one finds too young and too small, the second one finds old.
    fn judge_step(&mut self) -> drivers::Step {
        let check = Check::IsAppended(self.base_lsn + self.accepted);
        let holds = self.stage.disk.is_dead() || self.stage.holds(&check, &Ok(()), 0);
        if self.wanted.is_about("step") {
            self.expect(holds, || check, Verdict::Stuck, "step")?;
        }
        self.handed = !self.stage.disk.is_dead();
        Ok(())
    }

    fn judge_visible(&mut self) -> drivers::Step {
        let promise = "accepted points are visible";
        if !self.wanted.is_about(promise) || self.stage.engine.is_none() || self.stage.disk.is_dead() {
            return Ok(());
        }
        for tag in self.model.all_tags() {
            let check = self.owed(tag, true);
            let holds = self.stage.holds(&check, &Ok(()), 0);
            self.expect(holds, || check, Verdict::Lost, promise)?;
        }
        Ok(())
    }

    fn owed(&self, tag: u32, all: bool) -> Check {
        let (mut written, maybe) = self.model.owed(tag);
        let least = written.len() + if all { maybe.len() } else { 0 };
        written.extend(maybe);
        Check::Shows { tag, written, least }
    }

    fn judge_open(&mut self, result: &tidewall::Result<()>) -> drivers::Step {
        let (closed, must_keep_all) =
            (std::mem::take(&mut self.closed), std::mem::take(&mut self.must_keep_all));
        let damaged = self.damaged.take();
        if let Err(error) = result {
            let excused = match error {
                _ if self.stage.disk.is_dead() => true,
                Error::Io { .. } | Error::ReadOnly { .. } => !self.struck().is_empty(),
                Error::Corrupt(_) => damaged.is_some(),
                _ => false,
            };
            if excused {
                (self.closed, self.must_keep_all) = (closed, must_keep_all);
                return Ok(());
            }
            let violation = match error {
                Error::Corrupt(_) => Violation::new(Verdict::Lost, "I6", error.to_string()),
                _ => stuck("open", error),
            };
            return self.broken(Check::Succeeds, violation);
        }
        if damaged == Some(Expected::Refusal) {
            return self.expect(false, || Check::IsRefused, Verdict::Lost, "I6");
        }
        let engine = self.stage.engine.as_ref().expect("it was opened");
        let (report, stats) = (engine.recovery_report().clone(), engine.stats());
        self.expect(!(report.created && self.exists), || Check::IsNotNew, Verdict::Lost, "I5")?;
        self.exists = true;
        let replayed = closed && (report.frames_replayed, report.points_replayed) != (0, 0);
        let promise = "close: reopening replays nothing";
        self.expect(!replayed, || Check::ReplaysNothing, Verdict::Invented, promise)?;
        if matches!(damaged, Some(Expected::EndsAt(_))) {
            return Ok(());
        }
        let fail = if let Some(Expected::TagsFail(tags)) = damaged { tags } else { BTreeSet::new() };
        let mut unnoticed = fail.iter().copied().collect::<Vec<_>>();
        for tag in self.model.all_tags() {
            let found = self.stage.engine.as_ref().expect("it was opened").query(tag, ..);
            let found = match found {
                Err(_) if fail.contains(&tag) => {
                    unnoticed.retain(|other| *other != tag);
                    continue;
                }
                Err(error) => {
                    return self.broken(self.owed(tag, false), stuck("query after recovery", &error));
                }
                Ok(found) => found,
            };
            match self.model.judge(tag, &found) {
                Err(violation) => return self.broken(self.owed(tag, false), violation),
                Ok(survived) => {
                    let kept = !must_keep_all || survived == self.model.maybes(tag);
                    let all = self.owed(tag, true);
                    self.expect(kept, || all, Verdict::Lost, "step")?;
                    self.model.recovered(tag, survived);
                }
            }
        }
        if let Some(tag) = unnoticed.first() {
            return self.expect(false, || Check::IsNoticed(*tag), Verdict::Lost, "I6");
        }
        let check = Check::IsDurable(self.durable_lsn);
        let holds = self.stage.holds(&check, result, 0);
        self.expect(holds, || check, Verdict::Lost, "I7")?;
        (self.durable_lsn, self.base_lsn, self.accepted) = (stats.durable_lsn.0, stats.appended_lsn.0, 0);
        (self.read_only, self.handed) = (false, false);
        Ok(())
    }
}

/// After these nobody knows what is on the disk (I8).
fn is_final(kind: IoKind) -> bool {
    matches!(kind, IoKind::Sync | IoKind::SyncDir | IoKind::Rename)
}
