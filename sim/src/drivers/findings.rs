//! What lies on a disk before a store is opened, and what recovery says of it: two of the record's events.
//!
//! The disk is read twice, from a copy, so that the run is not touched: once by the code without its planted bug, which
//! gives the facts, and once by the code of the run. Where the two differ the picture shows both.

use crate::disk::{SECTOR, SimDisk};
use crate::picture::whose;
use crate::record::{Event, Findings, Reading, Unit, UnitState};
use crate::timeline::Timeline;
use tidewall::plant::{self, Bug};
use tidewall::wal::scan::End;
use tidewall::{Inspection, SegmentInfo, inspect};

/// Records what lies on a disk on which a store is about to be opened.
pub(super) fn record(timeline: &Timeline, disk: &SimDisk, plant: Option<Bug>) {
    timeline.record(|| Event::Found(Box::new(find(disk, plant))));
}

/// What a [`RecoveryReport`](tidewall::RecoveryReport) says, for the two builds of the engine that have one.
macro_rules! recovery {
    ($report:expr) => {{
        let report = $report;
        let all = [
            ("store created", u64::from(report.created)),
            ("manifest records", report.manifest_records),
            ("torn bytes behind them", report.manifest_torn_bytes),
            ("blocks", report.blocks),
            ("points in blocks", report.block_points),
            ("segments", report.segments),
            ("stale segments", report.stale_segments),
            ("frames replayed", report.frames_replayed),
            ("points replayed", report.points_replayed),
            ("points skipped, as blocks hold them", report.points_skipped),
            ("points written again, as nothing proved them durable", report.points_rewritten),
            ("torn tails", report.torn_tails.len() as u64),
            ("orphan chunks removed", report.orphans_removed),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect::<$crate::record::Recovery>()
    }};
}
pub(super) use recovery;

fn find(disk: &SimDisk, plant: Option<Bug>) -> Findings {
    let contents = disk.contents();
    let copy = || SimDisk::from_files(contents.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    plant::set(None);
    let facts = reading(disk, inspect(&copy()));
    plant::set(plant);
    let engine = plant.map(|_| reading(disk, inspect(&copy()))).filter(|engine| *engine != facts);
    Findings { disk: facts, engine }
}

fn reading(disk: &SimDisk, inspection: tidewall::Result<Inspection>) -> Reading {
    let files = disk.files();
    let inspection = match inspection {
        Ok(inspection) => inspection,
        Err(error) => {
            let damage = vec![(String::new(), 0, error.to_string())];
            return Reading { files, damage, ..Reading::default() };
        }
    };
    let damage: Vec<_> =
        inspection.damage.iter().map(|at| (at.file.clone(), at.offset, at.expected.clone())).collect();
    let mut units = records(&inspection);
    units.extend(inspection.segments.iter().flat_map(|segment| frames(segment, &damage)));
    units.extend(blocks(&inspection));
    let logs = inspection.streams.iter().map(|stream| (stream.end_lsn.0, stream.proven_lsn.0)).collect();
    Reading { files, units, logs, damage }
}

fn records(inspection: &Inspection) -> Vec<Unit> {
    let file = || "MANIFEST".to_string();
    let unit = |offset, len, state, what: String| Unit { file: file(), offset, len, state, what, lsn: None };
    let ranges = inspection.manifest_records.iter().enumerate();
    let mut units: Vec<_> = ranges
        .map(|(index, range)| {
            unit(
                range.start,
                range.end - range.start,
                UnitState::Live,
                format!("edit {index} of the manifest"),
            )
        })
        .collect();
    if inspection.manifest_torn_bytes > 0 {
        let end = units.last().map_or(0, |unit| (unit.offset + unit.len).next_multiple_of(SECTOR as u64));
        let what = "an edit that was not finished, and so never happened";
        units.push(unit(end, inspection.manifest_torn_bytes, UnitState::Torn, what.into()));
    }
    units
}

fn frames(segment: &SegmentInfo, damage: &[(String, u64, String)]) -> Vec<Unit> {
    let unit =
        |offset, len, state, what| Unit { file: segment.file.clone(), offset, len, state, what, lsn: None };
    let frame = |(index, at): (usize, &tidewall::wal::scan::FrameAt)| {
        let header = at.header;
        let is_live = segment.live.contains(&index);
        let state = if is_live { UnitState::Live } else { UnitState::Stale };
        let what = format!(
            "frame of {}: {} points, LSN {}..{}, generation {}; when it was written, {} were durable",
            whose(&header),
            header.count,
            header.first_lsn,
            header.end_lsn(),
            header.generation,
            header.durable_lsn
        );
        let lsn = Some((header.first_lsn.0, header.end_lsn().0));
        Unit { lsn, ..unit(at.offset, at.used, state, what) }
    };
    let mut units: Vec<_> = segment.frames.iter().enumerate().map(frame).collect();
    let end = segment.end_offset;
    let broken = damage.iter().find(|(file, offset, _)| *file == segment.file && *offset >= end);
    let rest = SECTOR as u64 - end % SECTOR as u64;
    match (broken, segment.end) {
        (Some((_, offset, expected)), _) => {
            units.push(unit(*offset, rest, UnitState::Corrupt, format!("expected {expected}")));
        }
        (None, End::Torn) => {
            let what = "bytes that are no frame: a write that stopped part-way, or what an earlier use left";
            units.push(unit(end, rest, UnitState::Torn, what.into()));
        }
        (None, End::Stale) => {
            let what = "a frame of an earlier use of the segment: the log ends before it";
            units.push(unit(end, rest, UnitState::Stale, what.into()));
        }
        (None, End::Blank) => {}
    }
    units
}

fn blocks(inspection: &Inspection) -> impl Iterator<Item = Unit> + '_ {
    let in_chunk = |chunk: &'_ tidewall::ChunkInfo| {
        let file = chunk.file.clone();
        let unit = |(block, intact): &(tidewall::store::block::BlockRef, bool)| Unit {
            file: file.clone(),
            offset: block.offset,
            len: block.len.into(),
            lsn: None,
            state: if *intact { UnitState::Live } else { UnitState::Corrupt },
            what: format!(
                "block of tag {}: {} points, LSN {}..{}{}",
                block.tag,
                block.count,
                block.first_lsn,
                block.end_lsn,
                if *intact { "" } else { "; the manifest names it, and it is not here" }
            ),
        };
        chunk.blocks.iter().map(unit).collect::<Vec<_>>()
    };
    inspection.chunks.iter().flat_map(in_chunk)
}
