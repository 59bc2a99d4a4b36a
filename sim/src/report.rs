//! What a campaign says at its end: for a person, and for a machine.

use crate::coverage::CoverageSummary;
use crate::disk::Profile;
use crate::drivers::Driver;
use crate::fault::{Count, Fault};
use crate::merge::Part;
use crate::runner::Sum;
use crate::scenario::Events;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a campaign came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Result {
    /// Every promise held.
    Survived,
    /// A promise broke.
    Violated,
    /// A fault was asked for and never struck, or nothing ran.
    NotMeasured,
    /// Two runs of one tape differed, the test bed has panicked, or the oracle let a forged answer pass.
    HarnessBroken,
}

impl Result {
    /// The exit status that says so.
    pub fn exit_code(self) -> u8 {
        match self {
            Result::Survived => 0,
            Result::Violated => 1,
            Result::NotMeasured | Result::HarnessBroken => 2,
        }
    }
}

/// The last line of a campaign's JSON.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    kind: &'static str,
    driver: &'static str,
    profile: &'a str,
    /// The engine's, if they are not 512.
    sector_bytes: Option<u64>,
    plant: Option<&'a str>,
    trace_files: &'a [String],
    trace_bad_rows: u64,
    #[serde(flatten)]
    part: &'a Part,
    result: Result,
    seeds: u64,
    rechecked: u64,
    diverged: u64,
    /// Seeds at which the test bed itself went wrong.
    harness_failures: u64,
    violations: u64,
    #[serde(flatten)]
    counts: crate::scenario::Counts,
    #[serde(flatten)]
    events: &'a Events,
    crashes_per_seed: f64,
    faults: BTreeMap<&'static str, Count>,
    not_measured: Vec<&'static str>,
    /// Every known triple must be reached.
    coverage_demanded: bool,
    coverage: CoverageSummary,
    seconds: f64,
    cpu_seconds: f64,
    seeds_per_cpu_second: f64,
    trace_hash: String,
}

/// What the summary says besides the sum.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Who ran the engine.
    pub driver: Driver,
    /// Name of the persistence profile.
    pub profile: &'a str,
    /// The engine's sectors, if they are not of 512 bytes.
    pub sector_bytes: Option<u64>,
    /// Name of the planted bug.
    pub plant: Option<&'a str>,
    /// Recorded data.
    pub trace_files: &'a [String],
    /// Rows of it that could not be used.
    pub trace_bad_rows: u64,
    /// The seeds that it is about.
    pub part: &'a Part,
}

impl<'a> Header<'a> {
    /// Of a campaign of which nothing else was asked.
    pub fn plain(driver: Driver, part: &'a Part) -> Header<'a> {
        Header {
            driver,
            profile: "any",
            sector_bytes: None,
            plant: None,
            trace_files: &[],
            trace_bad_rows: 0,
            part,
        }
    }
}

/// Faults need some runs to come up at all; below this number of seeds an unfired one is no finding.
const SEEDS_FOR_EVERY_FAULT: u64 = 1000;

/// Nor below this number what a driver does in almost every seed.
const SEEDS_FOR_EVERY_EVENT: u64 = 100;

/// What decides on what a campaign came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    pub(crate) seeds: u64,
    pub(crate) diverged: u64,
    pub(crate) harness_failures: u64,
    pub(crate) violations: u64,
    pub(crate) acked_points_checked: u64,
    /// What the driver does in almost every seed, and has not.
    pub(crate) absent_events: usize,
    /// Faults that should strike and never did.
    pub(crate) unfired_faults: usize,
    /// Known triples of the coverage that had to be reached and were not.
    pub(crate) uncovered: usize,
}

impl Evidence {
    pub(crate) fn result(&self) -> Result {
        let too_little = self.uncovered > 0
            || (self.seeds >= SEEDS_FOR_EVERY_FAULT && self.unfired_faults > 0)
            || (self.seeds >= SEEDS_FOR_EVERY_EVENT && self.absent_events > 0);
        if self.diverged > 0 || self.harness_failures > 0 {
            Result::HarnessBroken
        } else if self.violations > 0 {
            Result::Violated
        } else if self.acked_points_checked == 0 || too_little {
            Result::NotMeasured
        } else {
            Result::Survived
        }
    }
}

