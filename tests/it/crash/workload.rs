//! What is done to the database until something breaks?
//!
//! A workload is a function of its plan: the steps follow from the seed and from what was
//! acknowledged before, so two runs are equal up to the operation at which one of them breaks.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use futures_util::FutureExt;
use pulsedb::{
    CompactionConfig, Config, EmbeddingDimension, ExperienceUpdate, NewExperience, PulseDB,
    PulseDBError, SyncMode, Timestamp, WatchStream, blocking,
    model::{DecayConfig, Timeline},
    sim::{SimEnv, SimVfs},
};

use super::model::{Draft, State, Step};

const DIMENSION: usize = 8;

/// Where the steps come from: given bytes first (a fuzzer's), then SplitMix64, as in `SimEnv`.
pub struct Chance {
    state: u64,
    given: VecDeque<u8>,
}

impl Chance {
    pub fn of(seed: u64) -> Self {
        Self::given(seed, &[])
    }

    pub fn given(seed: u64, bytes: &[u8]) -> Self {
        Self {
            state: seed,
            given: bytes.iter().copied().collect(),
        }
    }

    pub fn next(&mut self) -> u64 {
        if let Some(byte) = self.given.pop_front() {
            return u64::from(byte);
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Everything that a run follows from.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub mode: SyncMode,
    pub pool: usize,
    pub flush_interval: Duration,
    pub steps: usize,
    /// Whether checkpoints are among them.
    pub checkpoints: bool,
}

/// What a run left behind.
pub struct Run {
    pub vfs: SimVfs,
    /// The state after each acknowledged request, from the empty one on.
    pub history: Vec<State>,
    /// Requests made.
    pub requests: u64,
    /// Index in `history` below which nothing may ever be lost, in `Fast` mode either.
    pub safe: usize,
    /// The state if the request that failed happened all the same.
    pub pending: Option<State>,
    /// The greatest LSN that anybody heard of.
    pub newest_lsn: u64,
    /// The newest timeline that anybody heard of.
    pub timeline: Option<Timeline>,
    /// Whether the next open must find a clean end; `None` if either will do.
    pub clean: Option<bool>,
    /// What broke, and at which step.
    pub failure: Option<(String, PulseDBError)>,
    /// A checkpoint failed, which nobody but its caller hears of.
    pub checkpoint_failed: bool,
    /// A sync failed, so that what it was for is lost even where the machine goes on.
    pub lying: bool,
    /// Operations that the file system had counted when the first request failed.
    pub ops_at_failure: u64,
    /// Compactions that failed, which costs nobody anything.
    pub compactions_failed: u64,
}

impl Plan {
    pub fn new(seed: u64, mode: SyncMode) -> Self {
        Self {
            seed,
            mode,
            pool: 0,
            flush_interval: Duration::from_secs(60),
            steps: 72,
            checkpoints: true,
        }
    }

    /// Databases of different plans must not wait for each other's end.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/{}-{:?}-{}-{}",
            self.seed,
            self.mode,
            self.pool,
            self.flush_interval.as_millis()
        ))
    }

    pub fn config(&self) -> Config {
        Config {
            sync_mode: self.mode,
            segment_bytes: Config::MIN_SEGMENT_BYTES,
            max_commit_bytes: Config::MIN_SEGMENT_BYTES as usize / 2,
            segment_pool: self.pool,
            flush_interval: self.flush_interval,
            read_threads: 1,
            compaction: CompactionConfig {
                automatic: false,
                ..CompactionConfig::default()
            },
            embed_threads: 1,
            ..Config::external(EmbeddingDimension::Custom(DIMENSION))
        }
    }

    /// Opens the database as session number `session` of a run does.
    pub fn open(&self, vfs: &SimVfs, session: u64) -> pulsedb::Result<PulseDB> {
        let now = Timestamp::from_millis(1_720_000_000_000 + session as i64 * 1_000);
        let env = SimEnv::new(self.seed.wrapping_mul(31).wrapping_add(session), now);
        wait(PulseDB::open_simulated(
            self.path(),
            self.config(),
            vfs.clone(),
            env,
        ))
    }

    /// Runs the workload on `vfs` to its end, or until a request fails.
    pub fn run(&self, vfs: SimVfs) -> Run {
        let mut chance = Chance::of(self.seed);
        self.run_from(vfs, State::default(), 0, &mut chance)
    }

    /// The same on a database that holds `state`, with requests numbered from `first` on.
    pub fn run_from(&self, vfs: SimVfs, state: State, first: usize, chance: &mut Chance) -> Run {
        let mut run = Run {
            vfs,
            history: vec![state],
            requests: 0,
            safe: 0,
            pending: None,
            newest_lsn: 0,
            timeline: None,
            clean: None,
            failure: None,
            checkpoint_failed: false,
            lying: false,
            ops_at_failure: 0,
            compactions_failed: 0,
        };
        let mut session = first as u64;
        let db = match self.open(&run.vfs, session) {
            Ok(db) => db,
            Err(error) => {
                run.fail("open", error);
                return run;
            }
        };
        let mut live = Live::new(db);
        live.watch_all(run.last());
        run.clean = Some(false);
        for number in first..first + self.steps {
            let step = self.step(number, chance, run.last());
            run.requests += 1;
            let mut next = run.last().after(&step);
            let done = if matches!(step, Step::Reopen) {
                session += 1;
                self.reopen(&mut live, session, &mut run)
            } else if matches!(step, Step::Checkpoint) {
                live.checkpoint(&mut run)
            } else {
                live.make(&step, run.last(), &mut next)
            };
            match done {
                Ok(()) => {
                    run.history.push(next);
                    if matches!(step, Step::Flush | Step::Reopen) || self.mode != SyncMode::Fast {
                        run.safe = run.history.len() - 1;
                    }
                    live.listen(&mut run);
                }
                // It is no harm to the rest: where the file system is gone, the next step says so.
                Err(PulseDBError::Io { .. } | PulseDBError::Conflict { .. })
                    if matches!(step, Step::Compact) =>
                {
                    run.compactions_failed += 1;
                }
                Err(error) => {
                    run.pending = Some(next);
                    run.fail(&format!("step {number}, {step:?}"), error);
                    live.check_stopped(&run, self.flush_interval < Duration::from_secs(1));
                    break;
                }
            }
        }
        if run.failure.is_none() {
            match live.db.close() {
                Ok(()) => {
                    run.clean = Some(true);
                    run.safe = run.history.len() - 1;
                }
                Err(error) => {
                    run.clean = None;
                    run.fail("close", error);
                }
            }
        } else {
            // Its end is known: there is nothing to wait for, and nothing to write.
            let _ = live.db.close();
        }
        run
    }

    fn reopen(&self, live: &mut Live, session: u64, run: &mut Run) -> pulsedb::Result<()> {
        run.clean = None;
        live.db.close()?;
        run.safe = run.history.len() - 1;
        run.clean = Some(true);
        let ops = run.vfs.op_count();
        let opened = self.open(&run.vfs, session);
        if run.vfs.op_count() > ops {
            run.clean = None;
        }
        *live = Live::new(opened?);
        run.clean = Some(false);
        let health = live.db.health_check()?;
        assert!(health.recovery.clean, "{health:?}");
        live.watch_all(run.last());
        Ok(())
    }

    /// The next step, given what is there.
    fn step(&self, number: usize, chance: &mut Chance, state: &State) -> Step {
        if state.teams.len() < 2 {
            return Step::CreateTeam(format!("team-{number}"));
        }
        if number % 24 == 16 {
            return Step::Reopen;
        }
        if self.checkpoints && number % 18 == 11 {
            return Step::Checkpoint;
        }
        let name = |chance: &mut Chance| {
            let names: Vec<&String> = state.teams.keys().collect();
            names[chance.below(names.len())].clone()
        };
        let team = name(chance);
        let contents: Vec<&String> = state.teams[&team].known.keys().collect();
        let dice = chance.below(100);
        if contents.is_empty() || dice < 24 {
            return Step::Record(team, vec![draft(number, 0, chance)]);
        }
        let content = contents[chance.below(contents.len())].clone();
        let known = &state.teams[&team].known[&content];
        match dice {
            24..34 => {
                let count = 2 + chance.below(4);
                let drafts = (0..count).map(|at| draft(number, at, chance)).collect();
                Step::Record(team, drafts)
            }
            34..46 => {
                let update = ExperienceUpdate {
                    // Either or both: two records in one commit.
                    importance: (dice < 42).then(|| chance.below(5) as f32 / 4.0),
                    domain: (dice > 38).then(|| vec![format!("domain-{number}")]),
                    ..ExperienceUpdate::default()
                };
                Step::Update(team, content, update)
            }
            46..54 => {
                let value = "v".repeat(1 + chance.below(150));
                Step::SetTag(team, content, format!("key-{}", chance.below(3)), value)
            }
            54..58 => Step::RemoveTag(team, content, "key-0".to_owned()),
            58..65 => Step::Archive(team, content, !known.archived),
            65..74 => Step::Reinforce(team, content),
            74..80 => Step::Delete(team, content),
            80..84 => match known.key.clone() {
                Some(key) => Step::RetryKey(team, key),
                None => Step::Reinforce(team, content),
            },
            84..86 => Step::Flush,
            86..88 => Step::Compact,
            88..92 => Step::Reopen,
            92..94 => Step::SetDecay(team, 1_000 + number as u64),
            94..96 => Step::GetOrCreateTeam(team),
            96..98 if state.teams.len() > 1 => Step::DeleteTeam(team),
            _ => Step::CreateTeam(format!("team-{number}")),
        }
    }
}

