//! Errors, sorted by what the caller can do about them.

use std::fmt;
use std::io;
use std::sync::Arc;

/// The result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. Cheap to clone: every waiter of one failed sync hears the same cause.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// **Fix the call.** 0 is not a tag. A write with such a point accepts nothing.
    #[error("tag 0 is not a tag (point {index} of the call); nothing was accepted")]
    InvalidTag {
        /// Which point of a write, from 0; 0 for a query.
        index: usize,
    },
    /// **Fix the configuration.** Found before any file was touched.
    #[error("config: {field} {reason}")]
    InvalidConfig {
        /// The field of [`Config`](crate::Config).
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// **Fix the configuration.** The store was created with another value, and its files are laid out by it.
    #[error("config: {field} is {configured}, but this store was created with {stored}")]
    Geometry {
        /// The field of [`Config`](crate::Config).
        field: &'static str,
        /// What the manifest says.
        stored: u64,
        /// What the configuration says.
        configured: u64,
    },
    /// **Open it with a newer engine.** One has written this store in a way that this engine does not know. Nothing was changed.
    #[error("the store is of format version {stored}, and this engine reads those up to {known}")]
    NewerFormat {
        /// What the manifest says.
        stored: u32,
        /// The newest that this engine reads.
        known: u32,
    },
    /// **Wait, or find the other opener.** One engine at a time may have a directory open.
    #[error("the store is open already, in this process or in another one")]
    Locked,
    /// **Open again.** `close` was called on this engine.
    #[error("the engine is closed")]
    Closed,
    /// **Open again, and look at the disk.** A sync failed, so nobody knows what is on the disk; the engine answers
    /// queries and accepts nothing more (I8).
    #[error("the engine is read-only since a failed {cause}")]
    ReadOnly {
        /// The operation that failed, with its file and error.
        cause: Arc<str>,
    },
    /// **Try again once the cause is gone** (space, a cable). Nothing that was accepted before is lost (I9).
    #[error("{op} {file}: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        file: Arc<str>,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// **Restore, or ask `inspect` what is left.** Bytes that were durable are not what was written (I6).
    #[error("corrupt: {0}")]
    Corrupt(Corruption),
}

/// Where durable bytes are not what they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file's name in the store's directory.
    pub file: String,
    /// Byte offset in the file.
    pub offset: u64,
    /// What should have been there.
    pub expected: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: expected {}", self.file, self.offset, self.expected)
    }
}

impl Error {
    pub(crate) fn io(op: &'static str, file: &str, source: io::Error) -> Error {
        Error::Io { op, file: file.into(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, expected: impl Into<String>) -> Error {
        Error::Corrupt(Corruption { file: file.into(), offset, expected: expected.into() })
    }

    /// Whether a later call may succeed without the store being opened again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Io { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_shown_with_its_place_and_what_should_be_there() {
        let Error::Corrupt(damage) = Error::corrupt("wal-000.log", 512, "a frame") else {
            panic!("it is damage");
        };
        assert_eq!(damage.to_string(), "wal-000.log at offset 512: expected a frame");
    }
}
