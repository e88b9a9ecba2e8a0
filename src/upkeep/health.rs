//! Is everything as it should be, and what is to be done where it is not?
//!
//! Pure: what was seen of an open database goes in, a check for each thing comes out, with words for the person who
//! looks after it. Every bound stands here, with its reason. `db/observing.rs` does the looking.

use std::{io, path::PathBuf};

use crate::{
    error::PulseDBError,
    model::{CheckName, FileSystemSpace, FollowHealth, HealthCheck, HealthStatus, Timestamp},
    upkeep::checkpoint::Behind,
};

/// From here on, in percent, a queue or an index counts as nearly full: whoever looks every few seconds has time
/// to see it before callers wait.
const NEARLY_FULL_PERCENT: u64 = 80;
/// An index whose tail has this much of its bound, in percent, falls behind: what builds it has not kept up for a while.
const TAIL_PERCENT: u64 = 50;
/// With less room than for so many segments it is time to act: the next segments, a checkpoint, a graph, and what
/// compaction writes before it frees anything.
const ROOM_SEGMENTS: u64 = 8;
/// Files that the file system should still take: a busy database makes some dozens between two compactions.
const ROOM_INODES: u64 = 1_000;
/// With fewer, the next segment, checkpoint or graph may be the one that fails.
const LEAST_INODES: u64 = 16;
/// Rows whose words are not indexed that a search would have to read first: some 10 µs each, so a second.
const TEXT_TAIL_ROWS: u64 = 100_000;
/// The log may grow to so many times the bytes at which a checkpoint is made: writing one takes a while.
const CHECKPOINT_TIMES: u64 = 4;
/// Compaction looks at once when it is due; so many times over, it does not get to it.
const COMPACTION_TIMES: u64 = 8;
/// A reader is behind by microseconds; for so long, in milliseconds, something holds it up.
const FOLLOW_MS: u64 = 10_000;
/// A clock may step back so far, in milliseconds, when it is set right by the network.
const CLOCK_MS: i64 = 5_000;

/// A failure of work in the background, and when it was.
pub(crate) type Failure = Option<(Timestamp, PulseDBError)>;

/// What was seen of a database.
pub(crate) struct Seen {
    /// Now.
    pub(crate) now: Timestamp,
    /// What concerns a handle that writes.
    pub(crate) writer: Option<Writer>,
    /// What the file system has left, or why it did not say.
    pub(crate) space: io::Result<FileSystemSpace>,
    /// Bytes of a segment.
    pub(crate) segment_bytes: u64,
    /// What the open dropped.
    pub(crate) torn: Option<(PathBuf, u64, u64)>,
    /// Damage found by the open and since: how many places, and the first of them.
    pub(crate) damage: (usize, Option<(PathBuf, u64)>),
    /// Bytes of the longest tail of a vector index, and how many are allowed.
    pub(crate) vector_tail: (u64, u64),
    /// Why the last graph could not be built.
    pub(crate) build_failure: Failure,
    /// Rows whose words are not indexed.
    pub(crate) text_tail: u64,
    /// How far a reader has come.
    pub(crate) follow: Option<FollowHealth>,
    /// Time of the newest commit.
    pub(crate) last_write: Timestamp,
}

/// What was seen of the side that writes.
pub(crate) struct Writer {
    /// Why it stopped.
    pub(crate) stopped: Option<PulseDBError>,
    /// Bytes in the queue, and how many there may be.
    pub(crate) queued: (u64, u64),
    /// How far the newest checkpoint is behind; `None` while one is written.
    pub(crate) checkpoint: Option<Behind>,
    /// Why the last checkpoint could not be written.
    pub(crate) checkpoint_failure: Failure,
    /// How many times over compaction is due; `None` where it is left to calls.
    pub(crate) overdue: Option<u64>,
    /// Why the last compaction failed.
    pub(crate) compaction_failure: Failure,
}

/// A check for each thing that concerns the handle, in the order of [`CheckName::ALL`].
pub(crate) fn checks(seen: &Seen) -> Vec<HealthCheck> {
    let writer = seen.writer.as_ref();
    let mut checks = vec![writer_state(writer)];
    match &seen.space {
        Ok(space) => {
            checks.push(disk_space(space, seen.segment_bytes));
            checks.push(inodes(space));
        }
        Err(error) => checks.push(degraded(
            CheckName::DiskSpace,
            format!("the file system does not say what it has left: {error}"),
            "see that the database's directory is there and can be read",
        )),
    }
    checks.push(damage(seen));
    checks.push(vector_index(seen));
    checks.push(text_index(seen.text_tail));
    if let Some(writer) = writer {
        checks.push(checkpoint(writer));
        checks.push(compaction(writer));
    }
    checks.extend(seen.follow.as_ref().map(follow));
    checks.push(clock(seen.now, seen.last_write));
    checks
}