impl Run {
    pub fn last(&self) -> &State {
        self.history.last().unwrap()
    }

    fn fail(&mut self, what: &str, error: PulseDBError) {
        self.ops_at_failure = self.vfs.op_count();
        self.failure = Some((what.to_owned(), error));
    }
}

/// An open database and everybody who listens to it.
struct Live {
    db: blocking::PulseDB,
    watchable: PulseDB,
    watched: BTreeMap<String, WatchStream>,
    heard: u64,
}

impl Live {
    fn new(db: PulseDB) -> Self {
        Self {
            watchable: db.clone(),
            db: db.into(),
            watched: BTreeMap::new(),
            heard: 0,
        }
    }

    fn watch_all(&mut self, state: &State) {
        for (name, team) in &state.teams {
            let stream = now(self.watchable.watch_experiences(team.id.unwrap())).unwrap();
            self.watched.insert(name.clone(), stream);
        }
    }

    /// Makes the request and notes the ids that it was answered.
    fn make(&mut self, step: &Step, before: &State, next: &mut State) -> pulsedb::Result<()> {
        let db = &self.db;
        let id =
            |state: &State, team: &str, content: &str| state.teams[team].known[content].id.unwrap();
        match step {
            Step::CreateTeam(name) => {
                let team = db.create_collective(name)?;
                next.team(name).id = Some(team);
                let stream = now(self.watchable.watch_experiences(team))?;
                self.watched.insert(name.clone(), stream);
            }
            Step::GetOrCreateTeam(name) => {
                assert_eq!(Some(db.get_or_create_collective(name)?), next.team(name).id);
            }
            Step::SetDecay(team, half_life_ms) => {
                let decay = DecayConfig {
                    half_life_ms: *half_life_ms,
                    ..DecayConfig::default()
                };
                db.set_decay_config(next.team(team).id.unwrap(), decay)?;
            }
            Step::DeleteTeam(name) => {
                db.delete_collective(before.teams[name].id.unwrap())?;
                self.watched.remove(name);
            }
            Step::Record(team, drafts) => {
                let collective = next.team(team).id.unwrap();
                let batch = drafts.iter().map(|draft| NewExperience {
                    embedding: Some(draft.embedding.clone()),
                    domain: draft.domain.clone(),
                    idempotency_key: draft.key.clone(),
                    ..NewExperience::new(collective, "agent", draft.content.clone())
                });
                let ids = db.record_experiences(batch.collect())?;
                assert_eq!(ids.len(), drafts.len());
                for (draft, id) in drafts.iter().zip(ids) {
                    next.known(team, &draft.content).id = Some(id);
                }
            }
            Step::RetryKey(team, key) => {
                let mut known = next.teams[team].known.values();
                let first = known.find(|one| one.key.as_ref() == Some(key));
                let again = db.record_experience(NewExperience {
                    embedding: Some(vec![1.0; DIMENSION]),
                    idempotency_key: Some(key.clone()),
                    ..NewExperience::new(next.teams[team].id.unwrap(), "agent", "again")
                })?;
                assert_eq!(Some(again), first.unwrap().id);
            }
            Step::Update(team, content, update) => {
                db.update_experience(id(next, team, content), update.clone())?;
            }
            Step::SetTag(team, content, key, value) => {
                db.set_tag(id(next, team, content), key, value)?;
            }
            Step::RemoveTag(team, content, key) => {
                db.remove_tag(id(next, team, content), key)?;
            }
            Step::Archive(team, content, true) => {
                db.archive_experience(id(next, team, content))?;
            }
            Step::Archive(team, content, false) => {
                db.unarchive_experience(id(next, team, content))?;
            }
            Step::Reinforce(team, content) => {
                let count = db.reinforce_experience(id(next, team, content))?;
                assert_eq!(count, next.known(team, content).applications);
            }
            Step::Delete(team, content) => {
                db.delete_experience(id(before, team, content))?;
            }
            Step::Flush => db.flush()?,
            Step::Compact => drop(db.compact()?),
            Step::Checkpoint | Step::Reopen => unreachable!("made by the plan"),
        }
        Ok(())
    }

