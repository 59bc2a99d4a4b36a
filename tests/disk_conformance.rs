//! The simulated disk is worth as much as it is like a real one: without faults, both answer the same calls alike and hold
//! the same names, lengths and bytes after each of them.
//!
//! | module | whose calls |
//! |---|---|
//! | `random` | any, from a fixed seed; and that no disk with a mistake goes through |
//! | `engine` | the engine's own: what it does to a real directory is recorded, and the same is done to a simulated disk |
//! | `wrong` | disks with one mistake each |
//!
//! What a power cut does to a real disk is compared in `power_cut`, what a kill does in `kill`.

#[path = "disk_conformance/engine.rs"]
mod engine;
#[path = "disk_conformance/random.rs"]
mod random;
#[path = "disk_conformance/wrong.rs"]
mod wrong;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidewall::disk::{Disk, Fate, MemDisk, OpenMode, RealDisk, What};
use tidewall_sim::disk::SimDisk;
use tidewall_sim::disk::recorder::{Call, Outcome, Player, Witness};
use tidewall_sim::timeline::Timeline;

/// Names and bytes: everything that a directory holds.
type Contents = BTreeMap<String, Vec<u8>>;

fn empty_sim() -> Arc<dyn Disk> {
    Arc::new(SimDisk::new(Timeline::default()))
}

/// What is in a real directory, past every disk.
fn contents_of(dir: &Path) -> Contents {
    let files = fs::read_dir(dir).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
    });
    files.collect()
}

/// What any disk holds, by its own word: each file as long as it says, and nothing readable behind that.
fn contents_by(disk: &dyn Disk) -> Contents {
    let content = |name: String| {
        let file = disk.open(&name, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        (name, bytes)
    };
    disk.list().unwrap().into_iter().map(content).collect()
}

/// Hears what a real directory did, does the same to a model of it, and looks for the first difference.
struct Comparison {
    dir: PathBuf,
    model: Arc<dyn Disk>,
    player: Player,
    calls: u64,
    difference: Option<String>,
}

impl Comparison {
    fn new(dir: &Path, model: Arc<dyn Disk>) -> Comparison {
        let player = Player::new(model.clone());
        Comparison { dir: dir.into(), model, player, calls: 0, difference: None }
    }

    fn compare(&mut self, call: &Call, real: &Outcome) -> Result<(), String> {
        let modelled = self.player.play(call);
        if modelled != *real {
            return Err(format!("{call:?}: the directory answers {real:?}, its model {modelled:?}"));
        }
        if !call.changes() {
            return Ok(());
        }
        let (real, modelled) = (contents_of(&self.dir), contents_by(&*self.model));
        if real == modelled {
            return Ok(());
        }
        let lens = |contents: &Contents| {
            contents.iter().map(|(name, bytes)| format!("{name}: {} bytes", bytes.len())).collect::<Vec<_>>()
        };
        Err(format!("after {call:?}: {:?} and {:?}", lens(&real), lens(&modelled)))
    }
}

impl Witness for Comparison {
    fn ended(&mut self, call: &Call, outcome: &Outcome) {
        self.calls += 1;
        if self.difference.is_none() {
            self.difference = self.compare(call, outcome).err();
        }
    }
}

/// A fresh real directory and a model of it get the same calls: the first difference, if there is one.
fn first_difference(model: Arc<dyn Disk>, calls: &[Call]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut real = Player::new(Arc::new(RealDisk::new(dir.path()).unwrap()));
    let mut comparison = Comparison::new(dir.path(), model);
    for call in calls {
        comparison.ended(call, &real.play(call));
    }
    comparison.difference
}

#[test]
fn a_lock_is_held_until_its_last_handle_goes() {
    let dir = tempfile::tempdir().unwrap();
    let disks: [Arc<dyn Disk>; 2] = [Arc::new(RealDisk::new(dir.path()).unwrap()), empty_sim()];
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

#[test]
fn what_one_handle_has_written_another_one_leaves_as_it_is() {
    // A write into what is reserved may write zeros behind itself, but not over what another handle has put there.
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    disk.open("a", OpenMode::Create).unwrap().set_len(1 << 20).unwrap();
    let [one, two] = [0, 1].map(|_| disk.open("a", OpenMode::Write).unwrap());
    two.write_at(5_000, &[2; 1_000]).unwrap();
    one.write_at(0, &[1]).unwrap();
    let mut bytes = [0; 1_000];
    two.read_at(5_000, &mut bytes).unwrap();
    assert_eq!(bytes, [2; 1_000]);
    // The file that has the name now is another one.
    let new = disk.open("b", OpenMode::Create).unwrap();
    new.write_at(0, &[3; 1_000]).unwrap();
    disk.rename("b", "a").unwrap();
    one.write_at(1 << 19, &[1]).unwrap();
    disk.open("a", OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [3; 1_000]);
}

/// As far as [`RealDisk`] writes zeros ahead of a write into what is reserved.
const STRIDE: u64 = 256 << 10;

#[test]
fn zeros_ahead_are_where_nothing_was_written_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let len = 5 * STRIDE + 100;
    let file = disk.open("f", OpenMode::Create).unwrap();
    file.set_len(len).unwrap();
    // Far ahead, then at the beginning, across the end of a stride, at the very end, and shortly before that.
    let writes =
        [(2 * STRIDE, 7), (0, 10), (STRIDE - 5, 9), (3 * STRIDE + 1, 500), (len - 3, 3), (len - 900, 5)];
    let mut expected = vec![0; len as usize];
    for (n, (offset, count)) in (1_u8..).zip(writes) {
        // By the handle that reserved the space, and in turn with it by others that were opened meanwhile.
        let other = disk.open("f", OpenMode::Write).unwrap();
        let file = if n % 2 == 0 { &other } else { &file };
        file.write_at(offset, &vec![n; count]).unwrap();
        expected[offset as usize..][..count].fill(n);
        assert!(contents_of(dir.path())["f"] == expected, "after write {n}");
    }
}

#[test]
fn data_ends_behind_the_last_of_it_however_many_holes_are_before() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let len = 12 * STRIDE;
    disk.open("f", OpenMode::Create).unwrap().set_len(len).unwrap();
    let mut ends = (0, 0);
    for offset in [5 * STRIDE, STRIDE, 8 * STRIDE + 7] {
        disk.open("f", OpenMode::Write).unwrap().write_at(offset, &[1; 100]).unwrap();
        let data_len = disk.open("f", OpenMode::Read).unwrap().data_len().unwrap();
        ends = (ends.0.max(offset + 100), data_len);
        assert!((ends.0..=len).contains(&data_len), "{data_len} after a write that ends at {}", ends.0);
    }
    // Only now: what has been read of a hole is data to some file systems.
    assert!(contents_of(dir.path())["f"][ends.1 as usize..].iter().all(|byte| *byte == 0));
}

#[test]
fn zeros_ahead_do_not_meet_what_other_threads_write() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let file = disk.open("f", OpenMode::Create).unwrap();
    let (piece, threads, strides) = (4096, 4, 160);
    file.set_len(strides * STRIDE).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let file = &file;
            scope.spawn(move || {
                for offset in (thread * piece..strides * STRIDE).step_by((threads * piece) as usize) {
                    file.write_at(offset, &vec![thread as u8 + 1; piece as usize]).unwrap();
                }
            });
        }
    });
    let written_by = |at: usize| (at as u64 / piece % threads) as u8 + 1;
    assert!(contents_of(dir.path())["f"].iter().enumerate().all(|(at, byte)| *byte == written_by(at)));
}
