//! Damage is told from a torn tail, named, and confined to what it hit.

use super::*;

/// Offsets into a frame.
const HEADER: u64 = 20;
const PAYLOAD: u64 = 70;

/// A database that ran through several segments and was closed or died, with what it held.
struct Story {
    vfs: SimVfs,
    config: OpenOptions,
    seen: Seen,
    /// (file, offset) of each record.
    places: Vec<(PathBuf, u64)>,
}

fn story(clean: bool) -> Story {
    let vfs = SimVfs::new(9);
    let config = small(SyncMode::Normal);
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    let mut seen = Seen::new();
    let mut places = Vec::new();
    for number in 0..60 {
        let (mut one, at) = write(&mut db, &[payload(number, 3_000), payload(number, 50)]).unwrap();
        seen.append(&mut one);
        let set = Arc::clone(db.writer.as_ref().unwrap().segments());
        for place in at {
            let segment = set.segment(place.segment).unwrap();
            places.push((segment.path().to_owned(), place.offset()));
        }
    }
    assert!(db.manifest.current().segments.len() > 2);
    if clean {
        close(&mut db).unwrap();
    }
    drop(db);
    Story {
        vfs: vfs.reboot(Survival::DropAll),
        config,
        seen,
        places,
    }
}

/// Flips a bit of each of these records and opens; answers what the open reported and showed.
fn flip(story: &Story, hits: &[(usize, u64)]) -> (RecoveryReport, Seen) {
    let vfs = story.vfs.reboot(Survival::KeepAll);
    for &(record, byte) in hits {
        let (file, offset) = &story.places[record];
        vfs.flip_bit(file, offset + byte, 3).unwrap();
    }
    let (db, seen) = open_sim(&vfs, 2, &story.config).unwrap();
    let report = db.report.clone();
    drop(db);
    // The next open finds the same, though it is told more of where things end.
    let (db, same) = open_sim(&vfs, 3, &story.config).unwrap();
    assert_eq!(same, seen);
    assert_eq!(db.report.damaged, report.damaged);
    (report, seen)
}

fn without(story: &Story, records: &[usize]) -> Seen {
    let all = story.seen.iter().enumerate();
    all.filter(|(index, _)| !records.contains(index))
        .map(|(_, record)| record.clone())
        .collect()
}

#[test]
fn damage_is_confined_to_its_record() {
    for clean in [false, true] {
        let story = story(clean);
        let last = story.seen.len() - 1;
        let last_file = &story.places[last].0;
        let in_last = |(file, _): &(PathBuf, u64)| file == last_file;
        let first = story.places.iter().position(in_last).unwrap();
        for record in [0, 1, 7, first - 1, first, last - 9] {
            for byte in [HEADER, PAYLOAD] {
                let (report, seen) = flip(&story, &[(record, byte)]);
                let (file, offset) = &story.places[record];
                assert_eq!(seen, without(&story, &[record]), "record {record}");
                assert_eq!(report.damaged.len(), 1);
                assert_eq!(&report.damaged[0].0, file);
                assert_eq!(report.damaged[0].1, *offset);
                assert_eq!(report.torn, None);
                assert_eq!(report.clean, clean);
            }
        }
        let (report, seen) = flip(&story, &[(3, HEADER), (5, PAYLOAD), (90, PAYLOAD)]);
        assert_eq!(seen, without(&story, &[3, 5, 90]));
        assert_eq!(report.damaged.len(), 3);
    }
}

#[test]
fn the_end_of_the_log_is_torn_unless_it_was_closed() {
    for byte in [HEADER, PAYLOAD] {
        let open_end = story(false);
        let last = open_end.seen.len() - 1;
        // The whole commit goes, and nothing is known to have been durable.
        let (report, seen) = flip(&open_end, &[(last - 1, byte)]);
        assert_eq!(seen, without(&open_end, &[last - 1, last]));
        assert_eq!(report.damaged, []);
        let (file, cut, bytes) = report.torn.unwrap();
        assert_eq!((file, cut), open_end.places[last - 1].clone());
        assert!(bytes > 3_000, "{bytes}");

        let closed = story(true);
        let (report, seen) = flip(&closed, &[(last, byte)]);
        assert_eq!(seen, without(&closed, &[last]));
        assert_eq!(report.damaged.len(), 1);
        assert!(report.clean);
    }
}

