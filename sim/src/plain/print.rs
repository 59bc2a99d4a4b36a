//! A script as Rust.

use super::script::{Act, Change, Check, Found, Left, Script, Unsynced, What};
use crate::model::Violation;
use std::fmt::Write as _;
use tidewall::disk::Fate;
use tidewall::plant::Bug;
use tidewall::{Config, Point};

/// Columns of a line, as rustfmt is set here.
const WIDTH: usize = 110;

/// Zeros that end a piece of a literal file.
const BLANK: usize = 16;

/// The lines of a test, and what they need.
struct Printer<'a> {
    script: &'a Script,
    found: &'a Found,
    body: String,
    /// Of each tag the point number `n` has the time `n` and the value `n`.
    is_numbered: bool,
    /// There is a variable `engine`.
    has_engine: bool,
    /// As it was printed last.
    config: Option<String>,
    plant: Option<Bug>,
}

/// The file.
pub(super) fn print(
    script: &Script,
    found: &Found,
    plant: Option<Bug>,
    violation: &Violation,
    name: &str,
) -> String {
    let mut printer = Printer {
        script,
        found,
        body: String::new(),
        is_numbered: is_numbered(script, &found.check),
        has_engine: false,
        config: None,
        plant,
    };
    printer.begin();
    for (at, act) in script.acts[..=found.at].iter().enumerate() {
        printer.fates(act, found.calls[at]);
        if at < found.at { printer.act(act, found.succeeds[at]) } else { printer.last(act) }
    }
    printer.file(violation, name)
}

fn points_of(script: &Script) -> impl Iterator<Item = &Point> {
    script.acts.iter().flat_map(|act| match &act.what {
        What::Write(points) => &points[..],
        _ => &[],
    })
}

fn is_numbered(script: &Script, check: &Check) -> bool {
    let mut counts = std::collections::BTreeMap::<u32, i64>::new();
    let is_next = |point: &Point| {
        let n = counts.entry(point.tag).or_default();
        *n += 1;
        *point == Point::new(point.tag, *n - 1, (*n - 1) as f64)
    };
    let all = |written: &[Point], tag| {
        written.iter().zip(0..).all(|(point, n)| *point == Point::new(tag, n, n as f64))
    };
    points_of(script).all(is_next)
        && match check {
            Check::Shows { tag, written, .. } => all(written, *tag),
            _ => true,
        }
}

fn literal(value: f64) -> String {
    if value.is_finite() && format!("{value:?}").len() < 12 {
        format!("{value:?}")
    } else {
        format!("f64::from_bits({:#x})", value.to_bits())
    }
}

fn point(point: &Point) -> String {
    let Point { tag, ts_us, value, quality } = *point;
    let value = literal(value);
    if quality == tidewall::QUALITY_GOOD {
        return format!("Point::new({tag}, {ts_us}, {value})");
    }
    format!("Point {{ quality: {quality}, ..Point::new({tag}, {ts_us}, {value}) }}")
}

