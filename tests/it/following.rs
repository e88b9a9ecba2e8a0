//! Does a handle that only reads see what another one writes, all of it, in order, and nothing else?
//!
//! Writer and reader stand on one simulated file system. The reader's thread sleeps; it looks when it is
//! told to, so that a seed says what happens. `PULSEDB_FOLLOW_ROUNDS` says how many seeds.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "a failure names its seed; files are looked at"
)]

use std::{collections::BTreeSet, time::Duration};

use futures_util::FutureExt;
use pulsedb::{
    CollectiveId, CompactionConfig, Config, EventType, Experience, ExperienceId, ExperienceUpdate,
    HealthStatus, Lsn, NewExperience, NewRelation, Page, PulseDB, PulseDBError, RelationType,
    Snapshot, SyncMode, WatchConfig, WatchStream, model::EntityId, sim::FaultKind,
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
                        Err(PulseDBError::NotFound { .. }) => {}
                        done => {
                            done?;
                        }
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
    for seed in rounds(6) {
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
    for seed in rounds(6) {
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

/// Long enough for anything that is to come, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

async fn next(stream: &mut WatchStream) -> Lsn {
    let event = tokio::time::timeout(SOON, stream.recv()).await;
    let event = event.expect("nothing came").expect("it ended");
    event.unwrap().lsn
}

/// Asks until it is so.
async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, waited)
        .await
        .expect("it never was so");
}

#[test]
fn the_system_tells_a_reader_of_commits() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        // An hour: who waits for the clock waits too long.
        let config = quiet(SyncMode::Normal);
        let writer = PulseDB::open(dir.path(), config.clone()).await.unwrap();
        let team = writer.create_collective("team").await.unwrap();
        let reader = PulseDB::open_read_only(dir.path(), config).await.unwrap();
        let mut stream = reader.watch_experiences(team).await.unwrap();
        for number in 0..200 {
            let id = writer
                .record_experience(new(team, number.to_string()))
                .await;
            next(&mut stream).await;
            assert_eq!(
                reader.get_experience(id.unwrap()).await.unwrap().content,
                number.to_string()
            );
        }
        reader.close().await.unwrap();
        writer.close().await.unwrap();
    });
}

#[test]
fn where_nobody_tells_a_reader_polls() {
    run(async {
        let mut world = World::with(quiet(SyncMode::Normal));
        world.config.watch_config.poll_interval_ms = 1;
        let writer = world.open().await;
        let team = writer.create_collective("team").await.unwrap();
        let reader = world.open_read_only().await;
        let mut stream = reader.watch_experiences(team).await.unwrap();
        for number in 0..20 {
            let one = writer.record_experience(new(team, number.to_string()));
            one.await.unwrap();
            next(&mut stream).await;
        }
    });
}

/// Name, length and time of the last change of everything in a directory.
fn listing(dir: &std::path::Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = std::fs::metadata(&path).unwrap();
        found.push((path.clone(), about.len(), about.modified().unwrap()));
        if about.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}

fn set_mode(dir: &std::path::Path, directories: u32, files: u32) {
    use std::os::unix::fs::PermissionsExt;
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(dir, 0o700);
    for (path, ..) in listing(dir) {
        let mode = if path.is_dir() { directories } else { files };
        set(&path, mode);
    }
    set(dir, directories);
}

#[test]
fn a_reader_leaves_no_trace() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let config = quiet(SyncMode::Normal);
        let writer = PulseDB::open(&path, config.clone()).await.unwrap();
        let team = writer.create_collective("team").await.unwrap();
        for number in 0..100 {
            let one = writer.record_experience(new(team, number.to_string()));
            one.await.unwrap();
        }
        writer.close().await.unwrap();
        drop(writer);
        // Who may not write anything does not need to.
        set_mode(&path, 0o500, 0o400);
        let before = listing(&path);
        let reader = PulseDB::open_read_only(&path, config).await.unwrap();
        reader.look_at_files().await.unwrap();
        let found = reader.search_similar(team, &[1.0, 2.0, 3.0, 4.0], 5).await;
        assert_eq!(found.unwrap().len(), 5);
        assert_eq!(reader.metadata().await.unwrap().collectives, 1);
        reader.close().await.unwrap();
        assert_eq!(listing(&path), before);
        // And nothing stays locked.
        for (path, ..) in before.iter().filter(|(path, ..)| path.is_file()) {
            std::fs::File::open(path).unwrap().try_lock().unwrap();
        }
        set_mode(&path, 0o700, 0o600);
    });
}

