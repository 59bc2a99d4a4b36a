//! The program of section 2 of `docs/your-own-store.md`, word for word (a test compares them), and behind it a store that it
//! may be about. `cargo run --release -p tidewall-sim --example crash -- --help`
#![allow(missing_docs)]

use my_store::MyStore;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidewall::disk::Disk;
use tidewall_sim::subject::{Ack, Bytes, Draw, Failure, Plan, Subject};

pub struct Bed(MyStore);

#[derive(Debug)]
pub enum Op {
    Put(u32, Bytes),
    Sync,
}

impl Subject for Bed {
    type Op = Op; // one call, as a value
    type State = BTreeMap<u32, Bytes>; // all that a reader can see: a Vec, a map or a set of what can be compared and shown

    // The next call, drawn from the tape; `bytes` are such as no other call has.
    fn draw(draw: &mut Draw<'_>, _now: &Self::State) -> Op {
        if draw.percent(30) {
            return Op::Sync;
        }
        let (key, len) = (draw.below(20), draw.pick(&[10, 500, 3000]));
        Op::Put(key, draw.bytes(len))
    }

    // What a call does, in a world without crashes: the model.
    fn expect(state: &mut Self::State, op: &Op) {
        if let Op::Put(key, value) = op {
            state.insert(*key, value.clone());
        }
    }

    // A new store, or whatever a crash has left of one.
    fn open(disk: Arc<dyn Disk>) -> Result<Self, Failure> {
        Ok(Bed(MyStore::open(disk)?))
    }

    // What was promised. `Durable` covers this call and all before it.
    fn apply(&mut self, op: &Op) -> Result<Ack, Failure> {
        match op {
            Op::Put(key, value) => {
                self.0.put(*key, &value.0)?;
                Ok(Ack::Accepted)
            }
            Op::Sync => {
                self.0.sync()?;
                Ok(Ack::Durable)
            }
        }
    }

    // Everything, read back. Check what can be checked: an error here is a finding.
    fn dump(&mut self) -> Result<Self::State, Failure> {
        Ok(self.0.read_all()?.into_iter().map(|(key, value)| (key, Bytes(value))).collect())
    }
}

fn main() -> std::process::ExitCode {
    tidewall_sim::subject::main::<Bed>(&Plan { runs: 10_000, ..Plan::default() })
}

/// A map in memory; `sync` writes all of it to a new file, which takes the name of the old one.
mod my_store {
    use std::collections::BTreeMap;
    use std::io::{Error, ErrorKind, Result};
    use std::sync::Arc;
    use tidewall::disk::{Disk, OpenMode};

    pub struct MyStore {
        disk: Arc<dyn Disk>,
        values: BTreeMap<u32, Vec<u8>>,
    }

    impl MyStore {
        pub fn open(disk: Arc<dyn Disk>) -> Result<MyStore> {
            let mut values = BTreeMap::new();
            if disk.list()?.iter().any(|name| name == "map") {
                let file = disk.open("map", OpenMode::Read)?;
                let mut bytes = vec![0; file.len()? as usize];
                file.read_at(0, &mut bytes)?;
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (key, len) = (take(&mut rest, 4)?, take(&mut rest, 4)?);
                    let value = take(&mut rest, word(len) as usize)?;
                    values.insert(word(key), value.to_vec());
                }
            }
            Ok(MyStore { disk, values })
        }

        pub fn put(&mut self, key: u32, value: &[u8]) -> Result<()> {
            self.values.insert(key, value.to_vec());
            Ok(())
        }

        pub fn sync(&self) -> Result<()> {
            let mut bytes = Vec::new();
            for (key, value) in &self.values {
                bytes.extend(key.to_le_bytes());
                bytes.extend((value.len() as u32).to_le_bytes());
                bytes.extend(value);
            }
            let file = self.disk.open("map.new", OpenMode::Create)?;
            file.write_at(0, &bytes)?;
            file.sync()?;
            self.disk.rename("map.new", "map")?;
            self.disk.sync_dir()
        }

        pub fn read_all(&self) -> Result<BTreeMap<u32, Vec<u8>>> {
            Ok(self.values.clone())
        }
    }

    fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
        rest.split_off(..len)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "the map ends inside an entry"))
    }

    fn word(bytes: &[u8]) -> u32 {
        u32::from_le_bytes(bytes.try_into().expect("four bytes"))
    }
}
