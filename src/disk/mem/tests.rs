//! What `MemDisk` tells tests: every version is there to be chosen, and every fate is what it says.

use super::*;

fn with_file() -> (MemDisk, Arc<dyn DiskFile>) {
    let disk = MemDisk::new();
    let file = disk.open("a", OpenMode::Create).unwrap();
    disk.sync_dir().unwrap();
    (disk, file)
}

fn read(disk: &MemDisk) -> Vec<u8> {
    super::super::read_all(&*disk.open("a", OpenMode::Read).unwrap()).unwrap()
}

/// The power fails, and everything survives in this version; what was asked, with the latest version of each.
fn cut(disk: &MemDisk, kept: usize) -> (MemDisk, Vec<(String, usize)>) {
    let mut asked = Vec::new();
    let survivor = disk.power_cut(|unsynced| {
        asked.push((format!("{:?}", unsynced.what), unsynced.latest));
        kept
    });
    (survivor, asked)
}

fn asked(disk: &MemDisk) -> Vec<(String, usize)> {
    cut(disk, 0).1
}

fn called(what: &str, latest: usize) -> (String, usize) {
    (what.into(), latest)
}

/// Decides the fate of the calls of one kind.
fn fated(disk: &MemDisk, kind: IoKind, fate: Fate) {
    disk.on_change(move |io| if io.kind == kind { fate } else { Fate::Succeeds });
}

#[test]
fn a_sector_survives_in_any_of_its_versions() {
    for kept in 0..4 {
        let (disk, file) = with_file();
        file.write_at(0, &[1; SECTOR_BYTES]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[2; SECTOR_BYTES]).unwrap();
        file.write_at(0, &[3; SECTOR_BYTES]).unwrap();
        let (survivor, asked) = cut(&disk, kept);
        assert_eq!(asked, [called("Sector(\"a\", 0)", 2)]);
        assert_eq!(read(&survivor), vec![1 + kept.min(2) as u8; SECTOR_BYTES]);
    }
}

#[test]
fn a_length_survives_in_any_of_its_versions_and_not_every_write_makes_one() {
    let grown = || {
        let (disk, file) = with_file();
        file.write_at(0, &[1; 100]).unwrap();
        file.sync().unwrap();
        (disk, file)
    };
    // A write within the length; growth that touches no byte; the same length once more; growth by a write; a cut.
    let (disk, file) = grown();
    file.write_at(10, &[2; 10]).unwrap();
    assert_eq!(asked(&disk), [called("Sector(\"a\", 0)", 1)]);
    for (kept, len) in [(0, 100), (1, 700), (9, 700)] {
        let (disk, file) = grown();
        file.set_len(700).unwrap();
        file.set_len(700).unwrap();
        let (survivor, asked) = cut(&disk, kept);
        assert_eq!((asked, read(&survivor).len()), (vec![called("Len(\"a\")", 1)], len));
    }
    for (kept, len) in [(0, 100), (1, 600), (2, 50)] {
        let (disk, file) = grown();
        file.write_at(90, &[3; 510]).unwrap();
        file.write_at(500, &[4; 10]).unwrap();
        file.set_len(50).unwrap();
        let (survivor, asked) = cut(&disk, kept);
        let sectors = [called("Sector(\"a\", 0)", 3), called("Sector(\"a\", 1)", 2)];
        assert_eq!(asked, [[called("Len(\"a\")", 2)].as_slice(), &sectors].concat());
        assert_eq!(read(&survivor).len(), len);
    }
}

#[test]
fn a_name_may_survive_and_what_is_synced_does() {
    let (disk, file) = with_file();
    file.write_at(0, &[1]).unwrap();
    file.sync().unwrap();
    disk.rename("a", "b").unwrap();
    let (survivor, asked_for) = cut(&disk, 0);
    assert_eq!(asked_for, [called("Name(\"b\")", 1)]);
    assert_eq!(survivor.list().unwrap(), ["a"]);
    // What has survived one power cut is durable.
    let (again, nothing) = cut(&survivor, 0);
    assert_eq!((again.list().unwrap(), read(&again), nothing.len()), (vec!["a".to_owned()], vec![1], 0));
    again.rename("a", "b").unwrap();
    again.sync_dir().unwrap();
    assert!(asked(&again).is_empty());
}

