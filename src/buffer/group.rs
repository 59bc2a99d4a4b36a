//! Points of a tag brought together: what comes to a buffer at once costs one look at it.

use crate::point::Point;

/// Points of a tag in an inbox, on average, from which on they are brought together.
const GROUPED_MIN: usize = 3;
/// Places that the sort can tell apart.
const BINS: usize = 64;

/// Whether there are so many points of so many tags that it is worth the while to bring those of one tag together.
pub(super) fn are_several(points: usize, tags: usize) -> bool {
    tags > 1 && points >= GROUPED_MIN * tags
}

/// Brings points of one tag together, in the order in which they are, so that their buffer is looked up once for all of them:
/// nearly always, as two tags may share a bin.
pub(super) fn group_by_tag(points: &[Point], grouped: &mut Vec<Point>) {
    // The lower bits of the hash are the same in all tags of a shard.
    let bin = |point: &Point| (point.tag_id().hash() >> 20) as usize % BINS;
    let mut ends = [0; BINS];
    points.iter().for_each(|point| ends[bin(point)] += 1);
    let mut before = 0;
    for end in &mut ends {
        before += std::mem::replace(end, before);
    }
    grouped.resize(points.len(), Point::new(0, 0, 0.0));
    for point in points {
        let end = &mut ends[bin(point)];
        grouped[*end] = *point;
        *end += 1;
    }
}
