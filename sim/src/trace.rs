//! Recorded sensor data as a workload: CSV files in, one stream of points out.
//!
//! # What is accepted
//!
//! **Times.** The first column is a time, in one of these forms:
//!
//! - `2013-07-04 00:00:00` with an optional fraction of up to nine digits, with a blank or a `T` in the middle,
//!   and with an optional offset (`Z`, `+02:00`); without an offset it is UTC;
//! - a number since 1970 in s, ms, us or ns, with an optional decimal fraction. The unit is decided once per
//!   file, by the magnitude of the first time: below 1e11 it is s, below 1e14 ms, below 1e17 us, else ns.
//!
//! A file uses one of the two throughout. Times become whole microseconds; what is finer is rounded down, before
//! 1970 too, so that times never change their order. No time goes through a floating-point number.
//!
//! **Columns.** Every other column that is mostly numbers is a tag: at least one of its cells is a number, and at
//! least half of those that are not missing. Other columns (a device name, a comment) are ignored. A cell that is
//! empty, or one of `NA`, `N/A`, `NaN`, `null`, `none` and `-` in any case, is missing: there is no point for it.
//! `inf` is a value.
//!
//! **Shape.** The delimiter is `,`, `;` or a tab, and is found by itself; with the latter two, numbers may have a
//! decimal comma. Fields may be quoted and may have blanks around them. The first row is a header if it does not
//! start with a time. A quoted field may run over line ends; but if a row would be inside it, the quote was a stray
//! one, and from there on a quote ends with its line at the latest. A byte order mark, CRLF, blank lines, and lines
//! with a `#` before the first row are fine.
//!
//! # What is not
//!
//! A row that cannot be used (no time, another number of columns than the first row) is reported in
//! [`Trace::bad_rows`] and skipped; of a row with a cell that should be a number and is not, only that cell is.
//! Neither stops the reading. A file without any usable time or without any numeric column is an error.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io::{self, Cursor, SeekFrom};
use std::iter;
use std::path::Path;
use std::str;

use csv::ByteRecord;
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;
use thiserror::Error;

/// How many bad rows are kept to be shown; the others are only counted.
pub const MAX_BAD_ROWS: usize = 1000;

/// How many lines at the top of a file are looked at to find the delimiter.
const SAMPLE_LINES: usize = 100;

/// How many characters of a bad cell a report shows.
const MAX_SHOWN: usize = 40;

/// Why reading from memory is expected to work: there is nothing in it that can fail.
const IN_MEMORY: &str = "bytes in memory can be read";

/// What a cell holds, in any case, if nothing was measured.
const MISSING: [&str; 7] = ["", "na", "n/a", "nan", "null", "none", "-"];

/// One recorded value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracePoint {
    /// The column it is from: a [`TagName::tag`].
    pub tag: u32,
    /// The time in microseconds since 1970, UTC.
    pub ts_us: i64,
    /// The value; never NaN.
    pub value: f64,
}

/// Where a tag's points are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagName {
    /// The tag: 1 for the first numeric column of the first file, and so on over all files.
    pub tag: u32,
    /// The file, as it was named to [`Trace::load`].
    pub file: String,
    /// The column's name in the header, or `column 2` and so on if it has none.
    pub column: String,
}

/// Something in a file that was skipped. Displays as `file:line: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The file, as it was named to [`Trace::load`].
    pub file: String,
    /// The line in the file, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: BadReason,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

/// Why a row, or one cell of it, was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadReason {
    /// The first cell is not a time in the form that the file's first time has. The row is skipped.
    #[error("{cell:?} is not a time")]
    NotATime {
        /// The cell, cut if it is long.
        cell: String,
    },
    /// The row has more or fewer cells than the first row. It is skipped.
    #[error("{found} columns, not {expected}")]
    Columns {
        /// How many cells this row has.
        found: usize,
        /// How many cells the first row has.
        expected: usize,
    },
    /// A cell of a numeric column is neither a number nor missing. Only this cell is skipped.
    #[error("{cell:?} in column {column:?} is not a number")]
    NotANumber {
        /// The column's name.
        column: String,
        /// The cell, cut if it is long.
        cell: String,
    },
}

/// Why a file is of no use at all.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file cannot be opened or read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file, as it was named to [`Trace::load`].
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Not one row of the file can be used, for want of a time in the first column.
    #[error("{file} has no time column: {reason}")]
    NoTime {
        /// The file, as it was named to [`Trace::load`].
        file: String,
        /// What is wrong with the first row that should have had one.
        reason: String,
    },
    /// No column of the file besides the time is numeric.
    #[error("{file} has no numeric column besides the time")]
    NoNumbers {
        /// The file, as it was named to [`Trace::load`].
        file: String,
    },
}

/// The points of one or more files. The [module documentation](self) says what a file may look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// All points. Those of one file are in file order, even where the file goes back in time; several files
    /// are interleaved so that all of them begin and end together.
    pub points: Vec<TracePoint>,
    /// The tags, in order: tag `t` is at index `t - 1`.
    pub tags: Vec<TagName>,
    /// What was skipped, in the order of the files and their lines: the first [`MAX_BAD_ROWS`] of them.
    pub bad_rows: Vec<BadRow>,
    /// How many there are in all, including those that are not in `bad_rows`.
    pub bad_total: u64,
}