#[test]
fn a_dead_disk_says_so_and_does_nothing() {
    for (fate, survives) in [(Fate::PowerFailsBefore, 1), (Fate::PowerFailsAfter, 2)] {
        let (disk, file) = with_file();
        file.write_at(0, &[1]).unwrap();
        assert!(!disk.is_dead());
        fated(&disk, IoKind::Write, fate);
        file.write_at(0, &[2]).unwrap_err();
        assert!(disk.is_dead());
        file.sync().unwrap_err();
        disk.list().unwrap_err();
        assert_eq!(read(&cut(&disk, usize::MAX).0), [survives]);
    }
}

#[test]
fn a_call_that_fails_has_done_as_much_as_its_fate_says() {
    for (fate, left) in
        [(Fate::NoSpace, 0), (Fate::Fails, 0), (Fate::FailsAfter(0), 0), (Fate::FailsAfter(3), 3)]
    {
        let (disk, file) = with_file();
        file.write_at(0, &[1; 8]).unwrap();
        fated(&disk, IoKind::Write, fate);
        file.write_at(0, &[2; 8]).unwrap_err();
        assert_eq!(read(&disk).iter().filter(|byte| **byte == 2).count(), left, "{fate:?}");
    }
    for (fate, unsynced) in [(Fate::FailsAfter(0), 2), (Fate::Fails, 2), (Fate::FailsAfter(1), 0)] {
        let (disk, file) = with_file();
        file.write_at(0, &[1; 8]).unwrap();
        fated(&disk, IoKind::Sync, fate);
        file.sync().unwrap_err();
        assert_eq!(asked(&disk).len(), unsynced, "{fate:?}");
    }
}

#[test]
fn a_failed_sync_drops_what_was_unsynced_or_marks_it_clean() {
    let failed = |fate| {
        let (disk, file) = with_file();
        file.write_at(0, &[1; 2 * SECTOR_BYTES]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[2; 2 * SECTOR_BYTES]).unwrap();
        fated(&disk, IoKind::Sync, fate);
        file.sync().unwrap_err();
        fated(&disk, IoKind::Sync, Fate::Succeeds);
        (disk, file)
    };
    let (disk, file) = failed(Fate::SyncDrops);
    assert_eq!(read(&disk), [1; 2 * SECTOR_BYTES]);
    file.sync().unwrap();
    assert!(asked(&disk).is_empty());

    let (disk, file) = failed(Fate::SyncMarksClean);
    assert_eq!(read(&disk), [2; 2 * SECTOR_BYTES]);
    // Written again, a sector is one that a sync writes; the other one is not.
    file.write_at(0, &[3; SECTOR_BYTES]).unwrap();
    file.sync().unwrap();
    let (survivor, asked) = cut(&disk, 0);
    assert_eq!(asked, [called("Sector(\"a\", 1)", 1)]);
    assert_eq!(read(&survivor), [[3; SECTOR_BYTES], [1; SECTOR_BYTES]].concat());

    // They are fates of a sync. A write just fails.
    let (disk, file) = with_file();
    file.write_at(0, &[1; 8]).unwrap();
    fated(&disk, IoKind::Write, Fate::SyncDrops);
    file.write_at(0, &[2; 8]).unwrap_err();
    assert_eq!(read(&disk), [1; 8]);
}

#[test]
fn damage_is_seen_by_who_reads_and_is_no_write() {
    let (disk, file) = with_file();
    file.write_at(0, &[1; 8]).unwrap();
    file.sync().unwrap();
    disk.damage("a", |bytes| bytes[3] ^= 4);
    assert_eq!(read(&disk), [1, 1, 1, 5, 1, 1, 1, 1]);
    assert!(!file.is_empty().unwrap() && disk.open("b", OpenMode::Create).unwrap().is_empty().unwrap());
    assert_eq!(asked(&disk), [called("Name(\"b\")", 1)]);
}
