//! Points of several tags: whose they are, how many each has, and one run of them all.
//!
//! ```text
//! offset  bytes
//!      0      4  count of shares, 2 at least: points of one tag that stand together
//!      4      4  the smallest tag, never 0
//!      8      4  the smallest count of points that a share has, never 0
//!     12      1  bits of a tag
//!     13      1  bits of a count
//!     14      2  zeros
//!     16      …  tags of the shares, packed: how much above the smallest one
//!      …      …  their counts of points, packed, likewise
//!      …      …  a run (`codec/run.rs`): the points of the first share, then those of the second, …
//! ```
//!
//! A tag may have several shares: its points come in their order.
//!
//! It is what a frame carries when a sync finds a few points each of many tags: a frame for each would be ten times as long.

use super::Reader;
use super::bits::{packed_bytes, unpack, width};
use super::run::{self, Encoder, Run};
use crate::point::{Entry, TagId};

const HEADER_BYTES: usize = 16;

/// Whose points these are, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The tag.
    pub tag: TagId,
    /// Its points, 1 at least.
    pub count: u32,
}

/// What each point adds to [`bytes_max`], at most.
pub(crate) const POINT_BYTES_MAX: u64 = 26;

/// Bytes of the points of several tags, at most.
pub(crate) fn bytes_max(points: usize) -> usize {
    HEADER_BYTES + points * 2 * size_of::<u32>() + run::bytes_max(points)
}

/// What is added to the least of some numbers: that one, and the bits of the largest difference.
fn base(numbers: impl Iterator<Item = u32> + Clone) -> (u32, u8) {
    let least = numbers.clone().min().expect("two tags at least");
    let most = numbers.max().expect("two tags at least");
    (least, width((most - least).into()))
}

/// Appends points of several tags, in the order of `shares`.
///
/// # Panics
/// With fewer than two shares, an empty one, or another number of entries than they have.
fn encode(out: &mut Vec<u8>, encoder: &mut Encoder, shares: &[Share], entries: &[Entry]) {
    assert!(shares.len() >= 2, "a tag alone has a frame of its own kind");
    let counts = shares.iter().map(|share| share.count);
    assert_eq!(counts.clone().sum::<u32>() as usize, entries.len());
    let tags = shares.iter().map(|share| share.tag.get());
    let ((least_tag, tag_bits), (least_count, count_bits)) = (base(tags.clone()), base(counts.clone()));
    assert!(least_count > 0, "a share without points");
    out.extend_from_slice(&(shares.len() as u32).to_le_bytes());
    out.extend_from_slice(&least_tag.to_le_bytes());
    out.extend_from_slice(&least_count.to_le_bytes());
    out.extend_from_slice(&[tag_bits, count_bits, 0, 0]);
    encoder.column.pack(out, tag_bits, tags.map(|tag| (tag - least_tag).into()));
    encoder.column.pack(out, count_bits, counts.map(|count| (count - least_count).into()));
    encoder.encode(out, entries);
}

/// Points of one tag or of several, encoded: what a frame carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    /// The first one, if there are several.
    pub(crate) tag: TagId,
    pub(crate) tags: u32,
    pub(crate) count: u32,
    /// A run if they are one tag's, and else what stands above.
    pub(crate) payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// A tag batch.
    pub(crate) fn of_run(tag: TagId, run: &Run<'a>) -> Batch<'a> {
        Batch { tag, tags: 1, count: run.count as u32, payload: run.bytes }
    }

    /// Encodes points. `payload` is memory for them.
    pub(crate) fn encode(
        payload: &'a mut Vec<u8>,
        encoder: &mut Encoder,
        shares: &[Share],
        entries: &[Entry],
    ) -> Batch<'a> {
        payload.clear();
        match shares {
            [_] => drop(encoder.encode(payload, entries)),
            _ => encode(payload, encoder, shares, entries),
        }
        Batch { tag: shares[0].tag, tags: shares.len() as u32, count: entries.len() as u32, payload }
    }
}

/// The points of several tags, looked at without decoding them.
#[derive(Clone, Debug)]
pub(crate) struct Mixed<'a> {
    pub(crate) shares: Vec<Share>,
    /// All points, tag by tag.
    pub(crate) run: Run<'a>,
}

impl<'a> Mixed<'a> {
    /// What `bytes` hold; `None` if it is anything else: any bytes may come here, and what is accepted can be decoded.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Mixed<'a>> {
        let mut reader = Reader(bytes);
        let (count, least_tag, least_count) =
            (reader.u32()? as usize, TagId::new(reader.u32()?)?, reader.u32()?);
        let (tag_bits, count_bits, zeros) = (reader.u8()?, reader.u8()?, reader.u16()?);
        if !(2..=run::POINTS_MAX).contains(&count) || tag_bits > 32 || count_bits > 32 || zeros != 0 {
            return None;
        }
        let (tags, rest) = reader.0.split_at_checked(packed_bytes(count, tag_bits))?;
        let (counts, rest) = rest.split_at_checked(packed_bytes(count, count_bits))?;
        let (run, rest) = Run::split(rest)?;
        let numbers = |bytes, bits| {
            let mut numbers = vec![0; count];
            unpack(bytes, bits, 0, &mut numbers);
            numbers
        };
        let share = |(tag, count): (u64, u64)| {
            let tag = u32::try_from(tag).ok()?.checked_add(least_tag.get())?;
            let count = u32::try_from(count).ok()?.checked_add(least_count).filter(|count| *count > 0)?;
            Some(Share { tag: TagId::new(tag)?, count })
        };
        let shares = numbers(tags, tag_bits).into_iter().zip(numbers(counts, count_bits));
        let shares: Vec<Share> = shares.map(share).collect::<Option<_>>()?;
        let points: u64 = shares.iter().map(|share| u64::from(share.count)).sum();
        (rest.is_empty() && points == run.count as u64).then_some(Mixed { shares, run })
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::Column;
    use super::*;

