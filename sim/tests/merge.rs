//! Shards, each in a process of its own, and their sum.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().expect("the command starts")
}

fn last_object(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).expect("the output is text");
    serde_json::from_str(text.lines().last().expect("a line")).expect("an object a line")
}

/// Runs a part of a campaign and keeps its output.
fn shard(dir: &Path, name: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = sim(&[&["run", "--json", "--jobs", "1"], args].concat());
    let file: PathBuf = dir.join(name);
    std::fs::write(&file, &output.stdout).unwrap();
    (output.status.code(), file.to_str().unwrap().into())
}

fn merged(files: &[&str]) -> Output {
    sim(&[&["merge", "--json"], files].concat())
}

#[test]
fn three_shards_add_up_to_the_campaign_that_was_not_split() {
    let dir = tempfile::tempdir().unwrap();
    let seeds = ["--seeds", "300", "--start", "40", "--recheck", "20"];
    let shards = ["0/3", "1/3", "2/3"].map(|part| {
        let (code, file) =
            shard(dir.path(), &part.replace('/', "-"), &[&seeds[..], &["--shard", part]].concat());
        assert_eq!(code, Some(0), "{part}");
        file
    });
    let (_, whole) = shard(dir.path(), "whole", &seeds);
    let output = merged(&[&shards[2], &shards[0], &shards[1]]);
    assert_eq!(output.status.code(), Some(0));
    let mut whole: Value = serde_json::from_str(&std::fs::read_to_string(whole).unwrap()).unwrap();
    // What is distinct within each shard need not be so between two: their sum says nothing of these.
    for name in ["distinct_images", "distinct_states"] {
        whole["coverage"][name] = Value::Null;
    }
    let sum = last_object(&output);
    for (name, value) in whole.as_object().unwrap() {
        if !["seconds", "cpu_seconds", "seeds_per_cpu_second"].contains(&&name[..]) {
            assert_eq!(&sum[name], value, "{name}");
        }
    }
    assert_eq!(sum.as_object().unwrap().len(), whole.as_object().unwrap().len());
    assert!(sum["trace_hash"].is_string() && sum["acked_points_checked"].as_u64() > Some(0));

    let status = |files: &[&str]| merged(files).status.code();
    assert_eq!(status(&[&shards[0], &shards[1]]), Some(2), "one is missing");
    assert_eq!(status(&[&shards[0], &shards[1], &shards[1], &shards[2]]), Some(2), "one is there twice");
    assert_eq!(status(&[&shards[0], &shards[1], "/no/such/file"]), Some(2));
    let cut = dir.path().join("cut");
    std::fs::write(&cut, "").unwrap();
    assert_eq!(status(&[&shards[0], &shards[1], cut.to_str().unwrap()]), Some(2), "one was killed");
    // All in one file, as they come out of a log.
    let all = dir.path().join("all");
    let texts: Vec<_> = shards.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    std::fs::write(&all, texts.concat()).unwrap();
    assert_eq!(last_object(&merged(&[all.to_str().unwrap()]))["trace_hash"], sum["trace_hash"]);
}

#[test]
fn a_failing_shard_fails_the_sum_and_says_how_to_replay_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["0/2", "1/2"].map(|part| {
        let args = ["--seeds", "80", "--recheck", "0", "--plant", "F1", "--shard", part];
        let (code, file) = shard(dir.path(), &part.replace('/', "-"), &args);
        assert_eq!(code, Some(1), "{part}");
        file
    });
    let output = merged(&[&files[0], &files[1]]);
    assert_eq!(output.status.code(), Some(1));
    let sum = last_object(&output);
    assert_eq!(sum["result"], "Violated");
    assert!(sum["replay"].as_str().unwrap().starts_with("cargo sim replay "), "{sum}");
    assert_eq!(merged(&[&files[0]]).status.code(), Some(1), "a broken promise counts, whatever is missing");
    assert_eq!(sim(&["merge", &files[0], &files[1]]).status.code(), Some(1));
}

#[test]
fn shards_with_a_limit_of_time_add_up_whatever_they_have_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut seeds = 0;
    let files = ["0/2", "1/2"].map(|part| {
        let args = ["--time", "1", "--recheck", "0", "--shard", part];
        let (code, file) = shard(dir.path(), &part.replace('/', "-"), &args);
        assert_eq!(code, Some(0), "{part}");
        let line: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        seeds += line["seeds"].as_u64().unwrap();
        file
    });
    let output = merged(&[&files[0], &files[1]]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(last_object(&output)["seeds"].as_u64(), Some(seeds));
}
