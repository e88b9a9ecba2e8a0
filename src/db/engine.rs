//! What does an open database consist of, and how does it start and end?
//!
//! The wiring: recovered files, tables, committer, pools, hub. Start: lock → manifest → map → checkpoint
//! → replay of what is behind it → threads. End: the queue stops, the committer's thread drains it, ends the log and releases the
//! lock last; whoever closes or reopens waits for its latch. Dropping the last handle starts the same
//! end and waits for nothing.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    config::{Config, RetentionConfig, TextIndexing},
    db::{
        following,
        tail::CommitterTail,
        telling::{TellHub, ToldByFollower},
        tending::BesideCommits,
    },
    edge::{admission::Admission, block_on::block_on, gate::Gate, pool, pool::Pool, registry},
    embed::{Cached, Embedder},
    env::Env,
    error::{PulseDBError, Result},
    log::SegmentSet,
    manifest::ManifestStore,
    model::{Cursor, ExperienceId, InstanceId, Lsn, RecoveryReport},
    protocol::{
        commit::{Committer, Pipeline},
        publish::Published,
        queue::Stopped,
        stop::Latch,
    },
    read::{point::Point, reader::Reader},
    state::{
        IdIndex, KeyIndex, Newest,
        retention::{Note, Retention},
    },
    sync::{Arc, atomic::AtomicU64},
    telemetry::Telemetry,
    upkeep::{
        background::{Background, Intervals},
        checkpoint::{Checkpoints, Written},
        compaction::{self, Compactor},
        derive::{self, Derived},
        expiry::Expiry,
        follow::{self, Follower},
        indexing::Indexing,
        recover,
        task::Tasks,
        wording::Wording,
    },
    vector::store::GraphFiles,
    vfs::{Vfs, VfsLock},
    watch::{
        bell::Bell,
        hub::{self, Hub},
        relay::Relay,
    },
    write::{
        pipeline::{Parts, Upkeep, View, WritePipeline},
        sequence::Sequencer,
        validate,
    },
};

/// Everything that the handles of one open database share.
pub(crate) struct Engine {
    pub(crate) path: PathBuf,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) config: Config,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) instance: InstanceId,
    pub(crate) report: RecoveryReport,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) manifest: Arc<ManifestStore>,
    pub(crate) embedder: Option<Arc<Cached>>,
    pub(crate) published: Arc<Published<View>>,
    pub(crate) keys: Arc<KeyIndex>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) hub: Arc<Hub>,
    pub(crate) readers: Arc<Pool>,
    pub(crate) admission: Admission,
    /// `None` where the database was opened for reading.
    pub(crate) committer: Option<Committer<WritePipeline>>,
    pub(crate) tasks: Arc<Tasks>,
    background: Arc<Background>,
    pub(crate) compactor: Arc<Compactor>,
    pub(super) compaction: Arc<compaction::Worker>,
    pub(super) deaths: Arc<AtomicU64>,
    pub(crate) indexing: Arc<Indexing>,
    pub(crate) wording: Arc<Wording>,
    /// Where recordings wait for the builders of graphs.
    pub(crate) index_room: Arc<Gate>,
    pub(super) expiry: Expiry,
    /// Of a handle that only reads.
    pub(crate) follower: Option<Arc<Follower>>,
    /// Of a handle that only reads, or whose watchers its commits do not tell.
    pub(crate) bell: Option<Arc<Bell>>,
    /// Tells the watchers of a writer, where its commits do not.
    pub(super) relay: Option<Arc<Relay>>,
    closing: AtomicBool,
    /// Opens when the end is asked for.
    asked_to_end: Latch<()>,
    /// Opens when everything has ended, saying how.
    pub(super) ended: Arc<Latch<Result<()>>>,
}

