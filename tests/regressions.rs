//! Every saved tape: a run that once broke a promise, and must not again. The first line of each tells its story.
//!
//! A tape is a list of decisions, so it means what it meant only as long as the workload asks for the same ones. So each
//! names a planted bug that puts the mistake back, and must fail with it. One that does not has lost its meaning: find the
//! story again (`cargo sim run --plant NAME`), and shrink it into its file (`cargo sim shrink SEED --plant NAME -o FILE`).

use std::path::Path;
use tidewall::plant::Bug;
use tidewall_sim::choice::Chooser;
use tidewall_sim::drivers::{self, Driver};
use tidewall_sim::scenario::Setting;
use tidewall_sim::tape_file::TapeFile;

#[test]
fn every_saved_tape_keeps_its_promises() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tapes");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are saved tapes");
    for path in paths {
        let file = TapeFile::parse(&std::fs::read(&path).unwrap()).expect("a tape").expect("a whole one");
        println!("{}: {}", path.display(), file.story);
        let setting = Setting {
            driver: Driver::named(&file.driver).expect("a known driver"),
            profile: file.profile.parse().expect("a known profile"),
            ..Setting::default()
        };
        let outcome = drivers::run(Chooser::from_tape(file.tape.clone()), setting);
        assert_eq!(outcome.violation, None, "{}: {}", path.display(), file.story);
        let plant = file.plant.as_deref().and_then(Bug::named);
        assert!(plant.is_some(), "{} names no planted bug", path.display());
        let outcome = drivers::run(Chooser::from_tape(file.tape), Setting { plant, ..setting });
        assert!(outcome.violation.is_some(), "{} tells nothing any more", path.display());
    }
}
