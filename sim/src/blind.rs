//! Blind spots: mistakes in the bed itself, which the bed must notice.
//!
//! A disk that has forgotten how to lose a name, or an oracle that takes a loss for an answer, lets every engine pass. Each of
//! these is switched on by `sim run --blind NAME`, and then a campaign on a sound engine must not end with `Survived`. What turns it
//! red is in every campaign: a fault that never fires (`fault`) has not been measured, and an oracle that lets one of the
//! answers pass that are forged for it (`forged`) is broken.
//!
//! As with the planted bugs one of them is on for a thread, and a site is one line.

use std::cell::Cell;

macro_rules! spots {
    ($($name:ident: $what:literal,)*) => {
        /// A mistake in the test bed.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Blind { $($name,)* }

        impl Blind {
            /// All of them.
            pub const ALL: &[Blind] = &[$(Blind::$name,)*];

            /// The name that `sim run --blind` takes.
            pub fn name(self) -> &'static str {
                match self { $(Blind::$name => stringify!($name),)* }
            }

            /// The mistake, in one sentence.
            pub fn what(self) -> &'static str {
                match self { $(Blind::$name => $what,)* }
            }
        }
    };
}

spots! {
    NeverReorders: "of what is unsynced everything up to some moment survives a crash, and nothing behind it",
    NeverTears: "no write is interrupted inside a sector",
    KeepsNames: "every unsynced change of a name survives a crash",
    KeepsPages: "a failed sync leaves the dirty pages as they were",
    KeepsSizes: "a file never has an older length after a crash than the one that it had",
    SparesRecoveries: "no crash strikes in a recovery",
    AlwaysHasSpace: "space never runs out",
    AcceptsLoss: "what is not there any more is not missed after a recovery",
    AcceptsInvention: "what nobody wrote is not noticed after a recovery",
    IgnoresOrder: "any part of what was accepted and not acked may survive, not only a beginning of it",
    IgnoresValues: "after a recovery times are compared, and no values",
    IgnoresQuality: "after a recovery times and values are compared, and no qualities",
    IgnoresQueries: "what a running engine answers is not compared",
    IgnoresDamage: "a store that opens on damaged files is not asked what it has noticed",
}

thread_local! {
    static ACTIVE: Cell<Option<Blind>> = const { Cell::new(None) };
}

/// Whether this thread's bed has this blind spot.
#[inline]
pub fn on(blind: Blind) -> bool {
    ACTIVE.get() == Some(blind)
}

/// Gives this thread's bed a blind spot, or none.
pub fn set(blind: Option<Blind>) {
    ACTIVE.set(blind);
}
