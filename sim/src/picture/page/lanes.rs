//! A life as HTML: its lanes, and the lines through all of them.

use super::{escape, fate_class, role};
use crate::picture::layout::{Item, Lane, LaneKind, Look, Outcome, View};
use crate::picture::lives::{End, Life};
use crate::picture::story::Moment;
use std::fmt::Write as _;

/// The lanes of a life, its moments, and where a life on the side branches off.
pub(super) fn html(view: &View, life: &Life, moments: &[Moment], branch: Option<usize>) -> String {
    let here: Vec<_> = moments.iter().filter(|moment| life.events.contains(&moment.event)).collect();
    let mut out = String::from(
        "<div class=\"tools\"><button type=\"button\" data-zoom=\"out\" aria-label=\"smaller\">−</button><button type=\"button\" data-zoom=\"in\" aria-label=\"larger\">+</button><button type=\"button\" data-zoom=\"fit\">fit</button></div>",
    );
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"what happened in this life, from left to right\"><div class=\"lanes\" style=\"--w:{};--m:{}\">",
        view.width,
        here.len().max(1)
    );
    for lane in &view.lanes {
        out += &lane_html(lane, moments);
    }
    for (row, moment) in here.iter().enumerate() {
        let (class, name) = role(moment.role);
        let id = match here[..row].iter().any(|other| other.event == moment.event) {
            true => String::new(),
            false => format!(" id=\"e{}\"", moment.event),
        };
        let at = view.columns.get(&moment.event).copied().unwrap_or(0);
        let _ = write!(
            out,
            "<a class=\"moment {class}\"{id} href=\"#story\" style=\"--x:{at};--k:{row}\" data-d=\"{}\"><span>{name}</span></a>",
            escape(&moment.words)
        );
    }
    if let Some(at) = branch.and_then(|event| view.columns.get(&event)) {
        let _ = write!(
            out,
            "<div class=\"cut aside\" style=\"--x:{at};--n:2\"><span>here the power fails, on the side</span></div>"
        );
    }
    if life.end == End::PowerCut {
        let at = life.events.last().and_then(|at| view.columns.get(at)).copied().unwrap_or(0);
        let _ = write!(
            out,
            "<div class=\"cut\" style=\"--x:{at};--n:{}\"><span>power cut</span></div>",
            view.width.saturating_sub(at + 1)
        );
    }
    out + "</div></div>"
}

fn lane_html(lane: &Lane, moments: &[Moment]) -> String {
    let kind = match lane.kind {
        LaneKind::Caller => "caller",
        LaneKind::World => "world",
        LaneKind::Promise => "frontier",
        LaneKind::Recovery => "recovery",
        LaneKind::Thread => "thread",
        LaneKind::Directory => "directory",
        LaneKind::Manifest => "manifest",
        LaneKind::Segment => "segment",
        LaneKind::Chunk => "chunk",
        LaneKind::Other => "other",
    };
    let what = match lane.kind {
        LaneKind::Caller => "calls",
        LaneKind::World => "what happens",
        LaneKind::Promise => "must survive",
        LaneKind::Recovery => "opening",
        LaneKind::Thread => "thread",
        LaneKind::Directory => "names",
        LaneKind::Manifest => "edits",
        LaneKind::Segment => "log",
        LaneKind::Chunk => "blocks",
        LaneKind::Other => "file",
    };
    let mut out = format!(
        "<div class=\"lane {kind}\"><div class=\"name\">{}<small>{what}</small></div><div class=\"track\">",
        escape(&lane.name)
    );
    // Stretches lie under marks.
    let (under, over): (Vec<_>, Vec<_>) =
        lane.items.iter().partition(|item| matches!(item.look, Look::Unsynced | Look::Promised));
    for item in under.into_iter().chain(over) {
        out += &item_html(item, moments);
    }
    out + "</div></div>"
}

fn item_html(item: &Item, moments: &[Moment]) -> String {
    let place = format!("--x:{};--n:{}", item.at, item.width);
    let detail = escape(&item.detail);
    let name = escape(item.detail.lines().next().unwrap_or_default());
    let id = match item.event {
        // The line through all lanes has the name then.
        Some(event) if !moments.iter().any(|moment| moment.event == event) => format!(" id=\"e{event}\""),
        _ => String::new(),
    };
    let mark = |class: &str, inside: &str| {
        format!(
            "<button type=\"button\" tabindex=\"-1\" class=\"{class}\"{id} style=\"{place}\" data-d=\"{detail}\" aria-label=\"{name}\">{inside}</button>"
        )
    };
    let label = escape(&item.label);
    match &item.look {
        Look::Call(outcome) => {
            let (class, sign) = match outcome {
                Outcome::Ok => ("call ok", "✓"),
                Outcome::Failed => ("call failed", "✕"),
                Outcome::CutShort => ("call short", "…"),
            };
            mark(class, &format!("<span>{label} {sign}</span>"))
        }
        Look::Io { glyph, failed } => {
            let class = if *failed { "io failed" } else { "io" };
            mark(
                &format!("{class} {glyph}"),
                &format!(
                    "<svg aria-hidden=\"true\"><use href=\"#g-{}\"/></svg>",
                    if *failed { "failed" } else { glyph }
                ),
            )
        }
        Look::Note => mark(
            "note",
            &if label.is_empty() {
                "<svg aria-hidden=\"true\"><use href=\"#g-note\"/></svg>".into()
            } else {
                format!("<span>{label}</span>")
            },
        ),
        Look::Unsynced => format!("<div class=\"unsynced\" style=\"{place}\" data-d=\"{detail}\"></div>"),
        Look::Promised => mark("step", &format!("<span>{label}</span>")),
        Look::Fates(cells) => {
            let cells: String = cells
                .iter()
                .map(|(fate, words)| {
                    format!("<i class=\"{}\" title=\"{}\"></i>", fate_class(*fate), escape(words))
                })
                .collect();
            mark("fates", &cells)
        }
    }
}
