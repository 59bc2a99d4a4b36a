//! Damage to what is durable: what a file holds is changed, or a sector is not read as it should be.

use super::media::SECTOR;
use super::{SimDisk, State, eio};
use crate::fault::Fault;
use std::io;

/// What can happen to a file at rest, or to how it is read.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// This bit is the other way round.
    Flip {
        /// Counted from the start of the file.
        bit: u64,
    },
    /// What belongs at one offset is at another one, too.
    Copy {
        /// Where it belongs.
        from: u64,
        /// Where it was written.
        to: u64,
        /// Bytes.
        len: u64,
    },
    /// What is behind this length is gone.
    Cut {
        /// Bytes that are left.
        len: u64,
    },
    /// What is behind this offset was never written.
    Zero {
        /// The first byte.
        from: u64,
    },
    /// The file is gone.
    Remove,
    /// A sector holds what it held before it was last synced.
    Age {
        /// Counted in sectors of 512 bytes.
        sector: u64,
    },
    /// The next read of a sector gives what it held before.
    AgeOnce {
        /// Counted in sectors of 512 bytes.
        sector: u64,
    },
    /// Reads of a sector fail until it is written to.
    Unreadable {
        /// Counted in sectors of 512 bytes.
        sector: u64,
    },
}

/// A sector that held something else before it was last synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Counted in sectors of 512 bytes.
    pub sector: u64,
    /// The bytes of the file that are others now.
    pub bytes: Vec<u64>,
}

/// A sector that is not read as it should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct BadSector {
    inode: usize,
    sector: u64,
    kind: BadRead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadRead {
    StaleOnce,
    Fails,
}

impl BadSector {
    pub(super) fn meets(&self, inode: usize, offset: u64, len: usize) -> bool {
        let start = self.sector * SECTOR as u64;
        self.inode == inode && offset < start + SECTOR as u64 && start < offset + len as u64
    }
}

impl SimDisk {
    /// Changes what is at rest, or how it is read, and notes the fault that did it.
    pub fn damage(&self, fault: Fault, name: &str, change: Damage) {
        let mut state = self.0.lock();
        let inode = state.media.lookup(name).expect("damage strikes files that are there");
        state.timeline.note(&[fault as u64], || format!("    {} of {name}: {change:?}", fault.name()));
        state.counts.arm(fault);
        match change {
            Damage::Flip { bit } => state.media.file_mut(inode).flip(bit),
            Damage::Copy { from, to, len } => state.media.file_mut(inode).copy_within(from, to, len),
            Damage::Cut { len } => state.media.file_mut(inode).cut(len),
            Damage::Zero { from } => state.media.file_mut(inode).zero(from),
            Damage::Remove => state.media.lose(name),
            Damage::Age { sector } => state.media.file_mut(inode).age(sector as usize),
            Damage::AgeOnce { sector } => {
                state.bad_sector = Some(BadSector { inode, sector, kind: BadRead::StaleOnce });
                return;
            }
            Damage::Unreadable { sector } => {
                state.bad_sector = Some(BadSector { inode, sector, kind: BadRead::Fails });
                return;
            }
        }
        state.counts.fire(fault);
    }

    /// The sectors of a file that held something else before.
    pub fn renewed_sectors(&self, name: &str) -> Vec<Renewed> {
        let state = self.0.lock();
        let Some(inode) = state.media.lookup(name) else { return Vec::new() };
        let file = state.media.file(inode);
        let renewed = |sector| Renewed { sector, bytes: file.renewed(sector as usize) };
        let sectors = (0..file.len().div_ceil(SECTOR as u64)).map(renewed);
        sectors.filter(|renewed| !renewed.bytes.is_empty()).collect()
    }
}

impl State {
    /// What a bad sector does to a read that would have given these bytes.
    pub(super) fn read_badly(&mut self, inode: usize, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bad = self.bad_sector.filter(|bad| bad.meets(inode, offset, buf.len()));
        let Some(BadSector { sector, kind, .. }) = bad else { return Ok(()) };
        if kind == BadRead::Fails {
            self.fired.push(Fault::LatentSector);
            self.counts.fire(Fault::LatentSector);
            return Err(eio());
        }
        let mut is_stale = false;
        for (at, byte) in (sector * SECTOR as u64..).zip(self.media.file(inode).older(sector as usize)) {
            if let Some(place) = at.checked_sub(offset).and_then(|at| buf.get_mut(at as usize)) {
                is_stale |= place != byte;
                *place = *byte;
            }
        }
        // A read of bytes that are the same in both versions was none.
        if is_stale {
            self.bad_sector = None;
            self.fired.push(Fault::StaleRead);
            self.counts.fire(Fault::StaleRead);
        }
        Ok(())
    }
}
