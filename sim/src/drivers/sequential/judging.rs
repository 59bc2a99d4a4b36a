//! What must be true after a recovery, at a snapshot, and after damage at rest.

use super::*;

impl Run<'_> {
    /// What every tag shows after a recovery is what was acked, and a prefix of the maybes; their number by tag.
    pub(super) fn judge(
        &mut self,
        engine: &Engine,
        model: &Model,
        fails: Option<u32>,
    ) -> Result<Vec<usize>, Violation> {
        let mut survived = Vec::new();
        for tag in model.all_tags() {
            match engine.query(tag, ..) {
                Ok(found) if fails == Some(tag) => {
                    let story = format!(
                        "tag {tag} answers with {} points although a block of it is damaged",
                        found.len()
                    );
                    return Err(Violation::new(Verdict::Invented, "I6", story));
                }
                Ok(found) => {
                    self.counts.points_checked += found.len() as u64;
                    self.timeline.record(|| Event::Shown { tag, points: found.len() as u64 });
                    survived.push(model.judge(tag, &found)?);
                }
                Err(Error::Corrupt(_)) if fails == Some(tag) => {}
                Err(error) => return Err(stuck("query after recovery", &error)),
            }
        }
        self.counts.acked_points_checked += model.acked_points();
        Ok(survived)
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
        self.timeline.record(|| Event::Aside { change: snapshot.at });
        let image = self.disk.from_snapshot(snapshot, &mut self.chooser, self.setting.profile);
        self.counts.crashes += 1;
        if self.chooser.chance(Concern::Crash, 64) {
            self.inspect(&image)?;
        }
        if self.exists && self.chooser.chance(Concern::Faults, 72) {
            self.judge_damage(&image)?;
            self.timeline.record(|| Event::Back);
            return Ok(());
        }
        let (engine, disk) = self.open(image)?;
        let model = std::mem::take(&mut self.model);
        let judged = self.judge(&engine, &model, None);
        self.model = model;
        drop(engine);
        self.take_counts(&disk);
        judged?;
        self.timeline.note(&[snapshot.at], || "   back to the run".into());
        self.timeline.record(|| Event::Back);
        Ok(())
    }

    /// Something at rest is damaged on a crashed disk: the store must notice, or not be harmed.
    pub(super) fn judge_damage(&mut self, image: &SimDisk) -> Step {
        let inspection = self.inspect(image)?;
        let Some(strike) = damage::draw(&mut self.chooser, &inspection, &image.files()) else {
            return Ok(());
        };
        let image = image.copy();
        image.damage(strike.fault, &strike.file, strike.change);
        self.disturbed(|| format!("{} of {}: {:?}", strike.fault.name(), strike.file, strike.change));
        let before = image.contents();
        let story = |what: &str| format!("{what} after damage to {}: {:?}", strike.file, strike.change);
        let owed = matches!(strike.expected, Expected::Refusal | Expected::TagFails(_));
        let seen = inspect(&image).map_err(|error| stuck("inspect", &error))?;
        if owed && seen.damage.is_empty() {
            return Err(Violation::new(Verdict::Lost, "I6", story("inspect finds everything sound")));
        }
        findings::record(&self.timeline, &image, self.setting.plant);
        let opened = Engine::open_with(Arc::new(image.clone()), self.config.clone(), Box::new(InOrder));
        self.counts.recoveries += 1;
        let judged = match opened {
            Err(Error::Corrupt(_)) => {
                let mut after = image.contents();
                // The lock file is made by whoever opens first.
                after.retain(|name, _| name != "LOCK" || before.contains_key(name));
                if after == before {
                    Ok(())
                } else {
                    let story = story("opening was refused, but changed files");
                    Err(Violation::new(Verdict::Lost, "I6", story))
                }
            }
            Err(error) => Err(stuck(&story("open"), &error)),
            Ok(_) if strike.expected == Expected::Refusal => {
                Err(Violation::new(Verdict::Lost, "I6", story("the store opened")))
            }
            Ok(_) if strike.expected == Expected::MayLoseTail => Ok(()),
            Ok(engine) => {
                let fails = if let Expected::TagFails(tag) = strike.expected { Some(tag) } else { None };
                let model = std::mem::take(&mut self.model);
                let judged = self.judge(&engine, &model, fails);
                self.model = model;
                judged.map(drop)
            }
        };
        self.take_counts(&image);
        judged
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
