use std::sync::Arc;
use tidewall::disk::RealDisk;
use tidewall::*;
#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path()).unwrap());
    let config = Config { segment_bytes: 64 << 10, chunk_bytes: 128 << 10, ..Config::default() };
    let e = Engine::open(disk.clone(), config.clone()).unwrap();
    for i in 0..100_000 {
        e.write(Point::new(1 + i % 7, i as i64, i as f64)).unwrap();
    }
    e.sync().unwrap();
    println!("{:#?}", e.stats());
    drop(e);
    println!("{}", inspect(&*disk).unwrap());
    let e = Engine::open(disk.clone(), config.clone()).unwrap();
    println!("{:#?}", e.recovery_report());
    let n: usize = (1..=7).map(|t| e.query(t, ..).unwrap().len()).sum();
    assert_eq!(n, 100_000);
    e.close().unwrap();
    let e = Engine::open(disk.clone(), config.clone()).unwrap();
    println!("{:#?}", e.recovery_report());
    println!("{}", inspect(&*disk).unwrap());
}
