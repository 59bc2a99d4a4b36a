//! Power cuts and kills, and opening again, through crashes and errors on the way.

use super::*;
use crate::disk::Site;
use tidewall::store::chunk;
use tidewall::wal::frame;

impl Run<'_> {
    /// The power fails, or has failed; the run goes on from what survives.
    pub(super) fn crash(&mut self) -> Step {
        self.retire_engine();
        self.counts.crashes += 1;
        let (survivor, crash) = self.cut(&self.disk.clone(), self.during);
        self.disk = survivor;
        self.recover_from(Some(crash))
    }

    /// The process dies; the machine does not.
    pub(super) fn kill(&mut self) -> Step {
        self.retire_engine();
        self.must_keep_all = self.handed && !self.read_only;
        self.killed = true;
        self.faults.count(Fault::Kill, true);
        self.timeline.record(|| Event::Killed);
        // A full disk stays one.
        self.disk.heal_errors();
        self.recover()
    }

    fn cut(&mut self, disk: &SimDisk, during: During) -> (SimDisk, Crash) {
        self.take_counts(disk);
        let survivor = disk.power_cut(&mut self.chooser, self.setting.profile);
        let crash = self.note_crash(disk, &survivor, during, disk.crash_site());
        (survivor, crash)
    }

    /// What a crash did: nothing else has been counted on `disk` since the last time that its counts were taken.
    pub(super) fn note_crash(
        &mut self,
        disk: &SimDisk,
        survivor: &SimDisk,
        during: During,
        site: Option<Site>,
    ) -> Crash {
        let counts = disk.take_counts();
        self.faults.add(&counts);
        self.coverage.images.insert(survivor.image_hash());
        Crash::new(during, site, &counts)
    }

    /// Records with which limits a store is about to be opened, and what it owes.
    pub(super) fn opening(&self) {
        self.detail(|| {
            let (config, model) = (self.config.clone(), self.model.clone());
            Detail::Opening(Opening { config, model, exists: self.exists, durable_lsn: self.marks[1] })
        });
    }

    pub(super) fn retire_engine(&mut self) {
        self.engine = None;
        self.counts.rotations += std::mem::take(&mut self.progress.0);
        self.counts.blocks += std::mem::take(&mut self.progress.1);
    }

    pub(super) fn take_counts(&mut self, disk: &SimDisk) {
        self.faults.add(&disk.take_counts());
        self.counts.io_ops += disk.take_io_ops();
    }

    pub(super) fn recover(&mut self) -> Step {
        self.recover_from(None)
    }

    fn recover_from(&mut self, crash: Option<Crash>) -> Step {
        self.during = During::Open;
        let closed = std::mem::take(&mut self.closed);
        let must_keep_all = std::mem::take(&mut self.must_keep_all);
        let crashes = self.counts.crashes;
        if self.chooser.chance(Concern::Shape, 16) {
            self.change_config();
        }
        let (engine, disk) = self.open(self.disk.clone(), crash)?;
        let must_keep_all = must_keep_all && self.counts.crashes == crashes;
        self.disk = disk;
        // What was snapped while recovery was at work is judged by what was promised before.
        self.judge_snapshots()?;
        self.check_opened(&engine, closed, self.marks[1])?;
        self.exists = true;
        let mut model = std::mem::take(&mut self.model);
        let judged = self.judge(&engine, &model);
        let survived = judged?;
        let lost = model.all_tags().zip(&survived).find(|(tag, survived)| **survived < model.maybes(*tag));
        if let Some((tag, _)) = lost.filter(|_| must_keep_all) {
            let story =
                format!("tag {tag}: a step had handed everything to the system, and the process died alone");
            return Err(Violation::new(Verdict::Lost, "step", story));
        }
        model.all_tags().zip(survived).for_each(|(tag, survived)| model.recovered(tag, survived));
        self.model = model;
        let stats = engine.stats();
        self.base_lsn = stats.appended_lsn.0;
        self.accepted = 0;
        self.marks = [stats.checkpoint_lsn.0, stats.durable_lsn.0, stats.appended_lsn.0];
        self.read_only = false;
        self.troubled = false;
        self.handed = false;
        self.count_is_exact = true;
        self.engine = Some(engine);
        if self.chooser.chance(Concern::Crash, 48) { self.inspect_recovered() } else { Ok(()) }
    }

    /// After a recovery the disk alone proves all of the log to be durable, and what is in memory is what is in the log
    /// and in no block: each point once (I5).
    pub(super) fn inspect_recovered(&mut self) -> Step {
        let inspection = self.inspect(&self.disk.clone())?;
        let stats = self.engine().stats();
        let Some(version) = &inspection.version else {
            return Err(Violation::new(Verdict::Lost, "I4", "an open store has no manifest"));
        };
        if (inspection.proven_lsn(), inspection.end_lsn()) != (stats.durable_lsn, stats.durable_lsn) {
            let story = format!(
                "after recovery the log ends at {} and is proven up to {}, but {} is called durable",
                inspection.end_lsn(),
                inspection.proven_lsn(),
                stats.durable_lsn
            );
            return Err(Violation::new(Verdict::Lost, "I6", story));
        }
        let unnamed = |(file, _): &(String, u64)| {
            chunk::number(file).is_some_and(|number| version.blocks().all(|block| block.chunk != number))
        };
        if let Some((file, _)) = self.disk.files().iter().find(|file| !self.spared && unnamed(file)) {
            let story = format!("an opening has left {file}, which nothing names");
            return Err(Violation::new(Verdict::Stuck, "orphans", story));
        }
        let report = self.engine().recovery_report();
        let in_blocks =
            (version.blocks().count() as u64, version.blocks().map(|block| u64::from(block.count)).sum());
        if (report.blocks, report.block_points) != in_blocks {
            let story = format!("{report:?}, and the manifest names {in_blocks:?} blocks and points in them");
            return Err(Violation::new(Verdict::Stuck, "what an opening reports", story));
        }
        let mut points = 0;
        for segment in inspection.segments.iter().filter(|segment| !segment.live.is_empty()) {
            let bytes = self.disk.content(&segment.file).expect("it was inspected");
            for at in segment.live() {
                let frame = frame::decode(&bytes[at.offset as usize..]).expect("it was inspected");
                let mut first_lsn = frame.header.first_lsn;
                for share in frame.shares() {
                    if version.tags.get(&share.tag).is_none_or(|tag| tag.flushed_lsn <= first_lsn) {
                        points += u64::from(share.count);
                    }
                    first_lsn = first_lsn.advance(share.count.into());
                }
            }
        }
        if points != stats.buffered_points {
            let story =
                format!("{points} points are in the log only, {} are in memory", stats.buffered_points);
            return Err(Violation::new(Verdict::Invented, "I5", story));
        }
        Ok(())
    }

    /// A store may be opened with other limits than before, but for its geometry. None is above that of the shape, so
    /// the checks go on using those.
    fn change_config(&mut self) {
        let shape = Concern::Shape;
        let most = &self.shape.config;
        let mut below =
            |most: usize, least: usize| self.chooser.between(shape, least as u32, most as u32) as usize;
        self.config.batch_points = below(most.batch_points, most.batch_points.div_ceil(2));
        self.config.block_points = below(most.block_points, most.block_points.div_ceil(2));
        self.config.segments_max = below(most.segments_max, most.segments);
        self.config.staging_bytes = below(most.staging_bytes, most.staging_bytes.div_ceil(2));
        self.config.segments = below(self.config.segments_max, most.segments);
    }

    /// Opens the store on a disk that this crash left, if one did, through crashes and errors on the way.
    pub(super) fn open(
        &mut self,
        mut disk: SimDisk,
        mut crash: Option<Crash>,
    ) -> Result<(Engine, SimDisk), Violation> {
        let (mut depth, mut retries) = (0, 0);
        loop {
            // What an opening that failed has left is a state of its own.
            let crashes = if retries > 0 { 128 } else { 40 };
            if depth < DEPTH
                && self.chooser.chance(Concern::Crash, crashes)
                && !blind::on(Blind::SparesRecoveries)
            {
                let (away, when) = (self.chooser.below(Concern::Crash, 20), self.when());
                disk.arm_crash(away, when);
                self.faults.arm(if depth == 0 { Fault::CrashRecovery } else { Fault::CrashNested });
            } else if retries < 2 && self.chooser.chance(Concern::Faults, 40) {
                let armed = self.draw_error_at_open();
                disk.arm(armed);
            }
            let exec = Box::new(Shuffled(AtomicU64::new(self.chooser.below(Concern::Order, 1 << 16).into())));
            self.timeline.note(&[depth.into()], || "   open".into());
            findings::record(&self.timeline, &disk, self.setting.plant);
            self.opening();
            let result = Engine::open_with(Arc::new(disk.clone()), self.config.clone(), exec);
            if !disk.is_dead() {
                self.timeline.record(|| {
                    let report = |engine: &Engine| findings::recovery!(engine.recovery_report());
                    Event::Opened(result.as_ref().map(report).map_err(ToString::to_string))
                });
            }
            let fired = disk.take_fired();
            if disk.is_dead() {
                drop(result);
                self.faults.fire(if depth == 0 { Fault::CrashRecovery } else { Fault::CrashNested });
                self.counts.crashes += 1;
                depth += 1;
                if let Some(crash) = &crash {
                    self.coverage.reach(crash, &[Decision::Interrupted]);
                }
                let (survivor, next) = self.cut(&disk, During::Open);
                (disk, crash) = (survivor, Some(next));
                continue;
            }
            match result {
                Ok(_) if fired.iter().any(|fault| fault.is_final()) => {
                    let story = format!("an opening returned Ok, and {fired:?} struck in it");
                    return Err(Violation::new(Verdict::Lost, "I8", story));
                }
                Ok(engine) => {
                    self.spared = fired.contains(&Fault::RemoveError);
                    disk.heal();
                    let killed = std::mem::take(&mut self.killed);
                    self.counts.recoveries += u64::from(killed || crash.is_some());
                    if let Some(crash) = &crash {
                        self.coverage.reach(crash, &Decision::of(engine.recovery_report()));
                    }
                    return Ok((engine, disk));
                }
                // What cannot be removed is a waste of space and no more.
                Err(Error::Io { .. } | Error::ReadOnly { .. })
                    if fired.iter().any(|fault| *fault != Fault::RemoveError) =>
                {
                    retries += 1;
                    disk.heal();
                }
                Err(Error::Corrupt(damage)) => {
                    let story =
                        format!("opening refuses a disk on which nothing was damaged: corrupt: {damage}");
                    let violation = Violation::new(Verdict::Lost, "I6", story);
                    return Err(violation.about(Witness::place(&damage)));
                }
                Err(error) => return Err(stuck("open", &error)),
            }
        }
    }

    /// An error for some call to come.
    pub(super) fn draw_error(&mut self) -> Armed {
        let kind = if self.chooser.chance(Concern::Faults, 128) {
            self.chooser.pick(Concern::Faults, &[IoKind::Write, IoKind::Sync])
        } else {
            self.chooser.pick(Concern::Faults, &IoKind::ALL)
        };
        Armed::draw(&mut self.chooser, kind, 6)
    }

    /// An error for a call of an opening, which makes some kinds of call seldom and others nowhere else.
    pub(super) fn draw_error_at_open(&mut self) -> Armed {
        let rare = [IoKind::Remove, IoKind::SetLen, IoKind::Rename, IoKind::List, IoKind::SyncDir];
        if self.chooser.chance(Concern::Faults, 128) {
            let kind = self.chooser.pick(Concern::Faults, &rare);
            return Armed::draw(&mut self.chooser, kind, 1);
        }
        let kind = self.chooser.pick(Concern::Faults, &IoKind::ALL);
        Armed::draw(&mut self.chooser, kind, 6)
    }
}
