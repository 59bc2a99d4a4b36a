//! A chunk: a file of blocks, written once from front to back.
//!
//! ```text
//! offset        bytes
//!      0            4  magic "TWC1"
//!      4            4  CRC-32 of bytes 8 .. 32
//!      8            8  number of the chunk, as in its name
//!     16            8  chunk_bytes
//!     24            8  zero
//!     32            …  zeros up to sector_bytes
//! sector_bytes      …  blocks; those of one flush without a gap, each flush at the start of a sector
//! ```
//!
//! What a chunk holds is known by the manifest alone. Bytes behind the last block that it names are left over from a
//! flush that did not end, and the next flush may write there: nobody relies on them.

use crate::codec::Reader;

/// The first bytes of every chunk, format version included.
pub const MAGIC: [u8; 4] = *b"TWC1";

/// Bytes of the header that say something.
pub const FIELDS_BYTES: usize = 32;

/// Bytes before the first block.
pub fn header_bytes(sector_bytes: u64) -> u64 {
    sector_bytes
}

/// The name of a chunk.
pub fn name(chunk: u64) -> String {
    format!("chunk-{chunk:08}.tw")
}

/// The chunk that has this name, if it is the name of one.
pub fn number(file: &str) -> Option<u64> {
    let chunk = file.strip_prefix("chunk-")?.strip_suffix(".tw")?.parse().ok()?;
    (name(chunk) == file).then_some(chunk)
}

/// The header of a chunk.
pub fn encode_header(chunk: u64, chunk_bytes: u64, sector_bytes: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(sector_bytes as usize);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    for word in [chunk, chunk_bytes, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out.resize(header_bytes(sector_bytes) as usize, 0);
    out
}

/// The number and the size that an intact header states.
pub fn decode_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader(bytes.get(..FIELDS_BYTES)?.strip_prefix(&MAGIC)?);
    let crc = reader.u32()?;
    let fields = (reader.u64()?, reader.u64()?);
    (crc32fast::hash(&bytes[8..FIELDS_BYTES]) == crc).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_noticed() {
        let bytes = encode_header(9, 65_536, 512);
        assert_eq!(bytes.len(), 512);
        assert_eq!(decode_header(&bytes), Some((9, 65_536)));
        for bit in 0..FIELDS_BYTES * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn only_exact_names_are_chunks() {
        assert_eq!(number(&name(0)), Some(0));
        assert_eq!(number(&name(123_456_789)), Some(123_456_789));
        for other in ["chunk-1.tw", "chunk-00000001.tw~", "chunk-+0000001.tw", "wal-000.log"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
