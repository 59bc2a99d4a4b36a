//! What the engine assumes about disks stands in the README; what a broken engine assumes is more.

use tidewall::plant::Bug;
use tidewall_sim::assume::{self, Axis, Needs, SECTORS, Verdict};
use tidewall_sim::runner::Campaign;
use tidewall_sim::scenario::Setting;

fn needs(seeds: u64, plant: Option<Bug>, sector_bytes: u64) -> Needs {
    let setting = Setting { plant, sector_bytes: Some(sector_bytes), ..Setting::default() };
    let campaign = Campaign { recheck_percent: 0, ..Campaign::first(seeds, setting) };
    assume::walk(|disk| {
        let drawn = assume::campaign(disk, &campaign, |seed| panic!("seed {seed} does not end on {disk}"));
        if drawn == Verdict::Holds { assume::core(disk, &campaign) } else { drawn }
    })
}

#[test]
fn the_readme_says_on_which_disks_the_engine_is_right() {
    let columns = SECTORS.map(|sector_bytes| (sector_bytes, needs(250, None, sector_bytes)));
    let (_, widest) = &columns[1];
    assert!(widest.is_nothing(), "{widest:?}");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, section) = readme.split_once("<!-- assume -->\n").expect("the section begins");
    let (section, _) = section.split_once("\n<!-- /assume -->").expect("the section ends");
    assert_eq!(
        section,
        assume::table(&columns),
        "README.md between the marks must be what sim assume prints"
    );
}

#[test]
fn a_broken_engine_leans_on_promises_that_the_sound_one_does_without() {
    for (bug, weakest, axis) in [
        // A chunk's name that is not synced.
        (Bug::N1, "byte/garbage/at-once/any/none", Axis::Names),
        // A manifest that is renamed before its data is synced.
        (Bug::N2, "byte/garbage/independent/any/ordered", Axis::Order),
        // A sector that is written again after its sync.
        (Bug::P1, "byte/old/independent/any/none", Axis::Torn),
    ] {
        let needs = needs(300, Some(bug), 512);
        assert_eq!(needs.weakest.map(|disk| disk.to_string()).as_deref(), Some(weakest), "{}", bug.what());
        let lean = needs.leans().find(|cell| cell.axis == axis).expect("it breaks one step further");
        let Verdict::Breaks(found, violation) = &lean.verdict else { unreachable!("it leans there") };
        println!("{} leans on {}: {found:?} on {}: {violation}", bug.name(), axis.name(), lean.disk);
    }
}
