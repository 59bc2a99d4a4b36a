//! Every crash point, every survivor set, every crash of the recovery: a certificate, not a sample.
//!
//! | file | subject |
//! |---|---|
//! | `story` | the operations before the crash, and what a crash owes |
//! | `explore` | the tree of all crashes of a story, walked depth-first |
//! | `catalogue` | which stories: all short ones, and longer ones |
//! | `report` | the certificate in words |
//! | this one | one run of the tree again, from its tape |

mod catalogue;
mod explore;
mod report;
mod story;

pub use catalogue::{Bounds, CRASH_STATES, Certificate, Counterexample, certify};
pub use explore::{Explorer, Tally};
pub use story::{CrashPoint, Deaf, Duty, Geometry, Listener, Op, Play, Recovered, Story, recover};

use super::{Step, findings, watched};
use crate::choice::{Chooser, Concern, SharedChooser};
use crate::coverage::Coverage;
use crate::disk::{Crashed, Persistence, SimDisk, When};
use crate::fault::FaultCounts;
use crate::model::Violation;
use crate::scenario::{Counts, Events, Outcome, Setting};
use crate::timeline::Timeline;
use parking_lot::Mutex;
use std::sync::Arc;

/// Crashes inside recoveries that a tape can ask for.
const DEEPEST: usize = 8;

/// Changing I/Os among which a tape can choose one to fail at; there are fewer in any story and in any recovery.
const CHANGES_MAX: u32 = 1 << 12;

/// Runs one tape: a story, a crash in it, and what follows from there.
pub fn run(chooser: Chooser, setting: Setting<'_>) -> Outcome {
    let timeline = if setting.with_lines { Timeline::with_lines() } else { Timeline::default() };
    let chooser = Arc::new(Mutex::new(chooser));
    let mut counts = Counts::default();
    let violation = watched(setting.plant, || one(&chooser, setting, &timeline, &mut counts)).err();
    if let Some(violation) = &violation {
        timeline.note(&[violation.verdict as u64], || format!("VIOLATION  {violation}"));
    }
    let chooser = chooser.lock();
    Outcome {
        violation,
        counts,
        faults: FaultCounts::default(),
        events: Events::new(),
        coverage: Coverage::default(),
        hash: timeline.hash(),
        tape: chooser.made().clone(),
        marks: chooser.marks().to_vec(),
        lines: timeline.lines(),
        record: timeline.take_record(),
    }
}

fn one(chooser: &SharedChooser, setting: Setting<'_>, timeline: &Timeline, counts: &mut Counts) -> Step {
    let story = Story::draw(&mut chooser.lock(), setting.sector_bytes.unwrap_or(512));
    let disk = match &setting.profile.points()[..] {
        [one] => *one,
        several => chooser.lock().pick(Concern::Shape, several),
    };
    let cut_at = chooser.lock().below(Concern::Crash, CHANGES_MAX);
    timeline.note(&[u64::from(cut_at)], || match cut_at {
        0 => format!("STORY    {story}, and then the power fails"),
        _ => format!("STORY    {story}, and the power fails at change {cut_at}"),
    });
    let mut play = Play::new(story.geometry, disk, cut_at.into(), setting.plant, timeline.clone());
    play.begin(&mut Deaf)?;
    for op in &story.ops {
        if play.is_over() {
            break;
        }
        play.perform(*op, &mut Deaf)?;
        counts.operations += 1;
    }
    play.end();

    // The crashes so far, what each owed, and what a recovery between them has shown.
    let mut before = play.disk.snapshot();
    let mut crashes = vec![(before.crash(disk), play.duty.clone())];
    let mut shown = None;
    while crashes.len() <= DEEPEST {
        timeline.note(&[], || "POWER CUT  what survives is decided when somebody looks".into());
        let (crashed, duty) = crashes.last().expect("there was a crash");
        let cut = chooser.lock().below(Concern::Crash, CHANGES_MAX);
        // Twice: what is decided only on the way can be told only at the end.
        let decided = crashed.disk(chooser.clone(), Timeline::default());
        let first = recovery(&decided, cut, &story, duty, &Timeline::default());
        let told = crashed.as_decided(&decided, &before, timeline.clone());
        findings::record(timeline, &told, setting.plant);
        let recovered = recovery(&told, cut, &story, duty, timeline);
        assert_eq!(first.is_ok(), recovered.is_ok(), "what was not looked at has made a difference");
        counts.crashes += 1;
        counts.io_ops += told.io_ops();
        let mut duty = duty.clone();
        if !told.is_dead() {
            let recovered = recovered?;
            counts.recoveries += 1;
            counts.acked_points_checked += duty.model.acked_points();
            counts.points_checked += recovered.duty.model.acked_points();
            if shown.is_some_and(|shown| shown != recovered.state) {
                return Err(explore::not_idempotent(explore::CHANGED_STORY));
            }
            if cut == 0 {
                return converges(&crashes, recovered.state, &story, disk);
            }
            shown = Some(recovered.state);
            duty = recovered.duty;
        }
        // What nobody has looked at stays open.
        before = decided.snapshot();
        crashes.push((before.crash(disk), duty));
    }
    Ok(())
}

fn recovery(
    disk: &SimDisk,
    cut: u32,
    story: &Story,
    duty: &Duty,
    timeline: &Timeline,
) -> Result<Recovered, Violation> {
    if cut > 0 {
        disk.arm_crash(cut - 1, When::Before);
    }
    recover(disk, &story.geometry.config(), duty, timeline)
}

/// After a chain of crashes the state is one that each of them could have led to alone (I10).
fn converges(crashes: &[(Crashed, Duty)], state: u128, story: &Story, disk: Persistence) -> Step {
    for (crashed, duty) in &crashes[..crashes.len() - 1] {
        let mut explorer = Explorer::new(story.geometry.config(), disk, 0);
        if !explorer.explore(crashed, duty)?.contains(&state) {
            return Err(explore::not_idempotent(explore::DIVERGED_STORY));
        }
    }
    Ok(())
}
