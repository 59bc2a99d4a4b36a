//! How what waits in buffers and lanes gets into the log.

use super::Buffers;
use super::lane::Lane;
use super::shard::{Inbound, Shard, Tails};
use super::short::{self, ShortTails};
use super::tag::{AppendBatch, Drained};
use crate::error::Result;
use crate::plant::{self, Bug};
use crate::point::Entry;
use crate::sync::{Guard, Ordering};

/// A part of an append.
enum Pass {
    /// Runs that wait.
    Waiting,
    /// These, and tails.
    Tails(Tails),
    /// What waits in lanes.
    Lanes,
}

impl Buffers {
    /// Appends what this call wants, and seals the buffers that have grown to a block. `make_room` is called, with no lock held,
    /// when the log has none for a frame of this many bytes.
    ///
    /// # Errors
    /// Those of the two functions; what has not been appended then is where it was.
    pub(crate) fn append(
        &self,
        which: Tails,
        append: &mut AppendBatch,
        make_room: impl Fn(u64) -> Result<()>,
    ) -> Result<()> {
        // Whole batches first: a pass over short tails locks several shards at a time, and should have little to do there. A sync
        // goes through the tails before the lanes, so that what waits in these can be logged there.
        let passes = match which {
            Tails::Full => &[Pass::Waiting][..],
            Tails::Due => &[Pass::Waiting, Pass::Lanes, Pass::Tails(Tails::Due)],
            Tails::All => &[Pass::Waiting, Pass::Tails(Tails::All), Pass::Lanes, Pass::Tails(Tails::All)],
        };
        for pass in passes {
            let (mut from, mut stopped_at) = (0, None);
            while let Drained::NeedsRoom { frame_bytes } = match pass {
                Pass::Waiting => self.append_waiting(&mut from, append)?,
                Pass::Tails(which) => self.append_tails(*which, &mut from, append)?,
                Pass::Lanes => self.append_lanes(&mut stopped_at, append)?,
            } {
                make_room(frame_bytes)?;
            }
        }
        Ok(())
    }

    /// Appends the runs that wait in the shards from `from` on. Says in `from` how far it has come.
    fn append_waiting(&self, from: &mut usize, append: &mut AppendBatch) -> Result<Drained> {
        while let Some(index) = self.waiting.next(*from) {
            *from = index;
            let mut shard = self.lock_at(index);
            let drained = shard.append_waiting(&self.limits, append);
            self.count(index, &mut shard);
            let drained = drained?;
            if drained != Drained::All {
                return Ok(drained);
            }
            *from += 1;
        }
        Ok(Drained::All)
    }

    /// Likewise, with the tails.
    fn append_tails(&self, which: Tails, from: &mut usize, append: &mut AppendBatch) -> Result<Drained> {
        let mut short = ShortTails::new(self.limits.mixed_points);
        while self.unlogged.next(*from).is_some() {
            let drained = self.append_some(which, from, append, &mut short)?;
            if drained != Drained::All {
                return Ok(drained);
            }
        }
        Ok(Drained::All)
    }

    /// The next shards, as many as it takes for a frame of short tails.
    fn append_some(
        &self,
        which: Tails,
        from: &mut usize,
        append: &mut AppendBatch,
        short: &mut ShortTails,
    ) -> Result<Drained> {
        let (mut held, mut outcome, mut next) = (Vec::new(), Ok(Drained::All), *from);
        while matches!(outcome, Ok(Drained::All)) && held.len() < short::SHARDS_MAX && !short.is_enough() {
            let Some(index) = self.unlogged.next(next) else { break };
            let mut shard = self.shards[index].0.lock_next(index);
            outcome = shard.append_tails(which, &self.limits, append, short);
            held.push((index, shard));
            next = index + 1;
            if short.is_empty() {
                break;
            }
        }
        if plant::on(Bug::C12) {
            held = self.lock_again(held);
        }
        if matches!(outcome, Ok(Drained::All)) {
            outcome = short.append(append);
        }
        if matches!(outcome, Ok(Drained::All)) {
            *from = if plant::on(Bug::B9) && held.len() == short::SHARDS_MAX { usize::MAX } else { next };
        }
        // Whatever has come of it: what has been appended has its position before anybody else looks.
        let mut appended = short.take_appended();
        for (index, mut shard) in held {
            shard.note_appended(which, &self.limits, &mut appended);
            self.count(index, &mut shard);
        }
        outcome
    }

