//! Target `open`: whatever is in the files of a store, it opens right, or is refused, or says what is damaged.
//!
//! The bytes say what to do to the files of a small store ([`image`]). Then, on a disk without a fault of its own:
//!
//! - `inspect` and `open` end, and the only reason to refuse is damage, or another geometry; a refusal changes nothing;
//! - what queries show stands in an intact frame or block of these very files, bit for bit;
//! - a second opening shows the same (I10), and so does one after more was written, flushed and closed.

pub(super) mod image;

use super::{reference, wrong_accept, wrong_refusal};
use crate::disk::SimDisk;
use crate::drivers::Step;
use crate::model::{Verdict, Violation};
use image::{Files, Image};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidewall::wal::frame::ALIGN;
use tidewall::{Config, Engine, Error, InOrder, Point, inspect};

/// The name of the file that openers lock; any of them makes it.
const LOCK: &str = "LOCK";

pub(super) fn ask(bytes: &[u8]) -> Step {
    let image = Image::from_bytes(bytes);
    let disk = SimDisk::from_files(image.files.iter().map(|(name, bytes)| (&name[..], &bytes[..])));
    match inspect(&disk) {
        // The bytes may say that a newer engine has written them; opening refuses them, too.
        Ok(_) | Err(Error::NewerFormat { .. }) => {}
        Err(error) => return Err(failed("inspect", &error)),
    }
    let Some(engine) = open(&disk, &image.config)? else {
        return unchanged(&image.files, &disk);
    };
    let shown = show(&engine)?;
    only_what_is_intact(&shown, &image.files)?;
    drop(engine);
    let again = reopen(&disk, &image.config, "opened again")?;
    same(&shown, &show(&again)?, "opened again")?;
    go_on(again, &disk, &image.config, shown)
}

/// What each tag shows; `None` for a tag of which a block is damaged.
type Shown = BTreeMap<u32, Option<Vec<Point>>>;

fn failed(call: &str, error: &Error) -> Violation {
    let story = format!("{call}, on a disk that does what it is told: {error}");
    Violation::new(Verdict::Stuck, "only damage is refused", story)
}

/// `None` if the files are refused for a good reason.
fn open(disk: &SimDisk, config: &Config) -> Result<Option<Engine>, Violation> {
    match Engine::open_with(Arc::new(disk.clone()), config.clone(), Box::new(InOrder)) {
        Ok(engine) => Ok(Some(engine)),
        Err(Error::Corrupt(_) | Error::Geometry { .. } | Error::NewerFormat { .. }) => Ok(None),
        Err(error) => Err(failed("open", &error)),
    }
}

fn reopen(disk: &SimDisk, config: &Config, when: &str) -> Result<Engine, Violation> {
    Engine::open_with(Arc::new(disk.clone()), config.clone(), Box::new(InOrder))
        .map_err(|error| wrong_refusal(format!("{when}: {error}")))
}

fn unchanged(before: &Files, disk: &SimDisk) -> Step {
    let mut after = disk.contents();
    after.retain(|name, _| name != LOCK || before.contains_key(name));
    if after == *before {
        return Ok(());
    }
    let story = "a store that was refused has been changed";
    Err(Violation::new(Verdict::Lost, "I6", story))
}

fn show(engine: &Engine) -> Result<Shown, Violation> {
    let mut shown = Shown::new();
    for tag in engine.tags().map_err(|error| failed("tags", &error))? {
        let points = match engine.query(tag, ..) {
            Ok(points) => Some(points),
            Err(Error::Corrupt(_)) => None,
            Err(error) => return Err(failed("query", &error)),
        };
        shown.insert(tag, points);
    }
    Ok(shown)
}

fn same(before: &Shown, after: &Shown, when: &str) -> Step {
    if before == after {
        return Ok(());
    }
    let differs = before.keys().chain(after.keys()).find(|tag| before.get(tag) != after.get(tag));
    let count =
        |shown: &Shown| differs.and_then(|tag| shown.get(tag)).map(|points| points.as_ref().map(Vec::len));
    let story = format!("{when}, tag {differs:?} has {:?} points, before {:?}", count(after), count(before));
    Err(Violation::new(Verdict::Lost, "I10", story))
}

fn key(point: &Point) -> (u32, i64, u64, u8) {
    (point.tag, point.ts_us, point.value.to_bits(), point.quality)
}

fn only_what_is_intact(shown: &Shown, files: &Files) -> Step {
    let mut intact = BTreeSet::new();
    for bytes in files.values() {
        for at in (0..bytes.len()).step_by(ALIGN) {
            if let Some(frame) = reference::frame(&bytes[at..]) {
                let tags = frame
                    .shares
                    .iter()
                    .flat_map(|share| std::iter::repeat_n(share.tag, share.count as usize));
                intact.extend(
                    tags.zip(&frame.entries)
                        .map(|(tag, entry)| (tag.get(), entry.ts_us, entry.value.to_bits(), entry.quality)),
                );
            }
        }
        for at in 0..bytes.len() {
            if let Some((named, entries)) = reference::block(&bytes[at..]) {
                intact.extend(
                    entries
                        .iter()
                        .map(|entry| (named.tag.get(), entry.ts_us, entry.value.to_bits(), entry.quality)),
                );
            }
        }
    }
    match shown.values().flatten().flatten().find(|point| !intact.contains(&key(point))) {
        Some(point) => Err(wrong_accept(format!("{point:?} is in no intact frame or block"))),
        None => Ok(()),
    }
}

/// Whatever was opened can be used: what is written to it is there after a crash, and after a close nothing is replayed.
fn go_on(engine: Engine, disk: &SimDisk, config: &Config, mut shown: Shown) -> Step {
    for tag in [1, 2, 3, 77] {
        let time = 1_000_000 + i64::from(tag);
        let point = Point::new(tag, time, 0.5);
        engine.write(point).map_err(|error| failed("write", &error))?;
        if let Some(points) = shown.entry(tag).or_insert_with(|| Some(Vec::new())) {
            points.retain(|point| point.ts_us != time);
            points.push(point);
            points.sort_by_key(|point| point.ts_us);
        }
    }
    engine.sync().map_err(|error| failed("sync", &error))?;
    drop(engine);
    let engine = reopen(disk, config, "opened after a sync")?;
    same(&shown, &show(&engine)?, "opened after a sync")?;
    engine.close().map_err(|error| failed("close", &error))?;
    let engine = reopen(disk, config, "opened after a close")?;
    same(&shown, &show(&engine)?, "opened after a close")?;
    match engine.recovery_report().points_replayed {
        0 => Ok(()),
        points => Err(wrong_accept(format!("{points} points are replayed after a close"))),
    }
}
