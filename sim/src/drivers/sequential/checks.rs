//! What must be true at any time, and whether a failed call has an excuse.

use super::*;

/// What memory takes for a point, at most: it may have a run of its own, with a header and a place in the index.
const POINT_BYTES_MAX: u64 = 32 + 17 + 24;

impl Run<'_> {
    /// I7, and that a tag's tail is bounded.
    pub(super) fn check_watermarks(&mut self) -> Step {
        if self.engine.is_none() || self.disk.is_dead() {
            return Ok(());
        }
        let stats = self.engine().stats();
        self.progress = (stats.rotations, stats.blocks_written);
        let marks = [stats.checkpoint_lsn.0, stats.durable_lsn.0, stats.appended_lsn.0];
        self.timeline.record(|| Event::Watermarks(marks));
        let ordered = marks[0] <= marks[1] && marks[1] <= marks[2];
        let rising = marks.iter().zip(&self.marks).all(|(now, before)| now >= before);
        if !ordered || !rising {
            let story = format!("checkpoint, durable, appended were {:?} and are {marks:?}", self.marks);
            return Err(Violation::new(Verdict::Lost, "I7", story));
        }
        self.marks = marks;
        if stats.cached_bytes > self.config.cache_bytes {
            let story = format!(
                "{} bytes of blocks are kept, {} may be",
                stats.cached_bytes, self.config.cache_bytes
            );
            return Err(Violation::new(Verdict::Stuck, "cache_bytes", story));
        }
        // Recovery may take one more than appends may.
        let (config, streams) = (&self.shape.config, self.shape.config.wal_streams as u64);
        let segments_max = streams * (config.segments_max as u64 + 1);
        if stats.segments > segments_max {
            let story = format!("{} segments, {segments_max} may be", stats.segments);
            return Err(Violation::new(Verdict::Stuck, "segments_max", story));
        }
        let waiting = (self.base_lsn + self.accepted).saturating_sub(marks[2]);
        let tails = u64::from(self.shape.tags) * (config.batch_points as u64 - 1);
        let shards = streams * (config.stream_shards() as u64).min(u64::from(self.shape.tags));
        // Where there are more tags than that, two points of each.
        let of_tags = if config.inbox_points == 0 { 0 } else { 2 * u64::from(self.shape.tags) };
        let inboxes = shards * config.inbox_points as u64 + of_tags;
        // Before each call the backlogs of the streams that it writes to are below their limit.
        let most = tails + inboxes + streams * (config.backlog_points as u64 - 1 + self.longest_write);
        if waiting > most {
            let story = format!("{waiting} accepted points are in no frame, {most} may be");
            return Err(Violation::new(Verdict::Stuck, "batching", story));
        }
        // What waits may be appended in one pass, before the next call looks at the limit.
        let buffer_bytes = config.buffer_bytes + streams + most * POINT_BYTES_MAX;
        if stats.buffered_bytes > buffer_bytes && !self.troubled {
            let story = format!("{} bytes are in memory, {buffer_bytes} may be", stats.buffered_bytes);
            return Err(Violation::new(Verdict::Stuck, "buffer_bytes", story));
        }
        Ok(())
    }

    pub(super) fn check_flushed(&mut self) -> Step {
        let stats = self.engine().stats();
        let all = if self.count_is_exact { self.base_lsn + self.accepted } else { stats.appended_lsn.0 };
        let state = (stats.appended_lsn.0, stats.durable_lsn.0, stats.checkpoint_lsn.0);
        if state != (all, all, all)
            || (stats.buffered_points, stats.sealed_buffers, stats.busy_segments) != (0, 0, 0)
            || (stats.buffered_bytes, stats.backlog_points) != (0, 0)
        {
            let story = format!("{all} points accepted, but after a flush {stats:?}");
            return Err(Violation::new(Verdict::Stuck, "flush", story));
        }
        Ok(())
    }

    /// A manifest that has grown long is replaced, unless that failed for want of space, say.
    pub(super) fn check_manifest(&self, inspection: &Inspection) -> Step {
        let [first, .., last] = &inspection.manifest_records[..] else { return Ok(()) };
        let shortest = first.end.next_multiple_of(self.config.sector_bytes);
        let most = self.config.manifest_bytes.max(2 * shortest);
        if last.start < most || self.troubled {
            return Ok(());
        }
        let story =
            format!("the manifest's last record begins at {}, {most} bytes may be before it", last.start);
        Err(Violation::new(Verdict::Stuck, "manifest_bytes", story))
    }

    /// A call failed: there must be a reason.
    pub(super) fn excuse(&mut self, call: &'static str, error: &Error) -> Step {
        let fired = self.disk.take_fired();
        self.excuse_fired(call, error, &fired)
    }

    pub(super) fn excuse_fired(&mut self, call: &'static str, error: &Error, fired: &[Fault]) -> Step {
        self.timeline.note(&[fired.len() as u64], || format!("         {call}: {error}"));
        self.troubled = true;
        let expected = match error {
            Error::ReadOnly { .. } => self.read_only || fired.iter().any(|fault| fault.is_final()),
            Error::Io { .. } => !fired.is_empty(),
            _ => false,
        };
        self.read_only |= fired.iter().any(|fault| fault.is_final());
        if expected || self.disk.is_dead() { Ok(()) } else { Err(stuck(call, error)) }
    }

    /// A question failed: only a look at the disk that failed in it is a reason (I9).
    pub(super) fn excuse_look(&mut self, call: &'static str, error: &Error) -> Step {
        let fired = self.disk.take_fired();
        self.timeline.note(&[fired.len() as u64], || format!("         {call}: {error}"));
        let is_look = |fault: &Fault| matches!(fault, Fault::ReadError | Fault::OpenError);
        let expected = matches!(error, Error::Io { .. }) && fired.iter().any(is_look);
        if expected || self.disk.is_dead() { Ok(()) } else { Err(stuck(call, error)) }
    }

    /// A read-only engine leaves the disk alone (I8): no change of it since this many.
    pub(super) fn check_untouched(&self, changes: u64) -> Step {
        let now = self.disk.changes();
        if now == changes {
            return Ok(());
        }
        let story = format!("after a failed sync the engine changed the disk {} times", now - changes);
        Err(Violation::new(Verdict::Lost, "I8", story))
    }

    /// The faults that have struck since somebody asked.
    pub(super) fn take_trouble(&mut self) -> Vec<Fault> {
        let fired = self.disk.take_fired();
        self.troubled |= !fired.is_empty();
        fired
    }

    /// Faults may strike in a call that returns `Ok`, when what failed is a later call's to report.
    pub(super) fn note_trouble(&mut self) {
        let fired = self.take_trouble();
        self.read_only |= fired.iter().any(|fault| fault.is_final());
    }
}
