//! How far may other processes read?
//!
//! 16 bytes that the writer puts in place after each sync. They are a hint that other processes
//! poll, never a source of recovery: a TAIL that does not decode says nothing. Called by the log.

use super::{FileFault, array_at, put_at};
use crate::model::{Lsn, Timeline};

/// Bytes of the file.
pub const TAIL_LEN: usize = 16;

/// The newest durable commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Its LSN.
    pub lsn: Lsn,
    /// Its timeline.
    pub timeline: Timeline,
}

impl Tail {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; TAIL_LEN] {
        let mut out = [0; TAIL_LEN];
        put_at(&mut out, 0, &self.lsn.get().to_le_bytes());
        put_at(&mut out, 8, &self.timeline.get().to_le_bytes());
        let crc = crc32fast::hash(out.get(..12).unwrap_or_default());
        put_at(&mut out, 12, &crc.to_le_bytes());
        out
    }

    /// Reads the file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let bytes: &[u8; TAIL_LEN] = bytes.try_into().map_err(|_| FileFault::Length)?;
        if crc32fast::hash(bytes.get(..12).unwrap_or_default())
            != u32::from_le_bytes(array_at(bytes, 12))
        {
            return Err(FileFault::Checksum);
        }
        Ok(Self {
            lsn: Lsn::new(u64::from_le_bytes(array_at(bytes, 0))),
            timeline: Timeline::new(u32::from_le_bytes(array_at(bytes, 8))),
        })
    }
}
