//! The oracle: the states that a store may show, now and after a crash.
//!
//! Of each lane it keeps two lists of states. *Live* are those that a reader may see now: one, unless an operation failed and
//! nobody has looked since. *Surviving* are those that may be there after a crash, oldest first: what was durable last, and
//! each state since. An operation that is accepted adds to the second list, one that is durable replaces it by the first.

use super::state::numbered;
use super::{Ack, State, Subject};
use crate::model::{Verdict, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// What has happened since a store was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    Nothing,
    /// A call failed: what was not durable is in doubt until the store is opened again.
    Error,
    /// The process ended, and the page cache did not.
    Restart,
    /// The power failed.
    PowerCut,
}

/// What may be there of one lane.
#[derive(Clone, Debug)]
struct Lane<T> {
    live: Vec<T>,
    surviving: Vec<T>,
}

impl<T: State> Default for Lane<T> {
    fn default() -> Lane<T> {
        Lane { live: vec![T::default()], surviving: vec![T::default()] }
    }
}

/// What a store may show.
pub struct Oracle<S: Subject> {
    now: S::State,
    lanes: BTreeMap<u64, Lane<S::State>>,
    /// Operations since everything was last durable.
    maybe: u64,
    /// Operations that must survive.
    acked: u64,
}

impl<S: Subject> Clone for Oracle<S> {
    fn clone(&self) -> Oracle<S> {
        let Oracle { now, lanes, maybe, acked } = self;
        Oracle { now: now.clone(), lanes: lanes.clone(), maybe: *maybe, acked: *acked }
    }
}

impl<S: Subject> Default for Oracle<S> {
    /// Of an empty store.
    fn default() -> Oracle<S> {
        let now = S::State::default();
        let mut lanes: BTreeMap<_, _> =
            S::split(&now).into_keys().map(|lane| (lane, Lane::default())).collect();
        lanes.entry(0).or_default();
        Oracle { now, lanes, maybe: 0, acked: 0 }
    }
}

impl<S: Subject> Oracle<S> {
    /// What the store shows, as far as that is known.
    pub fn now(&self) -> &S::State {
        &self.now
    }

    /// Operations that must survive a crash.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Whether so many operations are in doubt that somebody should look.
    pub(super) fn is_vague(&self) -> bool {
        self.lanes.values().any(|lane| lane.live.len() > 16)
    }

    fn touched(&mut self, op: &S::Op) -> Vec<&mut Lane<S::State>> {
        match S::lane(op) {
            Some(lane) => vec![self.lanes.entry(lane).or_default()],
            None => self.lanes.values_mut().collect(),
        }
    }

    /// An operation has returned.
    pub fn performed(&mut self, op: &S::Op, ack: Ack) {
        if ack == Ack::Refused {
            return;
        }
        S::expect(&mut self.now, op);
        self.maybe += 1;
        for lane in self.touched(op) {
            lane.live.iter_mut().for_each(|state| S::expect(state, op));
            lane.live = distinct(std::mem::take(&mut lane.live));
            if ack == Ack::Durable {
                lane.surviving.clone_from(&lane.live);
            } else {
                lane.surviving.extend_from_slice(&lane.live);
                lane.surviving.dedup();
            }
        }
        if ack == Ack::Durable {
            self.acked += std::mem::take(&mut self.maybe);
        }
    }

    /// An operation has failed, or was interrupted: it may have happened.
    pub fn in_doubt(&mut self, op: &S::Op) {
        self.maybe += 1;
        for lane in self.touched(op) {
            let mut happened = lane.live.clone();
            happened.iter_mut().for_each(|state| S::expect(state, op));
            lane.surviving.extend_from_slice(&happened);
            lane.surviving.dedup();
            lane.live.extend(happened);
            lane.live = distinct(std::mem::take(&mut lane.live));
        }
    }

    /// The store was closed, and has promised this.
    pub fn closed(&mut self, ack: Ack) {
        if ack == Ack::Durable {
            self.lanes.values_mut().for_each(|lane| lane.surviving.clone_from(&lane.live));
            self.acked += std::mem::take(&mut self.maybe);
        }
    }

    /// The store shows this.
    ///
    /// # Errors
    /// What is missing, or what should not be there.
    pub fn judge(&mut self, shown: &S::State, since: Since) -> Result<(), Violation> {
        let parts = S::split(shown);
        let lanes: BTreeSet<u64> = parts.keys().chain(self.lanes.keys()).copied().collect();
        for number in lanes {
            let part = parts.get(&number).cloned().unwrap_or_default();
            let lane = self.lanes.entry(number).or_default();
            let allowed = if since == Since::Nothing { &lane.live } else { &lane.surviving };
            let Some(place) = allowed.iter().rposition(|state| *state == part) else {
                return Err(blame(&part, allowed, since));
            };
            match since {
                Since::Nothing => lane.live = vec![part],
                Since::Error => {}
                Since::PowerCut if S::OPENED == Ack::Durable => {
                    *lane = Lane { live: vec![part.clone()], surviving: vec![part] };
                }
                Since::PowerCut | Since::Restart => {
                    lane.surviving.truncate(place + 1);
                    lane.live = vec![part];
                }
            }
        }
        if since != Since::Error {
            self.now.clone_from(shown);
        }
        if since == Since::PowerCut {
            self.maybe = 0;
        }
        Ok(())
    }
}

