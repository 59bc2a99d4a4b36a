//! The I/O at which something struck: what was done, and to which kind of file.

use super::IoKind;
use std::fmt;

/// An I/O that changes something, by its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// What was done.
    pub kind: IoKind,
    /// To which kind of file: its name, up to its number. The directory's is empty.
    pub file: String,
}

impl Site {
    pub(super) fn new(kind: IoKind, name: &str) -> Site {
        let file = name.split(['-', ' ']).next().unwrap_or_default();
        Site { kind, file: file.into() }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let io = match self.kind {
            IoKind::Write => "write",
            IoKind::Sync => "sync",
            IoKind::SyncDir => return f.write_str("sync of names"),
            IoKind::Open => "creation",
            IoKind::Rename => "rename",
            IoKind::Remove => "removal",
            IoKind::SetLen => "resize",
            IoKind::Read | IoKind::List | IoKind::Len => "read",
        };
        write!(f, "{io} of {}", self.file)
    }
}
