//! What a reader is told of an I/O and of a sector's fate.

use crate::disk::IoKind;
use crate::picture::written::pieces;
use crate::record::{Fate, Io};

impl Fate {
    /// In words.
    pub fn words(self) -> String {
        match self {
            Fate::Lost => "lost: what was durable before is there again".into(),
            Fate::Kept => "kept, though nothing promised it".into(),
            Fate::Older(version, of) => format!("kept in version {version} of {of}, an older one"),
            Fate::Torn => "torn: it holds what nobody wrote as a whole".into(),
            Fate::CutOff => "cut off: the file has an older length".into(),
        }
    }
}

/// The name of the sign for an I/O.
pub(super) fn glyph(io: &Io) -> &'static str {
    match io.kind {
        IoKind::Write => "write",
        IoKind::Sync | IoKind::SyncDir => "sync",
        IoKind::Rename => "rename",
        IoKind::Remove => "remove",
        IoKind::Open => "create",
        IoKind::SetLen => "resize",
        IoKind::Read | IoKind::List | IoKind::Len => "read",
    }
}

/// An I/O, what was in it, and what is unsynced now.
pub(super) fn describe(io: &Io) -> String {
    let file = &io.file;
    let mut words = match io.kind {
        IoKind::Write => format!("write {file}, bytes {}..{}", io.offset, io.offset + io.len),
        IoKind::Read => format!("read {file}, bytes {}..{}", io.offset, io.offset + io.len),
        IoKind::Sync => format!("sync {file}"),
        IoKind::SyncDir => "sync of the directory".into(),
        IoKind::Rename => format!("rename {file} to {}", io.to.as_deref().unwrap_or("?")),
        IoKind::Remove => format!("remove {file}"),
        IoKind::Open => format!("create {file}"),
        IoKind::SetLen => format!("set the length of {file} to {}", io.len),
        IoKind::List => "list the directory".into(),
        IoKind::Len => format!("length of {file}"),
    };
    words += match (io.crashed, io.ok) {
        (true, _) => ": the power fails in it",
        (false, true) => ": Ok",
        (false, false) => ": FAILS with an I/O error",
    };
    if io.kind == IoKind::Write && !io.crashed {
        for piece in pieces(file, io.offset, &io.bytes) {
            words += &format!("\n{}", piece.what());
        }
    }
    if !io.crashed && io.change.is_some() {
        words += &match (io.kind, io.unsynced) {
            (_, 0) => "\nNothing of it is unsynced now.".to_string(),
            (IoKind::Open | IoKind::Rename | IoKind::Remove | IoKind::SyncDir, names) => {
                format!("\nChanges of names that no sync has covered: {names}.")
            }
            (_, sectors) => format!("\nSectors of this file in the page cache only: {sectors}."),
        };
    }
    words
}
