//! The simulated disks are worth as much as they are like a real one: without faults, all answer the same calls alike.
//!
//! Random sequences of calls go to a directory of the file system, to a [`SimDisk`] and to a [`MemDisk`]; every answer, every error kind
//! and every byte must be the same. What a crash does cannot be compared this way: the `kill` test does that for a real
//! process, and the simulated crash has its own tests in `sim`.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, Fate, MemDisk, OpenMode, RealDisk, What};
use tidewall_sim::disk::SimDisk;
use tidewall_sim::timeline::Timeline;

#[derive(Clone, Debug)]
enum Call {
    Open { name: usize, mode: OpenMode },
    Close { handle: usize },
    Write { handle: usize, offset: u64, len: usize, fill: u8 },
    Read { handle: usize, offset: u64, len: usize },
    SetLen { handle: usize, len: u64 },
    Len { handle: usize },
    Sync { handle: usize },
    Rename { from: usize, to: usize },
    Remove { name: usize },
    List,
    SyncDir,
}

const NAMES: [&str; 3] = ["a", "b.log", "MANIFEST"];

fn call() -> impl Strategy<Value = Call> {
    let (name, handle) = (0..NAMES.len(), 0..4usize);
    let mode = prop_oneof![Just(OpenMode::Create), Just(OpenMode::Read), Just(OpenMode::Write)];
    prop_oneof![
        4 => (name.clone(), mode).prop_map(|(name, mode)| Call::Open { name, mode }),
        1 => handle.clone().prop_map(|handle| Call::Close { handle }),
        6 => (handle.clone(), 0..3000u64, 0..1500usize, any::<u8>())
            .prop_map(|(handle, offset, len, fill)| Call::Write { handle, offset, len, fill }),
        6 => (handle.clone(), 0..3000u64, 0..1500usize)
            .prop_map(|(handle, offset, len)| Call::Read { handle, offset, len }),
        3 => (handle.clone(), 0..4000u64).prop_map(|(handle, len)| Call::SetLen { handle, len }),
        2 => handle.clone().prop_map(|handle| Call::Len { handle }),
        2 => handle.prop_map(|handle| Call::Sync { handle }),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Call::Rename { from, to }),
        1 => name.prop_map(|name| Call::Remove { name }),
        1 => Just(Call::List),
        1 => Just(Call::SyncDir),
    ]
}

/// What a caller sees of the calls, one line each.
fn transcript(disk: &dyn Disk, calls: &[Call]) -> Vec<String> {
    let mut handles: Vec<Option<(Arc<dyn DiskFile>, OpenMode)>> = vec![None; 4];
    let mut next = 0;
    let mut see = |call: &Call| -> std::io::Result<String> {
        let file =
            |handle: &usize, handles: &[Option<(Arc<dyn DiskFile>, OpenMode)>]| handles[*handle].clone();
        Ok(match call {
            Call::Open { name, mode } => {
                handles[next % 4] = Some((disk.open(NAMES[*name], *mode)?, *mode));
                next += 1;
                "open".into()
            }
            Call::Close { handle } => {
                handles[*handle] = None;
                "closed".into()
            }
            Call::Write { handle, offset, len, fill } => match file(handle, &handles) {
                // Writing through a handle that was opened for reading is a mistake that the engine never makes.
                Some((file, mode)) if mode != OpenMode::Read => {
                    file.write_at(*offset, &vec![*fill; *len])?;
                    "written".into()
                }
                _ => "skipped".into(),
            },
            Call::SetLen { handle, len } => match file(handle, &handles) {
                Some((file, mode)) if mode != OpenMode::Read => {
                    file.set_len(*len)?;
                    "set".into()
                }
                _ => "skipped".into(),
            },
            Call::Read { handle, offset, len } => match file(handle, &handles) {
                Some((file, _)) => {
                    let mut bytes = vec![0; *len];
                    file.read_at(*offset, &mut bytes)?;
                    format!("{bytes:?}")
                }
                None => "skipped".into(),
            },
            Call::Len { handle } => match file(handle, &handles) {
                Some((file, _)) => format!("{} {}", file.len()?, file.is_empty()?),
                None => "skipped".into(),
            },
            Call::Sync { handle } => match file(handle, &handles) {
                Some((file, _)) => format!("{:?}", file.sync()?),
                None => "skipped".into(),
            },
            Call::Rename { from, to } => format!("{:?}", disk.rename(NAMES[*from], NAMES[*to])?),
            Call::Remove { name } => format!("{:?}", disk.remove(NAMES[*name])?),
            Call::List => format!("{:?}", disk.list()?),
            Call::SyncDir => format!("{:?}", disk.sync_dir()?),
        })
    };
    let answer =
        |answer: std::io::Result<String>| answer.unwrap_or_else(|error| format!("{:?}", error.kind()));
    calls.iter().map(|call| format!("{call:?}: {}", answer(see(call)))).collect()
}

fn all(calls: &[Call]) -> [Vec<String>; 3] {
    let dir = tempfile::tempdir().unwrap();
    let real = RealDisk::new(dir.path()).unwrap();
    let sim = SimDisk::new(Timeline::default());
    [transcript(&real, calls), transcript(&sim, calls), transcript(&MemDisk::new(), calls)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::default() })]

    #[test]
    fn all_disks_answer_every_sequence_of_calls_alike(calls in proptest::collection::vec(call(), 1..60)) {
        let [real, sim, mem] = all(&calls);
        prop_assert_eq!(&real, &sim);
        prop_assert_eq!(real, mem);
    }
}

