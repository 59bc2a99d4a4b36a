//! A run: points of one tag in the order in which they were accepted, in few bytes.
//!
//! ```text
//! offset  bytes
//!      0      2  count of points - 1
//!      2      1  bits of a time
//!      3      1  bits of a value
//!      4      1  scale: values are integers × 10^-scale; 255: they are the 64 bits of an f64
//!      5      1  predictor of the values: 0 = the base, 1 = the value before
//!      6      1  bytes of a quality: 0 = all have the same one, which follows once
//!      7      1  count of exceptions
//!      8      8  time of the first point (i64 µs)
//!     16      8  step: the smallest difference of two times that follow each other
//!     24      8  base: the first value, or the smallest one
//!     32      …  count - 1 times, packed: how much later than a step after the one before
//!      …      …  values, packed: with predictor 0, count × how much above the base;
//!                                with 1, count - 1 × zigzag of the difference to the one before
//!      …      …  qualities: one, or count
//!      …      …  exceptions: position (2), the 64 bits of the value (8)
//! ```
//!
//! All numbers are little-endian; sums and differences wrap. It is what a tag's frame carries, what memory keeps until a
//! flush, and what a block is made of: a point is encoded once.
//!
//! Sensors tick, so the differences of times are often all the same, and take no bits. Most sensors measure in decimal steps,
//! and a decimal number of up to 15 digits is an integer that comes back as the same f64, bit for bit, by one division
//! (Afroozeh, Kuffo, Boncz: *ALP*, SIGMOD 2023). A few values that are no such number -
//! a NaN where the sensor was silent - are exceptions. If there are more, the integers are the 64 bits of each value. Nothing
//! is ever rounded.

use super::Reader;
use super::bits::{Column, ends, packed_bytes, unpack, width};
use crate::plant::{self, Bug};
use crate::point::{Entry, Measured, in_order, overlaps};
use std::ops::RangeBounds;

/// Bytes before the packed columns.
const HEADER_BYTES: usize = 32;
/// Points of a run, at most.
pub(crate) const POINTS_MAX: usize = 1 << 16;
/// The scale of values that are taken by their bits.
const BITS: u8 = 255;
const EXCEPTION_BYTES: usize = 10;
/// One value in this many may be an exception.
const VALUES_PER_EXCEPTION: usize = 16;

const BASE: u8 = 0;
const BEFORE: u8 = 1;

/// The powers that are exact and leave digits before the point. An integer below 2^51 divided by one of them is correctly
/// rounded, so it is the f64 that the decimal number was written for.
const POWERS: [f64; 15] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// Added to a number of at most 51 bits it leaves the nearest integer in the lower bits: cheaper than a conversion, and the
/// compiler can do several at once.
const TO_INTEGER: f64 = 6_755_399_441_055_744.0;
const INTEGER_MAX: f64 = (1u64 << 51) as f64;

/// Bytes of a run of this many points, at most.
pub(crate) fn bytes_max(count: usize) -> usize {
    HEADER_BYTES + count * (8 + 8 + 1) + count / VALUES_PER_EXCEPTION * EXCEPTION_BYTES
}

/// What is known of the times of a run, from encoding it or from reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// Each is later than the one before.
    pub(crate) rising: bool,
}

/// Memory that encoding needs, kept from run to run.
#[derive(Default)]
pub(crate) struct Encoder {
    /// From time to time.
    steps: Vec<i64>,
    /// The values.
    integers: Vec<i64>,
    exceptions: Vec<(u16, u64)>,
    pub(super) column: Column,
}

/// The least and the most time between two points of a run that follow each other.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    least: i64,
    most: i64,
}

impl Steps {
    /// What can be said about the times of the run's entries.
    pub(crate) fn times(self, entries: &[impl Measured]) -> Times {
        let [first, last] = [&entries[0], &entries[entries.len() - 1]].map(Measured::ts_us);
        let rising = self.least > 0 || entries.len() == 1;
        let mut times = Times { first, last, min: first, max: last, rising };
        // Unless they all go forward, and are too short to go round all the times there are, each time has to be looked at.
        let forward = self.least >= 0 && self.most <= i64::MAX / POINTS_MAX as i64 && first <= last;
        if !forward {
            times.rising = in_order(entries);
            for ts_us in entries.iter().map(Measured::ts_us) {
                times.min = times.min.min(ts_us);
                times.max = times.max.max(ts_us);
            }
        }
        times
    }
}