    /// Locks shards that are locked already: for the planted bug C12.
    fn lock_again<'a>(&'a self, held: Vec<(usize, Guard<'a, Shard>)>) -> Vec<(usize, Guard<'a, Shard>)> {
        let indices: Vec<_> = held.into_iter().map(|(index, _)| index).collect();
        indices.into_iter().map(|index| (index, self.shards[index].0.lock_next(index))).collect()
    }

    /// Appends what waits in the lanes, from there. Where a buffer of a shard has something for the log, which comes first,
    /// what waits for that shard goes to the buffers instead, so that a pass has to follow.
    ///
    /// Goes on where it has `stopped_at`, counting the inboxes lane by lane, and says where it stops. It never stops three times at
    /// one of them, and what writers put into those behind it is not its business: so it ends, however fast they are.
    fn append_lanes(&self, stopped_at: &mut Option<usize>, append: &mut AppendBatch) -> Result<Drained> {
        let shards = self.shards.len();
        let from = stopped_at.unwrap_or(0);
        let lanes = self.lanes.iter().flat_map(|lanes| lanes.used_from(from / shards));
        for lane in lanes.skip(plant::on(Bug::T3).into()) {
            let mut lane = lane.lock();
            let first_of_lane = lane.number() * shards;
            let first = from.saturating_sub(first_of_lane);
            let mut short = lane.take_short();
            let drained = self.append_lane(&mut lane, first, append, &mut short);
            // Whatever has come of it, as in `append_some`.
            let mut points = 0;
            for (share, first_lsn) in short.take_appended() {
                lane.note_logged(self.index(share.tag), share.count as usize, first_lsn);
                points += u64::from(share.count);
            }
            lane.put_back(short);
            self.bytes.fetch_add(points * size_of::<Entry>() as u64, Ordering::Relaxed);
            self.logged_in_lanes.fetch_add(points, Ordering::Relaxed);
            let drained = drained?;
            if drained != Drained::All {
                let left = lane.next_unlogged(first).expect("what had no room still waits");
                let at = first_of_lane + left;
                let again = *stopped_at == Some(at);
                if again {
                    // To the buffers, for the pass that follows: who fills this inbox again must not keep this one here.
                    self.take_in(&mut lane, left, Inbound::All);
                }
                *stopped_at = Some(at + usize::from(again || plant::on(Bug::B13)));
                return Ok(drained);
            }
        }
        Ok(Drained::All)
    }

    /// Appends what waits in a lane for the shards from `next` on.
    fn append_lane(
        &self,
        lane: &mut Lane,
        mut next: usize,
        append: &mut AppendBatch,
        short: &mut ShortTails,
    ) -> Result<Drained> {
        while let Some(shard) = lane.next_unlogged(next) {
            next = shard + 1;
            let (inbox, _) = lane.inbox(shard);
            // While the lane is locked none of its tags' points come to the shard, so this stays true.
            let others_first = self.unlogged.has(shard) && !plant::on(Bug::B12);
            if others_first || inbox.averages(self.limits.batch_points.div_ceil(2)) {
                self.take_in(lane, shard, Inbound::All);
            }
            let (inbox, room) = lane.inbox(shard);
            inbox.group(room);
            for points in inbox.unlogged().chunk_by(|a, b| a.tag == b.tag) {
                for points in points.chunks(short.points_max()) {
                    let drained = short.add(points[0].tag_id(), points, append)?;
                    if drained != Drained::All {
                        return Ok(drained);
                    }
                }
            }
        }
        short.append(append)
    }
}
