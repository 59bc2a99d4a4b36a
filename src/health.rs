//! Whether a sync has ever failed. Once one has, the engine is read-only (I8).
//!
//! After a failed sync the kernel may have dropped the dirty pages or marked them clean, so that a second sync says
//! `Ok` about bytes that never reached the disk (Rebello et al., "Can Applications Recover from fsync Failures?",
//! USENIX ATC 2020). No sync is therefore retried, on any file: the only way on is to open the store again, and
//! recovery writes anew whatever it cannot prove to be on the disk.

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::plant::{self, Bug};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Rank};
use std::io;

pub(crate) struct Health {
    failed: AtomicBool,
    cause: Mutex<Option<Arc<str>>>,
    /// The turn to sync the directory.
    names: Mutex<()>,
}

impl Health {
    pub(crate) fn new() -> Health {
        Health {
            failed: AtomicBool::new(false),
            cause: Mutex::new(Rank::Leaf, None),
            names: Mutex::new(Rank::Names, ()),
        }
    }

    /// Whether a sync has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// `ReadOnly` once a sync has failed.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.has_failed() {
            return Ok(());
        }
        let cause = self.cause.lock().clone().expect("the cause is set before the flag");
        Err(Error::ReadOnly { cause })
    }

    /// Passes on the result of an operation whose failure is final: a sync, or a rename that was about to replace
    /// the manifest. The first failure stays the cause.
    pub(crate) fn final_result(&self, op: &'static str, file: &str, result: io::Result<()>) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        if plant::on(Bug::I8) || (plant::on(Bug::H1) && op.contains("names")) {
            return Err(Error::io(op, file, error));
        }
        self.poison(&format!("{op} of {file}: {error}"));
        self.check()
    }

    /// Makes all changes of names so far durable. `of` says in an error whose names these were.
    ///
    /// All streams' names are in one directory, so a sync that fails may have dropped those of others, whose own sync would then
    /// say `Ok`. So one is made after the other, and none after one that failed.
    pub(crate) fn sync_dir(&self, disk: &dyn Disk, of: &str) -> Result<()> {
        let _turn = (!plant::on(Bug::H2)).then(|| self.names.lock());
        self.check()?;
        self.final_result("sync of the names", of, disk.sync_dir())
    }

    /// Makes the engine read-only.
    pub(crate) fn poison(&self, cause: &str) {
        self.cause.lock().get_or_insert_with(|| cause.into());
        self.failed.store(true, Ordering::Release);
    }
}
