//! What a crash left and what recovery read, as HTML.

use super::{escape, fate_class};
use crate::disk::SECTOR;
use crate::picture::crash::{FileStrip, strips, tally};
use crate::picture::lives::Life;
use crate::record::{Entry, Event, Unit};
use std::fmt::Write as _;

/// What the crash before a life left, and what recovery read.
pub(super) fn html(record: &[Entry], life: &Life, opens: bool) -> String {
    let strips = strips(record, life.after_cut, life.found);
    if strips.is_empty() {
        return String::new();
    }
    let tally: Vec<_> = tally(&strips)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", state.name()))
        .collect();
    let title = if life.after_cut.is_some() {
        "What the power cut left, and what recovery read"
    } else {
        "What recovery read"
    };
    let open = if opens { " open" } else { "" };
    let mut out = format!(
        "<details class=\"crash\"{open}><summary>{title} <span class=\"dim\">{}</span></summary>",
        tally.join(", ")
    );
    for strip in &strips {
        out += &strip_html(strip);
    }
    if let Some(Event::PowerCut(cut)) = life.after_cut.map(|at| &record[at].event) {
        let names: Vec<_> = cut
            .names
            .iter()
            .map(|(what, kept)| {
                let (class, outcome) = if *kept { ("kept", "happened") } else { ("lost", "did not happen") };
                format!("<li><i class=\"{class}\"></i>{}: {outcome}</li>", escape(what))
            })
            .collect();
        if !names.is_empty() {
            let _ = write!(out, "<p>Unsynced names:</p><ul class=\"names\">{}</ul>", names.concat());
        }
    }
    let opened = life.events.iter().find_map(|at| match &record[*at].event {
        Event::Opened(result) => Some(result),
        _ => None,
    });
    out += &match opened {
        Some(Ok(report)) => {
            let report: Vec<_> =
                report.iter().map(|(name, count)| format!("{name} <b>{count}</b>")).collect();
            format!("<p class=\"report\">Recovery says: {}.</p>", report.join(" · "))
        }
        Some(Err(error)) => format!("<p class=\"report refused\">Recovery refuses: {}</p>", escape(error)),
        None => "<p class=\"report\">This opening did not end.</p>".into(),
    };
    out + "</details>"
}

fn strip_html(strip: &FileStrip) -> String {
    let sectors = strip.sectors.len().max(1) as u64;
    let mut out = format!(
        "<div class=\"file\" style=\"--s:{sectors}\"><div class=\"name\">{}<small>{} bytes</small></div><div class=\"strips\"><div class=\"sectors\">",
        escape(&strip.file),
        strip.len
    );
    for (number, fate) in strip.sectors.iter().enumerate() {
        let (class, words) = match fate {
            None => ("durable", "synced before, or never written".to_string()),
            Some(fate) => (fate_class(*fate), fate.words()),
        };
        let words = format!("{}, sector {number}, bytes {}..: {words}", strip.file, number * SECTOR);
        let _ = write!(out, "<i class=\"{class}\" data-d=\"{}\"></i>", escape(&words));
    }
    out += "</div>";
    out += &units_html("as it is", &strip.units, sectors);
    if !strip.misread.is_empty() {
        out += &units_html("as this engine reads it", &strip.misread, sectors);
    }
    out + "</div></div>"
}

fn units_html(title: &str, units: &[Unit], sectors: u64) -> String {
    let bytes = (sectors * SECTOR as u64) as f64;
    let mut out = format!("<div class=\"units\" aria-label=\"{title}\" title=\"{title}\">");
    for unit in units {
        let (left, width) = (unit.offset as f64 / bytes * 100.0, unit.len as f64 / bytes * 100.0);
        let state = unit.state.name();
        let detail = format!(
            "{}, {title}: {state}\nbytes {}..{}: {}",
            unit.file,
            unit.offset,
            unit.offset + unit.len,
            unit.what
        );
        let _ = write!(
            out,
            "<button type=\"button\" tabindex=\"-1\" class=\"unit {state}\" style=\"left:{left:.3}%;width:{width:.3}%\" data-d=\"{}\" aria-label=\"{}\"><span>{state}</span></button>",
            escape(&detail),
            escape(&detail)
        );
    }
    out + "</div>"
}
