//! The formats read a second time, from their descriptions: what is intact, and what it holds.
//!
//! Slow, short, and without a line of the engine's decoders; only CRC-32 itself is shared.

use tidewall::store::block::BlockRef;
use tidewall::wal::frame::{FrameHeader, Share};
use tidewall::{Entry, Generation, Lsn, TagId};

/// An intact frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Whose its points are.
    pub shares: Vec<Share>,
    /// Its points.
    pub entries: Vec<Entry>,
    /// Bytes that its checksum covers, and the checksum.
    pub used: usize,
    /// Bytes that it takes, padding included.
    pub len: usize,
}

/// The intact frame at the start of some bytes.
pub fn frame(bytes: &[u8]) -> Option<Frame> {
    let header = bytes.get(..48)?;
    let version = header.strip_prefix(b"TWF")?[0];
    let (payload_bytes, count) = (u32_at(header, 8) as usize, u32_at(header, 24));
    let (first_lsn, durable_lsn) = (u64_at(header, 32), u64_at(header, 40));
    let used = 48 + payload_bytes;
    let len = used.div_ceil(8) * 8;
    let meaningful =
        (1..=65_536).contains(&count) && durable_lsn <= first_lsn && first_lsn <= u64::MAX - u64::from(count);
    if !meaningful || len > bytes.len() || crc32fast::hash(&bytes[8..used]) != u32_at(header, 4) {
        return None;
    }
    let mut header = FrameHeader {
        tag: TagId::new(u32_at(header, 12))?,
        tags: 1,
        generation: Generation { epoch: u32_at(header, 16), seq: u32_at(header, 20) },
        count,
        first_lsn: Lsn(first_lsn),
        durable_lsn: Lsn(durable_lsn),
    };
    // Nearly always 0: what keeps a payload from looking like a frame.
    let mask = bytes[28..32].iter().cycle();
    let payload: Vec<u8> = bytes[48..used].iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let mut shares = vec![Share { tag: header.tag, count }];
    let entries = match version {
        b'1' => columns(&payload, count as usize)?,
        b'2' => run(&payload).filter(|(_, rest)| rest.is_empty())?.0,
        b'3' => {
            let (several, rest) = shares_of(&payload)?;
            (header.tags, shares) = (several.len() as u32, several);
            run(rest).filter(|(_, rest)| rest.is_empty())?.0
        }
        _ => return None,
    };
    let points: u64 = shares.iter().map(|share| u64::from(share.count)).sum();
    let adds_up =
        entries.len() == count as usize && points == u64::from(count) && shares[0].tag == header.tag;
    adds_up.then_some(Frame { header, shares, entries, used, len })
}

/// Whose the points of a payload of several tags are, and what follows.
fn shares_of(payload: &[u8]) -> Option<(Vec<Share>, &[u8])> {
    let header = payload.get(..16)?;
    let [tags, least_tag, least_count] = [0, 4, 8].map(|at| u32_at(header, at));
    let (tag_bits, count_bits) = (usize::from(header[12]), usize::from(header[13]));
    let known = (2..=65_536).contains(&tags)
        && least_tag > 0
        && tag_bits <= 32
        && count_bits <= 32
        && header[14..16] == [0, 0];
    if !known {
        return None;
    }
    let tags = tags as usize;
    let tags_end = 16 + (tags * tag_bits).div_ceil(8);
    let end = tags_end + (tags * count_bits).div_ceil(8);
    let (tag_column, count_column) = (payload.get(16..tags_end)?, payload.get(tags_end..end)?);
    let share = |n: usize| {
        let tag = u64::from(least_tag) + bits_at(tag_column, n * tag_bits, tag_bits);
        let count = u64::from(least_count) + bits_at(count_column, n * count_bits, count_bits);
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        Some(Share { tag: TagId::new(u32::try_from(tag).ok()?)?, count })
    };
    Some(((0..tags).map(share).collect::<Option<_>>()?, &payload[end..]))
}

