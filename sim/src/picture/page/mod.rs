//! The page: one HTML file with its style and its script inside, drawn once, here. The script only zooms, leads from mark
//! to mark, and tells what is under the pointer; without it everything is there to be seen.

//!
//! | file | subject |
//! |---|---|
//! | this one | the page, its head and its story |
//! | `lanes` | a life |
//! | `crash` | what a crash left |
//! | `page.html`, `page.css`, `page.js` | what is the same on every page |

mod crash;
mod lanes;

use super::layout::view;
use super::lives::{End, Life, lives};
use super::story::{Moment, Role, headline, moments};
use super::{Subject, promises};
use crate::model::Verdict;
use crate::record::{Entry, Event, Fate};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a run.
pub fn html(subject: &Subject<'_>) -> String {
    let moments = moments(subject.record, subject.violation);
    let lives = lives(subject.record);
    let mut body = head(subject);
    body += &story(subject, &moments, &lives);
    body += &overview(&lives, &moments);
    body += &lives_html(subject.record, &lives, &moments);
    let title = match subject.violation {
        Some(violation) => format!("{}: {:?} ({})", subject.what, violation.verdict, violation.promise),
        None => format!("{}: every promise held", subject.what),
    };
    // The body last: what is in it is not looked through for places of anything else.
    TEMPLATE
        .replace("{{title}}", &escape(&title))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        .replace("{{body}}", &body)
}

/// Text in HTML, in an attribute or outside of one.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' => out += "&#10;",
            letter => out.push(letter),
        }
    }
    out
}

/// The same, with what stands between backquotes as code.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        out += &if index % 2 == 1 { format!("<code>{part}</code>") } else { part };
    }
    out
}

fn head(subject: &Subject<'_>) -> String {
    let (class, word) = match subject.violation {
        None => ("held", "HELD".to_string()),
        Some(violation) => ("broken", format!("{:?}", violation.verdict).to_uppercase()),
    };
    let mut out = format!(
        "<header><p class=\"verdict {class}\"><svg aria-hidden=\"true\"><use href=\"#g-{class}\"/></svg>{word}</p><h1>{}</h1>",
        prose(&headline(subject.violation))
    );
    if let Some(violation) = subject.violation {
        let number = promises::number(violation.promise)
            .map_or_else(String::new, |number| format!("<b>{number}</b> "));
        let sentence = promises::sentence(violation.promise);
        let _ = write!(
            out,
            "<p class=\"promise\"><span>The promise</span> {number}{}</p><p class=\"seen\"><span>What was seen</span> {}</p>",
            prose(&sentence),
            escape(&violation.story)
        );
    }
    out += "<dl>";
    let mut item = |name: &str, value: String| {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    item("run", escape(&subject.what));
    item("driver", escape(subject.driver));
    item("disk profile", escape(subject.profile));
    if let Some(bug) = subject.plant {
        item("planted bug", format!("<b>{}</b> {}", bug.name(), escape(bug.what())));
    }
    item("trace hash", format!("<code>{}</code>", escape(&subject.trace_hash)));
    item(
        "the same run again",
        format!(
            "<code id=\"replay\">{}</code> <button type=\"button\" id=\"copy\">copy</button>",
            escape(&subject.replay)
        ),
    );
    out + "</dl></header>"
}

fn life_of(lives: &[Life], event: usize) -> Option<usize> {
    lives.iter().position(|life| life.events.contains(&event))
}

fn story(subject: &Subject<'_>, moments: &[Moment], lives: &[Life]) -> String {
    if moments.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section id=\"story\" aria-label=\"Where promise and fact part\"><h2>Where promise and fact part</h2><ol>",
    );
    for moment in moments {
        let (class, name) = role(moment.role);
        let place =
            life_of(lives, moment.event).map_or_else(String::new, |life| format!("in life {}", life + 1));
        let _ = write!(
            out,
            "<li class=\"{class}\"><h3><svg aria-hidden=\"true\"><use href=\"#g-{class}\"/></svg>{name}</h3><p>{}</p><a href=\"#e{}\">show it, {place}, event {}</a></li>",
            prose(&moment.words),
            moment.event,
            moment.event
        );
    }
    out += "</ol>";
    let has_cause = moments.iter().any(|moment| moment.role == Role::Cause);
    if !has_cause && subject.violation.is_some_and(|violation| violation.verdict != Verdict::HarnessBroken) {
        out += "<p class=\"hint\">No rule of this page finds anything wrong in what reached the disk before: the mistake is in memory, or in how something is read. Look at what is done between these moments.</p>";
    }
    if subject.violation.is_some_and(|violation| violation.verdict == Verdict::HarnessBroken) {
        out += "<p>This is an error of the test bed, not of the engine.</p>";
    }
    out + "</section>"
}