impl Printer<'_> {
    /// A line of the body.
    fn line(&mut self, text: impl AsRef<str>) {
        writeln!(self.body, "    {}", text.as_ref()).expect("a string takes everything");
    }

    /// The disk to begin with.
    fn begin(&mut self) {
        let Some(image) = &self.script.image else { return self.line("let disk = MemDisk::new();") };
        self.line("let disk = MemDisk::from_files([");
        for (name, bytes) in &image.files {
            let piece = |(offset, piece): (usize, &[u8])| {
                let lines = bytes_literal(piece).join("\n            ");
                format!("\n        ({offset}, &b\"{lines}\"[..]),")
            };
            let all: String = pieces(bytes).into_iter().map(piece).collect();
            let end = if all.is_empty() { "" } else { "\n    " };
            self.line(format!("    ({name:?}, {}, &[{all}{end}][..]),", bytes.len()));
        }
        self.line("]);");
    }

    fn list(&self, points: &[Point]) -> String {
        let mut text = String::from("[");
        let mut column = 40;
        for one in points {
            let one = point(one);
            if column + one.len() > WIDTH {
                text.truncate(text.trim_end().len());
                text += "\n        ";
                column = 8;
            }
            column += one.len() + 2;
            text += &one;
            text += ", ";
        }
        text.truncate(text.trim_end_matches([' ', ',']).len());
        text + "]"
    }

    fn fates(&mut self, act: &Act, begun: u64) {
        if act.fates.is_empty() {
            return;
        }
        let mut arms: Vec<(u64, u64, Fate)> = Vec::new();
        for (call, fate) in &act.fates {
            let call = begun + call;
            match arms.last_mut() {
                Some((_, last, same)) if *last + 1 == call && same == fate => *last = call,
                _ => arms.push((call, call, *fate)),
            }
        }
        self.line("disk.on_change(|io| match io.number {");
        for (first, last, fate) in arms {
            let range = if first == last { first.to_string() } else { format!("{first}..={last}") };
            self.line(format!("    {range} => Fate::{fate:?},"));
        }
        self.line("    _ => Fate::Succeeds,");
        self.line("});");
    }

    fn config(&mut self, config: &Config) {
        // As they print themselves: a limit that is new is there, too.
        let own = limits(&Config::default());
        let differs =
            |(name, value): &(String, String)| own.iter().any(|(other, own)| other == name && own != value);
        let fields = limits(config).into_iter().filter(differs).map(|(name, value)| match &name[..] {
            "durability" => format!("{name}: Durability::{value}"),
            _ => format!("{name}: {value}"),
        });
        let fields: Vec<_> = fields.collect();
        let mut text = String::from("let config = Config {\n        ");
        let mut column = 8;
        for field in &fields {
            if column + field.len() + 2 > WIDTH {
                text.truncate(text.trim_end().len());
                text += "\n        ";
                column = 8;
            }
            column += field.len() + 2;
            text += &format!("{field}, ");
        }
        text += "..Config::default()\n    };";
        if self.config.as_ref() != Some(&text) {
            self.line(&text);
            self.config = Some(text);
        }
    }

    fn gone(&mut self) {
        if std::mem::take(&mut self.has_engine) {
            self.line("drop(engine);");
        }
    }

    fn call(&mut self, act: &Act) -> String {
        match &act.what {
            What::Open(config) => {
                self.gone();
                self.config(config);
                "open(&disk, &config)".into()
            }
            What::Write(points) => self.write(points),
            What::Sync => "engine.sync()".into(),
            What::Flush => "engine.flush()".into(),
            What::Step => "engine.step()".into(),
            What::Close => "engine.close()".into(),
            What::Kill | What::Cut(_) | What::Damage { .. } => String::new(),
        }
    }

    fn write(&mut self, points: &[Point]) -> String {
        let first = points[0];
        let is_one_tag = points.iter().all(|point| point.tag == first.tag);
        if self.is_numbered && is_one_tag && points.len() > 1 {
            let (tag, n) = (first.tag, first.ts_us);
            return format!("engine.write_batch(&points({tag}, {n}..{}))", n + points.len() as i64);
        }
        match points {
            [one] => format!("engine.write({})", point(one)),
            many => format!("engine.write_batch(&{})", self.list(many)),
        }
    }

    /// An act that leads to the last one.
    fn act(&mut self, act: &Act, succeeds: bool) {
        let call = self.call(act);
        match &act.what {
            What::Open(_) if succeeds => {
                self.line(format!("let engine = {call}.unwrap();"));
                self.has_engine = true;
            }
            What::Kill => {
                self.gone();
                self.line("// The process has died, and the machine has not.");
            }
            What::Cut(left) => {
                self.gone();
                self.cut(left);
            }
            What::Damage { file, change, .. } => self.damage(file, change),
            _ if succeeds => {
                self.line(format!("{call}.unwrap();"));
                if matches!(act.what, What::Close) {
                    self.gone();
                }
            }
            _ => {
                let dies = act
                    .fates
                    .values()
                    .any(|fate| matches!(fate, Fate::PowerFailsBefore | Fate::PowerFailsAfter));
                let strikes = act.fates.values().any(|fate| *fate != Fate::Succeeds);
                let why = match (dies, strikes) {
                    (true, _) => "the power fails in it",
                    (_, true) => "an I/O error strikes it",
                    _ => "it fails because of what came before",
                };
                self.line(format!("let _ = {call}; // {why}"));
            }
        }
    }

    fn cut(&mut self, left: &Left) {
        let version = |version: usize| match version {
            usize::MAX => "unsynced.latest".to_string(),
            version => version.to_string(),
        };
        if left.kept.is_empty() {
            let all = if left.others == 0 {
                "power_cut(|_| 0); // nothing that was not synced survives"
            } else {
                "power_cut(|unsynced| unsynced.latest); // and everything survives all the same"
            };
            self.line(format!("let disk = disk.{all}"));
        } else {
            self.line("let disk = disk.power_cut(|unsynced| match unsynced.what {");
            let mut kept = left.kept.clone();
            kept.dedup();
            while !kept.is_empty() {
                let number = kept[0].1;
                let same: Vec<_> = kept.extract_if(.., |(_, version)| *version == number).collect();
                let patterns: Vec<_> = same.iter().map(|(what, _)| pattern(what)).collect();
                self.line(format!("    {} => {},", patterns.join(" | "), version(number)));
            }
            self.line(format!("    _ => {},", version(left.others)));
            self.line("});");
        }
        for (file, offset, torn) in &left.torn {
            self.bytes(file, *offset, torn, "torn inside a sector");
        }
    }

    /// Bytes that come about in a file.
    fn bytes(&mut self, file: &str, offset: usize, bytes: &[u8], why: &str) {
        let lines = bytes_literal(bytes);
        let range = format!("{offset}..{}", offset + bytes.len());
        self.line(format!("// {why}"));
        if bytes.iter().all(|byte| *byte == bytes[0]) && bytes.len() > 4 {
            self.line(format!("disk.damage({file:?}, |bytes| bytes[{range}].fill({}));", bytes[0]));
        } else if lines.len() == 1 {
            self.line(format!(
                "disk.damage({file:?}, |bytes| bytes[{range}].copy_from_slice(b\"{}\"));",
                lines[0]
            ));
        } else {
            let lines = lines.join("\n        ");
            self.line(format!(
                "disk.damage({file:?}, |bytes| bytes[{range}].copy_from_slice(b\"\\\n        {lines}\"));"
            ));
        }
    }

    fn damage(&mut self, file: &str, change: &Change) {
        match change {
            Change::Gone => {
                self.line(format!("disk.remove({file:?}).and_then(|()| disk.sync_dir()).unwrap();"));
            }
            Change::Cut(len) => self.line(format!("disk.damage({file:?}, |bytes| bytes.truncate({len}));")),
            Change::Flip(at, bits) => {
                self.line(format!("disk.damage({file:?}, |bytes| bytes[{at}] ^= {bits:#x});"));
            }
            Change::Bytes(offset, bytes) => self.bytes(file, *offset, bytes, "damaged at rest"),
        }
    }

    /// The act that is what the test is about, and its check.
    fn last(&mut self, act: &Act) {
        let call = self.call(act);
        let opens = matches!(act.what, What::Open(_));
        let check = self.found.check.clone();
        let done = |printer: &mut Self| {
            if opens {
                printer.line(format!("let engine = {call}.unwrap();"));
            } else if !call.is_empty() {
                printer.line(format!("{call}.unwrap();"));
            } else {
                printer.act(act, true);
            }
        };
        let assert = |what: &str, why: &str| format!("assert!({what}, {why:?});");
        match check {
            Check::Succeeds if opens => {
                self.line("// A power cut damages nothing, and every call succeeds on a sound disk.");
                self.line(format!("{call}.unwrap();"));
            }
            Check::Succeeds => {
                self.line("// Nothing is wrong with the disk now.");
                self.line(format!("{call}.unwrap();"));
            }
            Check::Fails => {
                self.line(assert(&format!("{call}.is_err()"), "after a failed sync nothing is durable (I8)"));
            }
            Check::Returns if call.is_empty() => self.act(act, true),
            Check::Returns => self.line(format!("let _ = {call}; // and it does not panic")),
            Check::Shows { tag, written, least } => {
                done(self);
                self.shows(tag, &written, least);
            }
            Check::IsNotNew => {
                done(self);
                self.line(assert(
                    "!engine.recovery_report().created",
                    "the store is taken for a new one (I5)",
                ));
            }
            Check::ReplaysNothing => {
                done(self);
                self.line(
                    "assert_eq!(engine.recovery_report().points_replayed, 0, \"after a clean close\");",
                );
            }
            Check::IsDurable(least) => {
                done(self);
                self.line("let stats = engine.stats();");
                self.line("assert_eq!(stats.durable_lsn, stats.appended_lsn);");
                self.line(assert(&format!("stats.durable_lsn.0 >= {least}"), "it was durable before (I7)"));
            }
            Check::IsRefused => {
                self.line(assert(&format!("{call}.is_err()"), "damage is reported, not skipped (I6)"));
            }
            Check::IsNoticed(tag) => {
                let query = format!("{call}.and_then(|engine| engine.query({tag}, ..))");
                self.line(assert(&format!("{query}.is_err()"), "damage is reported, not skipped (I6)"));
            }
            Check::IsSeen | Check::IsSound => {
                done(self);
                let damage = "inspect(&disk).unwrap().damage";
                self.line(match check {
                    Check::IsSeen => format!("assert_ne!({damage}, [], \"damage is reported (I6)\");"),
                    _ => format!("assert_eq!({damage}, [], \"a power cut damages nothing\");"),
                });
            }
            Check::IsSilent => {
                self.line("let calls = disk.calls();");
                done(self);
                self.line("assert_eq!(disk.calls(), calls, \"a write ends in memory\");");
            }
            Check::IsFlushed(all) => {
                done(self);
                self.line("let stats = engine.stats();");
                let state = "(stats.checkpoint_lsn.0, stats.buffered_points, stats.busy_segments)";
                self.line(format!("assert_eq!({state}, ({all}, 0, 0));"));
            }
            Check::IsAppended(all) => {
                done(self);
                self.line(format!("assert_eq!(engine.stats().appended_lsn.0, {all});"));
            }
        }
    }

    fn shows(&mut self, tag: u32, written: &[Point], least: usize) {
        let all = written.len();
        let query = format!("engine.query({tag}, ..).unwrap()");
        if self.is_numbered && points_of(self.script).next().is_some() {
            if least == all {
                return self.line(format!("assert_eq!({query}, points({tag}, 0..{all}));"));
            }
            self.line(
                "// What survives is a prefix of what was accepted, and at least what was durable (I2, I5).",
            );
            self.line(format!("let found = {query};"));
            let any = format!("({least}..={all}).any(|n| found == points({tag}, 0..n))");
            return self.line(format!("assert!({any}, \"{{found:?}}\");"));
        }
        if all == 0 {
            return self.line(format!("assert_eq!({query}, []);"));
        }
        let by_time = written.windows(2).all(|pair| pair[0].ts_us < pair[1].ts_us);
        if least == all && by_time {
            let list = self.list(written);
            return self.line(format!("assert_eq!({query}, {list});"));
        }
        self.line(
            "// What survives is a prefix of what was accepted, and at least what was durable (I2, I5).",
        );
        let list = self.list(written);
        self.line(format!("let written = {list};"));
        let map = "std::collections::BTreeMap<i64, Point>";
        self.line("let shown = |n: usize| {");
        self.line(format!("    let by_time: {map} = written[..n].iter().map(|p| (p.ts_us, *p)).collect();"));
        self.line("    by_time.into_values().collect::<Vec<_>>()");
        self.line("};");
        self.line(format!("let found = {query};"));
        self.line(format!("assert!(({least}..={all}).any(|n| found == shown(n)), \"{{found:?}}\");"));
    }

    fn file(self, violation: &Violation, name: &str) -> String {
        let mut head = String::new();
        let mut line = |text: &str| head += &format!("    {text}\n");
        if let Some(bug) = self.plant {
            let set = format!("tidewall::plant::set(Some(tidewall::plant::Bug::{}));", bug.name());
            line(&format!("{set} // PLANTED: the test of a real bug has no such line"));
        }
        line("let open = |disk: &MemDisk, config: &Config| {");
        line("    Engine::open_with(Arc::new(disk.clone()), config.clone(), Box::new(InOrder))");
        line("};");
        if self.body.contains("points(") {
            line("// Of a tag, those number `n`.");
            line("let points = |tag: u32, n: std::ops::Range<i64>| {");
            line("    n.map(|n| Point::new(tag, n, n as f64)).collect::<Vec<_>>()");
            line("};");
        }
        let body = head + &self.body;
        let import = |always: &[&'static str], some: &[(&'static str, &str)]| {
            let used = some.iter().filter(|(_, used)| body.contains(used)).map(|(name, _)| *name);
            let mut names: Vec<_> = always.iter().copied().chain(used).collect();
            names.sort_unstable_by_key(|name| (name.starts_with(char::is_lowercase), *name));
            if let [one] = names[..] { one.to_string() } else { format!("{{{}}}", names.join(", ")) }
        };
        let disks = import(&["MemDisk"], &[("Disk", ".sync_dir()"), ("Fate", "Fate::"), ("What", "What::")]);
        let types = [("Point", "Point"), ("Durability", "Durability::"), ("inspect", "inspect(")];
        let types = import(&["Config", "Engine", "InOrder"], &types);
        let mut text = String::new();
        wrapped(&mut text, &format!("{name}: {violation}"));
        text += &format!("\nuse std::sync::Arc;\nuse tidewall::disk::{disks};\nuse tidewall::{types};\n\n");
        text += "#[test]\n#[rustfmt::skip]\n";
        text += &format!("fn {}() {{\n{body}}}\n", identifier(name, violation));
        text
    }
}

