//! How does one file come to disk, whatever happens on the way?
//!
//! It grows under its own name in the directory of the download; beside it stands the tag of the content that it is
//! the beginning of. A try asks for what is missing, and for the last byte again: so a file that is whole already is no
//! special case. If the server has something else now, or begins anew, so does the file. Only a file that is synced and
//! whose bytes on disk have the expected checksum has arrived; one with another checksum is thrown away. Tries that
//! bring the file further do not count; of those that do not there are [`MAX_FRUITLESS_TRIES`]. Used by the module's
//! walk, one file at a time and under its lock.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
};

use super::{
    DownloadProgress, DownloadedFile, ModelFile,
    digest::{self, Checksum},
    directory::{absent, parent, tag_of},
    remote::{Content, Failure, Remote, Reply, refusal},
};
use crate::error::{PulseDBError, Result};

/// Tries in a row that bring a file no further before it is given up; the pauses between them add up to 7.5 s.
const MAX_FRUITLESS_TRIES: u32 = 5;
/// Bytes that are taken from the network at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// A file on its way.
pub(super) struct Transfer {
    file: ModelFile,
    path: PathBuf,
    tag: PathBuf,
    received_bytes: u64,
}

impl Transfer {
    /// Below `dir`.
    pub(super) fn new(file: ModelFile, dir: &Path) -> Self {
        let path = dir.join(file.name);
        Self {
            file,
            tag: tag_of(&path),
            path,
            received_bytes: 0,
        }
    }

    /// What has come over the network.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Removes what has come.
    pub(super) fn forget(&self) -> Result<()> {
        for path in [&self.tag, &self.path] {
            absent(fs::remove_file(path)).map_err(PulseDBError::io("remove", path))?;
        }
        Ok(())
    }

    /// Fetches the file; `None` if the hub does not have it, and it can be done without.
    pub(super) fn run(
        &mut self,
        remote: &mut Remote<'_>,
        expected: Option<&str>,
        tell: &mut dyn FnMut(DownloadProgress),
    ) -> Result<Option<DownloadedFile>> {
        let (mut fruitless, mut furthest) = (0, self.len());
        loop {
            let error = match self.attempt(remote, expected, tell) {
                Ok(arrived) => return Ok(arrived),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
            };
            let len = self.len();
            fruitless = if len > furthest { 0 } else { fruitless + 1 };
            furthest = furthest.max(len);
            if fruitless >= MAX_FRUITLESS_TRIES || !remote.has_answered {
                return Err(error);
            }
            tracing::warn!(%error, bytes = len, "a download was interrupted and goes on");
            thread::sleep(remote.patience.first_pause * 2_u32.pow(fruitless.saturating_sub(1)));
        }
    }

    fn attempt(
        &mut self,
        remote: &mut Remote<'_>,
        expected: Option<&str>,
        tell: &mut dyn FnMut(DownloadProgress),
    ) -> Result<Option<DownloadedFile>, Failure> {
        let tag = self.tag();
        // Without a tag nobody knows what the bytes that are there belong to.
        let from = tag.as_ref().map_or(0, |_| self.len().saturating_sub(1));
        let content = match remote.get(self.file.name, from)? {
            Reply::Content(content) => content,
            Reply::Absent(_) if !self.file.needed => return Ok(None),
            Reply::Absent(refusal) => return Err(Failure::Lasting(refusal)),
            Reply::Outside(refusal) => {
                self.forget()?;
                return Err(Failure::Passing(refusal));
            }
        };
        let is_rest = content.from == from && content.tag == tag;
        if content.from > 0 && !is_rest {
            self.forget()?;
            let what = "the file has become another while it came";
            return Err(Failure::Passing(refusal(&content.url, None, what.into())));
        }
        let checksum = self.expectation(expected, &content)?;
        let (url, total, start) = (content.url.clone(), content.total, content.from);
        let len = self.receive(content, tell)?;
        if total.is_some_and(|total| total != len) {
            let what = "the connection ended before the file did";
            return Err(Failure::Passing(refusal(&url, None, what.into())));
        }
        let found = digest::of_file(&self.path).map_err(PulseDBError::io("read", &self.path))?;
        if checksum.is_of(&found) {
            return Ok(Some(found.named(self.file.name)));
        }
        self.forget()?;
        let error = refusal(
            &url,
            None,
            format!("it has SHA-256 {}, expected {checksum}", found.sha256),
        );
        // What was there before may be at fault, after a power cut for instance: once more from the beginning.
        Err(match start {
            0 => Failure::Lasting(error),
            _ => Failure::Passing(error),
        })
    }

    /// What the file must be, before any of it is taken.
    fn expectation(&self, expected: Option<&str>, content: &Content) -> Result<Checksum> {
        let refused = |what: String| Err(refusal(&content.url, None, what));
        let most = self.file.most_bytes;
        if let Some(total) = content.total.filter(|total| *total > most) {
            return refused(format!("it has {total} bytes, the limit is {most}"));
        }
        let expected = expected.map(|hex| Checksum::Sha256(hex.to_ascii_lowercase()));
        match (expected, &content.checksum) {
            (Some(Checksum::Sha256(ours)), Some(Checksum::Sha256(theirs))) if ours != *theirs => {
                refused(format!(
                    "the hub says that it has SHA-256 {theirs}, expected {ours}"
                ))
            }
            (Some(ours), _) => Ok(ours),
            (None, Some(theirs)) => Ok(theirs.clone()),
            (None, None) => refused(
                "the server states no checksum as a hub does; say which SHA-256s the files have"
                    .into(),
            ),
        }
    }

    /// Writes what comes behind what stays, and answers how long the file is then.
    fn receive(
        &mut self,
        mut content: Content,
        tell: &mut dyn FnMut(DownloadProgress),
    ) -> Result<u64, Failure> {
        let mut file = self
            .open(&content)
            .map_err(PulseDBError::io("open", &self.path))?;
        let mut len = content.from;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            tell(DownloadProgress {
                file: self.file.name,
                bytes: len,
                total_bytes: content.total,
            });
            let read = match content.body.read(&mut buffer) {
                Ok(read) => buffer.get(..read).unwrap_or_default(),
                Err(error) => {
                    let what = format!("the connection broke: {error}");
                    return Err(Failure::Passing(refusal(&content.url, None, what)));
                }
            };
            if read.is_empty() {
                break;
            }
            len += read.len() as u64;
            if len > self.file.most_bytes {
                self.forget()?;
                let most = self.file.most_bytes;
                let what = format!("it has more than {most} bytes, the limit");
                return Err(Failure::Lasting(refusal(&content.url, None, what)));
            }
            file.write_all(read)
                .map_err(PulseDBError::io("write", &self.path))?;
            self.received_bytes += read.len() as u64;
        }
        file.sync_all()
            .map_err(PulseDBError::io("sync", &self.path))?;
        Ok(len)
    }

    /// The file, cut to what stays, with the tag beside it of what it will be.
    fn open(&self, content: &Content) -> io::Result<File> {
        fs::create_dir_all(parent(&self.path))?;
        let options = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path);
        let mut file = options?;
        // First the cut: a tag never stands beside bytes of something else.
        file.set_len(content.from)?;
        match &content.tag {
            Some(tag) => fs::write(&self.tag, tag)?,
            None => absent(fs::remove_file(&self.tag))?,
        }
        file.seek(SeekFrom::Start(content.from))?;
        Ok(file)
    }

    /// What the bytes that are there belong to, if it can be told.
    fn tag(&self) -> Option<String> {
        fs::read_to_string(&self.tag).ok()
    }

    /// Bytes of the file that are there.
    fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }
}
