//! A crash leaves what the persistence profile allows, and each thing that it allows.

use std::collections::BTreeSet;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};
use tidewall_sim::choice::Chooser;
use tidewall_sim::disk::{Profile, SimDisk};
use tidewall_sim::timeline::Timeline;

/// What `see` makes of the survivors of many crashes on a disk with this profile.
fn survivors<T: Ord>(profile: &str, make: impl Fn() -> SimDisk, see: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
    let profile: Profile = profile.parse().unwrap();
    (0..1500).map(|seed| see(&make().power_cut(&mut Chooser::from_seed(seed), profile))).collect()
}

/// `f` with durable 1s.
fn with_durable_file(len: usize) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(Timeline::default());
    let file = disk.open("f", OpenMode::Create).unwrap();
    file.write_at(0, &vec![1; len]).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    (disk, file)
}

/// The first byte of each sector of `f`.
fn sectors(disk: &SimDisk) -> Vec<u8> {
    disk.content("f").unwrap().iter().copied().step_by(512).collect()
}

#[test]
fn a_physical_sector_holds_what_it_held_at_one_moment() {
    let make = || {
        let (disk, file) = with_durable_file(8192);
        file.write_at(0, &[2; 1024]).unwrap();
        file.write_at(512, &[3; 512]).unwrap();
        file.write_at(4096, &[4; 512]).unwrap();
        disk
    };
    let seen = survivors("4096/old/independent/any/none", make, |disk| {
        let sectors = sectors(disk);
        (sectors[0], sectors[1], sectors[8])
    });
    let first = [(1, 1), (2, 2), (2, 3)];
    assert_eq!(seen, first.iter().flat_map(|(a, b)| [(*a, *b, 1), (*a, *b, 4)]).collect());
}

