//! turso_core: SQLite's file format and a write-ahead log, on `IO` and `File`.
//!
//! What it promises (SQLite's `synchronous=FULL`, its default): a transaction is durable when `COMMIT` returns, and whole. What it
//! asks of the disk it does not say, so this is the kindest that there is: pages of 4096 bytes are written whole, names are durable
//! at once, and a length as soon as what was written is. What no sync has covered may be lost, and nothing else happens.
//!
//! Two things go past the question of this pair, and are left out. `IO` cannot sync a directory. And 0.4.3 and 0.4.4 do not sync the
//! first page of a new database before its log: a power cut leaves a file without a first page, and what the log has is lost or
//! refused, in the first run of either; 0.8 syncs it. Here it is synced as it is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tidewall::disk::{Disk, DiskFile, OpenMode};
use tidewall_sim::disk::{Persistence, Profile};
use tidewall_sim::subject::{Ack, Bytes, Draw, Ending, Failure, Plan, Subject};
use turso_core::{
    Buffer, Clock, Completion, CompletionError, Connection, Database, File, IO, LimboError, OpenFlags,
};

const KEYS: u32 = 20;

pub fn plan() -> Plan {
    Plan {
        profile: Profile::Exactly(Persistence::STRONGEST),
        operations: 30,
        crash_within: 24,
        ..Plan::default()
    }
}

fn failed(error: io::Error) -> LimboError {
    #[cfg(turso_0_4)]
    let error = CompletionError::IOError(error.kind());
    #[cfg(not(turso_0_4))]
    let error = CompletionError::IOError(error.kind(), "the simulated disk");
    error.into()
}

/// The simulated disk, a clock that stands nearly still, and numbers that are not random.
struct Files {
    disk: Arc<dyn Disk>,
    ticks: AtomicI64,
}

impl Files {
    fn tick(&self) -> i64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }
}

/// Databases are known to the process by their paths, also those that are no more: each life has another one, which leads to
/// the same files.
static LIVES: AtomicU64 = AtomicU64::new(0);

fn name(path: &str) -> &'static str {
    if path.ends_with("-wal") { "db-wal" } else { "db" }
}

impl Clock for Files {
    #[cfg(turso_0_4_3)]
    fn now(&self) -> turso_core::Instant {
        turso_core::Instant { secs: 1_000_000 + self.tick() / 1_000_000, micros: 0 }
    }

    // Only timeouts look at it, and nothing here takes so long.
    #[cfg(not(turso_0_4_3))]
    fn current_time_monotonic(&self) -> turso_core::MonotonicInstant {
        turso_core::MonotonicInstant::now()
    }

    #[cfg(not(turso_0_4_3))]
    fn current_time_wall_clock(&self) -> turso_core::WallClockInstant {
        turso_core::WallClockInstant { secs: 1_000_000 + self.tick() / 1_000_000, micros: 0 }
    }
}

impl IO for Files {
    fn open_file(&self, path: &str, _: OpenFlags, _: bool) -> turso_core::Result<Arc<dyn File>> {
        let name = name(path);
        let exists = self.disk.list().map_err(failed)?.iter().any(|there| there == name);
        let mode = if exists { OpenMode::Write } else { OpenMode::Create };
        Ok(Arc::new(Open(self.disk.open(name, mode).map_err(failed)?)))
    }

    fn remove_file(&self, path: &str) -> turso_core::Result<()> {
        self.disk.remove(name(path)).map_err(failed)
    }

    fn generate_random_number(&self) -> i64 {
        self.tick().wrapping_mul(0x5851_f42d_4c95_7f2d)
    }

    fn fill_bytes(&self, dest: &mut [u8]) {
        dest.fill_with(|| self.generate_random_number().to_le_bytes()[5]);
    }
}

struct Open(Arc<dyn DiskFile>);

impl File for Open {
    fn lock_file(&self, _: bool) -> turso_core::Result<()> {
        Ok(())
    }

    fn unlock_file(&self) -> turso_core::Result<()> {
        Ok(())
    }

    fn pread(&self, pos: u64, c: Completion) -> turso_core::Result<Completion> {
        let left = self.0.len().map_err(failed)?.saturating_sub(pos) as usize;
        let read = c.as_read().buf();
        let len = read.len().min(left);
        self.0.read_at(pos, &mut read.as_mut_slice()[..len]).map_err(failed)?;
        c.complete(len as i32);
        Ok(c)
    }

