//! How is the database, as the application asks it?
//!
//! What is looked at stands here; what is said of it in `upkeep/health.rs`, and how it is measured in `telemetry/`.

use crate::{
    db::{
        PulseDB,
        engine::{Engine, stopped_error},
    },
    error::Result,
    format::RowKind,
    model::{CheckpointDiagnosis, FileSystemSpace, GaugeValue, Health, Labels, Metrics, names},
    protocol::queue::Stopped,
    sync::Arc,
    telemetry::{About, Operation},
    upkeep::health::{self, Seen, Writer},
    write::{pipeline::View, request::Change},
};

/// Observing.
impl PulseDB {
    /// Whether everything is as it should be, a check for each thing that may not be: whether commits go on, room on
    /// the file system, damage found by the open and by reads since, how far indexes, checkpoints and compaction
    /// are behind, how far a handle that only reads is behind the writer, and the clock. Each says what was found
    /// and, where something is to be done, what. It looks at counters and asks the file system; it reads no file.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{CheckName, Config, EmbeddingDimension, HealthStatus, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let health = db.health_check()?;
    /// for check in &health.checks {
    ///     println!("{} {}: {}", check.status, check.name, check.message);
    ///     if let Some(advice) = &check.advice {
    ///         println!("  {advice}");
    ///     }
    /// }
    /// let writer = health.check(CheckName::Writer).unwrap();
    /// assert_eq!(writer.status, HealthStatus::Healthy);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Closed`](crate::PulseDBError::Closed).
    pub async fn health_check(&self) -> Result<Health> {
        Ok(self.engine().examine()?.health)
    }