#[test]
fn an_interrupted_write_of_a_part_destroys_the_rest_of_the_physical_sector() {
    let make = || {
        let (disk, file) = with_durable_file(8192);
        file.write_at(512, &[2; 512]).unwrap();
        disk
    };
    let see = |disk: &SimDisk| sectors(disk)[..9].to_vec();
    let zeroed = survivors("4096/zero/independent/any/none", make, see);
    let (old, new) = (vec![1; 9], vec![1, 2, 1, 1, 1, 1, 1, 1, 1]);
    let gone = vec![0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(zeroed, [old.clone(), new.clone(), gone].into());
    let alone = survivors("512/zero/independent/any/none", make, see);
    assert_eq!(alone, [old, new, vec![1, 0, 1, 1, 1, 1, 1, 1, 1]].into());
}

#[test]
fn a_write_that_stops_at_a_byte_leaves_zeros_or_noise_behind_it() {
    let make = || {
        let (disk, file) = with_durable_file(512);
        file.write_at(0, &[2; 512]).unwrap();
        disk
    };
    let split = |rest: fn(u8) -> bool| {
        move |disk: &SimDisk| {
            let bytes = disk.content("f").unwrap();
            let at = bytes.iter().position(|byte| *byte != 2).unwrap_or(512);
            (bytes[at..].iter().all(|byte| *byte == 1) || bytes[at..].iter().all(|byte| rest(*byte)), at)
        }
    };
    let zeroed = survivors("byte/zero/independent/any/none", make, split(|byte| byte == 0));
    assert!(zeroed.iter().all(|(explained, _)| *explained) && zeroed.len() > 10, "{zeroed:?}");
    let noisy = survivors("byte/garbage/independent/any/none", make, split(|_| true));
    assert!(noisy.len() > 10, "{noisy:?}");
}

#[test]
fn names_come_in_order_or_at_once_where_the_disk_promises_it() {
    let make = || {
        let (disk, _) = with_durable_file(512);
        disk.open("g", OpenMode::Create).unwrap();
        disk.open("h", OpenMode::Create).unwrap();
        disk.remove("f").unwrap();
        disk
    };
    let names = |disk: &SimDisk| disk.list().unwrap().concat();
    let seen = |profile| survivors(profile, make, names);
    assert_eq!(seen("512/old/in-order/any/none"), ["f", "fg", "fgh", "gh"].map(String::from).into());
    assert_eq!(seen("512/old/at-once/any/none"), ["gh"].map(String::from).into());
}

#[test]
fn a_length_waits_for_its_data_or_keeps_step_with_it() {
    let make = || {
        let (disk, file) = with_durable_file(512);
        file.write_at(512, &[2; 512]).unwrap();
        file.write_at(1024, &[3; 512]).unwrap();
        disk
    };
    let seen = |profile| survivors(profile, make, sectors);
    let whole: [&[u8]; 3] = [&[1], &[1, 2], &[1, 2, 3]];
    let whole = BTreeSet::from(whole.map(<[u8]>::to_vec));
    for profile in ["512/old/independent/with/none", "512/old/independent/after/none"] {
        assert_eq!(seen(profile), whole, "{profile}");
    }
    assert_eq!(seen("512/old/independent/any/ordered"), whole, "data=ordered");
    assert!(seen("512/old/independent/any/none").contains(&vec![1, 0, 3]));
    // They differ where a write changes durable bytes and the length at once.
    let make = || {
        let (disk, file) = with_durable_file(512);
        file.write_at(0, &[2; 600]).unwrap();
        disk
    };
    let see = |disk: &SimDisk| (sectors(disk)[0], disk.content("f").unwrap().len());
    let torn = [(1, 512), (2, 512)];
    let with = survivors("512/old/independent/with/none", make, see);
    assert_eq!(with, [&torn[..], &[(2, 600)]].concat().into_iter().collect(), "its last sector may be lost");
    assert_eq!(survivors("4096/old/independent/with/none", make, see), [(1, 512), (2, 600)].into());
    assert_eq!(
        survivors("4096/old/independent/after/none", make, see),
        [(1, 512), (2, 512), (2, 600)].into(),
        "the length comes later than the data"
    );
}

#[test]
fn a_file_has_its_data_before_it_has_its_name_where_data_is_ordered() {
    let make = || {
        let (disk, _) = with_durable_file(512);
        let next = disk.open("next", OpenMode::Create).unwrap();
        disk.sync_dir().unwrap();
        next.write_at(0, &[9; 1024]).unwrap();
        disk.rename("next", "f").unwrap();
        next.write_at(0, &[8; 512]).unwrap();
        disk
    };
    for (names, whole) in [
        ("independent", &[&[1][..], &[9, 9], &[8, 9]][..]),
        ("in-order", &[&[1], &[9, 9], &[8, 9]]),
        ("at-once", &[&[9, 9], &[8, 9]]),
    ] {
        let whole: BTreeSet<_> = whole.iter().map(|sectors| sectors.to_vec()).collect();
        assert_eq!(survivors(&format!("512/old/{names}/any/ordered"), make, sectors), whole, "{names}");
        let synced = || {
            let disk = make();
            disk.sync_dir().unwrap();
            disk
        };
        let named = survivors(&format!("512/old/{names}/any/ordered"), synced, sectors);
        assert_eq!(named, [vec![9, 9], vec![8, 9]].into(), "{names}: the name is durable");
        let loose = survivors(&format!("512/old/{names}/any/none"), make, sectors);
        assert!(loose.contains(&vec![0, 9]), "{names}: {loose:?}");
    }
}

#[test]
fn a_file_is_shortened_as_a_whole_or_not_at_all_where_lengths_wait() {
    let make = |written: bool| {
        move || {
            let (disk, file) = with_durable_file(2048);
            file.set_len(512).unwrap();
            if written {
                file.write_at(0, &[2; 1024]).unwrap();
            }
            disk
        }
    };
    let ordered = "512/old/at-once/any/ordered";
    assert_eq!(survivors(ordered, make(false), sectors), [vec![1; 4], vec![1]].into());
    // What is written behind the cut may be there without it, as anything that no sync covers.
    let seen = survivors(ordered, make(true), sectors);
    assert!(seen.iter().all(|sectors| !sectors[1..].contains(&0)), "{seen:?}");
    assert!(seen.contains(&vec![2, 2]) && seen.contains(&vec![1; 4]), "{seen:?}");
    // A disk that promises nothing of lengths may do anything.
    let seen = survivors("512/old/at-once/any/none", make(false), sectors);
    assert!(seen.contains(&vec![1, 1, 0, 1]), "{seen:?}");
}
