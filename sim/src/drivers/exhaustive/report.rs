//! The certificate in words, and for a machine.

use super::catalogue::{Bounds, Certificate};
use super::story::Op;
use crate::model::Verdict;
use crate::report::{Result, grouped, rounded};
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Certificate {
    /// What it came to. A counterexample that its tape does not lead to again says that the explorer is wrong, not the
    /// engine.
    pub fn result(&self) -> Result {
        match &self.counterexample {
            Some(found) if !found.replays || found.violation.verdict == Verdict::HarnessBroken => {
                Result::HarnessBroken
            }
            Some(_) => Result::Violated,
            None if self.tally.acked_points_checked == 0 || !self.unfinished.is_empty() => {
                Result::NotMeasured
            }
            None => Result::Survived,
        }
    }

    /// For a person.
    pub fn to_text(&self, bounds: &Bounds) -> String {
        let tally = &self.tally;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "  {name:<18} {value}").expect("a string takes everything");
        };
        line("stories", format!("{}, {} operations", grouped(self.stories), grouped(self.operations)));
        line(
            "crash points",
            format!("{}, all in {} of them", grouped(self.crash_points), grouped(self.explored_points)),
        );
        line("images", format!("{} of a first crash", grouped(&tally.images)));
        line(
            "in recovery",
            format!("{} images of crashes up to {} deep", grouped(&tally.images_in_recovery), bounds.depth),
        );
        line(
            "crashes",
            format!(
                "{} that differ in media or in what they owe, met {} times",
                grouped(tally.crash_states),
                grouped(tally.crash_states + tally.seen_again)
            ),
        );
        line(
            "recoveries",
            format!("{} run, {} different states reached", grouped(tally.runs), grouped(tally.states.len())),
        );
        line(
            "points",
            format!(
                "{} compared bit for bit, {} of them had to be there",
                grouped(tally.points_checked),
                grouped(tally.acked_points_checked)
            ),
        );
        line("time", format!("{:.1} s, {:.1} s of processor", self.seconds, self.cpu_seconds));
        for (at, what) in not_covered(bounds).iter().enumerate() {
            line(if at == 0 { "not covered" } else { "" }, what.clone());
        }
        if let Some(first) = self.unfinished.first() {
            let (count, limit) = (self.unfinished.len(), grouped(bounds.crash_states));
            writeln!(
                text,
                "\n{count} stories, {first:?} first, have more than {limit} different crashes. --crash-states allows more,\n\
                 a hundred bytes each; --depth or --ops asks for less.",
                first = first.to_string()
            )
            .expect("a string takes everything");
        }
        if let Some(found) = &self.counterexample {
            writeln!(text, "\nafter the operations {:?}: {}", found.story.to_string(), found.violation)
                .expect("a string takes everything");
        }
        text.push_str(match self.result() {
            Result::Survived => "\nCERTIFIED: within these bounds no crash breaks a promise.\n",
            Result::Violated => "COUNTEREXAMPLE: a promise is broken.\n",
            Result::NotMeasured if !self.unfinished.is_empty() => {
                "\nNOT MEASURED: the trees of some stories have more crashes than are remembered.\n"
            }
            Result::NotMeasured => "\nNOT MEASURED: nothing had to survive.\n",
            Result::HarnessBroken => {
                "HARNESS BROKEN: the explorer itself went wrong, or the tape of the counterexample does not lead to it again,\n\
                 so no result counts.\n"
            }
        });
        text
    }

    /// For a machine: the last line of `--json`.
    pub fn to_json(&self, bounds: &Bounds) -> Value {
        let tally = &self.tally;
        json!({
            "kind": "summary",
            "driver": "exhaustive",
            "profile": bounds.persistence.to_string(),
            "plant": bounds.plant.map(|bug| bug.name()),
            "result": self.result(),
            "violations": u64::from(self.result() == Result::Violated),
            "stories": self.stories,
            "operations": self.operations,
            "crash_points": self.crash_points,
            "explored_points": self.explored_points,
            // As text: a number of JSON may not hold them.
            "images": tally.images.to_string(),
            "images_in_recovery": tally.images_in_recovery.to_string(),
            "crash_states": tally.crash_states,
            "seen_again": tally.seen_again,
            "recoveries": tally.runs,
            "recovered_states": tally.states.len(),
            "points_checked": tally.points_checked,
            "acked_points_checked": tally.acked_points_checked,
            "depth": bounds.depth,
            "unfinished": self.unfinished.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "not_covered": not_covered(bounds),
            "counterexample": self.counterexample.as_ref().map(|found| json!({
                "story": found.story.to_string(),
                "verdict": found.violation.verdict,
                "promise": found.violation.promise,
                "what": found.violation.story,
            })),
            "seconds": rounded(self.seconds),
            "cpu_seconds": rounded(self.cpu_seconds),
        })
    }
}

/// What a certificate does not speak of.
fn not_covered(bounds: &Bounds) -> Vec<String> {
    let letters = Op::ALL.len() as u128;
    let all: u128 = letters.saturating_pow(bounds.ops as u32);
    vec![
        format!("all but {} of the {} stories of {} operations", bounds.stories, grouped(all), bounds.ops),
        "two log streams, and frames staged in memory, but for some of these".into(),
        format!("more than {} crashes inside recoveries, one in the other", bounds.depth),
        "I/O errors, damage at rest: `sim run`".into(),
        "more than one thread: `sim run --driver threads`".into(),
        format!("disks that promise less than {}", bounds.persistence),
    ]
}
