//! `sim merge`: the summaries of shards as one.

use super::Unusable;
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;
use tidewall_sim::merge::Lines;
use tidewall_sim::report::grouped;

#[derive(Args)]
pub struct MergeArgs {
    /// What the shards have printed with --json; a file may hold several
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The summary as one JSON object, with the promises that broke before it
    #[arg(long)]
    json: bool,
}

pub fn merge(args: &MergeArgs) -> Result<u8, Unusable> {
    let mut lines = Lines::default();
    for file in &args.files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Unusable(format!("cannot read {name}: {error}")))?;
        lines.read(&name, &text)?;
    }
    lines.violations.iter().for_each(|violation| println!("{violation}"));
    let merged = match lines.merge() {
        // A broken promise counts, whatever else is missing.
        Err(refusal) if lines.violated() => {
            eprintln!("sim: {refusal}");
            return Ok(1);
        }
        merged => merged?,
    };
    if args.json {
        println!("{}", Value::Object(merged.summary));
    } else {
        let number =
            |name: &str| merged.summary.get(name).and_then(Value::as_u64).map_or("?".into(), grouped);
        println!("{} shards of one campaign", lines.summaries.len());
        for name in ["seeds", "rechecked", "crashes", "recoveries", "points_checked", "acked_points_checked"]
        {
            println!("  {name:<22} {:>16}", number(name));
        }
        println!("  {:<22} {:>16}", "trace_hash", merged.summary["trace_hash"].as_str().unwrap_or("?"));
        let missing =
            merged.summary.get("not_measured").and_then(Value::as_array).cloned().unwrap_or_default();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().filter_map(Value::as_str).collect();
            println!("  never came about: {}", names.join(", "));
        }
        println!("{:?}", merged.result);
        if let Some(replay) = merged.summary.get("replay").and_then(Value::as_str) {
            println!("{replay}");
        }
    }
    Ok(merged.result.exit_code())
}