/// Each once, in the order in which they came.
fn distinct<T: PartialEq>(states: Vec<T>) -> Vec<T> {
    let mut distinct = Vec::with_capacity(states.len());
    for state in states {
        if !distinct.contains(&state) {
            distinct.push(state);
        }
    }
    distinct
}

/// How a state that may not be differs from those that may.
fn blame<T: State>(shown: &T, allowed: &[T], since: Since) -> Violation {
    let facts = numbered(shown);
    let allowed: Vec<_> = allowed.iter().map(numbered).collect();
    let in_all = |fact: &&(String, usize)| allowed.iter().all(|state| state.contains(fact));
    let missing: Vec<_> =
        allowed[0].iter().filter(in_all).filter(|fact| !facts.contains(fact)).map(text).collect();
    let strange: Vec<_> =
        facts.iter().filter(|fact| !allowed.iter().any(|state| state.contains(*fact))).map(text).collect();
    let when = match since {
        Since::Nothing => "a reader",
        Since::Error => "a reader, after a call has failed,",
        Since::Restart => "a reader, after a restart of the process,",
        Since::PowerCut => "a reader, after a power cut,",
    };
    let is_less = strange.is_empty() && allowed.iter().all(|state| facts.is_subset(state));
    let verdict = if missing.is_empty() && !is_less { Verdict::Invented } else { Verdict::Lost };
    let story = match (&missing[..], &strange[..]) {
        ([], []) if is_less => format!(
            "{when} sees {} things, and at no time were there fewer than {}",
            facts.len(),
            allowed.iter().map(BTreeSet::len).min().unwrap_or(0)
        ),
        ([], []) => format!(
            "{when} sees what was there, but not at any one time: {} of {} things",
            facts.len(),
            allowed.last().map_or(0, BTreeSet::len)
        ),
        ([], strange) => format!("{when} sees what cannot be there: {}", list(strange)),
        (missing, []) => format!("{when} does not see what must be there: {}", list(missing)),
        (missing, strange) => {
            format!("{when} does not see what must be there: {}; but sees {}", list(missing), list(strange))
        }
    };
    let promise = match (verdict, since) {
        (Verdict::Invented, _) => "nothing is invented",
        (_, Since::Nothing) => "what was accepted is visible",
        _ => "what was acknowledged survives",
    };
    Violation::new(verdict, promise, story)
}

fn text((fact, _): &(String, usize)) -> String {
    short(fact)
}

/// A text that is long in a form that is not.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.into();
    }
    let head: String = text.chars().take(MOST).collect();
    format!("{head}… ({} characters)", text.chars().count())
}

fn list(facts: &[String]) -> String {
    let shown: Vec<_> = facts.iter().take(3).map(String::as_str).collect();
    let more = if facts.len() > 3 { format!(" and {} more", facts.len() - 3) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_called_lost_or_invented_by_what_it_has_less_or_more_of() {
        let states = |allowed: &[&[(u32, u32)]]| -> Vec<BTreeMap<u32, u32>> {
            allowed.iter().map(|state| state.iter().copied().collect()).collect()
        };
        let verdict = |shown: &[(u32, u32)], allowed: &[&[(u32, u32)]]| {
            let violation = blame(&states(&[shown])[0], &states(allowed), Since::PowerCut);
            (violation.verdict, violation.to_string())
        };
        let (one, two, both): (&[_], &[_], &[_]) = (&[(1, 10)], &[(1, 20)], &[(1, 10), (2, 10)]);
        assert_eq!(verdict(one, &[both]).0, Verdict::Lost);
        assert_eq!(verdict(both, &[one]).0, Verdict::Invented);
        assert_eq!(verdict(&[(1, 30)], &[one]).0, Verdict::Lost, "what is there instead does not help");
        // The key has had both values, and was there at all times.
        let (lost, story) = verdict(&[], &[one, two]);
        assert_eq!(lost, Verdict::Lost);
        assert!(story.contains("sees 0 things, and at no time were there fewer than 1"), "{story}");
        // 1 had the value 20 only when 2 was not there yet.
        assert_eq!(verdict(&[(1, 20), (2, 10)], &[two, both]).0, Verdict::Invented);
    }
}
