//! What a disk promises about writes that no sync covered: five axes, each from the strongest promise to the weakest.
//!
//! | axis | strongest | | weakest |
//! |---|---|---|---|
//! | [`Atom`]: what is written whole | `4096` | `512` | `byte` |
//! | [`Torn`]: what an interrupted write leaves in its sector | `old` | `zero` | `garbage` |
//! | [`NameOrder`]: when names are durable | `at-once` | `in-order` | `independent` |
//! | [`Size`]: when a length is durable | `with` its data | `after` it | `any` it ever had |
//! | [`Order`]: names and lengths against data | `ordered` | | `none` |
//!
//! A point of the lattice is written as its five values, `512/garbage/independent/any/none`. Everything here is a pure
//! function from what is unsynced to what may be there after a crash: the random crash draws among these candidates, an
//! exhaustive one goes through them.
//!
//! One thing is no matter of stronger and weaker. With atoms of 4096 and anything but `old`, an interrupted write of a
//! part of a physical sector destroys what is durable beside it: disks of 4096-byte sectors do that, and an engine whose
//! own sectors are smaller leans on a disk that does not. So of these points neither includes those of atom 512, and
//! the lattice has two weakest points ([`Persistence::WEAKEST`]).

use crate::fault::Fault;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

macro_rules! axis {
    ($(#[$doc:meta])* $axis:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $axis { $($(#[$value_doc])* $value,)* }

        impl $axis {
            /// All values, the strongest promise first.
            pub const ALL: &[$axis] = &[$($axis::$value,)*];

            /// The value's name in a profile.
            pub fn name(self) -> &'static str {
                match self { $($axis::$value => $text,)* }
            }

            fn named(name: &str) -> Result<$axis, String> {
                let names = || $axis::ALL.iter().map(|value| value.name()).collect::<Vec<_>>().join(", ");
                let found = $axis::ALL.iter().copied().find(|value| value.name() == name);
                found.ok_or_else(|| format!("{name:?} is none of {}", names()))
            }
        }
    };
}

axis! {
    /// What the disk writes whole or not at all.
    Atom {
        /// Aligned 4096 bytes: all of them hold what they held at one moment.
        Physical = "4096",
        /// Aligned 512 bytes.
        Sector = "512",
        /// A sector may be new up to any byte.
        Byte = "byte",
    }
}

axis! {
    /// What is left where a write was interrupted: in the atom, and with atoms of a byte in the rest of the sector.
    Torn {
        /// What was there before.
        Old = "old",
        /// That, or zeros.
        Zero = "zero",
        /// That, or anything.
        Garbage = "garbage",
    }
}

axis! {
    /// Which unsynced creations, renamings and removals have happened after a crash.
    NameOrder {
        /// All of them.
        AtOnce = "at-once",
        /// Those up to some moment.
        InOrder = "in-order",
        /// Any of them.
        Independent = "independent",
    }
}

axis! {
    /// Which length a file has after a crash.
    Size {
        /// That of the data which survives: a length is durable as soon as everything written before it is.
        WithData = "with",
        /// That or an earlier one.
        AfterData = "after",
        /// Any that the file had since its last sync, whatever became of its data.
        Any = "any",
    }
}

axis! {
    /// Whether names and lengths wait for data.
    Order {
        /// A length, and a name that a file was given by renaming, is durable only after what was written to the file
        /// before it; a name also after the file's length. As with `data=ordered`. And a file is shortened as a whole or not at all.
        Ordered = "ordered",
        /// They do not.
        None = "none",
    }
}

/// One disk: a point of the lattice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// What is written whole.
    pub atom: Atom,
    /// What an interrupted write leaves.
    pub torn: Torn,
    /// Which names survive.
    pub names: NameOrder,
    /// Which length survives.
    pub size: Size,
    /// Whether names and lengths wait for data.
    pub order: Order,
}

/// One thing that an atom may hold after a crash, in terms of its versions: the durable one first, then one for each
/// write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// This version.
    Version(usize),
    /// The write that was to make this version, which is not the first, was interrupted.
    Interrupted {
        /// The version.
        version: usize,
        /// This many bytes of it are there.
        at: usize,
        /// What is behind them.
        rest: Rest,
    },
}

/// What lies behind the place where a write was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The version before.
    Old,
    /// Zeros.
    Zero,
    /// Bytes that nobody wrote, of one of 256 kinds; kind 0 is zeros.
    Noise(u8),
}

impl Content {
    /// Versions that survive whole: this one and, of those before, whatever it has not overwritten.
    pub fn whole(self) -> usize {
        match self {
            Content::Version(version) => version,
            Content::Interrupted { version, .. } => version - 1,
        }
    }

