//! Which tag has which buffer.

use super::tag::TagBuffer;
use crate::point::TagId;
use rustc_hash::FxHashMap;

/// The buffers of a shard's tags, one behind the other as the tags came. A list of tags is one of such *places*: going
/// through it looks nothing up. And no order of I/O can come from that of a hash map, which is never gone through.
#[derive(Default)]
pub(super) struct TagTable {
    places: FxHashMap<TagId, u32>,
    buffers: Vec<TagBuffer>,
}

impl TagTable {
    pub(super) fn len(&self) -> usize {
        self.buffers.len()
    }

    pub(super) fn get(&self, tag: TagId) -> Option<&TagBuffer> {
        self.places.get(&tag).map(|place| &self.buffers[*place as usize])
    }

    pub(super) fn get_mut(&mut self, tag: TagId) -> Option<&mut TagBuffer> {
        self.places.get(&tag).map(|place| &mut self.buffers[*place as usize])
    }

    /// A tag's buffer and its place; it gets one if it has none.
    pub(super) fn get_or_make(&mut self, tag: TagId) -> (u32, &mut TagBuffer) {
        let place = match self.places.get(&tag) {
            Some(place) => *place,
            None => self.make(tag),
        };
        (place, self.at(place))
    }

    #[cold]
    fn make(&mut self, tag: TagId) -> u32 {
        let place = self.buffers.len() as u32;
        self.buffers.push(TagBuffer::new(tag));
        self.places.insert(tag, place);
        place
    }

    /// The buffer at a place that [`get_or_make`](TagTable::get_or_make) gave.
    pub(super) fn at(&mut self, place: u32) -> &mut TagBuffer {
        &mut self.buffers[place as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TagBuffer> {
        self.buffers.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TagBuffer> {
        self.buffers.iter_mut()
    }
}