#[test]
fn a_file_that_a_reader_has_mapped_is_not_recycled() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            segment_pool: 4,
            ..quiet(SyncMode::Normal)
        };
        let writer = PulseDB::open(dir.path(), config.clone()).await.unwrap();
        let team = writer.create_collective("team").await.unwrap();
        let mut ids = Vec::new();
        let draft = |number| new(team, format!("{number} {}", "y".repeat(3_000)));
        for number in 0..100 {
            ids.push(writer.record_experience(draft(number)).await.unwrap());
        }
        let reader = PulseDB::open_read_only(dir.path(), config).await.unwrap();
        let snapshot = reader.snapshot().await.unwrap();
        let was = held(&snapshot, team).await;
        assert_eq!(was.len(), 100);
        for id in ids {
            writer.delete_experience(id).await.unwrap();
        }
        let report = writer.compact().await.unwrap();
        assert!(report.segments_rewritten > 3);
        // Every file that there is to be had is written to.
        for number in 0..200 {
            writer.record_experience(draft(number)).await.unwrap();
        }
        reader.look_at_files().await.unwrap();
        assert_eq!(held(&snapshot, team).await, was);
        assert_eq!(shown(&reader).await, shown(&writer).await);
        assert_eq!(reader.health_check().await.unwrap().damaged, []);
    });
}

#[test]
fn damage_that_a_reader_meets_is_confined_to_its_record() {
    run(async {
        for header in [false, true] {
            let world = World::with(quiet(SyncMode::Normal));
            let writer = world.open().await;
            let team = writer.create_collective("team").await.unwrap();
            let reader = world.open_read_only().await;
            let mut ids = Vec::new();
            for number in 0..3 {
                let one = writer.record_experience(new(team, number.to_string()));
                ids.push(one.await.unwrap());
            }
            let entry = |page: pulsedb::LogPage| {
                let mut records = page.items.into_iter().filter_map(|item| match item {
                    pulsedb::LogItem::Record(entry) => Some(entry),
                    pulsedb::LogItem::Damaged(_) => None,
                });
                records.find(|one| one.entity == Some(EntityId::Experience(ids[1])))
            };
            let log = writer.read_log(pulsedb::LogOptions::default()).await;
            let entry = entry(log.unwrap()).unwrap();
            let at = entry.offset + if header { 4 } else { 80 };
            world.vfs.flip_bit(&entry.file, at, 3).unwrap();
            // Bytes that another process is about to write are not damaged yet.
            for _ in 0..4 {
                reader.look_at_files().await.unwrap();
            }
            assert!(reader.get_experience(ids[0]).await.is_ok());
            assert!(reader.get_experience(ids[1]).await.is_err());
            assert!(reader.get_experience(ids[2]).await.is_ok());
            let health = reader.health_check().await.unwrap();
            assert_eq!(health.damaged.len(), 1, "{health:?}");
            assert_eq!(health.damaged[0].1, entry.offset);
            // It goes on.
            let more = writer.record_experience(new(team, "more")).await.unwrap();
            reader.look_at_files().await.unwrap();
            assert!(reader.get_experience(more).await.is_ok());
        }
    });
}

#[test]
fn what_cannot_be_read_is_told_and_tried_again() {
    run(async {
        let world = World::with(quiet(SyncMode::Normal));
        let writer = world.open().await;
        let team = writer.create_collective("team").await.unwrap();
        let reader = world.open_read_only().await;
        let one = writer.record_experience(new(team, "one")).await.unwrap();
        let manifest = world.path.join("MANIFEST");
        world.vfs.flip_bit(&manifest, 30, 2).unwrap();
        reader.look_at_files().await.unwrap();
        let health = reader.health_check().await.unwrap();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert!(health.follow.unwrap().trouble.unwrap().contains("MANIFEST"));
        // What is known to be durable is shown all the same.
        assert!(reader.get_experience(one).await.is_ok());
        world.vfs.flip_bit(&manifest, 30, 2).unwrap();
        reader.look_at_files().await.unwrap();
        let health = reader.health_check().await.unwrap();
        assert_eq!(health.status, HealthStatus::Healthy);
    });
}

/// Copies a directory as it is.
fn copied(from: &std::path::Path, to: &std::path::Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for (path, ..) in listing(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(target).unwrap();
        } else {
            std::fs::copy(path, target).unwrap();
        }
    }
}

