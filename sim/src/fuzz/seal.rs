//! Checksums made right, so that what lies behind them is read: lengths are taken as the bytes state them, where that is
//! possible, and nothing else is changed.

use tidewall::store::{block, manifest};
use tidewall::wal::frame;

/// The bytes with this magic, and with the CRC-32 of `8 .. header + length` where it belongs; `length` stands at
/// `length_at`. What the bytes are too short for is cut off.
fn seal(bytes: &mut [u8], magic: [u8; 4], header: usize, length_at: usize) {
    if bytes.len() < header {
        return;
    }
    bytes[..4].copy_from_slice(&magic);
    let stated = u32::from_le_bytes(bytes[length_at..length_at + 4].try_into().expect("four bytes"));
    let end = header.saturating_add(stated as usize).min(bytes.len());
    let crc = crc32fast::hash(&bytes[8..end]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A frame at the start of the bytes, of the kind that it begins like.
pub(super) fn frame(bytes: &mut [u8]) {
    let magic = frame::MAGICS.into_iter().find(|magic| bytes.starts_with(magic)).unwrap_or(frame::MAGIC);
    seal(bytes, magic, frame::HEADER_BYTES, 8);
}

/// A block at the start of the bytes.
pub(super) fn block(bytes: &mut [u8]) {
    seal(bytes, block::MAGIC, block::HEADER_BYTES, 8);
}

/// A record of the manifest at the start of the bytes.
pub(super) fn record(bytes: &mut [u8]) {
    seal(bytes, manifest::MAGIC, 24, 12);
}

/// A chunk's header at the start of the bytes.
fn chunk_header(bytes: &mut [u8]) {
    if bytes.len() >= 32 {
        let crc = crc32fast::hash(&bytes[8..32]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Everything in a file that begins as if it were something, wherever it may stand. From the back to the front: what
/// encloses another one is sealed after it.
pub(super) fn file(bytes: &mut [u8]) {
    for at in (0..bytes.len()).rev() {
        let rest = &mut bytes[at..];
        match rest.first_chunk() {
            Some(magic) if frame::MAGICS.contains(magic) && at.is_multiple_of(frame::ALIGN) => frame(rest),
            Some(magic) if *magic == block::MAGIC => block(rest),
            Some(magic) if *magic == manifest::MAGIC && at.is_multiple_of(512) => record(rest),
            Some(magic) if *magic == tidewall::store::chunk::MAGIC && at == 0 => chunk_header(rest),
            _ => {}
        }
    }
}