impl Trace {
    /// Reads files. Tags are numbered over all of them, in the order given.
    pub fn load<P: AsRef<Path>>(files: &[P]) -> Result<Trace, TraceError> {
        let mut trace = Trace::default();
        let mut parts = Vec::with_capacity(files.len());
        for path in files {
            let name = path.as_ref().display().to_string();
            let text = match fs::read(path) {
                Ok(text) => text,
                Err(source) => return Err(TraceError::Read { file: name, source }),
            };
            parts.push(trace.add_file(&name, &text)?);
        }
        trace.points = interleave(parts);
        Ok(trace)
    }

    /// Reads the text of one file, which reports and errors call `name`.
    pub fn parse(name: &str, text: &[u8]) -> Result<Trace, TraceError> {
        let mut trace = Trace::default();
        trace.points = trace.add_file(name, text)?;
        Ok(trace)
    }

    /// Adds the tags and bad rows of one file, and returns its points.
    ///
    /// The text is read twice: what a column is can only be said when all of it has been seen, and to read again
    /// takes less memory than to keep the cells.
    fn add_file(&mut self, file: &str, text: &[u8]) -> Result<Vec<TracePoint>, TraceError> {
        let table = Table::open(file, text)?;
        let numbers = table.numeric_columns();
        if numbers.is_empty() {
            return Err(TraceError::NoNumbers { file: file.to_string() });
        }

        let first_tag = self.tags.len() as u32 + 1;
        for (tag, column) in (first_tag..).zip(&numbers) {
            let column = table.names[column.index].clone();
            self.tags.push(TagName { tag, file: file.to_string(), column });
        }

        let mut points = Vec::with_capacity(numbers.iter().map(|column| column.count).sum());
        let mut rows = table.rows();
        while let Some(row) = rows.read() {
            let ts_us = match table.time_of(&row) {
                Ok(ts_us) => ts_us,
                Err(reason) => {
                    self.report(file, row.line, reason);
                    continue;
                }
            };
            for (tag, column) in (first_tag..).zip(&numbers) {
                let cell = row.cell(column.index);
                match read_cell(cell, table.delimiter) {
                    Cell::Number(value) => points.push(TracePoint { tag, ts_us, value }),
                    Cell::Missing => {}
                    Cell::Text => {
                        let column = table.names[column.index].clone();
                        self.report(file, row.line, BadReason::NotANumber { column, cell: shown(cell) });
                    }
                }
            }
        }
        Ok(points)
    }

    fn report(&mut self, file: &str, line: u64, reason: BadReason) {
        self.bad_total += 1;
        if self.bad_rows.len() < MAX_BAD_ROWS {
            self.bad_rows.push(BadRow { file: file.to_string(), line, reason });
        }
    }
}

/// Merges files so that at any place of the result the same fraction of each is behind.
///
/// By time would be no good: recordings are often of different years, and would then only follow each other.
fn interleave(mut parts: Vec<Vec<TracePoint>>) -> Vec<TracePoint> {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let mut points = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    let mut done = vec![0; parts.len()];
    for step in 1..=longest as u128 {
        for (part, done) in parts.iter().zip(&mut done) {
            let due = (step * part.len() as u128 / longest as u128) as usize;
            points.extend_from_slice(&part[*done..due]);
            *done = due;
        }
    }
    points
}

/// A file's text with all that has to be known to read its rows.
struct Table<'a> {
    text: Cow<'a, [u8]>,
    /// The line in the file that `text` begins with.
    first_line: u64,
    delimiter: u8,
    has_header: bool,
    /// The names of all columns; the time is column 0.
    names: Vec<String>,
    clock: Clock,
}

/// A numeric column.
struct Column {
    index: usize,
    /// How many numbers it has.
    count: usize,
}

impl<'a> Table<'a> {
    fn open(file: &str, text: &'a [u8]) -> Result<Table<'a>, TraceError> {
        let no_time = |reason: String| TraceError::NoTime { file: file.to_string(), reason };

        let (text, first_line) = skip_preamble(text);
        let delimiter = find_delimiter(text);
        let text = join_quotes(text, delimiter);

        let mut rows = Rows::new(&text, first_line, delimiter);
        let Some(first) = rows.read() else {
            return Err(no_time("it has no rows".to_string()));
        };
        let width = first.cells.len();
        let has_header = Clock::find(first.cell(0), delimiter).is_none();
        let names = (0..width)
            .map(|i| match first.cell(i) {
                name if has_header && !name.is_empty() => String::from_utf8_lossy(name).into_owned(),
                _ => format!("column {}", i + 1),
            })
            .collect();

        let below = rows_below(&text, first_line, delimiter, has_header);
        let clock = first_clock(below, width).map_err(no_time)?;
        Ok(Table { text, first_line, delimiter, has_header, names, clock })
    }

    fn rows(&self) -> Rows<'_> {
        rows_below(&self.text, self.first_line, self.delimiter, self.has_header)
    }

    /// The time of a row, or why the row cannot be used.
    fn time_of(&self, row: &Row<'_>) -> Result<i64, BadReason> {
        row.check(self.names.len())?;
        self.clock.read(row.cell(0), self.delimiter).ok_or_else(|| row.not_a_time())
    }

    /// The columns that are to become tags.
    fn numeric_columns(&self) -> Vec<Column> {
        let mut numbers = vec![0; self.names.len()];
        let mut texts = vec![0; self.names.len()];
        let mut rows = self.rows();
        while let Some(row) = rows.read() {
            if self.time_of(&row).is_err() {
                continue;
            }
            for i in 1..self.names.len() {
                match read_cell(row.cell(i), self.delimiter) {
                    Cell::Number(_) => numbers[i] += 1,
                    Cell::Text => texts[i] += 1,
                    Cell::Missing => {}
                }
            }
        }
        (1..self.names.len())
            .filter(|&i| numbers[i] > 0 && numbers[i] >= texts[i])
            .map(|index| Column { index, count: numbers[index] })
            .collect()
    }
}