    /// Writes it into an atom's bytes, or into as many as the file has there.
    pub fn fill(self, versions: &[impl AsRef<[u8]>], out: &mut [u8]) {
        let len = out.len();
        match self {
            Content::Version(version) => out.copy_from_slice(&versions[version].as_ref()[..len]),
            Content::Interrupted { version, at, rest } => {
                let at = at.min(len);
                out[..at].copy_from_slice(&versions[version].as_ref()[..at]);
                match rest {
                    Rest::Old => out[at..].copy_from_slice(&versions[version - 1].as_ref()[at..len]),
                    Rest::Zero => out[at..].fill(0),
                    Rest::Noise(kind) => {
                        let noise = |at: usize| u32::from(kind).wrapping_mul(at as u32 * 2 + 1) >> 3;
                        (at..len).for_each(|at| out[at] = noise(at) as u8);
                    }
                }
            }
        }
    }
}

/// The kind of noise that stands for all others where contents are listed rather than drawn. A decoder that compares a
/// checksum treats them alike.
const SAMPLE_NOISE: u8 = 0xa5;

impl Persistence {
    /// The point at which only what a sector is made of is promised: `512/old/independent/any/none`.
    pub const SECTOR: Persistence = Persistence {
        atom: Atom::Sector,
        torn: Torn::Old,
        names: NameOrder::Independent,
        size: Size::Any,
        order: Order::None,
    };

    /// The disk that promises most: `4096/old/at-once/with/ordered`.
    pub const STRONGEST: Persistence = Persistence {
        atom: Atom::Physical,
        torn: Torn::Old,
        names: NameOrder::AtOnce,
        size: Size::WithData,
        order: Order::Ordered,
    };

    /// The disks that promise least: with sectors of 512 bytes, and with physical sectors of 4096 bytes.
    pub const WEAKEST: [Persistence; 2] = [
        Persistence { atom: Atom::Byte, torn: Torn::Garbage, ..Persistence::SECTOR },
        Persistence { atom: Atom::Physical, torn: Torn::Garbage, ..Persistence::SECTOR },
    ];

    /// Every point, in the order of the axes.
    pub fn all() -> impl Iterator<Item = Persistence> {
        Atom::ALL.iter().flat_map(|atom| {
            Torn::ALL.iter().flat_map(move |torn| {
                NameOrder::ALL.iter().flat_map(move |names| {
                    Size::ALL.iter().flat_map(move |size| {
                        Order::ALL.iter().map(move |order| Persistence {
                            atom: *atom,
                            torn: *torn,
                            names: *names,
                            size: *size,
                            order: *order,
                        })
                    })
                })
            })
        })
    }

    /// Whether whatever the other disk may leave after a crash, this one may leave as well.
    pub fn includes(self, other: Persistence) -> bool {
        // Destroyed neighbours are what no other atom can explain.
        let atom = if other.destroys_neighbours() {
            self.atom == Atom::Physical
        } else if other.torn != Torn::Old || self.destroys_neighbours() {
            self.atom == other.atom || (self.atom == Atom::Byte && other.atom == Atom::Sector)
        } else {
            self.atom >= other.atom
        };
        atom && self.torn >= other.torn
            && self.names >= other.names
            && self.size >= other.size
            && self.order >= other.order
    }

    /// Whether an interrupted write may damage durable bytes that it did not write.
    pub fn destroys_neighbours(self) -> bool {
        self.atom == Atom::Physical && self.torn != Torn::Old
    }

    /// Sectors of 512 bytes that share one fate.
    pub fn atom_sectors(self) -> usize {
        if self.atom == Atom::Physical { 8 } else { 1 }
    }

    /// What an atom with these versions may hold. Exact but for noise, of which one kind stands for all.
    pub fn contents(self, versions: &[impl AsRef<[u8]>]) -> Vec<Content> {
        let rests: &[Rest] = match self.torn {
            Torn::Old => &[Rest::Old],
            Torn::Zero => &[Rest::Old, Rest::Zero],
            Torn::Garbage => &[Rest::Old, Rest::Zero, Rest::Noise(SAMPLE_NOISE)],
        };
        let mut contents: Vec<_> = (0..versions.len()).map(Content::Version).collect();
        for version in 1..versions.len() {
            for rest in rests {
                let mut behind = vec![0; versions[version].as_ref().len()];
                Content::Interrupted { version, at: 0, rest: *rest }.fill(versions, &mut behind);
                let splits = match self.atom {
                    Atom::Byte => splits(versions[version].as_ref(), &behind),
                    Atom::Sector | Atom::Physical => vec![0],
                };
                // Interrupted before its first byte, with the old content behind: that is the version before.
                let splits = splits.into_iter().filter(|at| *at > 0 || *rest != Rest::Old);
                contents.extend(splits.map(|at| Content::Interrupted { version, at, rest: *rest }));
            }
        }
        contents
    }