    /// Makes a checkpoint. That it cannot be written costs nothing but an open's time, unless the
    /// log could not be synced before.
    fn checkpoint(&self, run: &mut Run) -> pulsedb::Result<()> {
        match self.db.checkpoint() {
            Ok(made) => assert_eq!(made, self.db.current_cursor()?),
            Err(error @ PulseDBError::Io { .. }) => {
                if self.db.health_check()?.poisoned.is_some() {
                    return Err(error);
                }
                run.checkpoint_failed = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Hears what was told, in order, and notes the newest.
    fn listen(&mut self, run: &mut Run) {
        for stream in self.watched.values_mut() {
            while let Some(told) = stream.recv().now_or_never() {
                let Some(event) = told.transpose().unwrap() else {
                    break;
                };
                assert!(event.lsn.get() > self.heard || event.lsn.get() > run.newest_lsn);
                self.heard = event.lsn.get();
                run.newest_lsn = run.newest_lsn.max(self.heard);
            }
        }
        let cursor = now(self.watchable.current_cursor()).unwrap();
        assert!(cursor.lsn.get() >= self.heard, "told before it was visible");
        run.newest_lsn = run.newest_lsn.max(cursor.lsn.get());
        run.timeline = Some(cursor.timeline);
    }

    /// After a failure: the answer is typed, nothing is written any more, reads go on, and what
    /// failed is not to be seen.
    fn check_stopped(&mut self, run: &Run, beside: bool) {
        let (what, error) = run.failure.as_ref().unwrap();
        // The flush beside the commits may have been the first to fail.
        let overtaken = beside && matches!(error, PulseDBError::ReadOnly { .. });
        assert!(
            overtaken || matches!(error, PulseDBError::Io { .. }),
            "{what}: {error:?}"
        );
        if what.contains("Reopen") {
            return;
        }
        let refused = self.db.create_collective("too late").unwrap_err();
        assert!(
            matches!(refused, PulseDBError::ReadOnly { .. }),
            "{what}: {refused:?}"
        );
        let found = State::read(&self.db).unwrap();
        assert_eq!(run.last().difference(&found), None, "{what}");
        let health = self.db.health_check().unwrap();
        assert!(health.poisoned.is_some(), "{what}: {health:?}");
    }
}

fn draft(number: usize, at: usize, chance: &mut Chance) -> Draft {
    let size = match chance.below(4) {
        0 => 40,
        1 => 700,
        2 => 2_500,
        _ => 5_000,
    };
    Draft {
        content: format!("e{number}.{at} {}", "text ".repeat(size / 5)),
        embedding: (0..DIMENSION)
            .map(|_| chance.below(2_000) as f32 / 1_000.0 - 1.0 + 1e-4)
            .collect(),
        domain: vec![format!("d{}", chance.below(3))],
        key: (chance.below(3) == 0).then(|| format!("k{number}.{at}")),
    }
}

/// Waits for a future that another thread finishes.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// The outcome of a future that need not wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it has nothing to wait for")
}
