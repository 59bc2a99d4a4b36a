//! Bytes made of other bytes, by a generator of our own: what a plain test can do where libFuzzer is not at hand.

use crate::choice::SplitMix;

/// Makes new inputs of a corpus. The same seed makes the same inputs.
pub struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    random: SplitMix,
}

/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 8] = [0, 1, 0xff, 0x7fff_ffff, 0xffff_fff0, 0xffff_ffff, 1 << 62, u64::MAX];

impl<'a> Mutator<'a> {
    /// A generator over this corpus, which must not be empty.
    pub fn new(corpus: &'a [Vec<u8>], seed: u64) -> Mutator<'a> {
        assert!(!corpus.is_empty(), "there is nothing to start from");
        Mutator { corpus, random: SplitMix::new(seed, 0) }
    }

    /// The next input, of at most `len_max` bytes.
    pub fn next_input(&mut self, len_max: usize) -> Vec<u8> {
        let mut bytes = self.corpus[self.below(self.corpus.len())].clone();
        for _ in 0..1 + self.below(4) {
            self.change(&mut bytes);
        }
        bytes.truncate(len_max);
        bytes
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u32) as usize
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let room = bytes.len() - at;
        match self.below(7) {
            0 if room > 0 => bytes[at] ^= 1 << self.below(8),
            1 if room > 0 => bytes[at] = self.random.next_u64() as u8,
            2 => {
                // A number where a number may be.
                let at = at - at % 4;
                let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                let len = [1, 4, 8][self.below(3)].min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&edge[..len]);
            }
            3 => bytes.truncate(at),
            4 => {
                let noise: Vec<u8> = (0..self.below(16)).map(|_| self.random.next_u64() as u8).collect();
                bytes.splice(at..at, noise);
            }
            5 => {
                let from = self.below(bytes.len() + 1);
                let len = self.below(64).min(room).min(bytes.len() - from);
                bytes.copy_within(from..from + len, at);
            }
            _ => {
                let other = &self.corpus[self.random.below(self.corpus.len() as u32) as usize];
                let from = self.random.below(other.len() as u32 + 1) as usize;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}
