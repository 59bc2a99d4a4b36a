//! The reducer: from a tape with some property to a smaller one that has it, too.
//!
//! It knows nothing of engines and disks. Who asks gives a function that runs a candidate and returns the tape *as the run
//! made it*, with its marks, if the property holds: then numbers that nobody asked for are gone and numbers that were
//! missing are there, and each accepted candidate is in normal form.
//!
//! | pass | takes away |
//! |---|---|
//! | parts | operations: what they drew in every stream, from long stretches to single ones (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", TSE 2002) |
//! | others | operations that come before the failure, when a limit of the run is another one and it fails sooner |
//! | large | several operations at once, with one large one in their place |
//! | chances | a detour: under limits that are small by now, another run may fail sooner |
//! | zeros | survivors, faults, crashes and switches of threads: 0 is "nothing", "none" and "go on" |
//! | gaps | stretches of one stream |
//! | detours | what was drawn only because of the number before it, which becomes 0: a fault that was armed and never struck |
//! | numbers | the size of single numbers: 0 first, then the least that will do |
//!
//! They are repeated until none of them finds anything, or until the budget of runs is used up. Each accepted candidate
//! is smaller than the one before in [`Rank`], which has no infinite descent, so there is an end without a budget, too.

use crate::choice::{Chooser, Concern, Mark, Tape};

/// A tape as its own run made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Every decision.
    pub tape: Tape,
    /// Where the parts of the run began.
    pub marks: Vec<Mark>,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The decisions.
    pub tape: Tape,
    /// Draw these concerns anew, from this seed.
    pub redraw: Option<(&'static [Concern], u64)>,
}

impl Candidate {
    /// What makes its decisions.
    pub fn chooser(self) -> Chooser {
        let chooser = Chooser::from_tape(self.tape);
        match self.redraw {
            None => chooser,
            Some((concerns, seed)) => chooser.redraw(concerns, seed),
        }
    }
}

/// Who runs next. Without an operation the old order of things leads elsewhere.
const SCHEDULE: &[Concern] = &[Concern::Schedule, Concern::Order];

/// Everything that happens under the limits of a run.
const HAPPENINGS: &[Concern] = &[
    Concern::Ops,
    Concern::Data,
    Concern::Faults,
    Concern::Crash,
    Concern::Survival,
    Concern::Order,
    Concern::Schedule,
];

/// A run with this many parts may be worse than what chance finds under the same limits, in this many runs.
const MANY_PARTS: usize = 10;
const CHANCES: u64 = 400;

/// How large a tape is, the first difference decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Parts of the run.
    pub parts: usize,
    /// Decisions that are not the plainest.
    pub nonzero: usize,
    /// All numbers together.
    pub sum: u64,
    /// How many there are.
    pub len: usize,
}

impl Rank {
    fn of(made: &Made) -> Rank {
        let numbers = || Concern::ALL.into_iter().flat_map(|concern| made.tape.of(concern));
        Rank {
            parts: made.marks.len(),
            nonzero: numbers().filter(|number| **number > 0).count(),
            sum: numbers().map(|number| u64::from(*number)).sum(),
            len: numbers().count(),
        }
    }
}

/// Streams in the order in which they are worth making plain.
const PLAIN: [Concern; 7] = [
    Concern::Faults,
    Concern::Crash,
    Concern::Survival,
    Concern::Order,
    Concern::Schedule,
    Concern::Data,
    Concern::Shape,
];

/// Streams from which stretches are taken. The shape has no stretches: each number has its own meaning.
const GAPS: [Concern; 6] =
    [Concern::Faults, Concern::Crash, Concern::Survival, Concern::Order, Concern::Data, Concern::Schedule];

/// Streams in which one number says whether others follow, and how many may.
const DETOURS: [Concern; 2] = [Concern::Faults, Concern::Crash];
const DETOUR: usize = 8;

/// Of a stream longer than this no shorter stretch than one such part is taken: single switches of a long schedule are
/// too many to try, and zeros do the same.
const FINEST: usize = 128;

/// Values of a number of the shape that are worth a try: most of them choose from a short list.
const OTHERS: u32 = 12;

/// Numbers that a large operation may draw.
const LARGE: usize = 256;

/// This many parts are worth the search for the limit on what one operation does, and it is raised to this.
const LARGE_PARTS: usize = 3;
const LARGE_LIMIT: u32 = 3;

/// Reduces one tape.
pub struct Reducer<F> {
    check: F,
    best: Made,
    rank: Rank,
    runs: u64,
    budget: u64,
    redraws: u64,
}