/// The worst of them.
pub(crate) fn worst(checks: &[HealthCheck]) -> HealthStatus {
    let all = checks.iter().map(|check| check.status);
    all.max().unwrap_or(HealthStatus::Healthy)
}

fn writer_state(writer: Option<&Writer>) -> HealthCheck {
    let name = CheckName::Writer;
    let Some(writer) = writer else {
        return healthy(name, "this handle only reads".into());
    };
    if let Some(error) = &writer.stopped {
        return unhealthy(
            name,
            format!("writing has stopped: {error}; reads go on"),
            &format!(
                "{}, then close the database and open it again",
                remedy(error)
            ),
        );
    }
    let (used, limit) = writer.queued;
    let message = format!("{used} of {limit} bytes wait for their commit");
    if percent(used, limit) >= NEARLY_FULL_PERCENT {
        return degraded(
            name,
            message,
            "send less at once, batch what belongs together, or raise config.max_queue_bytes",
        );
    }
    healthy(name, message)
}

fn disk_space(space: &FileSystemSpace, segment: u64) -> HealthCheck {
    let name = CheckName::DiskSpace;
    let free = space.free_bytes;
    let message = format!("{free} of {} bytes are free", space.total_bytes);
    let advice = "free space or enlarge the file system; compact gives back what is deleted, and \
                  backups are best kept elsewhere";
    if free < segment {
        unhealthy(
            name,
            format!("{message}; the next segment needs {segment}, and writing stops without it"),
            advice,
        )
    } else if free < segment.saturating_mul(ROOM_SEGMENTS) {
        degraded(name, message, advice)
    } else {
        healthy(name, message)
    }
}

fn inodes(space: &FileSystemSpace) -> HealthCheck {
    let name = CheckName::Inodes;
    if space.total_inodes == 0 {
        return healthy(name, "the file system has no limit of files".into());
    }
    let free = space.free_inodes;
    let message = format!("the file system can take {free} more files");
    let advice =
        "remove files that nobody needs, or move the database to a file system with more inodes";
    if free < LEAST_INODES {
        unhealthy(name, message, advice)
    } else if free < ROOM_INODES {
        degraded(name, message, advice)
    } else {
        healthy(name, message)
    }
}

fn damage(seen: &Seen) -> HealthCheck {
    let name = CheckName::Damage;
    if let (count, Some((file, offset))) = &seen.damage {
        let first = format!("{} at byte {offset}", file.display());
        return degraded(
            name,
            format!("{count} damaged places are known, the first in {first}"),
            "run verify to see all of it; restore the last backup, or salvage what can be read into a \
             new database; look after the medium before that",
        );
    }
    if let Some((file, offset, bytes)) = &seen.torn {
        return degraded(
            name,
            format!(
                "the open dropped {bytes} bytes of {} behind the last whole commit, at byte {offset}",
                file.display()
            ),
            "nothing: what was synced before it was acknowledged is there; the next open after a close says \
             no more of it",
        );
    }
    healthy(name, "no damage is known".into())
}

fn vector_index(seen: &Seen) -> HealthCheck {
    let name = CheckName::VectorIndex;
    let (bytes, limit) = seen.vector_tail;
    let message = format!("codes of rows in no graph take {bytes} of {limit} bytes at most");
    if let Some(failed) = failed(name, "a graph could not be built", &seen.build_failure) {
        return HealthCheck {
            status: if bytes > limit {
                HealthStatus::Unhealthy
            } else {
                failed.status
            },
            message: format!("{}; {message}", failed.message),
            ..failed
        };
    }
    let share = percent(bytes, limit);
    if share < TAIL_PERCENT {
        return healthy(name, message);
    }
    let advice = "give it time or more cores (config.hnsw.build_threads), record more slowly, or raise \
                  config.hnsw.max_tail_bytes; searches scan these rows, so they are slower and exact";
    if bytes > limit {
        return unhealthy(
            name,
            format!("{message}; recordings wait for the index"),
            advice,
        );
    }
    degraded(name, message, advice)
}

fn text_index(rows: u64) -> HealthCheck {
    let name = CheckName::TextIndex;
    let message = format!("the words of {rows} rows are not indexed yet");
    if rows > TEXT_TAIL_ROWS {
        return degraded(
            name,
            message,
            "wait for it: the next search by words reads them first; config.text.indexing has it done \
             from the open on",
        );
    }
    healthy(name, message)
}

