//! What each operation of a run does and checks.

use super::*;

impl Run<'_> {
    pub(super) fn write(&mut self, count: u32) -> Step {
        let points = self.source.points(&self.shape, count, &mut self.chooser);
        let io_ops = self.may_not_wait().then(|| self.disk.io_ops());
        let (called, result) = self.call("write", &points, |engine| match &points[..] {
            [one] => engine.write(*one),
            many => engine.write_batch(many),
        });
        if io_ops.is_some_and(|before| self.disk.io_ops() != before) {
            let story = "the backlog was short, memory was not full, and a write used the disk";
            return Err(Violation::new(Verdict::Stuck, "write does not wait for the disk", story));
        }
        let accepted = match &result {
            Ok(()) if self.read_only => {
                return Err(Violation::new(Verdict::Lost, "I8", "write returned Ok after a failed sync"));
            }
            Ok(()) => true,
            Err(error) => {
                self.excuse("write", error)?;
                self.shape.config.durability == Durability::Immediate && self.was_accepted(&points)
            }
        };
        if accepted {
            self.longest_write = self.longest_write.max(points.len() as u64);
            self.handed = false;
            points.iter().for_each(|point| self.model.accept(point));
            self.counts.points_written += points.len() as u64;
            self.accepted += points.len() as u64;
        }
        if self.shape.config.durability == Durability::Immediate && result.is_ok() {
            // Only what it wrote, and what came before of the same tags (I2).
            let is_in = |tag| points.iter().any(|point| point.tag == tag);
            self.acknowledge_where("write", (called, result), is_in)?;
        }
        self.note_trouble();
        // Now and then: reading the counters takes longer than a write.
        if self.counts.operations.is_multiple_of(4) { self.check_watermarks() } else { Ok(()) }
    }

    /// Whether the next write has no reason to use the disk. Looked at now and then, as the watermarks are.
    fn may_not_wait(&self) -> bool {
        if self.config.durability == Durability::Immediate || !self.counts.operations.is_multiple_of(4) {
            return false;
        }
        let stats = self.engine().stats();
        stats.backlog_points < self.config.backlog_points as u64
            && stats.buffered_bytes < self.config.stream_buffer_bytes()
    }

    /// Whether a write that could not be made durable was accepted: the contract allows both.
    pub(super) fn was_accepted(&mut self, points: &[Point]) -> bool {
        if self.disk.is_dead() {
            // In doubt until recovery; a prefix that includes it, or one that does not.
            return true;
        }
        let last: BTreeMap<(u32, i64), &Point> =
            points.iter().map(|point| ((point.tag, point.ts_us), point)).collect();
        let differs =
            |point: &&Point| self.model.range(point.tag, point.ts_us, point.ts_us).next() != Some(**point);
        let Some(point) = last.into_values().find(differs) else {
            // The same bits are there already: accepted or not, nothing shows it but the length of the log.
            self.count_is_exact = false;
            return false;
        };
        self.disk.heal_reads();
        let seen = self.engine().query(point.tag, point.ts_us..=point.ts_us);
        // One that fails where nothing is wrong with reads any more is judged when all tags are looked at.
        matches!(seen.as_deref(), Ok([seen]) if seen == point)
    }

    /// A call that makes everything durable has returned.
    pub(super) fn acknowledge(
        &mut self,
        call: &'static str,
        called: (u64, tidewall::Result<()>),
    ) -> Result<bool, Violation> {
        self.acknowledge_where(call, called, |_| true)
    }

    /// A call that makes the points of some tags durable has returned.
    fn acknowledge_where(
        &mut self,
        call: &'static str,
        (number, result): (u64, tidewall::Result<()>),
        acked: impl Fn(u32) -> bool,
    ) -> Result<bool, Violation> {
        if result.is_ok() {
            self.timeline.record(|| Event::Promised { call: number, tags: self.model.acks(&acked) });
        }
        let fired = self.take_trouble();
        let final_fault = fired.iter().copied().find(|fault| fault.is_final());
        match result {
            Ok(()) if final_fault.is_some() => {
                let story = format!(
                    "{call} returned Ok although a {} struck during it",
                    final_fault.expect("checked").name()
                );
                Err(Violation::new(Verdict::Lost, "I8", story))
            }
            Ok(()) => {
                if self.read_only {
                    let story = format!("{call} returned Ok after a failed sync");
                    return Err(Violation::new(Verdict::Lost, "I8", story));
                }
                // What was snapped during the call is judged by what was promised before it returned.
                self.judge_snapshots()?;
                self.model.ack_where(acked);
                Ok(true)
            }
            Err(error) => {
                self.read_only |= final_fault.is_some();
                self.excuse_fired(call, &error, &fired)?;
                Ok(false)
            }
        }
    }

    pub(super) fn step(&mut self) -> Step {
        // Twice: what the first one finds too young and too small, the second one finds old.
        for _ in 0..2 {
            if let (_, Err(error)) = self.call("step", &[], Engine::step) {
                return self.excuse("step", &error);
            }
        }
        if self.take_trouble().into_iter().any(Fault::is_final) {
            return Err(Violation::new(
                Verdict::Lost,
                "I8",
                "a step returned Ok although a sync failed in it",
            ));
        }
        let expected = self.base_lsn + self.accepted;
        let appended = self.engine().stats().appended_lsn.0;
        if appended != expected && self.count_is_exact && !self.disk.is_dead() {
            let story = format!("after two steps {appended} points are in the log, of {expected} accepted");
            return Err(Violation::new(Verdict::Stuck, "step", story));
        }
        let (bytes, streams) = (self.engine().stats().buffered_bytes, self.config.wal_streams as u64);
        if bytes >= self.config.buffer_bytes.div_ceil(2).max(1) + streams && !self.disk.is_dead() {
            let story = format!("{bytes} bytes are left in memory after a step");
            return Err(Violation::new(Verdict::Stuck, "step", story));
        }
        self.handed = !self.disk.is_dead();
        self.check_watermarks()
    }

    pub(super) fn query(&mut self) -> Step {
        let tag = self.chooser.between(Concern::Data, 1, self.shape.tags);
        let mut bound = |_| {
            let at = i64::from(tag) * 1000 + i64::from(self.chooser.below(Concern::Data, 4000)) - 500;
            // What goes wrong at the edge of a range goes wrong where a point is. From the last time there is no way on.
            let next = self.model.range(tag, at, i64::MAX - 1).next().map_or(at, |point| point.ts_us);
            match self.chooser.below(Concern::Data, 4) {
                0 => Bound::Unbounded,
                1 => Bound::Excluded(next),
                2 => Bound::Included(next),
                _ => Bound::Included(at),
            }
        };
        let (start, end) = (bound(0), bound(1));
        let low = match start {
            Bound::Included(at) => at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => i64::MIN,
        };
        let high = match end {
            Bound::Included(at) => at,
            Bound::Excluded(at) => at - 1,
            Bound::Unbounded => i64::MAX,
        };
        let io_ops = self.disk.io_ops();
        // Either way, it is the same answer.
        let as_scan = self.counts.operations % 4 == 1;
        let ask = |engine: &Engine| match as_scan {
            true => engine.scan(tag, (start, end))?.collect(),
            false => engine.query(tag, (start, end)),
        };
        match self.call("query", &[], ask).1 {
            Ok(found) => {
                self.counts.points_checked += found.len() as u64;
                self.model.shows(tag, (low, high), &found)?;
                if self.counts.operations.is_multiple_of(4) {
                    forged::query(&self.model, tag, (low, high), &found, &mut self.events)?;
                }
            }
            Err(error) => self.excuse_look("query", &error)?,
        }
        let outside = self.model.times(tag).is_none_or(|(first, last)| high < first || last < low);
        if outside && self.disk.io_ops() != io_ops {
            let story =
                format!("tag {tag} has nothing in {low}..={high}, nor around it, and blocks were read");
            return Err(Violation::new(Verdict::Stuck, "blocks are left out by their times", story));
        }
        self.latest(tag)
    }

    /// The latest point, which no query of a range asks for in that way.
    fn latest(&mut self, tag: u32) -> Step {
        match self.engine().latest(tag) {
            Ok(found) => {
                let wanted =
                    self.model.times(tag).and_then(|(_, last)| self.model.range(tag, last, last).next());
                if found == wanted {
                    return Ok(());
                }
                let story = format!("tag {tag}: the latest point is {found:?}, accepted was {wanted:?}");
                Err(Violation::new(Verdict::Lost, "accepted points are visible", story))
            }
            Err(error) => self.excuse_look("latest", &error),
        }
    }

    /// Every tag shows exactly what was accepted.
    pub(super) fn check_all(&mut self) -> Step {
        for tag in self.model.all_tags() {
            // Either way, it is the same answer.
            let ask = |engine: &Engine| match tag % 2 {
                0 => engine.scan(tag, ..)?.collect(),
                _ => engine.query(tag, ..),
            };
            match self.call("query", &[], ask).1 {
                Ok(found) => {
                    self.counts.points_checked += found.len() as u64;
                    self.model.shows(tag, (i64::MIN, i64::MAX), &found)?;
                }
                Err(error) => self.excuse_look("query", &error)?,
            }
        }
        let tags = self.engine().tags().map_err(|error| stuck("tags", &error))?;
        if tags != self.model.tags() {
            let story = format!("tags() is {tags:?}, written were {:?}", self.model.tags());
            return Err(Violation::new(Verdict::Lost, "accepted points are visible", story));
        }
        Ok(())
    }

    /// Space runs out, now or in the middle of some call; or it comes back, and writes go on without a reopening (I9).
    pub(super) fn space(&mut self) -> Step {
        if !self.disk.has_no_space() {
            let after = self.chooser.below(Concern::Faults, 4);
            self.disk.arm_no_space(after);
            self.disturbed(|| format!("the disk will be full after {after} more calls that need space"));
            return Ok(());
        }
        self.disk.make_space();
        self.disturbed(|| "the disk has space again".into());
        self.during = During::Sync;
        let synced = self.call("sync", &[], Engine::sync);
        self.acknowledge("sync", synced).map(drop)
    }

    pub(super) fn reopen(&mut self) -> Step {
        let called = self.call("close", &[], Engine::close);
        if self.acknowledge("close", called)? {
            self.closed = true;
            let engine = self.engine();
            let answers = [
                engine.query(1, ..).err(),
                engine.write(Point::new(1, 0, 0.0)).err(),
                engine.sync().err(),
                engine.flush().err(),
                engine.step().err(),
                engine.tags().err(),
                engine.close().err(),
            ];
            if answers.iter().any(|answer| !matches!(answer, Some(Error::Closed))) {
                return Err(Violation::new(Verdict::Stuck, "close", "a closed engine answers"));
            }
            if self.chooser.chance(Concern::Ops, 64) {
                let mut other = self.config.clone();
                match self.chooser.below(Concern::Ops, 4) {
                    0 => other.chunk_bytes *= 2,
                    1 => other.segment_bytes *= 2,
                    2 => other.sector_bytes *= 2,
                    _ => other.wal_streams += 1,
                }
                if other.check().is_err() {
                    other = Config { chunk_bytes: self.config.chunk_bytes * 2, ..self.config.clone() };
                }
                match Engine::open_with(Arc::new(self.disk.clone()), other, Box::new(InOrder)) {
                    Err(Error::Geometry { .. }) => {}
                    Err(_) if !self.disk.take_fired().is_empty() || self.disk.is_dead() => {}
                    other => {
                        let story = format!("opened with another geometry: {:?}", other.err());
                        return Err(Violation::new(Verdict::Stuck, "geometry is compared", story));
                    }
                }
            }
            self.retire_engine();
            if self.disk.is_dead() { self.crash() } else { self.recover() }
        } else {
            Ok(())
        }
    }

    pub(super) fn refused(&mut self) -> Step {
        let mut points = self.source.points(&self.shape, 2, &mut self.chooser);
        points[1].tag = 0;
        let wrong = |call: &str, got: String| {
            Err(Violation::new(
                Verdict::Stuck,
                "refusals",
                format!("{call} was not refused as it must be: {got}"),
            ))
        };
        match self.engine().write_batch(&points) {
            Err(Error::InvalidTag { index: 1 }) => {}
            other => return wrong("tag 0", format!("{other:?}")),
        }
        match self.engine().query(0, ..) {
            Err(Error::InvalidTag { .. }) => {}
            other => return wrong("a query of tag 0", format!("{other:?}")),
        }
        let again = Engine::open_with(Arc::new(self.disk.clone()), self.config.clone(), Box::new(InOrder));
        match again {
            Err(Error::Locked) => Ok(()),
            Err(error) => self.excuse("a second open", &error),
            Ok(_) => wrong("a second open", "it succeeded".into()),
        }
    }
}
