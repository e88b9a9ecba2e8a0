//! What do the commands of backups do?

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use pulsedb::{
    BackupCompression, BackupId, BackupInfo, BackupList, BackupOptions, BackupRetention, Lsn,
    PulseDBError, RestoreOptions, RestorePoint, Timestamp, blocking::PulseDB,
};

use crate::{
    arguments::{Backup, Compression, Create, Restore},
    commands::open,
    exit::{Exit, Failure},
    output::Output,
};

pub(crate) fn run(command: &Backup, output: &Output) -> Result<Exit, Failure> {
    match command {
        Backup::Create(create) => make(create, output),
        Backup::List { repository } => list(repository, output),
        Backup::Verify { repository, id } => verify(repository, *id, output),
        Backup::Restore(restore) => bring_back(restore, output),
        Backup::Prune {
            repository,
            keep_last,
            keep_days,
        } => {
            let retention = BackupRetention {
                keep_last: *keep_last,
                keep_days: *keep_days,
            };
            prune(repository, retention, output)
        }
    }
}

fn make(create: &Create, output: &Output) -> Result<Exit, Failure> {
    let db = open(&create.db)?;
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
    let progress = output.progress("backup");
    let bar = progress.clone();
    let tell = move |now: pulsedb::BackupProgress| bar.show_bytes(now.bytes, now.total_bytes);
    let made = db.backup_with(&create.repository, options, tell);
    drop(progress);
    let info = made.map_err(Failure::Command)?;
    output.print(&info, |out| print_info(out, &info))?;
    Ok(Exit::Fine)
}

fn list(repository: &Path, output: &Output) -> Result<Exit, Failure> {
    let list = found(repository)?;
    output.print(&list, |out| {
        for info in &list.backups {
            print_info(out, info)?;
        }
        print_unreadable(out, &list.unreadable)
    })?;
    Ok(outcome(list.unreadable.is_empty()))
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

fn verify(repository: &Path, id: Option<BackupId>, output: &Output) -> Result<Exit, Failure> {
    let id = chosen(repository, id)?;
    let progress = output.progress("verify");
    let bar = progress.clone();
    let tell = move |now: pulsedb::BackupProgress| bar.show_bytes(now.bytes, now.total_bytes);
    let verified = PulseDB::verify_backup_with(repository, id, tell);
    drop(progress);
    let report = verified.map_err(Failure::Command)?;
    output.print(&report, |out| {
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
    Ok(outcome(report.is_clean()))
}

fn bring_back(restore: &Restore, output: &Output) -> Result<Exit, Failure> {
    let at_lsn = restore
        .until_lsn
        .map(|lsn| RestorePoint::Lsn(Lsn::new(lsn)));
    let at_time = restore
        .until_ms
        .map(|ms| RestorePoint::Time(Timestamp::from_millis(ms)));
    let until = at_lsn.or(at_time);
    let progress = output.progress("restore");
    let bar = progress.clone();
    let tell = move |now: pulsedb::BackupProgress| bar.show_bytes(now.bytes, now.total_bytes);
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
    output.print(&report, |out| {
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

fn prune(repository: &Path, retention: BackupRetention, output: &Output) -> Result<Exit, Failure> {
    found(repository)?;
    let report = PulseDB::prune_backups(repository, retention).map_err(Failure::Command)?;
    output.print(&report, |out| {
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
    Ok(outcome(report.unreadable.is_empty()))
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
        Failure::Command(PulseDBError::Validation {
            field: "id".to_owned(),
            value: "none".to_owned(),
            limit: format!("{} holds no backup that can be read", repository.display()),
        })
    })
}

fn outcome(is_fine: bool) -> Exit {
    if is_fine { Exit::Fine } else { Exit::Damage }
}
