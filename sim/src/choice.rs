//! The tape: every decision of a run, drawn from one [`Chooser`].
//!
//! A decision is a number below a bound. It is drawn for a [`Concern`], and each concern has a stream of its own, so
//! that one more draw in one of them does not shift the others. A seed fills the streams from split random generators,
//! a saved [`Tape`] from a file, and a fuzzer or property tester from bytes. A run is a pure function of the decisions
//! and the commit; whatever filled them, the run records what it drew, and the record replays it.
//!
//! 0 is always the plainest choice: an exhausted tape gives zeros, and what shrinks tapes shrinks towards it.

use parking_lot::Mutex;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Sizes, limits and mix of a run.
    Shape,
    /// Which operation comes next.
    Ops,
    /// Tags, times and values.
    Data,
    /// Which fault is armed, and when it fires.
    Faults,
    /// Where a crash strikes.
    Crash,
    /// What survives it.
    Survival,
    /// The order of independent work.
    Order,
    /// Which thread runs next.
    Schedule,
}

impl Concern {
    /// All of them.
    pub const ALL: [Concern; 8] = [
        Concern::Shape,
        Concern::Ops,
        Concern::Data,
        Concern::Faults,
        Concern::Crash,
        Concern::Survival,
        Concern::Order,
        Concern::Schedule,
    ];

    /// The name in tapes.
    fn name(self) -> &'static str {
        match self {
            Concern::Shape => "shape",
            Concern::Ops => "ops",
            Concern::Data => "data",
            Concern::Faults => "faults",
            Concern::Crash => "crash",
            Concern::Survival => "survival",
            Concern::Order => "order",
            Concern::Schedule => "schedule",
        }
    }
}

/// The decisions of a run, by concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    streams: [Vec<u32>; Concern::ALL.len()],
}

impl Tape {
    /// Adds the decisions of another tape behind those of this one.
    pub fn append(&mut self, other: &Tape) {
        for (stream, more) in self.streams.iter_mut().zip(&other.streams) {
            stream.extend_from_slice(more);
        }
    }

    /// Number of decisions.
    pub fn len(&self) -> usize {
        self.streams.iter().map(Vec::len).sum()
    }

    /// Whether no decision was made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The decisions of one concern, in order.
    pub fn of(&self, concern: Concern) -> &[u32] {
        &self.streams[concern as usize]
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, concern: Concern) -> &mut Vec<u32> {
        &mut self.streams[concern as usize]
    }

    /// One line a concern, `name: numbers`.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (concern, stream) in Concern::ALL.iter().zip(&self.streams) {
            write!(text, "{}:", concern.name()).expect("a string takes everything");
            for choice in stream {
                write!(text, " {choice}").expect("a string takes everything");
            }
            text.push('\n');
        }
        text
    }
}

impl FromStr for Tape {
    type Err = String;

    /// Reads [`Tape::to_text`]; concerns may be missing.
    fn from_str(text: &str) -> Result<Tape, String> {
        let mut tape = Tape::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (name, numbers) =
                line.split_once(':').ok_or_else(|| format!("not `name: numbers`: {line}"))?;
            let concern = Concern::ALL.into_iter().find(|concern| concern.name() == name.trim());
            let stream = tape.of_mut(concern.ok_or_else(|| format!("no concern is called {name}"))?);
            for number in numbers.split_whitespace() {
                stream.push(number.parse().map_err(|_| format!("not a choice: {number}"))?);
            }
        }
        Ok(tape)
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the tape's own generator, so that no crate's update changes what a
/// seed means.
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator for one use of a seed.
    pub fn new(seed: u64, purpose: u64) -> SplitMix {
        let mut mix = SplitMix(seed ^ purpose.wrapping_mul(0xd1b5_4a32_d192_ed03));
        mix.next_u64();
        mix
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from((self.next_u64() >> 32) as u32) * u64::from(bound)) >> 32) as u32
    }
}

#[derive(Clone, Debug)]
enum Source {
    Seed(Box<[SplitMix; Concern::ALL.len()]>),
    Tape(Box<(Tape, [usize; Concern::ALL.len()])>),
    Bytes {
        bytes: Vec<u8>,
        at: usize,
    },
    /// Each decision on the way to a leaf of the tree of runs, with the bound that it was drawn below.
    DepthFirst {
        path: Vec<(u32, u32)>,
        at: usize,
    },
}

/// A chooser that a disk and a driver draw from in turn.
pub type SharedChooser = Arc<Mutex<Chooser>>;

/// How many decisions of each concern had been made when a part of a run began: an operation, or what follows the last.
/// Between two marks lies what one operation drew, in every stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    lens: [usize; Concern::ALL.len()],
}

impl Mark {
    /// Decisions of this concern before it.
    pub fn of(&self, concern: Concern) -> usize {
        self.lens[concern as usize]
    }
}

