//! Group commit of manifest edits: flushes of several streams end at the same time, one of them writes for all.
//!
//! The first to find the writer takes it out, and with it everything that is queued: one record, one sync. Those who come
//! meanwhile wait, and one of them leads the next round. The leader publishes what has become durable before it wakes the
//! others, so when a flush is told that its edit is durable, queries see its blocks.

use super::version::{Edit, Version};
use super::{ManifestWriter, Store};
use crate::config::Config;
use crate::error::Result;
use crate::plant::{self, Bug};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering, Rank};

/// The manifest of an open engine.
pub(crate) struct Committer {
    state: Mutex<State>,
    /// A round has ended.
    ended: Condvar,
    edits: AtomicU64,
    records: AtomicU64,
}

struct State {
    /// `None` while a leader has it.
    writer: Option<ManifestWriter>,
    queue: Vec<(Edit, Arc<Slot>)>,
}

/// Where the leader leaves what became of an edit.
struct Slot(Mutex<Option<Result<()>>>);

impl Committer {
    pub(crate) fn new(writer: ManifestWriter) -> Committer {
        Committer {
            state: Mutex::new(Rank::Manifest, State { writer: Some(writer), queue: Vec::new() }),
            ended: Condvar::new(),
            edits: AtomicU64::new(0),
            records: AtomicU64::new(0),
        }
    }

    /// Returns when the edit is durable and published.
    ///
    /// # Errors
    /// `Io` when the record could not be written, `ReadOnly` when its sync failed: nothing is published. `ReadOnly`, too, when a
    /// sync or a rename failed while an overlong manifest was replaced: the edit is durable and published by then. All edits of a
    /// round get the same answer.
    pub(crate) fn commit(&self, edit: Edit, store: &Store, config: &Config) -> Result<()> {
        let slot = Arc::new(Slot(Mutex::new(Rank::Leaf, None)));
        let mut state = self.state.lock();
        state.queue.push((edit, slot.clone()));
        // Counted once it is queued: who sees the count knows that the next round has it.
        self.edits.fetch_add(1, Ordering::Relaxed);
        loop {
            if let Some(outcome) = slot.0.lock().take() {
                return outcome;
            }
            let Some(writer) = state.writer.take() else {
                self.ended.wait(&mut state);
                continue;
            };
            let (edits, slots): (Vec<_>, Vec<_>) = state.queue.drain(..).unzip();
            drop(state);
            let mut lead = Lead { committer: self, writer: Some(writer), slots, outcome: None };
            lead.outcome = Some(lead.round(Edit::merge(edits), store, config));
            drop(lead);
            state = self.state.lock();
        }
    }

    /// Edits committed, and the records that they were written as.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.edits.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed))
    }
}

/// The leader of a round; when it is dropped it tells the others the outcome and gives the writer back.
struct Lead<'a> {
    committer: &'a Committer,
    writer: Option<ManifestWriter>,
    slots: Vec<Arc<Slot>>,
    /// `None` until the round has ended, and for ever when it ends in a panic: then nobody knows what is on the disk.
    outcome: Option<Result<()>>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let writer = self.writer.take().expect("the leader has it until it is dropped");
        let outcome = self.outcome.take().unwrap_or_else(|| writer.give_up());
        for slot in &self.slots {
            slot.0.lock().get_or_insert_with(|| outcome.clone());
        }
        self.committer.state.lock().writer = Some(writer);
        self.committer.ended.notify_all();
    }
}

impl Lead<'_> {
    fn round(&mut self, edit: Edit, store: &Store, config: &Config) -> Result<()> {
        let writer = self.writer.as_mut().expect("the leader has it until it is dropped");
        self.committer.records.fetch_add(1, Ordering::Relaxed);
        writer.append(&edit)?;
        if plant::on(Bug::R2) {
            self.slots.iter().for_each(|slot| *slot.0.lock() = Some(Ok(())));
            self.committer.ended.notify_all();
        }
        writer.sync()?;
        if plant::on(Bug::D1) && writer.is_long() {
            writer.shorten(config, &store.version(Version::clone))?;
        }
        store.publish(&edit);
        if writer.is_long() {
            writer.shorten(config, &store.version(Version::clone))?;
        }
        Ok(())
    }
}
