//! Blocks that short queries have read: verified once, and kept while there is room.
//!
//! A block that a version names never changes, and no other one is ever named in its place, so what is here is right for
//! as long as the store is open. Long queries and scans read past it: what they would push out is worth more than what
//! they will not read again.

use super::block::{BlockRef, Intact};
use crate::plant::{self, Bug};
use crate::sync::{Arc, Mutex, Rank};
use lru::LruCache;
use rustc_hash::FxBuildHasher;

/// Chunk, offset and checksum. The last one is for the day on which two mistakes have named two blocks for one place: a reader
/// must hear of it.
type Key = (u64, u64, u32);

pub(super) struct BlockCache {
    bytes_max: u64,
    kept: Mutex<Kept>,
}

struct Kept {
    /// The one that was used last comes first.
    blocks: LruCache<Key, Arc<Intact>, FxBuildHasher>,
    bytes: u64,
}

fn key(named: &BlockRef) -> Key {
    if plant::on(Bug::Q6) {
        return (0, named.offset, 0);
    }
    (named.chunk, named.offset, named.crc)
}

impl BlockCache {
    pub(super) fn new(bytes_max: u64) -> BlockCache {
        let blocks = LruCache::unbounded_with_hasher(FxBuildHasher);
        BlockCache { bytes_max, kept: Mutex::new(Rank::Leaf, Kept { blocks, bytes: 0 }) }
    }

    pub(super) fn get(&self, named: &BlockRef) -> Option<Arc<Intact>> {
        if self.bytes_max == 0 {
            return None;
        }
        self.kept.lock().blocks.get(&key(named)).cloned()
    }

    /// Keeps a block, and lets go of those that nobody has used for longest.
    pub(super) fn keep(&self, named: &BlockRef, block: &Arc<Intact>) {
        let size = |block: &Intact| block.bytes().len() as u64;
        if size(block) > self.bytes_max {
            return;
        }
        let mut guard = self.kept.lock();
        let kept = &mut *guard;
        kept.bytes += size(block);
        if let Some(same) = kept.blocks.put(key(named), block.clone()) {
            // Two have read it at the same time.
            kept.bytes -= size(&same);
        }
        while kept.bytes > self.bytes_max && !plant::on(Bug::Q9) {
            let (_, oldest) = kept.blocks.pop_lru().expect("bytes are those of blocks");
            kept.bytes -= size(&oldest);
        }
    }

    /// Bytes of the blocks in it.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;
    use crate::point::{Entry, TagId};
    use crate::store::block;

    /// A block of this many points, in this place.
    fn block((chunk, offset): (u64, u64), points: usize) -> (BlockRef, Arc<Intact>) {
        let entries: Vec<_> =
            (0..points as i64).map(|ts_us| Entry { ts_us, value: offset as f64, quality: 192 }).collect();
        let mut named = BlockRef {
            tag: TagId::new(1).unwrap(),
            chunk,
            offset,
            len: 0,
            crc: 0,
            count: 0,
            first_lsn: Lsn(0),
            end_lsn: Lsn(points as u64),
            first_ts: 0,
            last_ts: 0,
        };
        let bytes = block::encode(&mut named, &entries);
        let intact = Intact::verify(bytes, &named).expect("as it was encoded");
        (named, Arc::new(intact))
    }

    #[test]
    fn what_was_used_last_stays_and_never_more_than_there_is_room_for() {
        let blocks: Vec<_> = (0..4).map(|at| block((7, 512 * at), 10)).collect();
        let each = u64::from(blocks[0].0.len);
        let cache = BlockCache::new(3 * each);
        let is_there = |at: usize| cache.get(&blocks[at].0).is_some_and(|it| Arc::ptr_eq(&it, &blocks[at].1));
        for (named, block) in &blocks[..3] {
            cache.keep(named, block);
        }
        assert!(is_there(0), "and is the last one used now");
        cache.keep(&blocks[3].0, &blocks[3].1);
        assert_eq!([0, 1, 2, 3].map(is_there), [true, false, true, true]);
        assert_eq!(cache.bytes(), 3 * each);

        // The same again takes no more room, one that is larger than all of it goes nowhere.
        cache.keep(&blocks[3].0, &blocks[3].1);
        let (named, large) = block((8, 0), 10_000);
        assert!(u64::from(named.len) > 3 * each);
        cache.keep(&named, &large);
        assert_eq!(([0, 1, 2, 3].map(is_there), cache.bytes()), ([true, false, true, true], 3 * each));
    }

    #[test]
    fn blocks_at_one_offset_of_two_chunks_are_two_blocks() {
        let cache = BlockCache::new(1 << 20);
        let [first, second] = [block((1, 512), 3), block((2, 512), 4)];
        cache.keep(&first.0, &first.1);
        assert!(cache.get(&second.0).is_none());
        cache.keep(&second.0, &second.1);
        assert_eq!(cache.get(&first.0).unwrap().content().entries().len(), 3);
        assert_eq!(cache.get(&second.0).unwrap().content().entries().len(), 4);
    }

    #[test]
    fn a_block_that_takes_all_the_room_is_kept() {
        let (named, block) = block((1, 512), 3);
        let cache = BlockCache::new(u64::from(named.len));
        cache.keep(&named, &block);
        assert!(cache.get(&named).is_some());
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = BlockCache::new(0);
        let (named, block) = block((1, 512), 3);
        cache.keep(&named, &block);
        assert!(cache.get(&named).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