impl Engine {
    /// Opens or creates the database at `path`. Blocks; for a thread that may.
    pub(crate) fn open(
        path: &Path,
        config: Config,
        embedder: Option<Arc<dyn Embedder>>,
        vfs: &Arc<dyn Vfs>,
        env: Arc<dyn Env>,
    ) -> Result<Arc<Self>> {
        check(&config)?;
        let telemetry = Arc::new(Telemetry::new(Arc::clone(&env), config.telemetry));
        let keeps_history = config.retention != RetentionConfig::default();
        let options = recover::OpenOptions {
            read_only: config.read_only,
            sync_mode: config.sync_mode,
            segment_bytes: config.segment_bytes,
            segment_pool: config.segment_pool,
        };
        let Derived {
            recovered,
            applier,
            base,
            trimmed,
        } = derive::open(vfs, &env, path, &options, keeps_history)?;
        let report = recovered.report;
        let keys = Arc::clone(applier.keys());
        let newest = Newest {
            time: recovered.last_time.max(applier.newest().time),
            ..applier.newest()
        };
        let published = Arc::new(Published::new(Arc::new(View {
            cursor: Cursor {
                timeline: recovered.timeline,
                lsn: report.last_lsn,
            },
            tables: Arc::clone(applier.tables()),
            ids: Arc::clone(applier.ids()),
            newest,
            segments: Arc::clone(&recovered.segments),
        })));
        let shown = Arc::clone(&published);
        let newest_lsn = move || shown.load().map_or(Lsn::ZERO, |view| view.lsn());
        let tasks = Arc::new(Tasks::new(
            Arc::clone(&env),
            config.upkeep,
            Box::new(newest_lsn),
        ));
        let index_room = Arc::new(Gate::default());
        let told = Arc::clone(&index_room);
        let indexing = Arc::new(Indexing::new(
            GraphFiles::new(Arc::clone(vfs), path),
            recovered.instance_id,
            config.hnsw.clone(),
            !config.read_only,
            Arc::clone(&tasks),
            Arc::clone(&telemetry),
            Box::new(move || told.changed()),
        ));
        let told = Arc::clone(&index_room);
        let wording = Arc::new(Wording::new(
            config.text.clone(),
            Arc::clone(&tasks),
            Box::new(move || told.changed()),
        ));
        let manifest = Arc::clone(&recovered.manifest);
        let hub = Arc::new(Hub::new(hub::Parts {
            capacity: config.watch_config.buffer_size,
            instance: recovered.instance_id,
            published: Arc::clone(&published),
            history_begins: recovered.manifest.current().retained_from,
            forks: Box::new(move || manifest.current().forks),
            follows: config.read_only,
            telemetry: Arc::clone(&telemetry),
        }));
        let relayed = !config.read_only && !config.watch_config.in_process;
        let relay = relayed.then(|| {
            let newest = Cursor {
                timeline: recovered.timeline,
                lsn: report.last_lsn,
            };
            Arc::new(Relay::new(Arc::clone(&hub), newest))
        });
        let bell = following::bell_of_commits(path, relay.as_ref())?;
        let compactor = Arc::new(Compactor::new(compaction::Parts {
            vfs: Arc::clone(vfs),
            env: Arc::clone(&env),
            dir: recovered.log_dir,
            manifest: Arc::clone(&recovered.manifest),
            pool: recovered.pool.clone(),
            segment_bytes: config.segment_bytes,
            config: config.compaction,
            telemetry: Arc::clone(&telemetry),
        }));
        let deaths = Arc::clone(applier.deaths());
        let manifest = Arc::clone(&recovered.manifest);
        let background = Arc::new(Background::new(
            Arc::clone(applier.ids()),
            recovered.pool,
            Arc::clone(&tasks),
            Intervals::of(&config),
        ));
        let mut applier = Some(applier);
        let committer = recovered
            .writer
            .zip(applier.take_if(|_| !options.read_only));
        let committer = committer.map(|(log, applier)| {
            let sequencer =
                Sequencer::new(log.next_lsn(), newest.time, newest.id, Arc::clone(&env));
            Committer::new(WritePipeline::new(Parts {
                log,
                sequencer,
                applier,
                published: Arc::clone(&published),
                timeline: recovered.timeline,
                sync_mode: config.sync_mode,
                retention: retained(&config.retention, &recovered.segments),
                lag: retained(
                    &RetentionConfig {
                        bytes: config.watch_config.max_lag_bytes,
                        ..RetentionConfig::default()
                    },
                    &recovered.segments,
                ),
                trimmed,
                log_bytes: log_bytes(&recovered.segments),
                broadcast: Box::new(TellHub {
                    hub: Arc::clone(&hub),
                    relay: relay.clone().zip(bell.clone()),
                }),
                upkeep: Box::new(HandOver(Arc::clone(&background))),
                telemetry: Arc::clone(&telemetry),
            }))
        });
        let covered = base.as_ref().and_then(|base| {
            let lsn = base.header().lsn;
            Some(Written {
                lsn,
                bytes: base.len(),
                covered: recovered.segments.covered(lsn)?,
            })
        });
        let checkpoints = Checkpoints::new(
            Arc::clone(vfs),
            path,
            Arc::clone(&recovered.manifest),
            recovered.instance_id,
            covered,
        );
        let follower = applier.map(|applier| {
            Follower::new(follow::Parts {
                vfs: Arc::clone(vfs),
                env: Arc::clone(&env),
                path: path.to_owned(),
                log_dir: path.join(recover::LOG_DIR),
                options,
                instance: recovered.instance_id,
                manifest: Arc::clone(&manifest),
                applier,
                published: Arc::clone(&published),
                audience: Box::new(ToldByFollower(Arc::clone(&hub))),
            })
            .map(Arc::new)
        });
        let follower = follower.transpose()?;
        let bell = following::bell_of_tail(&**vfs, path, follower.as_ref())?.or(bell);
        let cache_bytes = config.cache_bytes();
        let engine = Arc::new(Self {
            path: path.to_owned(),
            vfs: Arc::clone(vfs),
            admission: Admission::new(config.max_queue_bytes, config.write_timeout),
            readers: Arc::new(Pool::start("read", config.read_threads)?),
            config,
            env,
            instance: recovered.instance_id,
            report,
            telemetry,
            manifest: recovered.manifest,
            embedder: embedder.map(|one| Arc::new(Cached::new(one, cache_bytes))),
            published,
            keys,
            checkpoints,
            hub,
            committer,
            background,
            compaction: Arc::new(compaction::Worker::new(
                Arc::clone(&compactor),
                Arc::clone(&tasks),
            )),
            tasks,
            compactor,
            deaths,
            indexing,
            wording,
            index_room,
            expiry: Expiry::default(),
            follower,
            bell,
            relay,
            closing: AtomicBool::new(false),
            asked_to_end: Latch::default(),
            ended: Arc::default(),
        });
        engine.start(recovered.lock)?;
        Ok(engine)
    }

