//! Explores one model in a process of its own.
//!
//! | `cargo run --release -p tidewall-loom --` | does |
//! |---|---|
//! | | lists the models |
//! | `seal 2` | explores all of a model at 2 threads |
//! | `seal 3:2` | at 3 threads, as far as 2 preemptions lead |
//! | `seal C3` | the same with one of its bugs planted: fails |

use std::process::ExitCode;
use std::time::Instant;
use tidewall_loom::models::{self, MODELS, Model, Size};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let model = args.first().and_then(|name| MODELS.iter().find(|model| model.name == name));
    match (model, args.get(1)) {
        (Some(model), Some(which)) => run(model, which),
        _ => {
            for model in MODELS {
                println!("{:<14} {}", model.name, model.question);
            }
            if args.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
    }
}

fn run(model: &'static Model, which: &str) -> ExitCode {
    let (size, bug) = match model.twins.iter().find(|twin| twin.bug.name() == which) {
        Some(twin) => (twin.size, Some(twin.bug)),
        None => match size(which) {
            Some(size) => (size, None),
            None => {
                eprintln!("{which} is neither a size, such as 2 or 3:2, nor a bug that {} finds", model.name);
                return ExitCode::from(2);
            }
        },
    };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("in execution {}:", models::executions());
        report(panic);
    }));
    let start = Instant::now();
    models::explore(model, size, bug);
    let seconds = start.elapsed().as_secs_f64();
    println!("{}: {size}: {} executions in {seconds:.1} s", model.name, models::executions());
    ExitCode::SUCCESS
}

fn size(which: &str) -> Option<Size> {
    let (threads, preemptions) = match which.split_once(':') {
        Some((threads, preemptions)) => (threads, Some(preemptions.parse().ok()?)),
        None => (which, None),
    };
    let threads = threads.parse().ok().filter(|threads| (2..=5).contains(threads))?;
    Some(Size { threads, preemptions })
}
