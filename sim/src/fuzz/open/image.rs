//! The files of a store, as a fuzzer's bytes have made them.
//!
//! ```text
//! byte 0     bits 0-1  log streams, 0 is one     bit 2  make every checksum right     bit 3  begin with no file at all
//! then       changes, each: file 1, kind 1, and
//!              overwrite  offset 2, length 1, bytes        cut     length 2
//!              replace    length 2, bytes                  grow    zeros 2
//!              copy       from 2, to 2, length 2           remove
//! ```
//!
//! A file below 128 is one of the store's own; from 128 on it is made of the next bytes: a name that a store could have.

use crate::disk::SimDisk;
use crate::fuzz::fields::Fields;
use crate::fuzz::seal;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tidewall::store::{chunk, manifest};
use tidewall::{Config, Engine, Exec, InOrder, Point};

/// Contents by name.
pub(in crate::fuzz) type Files = BTreeMap<String, Vec<u8>>;

/// Files, and what to open them with.
pub(super) struct Image {
    pub(super) files: Files,
    pub(super) config: Config,
}

/// Bytes of all files, at most: what is asked for beyond is left out.
const TOTAL_MAX: usize = 128 << 10;

const STREAMS: usize = 3;

impl Image {
    pub(super) fn from_bytes(bytes: &[u8]) -> Image {
        let mut fields = Fields(bytes);
        let flags = fields.u8();
        let streams = usize::from(flags & 3) % STREAMS + 1;
        let mut files = if flags & 8 == 0 { sound(streams).clone() } else { Files::new() };
        while !fields.is_empty() {
            change(&mut files, &mut fields);
        }
        if flags & 4 != 0 {
            files.values_mut().for_each(|bytes| seal::file(bytes));
        }
        Image { files, config: config(streams) }
    }
}

fn change(files: &mut Files, fields: &mut Fields) {
    let name = name(files, fields);
    let room = TOTAL_MAX.saturating_sub(files.values().map(|bytes| bytes.len() + 64).sum());
    let kind = fields.u8() % 6;
    if kind == 5 {
        files.remove(&name);
        return;
    }
    if room < 64 {
        return;
    }
    let bytes = files.entry(name).or_default();
    match kind {
        0 => {
            let at = usize::from(fields.u16()).min(bytes.len());
            let len = fields.u8().into();
            let new = fields.take(len);
            let end = (at + new.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&new[..end - at]);
        }
        1 => {
            let len = usize::from(fields.u16()).min(room);
            *bytes = fields.take(len).to_vec();
        }
        2 => {
            let (from, to) = (usize::from(fields.u16()).min(bytes.len()), usize::from(fields.u16()));
            let to = to.min(bytes.len());
            let len = usize::from(fields.u16()).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
        3 => bytes.truncate(fields.u16().into()),
        _ => bytes.resize(bytes.len() + usize::from(fields.u16()).min(room), 0),
    }
}

fn name(files: &Files, fields: &mut Fields) -> String {
    let which = fields.u8();
    match which.checked_sub(128) {
        None => {
            let count = files.len().max(1);
            files.keys().nth(usize::from(which) % count).cloned().unwrap_or_else(|| manifest::NAME.into())
        }
        Some(made) => match made % 8 {
            0 => manifest::NAME.into(),
            1 => format!("wal-{:03}.log", fields.u8()),
            2 => format!("wal-{:02}-{:03}.log", fields.u8() % 4, fields.u8() % 8),
            6 => format!("wal-{:02}-{:03}.log", fields.u32(), fields.u8()),
            3 => chunk::name(fields.u8().into()),
            4 => chunk::name(fields.u64()),
            5 => format!("wal-{:03}.log", fields.u32()),
            _ => manifest::NEXT_NAME.into(),
        },
    }
}

/// The smallest files that there can be, and several of each kind.
fn config(wal_streams: usize) -> Config {
    Config {
        batch_points: 4,
        block_points: 8,
        wal_streams,
        segment_bytes: 2048,
        sector_bytes: 512,
        chunk_bytes: 2048,
        segments: 2,
        segments_max: 3,
        shards: 1,
        inbox_points: 0,
        flush_workers: 1,
        flush_delay_ms: None,
        ..Config::default()
    }
}

/// A store as a killed process leaves it: blocks in several chunks, segments that were used before, and a log to replay.
pub(in crate::fuzz) fn sound(streams: usize) -> &'static Files {
    static STORES: [OnceLock<Files>; STREAMS] = [const { OnceLock::new() }; STREAMS];
    STORES[streams - 1].get_or_init(|| {
        let disk = SimDisk::from_files([]);
        let exec = || -> Box<dyn Exec> { Box::new(InOrder) };
        let engine = Engine::open_with(Arc::new(disk.clone()), config(streams), exec())
            .expect("a new disk is in order");
        for n in 0..90 {
            engine.write(Point::new(1 + n % 3, n.into(), n.into())).expect("nothing is wrong with the disk");
        }
        engine.flush().expect("nothing is wrong with the disk");
        for n in 90..120 {
            engine.write(Point::new(1 + n % 3, n.into(), n.into())).expect("nothing is wrong with the disk");
            if n % 9 == 0 {
                engine.sync().expect("nothing is wrong with the disk");
            }
        }
        engine.sync().expect("nothing is wrong with the disk");
        drop(engine);
        disk.contents()
    })
}