#[test]
fn a_visitor_learns_whose_record_is_damaged() {
    let story = story(false);
    let (file, offset) = &story.places[5];
    story.vfs.flip_bit(file, offset + PAYLOAD, 1).unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(story.vfs.clone());
    let env: Arc<dyn Env> = Arc::new(SimEnv::new(1, Timestamp::from_millis(1)));
    let mut damaged = Vec::new();
    let db = open(&vfs, &env, Path::new(DB), &story.config, &mut |replayed| {
        if let Replayed::Damaged { header, place } = replayed {
            damaged.push((header.unwrap().lsn.get(), place.offset()));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(damaged, [(story.seen[5].0, *offset)]);
    // Whoever reads it all the same is told.
    let place = db.segments.find(Lsn::new(story.seen[5].0)).unwrap();
    let error = db
        .segments
        .frame(place)
        .unwrap()
        .verified_payload()
        .unwrap_err();
    assert!(matches!(error, PulseDBError::Corrupted { .. }), "{error}");
}

#[test]
fn iteration_names_damage_and_goes_on() {
    let story = story(true);
    let (file, offset) = &story.places[5];
    story.vfs.flip_bit(file, offset + HEADER, 1).unwrap();
    let (db, _) = open_sim(&story.vfs, 2, &story.config).unwrap();
    let lsn = |record: usize| Lsn::new(story.seen[record].0);
    let items = |from: Lsn, upto: Lsn| -> (usize, usize) {
        let items = db.segments.iter_from(from, upto);
        let (good, bad): (Vec<_>, Vec<_>) = items.partition(|item| item.is_ok());
        (good.len(), bad.len())
    };
    assert_eq!(items(lsn(2), lsn(8)), (6, 1));
    assert_eq!(items(lsn(5), lsn(5)), (0, 1));
    assert_eq!(items(lsn(6), lsn(8)), (3, 0), "behind the damage");
    assert_eq!(items(lsn(2), lsn(4)), (3, 0), "before it");
    assert_eq!(db.segments.find(lsn(5)), None);
}

#[test]
fn a_lost_sealed_segment_is_damage() {
    let story = story(false);
    let first = &story.places[0].0;
    story.vfs.remove(first).unwrap();
    let (db, seen) = open_sim(&story.vfs, 2, &story.config).unwrap();
    let lost: Vec<usize> = (0..story.seen.len())
        .filter(|&record| &story.places[record].0 == first)
        .collect();
    assert_eq!(seen, without(&story, &lost));
    assert_eq!(db.report.damaged.len(), 1);
    assert_eq!(&db.report.damaged[0].0, first);
}

#[test]
fn a_damaged_header_block_costs_nothing() {
    for (clean, sync_mode) in [
        (false, SyncMode::Normal),
        (true, SyncMode::Normal),
        (true, SyncMode::Fast),
    ] {
        let story = story(clean);
        let config = OpenOptions {
            sync_mode,
            ..story.config
        };
        let mut files: Vec<&PathBuf> = story.places.iter().map(|(file, _)| file).collect();
        files.dedup();
        for file in &files {
            let vfs = story.vfs.reboot(Survival::KeepAll);
            vfs.flip_bit(file, 50, 3).unwrap();
            let reader = OpenOptions {
                read_only: true,
                ..config
            };
            let damaged = |report: &RecoveryReport| {
                let at = |(file, at, _): &(PathBuf, u64, String)| (file.clone(), *at);
                report.damaged.iter().map(at).collect::<Vec<_>>()
            };
            let (db, seen) = open_sim(&vfs, 2, &reader).unwrap();
            assert_eq!(seen, story.seen);
            assert_eq!(damaged(&db.report), [((*file).clone(), 0)]);
            let (mut db, seen) = open_sim(&vfs, 2, &config).unwrap();
            assert_eq!(seen, story.seen);
            assert_eq!(damaged(&db.report), [((*file).clone(), 0)]);
            assert_eq!((db.report.clean, &db.report.torn), (clean, &None));
            assert_eq!(db.timeline, Timeline::FIRST);
            // Nothing is appended to it.
            let (mut more, at) = write(&mut db, &[payload(77, 100)]).unwrap();
            let appended = db.writer.as_ref().unwrap().segments();
            let appended = appended.segment(at[0].segment).unwrap().path();
            assert_ne!(appended, *file);
            close(&mut db).unwrap();
            drop(db);
            let mut all = story.seen.clone();
            all.append(&mut more);
            let (db, seen) = open_sim(&vfs.reboot(Survival::DropAll), 3, &config).unwrap();
            assert_eq!(seen, all);
            assert!(db.report.clean);
            assert_eq!(damaged(&db.report), [((*file).clone(), 0)]);
        }
    }
}

/// A process that died before its first commit left a segment with nothing in it.
#[test]
fn a_damaged_header_block_of_an_empty_segment_is_told_once() {
    for old_bytes in [false, true] {
        let story = story(false);
        let vfs = story.vfs.reboot(Survival::KeepAll);
        let (db, _) = open_sim(&vfs, 2, &story.config).unwrap();
        let last = db.manifest.current().segments.last().cloned().unwrap();
        let last = log::segment_path(&db.log_dir, last.first_lsn, last.id);
        drop(db);
        if old_bytes {
            // What a recycled file held says nothing: those frames are older than the segment.
            let old = vfs.open(&story.places[0].0, OpenMode::Read).unwrap();
            let mut bytes = vec![0; 8_192];
            old.read_exact_at(&mut bytes, 4_096).unwrap();
            let new = vfs.open(&last, OpenMode::Write).unwrap();
            new.write_all_at(&bytes, 4_096).unwrap();
            new.sync_all().unwrap();
        }
        vfs.flip_bit(&last, 4_000, 3).unwrap();
        let reader = OpenOptions {
            read_only: true,
            ..story.config
        };
        for options in [reader, story.config] {
            let (db, seen) = open_sim(&vfs, 3, &options).unwrap();
            assert_eq!(seen, story.seen);
            assert_eq!(db.report.damaged.len(), 1);
            assert_eq!(db.report.damaged[0].0, last);
        }
        let (mut db, seen) = open_sim(&vfs, 4, &story.config).unwrap();
        assert_eq!(seen, story.seen);
        let expected = usize::from(old_bytes);
        assert_eq!(db.report.damaged.len(), expected, "{:?}", db.report);
        let (mut more, _) = write(&mut db, &[payload(77, 100)]).unwrap();
        drop(db);
        let mut all = story.seen.clone();
        all.append(&mut more);
        let (_, seen) = open_sim(&vfs, 5, &story.config).unwrap();
        assert_eq!(seen, all);
    }
}

#[test]
fn an_older_manifest_finds_the_newer_segments() {
    for lost in [false, true] {
        let mut story = story(true);
        let manifest = Path::new(DB).join("MANIFEST");
        if lost {
            story.vfs.remove(&manifest).unwrap();
        } else {
            story.vfs.flip_bit(&manifest, 40, 0).unwrap();
        }
        let reader = OpenOptions {
            read_only: true,
            ..story.config
        };
        let (_, seen) = open_sim(&story.vfs, 2, &reader).unwrap();
        assert_eq!(seen, story.seen);
        let (mut db, seen) = open_sim(&story.vfs, 2, &story.config).unwrap();
        assert_eq!(seen, story.seen);
        assert!(!db.report.clean);
        assert_eq!(db.report.damaged[0].0, manifest);
        assert_eq!(db.timeline, Timeline::new(2));
        story
            .seen
            .append(&mut write(&mut db, &[payload(1, 1)]).unwrap().0);
        close(&mut db).unwrap();
        drop(db);
        let (db, seen) = open_sim(&story.vfs, 2, &story.config).unwrap();
        assert_eq!(seen, story.seen);
        assert!(db.report.clean);
        assert_eq!(db.report.damaged, []);
    }
}

#[test]
fn a_database_without_any_manifest_is_not_overwritten() {
    let story = story(true);
    for name in ["MANIFEST", "MANIFEST.old"] {
        story.vfs.remove(&Path::new(DB).join(name)).unwrap();
    }
    let dir = Path::new(DB).join(LOG_DIR);
    let names = story.vfs.list(&dir).unwrap();
    let error = open_sim(&story.vfs, 2, &story.config).unwrap_err();
    assert!(matches!(error, PulseDBError::Corrupted { .. }), "{error}");
    assert_eq!(story.vfs.list(&dir).unwrap(), names);
}

#[test]
fn frames_of_an_earlier_use_never_pass() {
    let vfs = SimVfs::new(2);
    let config = OpenOptions {
        segment_pool: 1,
        ..small(SyncMode::Normal)
    };
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    let mut expected = Seen::new();
    for number in 0..10 {
        expected.append(&mut write(&mut db, &[payload(number, 5_000)]).unwrap().0);
    }
    // A spare whose blocks hold whole frames of another segment.
    let segment = Arc::clone(db.segments.segments().last().unwrap());
    let used = vfs.open(segment.path(), OpenMode::Read).unwrap();
    let mut bytes = vec![0; used.len().unwrap() as usize];
    used.read_exact_at(&mut bytes, 0).unwrap();
    drop(db);
    let spare = Path::new(DB).join(LOG_DIR).join("spare-0.tmp");
    let file = vfs.open(&spare, OpenMode::CreateNew).unwrap();
    file.write_all_at(&bytes, 0).unwrap();

    let (mut db, seen) = open_sim(&vfs, 2, &config).unwrap();
    assert_eq!(seen, expected);
    assert!(
        !vfs.exists(&spare).unwrap(),
        "the new segment was made of it"
    );
    expected.append(&mut write(&mut db, &[payload(99, 100)]).unwrap().0);
    drop(db);
    let (db, seen) = open_sim(&vfs, 3, &config).unwrap();
    assert_eq!(seen, expected);
    assert_eq!(db.report.damaged, []);
}

#[test]
fn nothing_is_tried_again_after_a_failed_sync() {
    let vfs = SimVfs::new(4);
    let config = small(SyncMode::Normal);
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    let (kept, _) = write(&mut db, &[payload(1, 100)]).unwrap();
    let writer = db.writer.as_mut().unwrap();
    let mut next = writer.next_lsn().get();
    writer
        .append(&mut commit(&mut next, &[payload(2, 100)]))
        .unwrap();
    vfs.fail_at(vfs.op_count(), crate::vfs::FaultKind::Eio);
    let first = writer.sync().unwrap_err();
    assert!(matches!(
        first,
        PulseDBError::Io {
            operation: "sync",
            ..
        }
    ));
    let operations = vfs.op_count();
    for error in [
        writer.sync().unwrap_err(),
        writer
            .append(&mut commit(&mut next, &[payload(3, 1)]))
            .unwrap_err(),
        writer.close(Timestamp::from_millis(1)).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), first.to_string());
    }
    assert_eq!(vfs.op_count(), operations);
    drop(db);
    let (db, seen) = open_sim(&vfs.reboot(Survival::KeepAll), 2, &config).unwrap();
    assert_eq!(seen, kept);
    assert!(!db.report.clean);
}

#[test]
fn a_full_disk_stops_the_writer_and_loses_nothing() {
    let vfs = SimVfs::new(4);
    let config = small(SyncMode::Normal);
    vfs.set_capacity(3 * config.segment_bytes);
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    let mut expected = Seen::new();
    let error = loop {
        match write(&mut db, &[payload(expected.len(), 5_000)]) {
            Ok((mut seen, _)) => expected.append(&mut seen),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PulseDBError::Io { .. }), "{error}");
    drop(db);
    vfs.set_capacity(u64::MAX);
    let (_, seen) = open_sim(&vfs, 2, &config).unwrap();
    assert_eq!(seen, expected);
}

#[test]
fn a_sync_beside_the_writer_that_failed_stops_the_writer() {
    let vfs = SimVfs::new(4);
    let options = small(SyncMode::Fast);
    let (mut db, _) = open_sim(&vfs, 1, &options).unwrap();
    let (kept, _) = write(&mut db, &[payload(1, 100)]).unwrap();
    let writer = db.writer.as_mut().unwrap();
    assert!(writer.unsynced().is_none());
    let mut next = writer.next_lsn().get();
    writer
        .append(&mut commit(&mut next, &[payload(2, 100)]))
        .unwrap();
    let unsynced = writer.unsynced().unwrap();
    vfs.fail_at(vfs.op_count(), crate::vfs::FaultKind::Eio);
    unsynced.sync().unwrap_err();
    // Nobody told the writer, and the kernel would tell it that all is well.
    let operations = vfs.op_count();
    writer.sync().unwrap_err();
    writer.close(Timestamp::from_millis(1)).unwrap_err();
    assert_eq!(vfs.op_count(), operations);
    drop(db);
    let (_, seen) = open_sim(&vfs.reboot(Survival::DropAll), 2, &options).unwrap();
    assert_eq!(seen, kept);
}

#[test]
fn a_lost_manifest_takes_no_timeline_with_it() {
    let vfs = SimVfs::new(6);
    let options = small(SyncMode::Fast);
    let mut expected = Seen::new();
    for round in 0..2 {
        let (mut db, _) = open_sim(&vfs, round, &options).unwrap();
        expected.append(&mut write(&mut db, &[payload(1, 100)]).unwrap().0);
    }
    // The newest manifest alone knows of timeline 2.
    vfs.flip_bit(&Path::new(DB).join("MANIFEST"), 40, 0)
        .unwrap();
    let (db, seen) = open_sim(&vfs, 7, &options).unwrap();
    assert_eq!(seen, expected);
    assert_eq!(db.timeline, Timeline::new(3));
    let forks: Vec<(u32, u64)> = db
        .manifest
        .current()
        .forks
        .iter()
        .map(|fork| (fork.timeline.get(), fork.first_lsn.get()))
        .collect();
    let next = db.writer.as_ref().unwrap().next_lsn().get();
    assert_eq!(forks, [(2, expected[1].0), (3, next)]);
}