impl<'a> Summary<'a> {
    /// Puts a sum into words.
    pub fn new(header: Header<'a>, sum: &'a Sum) -> Summary<'a> {
        // What a profile rules out, or what is too rare for a few seeds, was not asked for.
        let points = header.profile.parse().unwrap_or_else(|_| Profile::default()).points();
        let excluded = |fault: Fault| points.iter().all(|point| point.excludes(fault));
        let unfired = |fault: &Fault| {
            sum.faults.of(*fault).fired == 0 && header.driver.strikes_with(*fault) && !excluded(*fault)
        };
        let faults = Fault::ALL.iter().copied().filter(unfired).map(Fault::name);
        let absent = |event: &&str| sum.events.get(event).is_none_or(|times| *times == 0);
        let events = header.driver.demanded_events().iter().copied().filter(absent);
        let not_measured: Vec<&str> = events.clone().chain(faults).collect();
        let coverage = CoverageSummary::new(&sum.coverage, sum.seeds);
        let absent_events = events.count();
        let (violations, harness_failures) = (sum.violations(), sum.failures.len() as u64 - sum.violations());
        let evidence = Evidence {
            seeds: sum.seeds,
            diverged: sum.diverged.len() as u64,
            harness_failures,
            violations,
            acked_points_checked: sum.counts.acked_points_checked,
            absent_events,
            unfired_faults: not_measured.len() - absent_events,
            uncovered: if sum.coverage_demanded { coverage.missing() } else { 0 },
        };
        let result = evidence.result();
        Summary {
            kind: "summary",
            driver: header.driver.name(),
            profile: header.profile,
            sector_bytes: header.sector_bytes,
            plant: header.plant,
            trace_files: header.trace_files,
            trace_bad_rows: header.trace_bad_rows,
            part: header.part,
            result,
            seeds: sum.seeds,
            rechecked: sum.rechecked,
            diverged: sum.diverged.len() as u64,
            harness_failures,
            violations,
            counts: sum.counts,
            events: &sum.events,
            crashes_per_seed: rounded(sum.counts.crashes as f64 / sum.seeds.max(1) as f64),
            faults: sum.faults.by_name(),
            not_measured,
            coverage_demanded: sum.coverage_demanded,
            coverage,
            seconds: rounded(sum.seconds),
            cpu_seconds: rounded(sum.cpu_seconds),
            seeds_per_cpu_second: rounded(sum.seeds as f64 / sum.cpu_seconds.max(0.01)),
            trace_hash: format!("{:016x}", sum.trace_hash.0),
        }
    }

    /// What it came to.
    pub fn result(&self) -> Result {
        self.result
    }

    /// For a person.
    pub fn to_text(&self) -> String {
        let counts = &self.counts;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "  {name:<18} {value}").expect("a string takes everything");
        };
        line(
            "seeds",
            format!(
                "{} ({} run twice, {} differed)",
                grouped(self.seeds),
                grouped(self.rechecked),
                self.diverged
            ),
        );
        line(
            "operations",
            format!("{} on a disk that saw {} calls", grouped(counts.operations), grouped(counts.io_ops)),
        );
        line(
            "power cuts",
            format!(
                "{} ({:.1} a seed), in recovery and on the side included",
                grouped(counts.crashes),
                self.crashes_per_seed
            ),
        );
        line("recoveries", grouped(counts.recoveries));
        line(
            "points",
            format!(
                "{} written, {} compared bit for bit",
                grouped(counts.points_written),
                grouped(counts.points_checked)
            ),
        );
        line("acked points", format!("{} looked for after a crash", grouped(counts.acked_points_checked)));
        line(
            "rotations",
            format!(
                "{} segments filled, {} blocks, {} chunks",
                grouped(counts.rotations),
                grouped(counts.blocks),
                grouped(counts.chunks)
            ),
        );
        line("inspections", format!("{} of crashed disks, every checksum", grouped(counts.inspections)));
        self.coverage.lines().into_iter().for_each(|(name, value)| line(name, value));
        line(
            "time",
            format!(
                "{:.1} s, {:.1} s of processor; {:.0} seeds a processor second",
                self.seconds, self.cpu_seconds, self.seeds_per_cpu_second
            ),
        );
        line("trace hash", self.trace_hash.clone());
        // A campaign that stopped early has little to say about what it did not try.
        if self.result != Result::Violated {
            if !self.events.is_empty() {
                text.push_str("\n  event                        times\n");
            }
            for (name, times) in self.events {
                writeln!(text, "  {name:<24} {:>9}", grouped(*times)).expect("a string takes everything");
            }
            text.push_str("\n  fault                        armed        fired\n");
            for (name, count) in &self.faults {
                let note = match count.fired {
                    0 if self.not_measured.contains(name) => "   not measured",
                    0 => "   not asked for",
                    _ => "",
                };
                writeln!(text, "  {name:<24} {:>9} {:>12}{note}", grouped(count.armed), grouped(count.fired))
                    .expect("a string takes everything");
            }
            text.push_str(&self.coverage.notices());
        }
        text.push('\n');
        text.push_str(&self.conclusion());
        text.push('\n');
        text
    }

    fn conclusion(&self) -> String {
        match self.result {
            Result::Survived => format!(
                "SURVIVED: {} acked points were looked for after {} power cuts, and none was lost, changed or invented.",
                grouped(self.counts.acked_points_checked),
                grouped(self.counts.crashes)
            ),
            Result::Violated => format!("VIOLATED by {} of {} seeds.", self.violations, grouped(self.seeds)),
            Result::NotMeasured if self.counts.acked_points_checked == 0 => {
                "NOT MEASURED: no acked point was ever looked for after a crash.".into()
            }
            Result::NotMeasured => {
                let triples =
                    self.coverage_demanded.then(|| self.coverage.missing()).filter(|missing| *missing > 0);
                let triples = triples.map(|missing| format!("{missing} known crash triples"));
                let names = self.not_measured.iter().map(|name| name.to_string());
                let names: Vec<_> = names.chain(triples).collect();
                format!("NOT MEASURED: these never came about: {}.", names.join(", "))
            }
            Result::HarnessBroken if self.harness_failures > 0 => {
                "HARNESS BROKEN: the test bed itself went wrong, so no result counts.".into()
            }
            Result::HarnessBroken => {
                "HARNESS BROKEN: two runs of one seed differed, so no result counts.".into()
            }
        }
    }
}

