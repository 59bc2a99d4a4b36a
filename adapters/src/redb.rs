//! redb: a B-tree with transactions in one file, on `StorageBackend`.
//!
//! What it promises ([`Durability`], `docs/design.md`): a commit with `Durability::Immediate` is persistent when it returns,
//! and every earlier one with it; one with `Durability::None` is visible and may vanish, whole. What it asks of the disk: that
//! a write changes no byte outside of it ("powersafe overwrite"), that single bytes are written whole, and that a sync makes
//! what was written durable. That is the profile `byte`, with nothing said of order, or of a file's length.

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
    TableError,
};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use tidewall::disk::{Disk, DiskFile, OpenMode};
use tidewall_sim::disk::Profile;
use tidewall_sim::subject::{Ack, Bytes, Draw, Ending, Failure, Plan, Subject};

const FILE: &str = "db";

/// A new database has this name until it is one: `create` promises to initialise an empty file, and to refuse one that is
/// neither empty nor a database, such as a power cut in it leaves.
const NEW: &str = "db.new";

const TABLE: TableDefinition<u32, &[u8]> = TableDefinition::new("table");

/// Keys: few, so that they are overwritten and removed.
const KEYS: u32 = 40;

pub fn plan() -> Plan {
    Plan { profile: Profile::Byte, operations: 40, crash_within: 24, ..Plan::default() }
}

struct Backend(Arc<dyn DiskFile>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated disk")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

/// One transaction.
#[derive(Debug)]
pub struct Transaction {
    writes: Vec<(u32, Option<Bytes>)>,
    durable: bool,
    two_phase: bool,
    quick_repair: bool,
}

pub struct Store(Database);

impl Subject for Store {
    type Op = Transaction;
    type State = BTreeMap<u32, Bytes>;

    // Its pages and its cache are some hundred kilobytes, and a destructor takes a lock that unwinding has poisoned.
    const ENDING: Ending = Ending::Fail;

    fn draw(draw: &mut Draw<'_>, _: &Self::State) -> Transaction {
        let count = draw.between(1, 4);
        let mut write = |_| {
            let key = draw.below(KEYS);
            let len = draw.pick(&[10, 300, 3000, 20_000]);
            let value = (!draw.percent(20)).then(|| draw.bytes(len));
            (key, value)
        };
        let writes = (0..count).map(&mut write).collect();
        let two_phase = draw.percent(25);
        let quick_repair = draw.percent(15);
        Transaction { writes, durable: !draw.percent(25), two_phase, quick_repair }
    }

    fn expect(state: &mut Self::State, transaction: &Transaction) {
        for (key, value) in &transaction.writes {
            match value {
                Some(value) => state.insert(*key, value.clone()),
                None => state.remove(key),
            };
        }
    }

    fn open(disk: Arc<dyn Disk>) -> Result<Self, Failure> {
        let database = |file| Builder::new().set_cache_size(1 << 20).create_with_backend(Backend(file));
        if disk.list()?.iter().any(|name| name == FILE) {
            return Ok(Store(database(disk.open(FILE, OpenMode::Write)?)?));
        }
        let store = Store(database(disk.open(NEW, OpenMode::Create)?)?);
        disk.rename(NEW, FILE)?;
        disk.sync_dir()?;
        Ok(store)
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Ack, Failure> {
        let mut write = self.0.begin_write()?;
        let durability = if transaction.durable { Durability::Immediate } else { Durability::None };
        write.set_durability(durability)?;
        write.set_two_phase_commit(transaction.two_phase);
        write.set_quick_repair(transaction.quick_repair);
        {
            let mut table = write.open_table(TABLE)?;
            for (key, value) in &transaction.writes {
                match value {
                    Some(value) => drop(table.insert(*key, &value.0[..])?),
                    None => drop(table.remove(*key)?),
                }
            }
        }
        write.commit()?;
        Ok(if transaction.durable { Ack::Durable } else { Ack::Accepted })
    }

    fn dump(&mut self) -> Result<Self::State, Failure> {
        let read = self.0.begin_read()?;
        let table = match read.open_table(TABLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
            table => table?,
        };
        let mut state = BTreeMap::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            state.insert(key.value(), Bytes(value.value().to_vec()));
        }
        Ok(state)
    }
}