    fn sample() -> (Vec<Share>, Vec<Entry>, Vec<u8>) {
        let shares = [(9, 1), (4_000_000_000, 3), (7, 2)];
        let shares = shares.map(|(tag, count)| Share { tag: TagId::new(tag).unwrap(), count }).to_vec();
        let entry = |n: i32| Entry { ts_us: i64::from(n % 2), value: f64::from(n) / 4.0, quality: n as u8 };
        let entries: Vec<_> = (0..6).map(entry).collect();
        let mut bytes = Vec::new();
        encode(&mut bytes, &mut Encoder::default(), &shares, &entries);
        (shares, entries, bytes)
    }

    #[test]
    fn points_of_several_tags_come_back_with_their_tags() {
        let (shares, entries, bytes) = sample();
        assert!(bytes.len() <= bytes_max(entries.len()));
        let mixed = Mixed::parse(&bytes).unwrap();
        assert_eq!(mixed.shares, shares);
        let bits = |entry: &Entry| (entry.ts_us, entry.value.to_bits(), entry.quality);
        let mut decoded = Vec::new();
        mixed.run.for_each(|entry| decoded.push(bits(&entry)));
        assert_eq!(decoded, entries.iter().map(bits).collect::<Vec<_>>());
    }

    #[test]
    fn a_tag_may_have_several_shares() {
        let shares = [(3, 1), (4, 2), (3, 1), (3, 2)];
        let shares = shares.map(|(tag, count)| Share { tag: TagId::new(tag).unwrap(), count });
        let entries = [Entry { ts_us: 5, value: 0.5, quality: 192 }; 6];
        let mut bytes = Vec::new();
        encode(&mut bytes, &mut Encoder::default(), &shares, &entries);
        assert_eq!(Mixed::parse(&bytes).unwrap().shares, shares);
    }

    #[test]
    fn a_point_each_of_a_thousand_sensors_takes_a_few_bytes() {
        let shares: Vec<_> =
            (1..=1000).map(|tag| Share { tag: TagId::new(tag).unwrap(), count: 1 }).collect();
        let entry =
            |n: u32| Entry { ts_us: 60_000_000, value: f64::from(2000 + n % 500) / 100.0, quality: 192 };
        let entries: Vec<_> = (0..1000).map(entry).collect();
        let mut bytes = Vec::new();
        encode(&mut bytes, &mut Encoder::default(), &shares, &entries);
        assert!(bytes.len() < 3000, "{} bytes", bytes.len());
    }

    #[test]
    fn any_bytes_are_refused_or_add_up() {
        let (_, _, good) = sample();
        for cut in 0..good.len() {
            assert!(Mixed::parse(&good[..cut]).is_none(), "cut at {cut}");
        }
        for at in 0..HEADER_BYTES + 20 {
            for byte in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = byte;
                if let Some(mixed) = Mixed::parse(&bytes) {
                    let points: u32 = mixed.shares.iter().map(|share| share.count).sum();
                    assert_eq!(points as usize, mixed.run.count);
                }
            }
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(Mixed::parse(&longer).is_none(), "bytes behind the run");
    }

    /// What an encoder writes, with widths and zeros of somebody's choice.
    fn by_hand(
        shares: &[(u32, u32)],
        entries: &[Entry],
        (tag_bits, count_bits, zeros): (u8, u8, u16),
    ) -> Vec<u8> {
        let least = |numbers: &dyn Fn(&(u32, u32)) -> u32| shares.iter().map(numbers).min().unwrap();
        let (least_tag, least_count) = (least(&|share| share.0), least(&|share| share.1));
        let mut bytes = Vec::new();
        for word in [shares.len() as u32, least_tag, least_count] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([tag_bits, count_bits]);
        bytes.extend(zeros.to_le_bytes());
        let mut column = Column::default();
        column.pack(&mut bytes, tag_bits, shares.iter().map(|share| u64::from(share.0 - least_tag)));
        column.pack(&mut bytes, count_bits, shares.iter().map(|share| u64::from(share.1 - least_count)));
        Encoder::default().encode(&mut bytes, entries);
        bytes
    }

    #[test]
    fn what_no_encoder_writes_is_refused_and_widths_of_a_whole_number_are_not() {
        let (_, entries, good) = sample();
        let shares = [(9, 1), (4_000_000_000, 3), (7, 2)];
        assert_eq!(by_hand(&shares, &entries, (32, 2, 0)), good);
        let is_read = |shares: &[_], form| Mixed::parse(&by_hand(shares, &entries, form)).is_some();
        for form in [(32, 2, 0), (32, 32, 0)] {
            assert!(is_read(&shares, form), "{form:?}");
        }
        for form in [(33, 2, 0), (64, 2, 0), (32, 33, 0), (32, 64, 0), (32, 2, 1), (32, 2, 256)] {
            assert!(!is_read(&shares, form), "{form:?}");
        }
        // Six points of one tag, of two of which one has none, and of one without a number.
        for shares in [&[(7, 6)][..], &[(7, 6), (8, 0)], &[(0, 3), (8, 3)]] {
            assert!(!is_read(shares, (32, 32, 0)), "{shares:?}");
        }
        assert!(is_read(&[(7, 5), (8, 1)], (32, 32, 0)));
    }
}
