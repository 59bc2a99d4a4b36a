//! `sim bugs`: how hard each planted bug is to find.

use super::{Unusable, write_text};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Instant;
use tidewall::plant::Bug;
use tidewall_sim::bugs::{self, ELSEWHERE, Finding, SURVIVES};
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::runner;

#[derive(Args)]
pub struct BugsArgs {
    /// Only these bugs, or all whose names are this letter and a number: W16, or C
    names: Vec<String>,
    /// Campaigns for each bug; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    campaigns: u64,
    /// Threads [default: one for each processor]
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// List the planted bugs; hunt none
    #[arg(long)]
    list: bool,
    /// One JSON object a line; the last one is the summary
    #[arg(long)]
    json: bool,
    /// Write the table that later campaigns are compared with
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "sim/bugs.csv", conflicts_with = "names")]
    write: Option<PathBuf>,
}

pub fn bugs(args: &BugsArgs) -> Result<u8, Unusable> {
    let chosen = chosen(&args.names)?;
    if args.list {
        for bug in &chosen {
            println!("{:<5} {:<11} {}", bug.name(), driver_name(*bug), bug.what());
        }
        return Ok(0);
    }
    if let Some(why) =
        chosen.iter().filter_map(|bug| drivers::of(*bug)).find_map(|driver| driver.unavailable())
    {
        return Err(Unusable(why.into()));
    }
    let begin = Instant::now();
    let jobs = args.jobs.unwrap_or_else(runner::processors);
    let hunts = args.campaigns;
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(hunts * chosen.len() as u64) };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} campaigns, {eta} left");
    bar.set_style(style.expect("the template is a constant"));
    let mut findings = bugs::hunt(&chosen, hunts, jobs, || bar.inc(1));
    if args.write.is_none() {
        bugs::make_sure(&mut findings, jobs);
    }
    bar.finish_and_clear();
    if let Some(path) = &args.write {
        write_text(path, &bugs::table(&findings))?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    // What has just been written says nothing against itself.
    let complaint =
        |finding: &Finding| finding.complaint().filter(|why| args.write.is_none() || *why == SURVIVES);
    let caught = findings.iter().filter(|finding| finding.median().is_some()).count();
    let by_loom = findings.iter().filter(|finding| finding.driver.is_none()).count();
    let against = findings.iter().filter(|finding| complaint(finding).is_some()).count();
    if args.json {
        findings.iter().for_each(|finding| println!("{}", to_json(finding, complaint(finding))));
        let elsewhere: Vec<_> =
            ELSEWHERE.iter().map(|(class, why)| json!({"class": class, "why": why})).collect();
        let summary = json!({
            "kind": "summary",
            "planted": findings.len(),
            "caught": caught,
            "by_loom": by_loom,
            "survived": findings.len() - caught - by_loom,
            "complaints": against,
            "campaigns": hunts,
            "not_planted": elsewhere,
            "seconds": tenths(seconds),
        });
        println!("{summary}");
    } else {
        println!("bug   driver         runs  recorded  verdict         seconds");
        findings.iter().for_each(|finding| print_finding(finding, complaint(finding)));
        println!();
        if args.names.is_empty() {
            ELSEWHERE.iter().for_each(|(class, why)| println!("{class}: no bug of this class. {why}."));
        }
        println!(
            "{} planted, {caught} caught in {seconds:.0} s, {by_loom} left to loom (cargo test -p tidewall-loom), {} survived",
            findings.len(),
            findings.len() - caught - by_loom,
        );
        println!("runs: the median of {hunts} campaigns; see sim/src/bugs.rs");
    }
    Ok(u8::from(against > 0))
}

fn chosen(names: &[String]) -> Result<Vec<Bug>, Unusable> {
    let is = |bug: &Bug, name: &String| {
        let letters = bug.name().trim_end_matches(|letter: char| letter.is_ascii_digit());
        bug.name() == name || letters == name
    };
    if let Some(name) = names.iter().find(|name| !Bug::ALL.iter().any(|bug| is(bug, name))) {
        return Err(Unusable(format!("no planted bug is called {name}; cargo sim bugs --list has them")));
    }
    let wanted = |bug: &Bug| names.is_empty() || names.iter().any(|name| is(bug, name));
    Ok(Bug::ALL.iter().copied().filter(wanted).collect())
}

fn driver_name(bug: Bug) -> &'static str {
    drivers::of(bug).map_or("loom", Driver::name)
}

fn print_finding(finding: &Finding, complaint: Option<&str>) {
    let runs = finding.median().map_or("-".into(), |(runs, _)| runs.to_string());
    let recorded = finding.recorded().map_or("-".into(), |runs| runs.to_string());
    let verdict = match finding.median() {
        Some((_, violation)) => format!("{:?}", violation.verdict),
        None if finding.driver.is_none() => "by loom".into(),
        None => "none".into(),
    };
    println!(
        "{:<5} {:<11} {runs:>7}  {recorded:>8}  {verdict:<13}  {:>8.1}  {}{}",
        finding.bug.name(),
        driver_name(finding.bug),
        finding.seconds(),
        complaint.map_or(String::new(), |why| format!("{why}: ")),
        finding.bug.what(),
    );
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn to_json(finding: &Finding, complaint: Option<&str>) -> serde_json::Value {
    let runs: Vec<_> = finding.hunts.iter().map(|hunt| hunt.caught.as_ref().map(|(runs, _)| *runs)).collect();
    let violation = finding.median().map(|(_, violation)| violation);
    json!({
        "kind": "bug",
        "bug": finding.bug.name(),
        "what": finding.bug.what(),
        "driver": driver_name(finding.bug),
        "runs": runs,
        "median": finding.median().map(|(runs, _)| *runs),
        "recorded": finding.recorded(),
        "limit": finding.limit(),
        "verdict": violation.map(|violation| violation.verdict),
        "promise": violation.map(|violation| violation.promise),
        "story": violation.map(|violation| &violation.story),
        "complaint": complaint,
        "seconds": tenths(finding.seconds()),
    })
}
