//! Forged answers: the oracle is tried in every campaign.
//!
//! An oracle that says yes to everything looks like a store that never fails. So now and then, when a right answer has been
//! judged, wrong ones are made from it, each with one mistake, and the oracle must refuse every one of them; after a
//! recovery, with the right verdict. One that passes ends the run with [`Verdict::HarnessBroken`]. Nothing is drawn for it, so a tape
//! means the same with and without.

use crate::model::{Model, Verdict, Violation};
use crate::scenario::Events;
use tidewall::Point;

// How often each mistake was refused.

/// An acked point is gone.
pub const LOSS: &str = "forged_loss_refused";
/// A point that nobody wrote.
pub const INVENTION: &str = "forged_invention_refused";
/// A later point of a tag without an earlier one.
pub const ORDER: &str = "forged_order_refused";
/// One bit of a value.
pub const VALUE: &str = "forged_value_refused";
/// One bit of a quality.
pub const QUALITY: &str = "forged_quality_refused";
/// A live answer with any of these mistakes.
pub const QUERY: &str = "forged_query_refused";
/// A store that opens on damaged files as if nothing were wrong with them.
pub const DAMAGE: &str = "forged_opening_refused";

/// Tries the oracle on what a broken store could show of a tag after a recovery.
///
/// # Errors
/// [`Verdict::HarnessBroken`] if it lets one pass.
pub fn recoveries(model: &Model, tag: u32, found: &[Point], events: &mut Events) -> Result<(), Violation> {
    for (mistake, verdict, forged) in forge(model, tag, found) {
        let judged = model.judge(tag, &forged).map_err(|violation| violation.verdict);
        refused(mistake, judged.err() == Some(verdict), events)?;
    }
    Ok(())
}

/// A mistake in an answer.
type Change<'a> = &'a dyn Fn(&mut Vec<Point>);

/// Tries it on what a running one could answer to a query between two times.
///
/// # Errors
/// As [`recoveries`].
pub fn query(
    model: &Model,
    tag: u32,
    range: (i64, i64),
    found: &[Point],
    events: &mut Events,
) -> Result<(), Violation> {
    let Some(last) = found.len().checked_sub(1) else { return Ok(()) };
    let changes: [Change<'_>; 4] = [
        &|points| points.truncate(last),
        &|points| points.push(Point { ts_us: points[last].ts_us.saturating_add(1), ..points[last] }),
        &|points| points[last].value = f64::from_bits(points[last].value.to_bits() ^ 1),
        &|points| points[last].quality ^= 1,
    ];
    for change in changes {
        let mut forged = found.to_vec();
        change(&mut forged);
        refused(QUERY, model.shows(tag, range, &forged).is_err(), events)?;
    }
    Ok(())
}

/// Notes what became of a forged answer.
///
/// # Errors
/// As [`recoveries`].
pub fn refused(mistake: &'static str, refused: bool, events: &mut Events) -> Result<(), Violation> {
    if !refused {
        let story = format!("the oracle lets a forged answer pass: {mistake} is not so");
        return Err(Violation::new(Verdict::HarnessBroken, "the oracle is awake", story));
    }
    *events.entry(mistake).or_default() += 1;
    Ok(())
}

fn forge(model: &Model, tag: u32, found: &[Point]) -> Vec<(&'static str, Verdict, Vec<Point>)> {
    let (acked, maybe) = model.owed(tag);
    let mut forged = Vec::new();
    let mut change = |mistake, verdict, change: Change<'_>| {
        let mut points = found.to_vec();
        change(&mut points);
        forged.push((mistake, verdict, points));
    };
    // An acked point that nothing has overwritten since: there is one right answer about it.
    let settled = |point: &&Point| maybe.iter().all(|later| later.ts_us != point.ts_us);
    if let Some(point) = acked.iter().find(settled) {
        let at = found.partition_point(|other| other.ts_us < point.ts_us);
        change(LOSS, Verdict::Lost, &|points| {
            points.remove(at);
        });
        change(VALUE, Verdict::Invented, &|points| {
            points[at].value = f64::from_bits(points[at].value.to_bits() ^ 1);
        });
        change(QUALITY, Verdict::Invented, &|points| points[at].quality ^= 1);
    }
    let behind = found.last().map_or(Some(0), |last| last.ts_us.checked_add(1));
    if let Some(ts_us) = behind.filter(|ts_us| maybe.iter().all(|point| point.ts_us != *ts_us)) {
        change(INVENTION, Verdict::Invented, &|points| points.push(Point::new(tag, ts_us, 0.5)));
    }
    // The second of two new points without the first.
    let is_new = |point: &Point| acked.iter().all(|other| other.ts_us != point.ts_us);
    if let [first, second, ..] = &maybe[..]
        && is_new(first)
        && is_new(second)
        && first.ts_us != second.ts_us
    {
        let mut points = acked.clone();
        points.insert(points.partition_point(|other| other.ts_us < second.ts_us), *second);
        forged.push((ORDER, Verdict::Lost, points));
    }
    forged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_forged_and_refused() {
        let mut model = Model::new(1);
        model.accept(&Point::new(1, 10, 1.0));
        model.ack();
        model.accept(&Point::new(1, 20, 2.0));
        model.accept(&Point::new(1, 30, 3.0));
        let found = [Point::new(1, 10, 1.0), Point::new(1, 20, 2.0)];
        assert_eq!(model.judge(1, &found), Ok(1));
        let mut events = Events::new();
        recoveries(&model, 1, &found, &mut events).unwrap();
        assert_eq!(events.keys().copied().collect::<Vec<_>>(), [INVENTION, LOSS, ORDER, QUALITY, VALUE]);
    }
}