/// The intact block at the start of some bytes.
pub fn block(bytes: &[u8]) -> Option<(BlockRef, Vec<Entry>)> {
    let header = bytes.get(..80).filter(|header| header.starts_with(b"TWB1"))?;
    let (payload_bytes, count) = (u32_at(header, 8) as usize, u32_at(header, 16));
    let len = 80 + payload_bytes;
    let crc = u32_at(header, 4);
    if count == 0 || len > bytes.len() || crc32fast::hash(&bytes[8..len]) != crc {
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
    let entries = match u32_at(header, 20) {
        0 => columns(&bytes[80..len], count as usize)?,
        1 => runs(&bytes[80..len])?,
        _ => return None,
    };
    // Each time once, in order of time: so says the first one's writer, and decoding does not look at every one again.
    let ends = (entries[0].ts_us, entries[entries.len() - 1].ts_us) == (named.first_ts, named.last_ts);
    let sound = ends
        && entries.len() == count as usize
        && named.first_lsn < named.end_lsn
        && named.first_ts <= named.last_ts
        && u64_at(header, 72) == 0;
    sound.then_some((named, entries))
}

/// Runs that begin later and later.
fn runs(mut payload: &[u8]) -> Option<Vec<Entry>> {
    let (mut entries, mut begin): (Vec<Entry>, Option<i64>) = (Vec::new(), None);
    while !payload.is_empty() {
        let (more, rest) = run(payload)?;
        if begin.is_some_and(|begin| begin >= more[0].ts_us) {
            return None;
        }
        begin = Some(more[0].ts_us);
        entries.extend(more);
        payload = rest;
    }
    (!entries.is_empty()).then_some(entries)
}

/// The run at the start of some bytes, and what follows it.
fn run(bytes: &[u8]) -> Option<(Vec<Entry>, &[u8])> {
    let header = bytes.get(..32)?;
    let count = usize::from(u16::from_le_bytes([header[0], header[1]])) + 1;
    let [time_bits, value_bits, scale, predictor, quality_bytes, exceptions] =
        [2, 3, 4, 5, 6, 7].map(|at| usize::from(header[at]));
    let known = time_bits <= 64
        && value_bits <= 64
        && (scale <= 14 || (scale == 255 && exceptions == 0))
        && predictor <= 1
        && quality_bytes <= 1;
    if !known {
        return None;
    }
    let mut at = 32;
    let mut column = |len: usize| {
        at += len;
        bytes.get(at - len..at)
    };
    let times = column(((count - 1) * time_bits).div_ceil(8))?;
    let values = column(((count - predictor) * value_bits).div_ceil(8))?;
    let qualities = column(if quality_bytes == 0 { 1 } else { count })?;
    let exceptions = column(10 * exceptions)?;
    let rest = &bytes[at..];

    let (mut ts_us, step, base) = (u64_at(header, 8), u64_at(header, 16), u64_at(header, 24));
    let mut integer = base;
    let mut entries = Vec::new();
    for n in 0..count {
        if n > 0 {
            ts_us = ts_us.wrapping_add(step).wrapping_add(bits_at(times, (n - 1) * time_bits, time_bits));
        }
        if predictor == 0 {
            integer = base.wrapping_add(bits_at(values, n * value_bits, value_bits));
        } else if n > 0 {
            let zigzag = bits_at(values, (n - 1) * value_bits, value_bits);
            let by = if zigzag.is_multiple_of(2) { zigzag / 2 } else { !(zigzag / 2) };
            integer = integer.wrapping_add(by);
        }
        let value = if scale == 255 {
            f64::from_bits(integer)
        } else {
            // An integer of up to 51 bits; what lies beyond is nothing that a writer leaves.
            let shifted = f64::from_bits(integer.wrapping_add(6_755_399_441_055_744_f64.to_bits()));
            (shifted - 6_755_399_441_055_744.0) / 10_f64.powi(scale as i32)
        };
        let quality = qualities[if quality_bytes == 0 { 0 } else { n }];
        entries.push(Entry { ts_us: ts_us as i64, value, quality });
    }
    for exception in exceptions.chunks_exact(10) {
        let at = usize::from(u16::from_le_bytes([exception[0], exception[1]]));
        entries.get_mut(at)?.value = f64::from_bits(u64_at(exception, 2));
    }
    Some((entries, rest))
}

/// A number of this many bits, bit by bit.
fn bits_at(bytes: &[u8], first: usize, width: usize) -> u64 {
    (0..width).fold(0, |number, n| {
        let bit = first + n;
        number | u64::from(bytes[bit / 8] >> (bit % 8) & 1) << n
    })
}

/// Bytes of the record at the start of some bytes up to its padding, if its checksum and lengths are right; its fields
/// may be anything.
pub fn record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..24).filter(|header| header.starts_with(b"TWM1"))?;
    let (record_bytes, used) = (u32_at(header, 8) as usize, 24 + u32_at(header, 12) as usize);
    let whole = record_bytes >= used && record_bytes.is_multiple_of(512) && used <= bytes.len();
    (whole && crc32fast::hash(&bytes[8..used]) == u32_at(header, 4)).then_some(used)
}

fn columns(payload: &[u8], count: usize) -> Option<Vec<Entry>> {
    let entry = |n: usize| Entry {
        ts_us: u64_at(payload, 8 * n) as i64,
        value: f64::from_bits(u64_at(payload, 8 * (count + n))),
        quality: payload[16 * count + n],
    };
    (payload.len() == 17 * count).then(|| (0..count).map(entry).collect())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
