//! Crashes at every operation of a workload, under every way to lose what was not synced.

use super::*;

const SURVIVALS: [Survival; 4] = [
    Survival::KeepAll,
    Survival::DropAll,
    Survival::Random { stale_bytes: false },
    Survival::Random { stale_bytes: true },
];

/// What the workload knows when it dies.
#[derive(Default)]
struct Model {
    /// Every commit that was begun, in order.
    begun: Vec<Seen>,
    /// How many of them were appended, and how many of those synced.
    written: usize,
    synced: usize,
    /// The greatest LSN that was issued.
    highest: u64,
    number: usize,
}

impl Model {
    /// Groups of commits of several sizes, some of which roll; a clean close and a second session.
    fn run(&mut self, vfs: &SimVfs, config: &OpenOptions) -> Result<()> {
        for session in 0..2 {
            let (mut db, _) = open_sim(vfs, 11 + session, config)?;
            if let Some(pool) = &db.pool {
                while pool.is_short() {
                    pool.add_one()?;
                }
            }
            for group in 0..9_usize {
                let writer = db.writer.as_mut().unwrap();
                let mut next = writer.next_lsn().get();
                assert!(next > self.highest, "LSN {next} was issued before");
                let mut frames = self.group(group, &mut next);
                self.highest = next - 1;
                let places = writer.append(&mut frames)?;
                self.written = self.begun.len();
                writer.read_back(&frames, &places)?;
                if config.sync_mode != SyncMode::Fast || group % 4 == 3 {
                    writer.sync()?;
                    self.synced = self.begun.len();
                }
                writer.publish_tail(Lsn::new(self.highest))?;
            }
            self.highest = db.writer.as_ref().unwrap().next_lsn().get();
            close(&mut db)?;
            self.synced = self.begun.len();
        }
        Ok(())
    }

    fn group(&mut self, group: usize, next: &mut u64) -> Vec<OutFrame> {
        let mut frames = Vec::new();
        for size in 0..1 + group % 3 {
            let payloads: Vec<Vec<u8>> = (0..1 + (group + size) % 3)
                .map(|_| {
                    self.number += 1;
                    payload(self.number, (self.number * 1_777) % 5_000)
                })
                .collect();
            let commit = commit(next, &payloads);
            self.begun.push(
                commit
                    .iter()
                    .map(|frame| (frame.header.lsn.get(), frame.payload.to_vec()))
                    .collect(),
            );
            frames.extend(commit);
        }
        frames
    }

    /// How many of the commits begun are there: whole, in order, nothing else.
    fn count(&self, seen: &Seen, what: &str) -> usize {
        let mut rest = seen.as_slice();
        let mut commits = 0;
        for begun in &self.begun {
            if rest.is_empty() {
                break;
            }
            assert!(rest.starts_with(begun), "half a commit: {what}");
            rest = &rest[begun.len()..];
            commits += 1;
        }
        assert!(rest.is_empty(), "records from nowhere: {what}");
        commits
    }
}

fn crash_everywhere(config: &OpenOptions, stride: usize) {
    let calm = SimVfs::new(1);
    Model::default().run(&calm, config).unwrap();
    for crash in (0..calm.op_count()).step_by(stride) {
        for survival in SURVIVALS {
            let vfs = SimVfs::new(crash);
            vfs.crash_at(crash);
            let mut model = Model::default();
            model.run(&vfs, config).unwrap_err();
            let what = format!("{}, {survival:?}", vfs.trace().last().unwrap());
            check(&vfs, &model, config, survival, &what);
        }
    }
}

