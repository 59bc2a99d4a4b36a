//! What happened in a run, line by line, and a hash of it.
//!
//! The hash is always kept: two runs of one tape must have the same, or the run is not a function of its tape. The lines
//! and the [record](crate::record) are kept on request only, for `replay` and `timeline`.

use crate::record::{Call, Entry, Event, Key};
use parking_lot::Mutex;
use std::sync::Arc;

/// A chained hash of everything that a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHash(pub u64);

impl TraceHash {
    /// Chains one word.
    #[inline]
    pub fn mix(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

/// What is kept on request.
#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    /// The hash behind each line: what a line does not say is in it.
    hashes: Vec<TraceHash>,
    entries: Vec<Entry>,
    thread: Option<Arc<str>>,
    calls: u64,
}

#[derive(Debug, Default)]
struct Inner {
    hash: TraceHash,
    kept: Option<Kept>,
}

/// The trace of one run; clones are the same trace.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    is_kept: bool,
    inner: Arc<Mutex<Inner>>,
}

impl Timeline {
    /// A trace that keeps its lines and its record, too.
    pub fn with_lines() -> Timeline {
        let inner = Inner { kept: Some(Kept::default()), ..Inner::default() };
        Timeline { is_kept: true, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Notes an event: words for the hash, a line for a reader.
    pub fn note(&self, words: &[u64], line: impl FnOnce() -> String) {
        let mut inner = self.inner.lock();
        for word in words {
            inner.hash.mix(*word);
        }
        let hash = inner.hash;
        if let Some(kept) = &mut inner.kept {
            kept.lines.push(line());
            kept.hashes.push(hash);
        }
    }

    /// Records an event for the picture. It has no part in the hash, and nothing that decides may hang on it.
    pub fn record(&self, event: impl FnOnce() -> Event) {
        if !self.is_kept {
            return;
        }
        // Made before the lock is taken: what lies on a disk is found out by reading it.
        let event = event();
        if let Some(kept) = &mut self.inner.lock().kept {
            kept.entries.push(Entry { thread: kept.thread.clone(), event });
        }
    }

    /// Records that somebody makes a call, and gives it a number.
    pub fn called(
        &self,
        caller: impl FnOnce() -> String,
        name: &str,
        points: impl IntoIterator<Item = Key>,
    ) -> u64 {
        if !self.is_kept {
            return 0;
        }
        let mut inner = self.inner.lock();
        let Some(kept) = &mut inner.kept else { return 0 };
        kept.calls += 1;
        let points = points.into_iter().collect();
        let call = Call { id: kept.calls, caller: caller(), name: name.into(), points };
        kept.entries.push(Entry { thread: kept.thread.clone(), event: Event::Called(call) });
        kept.calls
    }

    /// Records what a call returned to its caller.
    pub fn returned<T, E: ToString>(&self, call: u64, result: &Result<T, E>) {
        self.record(|| Event::Returned { call, error: result.as_ref().err().map(E::to_string) });
    }

    /// What is recorded from here on happens in this thread.
    pub fn in_thread(&self, name: impl FnOnce() -> String) {
        if !self.is_kept {
            return;
        }
        if let Some(kept) = &mut self.inner.lock().kept {
            let name = name();
            if kept.thread.as_deref() != Some(&name) {
                kept.thread = Some(name.into());
            }
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> TraceHash {
        self.inner.lock().hash
    }

    /// The lines so far, if they are kept.
    pub fn lines(&self) -> Vec<String> {
        self.inner.lock().kept.as_ref().map_or_else(Vec::new, |kept| kept.lines.clone())
    }

    /// The hash behind each of the lines.
    pub fn hashes(&self) -> Vec<TraceHash> {
        self.inner.lock().kept.as_ref().map_or_else(Vec::new, |kept| kept.hashes.clone())
    }

    /// The record, if it is kept; it is taken out.
    pub fn take_record(&self) -> Vec<Entry> {
        self.inner.lock().kept.as_mut().map_or_else(Vec::new, |kept| std::mem::take(&mut kept.entries))
    }
}