/// The rows below the header.
fn rows_below(text: &[u8], first_line: u64, delimiter: u8, has_header: bool) -> Rows<'_> {
    let mut rows = Rows::new(text, first_line, delimiter);
    if has_header {
        rows.read();
    }
    rows
}

/// The clock of the first row that has a time; if there is none, what is wrong with the first row.
fn first_clock(mut rows: Rows<'_>, width: usize) -> Result<Clock, String> {
    let mut wrong = None;
    let delimiter = rows.delimiter;
    while let Some(row) = rows.read() {
        let clock = Clock::find(row.cell(0), delimiter).ok_or_else(|| row.not_a_time());
        match row.check(width).and(clock) {
            Ok(clock) => return Ok(clock),
            Err(reason) => wrong = wrong.or_else(|| Some(format!("line {}: {reason}", row.line))),
        }
    }
    Err(wrong.unwrap_or("it has no rows below the header".to_string()))
}

/// Reads one row after the other.
///
/// This is the CSV reader with two things more. It tells the line that a row begins on, past blank lines. And it
/// does not lose the rest of a file to one stray quote: once a quote has swallowed rows (see [`swallows_rows`]),
/// every line is a row. To try quotes over line ends again after each stray one could take quadratic time.
struct Rows<'a> {
    text: &'a [u8],
    delimiter: u8,
    /// Reads `text` from `base` to `end`: all of it, or a line at a time.
    reader: csv::Reader<Cursor<&'a [u8]>>,
    base: usize,
    end: usize,
    /// The line at the byte `counted` of the text.
    line: u64,
    counted: usize,
    record: ByteRecord,
}

/// One row.
struct Row<'r> {
    /// The line in the file that it begins on.
    line: u64,
    cells: &'r ByteRecord,
}

impl<'a> Rows<'a> {
    fn new(text: &'a [u8], first_line: u64, delimiter: u8) -> Rows<'a> {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(Cursor::new(text));
        let (base, end) = (0, text.len());
        Rows { text, delimiter, reader, base, end, line: first_line, counted: 0, record: ByteRecord::new() }
    }

    /// The next row that is not blank.
    fn read(&mut self) -> Option<Row<'_>> {
        loop {
            let start = self.skip_line_ends(self.position());
            if !self.reader.read_byte_record(&mut self.record).expect(IN_MEMORY) {
                if self.end == self.text.len() {
                    return None;
                }
                self.go_to_line(self.end);
                continue;
            }
            if swallows_rows(&self.text[start..self.position()], self.delimiter) {
                self.go_to_line(start);
                continue;
            }
            if self.record.len() == 1 && self.record[0].trim_ascii().is_empty() {
                continue;
            }
            self.line += line_ends(&self.text[self.counted..start]);
            self.counted = start;
            return Some(Row { line: self.line, cells: &self.record });
        }
    }

    /// Has the next row read from the line at `start`, and no more than that line.
    fn go_to_line(&mut self, start: usize) {
        let rest = &self.text[start..];
        let line = rest.split_inclusive(|&b| b == b'\n').next().unwrap_or(rest);
        self.base = start;
        self.end = start + line.len();
        // Another text for the same reader: to make a reader takes longer than to read a line.
        *self.reader.get_mut() = Cursor::new(line);
        self.reader.seek_raw(SeekFrom::Start(0), csv::Position::new()).expect(IN_MEMORY);
    }

    fn position(&self) -> usize {
        self.base + self.reader.position().byte() as usize
    }

    /// The CSV reader takes blank lines, and the second half of a CRLF, as the beginning of the next row.
    fn skip_line_ends(&self, position: usize) -> usize {
        position + self.text[position..].iter().take_while(|&&b| b == b'\r' || b == b'\n').count()
    }
}

impl Row<'_> {
    fn cell(&self, i: usize) -> &[u8] {
        self.cells[i].trim_ascii()
    }

    /// Whether the row has the right shape.
    fn check(&self, expected: usize) -> Result<(), BadReason> {
        match self.cells.len() {
            found if found == expected => Ok(()),
            found => Err(BadReason::Columns { found, expected }),
        }
    }

    fn not_a_time(&self) -> BadReason {
        BadReason::NotATime { cell: shown(self.cell(0)) }
    }
}

/// Whether the raw text of one row holds a line that is a row of its own, because it starts with a time.
///
/// A quoted field may hold line ends, so a quote that is not closed swallows all that follows. A line in a comment
/// does not start with a time, though, and what does is much more likely to be data that a stray quote has caught.
fn swallows_rows(raw: &[u8], delimiter: u8) -> bool {
    raw.split(|&b| b == b'\n').skip(1).any(|line| {
        let end = line.iter().position(|&b| b == delimiter);
        end.is_some_and(|end| Clock::find(unquoted(line[..end].trim_ascii()), delimiter).is_some())
    })
}

/// Takes the quotes off a field that is in quotes.
fn unquoted(field: &[u8]) -> &[u8] {
    field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\"")).unwrap_or(field).trim_ascii()
}

fn line_ends(text: &[u8]) -> u64 {
    text.iter().filter(|&&b| b == b'\n').count() as u64
}