/// Makes decisions and records them.
#[derive(Clone, Debug)]
pub struct Chooser {
    source: Source,
    /// Decisions of some concerns come from here instead.
    redrawn: Option<(SplitMix, &'static [Concern])>,
    made: Tape,
    marks: Vec<Mark>,
    /// An operation was refused. What is drawn for operations from now on is 0, and is not recorded: the record must be
    /// exhausted at the same place.
    ended: bool,
}

impl Chooser {
    /// Decisions from a seed.
    pub fn from_seed(seed: u64) -> Chooser {
        let streams = std::array::from_fn(|concern| SplitMix::new(seed, concern as u64 + 1));
        Chooser::of(Source::Seed(Box::new(streams)))
    }

    /// The decisions of a tape, then zeros.
    pub fn from_tape(tape: Tape) -> Chooser {
        Chooser::of(Source::Tape(Box::new((tape, [0; Concern::ALL.len()]))))
    }

    /// Decisions from bytes in the order in which they are asked for, then zeros: for fuzzers and property tests.
    pub fn from_bytes(bytes: Vec<u8>) -> Chooser {
        Chooser::of(Source::Bytes { bytes, at: 0 })
    }

    fn of(source: Source) -> Chooser {
        Chooser { source, redrawn: None, made: Tape::default(), marks: Vec::new(), ended: false }
    }

    /// The same decisions but for some concerns, which are drawn from a seed.
    pub fn redraw(self, concerns: &'static [Concern], seed: u64) -> Chooser {
        Chooser { redrawn: Some((SplitMix::new(seed, 0), concerns)), ..self }
    }

    /// All decisions there are, one run after the other: this one is the first, [`Chooser::advance`] gives the next.
    pub fn depth_first() -> Chooser {
        Chooser::of(Source::DepthFirst { path: Vec::new(), at: 0 })
    }

    /// The chooser for the run after this one; `None` when there is none left.
    ///
    /// # Panics
    /// If this one is not [`Chooser::depth_first`], or one that followed from it.
    pub fn advance(&self) -> Option<Chooser> {
        let Source::DepthFirst { path, at } = &self.source else {
            panic!("only a depth-first chooser has a next run")
        };
        assert_eq!(*at, path.len(), "the run is not a function of its tape: it left decisions out");
        let mut path = path.clone();
        while let Some((choice, bound)) = path.pop() {
            if choice + 1 < bound {
                path.push((choice + 1, bound));
                return Some(Chooser::of(Source::DepthFirst { path, at: 0 }));
            }
        }
        None
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, concern: Concern, bound: u32) -> u32 {
        let index = concern as usize;
        let redrawn = self.redrawn.as_mut().filter(|(_, concerns)| concerns.contains(&concern));
        let choice = match &mut self.source {
            _ if redrawn.is_some() => redrawn.expect("checked").0.below(bound),
            Source::Seed(streams) => streams[index].below(bound),
            Source::Tape(tape) => {
                let (tape, at) = &mut **tape;
                let choice = tape.streams[index].get(at[index]).copied().unwrap_or(0);
                at[index] += 1;
                choice.min(bound - 1)
            }
            Source::Bytes { bytes, at } => {
                let width = if bound <= 1 << 8 { 1 } else { 2 };
                let mut choice = 0;
                for _ in 0..width {
                    choice = choice << 8 | u32::from(bytes.get(*at).copied().unwrap_or(0));
                    *at += 1;
                }
                choice % bound
            }
            Source::DepthFirst { path, at } => {
                if *at == path.len() {
                    path.push((0, bound));
                }
                let (choice, before) = path[*at];
                assert_eq!(before, bound, "the run is not a function of its tape");
                *at += 1;
                choice
            }
        };
        if !(self.ended && concern == Concern::Ops) {
            self.made.streams[index].push(choice);
        }
        choice
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, concern: Concern, low: u32, high: u32) -> u32 {
        low + self.below(concern, high - low + 1)
    }

    /// True in `share` of 256 cases; never for 0.
    pub fn chance(&mut self, concern: Concern, share: u32) -> bool {
        // Turned round so that 0, the plainest choice, is "no" unless the share is everything.
        255 - self.below(concern, 256) < share
    }

    /// One of these; the first is the plainest.
    pub fn pick<T: Copy>(&mut self, concern: Concern, from: &[T]) -> T {
        from[self.below(concern, from.len() as u32) as usize]
    }

    /// An index, with these weights; the sum must not be 0.
    pub fn weighted(&mut self, concern: Concern, weights: &[u32]) -> usize {
        let mut left = self.below(concern, weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        unreachable!("the choice is below the sum of the weights")
    }

    /// Whether whoever fills the tape has nothing more to say. A seed never runs out; a tape does when its operations are used up,
    /// and bytes when all of them are.
    ///
    /// A driver makes no operation of an exhausted tape, so that a short tape is a short run. The operation that begins
    /// draws from [`Concern::Ops`] before anything else happens: then the record of a run is never exhausted before the
    /// last operation that the run made.
    fn is_exhausted(&self) -> bool {
        match &self.source {
            Source::Seed(_) | Source::DepthFirst { .. } => false,
            _ if self.redrawn.as_ref().is_some_and(|(_, concerns)| concerns.contains(&Concern::Ops)) => false,
            Source::Tape(tape) => {
                tape.1[Concern::Ops as usize] >= tape.0.streams[Concern::Ops as usize].len()
            }
            Source::Bytes { bytes, at } => *at >= bytes.len(),
        }
    }

    /// Begins an operation, if the tape has one more.
    pub fn begin_operation(&mut self) -> bool {
        self.ended = self.is_exhausted();
        if !self.ended {
            self.mark();
        }
        !self.ended
    }

    /// Notes that another part of the run begins here.
    pub fn mark(&mut self) {
        self.marks.push(Mark { lens: std::array::from_fn(|concern| self.made.streams[concern].len()) });
    }

    /// Every decision made so far.
    pub fn made(&self) -> &Tape {
        &self.made
    }

    /// Where the parts of the run began, in order.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(chooser: &mut Chooser) -> Vec<u32> {
        (0..100)
            .map(|n| chooser.below(if n % 3 == 0 { Concern::Ops } else { Concern::Data }, 1 + n))
            .collect()
    }

