//! Does a handle that only reads see what another one writes, all of it, in order, and nothing else?
//!
//! Writer and reader stand on one simulated file system. The reader's thread sleeps; it looks when it is
//! told to, so that a seed says what happens. `PULSEDB_FOLLOW_ROUNDS` says how many seeds.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a failure names its seed"
)]

use std::{collections::BTreeSet, time::Duration};

use futures_util::FutureExt;
use pulsedb::{
    CollectiveId, CompactionConfig, Config, EventType, Experience, ExperienceId, ExperienceUpdate,
    Lsn, NewExperience, NewRelation, Page, PulseDB, PulseDBError, RelationType, Snapshot, SyncMode,
    WatchConfig, WatchStream, sim::FaultKind,
};

use crate::support::{World, config, dump, new, run};

/// Nothing happens but what is asked for.
fn quiet(sync_mode: SyncMode) -> Config {
    Config {
        sync_mode,
        segment_bytes: 64 * 1024,
        max_commit_bytes: 16 * 1024,
        max_queue_bytes: 64 * 1024,
        segment_pool: 0,
        checkpoint_bytes: 1 << 30,
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        watch_config: WatchConfig {
            poll_interval_ms: Config::MAX_POLL_INTERVAL_MS,
            ..WatchConfig::default()
        },
        flush_interval: Duration::from_secs(60),
        ..config()
    }
}

/// A generator of numbers (xorshift, Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Everything that has come by now.
fn heard(stream: &mut WatchStream) -> Vec<(Lsn, EventType)> {
    let mut events = Vec::new();
    while let Some(Some(event)) = stream.recv().now_or_never() {
        let event = event.unwrap();
        events.push((event.lsn, event.event_type));
    }
    events
}

/// What is compared: experiences, relations, and what a search finds.
async fn shown(db: &PulseDB) -> impl PartialEq + std::fmt::Debug {
    let mut rest = Vec::new();
    for collective in db.list_collectives().await.unwrap() {
        let relations = db.list_relations(collective.id, Page::default()).await;
        let found = db.search_similar(collective.id, &[1.0, 0.5, 3.0, 2.0], 20);
        let found = found.await.unwrap();
        let found: Vec<_> = found.into_iter().map(|hit| hit.experience.id).collect();
        rest.push((relations.unwrap().items, found));
    }
    (dump(db).await, rest)
}

async fn held(snapshot: &Snapshot, collective: CollectiveId) -> Vec<Experience> {
    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    let found = snapshot.list_experiences(collective, page).await;
    found.unwrap().items
}

/// A writer, a reader, and what happens to them.
struct Play {
    world: World,
    chance: Chance,
    writer: PulseDB,
    reader: PulseDB,
    team: CollectiveId,
    ids: Vec<ExperienceId>,
    step: usize,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let modes = [SyncMode::Normal, SyncMode::Fast, SyncMode::Paranoid];
        let world = World::with(quiet(modes[seed as usize % 3]));
        let writer = world.open().await;
        let team = writer.create_collective("team").await.unwrap();
        Self {
            reader: world.open_read_only().await,
            world,
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            writer,
            team,
            ids: Vec::new(),
            step: 0,
        }
    }

    fn one(&mut self) -> Option<ExperienceId> {
        let count = self.ids.len();
        (count > 0).then(|| self.ids[self.chance.below(count)])
    }

    fn draft(&mut self, collective: CollectiveId) -> NewExperience {
        let length = self.chance.below(2_000);
        let numbers = [0; 4].map(|_: i32| self.chance.below(100) as f32 - 50.5);
        NewExperience {
            embedding: Some(numbers.to_vec()),
            ..new(collective, format!("{} {}", self.step, "x".repeat(length)))
        }
    }

    /// One request; whether it was done.
    async fn request(&mut self) -> Result<(), PulseDBError> {
        self.step += 1;
        match self.chance.below(20) {
            0..=6 => {
                let draft = self.draft(self.team);
                self.ids.push(self.writer.record_experience(draft).await?);
            }
            7 | 8 => {
                let count = 1 + self.chance.below(4);
                let batch = (0..count).map(|_| self.draft(self.team)).collect();
                let made = self.writer.record_experiences(batch).await?;
                self.ids.extend(made);
            }
            9..=11 => {
                if let Some(one) = self.one() {
                    let update = ExperienceUpdate {
                        importance: Some(self.chance.below(100) as f32 / 100.0),
                        domain: Some(vec![format!("domain {}", self.step)]),
                        ..ExperienceUpdate::default()
                    };
                    gone_or_done(self.writer.update_experience(one, update).await)?;
                }
            }
            12 => {
                if let Some(one) = self.one() {
                    gone_or_done(self.writer.reinforce_experience(one).await.map(drop))?;
                }
            }
            13 | 14 => {
                if let Some(one) = self.one() {
                    gone_or_done(self.writer.delete_experience(one).await)?;
                }
            }
            15 => {
                if let (Some(one), Some(other)) = (self.one(), self.one()) {
                    let relation = NewRelation::new(one, other, RelationType::Supports);
                    match self.writer.store_relation(relation).await {
                        Err(PulseDBError::Validation { .. }) => {}
                        stored => gone_or_done(stored.map(drop))?,
                    }
                }
            }
            16 => {
                let name = format!("other {}", self.step);
                let other = self.writer.create_collective(&name).await?;
                let draft = self.draft(other);
                self.writer.record_experience(draft).await?;
                if self.chance.below(2) == 0 {
                    self.writer.delete_collective(other).await?;
                }
            }
            17 => drop(self.writer.compact().await?),
            18 => drop(self.writer.checkpoint().await?),
            _ => {
                if let Some(one) = self.one() {
                    match self.writer.erase(one).await {
                        // Somebody may hold the file that it was in for a moment.
                        Err(PulseDBError::NotFound { .. } | PulseDBError::Conflict { .. }) => {}
                        done => drop(done?),
                    }
                }
            }
        }
        Ok(())
    }

    /// The writer ends, one way or another, and another one comes.
    async fn restart(&mut self) {
        let clean = self.chance.below(2) == 0;
        if !clean {
            // Whatever it does next fails from here on, and it stops where it stands.
            let op = self.world.vfs.op_count() + self.chance.below(8) as u64;
            self.world.vfs.fail_at(op, FaultKind::Eio);
            while self.writer.health_check().await.unwrap().poisoned.is_none() {
                let draft = self.draft(self.team);
                if self.writer.record_experience(draft).await.is_err() {
                    break;
                }
                let _ = self.writer.flush().await;
            }
        }
        let _ = self.writer.close().await;
        self.reader.look_at_files().await.unwrap();
        self.writer = self.world.open().await;
    }

    async fn look(&self) {
        self.reader.look_at_files().await.unwrap();
    }
}

