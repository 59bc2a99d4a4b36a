//! On which disk is the engine right? A walk over the lattice of [`Persistence`].
//!
//! The weakest disk is tried first: where the engine is right on that one it is right on all stronger ones. Where it is
//! not, the walk begins at the strongest disk and takes back one promise after the other, as long as all promises of the
//! engine hold; what is left is what the engine leans on. Then each value of each axis is tried, with the others as weak as
//! they may be, so that nothing in the table is said without having been measured.
//!
//! [`walk`] asks a judge and does not care who that is: here it is a campaign ([`campaign`]), and where that finds nothing
//! the explorer ([`core()`]).

use crate::disk::SECTOR;
use crate::disk::persistence::{Atom, NameOrder, Order, Persistence, Size, Torn};
use crate::drivers::exhaustive::{Bounds, certify};
use crate::fault::Fault;
use crate::model::Violation;
use crate::report::Result;
use crate::runner::{self, Campaign, Failure};
use crate::scenario::Setting;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Whether the engine is right on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise held.
    Holds,
    /// One broke.
    Breaks(Found, Violation),
    /// What the disk may do was not seen.
    NotMeasured,
}

impl Verdict {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Breaks(..) => "breaks",
            Verdict::NotMeasured => "not measured",
        }
    }
}

/// Where a broken promise is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In the run of this seed.
    Seed(u64),
    /// By the explorer, within [`CORE`].
    Core,
}

/// One of the five things that a disk promises something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// What is written whole.
    Atom,
    /// What an interrupted write leaves.
    Torn,
    /// When names are durable.
    Names,
    /// When lengths are durable.
    Size,
    /// Whether they wait for data.
    Order,
}

impl Axis {
    /// All of them, in the order in which a disk's name has them.
    pub const ALL: [Axis; 5] = [Axis::Atom, Axis::Torn, Axis::Names, Axis::Size, Axis::Order];

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Atom => "atom",
            Axis::Torn => "torn",
            Axis::Names => "names",
            Axis::Size => "size",
            Axis::Order => "order",
        }
    }

    /// The disk with each value of this axis instead of its own, the strongest first.
    fn values(self, of: Persistence) -> Vec<(&'static str, Persistence)> {
        match self {
            Axis::Atom => {
                Atom::ALL.iter().map(|atom| (atom.name(), Persistence { atom: *atom, ..of })).collect()
            }
            Axis::Torn => {
                Torn::ALL.iter().map(|torn| (torn.name(), Persistence { torn: *torn, ..of })).collect()
            }
            Axis::Names => NameOrder::ALL
                .iter()
                .map(|names| (names.name(), Persistence { names: *names, ..of }))
                .collect(),
            Axis::Size => {
                Size::ALL.iter().map(|size| (size.name(), Persistence { size: *size, ..of })).collect()
            }
            Axis::Order => {
                Order::ALL.iter().map(|order| (order.name(), Persistence { order: *order, ..of })).collect()
            }
        }
    }
}

/// One value of one axis.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The axis.
    pub axis: Axis,
    /// The value.
    pub value: &'static str,
    /// The disk that it was tried on.
    pub disk: Persistence,
    /// Whether the engine is right there.
    pub verdict: Verdict,
}

/// What one engine needs.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The weakest disk on which all promises hold; `None` if one breaks even on the strongest.
    pub weakest: Option<Persistence>,
    /// Each value of each axis, the others as in `weakest`.
    pub cells: Vec<Cell>,
}

impl Needs {
    /// The engine leans on no promise of the disk but syncs: it is right on both of [`Persistence::WEAKEST`].
    pub fn is_nothing(&self) -> bool {
        self.cells.iter().all(|cell| cell.verdict == Verdict::Holds)
    }

    /// The weakest disks on which all promises hold: the one, and the one with physical sectors that may be destroyed,
    /// which no other includes.
    pub fn weakest_disks(&self) -> Vec<Persistence> {
        let physical = self.cells.iter().find(|cell| {
            cell.disk.destroys_neighbours() && cell.axis == Axis::Atom && cell.verdict == Verdict::Holds
        });
        self.weakest.into_iter().chain(physical.map(|cell| cell.disk)).collect()
    }

    /// Whether something was not measured.
    pub fn is_unmeasured(&self) -> bool {
        self.cells.iter().any(|cell| cell.verdict == Verdict::NotMeasured)
    }

