//! The recipes of `sim/campaigns/`: what is on the page runs, and what is in the manifests is what `sim` takes.
//!
//! The commands are those of the files, run by `sh` with fewer seeds; only a cluster is not here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(name: &str) -> Yaml {
    let documents = YamlLoader::load_from_str(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(documents.len(), 1, "{name} is one document");
    documents.into_iter().next().unwrap()
}

/// A directory with the command where the recipes expect it: on the path, and where cargo builds it.
struct Host(TempDir);

impl Host {
    fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let release = dir.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sim"), release.join("sim")).unwrap();
        Host(dir)
    }

    fn sh(&self, script: &str, environment: &[(&str, &str)]) -> Output {
        let mut path = vec![self.0.path().join("target/release")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<PathBuf>>());
        Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.0.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .envs(environment.iter().copied())
            .output()
            .expect("there is a shell")
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

/// The page's blocks that a shell can run.
fn recipes() -> Vec<String> {
    let page = file("README.md");
    let blocks = page.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

fn is_there(command: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {command}")]).output().unwrap().status.success()
}

#[test]
fn the_recipes_for_hosts_run_and_end_with_a_verdict() {
    let recipes = recipes();
    assert_eq!(recipes.len(), 3, "xargs, parallel, and as long as there is time");
    for mut recipe in recipes {
        if recipe.contains("parallel") && !is_there("parallel") {
            println!("GNU parallel is not here: xargs takes its place");
            recipe = recipe.replace("parallel \"", "xargs -P 2 -I{} sh -c \"");
        }
        let host = Host::new();
        let output = host.sh(&recipe, &[("SHARDS", "3"), ("SEEDS", "60"), ("SECONDS_EACH", "1")]);
        let text = text(&output);
        assert!(output.status.success() && text.contains("Survived"), "{recipe}\n{text}");
        assert!(text.contains("3 shards of one campaign"), "{recipe}\n{text}");
    }
}

#[test]
fn a_recipe_fails_when_a_shard_fails() {
    let recipe = recipes()[0].replace("--json", "--plant F1 --json");
    let output = Host::new().sh(&recipe, &[("SHARDS", "2"), ("SEEDS", "80")]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn the_kubernetes_job_runs_one_shard_for_each_completion_index() {
    let job = yaml("kubernetes-job.yaml");
    let spec = &job["spec"];
    assert_eq!((job["kind"].as_str(), spec["completionMode"].as_str()), (Some("Job"), Some("Indexed")));
    let container = &spec["template"]["spec"]["containers"][0];
    let variables: BTreeMap<_, _> = container["env"]
        .as_vec()
        .unwrap()
        .iter()
        .map(|variable| (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap()))
        .collect();
    assert_eq!(variables["SHARDS"].parse(), Ok(spec["completions"].as_i64().unwrap()));
    assert!(variables["SEEDS"].parse::<u64>().is_ok());
    assert_eq!(
        (container["command"][0].as_str(), container["command"][1].as_str()),
        (Some("sh"), Some("-c"))
    );
    let command = container["args"][0].as_str().unwrap();

    let host = Host::new();
    let logs: String = ["0", "1", "2"]
        .map(|index| {
            let environment = [("SEEDS", "60"), ("SHARDS", "3"), ("JOB_COMPLETION_INDEX", index)];
            let output = host.sh(command, &environment);
            assert!(output.status.success(), "{command}\n{}", text(&output));
            String::from_utf8(output.stdout).unwrap()
        })
        .concat();
    fs::write(host.0.path().join("all.json"), logs).unwrap();
    let output = host.sh("sim merge all.json", &[]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_matrix_runs_every_shard_and_merges_them() {
    let workflow = yaml("github-matrix.yaml");
    let (shard, merge) = (&workflow["jobs"]["shard"], &workflow["jobs"]["merge"]);
    let run = |job: &Yaml| -> Vec<String> {
        let steps = job["steps"].as_vec().unwrap().iter();
        // What builds has been done by cargo, in this very test.
        let commands =
            steps.filter_map(|step| step["run"].as_str()).filter(|run| !run.starts_with("cargo build"));
        commands.map(str::to_owned).collect()
    };
    let indices = shard["strategy"]["matrix"]["shard"].as_vec().unwrap();
    let host = Host::new();
    for index in indices {
        let index = index.as_i64().unwrap().to_string();
        let value = |name: &str| shard["env"][name].as_str().unwrap().replace("${{ matrix.shard }}", &index);
        let (part, file) = (value("SHARD"), value("FILE"));
        assert_eq!(part, format!("{index}/{}", indices.len()));
        for command in run(shard) {
            let output = host.sh(&command, &[("SEEDS", "80"), ("SHARD", &part), ("FILE", &file)]);
            assert!(output.status.success(), "{command}\n{}", text(&output));
        }
    }
    assert_eq!(merge["needs"].as_str(), Some("shard"));
    for command in run(merge) {
        let output = host.sh(&command, &[]);
        assert!(
            output.status.success() && text(&output).contains("8 shards"),
            "{command}\n{}",
            text(&output)
        );
    }
}
