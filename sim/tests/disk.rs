//! The simulated disk keeps exactly what a disk keeps, and loses everything that a disk may lose.
//!
//! Each possible image is looked for over many crashes of the same disk: the set of those seen must be the set of those
//! allowed, no less (the fault would never be tried) and no more (an alarm would be false).

use std::collections::BTreeSet;
use tidewall::disk::{Disk, OpenMode};
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::{Armed, Effect, IoKind, Profile, SimDisk, When};
use tidewall_sim::timeline::Timeline;

fn new_disk() -> SimDisk {
    SimDisk::new(Timeline::default())
}

/// What `see` makes of the survivors of many crashes.
fn survivors<T: Ord>(
    make: impl Fn() -> SimDisk,
    profile: Profile,
    see: impl Fn(&SimDisk) -> T,
) -> BTreeSet<T> {
    (0..600).map(|seed| see(&make().power_cut(&mut Chooser::from_seed(seed), profile))).collect()
}

/// The first byte of each sector.
fn sectors(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    disk.content(name).map(|bytes| bytes.iter().copied().step_by(512).collect())
}

/// `f` with two durable sectors of 1s.
fn with_durable_file() -> (SimDisk, std::sync::Arc<dyn tidewall::disk::DiskFile>) {
    let disk = new_disk();
    let file = disk.open("f", OpenMode::Create).unwrap();
    file.write_at(0, &[1; 1024]).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    (disk, file)
}

#[test]
fn what_was_synced_survives_every_crash() {
    let seen = survivors(|| with_durable_file().0, Profile::Any, |disk| disk.content("f"));
    assert_eq!(seen, BTreeSet::from([Some(vec![1; 1024])]));
}

#[test]
fn every_version_of_every_unsynced_sector_may_survive_in_every_combination() {
    let make = || {
        let (disk, file) = with_durable_file();
        file.write_at(0, &[2; 1024]).unwrap();
        file.write_at(0, &[3; 512]).unwrap();
        disk
    };
    let seen = survivors(make, Profile::Sector, |disk| sectors(disk, "f").unwrap());
    let all = [1, 2, 3].into_iter().flat_map(|first| [1, 2].map(|second| vec![first, second]));
    assert_eq!(seen, all.collect());
}

#[test]
fn an_interrupted_sector_may_be_new_up_to_a_byte_and_old_behind_it() {
    let make = || {
        let (disk, file) = with_durable_file();
        file.write_at(0, &[2; 512]).unwrap();
        disk
    };
    let splits = survivors(make, Profile::Byte, |disk| {
        let bytes = disk.content("f").unwrap();
        let at = bytes.iter().position(|byte| *byte != 2).unwrap();
        assert!(bytes[at..].iter().all(|byte| *byte == 1), "old behind the split");
        at
    });
    assert!(splits.contains(&0) && splits.contains(&512), "whole or not at all");
    assert!(splits.len() > 10, "and in between: {splits:?}");
}

#[test]
fn an_interrupted_sector_may_be_garbage_and_its_neighbours_are_not() {
    let make = || {
        let (disk, file) = with_durable_file();
        file.write_at(512, &[2; 512]).unwrap();
        disk
    };
    let seen = survivors(make, Profile::Garbage, |disk| {
        let bytes = disk.content("f").unwrap();
        assert_eq!(bytes[..512], [1; 512], "a sector that was not written");
        bytes[512..].to_vec()
    });
    assert!(seen.contains(&vec![1; 512]) && seen.contains(&vec![2; 512]));
    assert!(seen.len() > 5, "{} contents", seen.len());
}

#[test]
fn a_file_keeps_any_of_its_sizes_whatever_becomes_of_its_data() {
    let make = || {
        let (disk, file) = with_durable_file();
        file.write_at(1024, &[2; 512]).unwrap();
        file.write_at(1536, &[3; 512]).unwrap();
        disk
    };
    let seen = survivors(make, Profile::Sector, |disk| sectors(disk, "f").unwrap());
    let expected: [&[u8]; 7] =
        [&[1, 1], &[1, 1, 2], &[1, 1, 0], &[1, 1, 2, 3], &[1, 1, 0, 3], &[1, 1, 2, 0], &[1, 1, 0, 0]];
    assert_eq!(seen, expected.map(<[u8]>::to_vec).into());
}

#[test]
fn a_write_that_makes_a_file_longer_does_so_page_by_page() {
    // As seen on ext4: the end of a file at a page boundary inside its last write.
    let make = || {
        let (disk, file) = with_durable_file();
        file.write_at(1024, &[2; 9000]).unwrap();
        disk
    };
    let seen = survivors(make, Profile::Sector, |disk| disk.content("f").unwrap().len());
    assert_eq!(seen, [1024, 4096, 8192, 10_024].into());
    let explain = |len: usize| {
        let bytes = [vec![1; 1024], vec![2; len - 1024]].concat();
        make().explain(&[("f".to_owned(), bytes)].into())
    };
    assert!(explain(8192).is_ok());
    assert!(explain(8704).unwrap_err().to_string().contains("has 8704 bytes"));
}