impl Encoder {
    /// Appends a run.
    ///
    /// # Panics
    /// Without entries, or with more than [`POINTS_MAX`].
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>, entries: &[impl Measured]) -> Steps {
        assert!((1..=POINTS_MAX).contains(&entries.len()), "{} entries in a run", entries.len());
        let scale = self.integers_of(entries);
        let (predictor, base, value_bits) = self.predict();
        let Encoder { steps, integers, exceptions, column } = self;
        steps.clear();
        steps.extend(entries.windows(2).map(apart));
        let (least, most) = ends(steps).unwrap_or_default();
        let most_bits = if plant::on(Bug::F14) { 32 } else { 64 };
        let time_bits = width(most.wrapping_sub(least) as u64).min(most_bits);
        let same_quality = entries.iter().all(|entry| entry.quality() == entries[0].quality());

        out.reserve(bytes_max(entries.len()));
        out.extend_from_slice(&((entries.len() - 1) as u16).to_le_bytes());
        out.extend_from_slice(&[
            time_bits,
            value_bits,
            scale,
            predictor,
            u8::from(!same_quality),
            exceptions.len() as u8,
        ]);
        for word in [entries[0].ts_us(), least, base] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        column.pack(out, time_bits, steps.iter().map(|step| step.wrapping_sub(least) as u64));
        match predictor {
            BASE => column.pack(out, value_bits, integers.iter().map(|it| it.wrapping_sub(base) as u64)),
            _ => column.pack(out, value_bits, integers.windows(2).map(difference)),
        }
        match same_quality {
            true => out.push(entries[0].quality()),
            false => out.extend(entries.iter().map(|entry| entry.quality())),
        }
        for (at, bits) in exceptions {
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&bits.to_le_bytes());
        }
        Steps { least, most }
    }

    /// Turns the values into integers, and says at which scale: the least that all but a few of them have.
    fn integers_of(&mut self, entries: &[impl Measured]) -> u8 {
        let allowed = (entries.len() / VALUES_PER_EXCEPTION).min(u8::MAX.into());
        // Nearly always the first two values say it. If any do not fit the first scale that was found, all are gone through.
        let mut scale = 0;
        let firsts = entries[..entries.len().min(2)].iter().map(|entry| entry.value());
        let seems_decimal = firsts.into_iter().all(|value| {
            let larger = (scale..POWERS.len()).find(|scale| integer(value, POWERS[*scale]).is_some());
            scale = larger.unwrap_or(scale);
            larger.is_some()
        });
        if seems_decimal && self.all_scaled(entries, POWERS[scale]) {
            return scale as u8;
        }
        loop {
            match self.scaled(entries, scale, allowed) {
                Scaled::All => return scale as u8,
                Scaled::At(larger) => scale = larger,
                Scaled::None => break,
            }
        }
        self.exceptions.clear();
        self.integers.clear();
        self.integers.extend(entries.iter().map(|entry| entry.value().to_bits() as i64));
        BITS
    }

    /// Multiplies values into integers, and says whether that was all of them: without a branch for any.
    fn all_scaled(&mut self, entries: &[impl Measured], power: f64) -> bool {
        self.exceptions.clear();
        self.integers.clear();
        let mut all = true;
        self.integers.extend(entries.iter().map(|entry| {
            let (integer, is_exact) = multiplied(entry.value(), power);
            all &= is_exact;
            integer
        }));
        all
    }

    /// Multiplies values into integers. A value that is one at some scale is one at each larger one, as long as it fits.
    fn scaled(&mut self, entries: &[impl Measured], scale: usize, allowed: usize) -> Scaled {
        self.exceptions.clear();
        self.integers.clear();
        for (at, entry) in entries.iter().enumerate() {
            if let Some(integer) = integer(entry.value(), POWERS[scale]) {
                if self.exceptions.len() == at {
                    // Nothing but exceptions so far: none of them shall widen the others.
                    self.integers.fill(integer);
                }
                self.integers.push(integer);
                continue;
            }
            let fits = |scale: &usize| integer(entry.value(), POWERS[*scale]).is_some();
            match (scale + 1..POWERS.len()).find(fits) {
                Some(larger) => return Scaled::At(larger),
                None if self.exceptions.len() == allowed => return Scaled::None,
                None => {
                    self.exceptions.push((at as u16, entry.value().to_bits()));
                    self.integers.push(self.integers.last().copied().unwrap_or(0));
                }
            }
        }
        Scaled::All
    }

    /// Which predictor leaves fewer bits, with its base and how many they are.
    fn predict(&self) -> (u8, i64, u8) {
        let (first, (least, most)) = (self.integers[0], ends(&self.integers).expect("a run has points"));
        let apart = self.integers.windows(2).fold(0, |apart, pair| apart | difference(pair));
        let [above, apart] = [most.wrapping_sub(least) as u64, apart].map(width);
        if apart < above { (BEFORE, first, apart) } else { (BASE, least, above) }
    }
}

