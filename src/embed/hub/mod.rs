//! How does a model come from a hub into a directory?
//!
//! Nobody comes here unasked: an application calls [`HubModel::download`], or its configuration says
//! [`WhenMissing`](crate::config::ModelDownload) and the user's cache lacks the model. The walk: the directory holds a
//! model already, and nothing is asked for → the lock beside it; whoever waited for it looks again → each file goes
//! into `….partial` beside (`transfer`), over connections of `remote`, and is compared with its checksum (`digest`) →
//! what is left of other tries goes, everything is synced, and `….partial` gets the directory's name.
//!
//! Invariants: a directory of that name holds a whole model, whatever interrupts a download. No file gets there that
//! was not compared, as it stands on disk, with a SHA-256 of the caller's or with a checksum that the hub states. What
//! came before an interruption is not asked for again, as long as the hub still has the same. Only names of the table
//! [`FILES`] are asked for, and everything that is waited for or kept has a bound.

#![allow(
    clippy::disallowed_methods,
    reason = "model files are not the database's"
)]

mod digest;
mod directory;
mod remote;
mod transfer;

#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::Serialize;

use self::{
    directory::{locked, settle, with_added},
    remote::{Patience, Remote},
    transfer::Transfer,
};
use super::{description, model_files};
use crate::error::{PulseDBError, Result};

/// Most bytes of weights: those of a BERT-large are 1.3 GB, and what is larger cannot be loaded sensibly.
const MAX_WEIGHTS_BYTES: u64 = 4 << 30;
/// Most bytes of any other file: tokenizers of many languages have 17 MB.
const MAX_JSON_BYTES: u64 = 64 << 20;
/// Most characters of the name of a repository or a revision.
const MAX_NAME_CHARS: usize = 256;

/// A file of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ModelFile {
    name: &'static str,
    /// Whether there is no model without it.
    needed: bool,
    most_bytes: u64,
}

const fn json(name: &'static str, needed: bool) -> ModelFile {
    ModelFile {
        name,
        needed,
        most_bytes: MAX_JSON_BYTES,
    }
}

/// All that an encoder reads. The weights come last: a repository that cannot be used has said so by then.
const FILES: [ModelFile; 7] = [
    json(model_files::CONFIG, true),
    json(model_files::TOKENIZER, true),
    json(description::MODULES, false),
    json(description::POOLING, false),
    json(description::LENGTH, false),
    json(description::PROMPTS, false),
    ModelFile {
        name: model_files::WEIGHTS,
        needed: true,
        most_bytes: MAX_WEIGHTS_BYTES,
    },
];

/// A model in a repository of the Hugging Face hub, or of a server that answers like it.
///
/// The default is all-MiniLM-L6-v2 at a fixed commit, with the SHA-256 of its files: whoever delivers them, they are
/// those that this crate was tested with.
///
/// ```no_run
/// use pulsedb::{Builtin, HubModel};
///
/// # fn main() -> pulsedb::Result<()> {
/// // Where the built-in embedder looks for it; nothing is asked for if it is there.
/// let dir = Builtin::cache_dir()?;
/// HubModel::default().with_env().download(&dir, |now| println!("{} {}", now.file, now.bytes))?;
///
/// // Another BERT of sentence-transformers, for `model_path`.
/// let bge = HubModel::named("BAAI/bge-small-en-v1.5", "main").with_env();
/// let report = bge.download("bge-small".as_ref(), |_| ())?;
/// println!("commit {:?}", report.commit);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HubModel {
    /// The server's URL, in front of `/{repository}/resolve/{revision}/{file}`.
    pub endpoint: String,
    /// As the hub names it: `owner/name`.
    pub repository: String,
    /// A commit, a tag or a branch. Files of a branch are all of the commit that it had at the first of them.
    pub revision: String,
    /// SHA-256 in hexadecimal by file. Where it names any, exactly those files are fetched and compared with it, and
    /// `config.json`, `tokenizer.json` and `model.safetensors` must be among them. Where it is empty, these three and
    /// what else sentence-transformers writes of a BERT are fetched, and compared with the checksums that the hub
    /// states; a server that states none is refused.
    pub sha256: BTreeMap<String, String>,
    /// For repositories that not everybody may read. It is sent to the endpoint alone, over https or to this machine,
    /// and never shown.
    pub token: Option<String>,
}