impl<F: FnMut(Candidate) -> Option<Made>> Reducer<F> {
    /// Starts from a tape that has the property. `check` runs a candidate; at most `budget` times. A candidate that lost
    /// an operation and the property is tried with `redraws` other schedules.
    pub fn new(start: Made, budget: u64, redraws: u64, check: F) -> Reducer<F> {
        Reducer { check, rank: Rank::of(&start), best: start, runs: 0, budget, redraws }
    }

    /// Reduces until nothing can be taken away; returns what is left and the number of runs.
    pub fn reduce(mut self) -> (Made, u64) {
        loop {
            let before = self.rank;
            self.parts();
            self.others();
            self.large();
            self.chances();
            PLAIN.into_iter().for_each(|concern| self.zeros(concern));
            GAPS.into_iter().for_each(|concern| self.gaps(concern));
            DETOURS.into_iter().for_each(|concern| self.detours(concern));
            Concern::ALL.into_iter().for_each(|concern| self.numbers(concern));
            if self.rank == before || self.is_spent() {
                return (self.best, self.runs);
            }
        }
    }

    fn is_spent(&self) -> bool {
        self.runs >= self.budget
    }

    /// Runs a candidate, and keeps what the run made of it if that is smaller.
    fn attempt(&mut self, tape: Tape, redraw: Option<(&'static [Concern], u64)>) -> bool {
        if self.is_spent() || (redraw.is_none() && tape == self.best.tape) {
            return false;
        }
        self.runs += 1;
        let Some(made) = (self.check)(Candidate { tape, redraw }) else { return false };
        let rank = Rank::of(&made);
        let smaller = rank < self.rank;
        if smaller {
            (self.best, self.rank) = (made, rank);
        }
        smaller
    }

    /// The best tape with one stream changed.
    fn changed(&self, concern: Concern, change: impl FnOnce(&mut Vec<u32>)) -> Tape {
        let mut tape = self.best.tape.clone();
        change(tape.of_mut(concern));
        tape
    }

    fn parts(&mut self) {
        let mut size = self.best.marks.len();
        while size > 0 && !self.is_spent() {
            let mut end = self.best.marks.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let _ = self.attempt(self.without_parts(start, end, &[]), None)
                    // In a script of fixed length, an operation that does nothing keeps the place of one that did.
                    || self.attempt(self.without_parts(start, end, &vec![0; end - start]), None)
                    || self.attempt_redrawn(start, end);
                end = start.min(self.best.marks.len());
            }
            size /= 2;
        }
    }

    fn attempt_redrawn(&mut self, start: usize, end: usize) -> bool {
        (0..self.redraws).any(|seed| {
            self.attempt(self.without_parts(start, end, &vec![0; end - start]), Some((SCHEDULE, seed)))
                || self.attempt(self.without_parts(start, end, &[]), Some((SCHEDULE, seed)))
        })
    }

    /// The best tape without what these parts drew, with other operations in their place.
    fn without_parts(&self, start: usize, end: usize, instead: &[u32]) -> Tape {
        let mut tape = self.best.tape.clone();
        for concern in Concern::ALL {
            let stream = tape.of_mut(concern);
            let place = |part: usize| self.best.marks.get(part).map_or(stream.len(), |mark| mark.of(concern));
            let range = place(start)..place(end);
            stream.splice(range, instead.iter().copied().filter(|_| concern == Concern::Ops));
        }
        tape
    }

    /// With a smaller segment, or a larger batch, a run may fail sooner: then what came later is gone.
    fn others(&mut self) {
        for at in 0..self.best.tape.of(Concern::Shape).len() {
            for other in 0..OTHERS {
                if self.best.tape.of(Concern::Shape).get(at).is_some_and(|now| *now != other) {
                    self.attempt(self.changed(Concern::Shape, |stream| stream[at] = other), None);
                }
            }
        }
    }