/// What came of multiplying values into integers.
enum Scaled {
    /// All are, but for the exceptions.
    All,
    /// One of them needs this larger scale.
    At(usize),
    /// Too many of them are integers at no scale.
    None,
}

/// Zigzag: differences of either sign become small numbers.
fn difference(pair: &[i64]) -> u64 {
    let by = pair[1].wrapping_sub(pair[0]);
    (by << 1 ^ by >> 63) as u64
}

fn undo_zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The time between two points that follow each other.
fn apart(pair: &[impl Measured]) -> i64 {
    pair[1].ts_us().wrapping_sub(pair[0].ts_us())
}

/// `value × power`, if dividing that by `power` gives exactly `value` again.
fn integer(value: f64, power: f64) -> Option<i64> {
    let (integer, is_exact) = multiplied(value, power);
    is_exact.then_some(integer)
}

/// `value × power`, and whether dividing that by `power` gives exactly `value` again.
fn multiplied(value: f64, power: f64) -> (i64, bool) {
    let scaled = value * power;
    let rounded = scaled + TO_INTEGER;
    let integer = (rounded.to_bits() as i64).wrapping_sub(TO_INTEGER.to_bits() as i64);
    let again = (rounded - TO_INTEGER) / power;
    let is_same = again.to_bits() == value.to_bits() || (again == value && plant::on(Bug::F15));
    (integer, is_same & (scaled.abs() < INTEGER_MAX))
}

/// A run in bytes, looked at without decoding it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) count: usize,
    /// All of it, header included.
    pub(crate) bytes: &'a [u8],
    pub(crate) first_ts: i64,
    step: i64,
    base: i64,
    time_bits: u8,
    value_bits: u8,
    scale: u8,
    predictor: u8,
    times: &'a [u8],
    values: &'a [u8],
    qualities: &'a [u8],
    exceptions: &'a [u8],
}

impl<'a> Run<'a> {
    /// The run at the start of `bytes`, and what follows it. `None` if there is none: any bytes may come here, and
    /// what is accepted can be decoded.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Run<'a>, &'a [u8])> {
        let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let mut reader = Reader(header);
        let count = usize::from(reader.u16()?) + 1;
        let (time_bits, value_bits) = (reader.u8()?, reader.u8()?);
        let (scale, predictor, quality_bytes, exceptions) =
            (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        let (first_ts, step, base) = (reader.i64()?, reader.i64()?, reader.i64()?);
        let sound = time_bits <= 64
            && value_bits <= 64
            && (scale == BITS || usize::from(scale) < POWERS.len())
            && predictor <= BEFORE
            && quality_bytes <= 1
            && (scale != BITS || exceptions == 0);
        if !sound {
            return None;
        }
        let mut take = |len: usize| {
            let (column, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some(column)
        };
        let times = take(packed_bytes(count - 1, time_bits))?;
        let values = take(packed_bytes(count - usize::from(predictor), value_bits))?;
        let qualities = take(if quality_bytes == 0 { 1 } else { count })?;
        let exceptions = take(usize::from(exceptions) * EXCEPTION_BYTES)?;
        let bytes = &bytes[..bytes.len() - rest.len()];
        let run = Run {
            count,
            bytes,
            first_ts,
            step,
            base,
            time_bits,
            value_bits,
            scale,
            predictor,
            times,
            values,
            qualities,
            exceptions,
        };
        let in_run = |(at, _): (usize, f64)| at < count;
        run.exceptions().all(in_run).then_some((run, rest))
    }

    fn exceptions(&self) -> impl Iterator<Item = (usize, f64)> + use<'a> {
        self.exceptions.chunks_exact(EXCEPTION_BYTES).map(|bytes| {
            let mut reader = Reader(bytes);
            let at = reader.u16().expect("ten bytes");
            (usize::from(at), f64::from_bits(reader.u64().expect("ten bytes")))
        })
    }