    fn start(self: &Arc<Self>, lock: Option<Box<dyn VfsLock>>) -> Result<()> {
        if self.follower.is_some() {
            return self.start_following();
        }
        let background = Arc::clone(&self.background);
        let published = Arc::clone(&self.published);
        let duties = BesideCommits(Arc::downgrade(self));
        pool::spawn("upkeep", move || {
            let newest = || published.load().map_or(Lsn::ZERO, |view| view.lsn());
            background.run(newest, &duties);
        })?;
        if self.background.flushes() {
            let background = Arc::clone(&self.background);
            let duties = BesideCommits(Arc::downgrade(self));
            pool::spawn("flush", move || background.run_flushes(&duties))
                .inspect_err(|_| self.end_beside())?;
        }
        let worker = Arc::clone(&self.compaction);
        let tail = CommitterTail(Arc::downgrade(self));
        pool::spawn_beside("compact", move || {
            worker.run(&tail, &|| tail.sights());
        })
        .inspect_err(|_| {
            self.compaction.not_started();
            self.end_beside();
        })?;
        if self.config.text.indexing == TextIndexing::Always {
            self.index_words().inspect_err(|_| self.end_beside())?;
        }
        for number in 0..build_threads(&self.config) {
            let indexing = Arc::clone(&self.indexing);
            let published = Arc::clone(&self.published);
            indexing.add_thread();
            pool::spawn_beside(&format!("index-{number}"), move || {
                indexing.run(|| published.load());
            })
            .inspect_err(|_| self.end_beside())?;
        }
        self.start_relay().inspect_err(|_| self.end_beside())?;
        let engine = Arc::clone(self);
        pool::spawn("commit", move || engine.commit_until_closed(lock))
            .inspect_err(|_| self.end_beside())
    }