/// To three digits behind the point.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A number with a comma between groups of three digits, as people read it.
pub fn grouped(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Verdict, Violation};
    use crate::runner::Failure;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(grouped), ["0", "12", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn nothing_checked_is_not_success() {
        let part = Part::default();
        assert_eq!(
            Summary::new(Header::plain(Driver::Sequential, &part), &Sum::default()).result(),
            Result::NotMeasured
        );
    }

    #[test]
    fn a_panic_of_the_test_bed_is_neither_success_nor_a_broken_promise() {
        let part = Part::default();
        let header = Header::plain(Driver::Sequential, &part);
        let failure = |verdict| Failure { seed: 7, violation: Violation::new(verdict, "", "") };
        let mut sum = Sum { seeds: 10, failures: vec![failure(Verdict::HarnessBroken)], ..Sum::default() };
        sum.counts.acked_points_checked = 1;
        let summary = Summary::new(header, &sum);
        assert_eq!(
            (summary.result(), summary.violations, summary.harness_failures),
            (Result::HarnessBroken, 0, 1)
        );
        assert_eq!(summary.result().exit_code(), 2);
        assert!(summary.conclusion().starts_with("HARNESS BROKEN"), "{}", summary.conclusion());
        // Nor does it count together with one that did break.
        sum.failures.push(failure(Verdict::Lost));
        assert_eq!(Summary::new(header, &sum).result(), Result::HarnessBroken);
    }

    #[test]
    fn a_service_that_was_never_killed_is_not_success() {
        let part = Part::default();
        let header = Header::plain(Driver::Service, &part);
        let mut sum = Sum { seeds: SEEDS_FOR_EVERY_EVENT, ..Sum::default() };
        sum.counts.acked_points_checked = 1;
        sum.events = Driver::Service.demanded_events().iter().map(|event| (*event, 1)).collect();
        assert_eq!(Summary::new(header, &sum).result(), Result::Survived);
        for event in ["kills", "restarts", "partitions"] {
            let mut sum = sum.clone();
            sum.events.insert(event, 0);
            assert_eq!(Summary::new(header, &sum).result(), Result::NotMeasured);
        }
    }

    #[test]
    fn default_seeds_that_miss_a_known_triple_are_not_success() {
        let part = Part::default();
        let header = Header::plain(Driver::Sequential, &part);
        let mut sum = Sum { seeds: 10, ..Sum::default() };
        sum.counts.acked_points_checked = 1;
        assert_eq!(Summary::new(header, &sum).result(), Result::Survived, "so few seeds owe nothing");
        sum.coverage_demanded = true;
        let summary = Summary::new(header, &sum);
        assert_eq!(summary.result(), Result::NotMeasured);
        assert!(summary.conclusion().contains("known crash triples"), "{}", summary.conclusion());
    }
}
