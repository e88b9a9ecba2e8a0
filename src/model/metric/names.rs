//! How is everything called that is measured?
//!
//! The one table: the store measures by these names, text formats and the `metrics` facade describe by it, and
//! `docs/metrics.md` shows it. Labels have few values, all of them known to this crate: a label with the names of
//! collectives would grow with them, in every recorder, for ever, and tell strangers how they are called.

use super::{
    MetricFamily,
    MetricKind::{self, Counter, Distribution, Gauge},
};

macro_rules! families {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(crate) const $constant: &str = $name;)+

        /// All metrics.
        pub(crate) const FAMILIES: &[MetricFamily] =
            &[$(family($name, $kind, &[$($label),*], $help)),+];
    };
}

const fn family(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricFamily {
    MetricFamily {
        name,
        kind,
        labels,
        help,
    }
}

families! {
    OPERATION_SECONDS Distribution "pulsedb_operation_seconds" ["operation", "plan"]
        "Time of a call, from its acceptance to its answer. Only searches have a plan.";
    COMMIT_SECONDS Distribution "pulsedb_commit_seconds" []
        "Time of a commit of a group of requests, from deciding to answering.";
    FSYNC_SECONDS Distribution "pulsedb_fsync_seconds" []
        "Time of a sync of the log, as the committer waits for it.";
    GROUP_REQUESTS Distribution "pulsedb_commit_group_requests" []
        "Requests that shared one commit.";
    COMMITTED_REQUESTS Counter "pulsedb_committed_requests_total" []
        "Requests that were decided and answered by the committer.";
    APPENDED_RECORDS Counter "pulsedb_log_appended_records_total" []
        "Records that were appended to the log.";
    APPENDED_BYTES Counter "pulsedb_log_appended_bytes_total" []
        "Bytes that were appended to the log.";
    ERRORS Counter "pulsedb_errors_total" ["kind"]
        "Calls that were answered with an error, and failures of work in the background.";
    SLOW_OPERATIONS Counter "pulsedb_slow_operations_total" []
        "Calls that took at least config.telemetry.slow_operation.";
    WATCH_EVENTS Counter "pulsedb_watch_events_total" []
        "Events that were delivered to watchers.";
    WATCH_LAGGED Counter "pulsedb_watch_lagged_total" []
        "Times that a watcher was slower than its channel and went on from the log.";
    WATCH_GAPS Counter "pulsedb_watch_gaps_total" []
        "Times that a watcher could not be told everything.";
    HEALTH_STATUS Gauge "pulsedb_health_status" ["check"]
        "0 healthy, 1 degraded, 2 unhealthy, for each check; `all` is the worst of them.";
    QUEUED_BYTES Gauge "pulsedb_queued_bytes" []
        "Bytes of requests that wait for their commit.";
    COLLECTIVES Gauge "pulsedb_collectives" []
        "Collectives.";
    ROWS Gauge "pulsedb_rows" []
        "Row numbers given out, to experiences, relations and insights; of those that are gone, too.";
    SEGMENTS Gauge "pulsedb_log_segments" []
        "Segments of the log.";
    LOG_BYTES Gauge "pulsedb_log_bytes" []
        "Bytes of the log's records.";
    LAST_WRITE Gauge "pulsedb_last_write_timestamp_seconds" []
        "Time of the newest commit, since 1970.";
    GRAPHS Gauge "pulsedb_index_graphs" []
        "Graphs of the vector indexes.";
    VECTOR_TAIL Gauge "pulsedb_index_tail_rows" []
        "Rows with vectors that are in no graph, which searches scan.";
    TEXT_TAIL Gauge "pulsedb_text_tail_rows" []
        "Rows whose words are not indexed yet, where somebody searches by words.";
    CHECKPOINT_BEHIND Gauge "pulsedb_checkpoint_behind_bytes" []
        "Bytes of the log behind the newest checkpoint, which an open would have to read.";
    DAMAGED Gauge "pulsedb_damaged_records" []
        "Places in the files that are known to be damaged.";
    WATCHERS Gauge "pulsedb_watch_subscriptions" []
        "Streams that watch.";
    FOLLOW_BEHIND Gauge "pulsedb_follow_behind_seconds" []
        "For how long a handle that only reads has been behind the writer.";
    DISK_FREE Gauge "pulsedb_disk_free_bytes" []
        "Bytes that the file system has left for this process.";
    DISK_TOTAL Gauge "pulsedb_disk_total_bytes" []
        "Bytes of the file system.";
    INODES_FREE Gauge "pulsedb_disk_free_inodes" []
        "Files that the file system can still take.";
}
