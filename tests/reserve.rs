//! A write into reserved space writes zeros ahead of itself, and nobody sees a difference.

use tidewall::disk::{Disk, DiskFile, OpenMode, RealDisk};

/// As far as the zeros go.
const STRIDE: u64 = 256 << 10;

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

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
        assert!(content(&**file) == expected, "after write {n}");
    }
}

#[test]
fn zeros_ahead_do_not_meet_what_other_threads_write() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path()).unwrap();
    let file = disk.open("f", OpenMode::Create).unwrap();
    let (piece, threads) = (4096, 4);
    file.set_len(4 * STRIDE).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let file = &file;
            scope.spawn(move || {
                for offset in (thread * piece..4 * STRIDE).step_by((threads * piece) as usize) {
                    file.write_at(offset, &vec![thread as u8 + 1; piece as usize]).unwrap();
                }
            });
        }
    });
    let written_by = |at: usize| (at as u64 / piece % threads) as u8 + 1;
    assert!(content(&*file).iter().enumerate().all(|(at, byte)| *byte == written_by(at)));
}
