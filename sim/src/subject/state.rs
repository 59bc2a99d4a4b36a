//! What a store shows, and what of it can be missing or invented.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// What a reader sees of a store; the default is an empty one.
pub trait State: Clone + Default + PartialEq + Debug {
    /// It in pieces that can each be there or not. They say what is missing and what nobody wrote when a state is not one of
    /// those that may be; they do not decide whether it is.
    fn facts(&self) -> Vec<String>;
}

impl<T: Clone + PartialEq + Debug> State for Vec<T> {
    fn facts(&self) -> Vec<String> {
        self.iter().map(|one| format!("{one:?}")).collect()
    }
}

impl<K: Clone + Ord + Debug, V: Clone + PartialEq + Debug> State for BTreeMap<K, V> {
    fn facts(&self) -> Vec<String> {
        self.iter().map(|(key, value)| format!("{key:?}: {value:?}")).collect()
    }
}

impl<T: Clone + Ord + Debug> State for BTreeSet<T> {
    fn facts(&self) -> Vec<String> {
        self.iter().map(|one| format!("{one:?}")).collect()
    }
}

/// The facts of a state, each with how often it was there before: a record that is there twice is two facts.
pub(super) fn numbered(state: &impl State) -> BTreeSet<(String, usize)> {
    let mut times = BTreeMap::new();
    let number = |fact: String| {
        let time = times.entry(fact.clone()).or_insert(0);
        *time += 1;
        (fact, *time)
    };
    state.facts().into_iter().map(number).collect()
}