/// As after a power cut in `Fast` mode on a server that the reader's machine is not.
#[test]
fn a_reader_forgets_what_the_log_has_lost() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (path, kept) = (dir.path().join("db"), dir.path().join("kept"));
        let config = quiet(SyncMode::Fast);
        let writer = PulseDB::open(&path, config.clone()).await.unwrap();
        let team = writer.create_collective("team").await.unwrap();
        let kept_id = writer.record_experience(new(team, "kept")).await.unwrap();
        copied(&path, &kept);
        let lost_id = writer.record_experience(new(team, "lost")).await.unwrap();
        let reader = PulseDB::open_read_only(&path, config.clone())
            .await
            .unwrap();
        let mut stream = reader.watch_experiences(team).await.unwrap();
        assert!(reader.get_experience(lost_id).await.is_ok());
        writer.close().await.unwrap();
        drop(writer);
        copied(&kept, &path);
        let writer = PulseDB::open(&path, config).await.unwrap();
        let new_id = writer.record_experience(new(team, "new")).await.unwrap();
        reader.look_at_files().await.unwrap();
        assert_eq!(shown(&reader).await, shown(&writer).await);
        assert!(reader.get_experience(kept_id).await.is_ok());
        assert!(reader.get_experience(lost_id).await.is_err());
        assert!(reader.get_experience(new_id).await.is_ok());
        assert_eq!(
            reader.current_cursor().await.unwrap(),
            writer.current_cursor().await.unwrap()
        );
        // Who was told of what is gone hears that not everything was told.
        let told = tokio::time::timeout(SOON, stream.recv()).await.unwrap();
        assert!(matches!(told, Some(Err(PulseDBError::Gap { .. }))));
        let told = tokio::time::timeout(SOON, stream.recv()).await.unwrap();
        assert_eq!(told.unwrap().unwrap().entity, EntityId::Experience(new_id));
    });
}

#[test]
fn a_reader_uses_the_graphs_of_the_writer() {
    run(async {
        let mut world = World::with(quiet(SyncMode::Normal));
        world.config.hnsw.first_graph_rows = 64;
        world.config.hnsw.tail_rows = 64;
        let writer = world.open().await;
        let team = writer.create_collective("team").await.unwrap();
        let reader = world.open_read_only().await;
        let mut chance = Chance(7);
        let search = async |db: &PulseDB| {
            let found = db.search_similar(team, &[1.0, 0.5, 3.0, 2.0], 10).await;
            let ids = found.unwrap().into_iter().map(|hit| hit.experience.id);
            ids.collect::<Vec<_>>()
        };
        reader.look_at_files().await.unwrap();
        search(&reader).await;
        for _ in 0..300 {
            let numbers = [0; 4].map(|_: i32| chance.below(100) as f32 - 50.5);
            let draft = NewExperience {
                embedding: Some(numbers.to_vec()),
                ..new(team, "one")
            };
            writer.record_experience(draft).await.unwrap();
        }
        eventually(async || {
            reader.look_at_files().await.unwrap();
            let stats = reader.get_collective_stats(team).await.unwrap();
            stats.graphs > 0 && stats.tail_rows < 200
        })
        .await;
        assert_eq!(search(&reader).await, search(&writer).await);
        // The files go, the maps stay.
        writer.rebuild_index(team).await.unwrap();
        assert_eq!(search(&reader).await, search(&writer).await);
        let health = reader.health_check().await.unwrap();
        assert_eq!(health.status, HealthStatus::Healthy, "{health:?}");
    });
}

#[test]
fn rows_that_are_gone_are_no_damage_to_a_search() {
    run(async {
        let world = World::with(quiet(SyncMode::Normal));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut ids = Vec::new();
        for number in 0..200 {
            let one = db.record_experience(new(team, format!("{number} {}", "z".repeat(1_000))));
            ids.push(one.await.unwrap());
        }
        for id in &ids[..50] {
            db.delete_experience(*id).await.unwrap();
        }
        db.compact().await.unwrap();
        let found = db.search_similar(team, &[1.0, 2.0, 3.0, 4.0], 5).await;
        assert_eq!(found.unwrap().len(), 5);
        assert_eq!(db.health_check().await.unwrap().damaged, []);
    });
}

#[test]
fn watchers_of_a_writer_may_follow_the_files() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut config = quiet(SyncMode::Normal);
        config.watch_config.in_process = false;
        let db = PulseDB::open(dir.path(), config).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        let mut stream = db.watch_experiences(team).await.unwrap();
        let mut expected = Vec::new();
        for n in 0..40 {
            let content = format!("number {n}");
            expected.push(db.record_experience(new(team, &content)).await.unwrap());
            if n % 10 == 3 {
                // What is to be told is in the log until then, unless somebody asks for its space at once.
                db.compact().await.unwrap();
            }
        }
        let mut told = Vec::new();
        let mut next = Lsn::ZERO;
        while told.len() < expected.len() / 2 {
            let event = tokio::time::timeout(SOON, stream.recv()).await.unwrap();
            let event = event.unwrap().unwrap();
            assert!(event.lsn > next);
            next = event.lsn;
            told.push(event.entity.clone());
        }
        // The rest is told before the end.
        db.close().await.unwrap();
        while let Some(event) = stream.recv().await {
            told.push(event.unwrap().entity.clone());
        }
        let expected: Vec<_> = expected.into_iter().map(EntityId::Experience).collect();
        assert_eq!(told, expected);
    });
}