#[test]
fn unsynced_names_come_and_go_independently_of_each_other_and_of_contents() {
    let make = || {
        let (disk, _) = with_durable_file();
        for name in ["g", "h"] {
            disk.open(name, OpenMode::Create).unwrap().sync().unwrap();
        }
        disk.remove("f").unwrap();
        disk
    };
    let seen = survivors(make, Profile::Sector, |disk| disk.list().unwrap().concat());
    assert_eq!(seen, ["", "f", "g", "h", "fg", "fh", "gh", "fgh"].map(String::from).into());
}

#[test]
fn a_rename_is_atomic_and_durable_after_a_sync_of_the_directory() {
    let make = |sync: bool| {
        move || {
            let (disk, _) = with_durable_file();
            let next = disk.open("f.next", OpenMode::Create).unwrap();
            next.write_at(0, &[9; 512]).unwrap();
            next.sync().unwrap();
            disk.sync_dir().unwrap();
            disk.rename("f.next", "f").unwrap();
            if sync {
                disk.sync_dir().unwrap();
            }
            disk
        }
    };
    let see = |disk: &SimDisk| (disk.list().unwrap(), sectors(disk, "f").unwrap());
    let old = (vec!["f".to_string(), "f.next".to_string()], vec![1, 1]);
    let new = (vec!["f".to_string()], vec![9]);
    assert_eq!(survivors(make(false), Profile::Sector, see), [old, new.clone()].into());
    assert_eq!(survivors(make(true), Profile::Sector, see), [new].into());
}

#[test]
fn a_failed_sync_drops_the_pages_or_marks_them_clean_and_the_next_one_says_ok() {
    let fail = |effect| {
        let (disk, file) = with_durable_file();
        file.write_at(0, &[2; 512]).unwrap();
        disk.arm(Armed { kind: IoKind::Sync, only: "", after: 0, sticky: false, effect });
        assert!(file.sync().is_err());
        let seen = sectors(&disk, "f").unwrap()[0];
        file.sync().unwrap();
        let durable: BTreeSet<_> = (0..100)
            .map(|seed| {
                let image =
                    disk.from_snapshot(&snapshot(&disk), &mut Chooser::from_seed(seed), Profile::Sector);
                sectors(&image, "f").unwrap()[0]
            })
            .collect();
        (seen, durable)
    };
    assert_eq!(
        fail(Effect::PagesDropped),
        (1, [1].into()),
        "reads see the old content, and so does the disk"
    );
    assert_eq!(
        fail(Effect::PagesClean),
        (2, [1, 2].into()),
        "reads see the new content, the disk may not have it"
    );
    assert_eq!(fail(Effect::None), (2, [2].into()), "still dirty: the second sync wrote it");
    assert_eq!(fail(Effect::RolledBack), (1, [1].into()), "as if nothing had been written");
}

#[test]
fn a_failed_sync_keeps_the_length_drops_what_it_should_hold_or_rolls_it_back() {
    let fail = |effect| {
        let (disk, file) = with_durable_file();
        file.write_at(1024, &[2; 512]).unwrap();
        file.set_len(700).unwrap();
        file.set_len(1536).unwrap();
        disk.arm(Armed { kind: IoKind::Sync, only: "", after: 0, sticky: false, effect });
        assert!(file.sync().is_err());
        let bytes = disk.content("f").unwrap();
        let image = disk.power_cut(&mut Chooser::from_seed(1), Profile::Sector);
        (bytes[699], bytes.get(700).copied(), bytes.len(), image.content("f").unwrap().len())
    };
    assert_eq!(fail(Effect::RolledBack), (1, Some(1), 1024, 1024));
    assert_eq!(fail(Effect::PagesClean), (1, Some(0), 1536, 1536), "the length is durable");
    let (.., seen, _) = fail(Effect::PagesDropped);
    assert_eq!(seen, 1536, "the length stays");
}

