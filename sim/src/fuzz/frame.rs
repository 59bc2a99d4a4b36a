//! Target `frame`: a decoded frame is the frame that would be encoded, and every other sequence of bytes is refused.

use super::fields::{Fields, bits};
use super::{reference, seal, wrong_accept, wrong_refusal};
use crate::drivers::Step;
use tidewall::wal::frame::{self, FrameHeader, NoFrame, Share};
use tidewall::{Entry, Generation, Lsn, TagId};

pub(super) fn ask(bytes: &[u8]) -> Step {
    decoded_as_described(bytes)?;
    let mut sealed = bytes.to_vec();
    seal::frame(&mut sealed);
    decoded_as_described(&sealed)?;
    if let Some(intact) = reference::frame(&sealed) {
        one_wrong_bit_is_noticed(&mut sealed, intact.used)?;
    }
    what_is_encoded_comes_back(bytes)
}

/// The decoder and the description agree on what is a frame and what is in it.
pub(super) fn decoded_as_described(bytes: &[u8]) -> Step {
    match (frame::decode(bytes), reference::frame(bytes)) {
        (Ok(frame), None) => Err(wrong_accept(format!("{:?} is not intact", frame.header))),
        (Err(why), Some(frame)) => Err(wrong_refusal(format!("{:?} is {why:?}", frame.header))),
        (Ok(frame), Some(described)) => {
            let (shares, entries) = (frame.shares().collect::<Vec<_>>(), frame.entries());
            if (frame.header, frame.len) != (described.header, described.len)
                || shares != described.shares
                || !entries.iter().map(bits).eq(described.entries.iter().map(bits))
            {
                return Err(wrong_accept(format!("{:?}, not {:?}", frame.header, described.header)));
            }
            // The same points can be written in more than one way: what counts is what comes back.
            let mut again = Vec::new();
            frame::encode(&mut again, &frame.header, &shares, &entries);
            match frame::decode(&again) {
                Ok(again)
                    if again.entries().iter().map(bits).eq(entries.iter().map(bits))
                        && again.shares().eq(shares) =>
                {
                    Ok(())
                }
                _ => Err(wrong_refusal(format!("{:?} is lost when it is encoded again", frame.header))),
            }
        }
        (Err(NoFrame::Blank), None) if bytes.iter().take(8).any(|byte| *byte != 0) => {
            Err(wrong_refusal("bytes that are not zero are called blank"))
        }
        (Err(NoFrame::Damaged), None) if bytes.iter().take(8).all(|byte| *byte == 0) && bytes.len() >= 8 => {
            Err(wrong_accept("eight zeros are called damaged"))
        }
        (Err(_), None) => Ok(()),
    }
}

/// Flips one bit of the `used` bytes, which one depends on the bytes, and puts it back.
fn one_wrong_bit_is_noticed(bytes: &mut [u8], used: usize) -> Step {
    let bit = crc32fast::hash(bytes) as usize % (used * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    if frame::decode(bytes).is_ok() {
        return Err(wrong_accept(format!("bit {bit} of a frame is flipped, and nobody notices")));
    }
    bytes[bit / 8] ^= 1 << (bit % 8);
    Ok(())
}

fn what_is_encoded_comes_back(bytes: &[u8]) -> Step {
    let mut fields = Fields(bytes);
    let tag = fields.tag();
    let generation = Generation { epoch: fields.u32(), seq: fields.u32() };
    let (a, b) = (fields.u64() >> 3, fields.u64() >> 3);
    let ways = fields.u8();
    let entries = fields.entries();
    let shares = shared(tag, ways, &entries);
    let header = FrameHeader {
        tag,
        tags: shares.len() as u32,
        generation,
        count: entries.len() as u32,
        first_lsn: Lsn(a.max(b)),
        durable_lsn: Lsn(a.min(b)),
    };
    let mut encoded = Vec::new();
    frame::encode(&mut encoded, &header, &shares, &entries);
    decoded_as_described(&encoded)?;
    let mut places = (frame::HEADER_BYTES..encoded.len()).step_by(frame::ALIGN);
    let magic = |at: &usize| frame::MAGICS.iter().any(|magic| encoded[*at..].starts_with(magic));
    if let Some(at) = places.find(magic) {
        return Err(wrong_accept(format!("points that look like a frame, at {at} of {header:?}")));
    }
    match frame::decode(&encoded) {
        Ok(frame)
            if frame.header == header
                && frame.shares().eq(shares)
                && frame.entries().iter().map(bits).eq(entries.iter().map(bits)) =>
        {
            Ok(())
        }
        Ok(frame) => Err(wrong_refusal(format!("{header:?} comes back as {:?}", frame.header))),
        Err(why) => Err(wrong_refusal(format!("{header:?} is {why:?}"))),
    }
}

/// Divides entries among as many tags as `ways` says, or fewer: by the bits of their qualities.
fn shared(tag: TagId, ways: u8, entries: &[Entry]) -> Vec<Share> {
    let mut shares = vec![Share { tag, count: 1 }];
    for (n, entry) in (1..).zip(&entries[1..]) {
        if shares.len() < usize::from(ways) && entry.quality.count_ones().is_multiple_of(2) {
            let tag = tag.get().wrapping_mul(n).wrapping_add(n).max(1);
            shares.push(Share { tag: TagId::new(tag).expect("at least 1"), count: 0 });
        }
        shares.last_mut().expect("there is one").count += 1;
    }
    shares
}
