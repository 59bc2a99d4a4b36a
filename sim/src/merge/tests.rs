//! Summaries made by hand: what is added, and what is refused.

use super::*;

fn summary(shard: &str, more: Value) -> Map<String, Value> {
    let mut summary = json!({
        "kind": "summary", "driver": "sequential", "profile": "any", "sector_bytes": null, "plant": null, "trace_files": [],
        "trace_bad_rows": 0, "sources": "abc", "start": 7, "seeds_asked": 20, "time_asked": null,
        "recheck_percent": 2, "shard": shard, "result": "Survived", "seeds": 10, "rechecked": 1, "diverged": 0,
        "violations": 0, "acked_points_checked": 100, "crashes": 30, "crashes_per_seed": 3.0, "seconds": 1.5,
        "cpu_seconds": 2.0, "seeds_per_cpu_second": 5.0, "trace_hash": "ffffffffffffffff", "not_measured": [],
        "faults": {"torn": {"armed": 3, "fired": 1}},
    });
    let fields = summary.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    fields.clone()
}

fn lines(summaries: Vec<Map<String, Value>>) -> Lines {
    Lines { summaries, violations: Vec::new() }
}

fn refused(summaries: Vec<Map<String, Value>>) -> String {
    lines(summaries).merge().unwrap_err().0
}

#[test]
fn counts_are_added_rates_are_computed_and_hashes_wrap() {
    let other = json!({"seconds": 9.0, "trace_hash": "0000000000000003", "cpu_seconds": 3.0, "crashes": 50});
    let merged = lines(vec![summary("0/2", json!({})), summary("1/2", other)]).merge().unwrap();
    let expected = [
        ("seeds", json!(20)),
        ("crashes", json!(80)),
        ("crashes_per_seed", json!(4.0)),
        ("seeds_per_cpu_second", json!(4.0)),
        ("seconds", json!(9.0)),
        ("trace_hash", json!("0000000000000002")),
        ("faults", json!({"torn": {"armed": 6, "fired": 2}})),
        ("start", json!(7)),
        ("shard", json!("0/1")),
        ("result", json!("Survived")),
    ];
    for (name, value) in expected {
        assert_eq!(merged.summary[name], value, "{name}");
    }
}

#[test]
fn counts_that_nobody_has_heard_of_are_added_as_well() {
    let one =
        json!({"coverage": {"a": {"x": 1}, "kinds": ["p"]}, "never_reached": ["u", "v"], "u_per_w": 1.0});
    let two = json!({"coverage": {"a": {"x": 2, "y": 5}, "kinds": ["q", "p"]}, "never_reached": ["v"]});
    let merged = lines(vec![summary("0/2", one), summary("1/2", two)]).merge().unwrap().summary;
    assert_eq!(merged["coverage"], json!({"a": {"x": 3, "y": 5}, "kinds": ["p", "q"]}));
    assert_eq!(merged["never_reached"], json!(["v"]));
    assert!(!merged.contains_key("u_per_w"), "a rate of things that are not there says nothing");
}

#[test]
fn a_fault_is_not_measured_only_if_no_shard_has_seen_it() {
    let (many, faults) =
        (json!(600), json!({"torn": {"armed": 1, "fired": 0}, "rot": {"armed": 1, "fired": 0}}));
    let shard = |shard, missing| {
        let more = json!({"seeds": many, "seeds_asked": 1200, "faults": faults, "not_measured": missing});
        summary(shard, more)
    };
    let both =
        lines(vec![shard("0/2", json!(["torn", "rot"])), shard("1/2", json!(["torn"]))]).merge().unwrap();
    assert_eq!(both.summary["not_measured"], json!(["torn"]));
    assert_eq!(both.result, Conclusion::NotMeasured, "1,200 seeds ought to see it");
    let none = lines(vec![shard("0/2", json!(["rot"])), shard("1/2", json!(["torn"]))]).merge().unwrap();
    assert_eq!((none.result, &none.summary["not_measured"]), (Conclusion::Survived, &json!([])));
}

#[test]
fn a_failing_shard_fails_the_campaign_and_one_without_an_end_is_not_forgotten() {
    let failing = summary("1/2", json!({"violations": 1, "seeds": 3, "replay": "cargo sim replay 8"}));
    let merged = lines(vec![summary("0/2", json!({"replay": null})), failing]);
    assert!(merged.violated());
    let merged = merged.merge().unwrap();
    assert_eq!(
        (merged.result, &merged.summary["replay"]),
        (Conclusion::Violated, &json!("cargo sim replay 8"))
    );
    let mut hung = lines(vec![summary("0/2", json!({}))]);
    hung.read("b", "{\"kind\":\"violation\",\"seed\":9}\n").unwrap();
    assert!(hung.violated() && hung.merge().is_err());
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    for (name, value) in [
        ("driver", json!("threads")),
        ("profile", json!("byte")),
        ("sector_bytes", json!(4096)),
        ("plant", json!("W5")),
        ("sources", json!("def")),
        ("start", json!(8)),
        ("seeds_asked", json!(21)),
        ("time_asked", json!(5)),
        ("recheck_percent", json!(3)),
        ("trace_files", json!(["a.csv"])),
    ] {
        let other = summary("1/2", json!({ name: value }));
        let story = refused(vec![summary("0/2", json!({})), other]);
        assert!(story.starts_with(name), "{story}");
    }
}

#[test]
fn shards_that_are_missing_doubled_short_or_empty_are_refused() {
    let shard = |shard: &str| summary(shard, json!({}));
    let of_three = |shard: &str| summary(shard, json!({"seeds_asked": 30}));
    assert_eq!(refused(vec![]), "there is no summary");
    let story = refused(vec![of_three("0/3"), of_three("2/3")]);
    assert_eq!(story, "1 of 3 shards are missing, the first is 1/3");
    assert!(refused(vec![shard("0/2"), shard("0/2")]).contains("twice"));
    assert!(refused(vec![summary("0/2", json!({"seeds": 9})), shard("1/2")]).contains("9 of its 10 seeds"));
    let empty = summary("0/2", json!({"acked_points_checked": 0}));
    assert!(refused(vec![empty, shard("1/2")]).contains("measured nothing"));
    let split = refused(vec![shard("0/2"), summary("1/4", json!({"seeds": 5}))]);
    assert!(split.contains("two splits"), "{split}");
}

#[test]
fn with_a_limit_of_time_shards_may_have_come_to_different_lengths() {
    let shard = |shard, seeds| summary(shard, json!({"seeds_asked": null, "time_asked": 60, "seeds": seeds}));
    let merged = lines(vec![shard("0/2", 17), shard("1/2", 4)]).merge().unwrap();
    assert_eq!(merged.summary["seeds"], json!(21));
}

#[test]
fn output_that_is_not_of_a_campaign_is_named_by_file_and_line() {
    let mut lines = Lines::default();
    lines.read("a", "{\"kind\":\"summary\"}\n\n").unwrap();
    assert_eq!(lines.summaries.len(), 1);
    assert!(lines.read("b.json", "{}\nsim: no\n").unwrap_err().0.starts_with("b.json:2: "));
}