    /// Where many operations are needed to fill something, a few large ones may do: a copy of the one with the most data,
    /// and the same with its first number, a count, as large as it can be and all others 0.
    fn large(&mut self) {
        let mut size = self.best.marks.len() / 2;
        while size > 1 && !self.is_spent() {
            let mut end = self.best.marks.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let (ops, data) = self.largest_part();
                let most: Vec<u32> = std::iter::once(u32::MAX).chain([0; LARGE]).collect();
                let instead = |reducer: &Self, data: &[u32]| {
                    let mut tape = reducer.without_parts(start, end, &ops);
                    let place = reducer.best.marks[start].of(Concern::Data);
                    tape.of_mut(Concern::Data).splice(place..place, data.iter().copied());
                    tape
                };
                let mut replaced =
                    self.attempt(instead(self, &data), None) || self.attempt(instead(self, &most), None);
                // The limit on what one operation does may be one of the numbers of the shape.
                if size >= (self.best.marks.len() / 4).max(LARGE_PARTS) {
                    replaced = replaced
                        || (0..self.best.tape.of(Concern::Shape).len()).any(|limit| {
                            let mut tape = instead(self, &most);
                            let limit = tape.of_mut(Concern::Shape).get_mut(limit);
                            limit.map(|limit| *limit = LARGE_LIMIT).is_some() && self.attempt(tape, None)
                        });
                }
                end = if replaced { end.min(self.best.marks.len()) } else { start };
            }
            size /= 2;
        }
    }

    /// A local minimum is left by chance: a short campaign under the same limits.
    fn chances(&mut self) {
        for seed in 0..CHANCES {
            if self.best.marks.len() > MANY_PARTS {
                self.attempt(self.best.tape.clone(), Some((HAPPENINGS, seed)));
            }
        }
    }

    /// What the part with the most data drew for operations and for data.
    fn largest_part(&self) -> (Vec<u32>, Vec<u32>) {
        let Made { tape, marks } = &self.best;
        let drawn = |part: usize, concern: Concern| {
            let end = marks.get(part + 1).map_or(tape.of(concern).len(), |mark| mark.of(concern));
            &tape.of(concern)[marks[part].of(concern)..end]
        };
        let largest = (0..marks.len()).max_by_key(|part| drawn(*part, Concern::Data).len());
        let drawn = |concern| largest.map_or(Vec::new(), |part| drawn(part, concern).to_vec());
        (drawn(Concern::Ops), drawn(Concern::Data))
    }

    fn zeros(&mut self, concern: Concern) {
        self.stretches(concern, 1, |stream, start, end| {
            let plain = stream[start..end].iter().all(|number| *number == 0);
            stream[start..end].fill(0);
            !plain
        });
    }

    fn gaps(&mut self, concern: Concern) {
        let finest = self.best.tape.of(concern).len() / FINEST;
        self.stretches(concern, finest.max(1), |stream, start, end| {
            stream.drain(start..end);
            true
        });
    }

    fn detours(&mut self, concern: Concern) {
        for at in (0..self.best.tape.of(concern).len()).rev() {
            for more in 1..=DETOUR {
                // As the attempts before have left it.
                let stream = self.best.tape.of(concern);
                if stream.get(at).is_some_and(|number| *number > 0) && at + more < stream.len() {
                    self.attempt(
                        self.changed(concern, |stream| drop(stream.splice(at..=at + more, [0]))),
                        None,
                    );
                }
            }
        }
    }

    /// Tries a change on stretches of one stream, long ones first, from its end to its start.
    fn stretches(
        &mut self,
        concern: Concern,
        finest: usize,
        change: impl Fn(&mut Vec<u32>, usize, usize) -> bool,
    ) {
        let mut size = self.best.tape.of(concern).len();
        while size >= finest && !self.is_spent() {
            let mut end = self.best.tape.of(concern).len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut worth = false;
                let tape = self.changed(concern, |stream| worth = change(stream, start, end));
                if worth {
                    self.attempt(tape, None);
                }
                end = start.min(self.best.tape.of(concern).len());
            }
            size /= 2;
        }
    }

    fn numbers(&mut self, concern: Concern) {
        let mut at = 0;
        while at < self.best.tape.of(concern).len() && !self.is_spent() {
            let mut low = 0;
            // The best tape's number always will do; below `low` none does, as far as was tried.
            while let Some(number) = self.best.tape.of(concern).get(at).copied().filter(|now| *now > low) {
                let try_now = if low == 0 { 0 } else { low + (number - low) / 2 };
                let lowered = self.attempt(self.changed(concern, |stream| stream[at] = try_now), None);
                // What the run made of it may be another number, and not a smaller one.
                if !lowered || self.best.tape.of(concern).get(at).is_none_or(|now| *now > try_now) {
                    low = try_now + 1;
                }
                if self.is_spent() {
                    return;
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver in small: operations add or drop, and a schedule says when to look.
    fn toy(candidate: Candidate, wanted: impl Fn(&[(u32, u32)], u32) -> bool) -> Option<Made> {
        let mut chooser = candidate.chooser();
        let limit = chooser.below(Concern::Shape, 100);
        let mut done = Vec::new();
        let mut seen = 0;
        while done.len() < 200 && chooser.begin_operation() {
            done.push((chooser.below(Concern::Ops, 8), chooser.below(Concern::Data, 1000)));
            seen += chooser.below(Concern::Schedule, 4);
            if wanted(&done, seen.min(limit)) {
                let made = chooser.made().clone();
                return Some(Made { tape: made, marks: chooser.marks().to_vec() });
            }
        }
        None
    }

    fn reduced(wanted: impl Fn(&[(u32, u32)], u32) -> bool, budget: u64, redraws: u64) -> (Made, u64) {
        let seeded = |seed| {
            let mut chooser = Chooser::from_seed(seed);
            let mut tape = Tape::default();
            for concern in [Concern::Shape, Concern::Ops, Concern::Data, Concern::Schedule] {
                let bound = [100, 8, 1000, 0, 0, 0, 0, 4][concern as usize];
                *tape.of_mut(concern) = (0..100).map(|_| chooser.below(concern, bound)).collect();
            }
            toy(Candidate { tape, redraw: None }, &wanted)
        };
        let start = (0..100).find_map(seeded).expect("one of the seeds has it");
        Reducer::new(start, budget, redraws, |candidate| toy(candidate, &wanted)).reduce()
    }

    #[test]
    fn what_is_needed_remains_and_nothing_else() {
        // A 3 with at least 700, and a 5 at some time after it.
        let wanted = |done: &[(u32, u32)], _| {
            let first = done.iter().position(|(op, data)| *op == 3 && *data >= 700);
            first.is_some_and(|first| done[first..].iter().any(|(op, _)| *op == 5))
        };
        let (made, runs) = reduced(wanted, 10_000, 0);
        assert_eq!(
            made.tape,
            "shape: 0\nops: 3 5\ndata: 700 0\nschedule: 0 0".parse().unwrap(),
            "{runs} runs"
        );
        assert_eq!(made.marks.len(), 2);
    }

    #[test]
    fn a_lost_schedule_is_drawn_again() {
        // At least four operations, and what was seen is exactly their number: dropping one needs another schedule.
        let wanted = |done: &[(u32, u32)], seen| done.len() >= 4 && seen == done.len() as u32;
        let (made, _) = reduced(wanted, 10_000, 8);
        assert_eq!(made.marks.len(), 4);
        assert_eq!(made.tape.of(Concern::Schedule).iter().sum::<u32>(), 4);
    }

    #[test]
    fn what_was_armed_and_never_struck_is_gone_with_all_that_was_drawn_for_it() {
        // Each part may arm something, which takes three numbers more; only a 7 behind that matters.
        let run = |candidate: Candidate| {
            let mut chooser = Chooser::from_tape(candidate.tape);
            let mut strikes = false;
            for _ in 0..4 {
                chooser.begin_operation();
                if chooser.below(Concern::Faults, 2) == 1 {
                    for _ in 0..3 {
                        chooser.below(Concern::Faults, 10);
                    }
                }
                strikes |= chooser.below(Concern::Faults, 10) == 7;
            }
            strikes.then(|| Made { tape: chooser.made().clone(), marks: chooser.marks().to_vec() })
        };
        let tape = "faults: 0 1 1 9 8 7 6 0 2 1 1 1 1 7".parse().unwrap();
        let start = run(Candidate { tape, redraw: None }).expect("it strikes");
        let (made, _) = Reducer::new(start, 2000, 0, run).reduce();
        let faults = made.tape.of(Concern::Faults);
        assert_eq!(faults.iter().filter(|number| **number > 0).collect::<Vec<_>>(), [&7]);
    }

    #[test]
    fn the_budget_is_kept_and_what_is_returned_has_the_property() {
        let wanted = |done: &[(u32, u32)], _| done.iter().map(|(_, data)| data).sum::<u32>() >= 20_000;
        let mut last = usize::MAX;
        for budget in [0, 10, 100, 1000, 10_000] {
            let (made, runs) = reduced(wanted, budget, 0);
            assert!(runs <= budget);
            let again = toy(Candidate { tape: made.tape.clone(), redraw: None }, wanted);
            assert_eq!(again.as_ref(), Some(&made), "the tape makes itself");
            assert!(made.tape.len() <= last);
            last = made.tape.len();
        }
    }
}