impl Default for HubModel {
    fn default() -> Self {
        let sha256 = [
            (
                model_files::CONFIG,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            (
                model_files::TOKENIZER,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            (
                model_files::WEIGHTS,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
        ];
        Self {
            sha256: sha256
                .map(|(name, hex)| (name.into(), hex.into()))
                .into_iter()
                .collect(),
            ..Self::named(
                "sentence-transformers/all-MiniLM-L6-v2",
                "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            )
        }
    }
}

impl fmt::Debug for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubModel")
            .field("endpoint", &remote::shown(&self.endpoint))
            .field("repository", &self.repository)
            .field("revision", &self.revision)
            .field("sha256", &self.sha256)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish()
    }
}

/// How far a download has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadProgress {
    /// The file that comes; one after the other.
    pub file: &'static str,
    /// Bytes of it that are on disk, those of an earlier try included.
    pub bytes: u64,
    /// Bytes that it has, where the server says so.
    pub total_bytes: Option<u64>,
}

/// What a download left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DownloadReport {
    /// The directory, for `model_path`.
    pub dir: PathBuf,
    /// The commit that the files are of, where the hub has named it and anything was asked for.
    pub commit: Option<String>,
    /// Bytes that came over the network: 0 if the model was there.
    pub downloaded_bytes: u64,
    /// The model's files.
    pub files: Vec<DownloadedFile>,
}

/// A file of a model on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DownloadedFile {
    /// Its name below the directory.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal, to be named next time.
    pub sha256: String,
}

impl HubModel {
    /// The endpoint unless something else is said.
    pub const ENDPOINT: &str = "https://huggingface.co";

    /// Any BERT of sentence-transformers, without expected SHA-256s and without a token.
    #[must_use]
    pub fn named(repository: impl Into<String>, revision: impl Into<String>) -> Self {
        Self {
            endpoint: Self::ENDPOINT.into(),
            repository: repository.into(),
            revision: revision.into(),
            sha256: BTreeMap::new(),
            token: None,
        }
    }

    /// Takes the endpoint from `HF_ENDPOINT` and the token from `HF_TOKEN`, where the environment has them, as other
    /// clients of the hub do.
    #[must_use]
    pub fn with_env(self) -> Self {
        let variable = |name| {
            let value = env::var(name).unwrap_or_default().trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or(self.endpoint),
            token: variable("HF_TOKEN").or(self.token),
            ..self
        }
    }

    /// Sees to it that `dir` holds the model: looks at what is there, and else fetches it from the hub. Blocks for as
    /// long as that takes; proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY`).
    ///
    /// `tell` hears how far it has come. Files go to `dir` with `.partial` behind its name and are moved when all are
    /// there and right, so `dir` never holds half a model; a download that was interrupted goes on where it was. A lock
    /// (`dir` with `.lock` behind its name) makes others who want the same wait, in other processes, too, and find it.
    ///
    /// # Errors
    ///
    /// [`Download`](PulseDBError::Download) if the hub cannot be reached after some tries, refuses, or delivers
    /// something else than was expected; [`Validation`](PulseDBError::Validation) if a field cannot be, or `dir` holds
    /// something that is no model; [`Embedding`](PulseDBError::Embedding) if the model that is there has other SHA-256s
    /// than expected; [`Io`](PulseDBError::Io) if the files cannot be written.
    pub fn download(
        &self,
        dir: &Path,
        mut tell: impl FnMut(DownloadProgress),
    ) -> Result<DownloadReport> {
        self.download_with(dir, Patience::default(), &mut tell)
    }

    fn download_with(
        &self,
        dir: &Path,
        patience: Patience,
        tell: &mut dyn FnMut(DownloadProgress),
    ) -> Result<DownloadReport> {
        self.check()?;
        if dir.file_name().is_none() {
            let limit = "the path ends with the name of the directory";
            return Err(PulseDBError::validation("dir", dir.display(), limit));
        }
        let (part, lock) = (with_added(dir, ".partial"), with_added(dir, ".lock"));
        // First without the lock, which takes a directory that can be written.
        if let Some(report) = self.there(dir)? {
            return Ok(report);
        }
        let _lock = locked(&lock)?;
        if let Some(report) = self.there(dir)? {
            return Ok(report);
        }
        let mut remote = Remote::new(self, patience);
        let (mut files, mut downloaded_bytes) = (Vec::new(), 0);
        for file in FILES {
            let mut transfer = Transfer::new(file, &part);
            let expected = self.sha256.get(file.name).map(String::as_str);
            let wanted = self.sha256.is_empty() || expected.is_some();
            let arrived = match wanted {
                true => transfer.run(&mut remote, expected, tell)?,
                false => None,
            };
            downloaded_bytes += transfer.received_bytes();
            match arrived {
                Some(file) => files.push(file),
                // It may be left from a try to get another model.
                None => transfer.forget()?,
            }
        }
        settle(&part, dir)?;
        Ok(DownloadReport {
            dir: dir.to_owned(),
            commit: remote.commit(),
            downloaded_bytes,
            files,
        })
    }

