//! Target `manifest`: an edit that is read is one that can be written, and a manifest is the sum of its intact records.

use super::{reference, seal, wrong_accept, wrong_refusal};
use crate::drivers::Step;
use tidewall::store::manifest;

const SECTOR: u64 = 512;

pub(super) fn ask(bytes: &[u8]) -> Step {
    decoded_as_described(bytes)?;
    loaded_as_described(bytes)?;
    let mut sealed = bytes.to_vec();
    seal::record(&mut sealed);
    decoded_as_described(&sealed)?;
    if let Some(used) = reference::record(&sealed) {
        one_wrong_bit_is_noticed(&mut sealed, used)?;
    }
    seal::file(&mut sealed);
    loaded_as_described(&sealed)
}

/// A record is intact, and encoding what was read and reading it again changes nothing.
fn decoded_as_described(bytes: &[u8]) -> Step {
    let Some(record) = manifest::decode(bytes) else { return Ok(()) };
    let number = record.number;
    if reference::record(bytes) != Some(record.used_bytes as usize) {
        return Err(wrong_accept(format!("record {number} is not intact")));
    }
    // What it holds is bounded by its bytes, not by what it states.
    let fields =
        record.edit.blocks.len() * 65 + record.edit.streams.iter().map(|s| s.spans.len() * 13).sum::<usize>();
    if fields > record.used_bytes as usize {
        return Err(wrong_accept(format!("record {number} holds more than its {} bytes", record.used_bytes)));
    }
    match manifest::decode(&manifest::encode(&record.edit, number, SECTOR)) {
        Some(again) if (again.number, &again.edit) == (number, &record.edit) => Ok(()),
        Some(again) => Err(wrong_accept(format!("{:?} is written as {:?}", record.edit, again.edit))),
        None => Err(wrong_refusal(format!("{:?} cannot be read again", record.edit))),
    }
}

fn one_wrong_bit_is_noticed(bytes: &mut [u8], used: usize) -> Step {
    let bit = crc32fast::hash(bytes) as usize % (used * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    if manifest::decode(bytes).is_some() {
        return Err(wrong_accept(format!("bit {bit} of a record is flipped, and nobody notices")));
    }
    bytes[bit / 8] ^= 1 << (bit % 8);
    Ok(())
}

/// Every record that counts is intact, none that is intact is left out, and their sum as one record is the same sum.
fn loaded_as_described(bytes: &[u8]) -> Step {
    let loaded = match manifest::load(bytes) {
        Ok(loaded) => loaded,
        Err((offset, _)) if offset as usize > bytes.len() => {
            return Err(wrong_refusal(format!("damage is reported at {offset}, behind the end")));
        }
        Err(_) => return Ok(()),
    };
    let mut end = 0;
    for range in &loaded.records {
        let used = bytes.get(range.start as usize..).and_then(reference::record);
        if range.start < end || used != Some((range.end - range.start) as usize) {
            return Err(wrong_accept(format!("the record at {} is not intact", range.start)));
        }
        end = range.end;
    }
    let counts = loaded.records.len() as u64 <= loaded.next_number || loaded.records.is_empty();
    if !counts || loaded.torn_bytes > bytes.len() as u64 {
        return Err(wrong_accept(format!(
            "{} records, the next is {}",
            loaded.records.len(),
            loaded.next_number
        )));
    }
    let streams = loaded.version.streams.len();
    if streams != loaded.version.geometry.wal_streams as usize || streams > 1024 {
        return Err(wrong_accept(format!("{streams} streams are not what the geometry says")));
    }
    match manifest::load(&manifest::encode(&loaded.version.to_edit(), 1, SECTOR)) {
        Ok(again) if again.version == loaded.version => Ok(()),
        Ok(again) => Err(wrong_accept(format!("{:?} is written as {:?}", loaded.version, again.version))),
        Err((offset, expected)) => {
            Err(wrong_refusal(format!("{:?}: expected {expected} at {offset}", loaded.version)))
        }
    }
}
