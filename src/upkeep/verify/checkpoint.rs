//! Is the checkpoint that the manifest names whole, and of this history?
//!
//! Read with pread, as the log, and whole: it is a few percent of the log.

use bytes::Bytes;

use crate::{
    error::{PulseDBError, Result},
    format::{Checkpoint, checkpoint_file_name},
    model::Lsn,
    upkeep::checkpoint,
    vfs::OpenMode,
};

use super::Pass;

impl Pass<'_> {
    /// The newest checkpoint, if there is one.
    pub(super) fn checkpoint(&mut self) {
        let lsn = self.subject.manifest.current().checkpoint;
        if lsn == Lsn::ZERO {
            return;
        }
        let path = checkpoint::path(self.subject.path, lsn);
        let read = || -> Result<()> {
            let io = |error| PulseDBError::io("read", &path)(error);
            let file = self.subject.vfs.open(&path, OpenMode::Read).map_err(io)?;
            let mut bytes = vec![0; file.len().map_err(io)? as usize];
            file.read_exact_at(&mut bytes, 0).map_err(io)?;
            let corrupted = |what: String| PulseDBError::corrupted(&path, 0, what);
            let read = Checkpoint::parse(Bytes::from(bytes))
                .map_err(|fault| corrupted(fault.to_string()))?;
            if read.header().instance_id != self.subject.instance || read.header().lsn != lsn {
                return Err(corrupted(format!(
                    "it is not {} of this database",
                    checkpoint_file_name(lsn)
                )));
            }
            Ok(())
        };
        let found = read();
        // A writer may have made a newer one meanwhile, and removed this.
        if let Err(error) = found
            && self.subject.manifest.current().checkpoint == lsn
        {
            self.note_error(error, &path, true);
        }
    }
}
