//! Numbers taken from a fuzzer's bytes, one after the other; zeros once they are used up.

use tidewall::{Entry, TagId};

pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// This many bytes, or fewer when there are no more.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(self.0.len().min(len));
        self.0 = rest;
        head
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let head = self.take(N);
        let mut bytes = [0; N];
        bytes[..head.len()].copy_from_slice(head);
        bytes
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(super) fn tag(&mut self) -> TagId {
        TagId::new(self.u32().max(1)).expect("at least 1")
    }

    pub(super) fn entry(&mut self) -> Entry {
        Entry { ts_us: self.u64() as i64, value: f64::from_bits(self.u64()), quality: self.u8() }
    }

    /// Entries from all that is left; at least one.
    pub(super) fn entries(&mut self) -> Vec<Entry> {
        let mut entries = vec![self.entry()];
        while !self.0.is_empty() {
            entries.push(self.entry());
        }
        entries
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All bits of an entry, which `==` on a NaN would not compare.
pub(super) fn bits(entry: &Entry) -> (i64, u64, u8) {
    (entry.ts_us, entry.value.to_bits(), entry.quality)
}