    /// Of each axis the strongest value on which a promise breaks, where one does; one of all if one breaks everywhere.
    pub fn leans(&self) -> impl Iterator<Item = &Cell> {
        let breaks = |axis| {
            let mut cells = self.cells.iter().filter(move |cell| cell.axis == axis);
            cells.find(|cell| matches!(cell.verdict, Verdict::Breaks(..)))
        };
        let most = if self.weakest.is_none() { 1 } else { Axis::ALL.len() };
        Axis::ALL.into_iter().filter_map(breaks).take(most)
    }
}

/// Finds what an engine needs. Each disk is judged once.
pub fn walk(mut judge: impl FnMut(Persistence) -> Verdict) -> Needs {
    let mut known: HashMap<Persistence, Verdict> = HashMap::new();
    let mut verdict = |disk: Persistence| known.entry(disk).or_insert_with(|| judge(disk)).clone();
    let weakest = weakest(&mut |disk| verdict(disk) == Verdict::Holds);
    // Where not even the strongest disk will do there is nothing to find out about the others: they all break.
    let around = weakest.unwrap_or(Persistence::STRONGEST);
    let mut cell = |axis: Axis, (value, disk)| Cell { axis, value, disk, verdict: verdict(disk) };
    let mut cells = Vec::new();
    for axis in Axis::ALL {
        cells.extend(axis.values(around).into_iter().map(|value| cell(axis, value)));
    }
    Needs { weakest, cells }
}

fn weakest(holds: &mut dyn FnMut(Persistence) -> bool) -> Option<Persistence> {
    let [disk, _] = Persistence::WEAKEST;
    if holds(disk) {
        return Some(disk);
    }
    let mut disk = Persistence::STRONGEST;
    if !holds(disk) {
        return None;
    }
    // The atom comes first: what an interrupted write leaves is confined to it.
    for axis in Axis::ALL {
        let weaker = axis.values(disk).into_iter().map(|(_, weaker)| weaker);
        let weaker: Vec<_> = weaker.filter(|weaker| *weaker != disk && weaker.includes(disk)).collect();
        disk = weaker.into_iter().take_while(|weaker| holds(*weaker)).last().unwrap_or(disk);
    }
    Some(disk)
}

/// Judges a disk by a campaign of this many seeds. `hung` is told a seed that does not end, as by [`runner::run`].
pub fn campaign(disk: Persistence, campaign: &Campaign<'_>, hung: impl Fn(u64) + Sync) -> Verdict {
    let setting = Setting { profile: crate::disk::Profile::Exactly(disk), ..campaign.setting };
    let sum = runner::run(&Campaign { setting, ..*campaign }, |_| {}, hung);
    // What the test bed did wrong says nothing of the disk.
    if sum.violations() < sum.failures.len() as u64 || !sum.diverged.is_empty() {
        return Verdict::NotMeasured;
    }
    if let Some(Failure { seed, violation }) = sum.failures.into_iter().next() {
        return Verdict::Breaks(Found::Seed(seed), violation);
    }
    let asked = [
        Fault::Lost,
        Fault::Reordered,
        Fault::TornByte,
        Fault::Garbage,
        Fault::SizeKept,
        Fault::CreateLost,
        Fault::RenameLost,
        Fault::RemoveLost,
    ];
    let unseen = |fault: &Fault| !disk.excludes(*fault) && sum.faults.of(*fault).fired == 0;
    if sum.counts.acked_points_checked == 0 || asked.iter().any(unseen) {
        return Verdict::NotMeasured;
    }
    Verdict::Holds
}

/// Sizes of the engine's sectors that are asked about: below a disk's physical sectors, and not below.
pub const SECTORS: [u64; 2] = [512, 4096];
/// How far the explorer goes on one disk: every story of up to this many operations, and this many crashes in recovery.
pub const CORE: (usize, u32) = (2, 0);

/// Judges a disk by every crash of every short story. A disk on which lengths or names wait for data is not explored, nor
/// one with several atoms to each of the engine's sectors, such as the bytes at which a write may end: their fates multiply.
/// The campaign draws these.
pub fn core(disk: Persistence, campaign: &Campaign<'_>) -> Verdict {
    let sector_bytes = campaign.setting.sector_bytes.unwrap_or(512);
    let atom_bytes = SECTOR as u64 * disk.atom_sectors() as u64;
    if !disk.is_piecemeal() || disk.atom == Atom::Byte || atom_bytes < sector_bytes {
        return Verdict::Holds;
    }
    let (short, depth) = CORE;
    let bounds = Bounds {
        ops: 0,
        short,
        stories: 0,
        depth,
        persistence: disk,
        sector_bytes,
        // Short stories, and no crash is taken for explored that was not.
        crash_states: usize::MAX,
        plant: campaign.setting.plant,
        jobs: campaign.jobs,
    };
    let certificate = certify(&bounds, |_, _| ());
    match (certificate.result(), certificate.counterexample) {
        (Result::Violated, Some(found)) => Verdict::Breaks(Found::Core, found.violation),
        (Result::Survived, _) => Verdict::Holds,
        _ => Verdict::NotMeasured,
    }
}