fn role(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Promise => ("promise", "The promise"),
        Role::Cause => ("cause", "Look here"),
        Role::Fact => ("fact", "The fact"),
    }
}

fn overview(lives: &[Life], moments: &[Moment]) -> String {
    let mut out = String::from(
        "<nav id=\"overview\" aria-label=\"Lives of the store\"><h2>The lives of the store</h2><ol>",
    );
    for (number, life) in lives.iter().enumerate() {
        let marks: Vec<_> = moments.iter().filter(|moment| life.events.contains(&moment.event)).collect();
        let class = match (marks.iter().any(|mark| mark.role == Role::Fact), marks.is_empty()) {
            (true, _) => "has-fact",
            (false, false) => "has-mark",
            (false, true) => "",
        };
        let side = if life.aside.is_some() { " side" } else { "" };
        let width = 14 + (life.events.len() as f64).sqrt() as usize * 3;
        let what = format!("Life {}: {} events, {}", number + 1, life.events.len(), ending(life));
        let _ = write!(
            out,
            "<li><a class=\"{class}{side}\" style=\"width:{width}px\" href=\"#life{number}\" title=\"{}\" aria-label=\"{}\">{}</a></li>",
            escape(&what),
            escape(&what),
            number + 1
        );
    }
    out + "</ol><p class=\"hint\">Each box is one life of the store, from opening it to the crash, kill or close that ends it. Small ones: a crash tried on the side, at a moment of a run that itself went on. Boxes with a mark stand open below.</p></nav>"
}

fn ending(life: &Life) -> String {
    match life.end {
        End::PowerCut => "ends in a power cut".into(),
        End::Killed => "the process is killed".into(),
        End::Over => match life.aside {
            Some(_) => "only to see what recovery shows".into(),
            None => "ends with a close or with the run".into(),
        },
    }
}

fn lives_html(record: &[Entry], lives: &[Life], moments: &[Moment]) -> String {
    let mut out = String::new();
    let mut unsynced = BTreeMap::new();
    let branch = branch(record, lives, moments);
    for (number, life) in lives.iter().enumerate() {
        // A life on the side leaves no traces.
        let mut here = if life.aside.is_some() { BTreeMap::new() } else { std::mem::take(&mut unsynced) };
        let view = view(record, life, &mut here);
        if life.aside.is_none() {
            unsynced = here;
        }
        let has_mark = moments.iter().any(|moment| life.events.contains(&moment.event))
            || branch.is_some_and(|event| life.events.contains(&event));
        let open = if has_mark || lives.len() == 1 { " open" } else { "" };
        let side = if life.aside.is_some() { " side" } else { "" };
        let origin = match life.aside {
            Some(change) => {
                format!("on the side: what if the power had failed at change {change} of the disk?")
            }
            None if life.after_cut.is_some() => "after the power cut".into(),
            None if number == 0 => "the first".into(),
            None => "opened again".into(),
        };
        let calls = life.events.iter().filter(|at| matches!(record[**at].event, Event::Called(_))).count();
        let ios = life.events.iter().filter(|at| matches!(record[**at].event, Event::Io(_))).count();
        let _ = write!(
            out,
            "<details class=\"life{side}\" id=\"life{number}\"{open}><summary><b>Life {}</b> <span>{origin}</span> <span class=\"dim\">{calls} calls, {ios} I/Os; {}</span></summary>",
            number + 1,
            ending(life)
        );
        // Where the promise was seen broken in what recovery made of the disk, this is the place to look.
        let is_fact = |moment: &Moment| moment.role == Role::Fact && life.events.contains(&moment.event);
        out += &crash::html(record, life, calls < 2 && moments.iter().any(is_fact));
        out += &lanes::html(&view, life, moments, branch);
        out += "</details>";
    }
    out
}

/// Where the life branches off in which the promise was seen broken, if it was tried on the side.
fn branch(record: &[Entry], lives: &[Life], moments: &[Moment]) -> Option<usize> {
    let fact = moments.iter().find(|moment| moment.role == Role::Fact)?;
    let at = lives.iter().position(|life| life.events.contains(&fact.event))?;
    let change = lives[at].aside?;
    let main = lives[..at].iter().rev().find(|life| life.aside.is_none())?;
    let is_it = |at: &&usize| matches!(&record[**at].event, Event::Io(io) if io.change == Some(change));
    main.events.iter().rev().find(is_it).copied()
}

/// The style's name of a fate.
fn fate_class(fate: Fate) -> &'static str {
    match fate {
        Fate::Lost => "lost",
        Fate::Kept => "kept",
        Fate::Older(..) => "older",
        Fate::Torn => "torn",
        Fate::CutOff => "cutoff",
    }
}
