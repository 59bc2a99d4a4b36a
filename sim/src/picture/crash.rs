//! What a crash left of each file, and what recovery read there: two strips over the same bytes.
//!
//! ```text
//!   sectors   [ durable ][ durable ][ kept ][ lost ][ torn ]
//!   read as   [ frame live ][ frame live   ][ torn           ]
//! ```

use crate::disk::SECTOR;
use crate::record::{Entry, Event, Fate, Unit, UnitState};

/// One file after a crash.
#[derive(Debug, PartialEq, Eq)]
pub struct FileStrip {
    /// Its name.
    pub file: String,
    /// Bytes.
    pub len: u64,
    /// Its sectors: the fate of each that was unsynced.
    pub sectors: Vec<Option<Fate>>,
    /// What lies in it.
    pub units: Vec<Unit>,
    /// What the engine of the run takes it for, where that is something else.
    pub misread: Vec<Unit>,
}

/// The files that the crash (if one came before) left and the opening found, those without anything in them left out.
pub fn strips(record: &[Entry], cut: Option<usize>, found: Option<usize>) -> Vec<FileStrip> {
    let Some(Event::Found(findings)) = found.map(|at| &record[at].event) else { return Vec::new() };
    let fates = match cut.map(|at| &record[at].event) {
        Some(Event::PowerCut(cut)) => &cut.files[..],
        _ => &[],
    };
    let in_file = |units: &[Unit], file: &str| -> Vec<Unit> {
        units.iter().filter(|unit| unit.file == file).cloned().collect()
    };
    let strip = |(file, len): &(String, u64)| {
        let mut sectors = vec![None; len.div_ceil(SECTOR as u64) as usize];
        for (sector, fate) in fates.iter().filter(|fate| fate.file == *file).flat_map(|fate| &fate.sectors) {
            // A sector behind the length that survives has no place in the strip.
            if let Some(place) = sectors.get_mut(*sector as usize) {
                *place = Some(*fate);
            }
        }
        let units = in_file(&findings.disk.units, file);
        let engine = findings.engine.as_ref().map_or_else(Vec::new, |engine| in_file(&engine.units, file));
        let misread = if engine == units { Vec::new() } else { engine };
        FileStrip { file: file.clone(), len: *len, sectors, units, misread }
    };
    let is_empty = |strip: &FileStrip| {
        strip.units.is_empty() && strip.misread.is_empty() && strip.sectors.iter().all(Option::is_none)
    };
    findings.disk.files.iter().map(strip).filter(|strip| !is_empty(strip)).collect()
}

/// How many units are in each state.
pub fn tally(strips: &[FileStrip]) -> Vec<(UnitState, usize)> {
    let count = |state| {
        let all = strips.iter().flat_map(|strip| &strip.units);
        (state, all.filter(|unit| unit.state == state).count())
    };
    [UnitState::Live, UnitState::Stale, UnitState::Torn, UnitState::Corrupt].map(count).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{FileFate, Findings, PowerCut, Reading};

    #[test]
    fn fates_and_units_lie_over_the_same_bytes() {
        let files = vec![("a".into(), 1000), ("LOCK".into(), 0)];
        let reading = Reading { files, ..Reading::default() };
        let fate = FileFate {
            file: "a".into(),
            len: (2000, 1000),
            sectors: vec![(1, Fate::Torn), (3, Fate::CutOff)],
        };
        let events = [
            Event::PowerCut(PowerCut { files: vec![fate], names: Vec::new() }),
            Event::Found(Box::new(Findings { disk: reading, engine: None })),
        ];
        let record: Vec<_> = events.map(|event| Entry { thread: None, event }).into();
        let strips = strips(&record, Some(0), Some(1));
        assert_eq!(strips.len(), 1, "nothing is in the lock file");
        assert_eq!(strips[0].sectors, [None, Some(Fate::Torn)]);
    }
}
