//! Every model holds, at each of its sizes, and every bug planted in it is found for the right reason.
//!
//! Each of them runs in a process of its own (`run.rs`), as many at a time as there are tests at a time.

use std::io::Write;
use std::process::{Command, Output};
use tidewall_loom::models::{self, MODELS};

macro_rules! models {
    ($($name:ident,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name),)*];

        $(#[test]
        fn $name() {
            prove(stringify!($name));
        })*
    };
}

models! {
    group_commit,
    failed_sync,
    failed_write,
    watermark,
    rotation,
    retire,
    hand_off,
    background,
    unreported,
    new_tag,
    seal,
    one_moment,
    sealed_count,
    checkpoint,
    lanes,
    hand_over,
    positions,
    names,
    full_ring,
    backpressure,
    close,
    close_lanes,
    committer,
    failed_edit,
    streams,
    pool,
    nested,
    lock_order,
    engine,
}

#[test]
fn every_model_is_run_and_has_a_twin() {
    let names: Vec<_> = MODELS.iter().map(|model| model.name).collect();
    assert_eq!(names, NAMES);
    for model in MODELS {
        assert!(!model.sizes.is_empty() && !model.twins.is_empty(), "{} proves nothing", model.name);
    }
}

/// Without `cfg(loom)`, which `build.rs` sets, the models would run once each, on real locks.
#[test]
fn the_engine_is_compiled_with_the_locks_of_loom() {
    assert!(models::atomic_type().starts_with("loom::"), "cfg(loom) is missing: {}", models::atomic_type());
}

fn prove(name: &str) {
    let model = MODELS.iter().find(|model| model.name == name).expect("it is in the table");
    say(&format!("{name}: {}\n", model.question));
    for size in model.sizes {
        let bound = size.preemptions.map_or(String::new(), |bound| format!(":{bound}"));
        let output = run(&[name, &format!("{}{bound}", size.threads)]);
        let (out, err) = words(&output);
        assert!(output.status.success(), "{name} is broken at {size}:\n{err}");
        assert!(out.contains("executions in"), "{name} does not say how many executions it took: {out}");
        say(&out);
    }
    for twin in model.twins {
        let bug = twin.bug.name();
        let output = run(&[name, bug]);
        let (_, err) = words(&output);
        assert!(!output.status.success(), "{name} holds with {bug} planted: {}", twin.bug.what());
        // The first panic: what follows it comes from threads that loom has left lying.
        let first = err.split("\nin execution ").next().unwrap_or_default();
        assert!(
            first.contains(twin.reason),
            "{name} finds {bug} for another reason than {:?}:\n{err}",
            twin.reason
        );
        let at = first.lines().find_map(|line| line.strip_prefix("in execution "));
        say(&format!("{name}: finds {bug} in execution {} {}\n", at.unwrap_or("?:"), twin.bug.what()));
    }
}

fn run(args: &[&str]) -> Output {
    let mut model = Command::new(env!("CARGO_BIN_EXE_loom-model"));
    // A thread of loom has a small stack, on which no backtrace has room.
    model.args(args).env_remove("RUST_BACKTRACE").env_remove("LOOM_LOG").env_remove("LOOM_LOCATION");
    model.output().expect("the binary of this package runs")
}

fn words(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Past the test harness, which keeps the output of tests that pass to itself.
fn say(line: &str) {
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
