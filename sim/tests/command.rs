//! The command: what it prints, what it exits with, and that it does the same thing twice.

use serde_json::Value;
use std::process::{Command, Output};
use std::sync::Arc;
use tidewall::disk::RealDisk;
use tidewall::{Config, Engine, Point};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().expect("the command starts")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the output is text")
}

fn summary(args: &[&str]) -> (Option<i32>, Value) {
    let output = sim(args);
    let text = text(&output);
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    (output.status.code(), lines.last().expect("a summary").clone())
}

#[test]
fn a_campaign_says_what_it_measured_and_exits_0() {
    let (code, summary) = summary(&["run", "--seeds", "1200", "--json"]);
    assert_eq!(
        (code, &summary["result"], &summary["kind"]),
        (Some(0), &"Survived".into(), &"summary".into())
    );
    assert_eq!((summary["seeds"].as_u64(), summary["violations"].as_u64()), (Some(1200), Some(0)));
    for field in ["crashes", "recoveries", "points_checked", "acked_points_checked", "io_ops", "rechecked"] {
        assert!(summary[field].as_u64().expect(field) > 0, "{field}");
    }
    for (fault, count) in summary["faults"].as_object().expect("faults by name") {
        // Late is on time where one thread does everything.
        if fault == "stall" {
            continue;
        }
        assert!(count["fired"].as_u64().expect(fault) > 0, "{fault} never fired");
    }
}

#[test]
fn the_same_seeds_give_the_same_trace_however_they_are_spread() {
    let hash = |args: &[&str]| {
        let (_, summary) = summary(&[&["run", "--json", "--recheck", "0", "--seeds", "90"], args].concat());
        u64::from_str_radix(summary["trace_hash"].as_str().expect("a hash"), 16).expect("hexadecimal")
    };
    let whole = hash(&[]);
    assert_eq!(hash(&["--jobs", "1"]), whole);
    let shards = ["0/3", "1/3", "2/3"].map(|shard| hash(&["--shard", shard]));
    assert_eq!(
        shards.iter().fold(0u64, |sum, hash| sum.wrapping_add(*hash)),
        whole,
        "shards split without overlap"
    );
    assert_ne!(hash(&["--start", "1"]), whole);
}

#[test]
fn a_planted_bug_exits_1_and_its_last_line_replays_it() {
    let output = sim(&["run", "--seeds", "500", "--plant", "F1"]);
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    let replay: Vec<_> = text.lines().last().expect("a line").split(' ').collect();
    assert_eq!(replay[..3], ["cargo", "sim", "replay"]);
    let shrink = text.lines().rev().nth(1).expect("a line before it");
    assert_eq!(shrink.replace("shrink", "replay"), text.lines().last().unwrap());
    let replays = [0, 1].map(|_| sim(&replay[2..]));
    assert_eq!(replays[0].status.code(), Some(1));
    assert_eq!(replays[0].stdout, replays[1].stdout, "byte for byte");
    assert!(String::from_utf8_lossy(&replays[0].stdout).contains("VIOLATION"));
}

#[test]
fn a_saved_tape_replays_its_run() {
    let dir = tempfile::tempdir().unwrap();
    let tape = dir.path().join("seed.tape");
    let tape = tape.to_str().unwrap();
    let saved = sim(&["replay", "12", "--json", "--save", tape]);
    let replayed = sim(&["replay", tape, "--json"]);
    assert_eq!((saved.status.code(), saved.stdout), (Some(0), replayed.stdout));
}

