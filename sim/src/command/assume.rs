//! `sim assume`: on which disks the engine is right.

use super::Unusable;
use clap::Args;
use serde_json::json;
use std::num::NonZero;
use tidewall::plant::Bug;
use tidewall_sim::assume::{self, Cell, Found, Needs, SECTORS, Verdict};
use tidewall_sim::disk::Persistence;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::runner::{self, Campaign};
use tidewall_sim::scenario::Setting;

#[derive(Args)]
pub struct AssumeArgs {
    /// Seeds on each disk
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Threads [default: one for each processor]
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Switch on one planted bug, which leans on more
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// One JSON object a line; the last one is the summary
    #[arg(long)]
    json: bool,
}

pub fn assume(args: &AssumeArgs) -> Result<u8, Unusable> {
    let plant = match &args.plant {
        Some(name) => Some(super::setting::planted(name)?),
        None => None,
    };
    if let Some(bug) = plant.filter(|bug| drivers::of(*bug) != Some(Driver::Sequential)) {
        return Err(Unusable(format!("{} is not for the sequential driver, which asks here", bug.name())));
    }
    let mut columns = Vec::new();
    for sector_bytes in SECTORS {
        let needs = needs(args, plant, sector_bytes);
        let report = if args.json { print_objects } else { print_leans };
        report(args, sector_bytes, &needs);
        columns.push((sector_bytes, needs));
    }
    if !args.json {
        println!("{}\n", assume::table(&columns));
    }
    // With sectors that are at least the disk's, an engine must not lean on anything.
    let (_, widest) = columns.last().expect("there is a column for each size of sectors");
    let unmeasured = columns.iter().any(|(_, needs)| needs.is_unmeasured());
    let leans = !widest.is_nothing() || columns.iter().any(|(_, needs)| needs.weakest != widest.weakest);
    let code = if unmeasured { 2 } else { u8::from(leans) };
    if args.json {
        let weakest =
            columns.iter().map(|(bytes, needs)| (bytes.to_string(), json!(names(&needs.weakest_disks()))));
        let weakest: serde_json::Map<_, _> = weakest.collect();
        println!(
            "{}",
            json!({ "kind": "summary", "plant": args.plant, "weakest": weakest, "leans": leans, "measured": !unmeasured })
        );
    } else {
        println!("{}", conclusion(code));
    }
    Ok(code)
}

fn conclusion(code: u8) -> &'static str {
    match code {
        0 => "The engine leans on nothing but syncs, as long as its sectors are no smaller than the disk's.",
        1 => "The engine leans on more than it says.",
        _ => "NOT MEASURED: not everything that a disk may do was seen; take more seeds.",
    }
}

fn needs(args: &AssumeArgs, plant: Option<Bug>, sector_bytes: u64) -> Needs {
    let setting = Setting { plant, sector_bytes: Some(sector_bytes), ..Setting::default() };
    let jobs = args.jobs.unwrap_or_else(runner::processors);
    let campaign =
        Campaign { start: args.start, jobs, recheck_percent: 0, ..Campaign::first(args.seeds, setting) };
    assume::walk(|disk| {
        let drawn = assume::campaign(disk, &campaign, |seed| {
            println!("the run does not end\n{}", replay(args, sector_bytes, Found::Seed(seed), disk));
            std::process::exit(1);
        });
        if drawn == Verdict::Holds { assume::core(disk, &campaign) } else { drawn }
    })
}

fn print_leans(args: &AssumeArgs, sector_bytes: u64, needs: &Needs) {
    for Cell { axis, value, disk, verdict } in needs.leans() {
        let Verdict::Breaks(found, violation) = verdict else { continue };
        println!("sectors of {sector_bytes} bytes, {} = {value}: {violation}", axis.name());
        println!("  {}\n", replay(args, sector_bytes, *found, *disk));
    }
}

fn print_objects(args: &AssumeArgs, sector_bytes: u64, needs: &Needs) {
    for Cell { axis, value, disk, verdict } in &needs.cells {
        let mut object = json!({
            "kind": "cell",
            "sector_bytes": sector_bytes,
            "axis": axis.name(),
            "value": value,
            "profile": disk.to_string(),
            "verdict": verdict.word(),
        });
        if let Verdict::Breaks(found, violation) = verdict {
            object["promise"] = json!(violation.promise);
            object["story"] = json!(violation.to_string());
            object["replay"] = json!(replay(args, sector_bytes, *found, *disk));
        }
        println!("{object}");
    }
}

fn names(disks: &[Persistence]) -> Vec<String> {
    disks.iter().map(ToString::to_string).collect()
}

fn replay(args: &AssumeArgs, sector_bytes: u64, found: Found, disk: Persistence) -> String {
    let (short, depth) = assume::CORE;
    let mut line = match found {
        Found::Seed(seed) => format!("cargo sim replay {seed} --profile {disk}"),
        Found::Core => {
            format!("cargo sim exhaust --short {short} --stories 0 --depth {depth} --profile {disk}")
        }
    };
    if sector_bytes != SECTORS[0] {
        line += &format!(" --sector-bytes {sector_bytes}");
    }
    if let Some(plant) = &args.plant {
        line += &format!(" --plant {plant}");
    }
    line
}