    /// The model in `dir`, if one is there.
    fn there(&self, dir: &Path) -> Result<Option<DownloadReport>> {
        let missing = model_files::missing(dir);
        if !missing.is_empty() {
            let is_free = match fs::read_dir(dir) {
                Ok(mut entries) => entries.next().is_none(),
                Err(error) => error.kind() == ErrorKind::NotFound,
            };
            return match is_free {
                true => Ok(None),
                false => Err(PulseDBError::validation(
                    "dir",
                    dir.display(),
                    format!(
                        "it is there and has no {}: move it away, or name another",
                        missing.join(", no ")
                    ),
                )),
            };
        }
        let mut files = Vec::new();
        for file in FILES {
            let path = dir.join(file.name);
            if !path.is_file() {
                continue;
            }
            let found = digest::of_file(&path).map_err(PulseDBError::io("read", &path))?;
            let expected = self.sha256.get(file.name);
            if let Some(expected) = expected.filter(|hex| !found.sha256.eq_ignore_ascii_case(hex)) {
                return Err(PulseDBError::Embedding(format!(
                    "{} has SHA-256 {}, expected {expected}; move the directory away to have the model downloaded",
                    path.display(),
                    found.sha256
                )));
            }
            files.push(found.named(file.name));
        }
        Ok(Some(DownloadReport {
            dir: dir.to_owned(),
            commit: None,
            downloaded_bytes: 0,
            files,
        }))
    }

    /// Refuses what cannot become a URL, or leaves out a file without which there is no model.
    fn check(&self) -> Result<()> {
        let named = |field: &str, value: &str, parts: usize| {
            let is_plain = |part: &str| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                !matches!(part, "" | "." | "..") && part.chars().all(plain)
            };
            let fits = value.len() <= MAX_NAME_CHARS
                && value.split('/').count() <= parts
                && value.split('/').all(is_plain);
            match fits {
                true => Ok(()),
                false => Err(PulseDBError::validation(
                    field,
                    format!("{value:?}"),
                    format!(
                        "it has at most {MAX_NAME_CHARS} letters, digits, `.`, `_`, `-`, and {parts} parts between `/`"
                    ),
                )),
            }
        };
        remote::check_endpoint(&self.endpoint)?;
        named("repository", &self.repository, 2)?;
        named("revision", &self.revision, 8)?;
        for (name, hex) in &self.sha256 {
            let is_known = FILES.iter().any(|file| file.name == name);
            if !is_known || hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(PulseDBError::validation(
                    format!("sha256[{name}]"),
                    hex,
                    format!(
                        "it has 64 hexadecimal digits, and the file is one of {}",
                        FILES.map(|file| file.name).join(", ")
                    ),
                ));
            }
        }
        let left_out = |file: &&ModelFile| file.needed && !self.sha256.contains_key(file.name);
        match FILES.iter().find(left_out) {
            Some(file) if !self.sha256.is_empty() => Err(PulseDBError::validation(
                format!("sha256[{}]", file.name),
                "nothing",
                "where any is named, this one must be, too",
            )),
            _ => Ok(()),
        }
    }
}

/// Downloads the default model into the user's cache directory, because the configuration says so.
pub(super) fn download_default(dir: &Path) -> Result<()> {
    let model = HubModel::default().with_env();
    let (to, from) = (dir.display(), remote::shown(&model.endpoint));
    tracing::info!(%to, %from, "the model is missing and is downloaded");
    let mut tenths = 0;
    let report = model.download(dir, |now| {
        let total = now.total_bytes.unwrap_or(u64::MAX).max(1);
        let reached = now.bytes.saturating_mul(10) / total;
        if now.file == model_files::WEIGHTS && reached > tenths {
            tenths = reached;
            tracing::info!(bytes = now.bytes, total_bytes = total, "the model comes");
        }
    })?;
    tracing::info!(to = %dir.display(), bytes = report.downloaded_bytes, "the model is there");
    Ok(())
}