/// The text from its first row on, and the line that this is in the file: without a byte order mark, and without
/// the comments and blank lines at the top.
fn skip_preamble(text: &[u8]) -> (&[u8], u64) {
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut line = 1;
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let start = rest[..end].trim_ascii_start();
        if !start.is_empty() && start[0] != b'#' {
            break;
        }
        rest = &rest[end + 1..];
        line += 1;
    }
    (rest, line)
}

/// Finds the delimiter that makes most sense of the first lines.
fn find_delimiter(text: &[u8]) -> u8 {
    let sample = first_lines(text, SAMPLE_LINES);
    // Of equals the last one wins: a comma in a file that has one of the others is rather a decimal comma.
    [b',', b';', b'\t'].into_iter().max_by_key(|&delimiter| consistency(sample, delimiter)).unwrap_or(b',')
}

/// How well a delimiter fits: how many rows have the most common number of columns and start with a time, and then
/// how many have that number of columns. The times come first because decimal commas too are one to each row.
fn consistency(sample: &[u8], delimiter: u8) -> (usize, usize) {
    let sample = join_quotes(sample, delimiter);
    let mut rows = Rows::new(&sample, 1, delimiter);
    let mut widths = Vec::new();
    while let Some(row) = rows.read() {
        if row.cells.len() > 1 {
            widths.push((row.cells.len(), Clock::find(row.cell(0), delimiter).is_some()));
        }
    }
    let fit = |width| {
        let alike = widths.iter().filter(|row| row.0 == width);
        (alike.clone().filter(|row| row.1).count(), alike.count())
    };
    widths.iter().map(|row| fit(row.0)).max().unwrap_or((0, 0))
}

fn first_lines(text: &[u8], n: usize) -> &[u8] {
    let end = text.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(n - 1);
    end.map_or(text, |(end, _)| &text[..end])
}

/// Drops blanks between a delimiter and a quote, as the CSV reader takes a quote as such only right after the
/// delimiter. (Where that pair of characters is inside a quoted field, the field loses blanks, which is harmless.)
fn join_quotes(text: &[u8], delimiter: u8) -> Cow<'_, [u8]> {
    if !text.windows(2).any(|pair| pair == b" \"") {
        return Cow::Borrowed(text);
    }
    let mut joined = Vec::with_capacity(text.len());
    for &b in text {
        if b == b'"' {
            let blanks = joined.iter().rev().take_while(|&&b| b == b' ').count();
            let end = joined.len() - blanks;
            if end == 0 || joined[end - 1] == delimiter || joined[end - 1] == b'\n' {
                joined.truncate(end);
            }
        }
        joined.push(b);
    }
    Cow::Owned(joined)
}

/// How a file writes its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Date and time of day.
    Date,
    /// A number, which is in microseconds once its decimal point is moved this many places to the right.
    Epoch { places: i32 },
}

impl Clock {
    /// The clock that a first time is from; `None` if it is not a time.
    fn find(cell: &[u8], delimiter: u8) -> Option<Clock> {
        let text = str::from_utf8(cell).ok()?;
        let clock = match date_us(text) {
            Some(_) => Clock::Date,
            None => Clock::Epoch { places: epoch_places(text) },
        };
        clock.read(cell, delimiter).map(|_| clock)
    }

    /// A time in microseconds.
    fn read(self, cell: &[u8], delimiter: u8) -> Option<i64> {
        let text = str::from_utf8(cell).ok()?;
        match self {
            Clock::Date => date_us(text),
            Clock::Epoch { places } => epoch_us(&with_point(text, delimiter), places),
        }
    }
}

/// Reads a date and time of day, with or without an offset from UTC.
fn date_us(text: &str) -> Option<i64> {
    // The parser takes half a time too, and a date alone. Here that is a damaged row.
    let bytes = text.as_bytes();
    let is_full = bytes.len() >= "2013-07-04 00:00:00".len()
        && (bytes[4], bytes[7], bytes[13], bytes[16]) == (b'-', b'-', b':', b':')
        && matches!(bytes[10], b' ' | b'T' | b't');
    if !is_full {
        return None;
    }
    let pieces = Pieces::parse(text).ok()?;
    // A time zone by name would need the tables, and to ignore it would be a wrong time.
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    let time = offset.to_timestamp(pieces.date().to_datetime(pieces.time()?)).ok()?;
    i64::try_from(time.as_nanosecond().div_euclid(1000)).ok()
}

/// The unit of a number that is a time, as the places from it to microseconds, by its digits before the point.
fn epoch_places(text: &str) -> i32 {
    let digits = text.trim_start_matches(['+', '-']).trim_start_matches('0');
    match digits.bytes().take_while(u8::is_ascii_digit).count() {
        0..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        _ => -3,
    }
}

/// Reads a decimal number, moves its point to the right and rounds down. It works on the digits, to be exact.
fn epoch_us(text: &str, places: i32) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    if digits.clone().next().is_none() || !digits.clone().all(|b| b.is_ascii_digit()) {
        return None;
    }

    let point = usize::try_from(whole.len() as i64 + i64::from(places)).unwrap_or(0);
    let mut us: i64 = 0;
    for digit in digits.clone().chain(iter::repeat(b'0')).take(point) {
        us = us.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
    }
    let has_rest = digits.skip(point).any(|digit| digit != b'0');
    if negative { (-us).checked_sub(i64::from(has_rest)) } else { Some(us) }
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Number(f64),
    Missing,
    Text,
}