#[test]
fn recorded_data_is_a_workload_and_its_bad_rows_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plant.csv");
    let mut csv = String::from("time;machine;temp;flow\n");
    for n in 0..500 {
        csv += &format!("2026-03-01 10:{:02}:{:02}.25{};m1;{},5;{}\n", n / 60, n % 60, n % 10, n, n % 7);
    }
    csv += "not a time;m1;1;1\n";
    std::fs::write(&path, csv).unwrap();
    let output = sim(&["run", "--seeds", "50", "--json", "--trace", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let summary: Value = serde_json::from_str(text(&output).lines().last().unwrap()).unwrap();
    assert_eq!(summary["trace_bad_rows"].as_u64(), Some(1));
    assert!(summary["points_written"].as_u64().unwrap() > 5000);
    assert!(String::from_utf8_lossy(&output.stderr).contains("plant.csv:502"));
}

#[test]
fn a_broken_engine_assumes_more_and_says_where() {
    let output = sim(&["assume", "--seeds", "150", "--plant", "N1", "--json"]);
    let lines: Vec<Value> = text(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.last().unwrap();
    assert_eq!(output.status.code(), Some(1), "{summary}");
    assert_eq!(summary["weakest"]["512"][0], "byte/garbage/at-once/any/none");
    let broken = lines.iter().find(|line| line["value"] == "in-order").unwrap();
    let replay: Vec<_> = broken["replay"].as_str().unwrap().split(' ').skip(2).collect();
    assert_eq!(sim(&replay).status.code(), Some(1), "{broken}");
}

#[test]
fn bad_usage_and_nothing_measured_exit_2() {
    for args in [
        &["run", "--plant", "W99"][..],
        &["run", "--shard", "3/3"],
        &["run", "--seeds", "0"],
        &["replay", "/no/such/file"],
        &["inspect", "/no/such/directory"],
        &["run", "--trace", "/no/such/file.csv"],
        &["walk"],
    ] {
        assert_eq!(sim(args).status.code(), Some(2), "{args:?}");
    }
}

/// What did nothing must not look like what did its work: not in the text, not in the JSON, and not in the exit status.
#[test]
fn nothing_measured_says_so_in_every_way() {
    for args in [
        &["run", "--seeds", "0"][..],
        &["run", "--seeds", "0", "--driver", "threads"],
        &["exhaust", "--short", "0", "--stories", "0"],
        &["assume", "--seeds", "0"],
    ] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output).contains("NOT MEASURED"), "{args:?}: {}", text(&output));
        let (code, summary) = summary(&[args, &["--json"]].concat());
        assert_eq!(code, Some(2), "{args:?}");
        let says = summary["result"] == "NotMeasured" || summary["measured"] == false;
        assert!(says, "{args:?}: {summary}");
    }
}

/// A directory without a store is neither sound nor damaged.
#[test]
fn a_directory_without_a_store_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("holiday.jpg"), "no store").unwrap();
    let output = sim(&["inspect", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no store"));
    // With a manifest that is nothing but damaged, it is damaged.
    std::fs::write(dir.path().join("MANIFEST"), [0; 512]).unwrap();
    assert_eq!(sim(&["inspect", dir.path().to_str().unwrap()]).status.code(), Some(1));
}

/// Shards in which the test bed went wrong count for nothing, whatever the others have found.
#[test]
fn a_broken_harness_in_a_shard_is_one_in_the_sum() {
    let dir = tempfile::tempdir().unwrap();
    let (_, sound) = summary(&["run", "--seeds", "50", "--json"]);
    let merged = |field: &str, value: u64| {
        let mut shard = sound.clone();
        shard[field] = value.into();
        let file = dir.path().join(field);
        std::fs::write(&file, format!("{shard}\n")).unwrap();
        let (code, merged) = summary(&["merge", "--json", file.to_str().unwrap()]);
        (code, merged["result"].as_str().unwrap().to_owned())
    };
    assert_eq!(merged("diverged", 0), (Some(0), "Survived".into()));
    assert_eq!(merged("diverged", 1), (Some(2), "HarnessBroken".into()));
    assert_eq!(merged("harness_failures", 1), (Some(2), "HarnessBroken".into()));
    assert_eq!(merged("violations", 1), (Some(1), "Violated".into()));
}

#[test]
fn one_run_says_how_it_ended_in_every_way() {
    let (code, held) = summary(&["replay", "12", "--json"]);
    assert_eq!((code, &held["result"]), (Some(0), &"Survived".into()));
    let (code, broke) = summary(&["replay", "12", "--plant", "F1", "--json"]);
    assert_eq!(code, Some(1));
    assert!(["Lost", "Invented", "Stuck"].contains(&broke["result"].as_str().unwrap()), "{broke}");
    assert_eq!(sim(&["shrink", "12"]).status.code(), Some(0), "there is nothing to shrink");
}

#[test]
fn inspect_reads_a_real_directory_and_finds_a_flipped_bit() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        Config { segment_bytes: 64 << 10, chunk_bytes: 128 << 10, flush_delay_ms: None, ..Config::default() };
    let engine = Engine::open(Arc::new(RealDisk::new(dir.path()).unwrap()), config).unwrap();
    for n in 0..2000 {
        engine.write(Point::new(1 + n % 3, n.into(), 0.5)).unwrap();
    }
    engine.close().unwrap();
    let path = dir.path().to_str().unwrap();
    let before: Vec<_> = std::fs::read(dir.path().join("MANIFEST")).unwrap();
    let (code, sound) = summary(&["inspect", path, "--json"]);
    assert_eq!((code, sound["sound"].as_bool(), sound["blocks"].as_u64()), (Some(0), Some(true), Some(3)));
    let chunk = dir.path().join("chunk-00000000.tw");
    let mut bytes = std::fs::read(&chunk).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    let output = sim(&["inspect", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("DAMAGED in 1 places"), "{}", text(&output));
    assert_eq!(std::fs::read(dir.path().join("MANIFEST")).unwrap(), before, "inspect changes nothing");
}
