//! A log that its author believes in, and what the test bed says of it, nine times.
//!
//! `cargo run --release -p tidewall-sim --example naive_log` goes through all versions; `docs/your-own-store.md` goes with it.
//! Each version is the one before with one mistake less. They are all here, behind `STEP`, so that each can be run.

use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};
use tidewall_sim::disk::Profile;
use tidewall_sim::subject::{Ack, Bytes, Draw, Failure, Plan, Report, Subject, campaign};

/// An append-only log in one file. A record is its length, a checksum, and its bytes.
pub struct Log<const STEP: u32> {
    file: Arc<dyn DiskFile>,
    end: u64,
    /// A sync has failed: what is on the disk is not known.
    failed: bool,
}

const HEADER: usize = 8;

impl<const STEP: u32> Log<STEP> {
    /// Bytes that a record takes. Up to step 5 it shares a sector with the one before it, which may be durable.
    fn size(len: usize) -> usize {
        if STEP >= 6 { (HEADER + len).next_multiple_of(512) } else { HEADER + len }
    }

    fn encode(record: &[u8]) -> Vec<u8> {
        let mut bytes = (record.len() as u32).to_le_bytes().to_vec();
        bytes.extend(crc32fast::hash(record).to_le_bytes());
        bytes.extend(record);
        bytes.resize(Self::size(record.len()), 0);
        bytes
    }

    fn open(disk: &dyn Disk) -> std::io::Result<Log<STEP>> {
        let exists = disk.list()?.iter().any(|name| name == "log");
        let mode = if exists { OpenMode::Write } else { OpenMode::Create };
        let mut log = Log { file: disk.open("log", mode)?, end: 0, failed: false };
        // Step 3 has no such line: the file is synced, and its name is not.
        if STEP >= 4 {
            disk.sync_dir()?;
        }
        let records = log.scan()?;
        log.end = records.iter().map(|record| Self::size(record.len()) as u64).sum();
        // Step 4 appends in front of whatever lies behind the last good record.
        if STEP >= 5 {
            log.file.set_len(log.end)?;
            // Step 6 leaves the cut to the page cache. New records may be on the disk before it is, with old ones behind them.
            if STEP >= 7 {
                log.file.sync()?;
            }
        }
        // Step 8 believes what it reads, although a sync that failed may have left it in the page cache alone.
        if STEP >= 9 {
            let fresh = disk.open("log.new", OpenMode::Create)?;
            let bytes: Vec<u8> = records.iter().flat_map(|record| Self::encode(record)).collect();
            fresh.write_at(0, &bytes)?;
            fresh.sync()?;
            disk.rename("log.new", "log")?;
            disk.sync_dir()?;
            log.file = fresh;
        }
        Ok(log)
    }

    /// The records, up to the first that is not whole.
    fn scan(&self) -> std::io::Result<Vec<Vec<u8>>> {
        let mut bytes = vec![0; self.file.len()? as usize];
        self.file.read_at(0, &mut bytes)?;
        let (mut records, mut rest) = (Vec::new(), &bytes[..]);
        while rest.len() >= HEADER {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four bytes"));
            let len = word(0) as usize;
            let Some(record) = rest.get(HEADER..HEADER + len) else { break };
            // Step 2 writes a checksum and does not look at it.
            if len == 0 || (STEP >= 3 && crc32fast::hash(record) != word(4)) {
                break;
            }
            records.push(record.to_vec());
            rest = rest.get(Self::size(len)..).unwrap_or_default();
        }
        Ok(records)
    }

    fn append(&mut self, record: &[u8]) -> std::io::Result<()> {
        self.file.write_at(self.end, &Self::encode(record))?;
        self.end += Self::size(record.len()) as u64;
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        // Step 1 says that it is durable, and leaves it to the page cache.
        if STEP >= 2 {
            let synced = self.file.sync();
            // Step 7 tries again after a failed sync, and the second one says `Ok`.
            self.failed = STEP >= 8 && synced.is_err();
            synced?;
        }
        Ok(())
    }
}

/// What the test bed may do with a log.
#[derive(Debug)]
pub enum Op {
    /// A record more.
    Append(Bytes),
    /// All of them are durable.
    Sync,
}

impl<const STEP: u32> Subject for Log<STEP> {
    type Op = Op;
    type State = Vec<Bytes>;

    fn draw(draw: &mut Draw<'_>, _: &Vec<Bytes>) -> Op {
        if draw.percent(30) {
            return Op::Sync;
        }
        let len = draw.pick(&[20, 500, 504, 1200]);
        Op::Append(draw.bytes(len))
    }

    fn expect(state: &mut Vec<Bytes>, op: &Op) {
        if let Op::Append(record) = op {
            state.push(record.clone());
        }
    }

    fn open(disk: Arc<dyn Disk>) -> Result<Self, Failure> {
        Ok(Log::open(&*disk)?)
    }

    fn apply(&mut self, op: &Op) -> Result<Ack, Failure> {
        if self.failed {
            return Err("a sync has failed: open the log again".into());
        }
        match op {
            Op::Append(record) => self.append(&record.0).map(|()| Ack::Accepted),
            Op::Sync => self.sync().map(|()| Ack::Durable),
        }
        .map_err(Failure::from)
    }

    fn dump(&mut self) -> Result<Vec<Bytes>, Failure> {
        Ok(self.scan()?.into_iter().map(Bytes).collect())
    }
}

/// So many runs of one version.
pub type Step = fn(u64) -> Report;

/// Nothing but the power fails, and a sector whose write that interrupts may hold zeros or noise.
fn any_sector(runs: u64) -> Plan {
    Plan { runs, profile: Profile::Any, ..Plan::default() }
}

/// The steps: what is wrong, and how the test bed is asked. Until step 4 it is enough that the power fails.
pub const STEPS: [(&str, Step); 9] = [
    ("1: no sync", |runs| campaign::<Log<1>>(&Plan { runs, ..Plan::default() })),
    ("2: a checksum that nobody looks at", |runs| campaign::<Log<2>>(&Plan { runs, ..Plan::default() })),
    ("3: a sync of the file, none of its name", |runs| campaign::<Log<3>>(&Plan { runs, ..Plan::default() })),
    ("4: what lies behind the end stays there", |runs| campaign::<Log<4>>(&Plan { runs, ..Plan::default() })),
    ("5: two records in one sector", |runs| campaign::<Log<5>>(&any_sector(runs))),
    ("6: the end is cut off, and the cut not synced", |runs| campaign::<Log<6>>(&any_sector(runs))),
    ("7: a failed sync is tried again", |runs| campaign::<Log<7>>(&Plan { runs, ..Plan::harsh() })),
    ("8: a page cache is believed", |runs| campaign::<Log<8>>(&Plan { runs, ..Plan::harsh() })),
    ("9: nothing is known to be wrong", |runs| campaign::<Log<9>>(&Plan { runs, ..Plan::harsh() })),
];

fn main() {
    for (what, campaign) in STEPS {
        println!("\n== step {what}\n{}", campaign(10_000));
    }
}
