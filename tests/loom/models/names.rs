//! The names of new files: one directory, and everybody's names in it.

use super::disk::MemDisk;
use super::{Model, Twin, all, bounded, together};
use crate::disk::{Disk, OpenMode};
use crate::error::Error;
use crate::health::Health;
use crate::plant::Bug;
use crate::sync::Arc;

const DROPPED: &str = "a name that is said to be durable is gone";

/// The first sync of the directory fails, and drops the names that all threads have made until then.
pub(super) const NAMES: Model = Model {
    name: "names",
    question: "Is a name durable when its thread is told so, though another one's sync has failed?",
    body: |threads| {
        let disk = MemDisk::watched();
        disk.fail_syncs(1);
        let health = Arc::new(Health::new());
        let seen = health.clone();
        together(threads, move |number| {
            let name = format!("file-{number}");
            disk.open(&name, OpenMode::Create).expect("memory");
            match health.sync_dir(&disk, &name) {
                Ok(()) => assert!(disk.crashed().open(&name, OpenMode::Read).is_ok(), "{DROPPED}"),
                Err(error) => assert!(matches!(error, Error::ReadOnly { .. }), "{error}"),
            }
        });
        assert!(seen.has_failed());
    },
    sizes: &[all(2), bounded(3, 3)],
    twins: &[Twin { bug: Bug::H2, size: all(2), reason: DROPPED }],
};
