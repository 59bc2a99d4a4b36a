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
    CrashNested = "crash_in_that_again": "and again in the recovery from that",
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
    SyncDropped = "sync_error_pages_dropped": "a sync fails, the dirty pages are gone, the next sync says Ok",
    SyncClean = "sync_error_pages_clean": "a sync fails, the pages are marked clean, the next sync says Ok",
    OpenError = "open_error": "opening or creating a file fails with EIO",
    ListError = "list_error": "listing the directory fails with EIO",
    RenameError = "rename_error": "a rename fails with EIO, having happened or not",
    RemoveError = "remove_error": "a removal fails with EIO",
    SyncDirError = "sync_dir_error": "a sync of the directory fails with EIO",
    SetLenError = "set_len_error": "growing or cutting a file fails with EIO",
    LenError = "len_error": "asking for a file's length fails with EIO",
    Sticky = "sticky": "an error comes again each time until the fault is lifted",
    NoSpace = "no_space": "whatever needs space fails with ENOSPC until there is space again",
    BitRot = "bit_rot": "one bit of durable data is flipped",
    Misdirected = "misdirected_write": "a block lies where another one should be",
    FileCut = "file_cut_short": "the end of a file is missing",
    FileGone = "file_gone": "a file that the store needs is not there any more",
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
    /// Could have happened so often.
    pub armed: u64,
    /// Did happen so often.
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
