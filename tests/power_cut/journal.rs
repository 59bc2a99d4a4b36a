//! What a child did, written down line by line in a file outside the volume: what it tried, what was acknowledged to it,
//! and every call of the disk that changes something, before it is made and after it has returned.

use crate::writers::{Counts, Told, tags};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use tidewall::disk::OpenMode;
use tidewall_sim::disk::recorder::{Call, Outcome, Witness};

/// One line.
#[derive(Clone, Debug)]
pub enum Line {
    /// The engine is open and shows this many points of each tag.
    Found(Counts),
    /// A writer speaks of its tags: position in `tags()`, number of points.
    Told(Told, Vec<(usize, usize)>),
    /// The engine refused something; the child has stopped.
    Failed(String),
    /// A call of the disk begins.
    Call(Call),
    /// The last one has returned, and whether it went well.
    Returned { ok: bool },
}

/// A call of the disk that was begun.
#[derive(Debug)]
pub struct Begun {
    pub call: Call,
    /// Whether it went well; `None` if it had not returned.
    pub ok: Option<bool>,
}

/// Writes lines, each by one call, so that none is cut off unless the machine that keeps the file is.
#[derive(Clone)]
pub struct Journal(Arc<File>);

impl Journal {
    pub fn append_to(path: &Path) -> Journal {
        Journal(Arc::new(OpenOptions::new().create(true).append(true).open(path).expect("a journal")))
    }

    fn line(&self, line: String) {
        (&*self.0).write_all((line + "\n").as_bytes()).expect("the journal is written");
    }

    pub fn found(&self, counts: &Counts) {
        self.line(format!("found{}", words(tags().zip(counts.iter().copied()))));
        say(TICK);
    }

    pub fn told(&self, told: Told, counts: impl Iterator<Item = (u32, usize)>) {
        let verb = if told == Told::Trying { "try" } else { "ack" };
        self.line(format!("{verb}{}", words(counts)));
        if told == Told::Acked {
            say(TICK);
        }
    }

    pub fn failed(&self, error: &tidewall::Error) {
        self.line(format!("failed {error}"));
    }

    /// There is no more to come.
    pub fn rests(&self) {
        say(REST);
    }
}

/// The parent waits for these: something was found or acknowledged.
pub const TICK: &str = "tick";
/// Or for this one.
pub const REST: &str = "rest";

fn say(word: &str) {
    let mut out = io::stdout().lock();
    out.write_all(format!("{word}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

impl Witness for Journal {
    fn begins(&mut self, call: &Call) {
        if let Some(line) = call_line(call) {
            self.line(line);
        }
    }

    fn ended(&mut self, call: &Call, outcome: &Outcome) {
        if call_line(call).is_some() {
            self.line(if outcome.is_ok() { "ok".into() } else { "error".into() });
        }
    }
}

fn words(counts: impl Iterator<Item = (u32, usize)>) -> String {
    counts.map(|(tag, count)| format!(" {tag}={count}")).collect()
}

/// Calls that change nothing are left out, but for those that later ones refer to.
fn call_line(call: &Call) -> Option<String> {
    Some(match call {
        Call::Open { name, mode, handle } => format!("open {handle} {mode:?} {name}"),
        Call::Rename { from, to } => format!("rename {from} {to}"),
        Call::Remove { name } => format!("remove {name}"),
        Call::SyncDir => "sync_dir".into(),
        Call::Write { handle, offset, bytes } => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("write {handle} {offset} {hex}")
        }
        Call::Sync { handle } => format!("sync {handle}"),
        Call::SetLen { handle, len } => format!("set_len {handle} {len}"),
        Call::Drop { handle } => format!("drop {handle}"),
        Call::List | Call::Read { .. } | Call::Len { .. } => return None,
    })
}

/// Takes back what was promised behind the first this many lines. A machine without power hears of no success; a process on
/// a file system that was shut down does: ext4 lets a sync that it overtakes return `Ok`, with its transaction thrown away.
pub fn forget_promises(lines: &mut Vec<Line>, keep: usize) {
    let mut at = 0;
    lines.retain_mut(|line| {
        at += 1;
        if at <= keep {
            return true;
        }
        match line {
            Line::Found(_) | Line::Told(Told::Acked, _) => false,
            Line::Returned { ok } => {
                *ok = false;
                true
            }
            _ => true,
        }
    });
}

/// Everything that a child has written down, but for a line that it is writing.
pub fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("no line of a journal: {line}"))).collect()
}

fn parse(line: &str) -> Option<Line> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    let handle = || Some(number(0)? as u32);
    let name = |at: usize| Some(words.get(at)?.to_string());
    Some(match verb {
        "found" => {
            let counts: Vec<_> = counts(&words)?.into_iter().map(|(_, count)| count).collect();
            Line::Found(counts.try_into().ok()?)
        }
        "try" => Line::Told(Told::Trying, counts(&words)?),
        "ack" => Line::Told(Told::Acked, counts(&words)?),
        "failed" => Line::Failed(rest.into()),
        "ok" | "error" => Line::Returned { ok: verb == "ok" },
        "open" => {
            let modes = [OpenMode::Read, OpenMode::Write, OpenMode::Create, OpenMode::Lock];
            let mode = modes.into_iter().find(|mode| format!("{mode:?}") == words[1])?;
            Line::Call(Call::Open { name: name(2)?, mode, handle: handle()? })
        }
        "drop" => Line::Call(Call::Drop { handle: handle()? }),
        "rename" => Line::Call(Call::Rename { from: name(0)?, to: name(1)? }),
        "remove" => Line::Call(Call::Remove { name: name(0)? }),
        "sync_dir" => Line::Call(Call::SyncDir),
        "write" => {
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let bytes = words.get(2)?.as_bytes().chunks(2).map(byte).collect::<Option<_>>()?;
            Line::Call(Call::Write { handle: handle()?, offset: number(1)?, bytes })
        }
        "sync" => Line::Call(Call::Sync { handle: handle()? }),
        "set_len" => Line::Call(Call::SetLen { handle: handle()?, len: number(1)? }),
        _ => return None,
    })
}

fn counts(words: &[&str]) -> Option<Vec<(usize, usize)>> {
    let count = |word: &&str| {
        let (tag, count) = word.split_once('=')?;
        let tag: u32 = tag.parse().ok()?;
        Some((tags().position(|known| known == tag)?, count.parse().ok()?))
    };
    words.iter().map(count).collect()
}

/// The calls of the disk, in the order in which they were made.
pub fn calls(lines: Vec<Line>) -> Vec<Begun> {
    let mut calls: Vec<Begun> = Vec::new();
    for line in lines {
        match line {
            Line::Call(call) => calls.push(Begun { call, ok: None }),
            Line::Returned { ok } => calls.last_mut().expect("a call was begun").ok = Some(ok),
            Line::Found(_) | Line::Told(..) | Line::Failed(_) => {}
        }
    }
    calls
}