fn checkpoint(writer: &Writer) -> HealthCheck {
    let name = CheckName::Checkpoint;
    let what = "a checkpoint could not be written";
    if let Some(failed) = failed(name, what, &writer.checkpoint_failure) {
        return failed;
    }
    let Some(behind) = &writer.checkpoint else {
        return healthy(name, "one is being written".into());
    };
    let message = format!(
        "an open would read {} bytes of the log; the next checkpoint is made at {}",
        behind.bytes, behind.due
    );
    if behind.bytes > behind.due.saturating_mul(CHECKPOINT_TIMES) {
        return degraded(
            name,
            message,
            "call checkpoint() to see why none is made; with config.retention, deleted collectives hold \
             them up",
        );
    }
    healthy(name, message)
}

fn compaction(writer: &Writer) -> HealthCheck {
    let name = CheckName::Compaction;
    let what = "the log could not be compacted";
    if let Some(failed) = failed(name, what, &writer.compaction_failure) {
        return failed;
    }
    match writer.overdue {
        None => healthy(name, "it is left to calls of compact()".into()),
        Some(times) if times >= COMPACTION_TIMES => degraded(
            name,
            format!("it is due {times} times over"),
            "raise config.compaction.bytes_per_second, or call compact() in a quiet hour; snapshots that \
             are held for long keep the log from shrinking",
        ),
        Some(_) => healthy(name, "it keeps up with what is deleted and replaced".into()),
    }
}

fn follow(follow: &FollowHealth) -> HealthCheck {
    let name = CheckName::Follow;
    if let Some(trouble) = &follow.trouble {
        return degraded(
            name,
            format!(
                "it cannot go on reading and shows what it had {} ms ago: {trouble}",
                follow.behind_ms
            ),
            "see that the files are there and can be read; it tries again by itself",
        );
    }
    let message = format!(
        "it is behind the writer for {} ms, by {} LSNs",
        follow.behind_ms, follow.behind_lsns
    );
    if follow.behind_ms >= FOLLOW_MS {
        return degraded(
            name,
            message,
            "give this process more CPU, or see why reading the log takes so long",
        );
    }
    healthy(name, message)
}

fn clock(now: Timestamp, last_write: Timestamp) -> HealthCheck {
    let name = CheckName::Clock;
    let back = last_write.as_millis().saturating_sub(now.as_millis());
    if back > CLOCK_MS {
        return degraded(
            name,
            format!("the system's clock is {back} ms behind the newest commit"),
            "set the clock right; until it has caught up, records get the time of the newest commit, and \
             expiry waits",
        );
    }
    healthy(name, "the system's clock agrees with the log".into())
}

/// What is said of work that failed.
fn failed(name: CheckName, what: &str, failure: &Failure) -> Option<HealthCheck> {
    let (at, error) = failure.as_ref()?;
    Some(degraded(
        name,
        format!("{what} at {at}: {error}"),
        &format!("{}; it is tried again by itself", remedy(error)),
    ))
}

/// What helps against an error.
fn remedy(error: &PulseDBError) -> &'static str {
    let PulseDBError::Io { source, .. } = error else {
        return match error {
            PulseDBError::Corrupted { .. } => {
                "run verify, and restore a backup or salvage what can be read"
            }
            PulseDBError::ReadOnly { .. } => "report what the application's log says of it",
            _ => "see what the message says",
        };
    };
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on the file system, or raise the quota"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let this process's user write to the database's directory and its files, and see that the file \
             system is mounted for writing"
        }
        _ => "look into the system's log for what the medium says, and run verify",
    }
}

/// How much of `limit` is used, in percent.
fn percent(used: u64, limit: u64) -> u64 {
    used.saturating_mul(100).checked_div(limit).unwrap_or(0)
}

fn healthy(name: CheckName, message: String) -> HealthCheck {
    HealthCheck {
        name,
        status: HealthStatus::Healthy,
        message,
        advice: None,
    }
}

fn degraded(name: CheckName, message: String, advice: &str) -> HealthCheck {
    HealthCheck {
        name,
        status: HealthStatus::Degraded,
        message,
        advice: Some(advice.to_owned()),
    }
}

fn unhealthy(name: CheckName, message: String, advice: &str) -> HealthCheck {
    HealthCheck {
        status: HealthStatus::Unhealthy,
        ..degraded(name, message, advice)
    }
}

#[cfg(test)]
mod tests;