#[test]
fn the_comparison_sees_contents_lengths_names_and_errors() {
    let calls = [
        Call::Open { name: 0, mode: OpenMode::Read },
        Call::Open { name: 0, mode: OpenMode::Create },
        Call::Write { handle: 0, offset: 510, len: 4, fill: 7 },
        Call::Read { handle: 0, offset: 508, len: 6 },
        Call::Read { handle: 0, offset: 512, len: 3 },
        Call::SetLen { handle: 0, len: 511 },
        Call::SetLen { handle: 0, len: 513 },
        Call::Read { handle: 0, offset: 509, len: 4 },
        Call::Rename { from: 0, to: 1 },
        Call::List,
        Call::Remove { name: 0 },
    ];
    let [real, sim, mem] = all(&calls);
    let answers: Vec<&str> =
        real.iter().map(|line| line.rsplit_once("}: ").map_or("", |(_, answer)| answer)).collect();
    let expected = [
        "NotFound",
        "open",
        "written",
        "[0, 0, 7, 7, 7, 7]",
        "UnexpectedEof",
        "set",
        "set",
        "[0, 7, 0, 0]",
        "()",
        "",
        "NotFound",
    ];
    assert_eq!(answers, expected);
    assert!(real[9].ends_with("[\"b.log\"]"));
    assert_eq!((&real, &real), (&sim, &mem));
}

#[test]
fn a_lock_is_held_until_its_last_handle_goes() {
    let dir = tempfile::tempdir().unwrap();
    let disks: [Arc<dyn Disk>; 3] = [
        Arc::new(RealDisk::new(dir.path()).unwrap()),
        Arc::new(SimDisk::new(Timeline::default())),
        Arc::new(MemDisk::new()),
    ];
    for disk in disks {
        let held = disk.open("LOCK", OpenMode::Lock).unwrap();
        let refused = disk.open("LOCK", OpenMode::Lock).err().map(|error| error.kind());
        assert_eq!(refused, Some(std::io::ErrorKind::WouldBlock));
        let clone = held.clone();
        drop(held);
        assert!(disk.open("LOCK", OpenMode::Lock).is_err());
        drop(clone);
        assert!(disk.open("LOCK", OpenMode::Lock).is_ok());
    }
}

/// After the same calls a power cut can leave the same: nothing unsynced, or all of it.
#[test]
fn a_power_cut_of_the_disk_in_memory_takes_what_was_not_synced() {
    let disk = MemDisk::new();
    let file = disk.open("a", OpenMode::Create).unwrap();
    file.write_at(0, &[1; 1024]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.power_cut(|_| 0).list().unwrap(), [""; 0], "its name was not durable");

    let disk = MemDisk::from_files([("a", 1024, &[(0, &[1; 1024][..])][..])]);
    let file = disk.open("a", OpenMode::Write).unwrap();
    file.write_at(500, &[2; 100]).unwrap();
    file.write_at(600, &[3; 500]).unwrap();
    disk.rename("a", "b").unwrap();
    let mut asked = Vec::new();
    let survivor = disk.power_cut(|unsynced| {
        asked.push(format!("{:?} {}", unsynced.what, unsynced.latest));
        match unsynced.what {
            What::Len(_) => 1,
            What::Sector(_, 1) => 1,
            What::Sector(..) | What::Name(_) => 0,
        }
    });
    let expected =
        ["Len(\"b\") 1", "Sector(\"b\", 0) 1", "Sector(\"b\", 1) 2", "Sector(\"b\", 2) 1", "Name(\"b\") 1"];
    assert_eq!(asked, expected);
    assert!(file.read_at(0, &mut [0]).is_err(), "the dead disk answers nobody");
    let file = survivor.open("a", OpenMode::Read).unwrap();
    let mut bytes = vec![0; 1100];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(
        [bytes[499], bytes[512], bytes[599], bytes[600], bytes[1023], bytes[1024]],
        [1, 2, 2, 1, 1, 0]
    );
}

#[test]
fn calls_of_the_disk_in_memory_fail_as_its_test_decides() {
    let fates = [
        Fate::Succeeds,
        Fate::FailsAfter(2),
        Fate::SyncMarksClean,
        Fate::Succeeds,
        Fate::NoSpace,
        Fate::PowerFailsAfter,
    ];
    let disk = MemDisk::from_files([("a", 4, &[][..])]);
    disk.on_change(move |io| fates[io.number as usize]);
    let file = disk.open("a", OpenMode::Write).unwrap();
    let content = |disk: &MemDisk| {
        let mut bytes = [0; 4];
        disk.open("a", OpenMode::Read).and_then(|file| file.read_at(0, &mut bytes)).unwrap();
        bytes
    };
    file.write_at(0, &[1; 4]).unwrap();
    assert_eq!(file.write_at(0, &[2; 4]).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(content(&disk), [2, 2, 1, 1], "a failed write has done part");
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(file.set_len(9).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert!(disk.rename("a", "b").is_err() && disk.is_dead());
    assert_eq!(disk.calls(), 6);
    assert_eq!(content(&disk.power_cut(|_| 0)), [0; 4], "what a failed sync marked clean was never written");
    let renamed = disk.power_cut(|unsynced| unsynced.latest);
    assert_eq!(renamed.list().unwrap(), ["b"]);
}