/// What was asked for, or it was not there.
fn gone_or_done(answer: Result<(), PulseDBError>) -> Result<(), PulseDBError> {
    match answer {
        Err(PulseDBError::NotFound { .. }) => Ok(()),
        answer => answer,
    }
}

fn rounds(short: u64) -> std::ops::Range<u64> {
    let rounds = std::env::var("PULSEDB_FOLLOW_ROUNDS");
    1..1 + rounds.map_or(short, |text| text.parse().unwrap())
}

/// Names the seed when something panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with seed {}", self.0);
        }
    }
}

#[test]
fn a_reader_shows_what_the_writer_shows() {
    for seed in rounds(12) {
        let _seed = Seed(seed);
        run(async {
            let mut play = Play::new(seed).await;
            let mut past = Vec::new();
            for step in 0..120 {
                play.request().await.unwrap();
                if play.chance.below(25) == 0 {
                    play.restart().await;
                }
                // Not after every step: it may find much at once.
                if play.chance.below(3) > 0 {
                    continue;
                }
                play.look().await;
                let (theirs, ours) = (&play.writer, &play.reader);
                assert_eq!(
                    ours.current_cursor().await.unwrap(),
                    theirs.current_cursor().await.unwrap(),
                    "step {step}"
                );
                assert_eq!(shown(ours).await, shown(theirs).await, "step {step}");
                let health = ours.health_check().await.unwrap();
                let follow = health.follow.unwrap();
                assert_eq!((follow.behind_lsns, follow.trouble), (0, None));
                assert_eq!(health.damaged, []);
                if play.chance.below(4) == 0 {
                    let snapshot = ours.snapshot().await.unwrap();
                    let is = held(&snapshot, play.team).await;
                    past.push((snapshot, is));
                }
            }
            // What was held through all of it is as it was.
            for (snapshot, was) in past {
                assert_eq!(held(&snapshot, play.team).await, was);
            }
            play.reader.close().await.unwrap();
            play.writer.close().await.unwrap();
        });
    }
}

#[test]
fn a_reader_tells_every_change_once_and_in_order() {
    for seed in rounds(12) {
        let _seed = Seed(seed);
        run(async {
            let mut play = Play::new(seed).await;
            let mut reader = play.reader.watch_experiences(play.team).await.unwrap();
            let mut writer = play.writer.watch_experiences(play.team).await.unwrap();
            let (mut told, mut sure) = (Vec::new(), BTreeSet::new());
            for _ in 0..120 {
                play.request().await.unwrap();
                sure.extend(heard(&mut writer));
                if play.chance.below(25) == 0 {
                    play.restart().await;
                    sure.extend(heard(&mut writer));
                    writer = play.writer.watch_experiences(play.team).await.unwrap();
                }
                play.look().await;
                told.extend(heard(&mut reader));
            }
            assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let told: BTreeSet<_> = told.into_iter().collect();
            let missed: Vec<_> = sure.difference(&told).collect();
            assert!(missed.is_empty(), "{missed:?}");
            // What the writer could not tell, because it failed, was in the log all the same.
            let last = play.writer.current_cursor().await.unwrap().lsn;
            assert!(told.iter().all(|(lsn, _)| *lsn <= last));
        });
    }
}