    #[test]
    fn a_recorded_tape_replays_the_run_of_a_seed() {
        let mut first = Chooser::from_seed(42);
        let drawn = draw(&mut first);
        let text = first.made().to_text();
        let mut again = Chooser::from_tape(text.parse().unwrap());
        assert_eq!(draw(&mut again), drawn);
        assert_eq!(again.made(), first.made());
        assert_ne!(draw(&mut Chooser::from_seed(43)), drawn);
    }

    #[test]
    fn a_draw_for_one_concern_does_not_shift_another() {
        let (mut plain, mut disturbed) = (Chooser::from_seed(7), Chooser::from_seed(7));
        for _ in 0..50 {
            disturbed.below(Concern::Faults, 10);
            assert_eq!(plain.below(Concern::Data, 1000), disturbed.below(Concern::Data, 1000));
        }
    }

    #[test]
    fn an_exhausted_tape_gives_the_plainest_choices() {
        let mut chooser = Chooser::from_tape(Tape::default());
        assert_eq!(chooser.below(Concern::Ops, 10), 0);
        assert!(!chooser.chance(Concern::Faults, 255));
        assert!(chooser.chance(Concern::Faults, 256));
    }

    #[test]
    fn depth_first_makes_every_run_once() {
        // The second decision depends on the first, as it does in real runs.
        let (mut runs, mut next) = (Vec::new(), Some(Chooser::depth_first()));
        while let Some(mut chooser) = next {
            let first = chooser.below(Concern::Crash, 3);
            let second = (first != 1).then(|| chooser.below(Concern::Survival, first + 1));
            runs.push((first, second));
            next = chooser.advance();
        }
        assert_eq!(runs, [(0, Some(0)), (1, None), (2, Some(0)), (2, Some(1)), (2, Some(2))]);
    }

    #[test]
    fn operations_end_with_the_tape_and_never_with_a_seed() {
        let operations = |mut chooser: Chooser| {
            let one = |_: &u32| {
                let begins = chooser.begin_operation();
                if begins {
                    chooser.below(Concern::Ops, 4);
                    chooser.below(Concern::Data, 4);
                }
                begins
            };
            (0..10).take_while(one).count()
        };
        assert_eq!(operations(Chooser::from_seed(1)), 10);
        assert_eq!(operations(Chooser::from_tape("ops: 1 2 3\ndata: 1".parse().unwrap())), 3);
        assert_eq!(operations(Chooser::from_tape("data: 1 1 1 1".parse().unwrap())), 0);
        assert_eq!(operations(Chooser::from_bytes(vec![1; 7])), 4);
    }

    #[test]
    fn the_record_of_an_exhausted_tape_is_exhausted_at_the_same_place() {
        let drawn = |mut chooser: Chooser| {
            let mut operations = 0;
            while operations < 10 && chooser.begin_operation() {
                operations += 1;
                chooser.below(Concern::Ops, 4);
            }
            // What comes after the operations may draw for them, too.
            chooser.below(Concern::Ops, 4);
            (operations, chooser.begin_operation(), chooser.made().clone())
        };
        let first = drawn(Chooser::from_tape("ops: 1 2 3".parse().unwrap()));
        assert_eq!(drawn(Chooser::from_tape(first.2.clone())), first);
        assert_eq!((first.0, first.1), (3, false));
    }

    #[test]
    fn marks_say_what_each_operation_drew() {
        let mut chooser = Chooser::from_seed(1);
        chooser.below(Concern::Shape, 4);
        for draws in [1, 3] {
            chooser.begin_operation();
            for _ in 0..draws {
                chooser.below(Concern::Data, 4);
            }
        }
        chooser.mark();
        let lens = |concern: Concern| -> Vec<usize> {
            chooser.marks().iter().map(|mark| mark.of(concern)).collect()
        };
        assert_eq!((lens(Concern::Shape), lens(Concern::Data)), (vec![1, 1, 1], vec![0, 1, 4]));
    }

    #[test]
    fn what_is_no_tape_is_refused() {
        assert!("ops 1 2".parse::<Tape>().is_err());
        assert!("ops: 1 x".parse::<Tape>().is_err());
        assert!("wishes: 1".parse::<Tape>().is_err());
    }
}