    /// Which of this many unsynced changes of names, in their order, have happened: each set of them that is possible.
    pub fn name_sets(self, changes: usize) -> impl Iterator<Item = Vec<bool>> {
        let sets = match self.names {
            NameOrder::AtOnce => 1,
            NameOrder::InOrder => changes as u64 + 1,
            NameOrder::Independent => 1 << changes,
        };
        (0..sets).map(move |set| {
            let happened = |change: usize| match self.names {
                NameOrder::AtOnce => true,
                NameOrder::InOrder => (change as u64) < set,
                NameOrder::Independent => set >> change & 1 == 1,
            };
            (0..changes).map(happened).collect()
        })
    }

    /// Which lengths a file may have, where 0 is the durable one and `lengths` the latest; everything that was written
    /// before the first `covered` of them survives.
    pub fn lengths(self, lengths: usize, covered: usize) -> RangeInclusive<usize> {
        match (self.size, self.order) {
            (Size::WithData, _) => covered..=covered,
            (Size::AfterData, _) | (Size::Any, Order::Ordered) => 0..=covered,
            (Size::Any, Order::None) => 0..=lengths,
        }
    }

    /// Whether each atom, name and length has a fate of its own, whatever becomes of the others.
    pub fn is_piecemeal(self) -> bool {
        self.size == Size::Any && self.order == Order::None
    }

    /// Whether names and lengths become durable only after the data that was written before them.
    pub fn waits_for_data(self) -> bool {
        self.order == Order::Ordered
    }
}

impl Persistence {
    /// Whether this fault of a crash cannot happen on such a disk.
    pub fn excludes(self, fault: Fault) -> bool {
        match fault {
            Fault::TornByte => (self.atom, self.torn) != (Atom::Byte, Torn::Old),
            Fault::Garbage => self.torn == Torn::Old,
            Fault::CreateLost | Fault::RenameLost | Fault::RemoveLost => self.names == NameOrder::AtOnce,
            Fault::SizeKept => self.size != Size::Any || self.order == Order::Ordered,
            _ => false,
        }
    }
}

/// The places at which an interruption makes a difference: at the start, and behind each byte that is not what lies there
/// otherwise. Behind the last of them the write is whole.
fn splits(new: &[u8], behind: &[u8]) -> Vec<usize> {
    let differing: Vec<usize> = (0..new.len()).filter(|at| new[*at] != behind[*at]).collect();
    let ends = differing.iter().take(differing.len().saturating_sub(1)).map(|at| at + 1);
    std::iter::once(0).chain(ends).collect()
}

impl fmt::Display for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Persistence { atom, torn, names, size, order } = self;
        let values = [atom.name(), torn.name(), names.name(), size.name(), order.name()];
        f.write_str(&values.join("/"))
    }
}

impl FromStr for Persistence {
    type Err = String;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Persistence, String> {
        let values: Vec<_> = text.split('/').collect();
        let [atom, torn, names, size, order] = values[..] else {
            return Err(format!("{text:?} is not atom/torn/names/size/order, as in {}", Persistence::SECTOR));
        };
        Ok(Persistence {
            atom: Atom::named(atom)?,
            torn: Torn::named(torn)?,
            names: NameOrder::named(names)?,
            size: Size::named(size)?,
            order: Order::named(order)?,
        })
    }
}

/// The disk of a run: a point of the lattice, by itself or by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Any of the three that follow, drawn for each crash.
    #[default]
    Any,
    /// A sector holds one version or another.
    Sector,
    /// A sector may be new up to a byte and old behind it.
    Byte,
    /// A sector whose write was interrupted may hold zeros or noise.
    Garbage,
    /// This one.
    Exactly(Persistence),
}

impl Profile {
    /// The profiles that have a name, with it.
    pub const NAMED: [(&str, Profile); 4] = [
        ("any", Profile::Any),
        ("sector", Profile::Sector),
        ("byte", Profile::Byte),
        ("garbage", Profile::Garbage),
    ];

