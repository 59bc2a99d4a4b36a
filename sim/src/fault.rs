//! Every way in which the simulated disk can fail, and how often each was armed and fired.
//!
//! A fault is *armed* when it could have happened: an error was set up, or a crash found something that it could take.
//! It is *fired* when it did. A campaign that arms a fault and never sees it fire has not measured it, and says so.

use serde::Serialize;
use std::collections::BTreeMap;

macro_rules! faults {
    ($($name:ident = $text:literal: $what:literal,)*) => {
        /// One kind of fault.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $($name,)* }

        impl Fault {
    /// After it nobody knows what is on the disk (I8).
    pub fn is_final(self) -> bool {
        matches!(self, Fault::SyncError | Fault::SyncDirError | Fault::RenameError)
    }

            /// All kinds.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// The name in reports.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }

            /// What happens, in one sentence.
            pub fn what(self) -> &'static str {
                match self { $(Fault::$name => $what,)* }
            }
        }
    };
}

faults! {
    CrashBefore = "crash_before": "the power fails before an I/O takes effect",
    CrashAfter = "crash_after": "the power fails after an I/O took effect and before it returns",
    CrashRecovery = "crash_in_recovery": "the power fails while recovery from a crash is running",
    CrashNested = "crash_in_that_again": "the power fails while the recovery from a crash in recovery is running",
    Kill = "kill": "the process dies and the machine does not: the page cache stays",
    Lost = "lost": "an unsynced sector does not survive",
    Reordered = "reordered": "a later unsynced write survives and an earlier one does not",
    Torn = "torn": "of one write some sectors survive and others do not",
    Stale = "stale_version": "a sector survives in an unsynced version that had been overwritten",
    TornByte = "torn_inside_sector": "a sector survives up to a byte, with its old content behind",
    Garbage = "garbage_in_sector": "a sector whose write was interrupted holds zeros or noise",
    SizeKept = "size_without_data": "a file keeps its new size without its new data",
    SizeLost = "size_lost": "a file has an older size than some data that was written",
    CreateLost = "create_lost": "an unsynced new name is gone",
    CreateKept = "create_kept": "an unsynced new name is there",
    RenameLost = "rename_lost": "an unsynced rename did not happen",
    RenameKept = "rename_kept": "an unsynced rename happened",
    RemoveLost = "remove_lost": "a removed name is back",
    RemoveKept = "remove_kept": "an unsynced removal happened",
    ReadError = "read_error": "a read fails with EIO",
    WriteError = "write_error": "a write fails with EIO, part of it done",
    SyncError = "sync_error": "a sync fails with EIO, the pages stay dirty",
    SyncExt4 = "sync_error_ext4": "a sync fails, the pages stay readable and are marked clean, the length is durable, the next sync says Ok",
    SyncXfs = "sync_error_xfs": "a sync fails, the dirty pages are dropped, the next sync says Ok",
    SyncBtrfs = "sync_error_btrfs": "a sync fails, pages and length are rolled back, the next sync says Ok",
    OpenError = "open_error": "opening or creating a file fails with EIO",
    ListError = "list_error": "listing the directory fails with EIO",
    RenameError = "rename_error": "a rename fails with EIO, having happened or not",
    RemoveError = "remove_error": "a removal fails with EIO",
    SyncDirError = "sync_dir_error": "a sync of the directory fails with EIO",
    SyncDirDropped = "sync_dir_error_names_dropped": "a sync of the directory fails, its changes are rolled back, the next one says Ok",
    SyncDirClean = "sync_dir_error_names_clean": "a sync of the directory fails, its changes are marked clean, the next one says Ok and writes only names that have changed again",
    SetLenError = "set_len_error": "growing or cutting a file fails with EIO",
    LenError = "len_error": "asking for a file's length fails with EIO",
    Sticky = "sticky": "an error comes again each time until the fault is lifted",
    NoSpaceWrite = "no_space_write": "a write behind the end fails with ENOSPC until there is space again",
    NoSpaceGrow = "no_space_set_len": "growing a file fails with ENOSPC until there is space again",
    NoSpaceCreate = "no_space_create": "creating a file fails with ENOSPC until there is space again",
    NoSpaceRename = "no_space_rename": "a rename fails with ENOSPC until there is space again",
    BitRot = "bit_rot": "one bit of durable data is flipped",
    LostWrite = "lost_write": "a sync said Ok, and a sector holds what it held before",
    StaleRead = "stale_read": "one read of a durable sector gives what it held before",
    LatentSector = "latent_sector_error": "a sector cannot be read any more",
    Misdirected = "misdirected_write": "a block lies where another one should be",
    FileCut = "file_cut_short": "the end of a file is missing",
    FileGone = "file_gone": "a file that the store needs is not there any more",
    Stall = "stall": "an I/O takes so long that the other threads do a lot meanwhile",
}

/// How often each fault was armed and fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts {
    armed: [u64; Fault::ALL.len()],
    fired: [u64; Fault::ALL.len()],
}

impl Default for FaultCounts {
    fn default() -> FaultCounts {
        FaultCounts { armed: [0; Fault::ALL.len()], fired: [0; Fault::ALL.len()] }
    }
}

/// One fault's counts in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Could have happened this often.
    pub armed: u64,
    /// Happened this often.
    pub fired: u64,
}

impl FaultCounts {
    /// Notes a chance for a fault.
    pub fn arm(&mut self, fault: Fault) {
        self.armed[fault as usize] += 1;
    }

    /// Notes that it happened.
    pub fn fire(&mut self, fault: Fault) {
        self.fired[fault as usize] += 1;
    }

    /// Notes a chance, and whether it was taken.
    pub fn count(&mut self, fault: Fault, fired: bool) {
        self.arm(fault);
        if fired {
            self.fire(fault);
        }
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &FaultCounts) {
        for fault in Fault::ALL {
            self.armed[*fault as usize] += other.armed[*fault as usize];
            self.fired[*fault as usize] += other.fired[*fault as usize];
        }
    }

    /// The counts of one fault.
    pub fn of(&self, fault: Fault) -> Count {
        Count { armed: self.armed[fault as usize], fired: self.fired[fault as usize] }
    }

    /// All counts by name.
    pub fn by_name(&self) -> BTreeMap<&'static str, Count> {
        Fault::ALL.iter().map(|fault| (fault.name(), self.of(*fault))).collect()
    }
}