    /// Somebody needs indexes of words: from now on a thread keeps them up to date. A handle that only reads does without;
    /// its searches do it.
    pub(crate) fn index_words(&self) -> Result<()> {
        if self.committer.is_none() || !self.wording.ask() {
            return Ok(());
        }
        let wording = Arc::clone(&self.wording);
        let published = Arc::clone(&self.published);
        pool::spawn_beside("words", move || wording.run(|| published.load()))
            .inspect_err(|_| self.wording.not_started())
    }

    /// The committer's thread.
    fn commit_until_closed(&self, lock: Option<Box<dyn VfsLock>>) {
        let Some(committer) = &self.committer else {
            return;
        };
        committer.run();
        let outcome = match committer.stopped() {
            Some(Stopped::Poisoned(failure)) => Err(failure),
            // However this ends, nobody may wait for it for ever.
            _ => catch_unwind(AssertUnwindSafe(|| {
                self.checkpoint_at_close();
                committer.with_pipeline(|pipeline| pipeline.close(self.env.now()))
            }))
            .unwrap_or_else(|_| Err(WritePipeline::panicked())),
        };
        // A poisoned writer goes on being read until it is closed, and holds its lock until then.
        if outcome.is_err() {
            block_on(self.asked_to_end.wait());
        }
        block_on(self.background.ended());
        self.checkpoints.end();
        block_on(self.indexing.ended());
        block_on(self.wording.ended());
        block_on(self.compaction.ended());
        self.let_go();
        drop(lock);
        self.ended.open(outcome);
    }

    /// Lets go of the files, and of everybody who waits for more.
    pub(super) fn let_go(&self) {
        self.compactor.end();
        if let Some(relay) = &self.relay {
            relay.tell();
            self.end_listening();
        }
        self.hub.close();
        self.published.clear();
    }

    /// Starts the end. Idempotent; waits for nothing.
    pub(crate) fn stop(&self) {
        if self.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.asked_to_end.open(());
        self.end_beside();
        match &self.committer {
            Some(committer) => {
                registry::announce_end(&self.path, Arc::clone(&self.ended));
                committer.stop();
            }
            None => self.end_listening(),
        }
    }

    /// Ends the threads beside the committer's.
    fn end_beside(&self) {
        self.tasks.end();
        self.indexing.end();
        self.wording.end();
    }

    /// Waits for the end and says whether everything acknowledged is in the log.
    pub(crate) async fn ended(&self) -> Result<()> {
        self.ended.wait().await
    }

    /// What a call sees: the newest snapshot and the present moment.
    pub(crate) fn reader(&self) -> Result<Reader> {
        self.reader_after(|_| ())
    }

    /// The same for a question about one experience, whose row is on its way from memory meanwhile.
    pub(crate) fn reader_about(&self, id: ExperienceId) -> Result<Reader> {
        self.reader_after(|ids| ids.prefetch(id.as_u128()))
    }

    fn reader_after(&self, first: impl FnOnce(&IdIndex)) -> Result<Reader> {
        if self.closing.load(Ordering::Acquire) {
            return Err(PulseDBError::Closed);
        }
        let view = self.published.load().ok_or(PulseDBError::Closed)?;
        first(&view.ids);
        Ok(Reader {
            ids: Arc::clone(&view.ids),
            view,
            now: self.env.now(),
            instance: self.instance,
            fixed: false,
            overlay: None,
        })
    }

