//! The table.

use crate::outcome::{Fate, Outcome};
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Default)]
struct Row {
    fates: BTreeMap<Fate, usize>,
    judges: BTreeMap<String, usize>,
}

impl Row {
    fn add(&mut self, outcome: &Outcome) {
        *self.fates.entry(outcome.fate).or_default() += 1;
        if outcome.fate == Fate::Killed {
            *self.judges.entry(outcome.judge.clone()).or_default() += 1;
        }
    }

    fn of(&self, fate: Fate) -> usize {
        self.fates.get(&fate).copied().unwrap_or(0)
    }

    fn line(&self, module: &str, judges: &[&str]) -> String {
        let (killed, late, survived) = (self.of(Fate::Killed), self.of(Fate::Late), self.of(Fate::Survived));
        let not_judged = self.of(Fate::NotJudged);
        let all = killed + late + survived + not_judged;
        let mut line = format!("| {module} | {all} | {} |", killed + late);
        let mut others = killed;
        for judge in judges {
            let count = self.judges.get(*judge).copied().unwrap_or(0);
            others -= count;
            let _ = write!(line, " {count} |");
        }
        let score = if all == 0 { 100.0 } else { 100.0 * (killed + late) as f64 / all as f64 };
        let _ = write!(line, " {others} | {late} | {survived} | {not_judged} | {score:.1} % |");
        line
    }
}

/// As Markdown: a line for each module, and the sum.
pub fn table(outcomes: &[Outcome]) -> String {
    const JUDGES: [&str; 3] = ["unit tests", "sequential", "api"];
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut sum = Row::default();
    for outcome in outcomes {
        rows.entry(&outcome.module).or_default().add(outcome);
        sum.add(outcome);
    }
    let mut text = String::from("| module | mutants | killed |");
    JUDGES.iter().for_each(|judge| text.push_str(&format!(" {judge} |")));
    text.push_str(" others | late | survived | not judged | score |\n|---|--:|--:|");
    text.push_str(&"--:|".repeat(JUDGES.len() + 5));
    for (module, row) in &rows {
        text.push('\n');
        text.push_str(&row.line(module, &JUDGES));
    }
    text.push('\n');
    text.push_str(&sum.line("all", &JUDGES));
    let (unviable, planted) = (sum.of(Fate::Unviable), sum.of(Fate::Planted));
    let _ = write!(
        text,
        "\n\nNot counted: {unviable} that do not compile, {planted} that concern planted bugs only.\n"
    );
    text
}
