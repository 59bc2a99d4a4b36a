//! I/O errors: which call fails, and what it does all the same.

use crate::choice::{Chooser, Concern};
use crate::fault::Fault;

/// A kind of I/O, as far as errors are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IoKind {
    /// `read_at`
    Read,
    /// `write_at`
    Write,
    /// `sync`
    Sync,
    /// `open`, in any mode
    Open,
    /// `list`
    List,
    /// `rename`
    Rename,
    /// `remove`
    Remove,
    /// `sync_dir`
    SyncDir,
    /// `set_len`
    SetLen,
    /// `len`
    Len,
}

impl IoKind {
    /// All kinds.
    pub const ALL: [IoKind; 10] = [
        IoKind::Write,
        IoKind::Sync,
        IoKind::Read,
        IoKind::Open,
        IoKind::SyncDir,
        IoKind::Rename,
        IoKind::Remove,
        IoKind::SetLen,
        IoKind::List,
        IoKind::Len,
    ];

    pub(super) fn fault(self) -> Fault {
        match self {
            IoKind::Read => Fault::ReadError,
            IoKind::Write => Fault::WriteError,
            IoKind::Sync => Fault::SyncError,
            IoKind::Open => Fault::OpenError,
            IoKind::List => Fault::ListError,
            IoKind::Rename => Fault::RenameError,
            IoKind::Remove => Fault::RemoveError,
            IoKind::SyncDir => Fault::SyncDirError,
            IoKind::SetLen => Fault::SetLenError,
            IoKind::Len => Fault::LenError,
        }
    }
}

/// What a failing operation does to the disk all the same. What file systems do about a failed sync differs (Rebello et
/// al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020); the three kinds here are named after whom they
/// resemble most, and after each the next sync says `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing. A failed sync leaves its pages dirty.
    None,
    /// A failed write has written this many 1/256 of its bytes; a failed rename or removal has happened.
    Part(u8),
    /// xfs: a failed sync has dropped the dirty pages, and reads see the old content again, in the new length. Of a
    /// directory: its changes are gone.
    PagesDropped,
    /// ext4 with `data=ordered`: a failed sync has marked the pages clean; reads see the new content, and no sync will
    /// write it, unless the page is written to again. The length is durable. Of a directory: its changes stay visible.
    PagesClean,
    /// btrfs: a failed sync has rolled the file back to what is durable, its length too.
    RolledBack,
}

/// An error that is set up for an operation to come.
#[derive(Clone, Copy, Debug)]
pub struct Armed {
    /// Of this kind.
    pub kind: IoKind,
    /// On files whose names begin so; for calls that concern one open file.
    pub only: &'static str,
    /// After this many of them have gone well.
    pub after: u32,
    /// And for all that follow.
    pub sticky: bool,
    /// With this effect.
    pub effect: Effect,
}

impl Effect {
    /// The fault that a failed sync with this effect is.
    pub(super) fn of_sync(self) -> Fault {
        match self {
            Effect::PagesDropped => Fault::SyncXfs,
            Effect::PagesClean => Fault::SyncExt4,
            Effect::RolledBack => Fault::SyncBtrfs,
            Effect::None | Effect::Part(_) => Fault::SyncError,
        }
    }

    /// Draws what a failing operation of a kind does all the same.
    pub fn draw(chooser: &mut Chooser, kind: IoKind) -> Effect {
        match kind {
            IoKind::Sync => {
                let effects = [Effect::None, Effect::PagesDropped, Effect::PagesClean, Effect::RolledBack];
                chooser.pick(Concern::Faults, &effects)
            }
            IoKind::SyncDir => {
                chooser.pick(Concern::Faults, &[Effect::None, Effect::PagesDropped, Effect::PagesClean])
            }
            _ => Effect::Part(chooser.below(Concern::Faults, 256) as u8),
        }
    }
}

impl Armed {
    /// Draws an error for one of the next `within` operations of a kind.
    pub fn draw(chooser: &mut Chooser, kind: IoKind, within: u32) -> Armed {
        let faults = Concern::Faults;
        let effect = Effect::draw(chooser, kind);
        // Often one kind of file: what follows from a manifest that cannot be written is seen only if the rest can.
        let only = chooser.pick(faults, &["", "MANIFEST", "chunk", "wal"]);
        let after = chooser.below(faults, within);
        Armed { kind, only, after, sticky: chooser.chance(faults, 64), effect }
    }

    /// The fault that it is.
    pub(super) fn fault(&self) -> Fault {
        match (self.kind, self.effect) {
            (IoKind::Sync, effect) => effect.of_sync(),
            (IoKind::SyncDir, Effect::PagesDropped | Effect::RolledBack) => Fault::SyncDirDropped,
            (IoKind::SyncDir, Effect::PagesClean) => Fault::SyncDirClean,
            (kind, _) => kind.fault(),
        }
    }
}
