//! The formats read a second time, from their descriptions: what is intact, and what it holds.
//!
//! Slow, short, and without a line of the engine's decoders; only CRC-32 itself is shared.

use tidewall::store::block::BlockRef;
use tidewall::wal::frame::FrameHeader;
use tidewall::{Entry, Generation, Lsn, TagId};

/// An intact frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Its points.
    pub entries: Vec<Entry>,
    /// Bytes that it takes, padding included.
    pub len: usize,
}

/// The intact frame at the start of some bytes.
pub fn frame(bytes: &[u8]) -> Option<Frame> {
    let header = bytes.get(..48).filter(|header| header.starts_with(b"TWF1"))?;
    let (payload_bytes, count) = (u32_at(header, 8) as usize, u32_at(header, 24));
    let (first_lsn, durable_lsn) = (u64_at(header, 32), u64_at(header, 40));
    let used = 48 + payload_bytes;
    let len = used.div_ceil(8) * 8;
    let meaningful = (1..=65_536).contains(&count)
        && payload_bytes == count as usize * 17
        && durable_lsn <= first_lsn
        && first_lsn <= u64::MAX - u64::from(count);
    if !meaningful || len > bytes.len() || crc32fast::hash(&bytes[8..used]) != u32_at(header, 4) {
        return None;
    }
    let header = FrameHeader {
        tag: TagId::new(u32_at(header, 12))?,
        generation: Generation { epoch: u32_at(header, 16), seq: u32_at(header, 20) },
        count,
        first_lsn: Lsn(first_lsn),
        durable_lsn: Lsn(durable_lsn),
    };
    // Nearly always 0: what keeps a payload from looking like a frame.
    let mask = bytes[28..32].iter().cycle();
    let payload: Vec<u8> = bytes[48..used].iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    Some(Frame { header, entries: columns(&payload), len })
}

/// The intact block at the start of some bytes.
pub fn block(bytes: &[u8]) -> Option<(BlockRef, Vec<Entry>)> {
    let header = bytes.get(..80).filter(|header| header.starts_with(b"TWB1"))?;
    let (payload_bytes, count) = (u32_at(header, 8) as usize, u32_at(header, 16));
    let len = 80 + payload_bytes;
    let crc = u32_at(header, 4);
    let sum = count > 0 && payload_bytes == count as usize * 17 && len <= bytes.len();
    if !sum || u32_at(header, 20) != 0 || crc32fast::hash(&bytes[8..len]) != crc {
        return None;
    }
    let named = BlockRef {
        tag: TagId::new(u32_at(header, 12))?,
        chunk: u64_at(header, 24),
        offset: u64_at(header, 32),
        len: len as u32,
        crc,
        count,
        first_lsn: Lsn(u64_at(header, 40)),
        end_lsn: Lsn(u64_at(header, 48)),
        first_ts: u64_at(header, 56) as i64,
        last_ts: u64_at(header, 64) as i64,
    };
    let entries = columns(&bytes[80..len]);
    // Each time once, in order of time: so says the first one's writer, and decoding does not look at every one again.
    let ends = (entries[0].ts_us, entries[entries.len() - 1].ts_us) == (named.first_ts, named.last_ts);
    let sound =
        ends && named.first_lsn < named.end_lsn && named.first_ts <= named.last_ts && u64_at(header, 72) == 0;
    sound.then_some((named, entries))
}

/// Bytes of the record at the start of some bytes up to its padding, if its checksum and lengths are right; its fields
/// may be anything.
pub fn record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..24).filter(|header| header.starts_with(b"TWM1"))?;
    let (record_bytes, used) = (u32_at(header, 8) as usize, 24 + u32_at(header, 12) as usize);
    let whole = record_bytes >= used && record_bytes.is_multiple_of(512) && used <= bytes.len();
    (whole && crc32fast::hash(&bytes[8..used]) == u32_at(header, 4)).then_some(used)
}

fn columns(payload: &[u8]) -> Vec<Entry> {
    let count = payload.len() / 17;
    let entry = |n: usize| Entry {
        ts_us: u64_at(payload, 8 * n) as i64,
        value: f64::from_bits(u64_at(payload, 8 * (count + n))),
        quality: payload[16 * count + n],
    };
    (0..count).map(entry).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
