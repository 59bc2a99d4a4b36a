//! The picture of a run: it points at the moment where promise and fact part, it is silent where they do not, and a browser
//! shows it without an error.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tidewall::plant::Bug;
use tidewall_sim::choice::Chooser;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::picture::{self, Role, Subject, moments, suspects};
use tidewall_sim::record::Event;
use tidewall_sim::scenario::{Outcome, Setting};

fn run(driver: Driver, seed: u64, plant: Option<Bug>) -> Outcome {
    let setting = Setting { driver, plant, with_lines: true, ..Setting::default() };
    drivers::run(Chooser::from_seed(seed), setting)
}

/// The first seed that finds a planted bug.
fn failing(plant: Bug) -> Outcome {
    failing_with(plant, |_| true)
}

/// One mistake shows in many ways, and not each way has all that a picture can show.
fn failing_with(plant: Bug, shows: impl Fn(&Outcome) -> bool) -> Outcome {
    let driver = drivers::of(plant).expect("a driver finds it");
    let mut runs = (0..400).map(|seed| run(driver, seed, Some(plant)));
    let outcome = runs.find(|outcome| outcome.violation.is_some() && shows(outcome));
    outcome.unwrap_or_else(|| panic!("{plant:?}: none of the first seeds finds it so"))
}

fn page(outcome: &Outcome, plant: Option<Bug>) -> String {
    picture::html(&Subject {
        what: "a run".into(),
        driver: "sequential",
        profile: "any",
        plant,
        replay: "cargo sim replay 0 </script><b>&".into(),
        trace_hash: format!("{:016x}", outcome.hash.0),
        violation: outcome.violation.as_ref(),
        record: &outcome.record,
    })
}

#[test]
fn nothing_is_suspected_in_runs_of_a_sound_engine() {
    for (driver, seeds) in [(Driver::Sequential, 200), (Driver::Threads, 200), (Driver::Service, 60)] {
        for seed in 0..seeds {
            let outcome = run(driver, seed, None);
            assert_eq!(outcome.violation, None);
            assert!(outcome.record.len() > 20, "{driver:?} records what happens");
            assert_eq!(suspects(&outcome.record), [], "{driver:?}, seed {seed}");
            assert_eq!(moments(&outcome.record, None), [], "no promise broke");
        }
    }
}

/// The rules point at the mistake itself, where it is one that shows on the disk.
#[test]
fn the_cause_of_a_planted_bug_is_pointed_at() {
    let causes = [
        (Bug::F1, "no sync has covered"),
        (Bug::F4, "whose write had failed"),
        (Bug::F6, "that no sync has covered"),
        (Bug::W15, "is begun anew here"),
        (Bug::N1, "whose name no sync"),
        (Bug::I8, "a sync had failed"),
        (Bug::W6, "In fact"),
        (Bug::W8, "a sound reader finds"),
        (Bug::SV1, "the collector has not yet had an Ok"),
    ];
    for (bug, words) in causes {
        failing_with(bug, |outcome| {
            let moments = moments(&outcome.record, outcome.violation.as_ref());
            moments.iter().any(|moment| moment.role == Role::Cause && moment.words.contains(words))
        });
    }
}

#[test]
fn the_promise_is_marked_at_the_call_that_gave_it_and_the_fact_where_it_was_seen_broken() {
    let outcome = failing_with(Bug::F1, |outcome| {
        let moments = moments(&outcome.record, outcome.violation.as_ref());
        let promise = moments.iter().find(|moment| moment.role == Role::Promise);
        promise.is_some_and(|at| matches!(outcome.record[at.event].event, Event::Returned { .. }))
    });
    let moments = moments(&outcome.record, outcome.violation.as_ref());
    let at = |role| moments.iter().find(|moment| moment.role == role).expect("it is in the story").event;
    assert!(matches!(outcome.record[at(Role::Promise)].event, Event::Returned { error: None, .. }));
    assert_eq!(at(Role::Fact), outcome.record.len() - 1, "the run ends where it is seen");
    let page = page(&outcome, Some(Bug::F1));
    for (class, role) in [("promise", Role::Promise), ("fact", Role::Fact)] {
        let mark = format!("class=\"moment {class}\" id=\"e{}\"", at(role));
        assert_eq!(page.matches(&mark).count(), 1, "{mark}");
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "each link leads to one place");
}

#[test]
fn a_run_in_which_every_promise_held_has_no_red_mark() {
    let page = page(&run(Driver::Sequential, 0, None), None);
    assert!(!page.contains("class=\"moment"), "no moment is marked");
    assert!(page.contains("verdict held") && page.contains("Every promise held."));
}