    /// The same for a read of one experience, which only looks at the snapshot.
    pub(crate) fn with_point<R>(
        &self,
        id: ExperienceId,
        look: impl FnOnce(&Point<'_>) -> R,
    ) -> Result<R> {
        if self.closing.load(Ordering::Acquire) {
            return Err(PulseDBError::Closed);
        }
        self.published.with(|view| {
            let view = view.ok_or(PulseDBError::Closed)?;
            view.ids.prefetch(id.as_u128());
            Ok(look(&Point {
                ids: &view.ids,
                view,
                now: self.env.now(),
                instance: self.instance,
            }))
        })
    }

    /// Who commits; refused at once where nobody does. A writer that failed refuses at its queue.
    pub(crate) fn committer(&self) -> Result<&Committer<WritePipeline>> {
        if self.closing.load(Ordering::Acquire) {
            return Err(PulseDBError::Closed);
        }
        self.committer.as_ref().ok_or_else(read_only)
    }

    /// Whether the end was asked for.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Syncs what was written since the last time, while commits go on.
    ///
    /// # Errors
    /// `Io`; the writer is poisoned then.
    pub(super) fn flush_beside_commits(&self) -> Result<()> {
        let Some(committer) = &self.committer else {
            return Ok(());
        };
        let Some(unsynced) = committer.with_pipeline(|pipeline| pipeline.unsynced()) else {
            return Ok(());
        };
        let began = self.telemetry.clock();
        let synced = unsynced.sync();
        self.telemetry.synced(began);
        match synced {
            Ok(()) => committer.with_pipeline(|pipeline| pipeline.synced(&unsynced)),
            Err(ref error) => committer.poison(error.clone()),
        }
        synced
    }
}

/// Threads that build graphs: half of the cores, so that the other half is left for the application.
fn build_threads(config: &Config) -> usize {
    match config.hnsw.build_threads {
        0 => (pool::cores() / 2).max(1),
        threads => threads,
    }
}

/// A span of history, and what is known of its past at an open: where the segments begin.
fn retained(config: &RetentionConfig, segments: &SegmentSet) -> Retention {
    let ms = u64::try_from(config.time.as_millis()).unwrap_or(u64::MAX);
    let mut retention = Retention::new(config.bytes, ms);
    let mut bytes = 0;
    for segment in segments.segments() {
        let first = segment.frames_from_start().flatten().next();
        if let Some(first) = first {
            retention.note(Note {
                lsn: segment.header().previous_lsn,
                time: first.header.time,
                bytes,
            });
        }
        bytes += segment.end();
    }
    retention
}

fn log_bytes(segments: &SegmentSet) -> u64 {
    segments
        .segments()
        .iter()
        .map(|segment| segment.end())
        .sum()
}

/// Refuses what cannot work, before a file is touched: also what new collectives would be made of.
fn check(config: &Config) -> Result<()> {
    config.check()?;
    let as_config = |error, name: Option<&str>| match error {
        PulseDBError::Validation {
            field,
            value,
            limit,
        } => PulseDBError::config(name.unwrap_or(&field), format!("{value}; {limit}")),
        other => other,
    };
    validate::decay(&config.decay).map_err(|error| as_config(error, None))?;
    match &config.default_collective {
        Some(name) => validate::collective(name, None, config.embedding_dimension.get())
            .map_err(|error| as_config(error, Some("default_collective"))),
        None => Ok(()),
    }
}

/// How a caller is told that the queue takes nothing.
pub(crate) fn stopped_error(stopped: Stopped<PulseDBError>) -> PulseDBError {
    match stopped {
        Stopped::Closed => PulseDBError::Closed,
        Stopped::Poisoned(failure) => PulseDBError::ReadOnly {
            reason: format!("writing stopped after a failure ({failure}); reopen the database"),
        },
    }
}

/// How a handle that only reads refuses.
pub(super) fn read_only() -> PulseDBError {
    PulseDBError::ReadOnly {
        reason: "it was opened for reading only".into(),
    }
}

struct HandOver(Arc<Background>);

impl Upkeep for HandOver {
    fn purge(&mut self, collectives: Vec<u32>) {
        self.0.purge(collectives);
    }
}
