//! The tables: which cells they need, and what was measured in them.

use crate::cell::{Cell, Source, Work};
use crate::stores::{Kind, Shape};
use crate::{Args, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// All that children have said.
#[derive(Default)]
pub struct Measured {
    values: BTreeMap<(String, String), Vec<f64>>,
    failed: BTreeMap<String, String>,
}

impl Measured {
    /// A measurement as a line of text: the words of the cell, then names and numbers, or why it failed.
    pub fn line(cell: &Cell, said: &str) -> String {
        format!("{} | {said}", cell.words().join(" "))
    }

    /// Takes such a line in.
    pub fn read(&mut self, line: &str) -> Option<()> {
        let (cell, said) = line.split_once(" | ")?;
        if let Some(reason) = said.strip_prefix("FAILED ") {
            self.failed.insert(cell.to_string(), reason.to_string());
            return Some(());
        }
        let words: Vec<_> = said.split_whitespace().collect();
        for pair in words.chunks(2) {
            let [name, value] = pair else { return None };
            let key = (cell.to_string(), name.to_string());
            self.values.entry(key).or_default().push(value.parse().ok()?);
        }
        Some(())
    }

    /// Why a cell has failed, if it has.
    pub fn failed(&self, cell: &Cell) -> Option<&str> {
        self.failed.get(&cell.words().join(" ")).map(String::as_str)
    }

    fn median(&self, cell: &Cell, name: &str) -> Option<f64> {
        let mut values = self.values.get(&(cell.words().join(" "), name.to_string()))?.clone();
        values.sort_by(f64::total_cmp);
        Some(values[values.len() / 2])
    }
}

/// What a column of a table shows of its cell.
struct Column {
    head: String,
    cell: Cell,
    metric: &'static str,
    /// What the number is multiplied with.
    scale: f64,
}

/// A table: a row for each store.
pub struct Table {
    pub name: &'static str,
    title: String,
    columns: Vec<Column>,
    /// A last column with the least and the most of this metric over the cells.
    spread: Option<(&'static str, &'static str)>,
}

/// Tags by the number of writers, in the write tables.
const LOADS: [(usize, usize); 8] =
    [(1, 1), (10, 1), (100, 1), (1_000, 1), (100_000, 1), (100, 2), (1_000, 2), (100_000, 2)];

fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn counted(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// The tables that were asked for.
pub fn tables(args: &Args) -> Result<Vec<Table>> {
    let base = Cell {
        store: String::new(),
        work: Work::Write,
        shape: Shape::Points,
        source: Source::Generated,
        tags: 100,
        writers: 1,
        sync_every: 0,
        points: args.points,
    };
    let column = |head: &str, cell: Cell, metric, scale| Column { head: head.into(), cell, metric, scale };
    let loads = |shape: Shape, sync_every: usize, points: usize| {
        let load = |(tags, writers): (usize, usize)| {
            let mut head = counted(tags, "tag");
            if writers > 1 {
                let _ = write!(head, ", {writers} writers");
            }
            let cell = Cell { shape, tags, writers, sync_every, points, ..base.clone() };
            column(&head, cell, "points_per_second", 1e-6)
        };
        LOADS.into_iter().map(load).collect::<Vec<_>>()
    };
    let mut tables = Vec::new();
    let cpu = Some(("CPU ns a point", "cpu_ns_per_point"));
    let count = grouped(args.points);
    tables.push(Table {
        name: "points",
        title: format!(
            "{count} points arrive one at a time, round-robin over the tags; one sync at the end; M points/s"
        ),
        columns: loads(Shape::Points, 0, args.points),
        spread: cpu,
    });
    tables.push(Table {
        name: "batches",
        title: format!(
            "{count} points arrive as batches of 100 of one tag (50 at 100,000 tags), round-robin over the tags; one sync at \
             the end; M points/s"
        ),
        columns: loads(Shape::Batches, 0, args.points),
        spread: cpu,
    });
    for (name, every, points) in
        [("sync-1000", 1_000, args.points.div_ceil(5)), ("sync-10000", 10_000, args.points)]
    {
        let mut columns = loads(Shape::Points, every, points);
        let at_100 = columns[2].cell.clone();
        columns.push(column("100 tags, p50 µs", at_100.clone(), "sync_p50_us", 1.0));
        columns.push(column("p99 µs", at_100, "sync_p99_us", 1.0));
        tables.push(Table {
            name,
            title: format!(
                "{} points arrive one at a time, each writer syncs after every {}; M points/s, and µs for writing and syncing \
                 so many",
                grouped(points),
                grouped(every)
            ),
            columns,
            spread: cpu,
        });
    }
    let mut columns = Vec::new();
    for waiters in [1, 8] {
        let cell = Cell { work: Work::Immediate, writers: waiters, points: 100_000, ..base.clone() };
        let head = counted(waiters, "thread");
        columns.push(column(&format!("{head}, calls/s"), cell.clone(), "calls_per_second", 1.0));
        columns.push(column("p50 µs", cell.clone(), "call_p50_us", 1.0));
        columns.push(column("p99 µs", cell.clone(), "call_p99_us", 1.0));
        columns.push(column("CPU µs a call", cell, "cpu_us_per_call", 1.0));
    }
    tables.push(Table {
        name: "immediate",
        title: "A call writes one point and waits until it is durable, again and again".into(),
        columns,
        spread: None,
    });
    let mut columns = Vec::new();
    for (tags, head) in [(1, "1 tag"), (1_000, "1,000 tags")] {
        let cell = Cell { work: Work::Query, shape: Shape::Batches, tags, ..base.clone() };
        columns.push(column(
            &format!("{head}: all of one, M points/s"),
            cell.clone(),
            "full_points_per_second",
            1e-6,
        ));
        columns.push(column("CPU ns a point", cell.clone(), "full_cpu_ns_per_point", 1.0));
        columns.push(column("100 points anywhere, µs", cell, "short_us", 1.0));
    }
    tables.push(Table {
        name: "query",
        title: format!("Queries of {count} points, after a clean close, from the page cache"),
        columns,
        spread: None,
    });
    let mut columns = Vec::new();
    for tags in [1, 100, 100_000] {
        let cell = Cell { work: Work::Reopen, shape: Shape::Batches, tags, ..base.clone() };
        columns.push(column(&format!("{}, ms", counted(tags, "tag")), cell.clone(), "answer_ms", 1.0));
        columns.push(column("CPU ms", cell, "answer_cpu_ms", 1.0));
    }
    tables.push(Table {
        name: "reopen",
        title: format!("Opened again after {count} points, a sync and an abort, to the first right answer"),
        columns,
        spread: None,
    });
    let mut columns = Vec::new();
    let sources = [(Source::Generated, "generated"), (Source::Recorded, "recorded")];
    for (source, head) in sources.into_iter().take(if args.traces.is_empty() { 1 } else { 2 }) {
        let cell = Cell { shape: Shape::Batches, source, ..base.clone() };
        columns.push(column(&format!("{head}: written"), cell.clone(), "written_bytes_per_point", 1.0));
        columns.push(column("in write calls", cell.clone(), "call_bytes_per_point", 1.0));
        columns.push(column("on disk", cell.clone(), "disk_bytes_per_point", 1.0));
        columns.push(column("spare log files, MiB", cell.clone(), "spare_bytes", 1.0 / f64::from(1 << 20)));
        columns.push(column("close, ms", cell.clone(), "close_ms", 1.0));
        columns.push(column("CPU ns a point of it", cell, "close_cpu_ns_per_point", 1.0));
    }
    tables.push(Table {
        name: "bytes",
        title: format!("Bytes a point, {count} points of 100 tags in batches, from opening to a clean close"),
        columns,
        spread: None,
    });
    if let Some(name) = args.tables.iter().find(|name| tables.iter().all(|table| table.name != **name)) {
        return Err(format!("no table {name} here; --list names them").into());
    }
    if !args.tables.is_empty() {
        tables.retain(|table| args.tables.iter().any(|name| name == table.name));
    }
    Ok(tables)
}

/// Whether a store can be asked this at all.
fn applies(kind: &Kind, cell: &Cell) -> bool {
    match cell.work {
        Work::Query => kind.queries,
        // Without a log that keeps anything, durable is nothing.
        Work::Immediate | Work::Crash | Work::Reopen => kind.keeps,
        Work::Write => kind.keeps || cell.sync_every == 0,
    }
}

/// Every cell that the tables need, each once, all stores at one piece of work after another.
pub fn cells(tables: &[Table], stores: &[&Kind]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for column in tables.iter().flat_map(|table| &table.columns) {
        for kind in stores.iter().filter(|kind| applies(kind, &column.cell)) {
            let cell = Cell { store: kind.name.into(), ..column.cell.clone() };
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
    }
    cells
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => grouped(value.round() as usize),
        size if size >= 20.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What was measured, for people.
pub fn render(args: &Args, tables: &[Table], stores: &[&Kind], measured: &Measured) -> String {
    let mut text = machine(&args.dir);
    let mut reasons = Vec::new();
    for table in tables {
        let mut rows = Vec::new();
        let mut head = vec!["store".to_string()];
        head.extend(table.columns.iter().map(|column| column.head.clone()));
        head.extend(table.spread.map(|(head, _)| head.to_string()));
        for kind in stores {
            let mut row = vec![kind.title.to_string()];
            let mut spread: Vec<f64> = Vec::new();
            for column in &table.columns {
                let cell = Cell { store: kind.name.into(), ..column.cell.clone() };
                row.push(match (measured.failed(&cell), measured.median(&cell, column.metric)) {
                    (Some(reason), _) => {
                        let reason = format!("{}: {reason}", cell.words().join(" "));
                        if !reasons.contains(&reason) {
                            reasons.push(reason);
                        }
                        "FAILED".into()
                    }
                    (None, Some(value)) => number(value * column.scale),
                    (None, None) => "–".into(),
                });
                spread.extend(table.spread.and_then(|(_, metric)| measured.median(&cell, metric)));
            }
            if table.spread.is_some() {
                let least = spread.iter().copied().fold(f64::INFINITY, f64::min);
                let most = spread.iter().copied().fold(0.0, f64::max);
                row.push(if spread.is_empty() { "–".into() } else { format!("{least:.0}–{most:.0}") });
            }
            if row[1..].iter().any(|cell| cell != "–") {
                rows.push(row);
            }
        }
        let _ = write!(text, "\n{}.\n\n{}", table.title, grid(&head, &rows, args.markdown));
    }
    let head = ["store", "a sync is", "as used here"].map(String::from);
    let row = |kind: &&Kind| vec![kind.title.to_string(), kind.sync.to_string(), kind.how.to_string()];
    let rows: Vec<_> = stores.iter().map(row).collect();
    let _ = write!(text, "\nWhat they do.\n\n{}", grid(&head, &rows, args.markdown));
    if !reasons.is_empty() {
        let _ = write!(
            text,
            "\nFailed (store, work, shape, source, tags, writers, sync every, points: reason).\n\n"
        );
        for reason in reasons {
            let _ = writeln!(text, "- {reason}");
        }
    }
    text
}

fn grid(head: &[String], rows: &[Vec<String>], markdown: bool) -> String {
    let mut text = String::new();
    if markdown {
        let _ = writeln!(text, "| {} |", head.join(" | "));
        let _ = writeln!(text, "|{}", "---|".repeat(head.len()));
        for row in rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        return text;
    }
    let width = |at: usize| {
        rows.iter().map(|row| &row[at]).chain([&head[at]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    for row in std::iter::once(head).chain(rows.iter().map(Vec::as_slice)) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// The machine, in a line: figures without it say little.
fn machine(dir: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let meminfo = read("/proc/meminfo");
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse().ok());
    let gib = kib.unwrap_or(0.0) / f64::from(1 << 20);
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.into());
    let mounts = read("/proc/mounts");
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?, words.next()?))
        })
        .filter(|(at, ..)| dir.starts_with(at))
        .max_by_key(|(at, ..)| at.len());
    let (file_system, options) =
        mount.map_or(("unknown file system", ""), |(_, kind, options)| (kind, options));
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut text = format!(
        "{model}, {cores} processors, {gib:.0} GiB, Linux {}, {file_system} ({options}), load {load} at the end.\n",
        kernel.trim()
    );
    if file_system == "tmpfs" {
        text.push_str("tmpfs: a sync costs nothing here and saves nothing. Choose another --dir.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_goes_through_words_and_a_measurement_through_a_line() {
        let cell = Cell {
            store: "okaywal".into(),
            work: Work::Reopen,
            shape: Shape::Batches,
            source: Source::Recorded,
            tags: 1_000,
            writers: 2,
            sync_every: 10,
            points: 5_000_000,
        };
        assert_eq!(Cell::parse(&cell.words()).as_ref(), Some(&cell));
        let mut measured = Measured::default();
        for value in [3, 1, 2] {
            measured.read(&Measured::line(&cell, &format!("ms {value} other 7"))).unwrap();
        }
        assert_eq!(measured.median(&cell, "ms"), Some(2.0));
        assert_eq!(measured.failed(&cell), None);
        measured.read(&Measured::line(&cell, "FAILED for a reason")).unwrap();
        assert_eq!(measured.failed(&cell), Some("for a reason"));
    }

    #[test]
    fn numbers_are_as_short_as_they_may_be() {
        assert_eq!([0.034, 2.53, 57.4, 1_234_567.8].map(number), ["0.03", "2.5", "57", "1,234,568"]);
    }
}
