//! What must be true after a recovery, and at a snapshot.

use super::*;
use crate::coverage::StateHash;

/// Of this many answers after recoveries one is forged.
const FORGED_EVERY: u64 = 8;

impl Run<'_> {
    /// What every tag shows after a recovery is what was acked, and a prefix of the maybes; their number by tag.
    pub(super) fn judge(&mut self, engine: &Engine, model: &Model) -> Result<Vec<usize>, Violation> {
        let mut survived = Vec::new();
        let mut state = StateHash::default();
        let mut shown = Vec::new();
        for tag in model.all_tags() {
            match engine.query(tag, ..) {
                Ok(found) => {
                    shown.extend((!found.is_empty()).then_some(tag));
                    self.counts.points_checked += found.len() as u64;
                    found.iter().for_each(|point| state.add(point));
                    self.timeline.record(|| Event::Shown { tag, points: found.len() as u64 });
                    survived.push(model.judge(tag, &found)?);
                    // Now and then, and of another tag each time: forging takes longer than judging.
                    if (self.counts.recoveries + u64::from(tag)).is_multiple_of(FORGED_EVERY) {
                        forged::recoveries(model, tag, &found, &mut self.events)?;
                    }
                }
                Err(error) => return Err(stuck("query after recovery", &error)),
            }
        }
        model::lists(&engine.tags().map_err(|error| stuck("tags", &error))?, &shown)?;
        self.counts.acked_points_checked += model.acked_points();
        self.coverage.states.insert(state.finish());
        Ok(survived)
    }

    /// What an opening says of itself is so, and memory holds what it has replayed.
    pub(super) fn check_opened(&self, engine: &Engine, closed: bool, durable_before: u64) -> Step {
        let (report, stats) = (engine.recovery_report(), engine.stats());
        check_opening(report, self.exists, closed)?;
        if report.points_replayed != stats.buffered_points {
            let story = format!("{report:?}, and {} points are in memory", stats.buffered_points);
            return Err(Violation::new(Verdict::Stuck, "what an opening reports", story));
        }
        check_durable(&stats, durable_before)
    }

    /// Recovers from crashes at the snapshots that were taken, on the side.
    pub(super) fn judge_snapshots(&mut self) -> Step {
        for snapshot in self.disk.take_snapshots() {
            self.judge_snapshot(&snapshot)?;
        }
        Ok(())
    }

    pub(super) fn judge_snapshot(&mut self, snapshot: &Snapshot) -> Step {
        self.timeline
            .note(&[snapshot.at], || format!("   on the side: the power fails at change {}", snapshot.at));
        self.take_counts(&self.disk.clone());
        self.detail(|| Detail::Snapped(snapshot.when));
        self.timeline.record(|| Event::Aside { change: snapshot.at });
        let image = self.disk.from_snapshot(snapshot, &mut self.chooser, self.setting.profile);
        let site = snapshot.site.clone();
        let crash = self.note_crash(&self.disk.clone(), &image, self.during, site);
        self.counts.crashes += 1;
        if self.chooser.chance(Concern::Crash, 64) {
            self.inspect(&image)?;
        }
        if self.exists && self.chooser.chance(Concern::Faults, 72) {
            self.judge_damage(&image, crash)?;
            self.timeline.record(|| Event::Back);
            return Ok(());
        }
        let (engine, disk) = self.open(image, Some(crash))?;
        self.check_opened(&engine, false, self.durable_before)?;
        let model = std::mem::take(&mut self.model);
        let judged = self.judge(&engine, &model);
        self.model = model;
        drop(engine);
        self.take_counts(&disk);
        judged?;
        self.timeline.note(&[snapshot.at], || "   back to the run".into());
        self.timeline.record(|| Event::Back);
        Ok(())
    }

    /// A crash damages nothing: every checksum and every reference of the surviving disk holds.
    pub(super) fn inspect(&mut self, disk: &SimDisk) -> Result<Inspection, Violation> {
        let inspection = inspect(disk).map_err(|error| stuck("inspect", &error))?;
        self.counts.inspections += 1;
        let blocks = inspection.chunks.iter().flat_map(|chunk| &chunk.blocks);
        if blocks.clone().any(|(block, _)| block.count as usize > self.shape.config.block_points) {
            return Err(Violation::new(
                Verdict::Stuck,
                "block_points",
                "a block holds more points than it may",
            ));
        }
        // Before the first open has ended there may be no manifest.
        match inspection.damage.first() {
            Some(damage) if self.exists => {
                findings::record(&self.timeline, disk, self.setting.plant);
                let story = format!("the disk that a crash left is damaged: {damage}");
                Err(Violation::new(Verdict::Lost, "I4", story).about(Witness::place(damage)))
            }
            _ => Ok(inspection),
        }
    }
}