    /// What the store has measured since it was opened: how often and how long for each operation, what the committer
    /// and the watchers did, and how large things are now. [`Metrics::families`] says what there is.
    ///
    /// The same goes to the recorder of the [`metrics`](https://docs.rs/metrics) facade, if the application has
    /// installed one: counters and times as they happen, present sizes with each call of this.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, NewExperience, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// db.record_experience(NewExperience {
    ///     embedding: Some(vec![0.6, 0.8]),
    ///     ..NewExperience::new(team, "agent-1", "Measure before you tune.")
    /// })?;
    /// let metrics = db.metrics()?;
    /// let records = metrics
    ///     .distribution("pulsedb_operation_seconds", &[("operation", "record")])
    ///     .unwrap();
    /// assert_eq!(records.count, 1);
    /// println!("{}", metrics.to_prometheus());
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Closed`](crate::PulseDBError::Closed).
    pub async fn metrics(&self) -> Result<Metrics> {
        let engine = self.engine();
        let examined = engine.examine()?;
        let mut gauges = engine.sizes(&examined);
        let health = examined.health;
        let mut say = |name, value| gauges.push(gauge(name, Labels::new(), value));
        let damaged = health.recovery.damaged.len() + health.damaged.len();
        say(names::DAMAGED, damaged as f64);
        say(names::QUEUED_BYTES, health.queued_bytes as f64);
        if let Some(follow) = &health.follow {
            say(names::FOLLOW_BEHIND, follow.behind_ms as f64 / 1e3);
        }
        let status = |check: &'static str, status| {
            let labels = Labels::from([("check".into(), check.into())]);
            gauge(names::HEALTH_STATUS, labels, f64::from(status as u8))
        };
        gauges.push(status("all", health.status));
        let checks = health.checks.iter();
        gauges.extend(checks.map(|one| status(one.name.as_str(), one.status)));
        Ok(engine.telemetry.metrics(engine.env.now(), gauges))
    }
}

impl Engine {
    /// Looks at everything that health depends on.
    pub(super) fn examine(&self) -> Result<Examined> {
        let view = self.reader()?.view;
        let found = &self.report.damaged;
        let mut damaged = view.segments.damage().list();
        damaged.retain(|(file, at, _)| {
            !found
                .iter()
                .any(|(known, place, _)| (known, place) == (file, at))
        });
        let stopped = self.committer.as_ref().and_then(|c| c.stopped());
        let failure = match &stopped {
            Some(Stopped::Poisoned(failure)) => Some(failure.clone()),
            _ => None,
        };
        let queued_bytes = self.admission.used_bytes() as u64;
        let writer = self.committer.as_ref().map(|_| Writer {
            stopped: failure,
            queued: (queued_bytes, self.config.max_queue_bytes as u64),
            checkpoint: self.checkpoints.behind(&view, self.config.checkpoint_bytes),
            checkpoint_failure: self.telemetry.failure_of(Operation::Checkpoint),
            overdue: self.compaction_overdue(),
            compaction_failure: self.telemetry.failure_of(Operation::Compaction),
        });
        let follow = self.follower.as_ref().map(|one| one.health());
        let first = found.first().or(damaged.first());
        let seen = Seen {
            now: self.env.now(),
            writer,
            space: self.vfs.space(&self.path),
            segment_bytes: self.config.segment_bytes,
            torn: self.report.torn.clone(),
            damage: (
                found.len() + damaged.len(),
                first.map(|(file, at, _)| (file.clone(), *at)),
            ),
            vector_tail: (
                self.longest_tail(&view),
                self.config.hnsw.max_tail_bytes as u64,
            ),
            build_failure: self.telemetry.failure_of(Operation::IndexBuild),
            text_tail: text_tail(&view),
            follow: follow.clone(),
            last_write: view.newest.time,
        };
        let checks = health::checks(&seen);
        let health = Health {
            status: health::worst(&checks),
            checks,
            poisoned: stopped.map(|stopped| stopped_error(stopped).to_string()),
            recovery: self.report.clone(),
            damaged,
            queued_bytes,
            follow,
        };
        Ok(Examined { view, seen, health })
    }

    /// How many times over compaction is due; `None` where it is left to calls.
    fn compaction_overdue(&self) -> Option<u64> {
        let sights = self.sights().filter(|_| self.compaction.is_automatic())?;
        Some(self.compaction.overdue(&sights))
    }

    /// Bytes of codes of the longest tail that a builder has to take in.
    fn longest_tail(&self, view: &View) -> u64 {
        let indexed = view.tables.iter().filter(|table| table.dimension > 0);
        let lengths = indexed.map(|table| self.indexing.tail_bytes(table));
        lengths.max().unwrap_or(0)
    }

    /// Present sizes.
    fn sizes(&self, examined: &Examined) -> Vec<GaugeValue> {
        let view = &examined.view;
        let (mut rows, mut graphs, mut tail) = (0, 0, 0);
        for table in view.tables.iter() {
            rows += u64::from(table.row_count());
            graphs += table.vectors.state().graphs.len() as u64;
            if table.dimension > 0 {
                tail += u64::from(table.tail_rows());
            }
        }
        let segments = view.segments.segments();
        let log_bytes: u64 = segments.iter().map(|segment| segment.end()).sum();
        let mut sizes = vec![
            (names::COLLECTIVES, view.tables.len() as f64),
            (names::ROWS, rows as f64),
            (names::SEGMENTS, segments.len() as f64),
            (names::LOG_BYTES, log_bytes as f64),
            (names::LAST_WRITE, view.newest.time.as_millis() as f64 / 1e3),
            (names::GRAPHS, graphs as f64),
            (names::VECTOR_TAIL, tail as f64),
            (names::TEXT_TAIL, text_tail(view) as f64),
            (names::WATCHERS, self.hub.count().1 as f64),
        ];
        if let Some(checkpoint) = examined.checkpoint() {
            sizes.push((names::CHECKPOINT_BEHIND, checkpoint.behind_bytes as f64));
        }
        if let Ok(space) = &examined.seen.space {
            sizes.push((names::DISK_FREE, space.free_bytes as f64));
            sizes.push((names::DISK_TOTAL, space.total_bytes as f64));
            if space.total_inodes > 0 {
                sizes.push((names::INODES_FREE, space.free_inodes as f64));
            }
        }
        let sizes = sizes.into_iter();
        sizes
            .map(|(name, value)| gauge(name, Labels::new(), value))
            .collect()
    }
}

/// What was looked at, and what health says of it.
pub(super) struct Examined {
    view: Arc<View>,
    seen: Seen,
    /// What is told of it.
    pub(super) health: Health,
}

impl Examined {
    /// What the file system has left, if it said.
    pub(super) fn space(&self) -> Option<FileSystemSpace> {
        self.seen.space.as_ref().ok().cloned()
    }

    /// The newest checkpoint of a handle that writes; `None` while one is being written.
    pub(super) fn checkpoint(&self) -> Option<CheckpointDiagnosis> {
        let behind = self.seen.writer.as_ref()?.checkpoint.as_ref()?;
        Some(CheckpointDiagnosis {
            lsn: behind.newest.map(|newest| newest.lsn),
            file_bytes: behind.newest.map_or(0, |newest| newest.bytes),
            behind_bytes: behind.bytes,
            due_bytes: behind.due,
        })
    }
}

fn gauge(name: &'static str, labels: Labels, value: f64) -> GaugeValue {
    GaugeValue {
        name: name.into(),
        labels,
        value,
    }
}

/// Rows whose words are not indexed yet, where somebody searches by words.
fn text_tail(view: &View) -> u64 {
    let tables = view.tables.iter();
    tables.map(|table| u64::from(table.text_tail_rows())).sum()
}

/// What a request does, by its first change.
pub(super) fn about(changes: &[Change], is_transaction: bool) -> About {
    if is_transaction {
        return Operation::Transaction.into();
    }
    let several = changes.len() > 1;
    let record = if several {
        Operation::RecordBatch
    } else {
        Operation::Record
    };
    let Some(first) = changes.first() else {
        return Operation::Flush.into();
    };
    match first {
        Change::Record(one) if one.row_kind == RowKind::Insight => {
            Operation::ChangeInsight.of(one.collective)
        }
        Change::Record(one) => record.of(one.collective),
        Change::RecordChecked(checked) => record.of(checked.embedded.collective),
        Change::Supersede(_, one, _) => Operation::Supersede.of(one.collective),
        Change::Update(..) | Change::SetTag(..) => Operation::Update.into(),
        Change::SetArchived(..) | Change::ArchiveCold { .. } => Operation::Archive.into(),
        Change::Reinforce(_) => Operation::Reinforce.into(),
        Change::Delete(_) | Change::Erase(_) => Operation::Delete.into(),
        Change::Expire(_) => Operation::Expire.into(),
        Change::Import(one, _) | Change::ImportInsight(one) => Operation::Import.of(one.collective),
        Change::ImportRelation(_) | Change::RestoreCollective(_) => Operation::Import.into(),
        Change::CreateCollective { .. } => Operation::ChangeCollective.into(),
        Change::SetDecay(id, _) | Change::DeleteCollective(id) => {
            Operation::ChangeCollective.of(*id)
        }
        Change::Relate(..) | Change::DeleteRelation(_) => Operation::ChangeRelation.into(),
        Change::DeleteInsight(_) => Operation::ChangeInsight.into(),
        Change::Activity(id, ..) => Operation::ChangeActivity.of(*id),
        Change::BeginReembedding(id, ..)
        | Change::EndReembedding(id, ..)
        | Change::CancelReembedding(id) => Operation::Reembed.of(*id),
        Change::Embed(one) => Operation::Reembed.of(one.collective),
        Change::Flush => Operation::Flush.into(),
    }
}