    /// The disks that it may be.
    pub fn points(self) -> Vec<Persistence> {
        let one = match self {
            Profile::Any => {
                let drawn = [Profile::Sector, Profile::Byte, Profile::Garbage];
                return drawn.into_iter().flat_map(Profile::points).collect();
            }
            Profile::Sector => Persistence::SECTOR,
            Profile::Byte => Persistence { atom: Atom::Byte, ..Persistence::SECTOR },
            Profile::Garbage => Persistence { torn: Torn::Garbage, ..Persistence::SECTOR },
            Profile::Exactly(point) => point,
        };
        vec![one]
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, Profile::NAMED.iter().find(|(_, profile)| profile == self)) {
            (_, Some((name, _))) => f.write_str(name),
            (Profile::Exactly(point), None) => point.fmt(f),
            (named, None) => unreachable!("{named:?} has a name"),
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Profile, String> {
        match Profile::NAMED.iter().find(|(name, _)| *name == text) {
            Some((_, profile)) => Ok(*profile),
            None => text.parse().map(Profile::Exactly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn point(text: &str) -> Persistence {
        text.parse().unwrap()
    }

    #[test]
    fn every_point_has_a_name_that_leads_back_to_it() {
        let names: BTreeSet<_> = Persistence::all().map(|point| point.to_string()).collect();
        assert_eq!(names.len(), 3 * 3 * 3 * 3 * 2);
        assert!(Persistence::all().all(|point| point.to_string().parse() == Ok(point)));
        for (name, profile) in Profile::NAMED {
            assert_eq!((name.parse(), profile.to_string()), (Ok(profile), name.into()));
        }
        assert!(
            "512/garbage".parse::<Profile>().is_err()
                && "1024/old/at-once/any/none".parse::<Profile>().is_err()
        );
    }

    /// What an atom of two bytes may hold.
    fn images(point: Persistence) -> BTreeSet<Vec<u8>> {
        let versions = [vec![1, 1], vec![2, 2], vec![3, 2]];
        let fill = |content: &Content| {
            let mut out = vec![9; 2];
            content.fill(&versions, &mut out);
            out
        };
        point.contents(&versions).iter().map(fill).collect()
    }

    #[test]
    fn a_weaker_point_leaves_whatever_a_stronger_one_leaves() {
        for strong in Persistence::all() {
            for weak in Persistence::all().filter(|weak| weak.includes(strong)) {
                assert!(images(weak).is_superset(&images(strong)), "{weak} {strong}");
                let names = |point: Persistence| point.name_sets(3).collect::<BTreeSet<_>>();
                assert!(names(weak).is_superset(&names(strong)), "{weak} {strong}");
                let lengths = |point: Persistence| point.lengths(4, 2).collect::<BTreeSet<_>>();
                assert!(lengths(weak).is_superset(&lengths(strong)), "{weak} {strong}");
            }
            assert!(strong.includes(Persistence::STRONGEST) || strong.destroys_neighbours(), "{strong}");
            assert!(Persistence::WEAKEST.iter().any(|weakest| weakest.includes(strong)), "{strong}");
        }
        assert!(!Persistence::WEAKEST[0].includes(Persistence::WEAKEST[1]), "neighbours are destroyed");
    }

    #[test]
    fn an_atom_is_whole_unless_it_may_be_torn() {
        let whole = [vec![1, 1], vec![2, 2], vec![3, 2]];
        assert_eq!(images(point("512/old/independent/any/none")), whole.clone().into());
        assert_eq!(
            images(point("byte/old/independent/any/none")),
            [&whole[..], &[vec![2, 1]]].concat().into_iter().collect()
        );
        assert_eq!(
            images(point("512/zero/independent/any/none")),
            [&whole[..], &[vec![0, 0]]].concat().into_iter().collect()
        );
        let garbage = images(point("byte/garbage/independent/any/none"));
        assert!(garbage.contains(&vec![2, 0]) && garbage.len() > 7, "{garbage:?}");
    }

    #[test]
    fn names_survive_all_together_in_order_or_as_they_like() {
        let sets = |names| Persistence { names, ..Persistence::SECTOR }.name_sets(2).collect::<Vec<_>>();
        assert_eq!(sets(NameOrder::AtOnce), [[true, true]]);
        assert_eq!(sets(NameOrder::InOrder), [[false, false], [true, false], [true, true]]);
        assert_eq!(sets(NameOrder::Independent).len(), 4);
    }

    #[test]
    fn a_length_is_that_of_the_data_or_an_earlier_one_or_any() {
        let lengths = |text: &str| point(text).lengths(3, 1);
        assert_eq!(lengths("512/old/independent/with/none"), 1..=1);
        assert_eq!(lengths("512/old/independent/after/none"), 0..=1);
        assert_eq!(lengths("512/old/independent/any/ordered"), 0..=1);
        assert_eq!(lengths("512/old/independent/any/none"), 0..=3);
    }
}