fn check(vfs: &SimVfs, model: &Model, config: &OpenOptions, survival: Survival, what: &str) {
    let after = vfs.reboot(survival);
    let (mut db, seen) = open_sim(&after, 21, config).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = model.count(&seen, what);
    let owed = match survival {
        Survival::KeepAll => model.written,
        _ => model.synced,
    };
    assert!(found >= owed, "{what}: {found} of {owed}");
    assert_eq!(db.report.damaged, [], "{what}");
    assert_eq!(db.report.records, seen.len() as u64);
    let next = db.writer.as_ref().unwrap().next_lsn().get();
    assert!(
        next > model.highest || db.report.clean,
        "{what}: reissues {next}"
    );
    assert!(seen.last().is_none_or(|last| next > last.0));
    if config.sync_mode == SyncMode::Fast && !db.report.clean {
        let forks = db.manifest.current().forks;
        assert_eq!(forks.last().map(|fork| fork.first_lsn.get()), Some(next));
    }

    // Recovery of the recovery: the same, whatever of it survived.
    drop(db.writer.take());
    for again in SURVIVALS {
        let second = after.reboot(again);
        let (mut db, same) =
            open_sim(&second, 22, config).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(same, seen, "{what}, then {again:?}");
        assert!(db.writer.as_ref().unwrap().next_lsn().get() >= next);
        // And it goes on from there.
        let (mut more, _) = write(&mut db, &[payload(1, 10), payload(2, 3_000)]).unwrap();
        close(&mut db).unwrap();
        drop(db);
        let third = second.reboot(Survival::DropAll);
        let (db, all) = open_sim(&third, 23, config).unwrap();
        assert!(db.report.clean, "{what}");
        let mut expected = seen.clone();
        expected.append(&mut more);
        assert_eq!(all, expected, "{what}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_normal_mode() {
    crash_everywhere(&small(SyncMode::Normal), 1);
}

#[test]
fn order_and_whole_commits_survive_in_fast_mode() {
    crash_everywhere(&small(SyncMode::Fast), 1);
}

#[test]
fn segments_from_the_pool_lose_nothing() {
    let config = OpenOptions {
        segment_pool: 1,
        ..small(SyncMode::Normal)
    };
    crash_everywhere(&config, 2);
}

#[test]
fn recovery_may_crash_at_every_operation() {
    let config = small(SyncMode::Fast);
    let calm = SimVfs::new(5);
    Model::default().run(&calm, &config).unwrap();
    for survival in SURVIVALS {
        let crashed = SimVfs::new(5);
        crashed.crash_at(calm.op_count() * 3 / 4);
        let mut model = Model::default();
        model.run(&crashed, &config).unwrap_err();
        // What the crash left, once and for all: a reboot makes it durable.
        let left = crashed.reboot(survival);
        let probe = left.reboot(Survival::KeepAll);
        let (_, before) = open_sim(&probe, 31, &config).unwrap();
        model.count(&before, "probe");
        let operations = probe.op_count();
        assert!(operations > 5);
        for crash in 0..operations {
            let vfs = left.reboot(Survival::KeepAll);
            vfs.crash_at(crash);
            open_sim(&vfs, 31, &config).unwrap_err();
            for again in SURVIVALS {
                let (db, after) = open_sim(&vfs.reboot(again), 32, &config).unwrap();
                assert_eq!(after, before, "crash at {crash}, {survival:?}, {again:?}");
                assert!(db.writer.unwrap().next_lsn().get() > model.highest);
            }
        }
    }
}

#[test]
fn crashes_in_a_row_do_not_fill_the_disk() {
    let config = small(SyncMode::Normal);
    let mut vfs = SimVfs::new(3);
    for round in 0..20 {
        let (db, _) = open_sim(&vfs, round, &config).unwrap();
        assert_eq!(db.manifest.current().segments.len(), 1);
        assert_eq!(vfs.list(&Path::new(DB).join(LOG_DIR)).unwrap().len(), 1);
        drop(db);
        vfs = vfs.reboot(Survival::KeepAll);
    }
}

#[test]
fn what_a_dead_process_left_is_durable_before_it_is_shown() {
    let options = small(SyncMode::Fast);
    let vfs = SimVfs::new(3);
    let (mut db, _) = open_sim(&vfs, 1, &options).unwrap();
    let writer = db.writer.as_mut().unwrap();
    let mut next = writer.next_lsn().get();
    writer
        .append(&mut commit(&mut next, &[payload(1, 100), payload(2, 100)]))
        .unwrap();
    // The process dies; the machine, and its page cache, only after the next one has looked.
    drop(db);
    let (db, shown) = open_sim(&vfs, 2, &options).unwrap();
    assert_eq!(shown.len(), 2);
    drop(db);
    let (db, seen) = open_sim(&vfs.reboot(Survival::DropAll), 3, &options).unwrap();
    assert_eq!(seen, shown);
    assert_eq!(db.report.damaged, []);
}
