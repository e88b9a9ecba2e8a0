//! What do the commands of backups do?

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use pulsedb::{
    BackupCompression, BackupId, BackupInfo, BackupList, BackupOptions, BackupRetention, Lsn,
    RestoreOptions, RestorePoint, Timestamp, blocking::PulseDB,
};

use crate::{
    exit::{Exit, Failure},
    output::Unit,
    session::{Session, Texts},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Copy the database into a repository of backups: what is new since the last one.
    Create(Create),
    /// List the backups of a repository, the oldest first.
    List {
        /// Its directory.
        repository: PathBuf,
    },
    /// Read all of a backup and list what is damaged.
    Verify {
        /// The directory of the repository.
        repository: PathBuf,
        /// Which backup; the newest by default.
        #[arg(long)]
        id: Option<BackupId>,
    },
    /// Make a database of a backup.
    Restore(Restore),
    /// Remove the backups that neither of both keeps.
    Prune {
        /// The directory of the repository.
        repository: PathBuf,
        /// Keep so many of the newest.
        #[arg(long, value_name = "BACKUPS", default_value_t = 0)]
        keep_last: u32,
        /// Keep those that are not older.
        #[arg(long, value_name = "DAYS", default_value_t = 0)]
        keep_days: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The database's directory.
    db: PathBuf,
    /// The directory of the repository, made if it does not exist.
    repository: PathBuf,
    /// Copy everything again, whatever the repository holds.
    #[arg(long)]
    full: bool,
    /// How what is new is stored.
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Share no blocks with the database, also where the file system could.
    #[arg(long)]
    copy: bool,
    /// Most MiB of log that are copied a second; 0 for no limit.
    #[arg(long, value_name = "MIB")]
    mib_per_second: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Compression {
    /// As it is in the log.
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The directory of the repository.
    repository: PathBuf,
    /// A directory that does not exist or is empty.
    dest: PathBuf,
    /// Which backup. By default the newest; with a point, the first that reaches it.
    #[arg(long)]
    id: Option<BackupId>,
    /// Leave out what was committed behind this LSN.
    #[arg(long, value_name = "LSN", conflicts_with = "until_ms")]
    until_lsn: Option<u64>,
    /// Leave out what was committed after this moment, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    until_ms: Option<i64>,
    /// Make another database of it, for use beside the original.
    #[arg(long)]
    fork: bool,
}

pub(crate) fn run(command: &Backup, session: &Session) -> Result<Exit, Failure> {
    match command {
        Backup::Create(create) => make(create, session),
        Backup::List { repository } => list(repository, session),
        Backup::Verify { repository, id } => verify(repository, *id, session),
        Backup::Restore(restore) => bring_back(restore, session),
        Backup::Prune {
            repository,
            keep_last,
            keep_days,
        } => {
            let retention = BackupRetention {
                keep_last: *keep_last,
                keep_days: *keep_days,
            };
            prune(repository, retention, session)
        }
    }
}

fn make(create: &Create, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(&create.db, Texts::Plain)?;
    let options = BackupOptions {
        full: create.full,
        compression: match create.compression {
            Compression::None => BackupCompression::None,
            Compression::Lz4 => BackupCompression::Lz4,
            Compression::Zstd => BackupCompression::Zstd,
        },
        share: !create.copy,
        bytes_per_second: match create.mib_per_second {
            Some(rate) => rate.saturating_mul(1024 * 1024),
            None => BackupOptions::default().bytes_per_second,
        },
    };
    let progress = session.output.progress("backup", Unit::Bytes);
    let bar = progress.clone();
    let tell = move |now: pulsedb::BackupProgress| bar.show(now.bytes, now.total_bytes);
    let made = db.backup_with(&create.repository, options, tell);
    drop(progress);
    let info = made.map_err(Failure::Command)?;
    session.output.print(&info, |out| print_info(out, &info))?;
    Ok(Exit::Fine)
}

fn list(repository: &Path, session: &Session) -> Result<Exit, Failure> {
    let list = found(repository)?;
    session.output.print(&list, |out| {
        for info in &list.backups {
            print_info(out, info)?;
        }
        print_unreadable(out, &list.unreadable)
    })?;
    Ok(Exit::of(list.unreadable.is_empty()))
}

fn print_info(out: &mut dyn Write, info: &BackupInfo) -> io::Result<()> {
    writeln!(
        out,
        "{}  made {}, {}, LSN {} to {}, {} bytes of log, {} of them new, {} stored",
        info.id,
        info.created_at,
        if info.parent.is_some() {
            "incremental"
        } else {
            "full"
        },
        info.history_from,
        info.cursor.lsn,
        info.bytes,
        info.new_bytes,
        info.stored_bytes
    )
}

fn print_unreadable(out: &mut dyn Write, list: &[(PathBuf, String)]) -> io::Result<()> {
    for (file, why) in list {
        writeln!(out, "unreadable {}: {why}", file.display())?;
    }
    Ok(())
}

fn verify(repository: &Path, id: Option<BackupId>, session: &Session) -> Result<Exit, Failure> {
    let id = chosen(repository, id)?;
    let progress = session.output.progress("verify", Unit::Bytes);
    let bar = progress.clone();
    let tell = move |now: pulsedb::BackupProgress| bar.show(now.bytes, now.total_bytes);
    let verified = PulseDB::verify_backup_with(repository, id, tell);
    drop(progress);
    let report = verified.map_err(Failure::Command)?;
    session.output.print(&report, |out| {
        writeln!(
            out,
            "backup {id}: {} pieces, {} bytes of log",
            report.pieces, report.bytes
        )?;
        for (file, what) in &report.damaged {
            writeln!(out, "damaged {}: {what}", file.display())?;
        }
        match report.is_clean() {
            true => writeln!(out, "everything is as it was written"),
            false => writeln!(
                out,
                "it cannot be restored; `pulsedb backup create --full` copies everything again"
            ),
        }
    })?;
    Ok(Exit::of(report.is_clean()))
}

fn bring_back(restore: &Restore, session: &Session) -> Result<Exit, Failure> {
    let at_lsn = restore
        .until_lsn
        .map(|lsn| RestorePoint::Lsn(Lsn::new(lsn)));
    let at_time = restore
        .until_ms
        .map(|ms| RestorePoint::Time(Timestamp::from_millis(ms)));
    let until = at_lsn.or(at_time);
    let progress = session.output.progress("restore", Unit::Bytes);
    let bar = progress.clone();
    let tell = move |now: pulsedb::BackupProgress| bar.show(now.bytes, now.total_bytes);
    let (repository, to) = (&restore.repository, &restore.dest);
    let done = match (restore.id, until) {
        // The first backup that reaches the point.
        (None, Some(point)) if !restore.fork => PulseDB::restore_until(repository, point, to),
        (id, until) => {
            let id = chosen(repository, id)?;
            let options = RestoreOptions {
                until,
                as_fork: restore.fork,
            };
            PulseDB::restore_with(repository, id, to, options, tell)
        }
    };
    drop(progress);
    let report = done.map_err(Failure::Command)?;
    session.output.print(&report, |out| {
        writeln!(
            out,
            "{}: database {} up to LSN {}, {} bytes in {} segments, out of backup {}",
            to.display(),
            report.instance_id,
            report.lsn,
            report.bytes,
            report.segments,
            report.backup
        )
    })?;
    Ok(Exit::Fine)
}

fn prune(
    repository: &Path,
    retention: BackupRetention,
    session: &Session,
) -> Result<Exit, Failure> {
    found(repository)?;
    let report = PulseDB::prune_backups(repository, retention).map_err(Failure::Command)?;
    session.output.print(&report, |out| {
        writeln!(
            out,
            "{} backups removed, {} kept; {} files, {} bytes given back",
            report.removed.len(),
            report.kept.len(),
            report.pieces_removed,
            report.bytes_removed
        )?;
        print_unreadable(out, &report.unreadable)
    })?;
    Ok(Exit::of(report.unreadable.is_empty()))
}

/// The backups of the repository.
fn found(repository: &Path) -> Result<BackupList, Failure> {
    PulseDB::list_backups(repository).map_err(|error| Failure::Open(repository.to_owned(), error))
}

/// The backup that was asked for, or the newest.
fn chosen(repository: &Path, id: Option<BackupId>) -> Result<BackupId, Failure> {
    if let Some(id) = id {
        return Ok(id);
    }
    let newest = found(repository)?.backups.pop();
    newest.map(|info| info.id).ok_or_else(|| {
        let limit = format!("{} holds no backup that can be read", repository.display());
        Failure::wrong("id", "none", limit)
    })
}