fn wrapped(text: &mut String, story: &str) {
    let mut line = String::from("//!");
    for word in story.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            *text += &format!("{line}\n");
            line = "//!".into();
        }
        line += &format!(" {word}");
    }
    *text += &format!("{line}\n");
}

fn identifier(name: &str, violation: &Violation) -> String {
    let words = format!("{name} {:?} {}", violation.verdict, violation.promise).to_lowercase();
    let word = |word: &str| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let words: Vec<_> = words.split(|c: char| !c.is_ascii_alphanumeric()).map(word).collect();
    let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("run_{name}") } else { name }
}

fn pattern(what: &Unsynced) -> String {
    match what {
        Unsynced::Sector(name, sector) => format!("What::Sector({name:?}, {sector})"),
        Unsynced::Len(name) => format!("What::Len({name:?})"),
        Unsynced::Name(name) => format!("What::Name({name:?})"),
    }
}

/// The limits of a store by name.
fn limits(config: &Config) -> Vec<(String, String)> {
    let text = format!("{config:?}");
    let fields = text.trim_start_matches("Config {").trim_end_matches('}').split(", ");
    let pair = |field: &str| field.trim().split_once(": ").map(|(name, value)| (name.into(), value.into()));
    fields.filter_map(pair).collect()
}

/// What of a file is not zero, by offset.
fn pieces(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(start) = bytes[at..].iter().position(|byte| *byte != 0).map(|skip| at + skip) {
        let mut end = start + 1;
        let mut zeros = 0;
        for (index, byte) in bytes.iter().enumerate().skip(start) {
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            if *byte != 0 {
                end = index + 1;
            }
            if zeros == BLANK {
                break;
            }
        }
        pieces.push((start, &bytes[start..end]));
        at = end;
    }
    pieces
}

/// A byte string without its quotes, in lines: a line that ends with a backslash goes on in the next.
fn bytes_literal(bytes: &[u8]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for byte in bytes {
        let text = match byte {
            0 => "\\0".to_string(),
            b'"' | b'\\' => format!("\\{}", *byte as char),
            // A space at the start of a line would be taken for its indentation.
            b'!'..=b'~' => (*byte as char).to_string(),
            byte => format!("\\x{byte:02x}"),
        };
        if lines.last().is_some_and(|line| line.len() + text.len() > WIDTH - 20) {
            lines.last_mut().expect("there is one").push('\\');
            lines.push(String::new());
        }
        lines.last_mut().expect("there is one").push_str(&text);
    }
    lines
}
