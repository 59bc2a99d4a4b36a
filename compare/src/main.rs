//! tidewall beside its peers: the same points, the same questions, one table.
//!
//! The parent starts one child for each measurement, in turn over all stores, round after round, so that whatever else
//! the machine does meets all of them; the table has medians. `README.md` says how to read it.

mod cell;
mod child;
mod parent;
mod report;
mod stores;

use cell::{Cell, Source};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use tidewall_benches::data::Data;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// tidewall beside its peers.
#[derive(Parser)]
pub struct Args {
    /// How often each cell is measured; the tables have medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Points of a cell. With a sync after each 1,000 it is a fifth of them.
    #[arg(long, default_value_t = 5_000_000)]
    points: usize,
    /// Only these stores; `--list` names them.
    #[arg(long, value_delimiter = ',')]
    stores: Vec<String>,
    /// Only these tables; `--list` names them.
    #[arg(long, value_delimiter = ',')]
    tables: Vec<String>,
    /// A CSV file of recorded sensor data; several are several tags. Without one, nothing is measured on recorded data.
    #[arg(long = "trace")]
    traces: Vec<PathBuf>,
    /// Generated points are late by up to this much.
    #[arg(long, default_value_t = 0)]
    jitter_us: i64,
    /// Where the stores lie: on the disk that is meant.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/data"))]
    dir: PathBuf,
    /// Seconds after which a child has failed.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Prints the tables as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Appends each measurement to this file.
    #[arg(long)]
    save: Option<PathBuf>,
    /// Measures nothing: prints the tables of saved measurements.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Names the stores and the tables.
    #[arg(long)]
    list: bool,
    /// What a child measures.
    #[arg(long, hide = true, num_args = 8)]
    child: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = if args.child.is_empty() { parent::run(&args) } else { child_of(&args) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn child_of(args: &Args) -> Result<()> {
    let cell = Cell::parse(&args.child).ok_or("no such cell")?;
    let data = match cell.source {
        Source::Generated => Data::generated(args.jitter_us),
        Source::Recorded => Data::recorded(&args.traces)?,
    };
    child::run(&cell, &data, &args.dir)
}