/// The table of what engines need, which differ in the size of their sectors, in Markdown.
pub fn table(columns: &[(u64, Needs)]) -> String {
    let mut text = String::from("| axis | the disk promises |");
    let line =
        |text: &mut String, words: String| writeln!(text, "{words}").expect("a string takes everything");
    for (sector_bytes, _) in columns {
        text += &format!(" `sector_bytes` {sector_bytes} |");
    }
    line(&mut text, String::new());
    line(&mut text, format!("|---|---|{}", "---|".repeat(columns.len())));
    let cells = columns.first().map_or(0, |(_, needs)| needs.cells.len());
    for index in 0..cells {
        let Cell { axis, value, .. } = columns[0].1.cells[index];
        let words: Vec<_> = columns.iter().map(|(_, needs)| needs.cells[index].verdict.word()).collect();
        line(&mut text, format!("| {} | {} | {} |", axis.name(), promise(axis, value), words.join(" | ")));
    }
    text.push('\n');
    for (sector_bytes, needs) in columns {
        let weakest: Vec<_> = needs.weakest_disks().iter().map(|disk| format!("`{disk}`")).collect();
        let weakest = if weakest.is_empty() { "none".into() } else { weakest.join(" and ") };
        line(&mut text, format!("Weakest for sectors of {sector_bytes} bytes: {weakest}.\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

/// What a value means, in a few words.
fn promise(axis: Axis, value: &str) -> String {
    let means = match (axis, value) {
        (Axis::Atom, "4096") => {
            "4096 bytes are written whole; an interrupted write of a part may destroy the rest of them"
        }
        (Axis::Atom, "512") => "512 bytes are written whole",
        (Axis::Atom, _) => "a write may stop at any byte",
        (Axis::Torn, "old") => "where it stops is what was there before",
        (Axis::Torn, "zero") => "that, or zeros",
        (Axis::Torn, _) => "that, or anything",
        (Axis::Names, "at-once") => "names are durable without a sync",
        (Axis::Names, "in-order") => "unsynced names survive up to some moment",
        (Axis::Names, _) => "any of them survive",
        (Axis::Size, "with") => "a length is durable together with its data",
        (Axis::Size, "after") => "or later than its data",
        (Axis::Size, _) => "or before its data",
        (Axis::Order, "ordered") => "names and lengths wait for data",
        (Axis::Order, _) => "they do not",
    };
    format!("`{value}`: {means}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(holds: impl Fn(Persistence) -> bool) -> (Option<String>, usize) {
        let mut asked = 0;
        let needs = walk(|disk| {
            asked += 1;
            let story = Violation::new(crate::model::Verdict::Lost, "I2", "a story");
            if holds(disk) { Verdict::Holds } else { Verdict::Breaks(Found::Core, story) }
        });
        (needs.weakest.map(|disk| disk.to_string()), asked)
    }

    #[test]
    fn what_an_engine_leans_on_is_found_axis_by_axis() {
        let weakest = |holds: fn(Persistence) -> bool| needs(holds).0.expect("some disk");
        assert_eq!(weakest(|_| true), "byte/garbage/independent/any/none");
        assert_eq!(weakest(|disk| disk.names == NameOrder::AtOnce), "byte/garbage/at-once/any/none");
        assert_eq!(weakest(|disk| disk.names != NameOrder::Independent), "byte/garbage/in-order/any/none");
        assert_eq!(weakest(|disk| disk.torn == Torn::Old), "byte/old/independent/any/none");
        assert_eq!(weakest(|disk| disk.order == Order::Ordered), "byte/garbage/independent/any/ordered");
        let two = |disk: Persistence| disk.atom != Atom::Byte && disk.size != Size::Any;
        assert_eq!(weakest(two), "512/garbage/independent/after/none");
        assert_eq!(needs(|_| false).0, None);
    }

    #[test]
    fn each_value_is_asked_about_once() {
        let (_, asked) = needs(|_| true);
        assert_eq!(asked, 3 + 2 + 2 + 2 + 1);
    }
}
