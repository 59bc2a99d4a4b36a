//! What the simulated disk's own crashes leave is explained, each time; what they cannot leave is not.

use std::collections::BTreeMap;
use tidewall::disk::{Disk, OpenMode};
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::{Explained, Profile, SimDisk};

type Files = BTreeMap<String, Vec<u8>>;

/// `old`: two durable sectors of 1s, of which one was written over twice. `new`: renamed from `next`, grown, then cut.
/// `gone`: durable, and removed.
fn disk() -> SimDisk {
    let disk = SimDisk::from_files([("old", &[1; 1024][..]), ("gone", &[9; 10]), ("new", &[8; 512])]);
    let old = disk.open("old", OpenMode::Write).unwrap();
    old.write_at(512, &[2; 512]).unwrap();
    old.write_at(512, &[3; 512]).unwrap();
    let next = disk.open("next", OpenMode::Create).unwrap();
    next.write_at(0, &[4; 700]).unwrap();
    next.sync().unwrap();
    next.set_len(2000).unwrap();
    next.write_at(1024, &[5; 512]).unwrap();
    disk.rename("next", "new").unwrap();
    disk.remove("gone").unwrap();
    disk
}

#[test]
fn whatever_a_crash_leaves_is_explained() {
    let mut sum = Explained::default();
    for profile in [Profile::Sector, Profile::Byte] {
        for seed in 0..500 {
            let survivor = disk().power_cut(&mut Chooser::from_seed(seed), profile).contents();
            let explained = disk().explain(&survivor);
            sum.add(&explained.unwrap_or_else(|why| panic!("seed {seed}: {why}")));
        }
    }
    let each = [sum.kept, sum.lost, sum.torn, sum.names_lost];
    assert!(each.iter().all(|times| *times > 0), "{sum:?}");
}

/// With everything that is unsynced lost.
fn durable() -> Files {
    let file = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    [file("old", vec![1; 1024]), file("gone", vec![9; 10]), file("new", vec![8; 512])].into()
}

fn why_not(change: impl FnOnce(&mut Files)) -> String {
    let mut files = durable();
    assert_eq!(disk().explain(&files).map(|explained| explained.kept), Ok(0));
    change(&mut files);
    disk().explain(&files).expect_err("no crash leaves this").to_string()
}

#[test]
fn what_no_crash_can_leave_is_named() {
    assert!(why_not(|files| files.get_mut("old").unwrap()[3] = 7).contains("sector 0 was durable"));
    assert!(why_not(|files| files.get_mut("old").unwrap()[600] = 7).contains("none of its 3 versions"));
    assert!(why_not(|files| files.get_mut("old").unwrap().truncate(600)).contains("has 600 bytes"));
    assert!(why_not(|files| drop(files.remove("old"))).contains("names"));
    assert!(why_not(|files| drop(files.insert("else".into(), vec![]))).contains("names"));
    // The synced content of a file that has not got its name yet, with a sector that was never its.
    assert!(why_not(|files| drop(files.insert("new".into(), vec![5; 700]))).contains("new"));
}
