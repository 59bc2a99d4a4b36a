//! What must be true after damage at rest: the store notices, or is not harmed (I6).

use super::*;
use crate::damage::{self, Expected, Places, Strike};
use crate::disk::Damage;
use std::collections::BTreeSet;
use tidewall::Corruption;
use tidewall::store::manifest;

impl Run<'_> {
    /// Something at rest is damaged on a crashed disk.
    pub(super) fn judge_damage(&mut self, image: &SimDisk, crash: Crash) -> Step {
        let inspection = self.inspect(image)?;
        let renewed = |file: &str| image.renewed_sectors(file);
        let places = Places { inspection: &inspection, files: image.files(), renewed: &renewed };
        let Some(strike) = damage::draw(&mut self.chooser, &places) else { return Ok(()) };
        self.judge_inspection(image, &strike)?;
        let struck = image.copy();
        struck.damage(strike.fault, &strike.file, strike.change);
        self.disturbed(|| format!("{} of {}: {:?}", strike.fault.name(), strike.file, strike.change));
        findings::record(&self.timeline, &struck, self.setting.plant);
        let judged = self.judge_opening(image, &struck, &strike, crash);
        self.take_counts(&struck);
        judged?;
        if strike.expected.is_owed() && self.counts.recoveries.is_multiple_of(4) {
            self.forge_opening(image, &strike)?;
        }
        Ok(())
    }

    /// `inspect` says what is lost, and of blocks exactly which.
    fn judge_inspection(&mut self, image: &SimDisk, strike: &Strike) -> Step {
        let struck = image.copy();
        struck.damage(strike.fault, &strike.file, strike.change);
        self.detail(|| {
            let left = struck.content(&strike.file);
            Detail::Damaged { file: strike.file.clone(), left, expected: strike.expected.clone() }
        });
        let seen = inspect(&struck).map_err(|error| stuck("inspect", &error))?;
        if strike.expected.is_owed() && seen.damage.is_empty() {
            return Err(broken(strike, "inspect finds everything sound"));
        }
        if let Expected::TagsFail(tags) = &strike.expected {
            let blocks = seen.chunks.iter().flat_map(|chunk| &chunk.blocks);
            let damaged: BTreeSet<u32> =
                blocks.filter(|(_, intact)| !intact).map(|(block, _)| block.tag.get()).collect();
            if damaged != *tags {
                return Err(broken(
                    strike,
                    &format!("inspect finds blocks of tags {damaged:?} damaged, not {tags:?}"),
                ));
            }
        }
        Ok(())
    }

    fn judge_opening(&mut self, image: &SimDisk, struck: &SimDisk, strike: &Strike, crash: Crash) -> Step {
        let before = struck.contents();
        self.opening();
        let opened = Engine::open_with(Arc::new(struck.clone()), self.config.clone(), Box::new(InOrder));
        let fired = struck.take_fired();
        self.counts.recoveries += 1;
        let decisions = match &opened {
            Ok(engine) => Decision::of(engine.recovery_report()),
            Err(_) => vec![Decision::Refused],
        };
        self.coverage.reach(&crash.damaged(strike.fault), &decisions);
        match opened {
            Err(Error::Io { .. }) if fired.contains(&Fault::LatentSector) => {
                untouched(before, struck, strike)
            }
            Err(Error::Corrupt(damage)) if !blames(&damage, strike) => {
                Err(broken(strike, &format!("the opening blames another file: {damage}")))
            }
            Err(Error::Corrupt(_)) => {
                untouched(before, struck, strike)?;
                if strike.fault != Fault::StaleRead {
                    return Ok(());
                }
                // It was one read: another opening finds everything.
                findings::record(&self.timeline, struck, self.setting.plant);
                let config = self.config.clone();
                let again = Engine::open_with(Arc::new(struck.clone()), config, Box::new(InOrder));
                let engine = again.map_err(|error| stuck("open after a stale read", &error))?;
                self.judge_undamaged(&engine, &BTreeSet::new(), strike)
            }
            Err(error) => Err(stuck(&format!("open after {}", story(strike)), &error)),
            Ok(engine) => self.judge_opened(image, &engine, strike),
        }
    }

    fn judge_opened(&mut self, image: &SimDisk, engine: &Engine, strike: &Strike) -> Step {
        match &strike.expected {
            _ if blind::on(Blind::IgnoresDamage) => Ok(()),
            Expected::Refusal => Err(broken(strike, "the store opened")),
            Expected::EndsAt(offset) => self.judge_end(image, engine, strike, *offset),
            Expected::TagsFail(tags) => self.judge_undamaged(engine, tags, strike),
            Expected::Unharmed => {
                *self.events.entry(damage::UNHARMED).or_default() += 1;
                self.judge_undamaged(engine, &BTreeSet::new(), strike)
            }
        }
    }

    /// Tries the oracle on a store that has not noticed the damage: it is one on a disk that has none.
    fn forge_opening(&mut self, image: &SimDisk, strike: &Strike) -> Step {
        let contents = image.contents();
        let files = contents.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let sound = Arc::new(SimDisk::from_files(files));
        let opened = Engine::open_with(sound, self.config.clone(), Box::new(InOrder));
        let engine = opened.map_err(|error| stuck("open without the damage", &error))?;
        let counts = self.counts;
        let judged = self.judge_opened(image, &engine, strike);
        self.counts = counts;
        forged::refused(forged::DAMAGE, judged.is_err(), &mut self.events)
    }

    /// Everything is there, but for what was in blocks of these tags: their queries fail. After a stale read one of them
    /// fails, once.
    fn judge_undamaged(&mut self, engine: &Engine, fail: &BTreeSet<u32>, strike: &Strike) -> Step {
        let model = std::mem::take(&mut self.model);
        let mut failed = BTreeSet::new();
        let judged = model.all_tags().try_for_each(|tag| {
            let mut found = engine.query(tag, ..);
            if let Err(error) = &found
                && fail.contains(&tag)
                && is_damage(error, strike)
            {
                failed.insert(tag);
                if strike.fault != Fault::StaleRead {
                    return Ok(());
                }
                found = engine.query(tag, ..);
            }
            let found = found.map_err(|error| stuck(&format!("query after {}", story(strike)), &error))?;
            self.counts.points_checked += found.len() as u64;
            model.judge(tag, &found).map(drop)
        });
        self.counts.acked_points_checked += model.acked_points();
        self.model = model;
        judged?;
        let all_told = if strike.fault == Fault::StaleRead {
            failed.len() == fail.len().min(1)
        } else {
            failed == *fail
        };
        if all_told {
            return Ok(());
        }
        Err(broken(strike, &format!("blocks of tags {fail:?} were damaged, and {failed:?} say so")))
    }

    /// The log has lost its end, which nothing proved: the store shows what it would if that had never been written, or
    /// all of it.
    fn judge_end(&mut self, image: &SimDisk, engine: &Engine, strike: &Strike, offset: u64) -> Step {
        let query = |engine: &Engine, tag| {
            engine.query(tag, ..).map_err(|error| stuck(&format!("query after {}", story(strike)), &error))
        };
        let open = |disk: SimDisk| {
            findings::record(&self.timeline, &disk, self.setting.plant);
            let opened = Engine::open_with(Arc::new(disk), self.config.clone(), Box::new(InOrder));
            opened.map_err(|error| stuck("open without the end of the log", &error))
        };
        let (ended, whole) = (image.copy(), open(image.copy())?);
        ended.damage(strike.fault, &strike.file, Damage::Zero { from: offset });
        let ended = open(ended)?;
        let tags = || self.model.all_tags();
        let same = |one: &Engine, tag| Ok(same_points(&query(engine, tag)?, &query(one, tag)?));
        let all_same =
            |one: &Engine| tags().try_fold(true, |all, tag| Ok::<_, Violation>(all && same(one, tag)?));
        if all_same(&ended)? || all_same(&whole)? {
            return Ok(());
        }
        Err(broken(strike, "the store shows neither everything nor what was written before"))
    }
}

