//! A record cut into lives: from one opening of the store to the crash, kill or close that ends it.
//!
//! A crash that is tried on the side is a life of its own, hung up on the change of the disk at which it branches off.

use crate::record::{Entry, Event};

/// One life of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Its events' places in the record, in order.
    pub events: Vec<usize>,
    /// The power cut that it comes after.
    pub after_cut: Option<usize>,
    /// Where the disk was read before it began.
    pub found: Option<usize>,
    /// The change of the disk at which it branches off, if it is tried on the side.
    pub aside: Option<u64>,
    /// How it ends.
    pub end: End,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// With the record, with a close, or with an opening that fails.
    #[default]
    Over,
    /// The power fails.
    PowerCut,
    /// The process dies.
    Killed,
}

/// The lives of a record, in the order in which they begin.
pub fn lives(record: &[Entry]) -> Vec<Life> {
    let mut lives: Vec<Life> = vec![Life::default()];
    let mut now = 0;
    // The life to go back to.
    let mut main = None;
    for (at, entry) in record.iter().enumerate() {
        let aside = lives[now].aside;
        match &entry.event {
            // No picture shows it.
            Event::Detail(_) => continue,
            Event::Aside { change } => {
                main.get_or_insert(now);
                now = lives.len();
                lives.push(Life { aside: Some(*change), ..Life::default() });
                continue;
            }
            Event::Back => {
                now = main.take().unwrap_or(now);
                continue;
            }
            // The cut that a life on the side begins with.
            Event::PowerCut(_) if aside.is_some() && lives[now].events.is_empty() => {
                lives[now].after_cut = Some(at);
                continue;
            }
            Event::Found(_) if lives[now].found.is_some() => {
                now = lives.len();
                lives.push(Life { aside, ..Life::default() });
            }
            _ => {}
        }
        let life = &mut lives[now];
        life.events.push(at);
        let end = match &entry.event {
            Event::Found(_) => {
                life.found = Some(at);
                continue;
            }
            Event::PowerCut(_) => End::PowerCut,
            Event::Killed => End::Killed,
            _ => continue,
        };
        life.end = end;
        now = lives.len();
        let after_cut = (end == End::PowerCut).then_some(at);
        lives.push(Life { aside, after_cut, ..Life::default() });
    }
    lives.retain(|life| !life.events.is_empty());
    lives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::PowerCut;

    #[test]
    fn a_life_goes_from_opening_to_crash_and_a_crash_on_the_side_is_one_of_its_own() {
        let events = [
            Event::Found(Box::default()), // 0
            Event::Watermarks([0; 3]),
            Event::Aside { change: 7 },
            Event::PowerCut(PowerCut::default()), // 3
            Event::Found(Box::default()),
            Event::Back,
            Event::Watermarks([1; 3]), // 6
            Event::PowerCut(PowerCut::default()),
            Event::Found(Box::default()), // 8
            Event::Killed,
            Event::Found(Box::default()), // 10
            Event::Found(Box::default()),
        ];
        let record: Vec<_> = events.map(|event| Entry { thread: None, event }).into();
        let lives = lives(&record);
        let told: Vec<_> =
            lives.iter().map(|life| (life.events.clone(), life.after_cut, life.aside, life.end)).collect();
        assert_eq!(
            told,
            [
                (vec![0, 1, 6, 7], None, None, End::PowerCut),
                (vec![4], Some(3), Some(7), End::Over),
                (vec![8, 9], Some(7), None, End::Killed),
                (vec![10], None, None, End::Over),
                (vec![11], None, None, End::Over),
            ]
        );
    }
}
