//! The registry of planted bugs: where each of them is, what it covers, and how hard it is to find.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidewall::plant::Bug;
use tidewall_sim::bugs::ELSEWHERE;
use tidewall_sim::drivers;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources are beside the tests") {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn each_bug_is_planted_in_one_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("../src"), &mut files);
    sources(&root.join("src/drivers/service"), &mut files);
    let mut sites: BTreeMap<&str, Vec<(String, usize)>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.ends_with("plant.rs")) {
        let text = std::fs::read_to_string(file).expect("sources are text");
        for (number, line) in text.lines().enumerate() {
            for bug in Bug::ALL.iter().filter(|bug| line.contains(&format!("on(Bug::{})", bug.name()))) {
                sites.entry(bug.name()).or_default().push((file.display().to_string(), number + 1));
            }
        }
    }
    for bug in Bug::ALL {
        let sites = sites.get(bug.name()).map(Vec::as_slice).unwrap_or_default();
        // What two lines of one function have to agree on, or two functions of one file.
        let most = if matches!(bug, Bug::F7 | Bug::W8 | Bug::W15 | Bug::W17) { 2 } else { 1 };
        assert!((1..=most).contains(&sites.len()), "{}: {sites:?}", bug.name());
        assert!(sites.iter().all(|(file, _)| *file == sites[0].0), "{}: {sites:?}", bug.name());
    }
}

#[test]
fn each_class_of_the_catalogue_has_a_bug_or_a_reason() {
    let sections = [('W', 26), ('F', 24), ('C', 10), ('Q', 4)];
    for class in sections.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}"))) {
        let planted = Bug::ALL.iter().any(|bug| bug.name() == class);
        let elsewhere = ELSEWHERE.iter().any(|(name, why)| *name == class && why.len() > 20);
        assert!(planted != elsewhere, "{class}: planted {planted}, elsewhere {elsewhere}");
    }
    assert!(Bug::ALL.len() >= 100, "{} bugs", Bug::ALL.len());
}

#[test]
fn each_bug_has_its_line_in_the_table() {
    let table = include_str!("../bugs.csv");
    let lines: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let hunted: Vec<_> =
        Bug::ALL.iter().filter_map(|bug| Some((bug.name(), drivers::of(*bug)?.name()))).collect();
    assert_eq!(lines.iter().map(|line| (line[0], line[1])).collect::<Vec<_>>(), hunted);
    assert!(lines.iter().all(|line| line.len() == 4 && line[2].parse::<u64>().is_ok_and(|runs| runs > 0)));
}

#[test]
fn the_command_hunts_and_says_the_same_twice() {
    let sim = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().expect("the command starts");
        (output.status.code(), String::from_utf8(output.stdout).expect("the output is text"))
    };
    let hunt = |jobs| {
        let (code, text) = sim(&["bugs", "F1", "M", "--campaigns", "3", "--json", "--jobs", jobs]);
        assert_eq!(code, Some(0), "{text}");
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect::<Vec<Value>>()
    };
    let (one, two) = (hunt("1"), hunt("2"));
    let of = |lines: &[Value], field: &str| lines.iter().map(|line| line[field].clone()).collect::<Vec<_>>();
    for field in ["bug", "runs", "median", "verdict", "story"] {
        assert_eq!(of(&one, field), of(&two, field), "whatever the number of threads");
    }
    assert_eq!(of(&one, "bug")[..2], ["F1", "M1"]);
    let summary = one.last().unwrap();
    assert_eq!((summary["planted"].as_u64(), summary["caught"].as_u64()), (Some(2), Some(2)));
    let (code, list) = sim(&["bugs", "--list"]);
    assert_eq!((code, list.lines().count()), (Some(0), Bug::ALL.len()));
    assert_eq!(
        list.lines().next().unwrap().split_whitespace().take(2).collect::<Vec<_>>(),
        ["W1", "sequential"]
    );
    assert_eq!(sim(&["bugs", "W99"]).0, Some(2));
}