fn is_damage(error: &Error, strike: &Strike) -> bool {
    match error {
        Error::Corrupt(damage) => blames(damage, strike),
        Error::Io { .. } => strike.fault == Fault::LatentSector,
        _ => false,
    }
}

/// Whether it is said where the damage is. What is missing from a log is missed where the log stops, which may be at the end of
/// the segment before; and a manifest whose end is gone is an older one, whose log and chunks are not as it has them.
fn blames(damage: &Corruption, strike: &Strike) -> bool {
    let stream = |file: &str| {
        file.strip_prefix("wal").and_then(|_| file.rsplit_once('-')).map(|(of, _)| of.to_string())
    };
    let of = stream(&strike.file);
    damage.file == strike.file
        || strike.file == manifest::NAME
        || (of.is_some() && stream(&damage.file) == of)
}

fn same_points(one: &[Point], other: &[Point]) -> bool {
    let bits = |point: &Point| (point.tag, point.ts_us, point.value.to_bits(), point.quality);
    one.iter().map(bits).eq(other.iter().map(bits))
}

fn story(strike: &Strike) -> String {
    format!("{} of {}: {:?}", strike.fault.name(), strike.file, strike.change)
}

fn broken(strike: &Strike, what: &str) -> Violation {
    Violation::new(Verdict::Lost, "I6", format!("{what} after {}", story(strike)))
}

/// Who refuses changes nothing.
fn untouched(before: BTreeMap<String, Vec<u8>>, struck: &SimDisk, strike: &Strike) -> Step {
    let mut after = struck.contents();
    // The lock file is made by whoever opens first.
    after.retain(|name, _| name != "LOCK" || before.contains_key(name));
    if after == before { Ok(()) } else { Err(broken(strike, "opening was refused, but changed files")) }
}