#[test]
fn the_page_needs_nothing_else_and_is_the_same_each_time() {
    let first = page(&failing(Bug::F6), Some(Bug::F6));
    assert_eq!(first, page(&failing(Bug::F6), Some(Bug::F6)));
    for outside in ["http://", "https://", "src=", "@import", "url(", "<link"] {
        assert!(!first.contains(outside), "{outside}");
    }
    assert!(!first.contains("replay 0 </script>"), "what is shown is no markup");
}

#[test]
fn the_command_writes_the_page_and_exits_with_the_verdict() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out.html");
    let timeline = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
        let status = command.arg("timeline").args(args).arg("-o").arg(&out).stdout(Stdio::null()).status();
        let page = std::fs::read_to_string(&out).expect("the page is there");
        (status.expect("the command starts").code(), page)
    };
    let (code, page) = timeline(&["0"]);
    assert_eq!((code, page.contains("Every promise held.")), (Some(0), true));
    let (code, page) = timeline(&["0", "--driver", "sequential", "--plant", "F1"]);
    assert_eq!((code, page.contains("class=\"moment fact\"")), (Some(1), true));
    assert!(page.contains(Bug::F1.what()), "the page says what the planted bug is");
}

/// A browser, if there is one here.
fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let in_paths = std::env::split_paths(&paths).flat_map(|dir| names.map(|name| dir.join(name)));
    named.into_iter().chain(in_paths).find(|path| path.is_file())
}

/// The page's elements after its script has run.
fn dom(browser: &Path, page: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("page.html");
    std::fs::write(&file, page).expect("the page is written");
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,1000",
        "--dump-dom",
    ];
    let output = Command::new(browser)
        .args(flags)
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .stderr(Stdio::null())
        .output()
        .expect("the browser starts");
    String::from_utf8(output.stdout).expect("the page is text")
}

/// What the browser makes of a page with a broken promise in it.
fn judge(dom: &str) -> Result<(), String> {
    let root = dom.find("<html").and_then(|at| dom[at..].split('>').next()).ok_or("there is no page")?;
    if !root.contains("data-errors=\"0\"") {
        return Err(format!("the script failed: {root}"));
    }
    if !root.contains("data-ready=\"1\"") {
        return Err(format!("the script did not end: {root}"));
    }
    if !root.contains("data-fact=\"in view\"") {
        return Err(format!("the failing point is not in view: {root}"));
    }
    Ok(())
}

#[test]
fn a_browser_shows_the_failing_point_without_an_error() {
    let Some(browser) = browser() else {
        println!("SKIPPED: no chromium in PATH, and CHROMIUM names none");
        return;
    };
    for bug in [Bug::F1, Bug::C3, Bug::SV1] {
        let outcome = failing(bug);
        let page = page(&outcome, Some(bug));
        let dom = dom(&browser, &page);
        judge(&dom).unwrap_or_else(|why| panic!("{bug:?}: {why}"));
        // The script has told what the red mark is.
        let fact = moments(&outcome.record, outcome.violation.as_ref()).pop().expect("a fact");
        let detail = dom.split("<aside id=\"detail\"").nth(1).expect("the panel");
        let told: String = detail.chars().take_while(|letter| *letter != '\n').collect();
        assert!(told.contains(&fact.words[..12]), "{bug:?}: {told}");
    }
}

/// The check of the check.
#[test]
fn a_browser_finds_a_broken_script_and_a_mark_that_is_not_there() {
    let Some(browser) = browser() else {
        println!("SKIPPED: no chromium in PATH, and CHROMIUM names none");
        return;
    };
    let sound = page(&failing(Bug::F1), Some(Bug::F1));
    let broken = sound.replace("\"use strict\";", "\"use strict\"; nobodyKnowsThis();");
    assert_ne!(broken, sound);
    assert!(judge(&dom(&browser, &broken)).is_err_and(|why| why.contains("the script failed")));
    let unmarked = sound.replace("class=\"moment fact\"", "class=\"moment\"");
    assert_ne!(unmarked, sound);
    assert!(judge(&dom(&browser, &unmarked)).is_err_and(|why| why.contains("not in view")));
    let hidden = sound.replace(".moment.fact {", ".moment.fact { display: none;");
    assert_ne!(hidden, sound);
    assert!(judge(&dom(&browser, &hidden)).is_err_and(|why| why.contains("not in view")));
}