    /// Its times, without decoding more than it takes.
    pub(crate) fn times(&self) -> Times {
        let first = self.first_ts;
        let mut times = Times { first, last: first, min: first, max: first, rising: true };
        let after = self.count as i64 - 1;
        if let Some(last) = self.step.checked_mul(after).and_then(|span| first.checked_add(span))
            && self.time_bits == 0
        {
            return Times {
                last,
                min: first.min(last),
                max: if plant::on(Bug::K1) { last } else { first.max(last) },
                rising: after == 0 || self.step > 0,
                ..times
            };
        }
        let mut decoder = Decoder::new(self);
        let mut begun = false;
        while let Some(stretch) = decoder.times() {
            for time in stretch {
                times.rising &= !begun || times.last < *time;
                times.min = times.min.min(*time);
                times.max = times.max.max(*time);
                times.last = *time;
                begun = true;
            }
        }
        times
    }

    /// Calls `each` with its entries in `range`, in turn. All of its times are known to lie from `least` to `most`.
    pub(crate) fn for_each_in(
        &self,
        range: &impl RangeBounds<i64>,
        (least, most): (i64, i64),
        mut each: impl FnMut(Entry),
    ) {
        if range.contains(&least) && range.contains(&most) {
            self.for_each(each);
        } else if overlaps(range, least, most) {
            self.for_each(|entry| {
                if range.contains(&entry.ts_us) {
                    each(entry);
                }
            });
        }
    }

    /// Calls `each` with its entries in turn.
    pub(crate) fn for_each(&self, mut each: impl FnMut(Entry)) {
        let mut decoder = Decoder::new(self);
        while let Some((at, times, values)) = decoder.stretch() {
            match self.qualities {
                [quality] => {
                    for (ts_us, value) in times.iter().zip(values) {
                        each(Entry { ts_us: *ts_us, value: *value, quality: *quality });
                    }
                }
                qualities => {
                    let at = if plant::on(Bug::K2) { 0 } else { at };
                    for ((ts_us, value), quality) in times.iter().zip(values).zip(&qualities[at..]) {
                        each(Entry { ts_us: *ts_us, value: *value, quality: *quality });
                    }
                }
            }
        }
    }
}

/// Entries that are decoded at a time: they stay in the first-level cache, and the loops over them have no branch.
const STRETCH: usize = 128;

struct Decoder<'r, 'a> {
    run: &'r Run<'a>,
    /// The next entry.
    at: usize,
    time: i64,
    integer: i64,
    packed: [u64; STRETCH],
    times: [i64; STRETCH],
    values: [f64; STRETCH],
}

impl<'r, 'a> Decoder<'r, 'a> {
    fn new(run: &'r Run<'a>) -> Decoder<'r, 'a> {
        Decoder {
            run,
            at: 0,
            time: run.first_ts,
            integer: run.base,
            packed: [0; STRETCH],
            times: [0; STRETCH],
            values: [0.0; STRETCH],
        }
    }

    /// The times of the next entries; the values of these are not decoded any more.
    fn times(&mut self) -> Option<&[i64]> {
        let len = self.decode_times()?;
        self.at += len;
        Some(&self.times[..len])
    }

    /// Position, times and values of the next entries.
    fn stretch(&mut self) -> Option<(usize, &[i64], &[f64])> {
        let at = self.at;
        let len = self.decode_times()?;
        self.decode_values(len);
        self.at += len;
        Some((at, &self.times[..len], &self.values[..len]))
    }

