//! How does a model come from a hub, for somebody at a terminal?

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pulsedb::{Builtin, HubModel};

use crate::{
    exit::{Exit, Failure},
    output::Unit,
    session::Session,
    values::mark,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Fetch a model from the Hugging Face hub, unless it is there, and check it.
    ///
    /// By default all-MiniLM-L6-v2, into the user's cache directory, where databases look for it. `HF_ENDPOINT`
    /// names another server, `HF_TOKEN` a token for repositories that not everybody may read, and `HTTPS_PROXY` a
    /// proxy. What was interrupted goes on when it is called again.
    Download(Download),
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    /// Into this directory, for `model_path` or `PULSEDB_MODEL_DIR`.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Another BERT of sentence-transformers.
    #[arg(long, value_name = "OWNER/NAME", requires = "to")]
    repository: Option<String>,
    /// Its commit, tag or branch.
    #[arg(
        long,
        value_name = "NAME",
        requires = "repository",
        default_value = "main"
    )]
    revision: String,
    /// The SHA-256 that a file of it must have; the files that are named are all that is fetched.
    #[arg(long, value_name = "FILE=HEX", requires = "repository", value_parser = mark)]
    sha256: Vec<(String, String)>,
}

pub(crate) fn run(model: &Model, session: &Session) -> Result<Exit, Failure> {
    let Model::Download(download) = model;
    let model = match &download.repository {
        None => HubModel::default(),
        Some(repository) => HubModel {
            sha256: download.sha256.iter().cloned().collect(),
            ..HubModel::named(repository, &download.revision)
        },
    };
    let dir = match &download.to {
        Some(dir) => dir.clone(),
        None => Builtin::cache_dir().map_err(Failure::Command)?,
    };
    let progress = session.output.progress("download", Unit::Bytes);
    let done = model.with_env().download(&dir, |now| {
        progress.about(now.file);
        progress.show(now.bytes, now.total_bytes.unwrap_or(now.bytes));
    });
    drop(progress);
    let report = done.map_err(Failure::Command)?;
    session.output.print(&report, |out| {
        for file in &report.files {
            writeln!(out, "{}  {}  {} bytes", file.sha256, file.name, file.bytes)?;
        }
        match report.downloaded_bytes {
            0 => writeln!(out, "{} was there", report.dir.display()),
            bytes => writeln!(out, "{}: {bytes} bytes downloaded", report.dir.display()),
        }
    })?;
    Ok(Exit::Fine)
}