fn read_cell(cell: &[u8], delimiter: u8) -> Cell {
    let Ok(text) = str::from_utf8(cell) else {
        return Cell::Text;
    };
    if MISSING.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Cell::Missing;
    }
    match with_point(text, delimiter).parse::<f64>() {
        // `-nan` and the like.
        Ok(value) if value.is_nan() => Cell::Missing,
        Ok(value) => Cell::Number(value),
        Err(_) => Cell::Text,
    }
}

/// Turns a decimal comma into a point, in a file where the comma is not the delimiter.
fn with_point(text: &str, delimiter: u8) -> Cow<'_, str> {
    let one_comma = || text.bytes().filter(|&b| b == b',').count() == 1;
    if delimiter != b',' && !text.contains('.') && one_comma() {
        Cow::Owned(text.replace(',', "."))
    } else {
        Cow::Borrowed(text)
    }
}

/// A cell as a report shows it.
fn shown(cell: &[u8]) -> String {
    // No character is longer than four bytes, so these are enough of them.
    let text = String::from_utf8_lossy(&cell[..cell.len().min(4 * MAX_SHOWN)]);
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2013-07-04 00:00:00 UTC.
    const DAY: i64 = 1_372_896_000_000_000;

    fn parse(text: &str) -> Trace {
        Trace::parse("f.csv", text.as_bytes()).unwrap()
    }

    /// Parses a file that has nothing wrong with it.
    fn points(text: &str) -> Vec<(u32, i64, f64)> {
        let trace = parse(text);
        assert_eq!(trace.bad_rows, []);
        assert_eq!(trace.bad_total, 0);
        trace.points.iter().map(|p| (p.tag, p.ts_us, p.value)).collect()
    }

    fn bad(text: &str) -> Vec<String> {
        parse(text).bad_rows.iter().map(BadRow::to_string).collect()
    }

    fn columns(trace: &Trace) -> Vec<(u32, &str)> {
        trace.tags.iter().map(|name| (name.tag, name.column.as_str())).collect()
    }

    fn time(text: &str) -> Option<i64> {
        Clock::find(text.as_bytes(), b',')?.read(text.as_bytes(), b',')
    }

    #[test]
    fn a_plain_file() {
        let text = "timestamp,value\n2013-07-04 00:00:00,69.88083514\n2013-07-04 01:00:00,71\n";
        assert_eq!(points(text), [(1, DAY, 69.88083514), (1, DAY + 3_600_000_000, 71.0)]);
        let name = TagName { tag: 1, file: "f.csv".to_string(), column: "value".to_string() };
        assert_eq!(parse(text).tags, [name]);
    }

    #[test]
    fn dates() {
        assert_eq!(time("2013-07-04 00:00:00"), Some(DAY));
        assert_eq!(time("2013-07-04T00:00:00"), Some(DAY));
        assert_eq!(time("2013-07-04 00:00:00.5"), Some(DAY + 500_000));
        assert_eq!(time("2013-07-04 00:00:00.000001"), Some(DAY + 1));
        assert_eq!(time("2013-07-04 00:00:00.123456789"), Some(DAY + 123_456));
        assert_eq!(time("2016-02-29 12:00:00"), Some(1_456_747_200_000_000));
    }

    #[test]
    fn dates_with_an_offset() {
        assert_eq!(time("2013-07-04T00:00:00Z"), Some(DAY));
        assert_eq!(time("2013-07-04t00:00:00.25z"), Some(DAY + 250_000));
        assert_eq!(time("2013-07-04 02:00:00+02:00"), Some(DAY));
        assert_eq!(time("2013-07-03T18:30:00.000007-05:30"), Some(DAY + 7));
    }

    #[test]
    fn dates_before_1970() {
        assert_eq!(time("1970-01-01 00:00:00"), Some(0));
        assert_eq!(time("1969-12-31 23:59:58.5"), Some(-1_500_000));
        assert_eq!(time("1969-12-31 23:59:59.999999999"), Some(-1));
        assert_eq!(time("1900-01-01 00:00:00"), Some(-2_208_988_800_000_000));
    }

    #[test]
    fn what_is_not_a_time() {
        for text in [
            "",
            "-",
            ".",
            "time",
            "1.2.3",
            "1e9",
            "0x10",
            "--5",
            "nan",
            "2013-07-04",
            "2013-07-04 00:00",
            "2013-07-04 00:00:0",
            "2013-02-29 00:00:00",
            "2013-07-04 24:00:01",
            "2013-07-04_00:00:00",
            "2013-07-04 00:00:00 5",
            "2013-07-04T00:00:00[Europe/Berlin]",
            "9999-12-31T23:59:59-23:00",
            "99999999999999999999999999",
            "2013-07-04 00:00:0\u{e9}",
        ] {
            assert_eq!(time(text), None, "{text:?}");
        }
        assert_eq!(Clock::find(b"\xff\xff", b','), None);
    }

    #[test]
    fn epochs_in_every_unit() {
        assert_eq!(time("1372896000"), Some(DAY));
        assert_eq!(time("1372896000123"), Some(DAY + 123_000));
        assert_eq!(time("1372896000123456"), Some(DAY + 123_456));
        assert_eq!(time("1372896000123456789"), Some(DAY + 123_456));
        assert_eq!(time("0"), Some(0));
        assert_eq!(time("+7"), Some(7_000_000));
    }

    #[test]
    fn epochs_with_a_fraction_are_exact() {
        assert_eq!(time("1372896000.000001"), Some(DAY + 1));
        assert_eq!(time("1372896000.9999999"), Some(DAY + 999_999));
        assert_eq!(time("1372896000.1"), Some(DAY + 100_000));
        assert_eq!(time("1372896000."), Some(DAY));
        assert_eq!(time(".5"), Some(500_000));
        assert_eq!(time("1372896000123.456"), Some(DAY + 123_456));
        assert_eq!(time("1372896000123456.0"), Some(DAY + 123_456));
        // An f64 has no room for these microseconds.
        assert_eq!(time("98765432109.876543"), Some(98_765_432_109_876_543));
        assert_eq!(time("98765432109876543"), Some(98_765_432_109_876_543));
    }

    #[test]
    fn epochs_before_1970_round_down() {
        assert_eq!(time("-1"), Some(-1_000_000));
        assert_eq!(time("-0.5"), Some(-500_000));
        assert_eq!(time("-0.0000001"), Some(-1));
        assert_eq!(time("-2208988800"), Some(-2_208_988_800_000_000));
        assert_eq!(time("-2208988800000"), Some(-2_208_988_800_000_000));
        assert_eq!(time("-2208988800000001"), Some(-2_208_988_800_000_001));
        assert_eq!(time("-2208988800000001001"), Some(-2_208_988_800_000_002));
    }

    #[test]
    fn units_change_at_their_limits() {
        assert_eq!(time("99999999999"), Some(99_999_999_999_000_000));
        assert_eq!(time("100000000000"), Some(100_000_000_000_000));
        assert_eq!(time("99999999999999"), Some(99_999_999_999_999_000));
        assert_eq!(time("100000000000000"), Some(100_000_000_000_000));
        assert_eq!(time("99999999999999999"), Some(99_999_999_999_999_999));
        assert_eq!(time("100000000000000000"), Some(100_000_000_000_000));
        assert_eq!(time("-99999999999.9"), Some(-99_999_999_999_900_000));
        assert_eq!(time("0000000000000000000001"), Some(1_000_000));
    }

    #[test]
    fn the_unit_is_that_of_the_first_time() {
        // By itself, the second number would be in seconds.
        assert_eq!(
            points("1372896000000,1\n5,2\n-1.0001,3\n"),
            [(1, DAY, 1.0), (1, 5_000, 2.0), (1, -1_001, 3.0)]
        );
        // This one is in nanoseconds, and less than a microsecond.
        assert_eq!(points("1372896000000000000,1\n12,2\n"), [(1, DAY, 1.0), (1, 0, 2.0)]);
        // The first row is not the one with the first time.
        assert_eq!(parse("t,v\n?,1\n1372896000000,2\n7,3\n").points[1].ts_us, 7_000);
    }

    #[test]
    fn a_file_has_one_kind_of_time() {
        assert_eq!(bad("1,1\n2013-07-04 00:00:00,2\n"), ["f.csv:2: \"2013-07-04 00:00:00\" is not a time"]);
        assert_eq!(bad("2013-07-04 00:00:00,2\n1,1\n"), ["f.csv:2: \"1\" is not a time"]);
    }

    #[test]
    fn times_too_large_for_microseconds_are_bad() {
        assert_eq!(bad("1,1\n99999999999999,2\n"), ["f.csv:2: \"99999999999999\" is not a time"]);
    }

    #[test]
    fn the_order_of_the_file_is_kept() {
        assert_eq!(
            points("9,1\n3,2\n3,3\n5,4\n"),
            [(1, 9_000_000, 1.0), (1, 3_000_000, 2.0), (1, 3_000_000, 3.0), (1, 5_000_000, 4.0)]
        );
    }

    #[test]
    fn every_delimiter() {
        for d in [",", ";", "\t"] {
            let text = "time,a,b\n1,2.5,3\n2,-4e1,5\n".replace(',', d);
            let expected =
                [(1, 1_000_000, 2.5), (2, 1_000_000, 3.0), (1, 2_000_000, -40.0), (2, 2_000_000, 5.0)];
            assert_eq!(points(&text), expected, "{d:?}");
        }
    }

    #[test]
    fn decimal_commas() {
        let expected = [(1, DAY + 500_000, 12.5), (2, DAY + 500_000, -0.25)];
        assert_eq!(points("2013-07-04 00:00:00.5;12,5;-,25\n"), expected);
        assert_eq!(points("2013-07-04 00:00:00,5;12,5;-,25\n"), expected);
        assert_eq!(points("1372896000,5\t12,5\t-0,25\n"), expected);
        assert_eq!(points("time;a;b\n2013-07-04 00:00:00.5;12.5;-0.25\n"), expected);
        // Commas that are no decimal commas.
        assert_eq!(read_cell(b"1.234,5", b';'), Cell::Text);
        assert_eq!(read_cell(b"1,234,5", b';'), Cell::Text);
        assert_eq!(read_cell(b"12,5", b','), Cell::Text);
    }

    #[test]
    fn a_damaged_line_does_not_change_the_delimiter() {
        // With a comma, every row but the third would have three columns.
        let text = "2013-07-04 00:00:00;1,5;2,5\n2013-07-04 00:00:01;1,5;2,5\n2013-07-04 00:0\n";
        let trace = parse(text);
        assert_eq!(trace.points.len(), 4);
        assert_eq!(bad(text), ["f.csv:3: 1 columns, not 3"]);
    }

    #[test]
    fn delimiters_in_quotes_do_not_count() {
        let text = "time,note,v\n1,\"a;b;c\",5\n2,\"d,\"\"e\"\";f\",6\n3,\"x;y;z\",7\n";
        assert_eq!(points(text), [(1, 1_000_000, 5.0), (1, 2_000_000, 6.0), (1, 3_000_000, 7.0)]);
        let text = "\"time\";\"note\";\"v\"\n\"1\";\"a,b,c\";\"5,5\"\n\"2\";\"d,e,f\";\"6\"\n";
        assert_eq!(points(text), [(1, 1_000_000, 5.5), (1, 2_000_000, 6.0)]);
    }

    #[test]
    fn blanks_around_fields() {
        let text = " time , \"a, b\" , v \n 1 , \"x, y\" , 5 \n  \n\"2\" ,\"z\",\t6\n";
        assert_eq!(points(text), [(1, 1_000_000, 5.0), (1, 2_000_000, 6.0)]);
        assert_eq!(columns(&parse(text)), [(1, "v")]);
        assert_eq!(columns(&parse("time;  \"a; b\"\n1;2\n")), [(1, "a; b")]);
    }

    #[test]
    fn a_bom_and_crlf() {
        let text = "\u{feff}time,v\r\n1,2\r\n\r\n2,3\r\nx,4\r\n";
        let trace = parse(text);
        assert_eq!(columns(&trace), [(1, "v")]);
        assert_eq!(trace.points.len(), 2);
        assert_eq!(bad(text), ["f.csv:5: \"x\" is not a time"]);
        assert_eq!(points("\u{feff}1,2\r\n3,4"), [(1, 1_000_000, 2.0), (1, 3_000_000, 4.0)]);
    }

    #[test]
    fn comments_above_the_header() {
        let text = "\u{feff}# one; \"quote\n\n  # two, three\ntime,v\n1,2\n#3,4\n";
        let trace = parse(text);
        assert_eq!(columns(&trace), [(1, "v")]);
        assert_eq!(trace.points, [TracePoint { tag: 1, ts_us: 1_000_000, value: 2.0 }]);
        assert_eq!(bad(text), ["f.csv:6: \"#3\" is not a time"]);
    }

    #[test]
    fn the_header_is_optional() {
        let trace = parse("1,2,x,4\n2,3,y,5\n");
        assert_eq!(columns(&trace), [(1, "column 2"), (2, "column 4")]);
        assert_eq!(trace.points.len(), 4);
        assert_eq!(columns(&parse(",a,\n1,2,3\n")), [(1, "a"), (2, "column 3")]);
    }

    #[test]
    fn names_need_not_be_utf8() {
        let trace = Trace::parse("f.csv", b"time,\xb0C,note\n1,2,\xff\n").unwrap();
        assert_eq!(columns(&trace), [(1, "\u{fffd}C")]);
        assert_eq!((trace.points.len(), trace.bad_total), (1, 0));
    }

    #[test]
    fn missing_cells_are_skipped_silently() {
        let text = "time,a,b\n1,,1\n2,NA,2\n3,n/a,3\n4,NaN,4\n5,NULL,\n6,None,-\n7, - ,7\n8,8,-nan\n";
        assert_eq!(
            points(text),
            [
                (2, 1_000_000, 1.0),
                (2, 2_000_000, 2.0),
                (2, 3_000_000, 3.0),
                (2, 4_000_000, 4.0),
                (2, 7_000_000, 7.0),
                (1, 8_000_000, 8.0),
            ]
        );
    }

    #[test]
    fn infinity_is_a_value() {
        assert_eq!(
            points("1,inf\n2,-Infinity\n"),
            [(1, 1_000_000, f64::INFINITY), (1, 2_000_000, f64::NEG_INFINITY)]
        );
    }

    #[test]
    fn a_column_is_numeric_if_half_of_its_cells_are() {
        let text = "time,half,less,none,all\n1,1,1,,1\n2,x,x,NA,2\n3,,x,-,3\n";
        let trace = parse(text);
        assert_eq!(columns(&trace), [(1, "half"), (2, "all")]);
        assert_eq!(trace.points.len(), 4);
        assert_eq!(bad(text), ["f.csv:3: \"x\" in column \"half\" is not a number"]);
    }

    #[test]
    fn bad_rows_are_reported_with_their_line() {
        let text = "# c\ntime,a,b\n1,1,1\nyesterday,2,2\n\n3,3\n4,4,4,4\n5,oops,5\n6,6,6\n";
        let trace = parse(text);
        let line = |line, reason| BadRow { file: "f.csv".to_string(), line, reason };
        assert_eq!(
            trace.bad_rows,
            [
                line(4, BadReason::NotATime { cell: "yesterday".to_string() }),
                line(6, BadReason::Columns { found: 2, expected: 3 }),
                line(7, BadReason::Columns { found: 4, expected: 3 }),
                line(8, BadReason::NotANumber { column: "a".to_string(), cell: "oops".to_string() }),
            ]
        );
        assert_eq!(trace.bad_total, 4);
        let kept: Vec<_> = trace.points.iter().map(|p| (p.tag, p.ts_us)).collect();
        assert_eq!(kept, [(1, 1_000_000), (2, 1_000_000), (2, 5_000_000), (1, 6_000_000), (2, 6_000_000)]);
    }

    #[test]
    fn bad_rows_are_bounded() {
        let text = format!("1,1\n{}2,2\n", "x,0\n".repeat(1500));
        let trace = parse(&text);
        assert_eq!((trace.bad_rows.len(), trace.bad_total), (MAX_BAD_ROWS, 1500));
        assert_eq!(trace.bad_rows[999].line, 1001);
        assert_eq!(trace.points.len(), 2);
    }

    #[test]
    fn long_cells_are_cut_in_reports() {
        let text = format!("1,1\n{},2\n", "\u{e9}".repeat(5000));
        let cell = format!("{}...", "\u{e9}".repeat(MAX_SHOWN));
        assert_eq!(parse(&text).bad_rows[0].reason, BadReason::NotATime { cell });
    }

    #[test]
    fn a_quoted_field_may_hold_line_ends() {
        let text = "time,note,v\n1,\"two\r\nlines, 3\",5\nx,,6\n3,,7\n";
        assert_eq!(parse(text).points.len(), 2);
        assert_eq!(bad(text), ["f.csv:4: \"x\" is not a time"]);
    }

    #[test]
    fn a_stray_quote_costs_no_other_row() {
        let text = "time,note,v\n1,\"a,5\n2,b,6\r\n3,\"c,7\r\nx,d,8\n5,\"e\",9\n6,f,\"10\n7,g,11\n";
        let trace = parse(text);
        let kept: Vec<_> = trace.points.iter().map(|p| p.value).collect();
        assert_eq!(kept, [6.0, 9.0, 10.0, 11.0]);
        assert_eq!(trace.points[0].ts_us, 2_000_000);
        assert_eq!(
            bad(text),
            ["f.csv:2: 2 columns, not 3", "f.csv:4: 2 columns, not 3", "f.csv:5: \"x\" is not a time",]
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_takes_no_quadratic_time() {
        let text: String = (0..50_000).map(|i| format!("{i},\"a\",{i},\"cut\n")).collect();
        let trace = parse(&text);
        assert_eq!((trace.points.len(), trace.bad_total), (50_000, 0));
        assert_eq!(trace.points[49_999].ts_us, 49_999_000_000);
    }

    #[test]
    fn wide_files() {
        let header: Vec<_> = (0..5000).map(|i| format!("c{i}")).collect();
        let row: Vec<_> = (0..5000).map(|i| format!("{i}.5")).collect();
        let text = format!("time,{}\n1,{}\n2,{}\n", header.join(","), row.join(","), row.join(","));
        let trace = parse(&text);
        assert_eq!(trace.tags.len(), 5000);
        assert_eq!(trace.tags[4999].column, "c4999");
        assert_eq!((trace.points.len(), trace.bad_total), (10_000, 0));
        assert_eq!(trace.points[9999], TracePoint { tag: 5000, ts_us: 2_000_000, value: 4999.5 });
    }

    #[test]
    fn many_rows() {
        let text: String = (0..200_000).map(|i| format!("{i},{i}\n")).collect();
        let trace = parse(&text);
        assert_eq!(trace.points.len(), 200_000);
        assert_eq!(trace.points[199_999], TracePoint { tag: 1, ts_us: 199_999_000_000, value: 199_999.0 });
    }

    #[test]
    fn useless_files_are_errors() {
        let error = |text: &str| Trace::parse("f.csv", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error(""), "f.csv has no time column: it has no rows");
        assert_eq!(error("# only this\n"), "f.csv has no time column: it has no rows");
        assert_eq!(error("time,v\n"), "f.csv has no time column: it has no rows below the header");
        assert_eq!(error("a,b\nx,1\n"), "f.csv has no time column: line 2: \"x\" is not a time");
        assert_eq!(error("time,v\n1,2,\n"), "f.csv has no time column: line 2: 3 columns, not 2");
        assert_eq!(error("time\n1\n"), "f.csv has no numeric column besides the time");
        assert_eq!(error("time,a,b\n1,x,\n"), "f.csv has no numeric column besides the time");
    }

    #[test]
    fn files_are_numbered_and_interleaved() {
        let dir = tempfile::tempdir().unwrap();
        let (long, short) = (dir.path().join("long.csv"), dir.path().join("short.csv"));
        fs::write(&long, "time,a\n1,1\n2,2\n3,3\n4,4\n").unwrap();
        fs::write(&short, "x,1\n2013-07-04 00:00:00,5\n?,0\n2013-07-04 00:00:00,6\n").unwrap();

        let trace = Trace::load(&[&long, &short]).unwrap();
        let order: Vec<_> = trace.points.iter().map(|p| (p.tag, p.value)).collect();
        assert_eq!(order, [(1, 1.0), (1, 2.0), (2, 5.0), (1, 3.0), (1, 4.0), (2, 6.0)]);
        assert_eq!(columns(&trace), [(1, "a"), (2, "1")]);
        assert_eq!(trace.tags[1].file, short.display().to_string());
        assert_eq!(trace.bad_rows[0].to_string(), format!("{}:3: \"?\" is not a time", short.display()));
        assert_eq!(Trace::load::<&Path>(&[]).unwrap(), Trace::default());
    }

    #[test]
    fn files_of_any_lengths_interleave_whole() {
        let part =
            |tag, n: i64| -> Vec<_> { (0..n).map(|ts_us| TracePoint { tag, ts_us, value: 0.0 }).collect() };
        let parts = vec![part(0, 7), part(1, 0), part(2, 100), part(3, 99)];
        let points = interleave(parts.clone());
        assert_eq!(points.len(), 206);
        for (tag, part) in parts.iter().enumerate() {
            let back: Vec<_> = points.iter().copied().filter(|p| p.tag == tag as u32).collect();
            assert_eq!(back, *part);
        }
        let half = points[..103].iter().filter(|p| p.tag == 3).count();
        assert!((48..=51).contains(&half), "{half}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Trace::load(&["no/such.csv"]).unwrap_err();
        assert!(error.to_string().starts_with("cannot read no/such.csv: "), "{error}");
    }
}