    fn pwrite(&self, pos: u64, buffer: Arc<Buffer>, c: Completion) -> turso_core::Result<Completion> {
        let is_new = pos == 0 && self.0.len().map_err(failed)? == 0;
        self.0.write_at(pos, buffer.as_slice()).map_err(failed)?;
        if is_new {
            self.0.sync().map_err(failed)?;
        }
        c.complete(buffer.len() as i32);
        Ok(c)
    }

    #[cfg(turso_0_4)]
    fn sync(&self, c: Completion) -> turso_core::Result<Completion> {
        self.0.sync().map_err(failed)?;
        c.complete(0);
        Ok(c)
    }

    #[cfg(not(turso_0_4))]
    fn sync(&self, c: Completion, _: turso_core::io::FileSyncType) -> turso_core::Result<Completion> {
        self.0.sync().map_err(failed)?;
        c.complete(0);
        Ok(c)
    }

    fn size(&self) -> turso_core::Result<u64> {
        self.0.len().map_err(failed)
    }

    fn truncate(&self, len: u64, c: Completion) -> turso_core::Result<Completion> {
        self.0.set_len(len).map_err(failed)?;
        c.complete(0);
        Ok(c)
    }
}

#[derive(Debug)]
pub enum Op {
    /// One transaction.
    Commit(Vec<(u32, Option<Bytes>)>),
    /// The log goes into the database file, and is empty then.
    Checkpoint,
}

pub struct Store {
    connection: Arc<Connection>,
    _database: Arc<Database>,
}

impl Subject for Store {
    type Op = Op;
    type State = BTreeMap<u32, Bytes>;

    // Its buffers are megabytes.
    const ENDING: Ending = Ending::Fail;

    fn draw(draw: &mut Draw<'_>, _: &Self::State) -> Op {
        if draw.percent(15) {
            return Op::Checkpoint;
        }
        let count = draw.between(1, 3);
        let mut write = |_| {
            let key = draw.below(KEYS);
            let len = draw.pick(&[10, 300, 2000]);
            (key, (!draw.percent(20)).then(|| draw.bytes(len)))
        };
        Op::Commit((0..count).map(&mut write).collect())
    }

    fn expect(state: &mut Self::State, op: &Op) {
        let Op::Commit(writes) = op else { return };
        for (key, value) in writes {
            match value {
                Some(value) => state.insert(*key, value.clone()),
                None => state.remove(key),
            };
        }
    }

    fn open(disk: Arc<dyn Disk>) -> Result<Store, Failure> {
        let io: Arc<dyn IO> = Arc::new(Files { disk, ticks: AtomicI64::new(0) });
        let path = format!("simulated-{}", LIVES.fetch_add(1, Ordering::Relaxed));
        #[cfg(turso_0_4)]
        let database = Database::open_file(io, &path)?;
        #[cfg(not(turso_0_4))]
        let database = Database::open_file(io, &path, Arc::new(turso_core::SqliteDialect))?;
        let connection = database.connect()?;
        connection.execute("CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v BLOB)")?;
        Ok(Store { connection, _database: database })
    }

    fn apply(&mut self, op: &Op) -> Result<Ack, Failure> {
        match op {
            Op::Commit(writes) => {
                self.connection.execute("BEGIN")?;
                for (key, value) in writes {
                    self.connection.execute(format!("DELETE FROM t WHERE k = {key}"))?;
                    if let Some(value) = value {
                        let mut hex = String::new();
                        value.0.iter().for_each(|byte| write!(hex, "{byte:02X}").expect("a string takes it"));
                        self.connection.execute(format!("INSERT INTO t VALUES ({key}, x'{hex}')"))?;
                    }
                }
                self.connection.execute("COMMIT")?;
                Ok(Ack::Durable)
            }
            Op::Checkpoint => {
                if let Some(mut statement) = self.connection.query("PRAGMA wal_checkpoint(TRUNCATE)")? {
                    statement.run_collect_rows()?;
                }
                Ok(Ack::Accepted)
            }
        }
    }

    fn dump(&mut self) -> Result<Self::State, Failure> {
        let rows = self.connection.prepare("SELECT k, hex(v) FROM t ORDER BY k")?.run_collect_rows()?;
        let mut state = BTreeMap::new();
        for row in rows {
            let [key, hex] = &row[..] else { return Err("not two columns".into()) };
            let hex = hex.to_string();
            let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2).unwrap_or("odd"), 16);
            let bytes: Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(byte).collect();
            state.insert(key.to_string().parse()?, Bytes(bytes?));
        }
        Ok(state)
    }
}
