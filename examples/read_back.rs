//! Reads back what `sensor_logger` has logged, once that has ended, however it did.
//!
//! ```text
//! cargo run --release --example read_back -- DIR                     every sensor and its latest value
//! cargo run --release --example read_back -- DIR NAME [FROM [TO]]    its points as CSV: time, name, value
//! ```
//!
//! `FROM` and `TO` are microseconds since 1970, or seconds before the latest point: `-60` is the minute before it. Both are
//! included.

mod store;

use std::env;
use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use store::{Store, now_us};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let shown = match words[..] {
        [dir] => list(dir),
        [dir, name] => csv(dir, name, None, None),
        [dir, name, from] => csv(dir, name, Some(from), None),
        [dir, name, from, to] => csv(dir, name, Some(from), Some(to)),
        _ => {
            eprintln!("usage: read_back DIR [NAME [FROM [TO]]]");
            return ExitCode::from(2);
        }
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn list(dir: &str) -> Result<(), Box<dyn Error>> {
    let store = Store::open(dir)?;
    for (tag, name) in (1..).zip(&store.names) {
        // A name comes to the disk before the first point.
        let Some(latest) = store.engine.latest(tag)? else { continue };
        let seconds = now_us().saturating_sub(latest.ts_us) as f64 / 1e6;
        println!("{name:24} {:>14}  {seconds:.1} s ago", latest.value);
    }
    Ok(store.engine.close()?)
}

fn csv(dir: &str, name: &str, from: Option<&str>, to: Option<&str>) -> Result<(), Box<dyn Error>> {
    let store = Store::open(dir)?;
    let tag = store.tag(name).ok_or_else(|| format!("there is no {name}"))?;
    let latest = store.engine.latest(tag)?.map_or(0, |point| point.ts_us);
    let from = time(from, latest)?.unwrap_or(i64::MIN);
    let to = time(to, latest)?.unwrap_or(i64::MAX);
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "time_us,name,value")?;
    for point in store.engine.query(tag, from..=to)? {
        writeln!(out, "{},{name},{}", point.ts_us, point.value)?;
    }
    out.flush()?;
    Ok(store.engine.close()?)
}

fn time(word: Option<&str>, latest: i64) -> Result<Option<i64>, Box<dyn Error>> {
    let Some(word) = word else { return Ok(None) };
    let number: i64 = word.parse().map_err(|_| format!("{word} is no time"))?;
    Ok(Some(if number < 0 { latest.saturating_add(number.saturating_mul(1_000_000)) } else { number }))
}