#[test]
fn a_failed_sync_of_the_directory_drops_its_changes_or_marks_them_clean() {
    let fail_in = |profile: Profile, effect, then: fn(&SimDisk)| {
        let (disk, _) = with_durable_file();
        disk.set_profile(profile);
        disk.open("g", OpenMode::Create).unwrap();
        disk.arm(Armed { kind: IoKind::SyncDir, only: "", after: 0, sticky: false, effect });
        assert!(disk.sync_dir().is_err());
        let seen = disk.list().unwrap().concat();
        then(&disk);
        disk.sync_dir().unwrap();
        let snapshot = snapshot(&disk);
        let image = |seed| disk.from_snapshot(&snapshot, &mut Chooser::from_seed(seed), profile);
        let durable: BTreeSet<_> = (0..100).map(|seed| image(seed).list().unwrap().concat()).collect();
        (seen, durable)
    };
    let fail = |effect, then| fail_in(Profile::Sector, effect, then);
    let names = |seen: &str, durable: &[&str]| {
        (seen.to_string(), durable.iter().map(|names| names.to_string()).collect::<BTreeSet<_>>())
    };
    let nothing: fn(&SimDisk) = |_| ();
    assert_eq!(fail(Effect::None, nothing), names("fg", &["fg"]));
    assert_eq!(fail(Effect::PagesDropped, nothing), names("f", &["f"]));
    assert_eq!(fail(Effect::PagesClean, nothing), names("fg", &["f", "fg"]));
    let make_another = |disk: &SimDisk| drop(disk.open("h", OpenMode::Create).unwrap());
    assert_eq!(
        fail(Effect::PagesClean, make_another),
        names("fg", &["fh", "fgh"]),
        "another name is synced alone"
    );
    let make_anew = |disk: &SimDisk| {
        disk.remove("g").unwrap();
        disk.open("g", OpenMode::Create).unwrap();
    };
    assert_eq!(fail(Effect::PagesClean, make_anew), names("fg", &["fg"]), "changed again, so written again");
    assert_eq!(fail(Effect::PagesClean, |disk| disk.rename("g", "i").unwrap()), names("fg", &["fi"]));
    // Where names become durable in order, a later one that is has brought the earlier ones with it.
    let in_order = "512/old/in-order/any/none".parse().unwrap();
    assert_eq!(fail_in(in_order, Effect::PagesClean, nothing), names("fg", &["f", "fg"]));
    assert_eq!(fail_in(in_order, Effect::PagesClean, make_another), names("fg", &["fgh"]));
}

fn snapshot(disk: &SimDisk) -> tidewall_sim::disk::Snapshot {
    disk.arm_snapshot(0, When::Before);
    disk.sync_dir().unwrap();
    disk.take_snapshots().remove(0)
}

#[test]
fn a_dead_disk_answers_errors_and_changes_nothing() {
    let (disk, file) = with_durable_file();
    disk.arm_crash(1, When::After);
    file.write_at(0, &[2; 512]).unwrap();
    assert!(file.sync().is_err(), "it took effect, and nobody is told");
    assert!(disk.is_dead());
    assert!(file.write_at(0, &[3; 512]).is_err() && disk.list().is_err() && disk.sync_dir().is_err());
    let survivor = disk.power_cut(&mut Chooser::from_seed(0), Profile::Any);
    assert_eq!(sectors(&survivor, "f"), Some(vec![2, 1]));
    assert!(survivor.list().is_ok());
}

#[test]
fn a_crash_before_an_io_leaves_no_trace_of_it() {
    let (disk, file) = with_durable_file();
    file.write_at(0, &[2; 512]).unwrap();
    disk.arm_crash(0, When::Before);
    assert!(file.sync().is_err());
    let seen: BTreeSet<_> = (0..50)
        .map(|seed| sectors(&disk.power_cut(&mut Chooser::from_seed(seed), Profile::Sector), "f").unwrap()[0])
        .collect();
    assert_eq!(seen, [1, 2].into());
}

#[test]
fn errors_strike_once_or_for_good_and_space_can_come_back() {
    let (disk, file) = with_durable_file();
    disk.arm(Armed { kind: IoKind::Write, only: "f", after: 1, sticky: false, effect: Effect::Part(128) });
    assert!(file.write_at(0, &[2; 4]).is_ok());
    assert!(file.write_at(0, &[3; 4]).is_err());
    assert_eq!(disk.content("f").unwrap()[..4], [3, 3, 2, 2], "half of it was written");
    assert!(file.write_at(0, &[4; 4]).is_ok());
    disk.arm(Armed { kind: IoKind::Read, only: "", after: 0, sticky: true, effect: Effect::None });
    assert!(file.read_at(0, &mut [0]).is_err() && file.read_at(0, &mut [0]).is_err());
    disk.heal();
    assert!(file.read_at(0, &mut [0]).is_ok());
    disk.arm_no_space(0);
    assert!(file.write_at(0, &[5; 4]).is_ok(), "needs no space");
    assert_eq!(file.write_at(1022, &[5; 4]).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert!(disk.open("g", OpenMode::Create).is_err() && file.set_len(5000).is_err());
    disk.make_space();
    assert!(file.write_at(1022, &[5; 4]).is_ok());
}

#[test]
fn a_cut_is_often_undone_alone_with_what_was_written_since_in_front_of_what_is_back() {
    let undone = (0..600).filter(|seed| {
        let disk = new_disk();
        let file = disk.open("f", OpenMode::Create).unwrap();
        file.write_at(0, &[1; 4 * 512]).unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        file.set_len(512).unwrap();
        file.write_at(512, &[2; 512]).unwrap();
        let survivor = disk.power_cut(&mut Chooser::from_seed(*seed), Profile::Sector);
        sectors(&survivor, "f").unwrap() == [1, 2, 1, 1]
    });
    let undone = undone.count();
    assert!(undone >= 90, "in {undone} of 600 crashes");
}
