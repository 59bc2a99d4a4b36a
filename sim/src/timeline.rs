//! What happened in a run, line by line, and a hash of it.
//!
//! The hash is always kept: two runs of one tape must have the same, or the run is not a function of its tape. The lines
//! are kept on request only, for `replay`.

use std::sync::Arc;

use parking_lot::Mutex;

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

#[derive(Debug, Default)]
struct Inner {
    hash: TraceHash,
    lines: Option<Vec<String>>,
}

/// The trace of one run; clones are the same trace.
#[derive(Clone, Debug, Default)]
pub struct Timeline(Arc<Mutex<Inner>>);

impl Timeline {
    /// A trace that keeps its lines, too.
    pub fn with_lines() -> Timeline {
        Timeline(Arc::new(Mutex::new(Inner { lines: Some(Vec::new()), ..Inner::default() })))
    }

    /// Notes an event: words for the hash, a line for a reader.
    pub fn note(&self, words: &[u64], line: impl FnOnce() -> String) {
        let mut inner = self.0.lock();
        for word in words {
            inner.hash.mix(*word);
        }
        if let Some(lines) = &mut inner.lines {
            lines.push(line());
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> TraceHash {
        self.0.lock().hash
    }

    /// The lines so far, if they are kept.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().lines.clone().unwrap_or_default()
    }
}