    fn decode_times(&mut self) -> Option<usize> {
        let run = self.run;
        let len = (run.count - self.at).min(STRETCH);
        // The first time is in the header.
        let (stored, before) = if self.at == 0 { (1, 0) } else { (0, self.at - 1) };
        let later = self.packed.get_mut(stored..len)?;
        self.times[0] = self.time;
        if later.is_empty() {
            return (len > 0).then_some(len);
        }
        unpack(run.times, run.time_bits, before, later);
        for (time, later) in self.times[stored..].iter_mut().zip(later) {
            self.time = self.time.wrapping_add(run.step).wrapping_add(*later as i64);
            *time = self.time;
        }
        Some(len)
    }

    fn decode_values(&mut self, len: usize) {
        let run = self.run;
        if run.predictor == BASE {
            unpack(run.values, run.value_bits, self.at, &mut self.packed[..len]);
            for number in &mut self.packed[..len] {
                *number = number.wrapping_add(run.base as u64);
            }
        } else {
            // The first value is in the header.
            let (stored, before) = if self.at == 0 { (1, 0) } else { (0, self.at - 1) };
            unpack(run.values, run.value_bits, before, &mut self.packed[stored..len]);
            self.packed[0] = if stored == 1 { 0 } else { self.packed[0] };
            for number in &mut self.packed[..len] {
                self.integer = self.integer.wrapping_add(undo_zigzag(*number));
                *number = self.integer as u64;
            }
        }
        let values = self.values[..len].iter_mut().zip(&self.packed);
        if run.scale == BITS {
            values.for_each(|(value, bits)| *value = f64::from_bits(*bits));
            return;
        }
        let power = POWERS[usize::from(run.scale)];
        for (value, integer) in values {
            let shifted = f64::from_bits(integer.wrapping_add(TO_INTEGER.to_bits()));
            *value = (shifted - TO_INTEGER) / power;
        }
        for (at, value) in run.exceptions().skip(plant::on(Bug::K3).into()) {
            if let Some(value_at) = at.checked_sub(self.at).and_then(|at| self.values[..len].get_mut(at)) {
                *value_at = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(values: impl IntoIterator<Item = f64>) -> Vec<Entry> {
        let entry = |(at, value)| Entry { ts_us: 1_000_000 * at as i64, value, quality: 192 };
        values.into_iter().enumerate().map(entry).collect()
    }

    /// Encodes, decodes, compares every bit and what is said about times; returns the bytes.
    fn there_and_back(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = vec![9; 3];
        let times = Encoder::default().encode(&mut bytes, entries).times(entries);
        bytes.push(77);
        let (run, rest) = Run::split(&bytes[3..]).expect("what was encoded can be split off");
        assert_eq!((run.count, rest), (entries.len(), &[77][..]));
        assert!(run.bytes.len() <= bytes_max(entries.len()));
        let bits = |entry: &Entry| (entry.ts_us, entry.value.to_bits(), entry.quality);
        let mut decoded = Vec::new();
        run.for_each(|entry| decoded.push(bits(&entry)));
        assert_eq!(decoded, entries.iter().map(bits).collect::<Vec<_>>());
        assert_eq!(run.times(), times);
        let stamps = entries.iter().map(|entry| entry.ts_us);
        assert_eq!((times.min, times.max), (stamps.clone().min().unwrap(), stamps.max().unwrap()));
        assert_eq!(times.rising, crate::point::in_order(entries));
        run.bytes.to_vec()
    }

    /// Their count has a byte.
    #[test]
    fn a_long_run_has_as_many_exceptions_as_can_be_counted() {
        for silent in [254, 255, 256, 257, 300, 512] {
            let value = |n: usize| if n < silent { f64::NAN } else { n as f64 / 10.0 };
            there_and_back(&entries((0..16 * 512).map(value)));
        }
    }

    #[test]
    fn a_sensor_that_ticks_and_measures_in_hundredths_takes_a_byte_a_point() {
        let walk =
            (0..4096).map(|n: u32| f64::from(2150 + n / 8 % 64 + n.wrapping_mul(0x9e37_79b9) % 32) / 100.0);
        let bytes = there_and_back(&entries(walk));
        assert!(bytes.len() < 4096, "{} bytes", bytes.len());
    }

    #[test]
    fn a_counter_takes_two_bits_a_point_in_either_direction_and_a_silent_moment_ten_bytes() {
        let up: Vec<_> = (0..4096).map(|n| f64::from(n) / 10.0).collect();
        let down: Vec<_> = up.iter().rev().copied().collect();
        let mut interrupted = up.clone();
        interrupted.iter_mut().step_by(50).for_each(|value| *value = f64::NAN);
        for (values, most) in [(&up, 1100), (&down, 1100), (&interrupted, 1600 + 10 * 82)] {
            let bytes = there_and_back(&entries(values.iter().copied())).len();
            assert!(bytes < most, "{bytes} bytes, {most} at most");
        }
    }

    #[test]
    fn values_of_every_kind_come_back_bit_for_bit() {
        let odd =
            [f64::NAN, f64::from_bits(0x7ff8_dead_beef_0001), f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0];
        let large =
            [f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e15, -1e300, (1u64 << 53) as f64, INTEGER_MAX, 1e-14];
        there_and_back(&entries(odd));
        there_and_back(&entries(large));
        for value in odd.into_iter().chain(large) {
            there_and_back(&entries([value]));
            // As the only one among decimals: an exception, at the first place and at a later one.
            for at in [0, 1, 99] {
                let mut values: Vec<_> = (0..100).map(|n| f64::from(n) / 10.0).collect();
                values[at] = value;
                let bytes = there_and_back(&entries(values));
                // One of them is decimal, if barely, and widens them all.
                let most = if value == 1e-14 { 800 } else { 250 };
                assert!(bytes.len() < most, "{value} at {at} costs {} bytes", bytes.len());
            }
        }
        there_and_back(&entries((1..1000).map(|n| f64::from(n).sqrt())));
        there_and_back(&entries((1..1000).map(|n| f64::from(n) / 3.0 * 1e-9)));
    }

    #[test]
    fn times_of_every_kind_come_back() {
        let of_times = |times: &[i64]| -> Vec<Entry> {
            times.iter().map(|ts_us| Entry { ts_us: *ts_us, value: 1.5, quality: 1 }).collect()
        };
        for times in [
            &[i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN][..],
            &[5, 5, 5],
            &[5, 5, 7],
            &[9, 8, 7, 6],
            &[i64::MAX, i64::MIN],
            &[i64::MIN, i64::MAX],
            &[i64::MAX],
            &[0, i64::MAX, -2],
            &[i64::MAX - 1, i64::MAX, i64::MIN, i64::MIN + 1],
            // Every step goes forward, and together they go round all the times there are.
            &[0, i64::MAX, i64::MIN, -1, 5],
        ] {
            there_and_back(&of_times(times));
        }
        there_and_back(&of_times(&(0..1000).map(|n| n * n).collect::<Vec<_>>()));
        there_and_back(&of_times(&(0..POINTS_MAX as i64).collect::<Vec<_>>()));
    }

    #[test]
    fn qualities_of_every_kind_come_back() {
        for qualities in [&[0, 1, 2, 255][..], &[7, 7, 7], &[0]] {
            let entry = |quality: &u8| Entry { ts_us: 0, value: 0.1, quality: *quality };
            there_and_back(&qualities.iter().map(entry).collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_decoded() {
        let mut good = Vec::new();
        let mut values: Vec<_> = (0..300).map(|n| f64::from(n) / 10.0).collect();
        values[7] = f64::NAN;
        Encoder::default().encode(&mut good, &entries(values));
        for at in 0..HEADER_BYTES {
            for byte in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = byte;
                if let Some((run, _)) = Run::split(&bytes) {
                    let mut count = 0;
                    run.for_each(|_| count += 1);
                    assert_eq!(count, run.count);
                    run.times();
                }
            }
        }
        for cut in 0..good.len() {
            assert!(Run::split(&good[..cut]).is_none(), "cut at {cut}");
        }
        // Its exception comes last, and must be one of its values.
        let position = good.len() - EXCEPTION_BYTES..good.len() - EXCEPTION_BYTES + 2;
        for (at, is_there) in [(0_u16, true), (299, true), (300, false), (u16::MAX, false)] {
            good[position.clone()].copy_from_slice(&at.to_le_bytes());
            assert_eq!(Run::split(&good).is_some(), is_there, "an exception at {at}");
        }
    }
}
