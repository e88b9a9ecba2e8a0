//! What was asked for on the command line?

use std::path::PathBuf;

use pulsedb::CollectiveId;

use crate::Outcome;

pub(crate) const HELP: &str = "\
cargo xtask demo [DIR] [--limit N] [--keep]

  DIR        remember the Markdown and the git history of DIR
             (otherwise: the crates in the local cargo registry)
  --limit N  passages to remember, 1 to 100000 (2000)
  --keep     leave the database there at the end";

/// Embedding is what takes the time: at a hundred passages a second this is twenty seconds.
const LIMIT: usize = 2_000;

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) limit: usize,
    pub(crate) keep: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Mode {
    Help,
    Play(Options),
    /// What the demo calls itself as, to have somebody to kill.
    Victim {
        path: PathBuf,
        collective: CollectiveId,
    },
}

pub(crate) const VICTIM: &str = "--victim";

pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Outcome<Mode> {
    let mut options = Options {
        dir: None,
        limit: LIMIT,
        keep: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Mode::Help),
            "--keep" => options.keep = true,
            "--limit" => {
                let given = arguments.next().unwrap_or_default();
                options.limit = given
                    .parse()
                    .ok()
                    .filter(|limit| (1..=100_000).contains(limit))
                    .ok_or_else(|| {
                        format!("--limit takes a number from 1 to 100000, not `{given}`")
                    })?;
            }
            VICTIM => {
                let path = arguments.next().ok_or("a victim needs a database")?.into();
                let collective = arguments
                    .next()
                    .ok_or("a victim needs a collective")?
                    .parse()?;
                return Ok(Mode::Victim { path, collective });
            }
            flag if flag.starts_with('-') => {
                return Err(format!("there is no option `{flag}`\n\n{HELP}").into());
            }
            dir if options.dir.is_none() => {
                let path = PathBuf::from(dir);
                if !path.is_dir() {
                    return Err(format!("{dir} is not a directory").into());
                }
                options.dir = Some(path);
            }
            extra => return Err(format!("`{extra}` is one argument too many\n\n{HELP}").into()),
        }
    }
    Ok(Mode::Play(options))
}
