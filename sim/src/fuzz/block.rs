//! Target `block`: an intact block is the one that would be encoded; another one than the manifest names is refused.

use super::fields::{Fields, bits};
use super::{reference, seal, wrong_accept, wrong_refusal};
use crate::drivers::Step;
use std::collections::BTreeMap;
use tidewall::store::block::{self, BlockRef};
use tidewall::{Entry, Lsn};

pub(super) fn ask(bytes: &[u8]) -> Step {
    parsed_as_described(bytes)?;
    let mut sealed = bytes.to_vec();
    seal::block(&mut sealed);
    parsed_as_described(&sealed)?;
    if let Some((named, _)) = reference::block(&sealed) {
        only_the_named_one(&mut sealed[..named.len as usize], &named)?;
    }
    what_is_encoded_comes_back(bytes)
}

/// The parser and the description agree on what is a block and what is in it.
fn parsed_as_described(bytes: &[u8]) -> Step {
    match (block::parse(bytes), reference::block(bytes)) {
        (None, None) => Ok(()),
        (Some((found, _)), None) => Err(wrong_accept(format!("{found:?} is not intact"))),
        (None, Some((described, _))) => Err(wrong_refusal(format!("{described:?} is refused"))),
        (Some((found, _)), Some((described, entries))) => {
            if found != described {
                return Err(wrong_accept(format!("{found:?}, not {described:?}")));
            }
            let decoded = match block::decode(bytes, &found) {
                Ok(decoded) => decoded.entries(),
                Err(why) => return Err(wrong_refusal(format!("{found:?}: {why}"))),
            };
            if decoded.iter().map(bits).eq(entries.iter().map(bits)) {
                Ok(())
            } else {
                Err(wrong_accept(format!("{found:?} gives other points")))
            }
        }
    }
}

/// One wrong bit, and a name that differs in one field: which one depends on the bytes.
fn only_the_named_one(bytes: &mut [u8], named: &BlockRef) -> Step {
    let draw = crc32fast::hash(bytes) as usize;
    let mut other = *named;
    match draw % 5 {
        0 => other.offset ^= 512,
        1 => other.chunk ^= 1,
        2 => other.crc ^= 1,
        3 => other.end_lsn.0 ^= 1 << 40,
        _ => other.last_ts ^= 1,
    }
    if block::decode(bytes, &other).is_ok() {
        return Err(wrong_accept(format!("{named:?} is taken for {other:?}")));
    }
    let bit = draw % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    if block::decode(bytes, named).is_ok() {
        return Err(wrong_accept(format!("bit {bit} of a block is flipped, and nobody notices")));
    }
    bytes[bit / 8] ^= 1 << (bit % 8);
    Ok(())
}

fn what_is_encoded_comes_back(bytes: &[u8]) -> Step {
    let mut fields = Fields(bytes);
    let tag = fields.tag();
    let (chunk, offset, first_lsn) = (fields.u64(), fields.u64(), fields.u64() >> 3);
    // Blocks hold each time once, in order.
    let by_time: BTreeMap<i64, Entry> =
        fields.entries().into_iter().map(|entry| (entry.ts_us, entry)).collect();
    let entries: Vec<_> = by_time.into_values().collect();
    let mut named = BlockRef {
        tag,
        chunk,
        offset,
        len: 0,
        crc: 0,
        count: 0,
        first_lsn: Lsn(first_lsn),
        end_lsn: Lsn(first_lsn + entries.len() as u64),
        first_ts: 0,
        last_ts: 0,
    };
    let encoded = block::encode(&mut named, &entries);
    let decoded = match block::decode(&encoded, &named) {
        Ok(decoded) => decoded.entries(),
        Err(why) => return Err(wrong_refusal(format!("{named:?}: {why}"))),
    };
    if !decoded.iter().map(bits).eq(entries.iter().map(bits)) {
        return Err(wrong_refusal(format!("{named:?} comes back with other points")));
    }
    parsed_as_described(&encoded)
}
