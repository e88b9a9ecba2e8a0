//! Opening what is there, what is not, and what belongs to somebody else.

use super::*;

#[test]
fn a_closed_database_goes_on_in_the_same_segment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/db");
    let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
    let config = small(SyncMode::Normal);
    let mut expected = Seen::new();
    let mut segments = 0;
    for session in 0..4 {
        let (mut db, seen) = open_at(&vfs, &path, session, &config).unwrap();
        assert!(db.report.clean);
        assert_eq!(seen, expected);
        assert_eq!(db.timeline, Timeline::FIRST);
        let before = db.manifest.current().segments;
        assert!(
            session == 0 || before.len() == segments,
            "no segment is begun"
        );
        for number in 0..60 {
            let (mut seen, _) =
                write(&mut db, &[payload(number, 900), payload(number, number)]).unwrap();
            expected.append(&mut seen);
        }
        close(&mut db).unwrap();
        segments = db.manifest.current().segments.len();
        assert!(segments > before.len());
    }
    let (db, _) = open_at(&vfs, &path, 9, &config).unwrap();
    let set = &db.segments;
    let last = expected.last().unwrap().0;
    let numbers = |from: u64, upto: u64| -> Vec<u64> {
        set.iter_from(Lsn::new(from), Lsn::new(upto))
            .map(|frame| frame.unwrap())
            .filter(|frame| frame.header.kind != RecordKind::Close)
            .map(|frame| frame.header.lsn.get())
            .collect()
    };
    let all: Vec<u64> = expected.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(numbers(0, u64::MAX), all);
    assert_eq!(numbers(all[70], all[300]), all[70..=300]);
    assert_eq!(numbers(last, last), [last]);
    assert_eq!(numbers(last + 10, u64::MAX), [0_u64; 0]);
    for (lsn, payload) in &expected {
        let place = set.find(Lsn::new(*lsn)).unwrap();
        let frame = set.frame(place).unwrap();
        assert_eq!(frame.header.lsn.get(), *lsn);
        assert_eq!(frame.verified_payload().unwrap(), payload);
    }
    assert_eq!(set.find(Lsn::new(last + 100)), None);
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let vfs = SimVfs::new(1);
    let config = small(SyncMode::Normal);
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    let (first, _) = write(&mut db, &[payload(1, 100)]).unwrap();
    let error = open_sim(&vfs, 2, &config).unwrap_err();
    assert!(
        matches!(error, PulseDBError::Locked { pid: 1, .. }),
        "{error}"
    );

    // Written, but not published: a reader does not see it.
    let writer = db.writer.as_mut().unwrap();
    let mut next = writer.next_lsn().get();
    writer
        .append(&mut commit(&mut next, &[payload(2, 100)]))
        .unwrap();
    let reader = OpenOptions {
        read_only: true,
        ..config
    };
    let operations = vfs.op_count();
    let (read, seen) = open_sim(&vfs, 3, &reader).unwrap();
    assert_eq!(seen, first);
    assert_eq!(read.report.last_lsn.get(), first[0].0);
    assert!(read.writer.is_none() && read.lock.is_none());
    assert_eq!(vfs.op_count(), operations, "a reader changes nothing");

    drop((db, read));
    let (read, seen) = open_sim(&vfs, 3, &reader).unwrap();
    assert_eq!(seen.len(), 2, "nobody is left to take it back");
    assert!(!read.report.clean);
}

#[test]
fn a_replay_that_is_refused_ends_the_open_wherever_it_stands() {
    let vfs = SimVfs::new(1);
    let config = small(SyncMode::Normal);
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    let mut expected = Seen::new();
    for number in 0..200 {
        expected.append(&mut write(&mut db, &[payload(number, 2_000)]).unwrap().0);
    }
    close(&mut db).unwrap();
    assert!(db.manifest.current().segments.len() > 4);
    drop(db);
    let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
    let env: Arc<dyn Env> = Arc::new(SimEnv::new(2, Timestamp::from_millis(1_000)));
    for refused in [0, 40, 199] {
        let mut shown = 0;
        let error = open(&shared, &env, Path::new(DB), &config, &mut |_| {
            shown += 1;
            if shown > refused {
                return Err(PulseDBError::Closed);
            }
            Ok(())
        });
        assert!(matches!(error, Err(PulseDBError::Closed)));
        assert_eq!(shown, refused + 1);
    }
    let (_, seen) = open_sim(&vfs, 3, &config).unwrap();
    assert_eq!(seen, expected);
}

#[test]
fn reading_what_is_not_there_names_the_path() {
    let reader = OpenOptions {
        read_only: true,
        ..small(SyncMode::Normal)
    };
    let vfs = SimVfs::new(1);
    let error = open_sim(&vfs, 1, &reader).unwrap_err();
    assert!(matches!(error, PulseDBError::Io { .. }), "{error}");
    assert!(error.to_string().contains(DB), "{error}");
    assert_eq!(vfs.op_count(), 0);
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let vfs = SimVfs::new(1);
    vfs.create_dir_all(Path::new(DB)).unwrap();
    vfs.open(&Path::new(DB).join("thesis.txt"), OpenMode::CreateNew)
        .unwrap();
    let operations = vfs.op_count();
    for read_only in [false, true] {
        let config = OpenOptions {
            read_only,
            ..small(SyncMode::Normal)
        };
        let error = open_sim(&vfs, 1, &config).unwrap_err();
        assert!(matches!(error, PulseDBError::Config { .. }), "{error}");
        assert!(error.to_string().contains(DB), "{error}");
    }
    assert_eq!(vfs.op_count(), operations);
}

#[test]
fn a_newer_version_is_refused() {
    let vfs = SimVfs::new(1);
    let config = small(SyncMode::Normal);
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    close(&mut db).unwrap();
    drop(db);
    let file = vfs
        .open(&Path::new(DB).join("MANIFEST"), OpenMode::Write)
        .unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize - 4];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes[8] = 2;
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    file.write_all_at(&bytes, 0).unwrap();
    let operations = vfs.op_count();
    let error = open_sim(&vfs, 1, &config).unwrap_err();
    let expected = matches!(
        error,
        PulseDBError::Version {
            found: 2,
            supported: 1
        }
    );
    assert!(expected, "{error}");
    assert_eq!(vfs.op_count(), operations, "untouched");
}

#[test]
fn changing_the_segment_size_keeps_what_is_there() {
    let vfs = SimVfs::new(1);
    let mut expected = Seen::new();
    for (round, kib) in [64, 256, 64].into_iter().enumerate() {
        let config = OpenOptions {
            segment_bytes: kib * 1024,
            ..small(SyncMode::Normal)
        };
        let (mut db, seen) = open_sim(&vfs, round as u64, &config).unwrap();
        assert_eq!(seen, expected);
        for number in 0..100 {
            expected.append(&mut write(&mut db, &[payload(number, 2_000)]).unwrap().0);
        }
        close(&mut db).unwrap();
    }
}

#[test]
fn what_breaks_the_rules_of_the_log_is_refused_and_harmless() {
    let vfs = SimVfs::new(1);
    let config = small(SyncMode::Normal);
    let (mut db, _) = open_sim(&vfs, 1, &config).unwrap();
    let operations = vfs.op_count();
    let writer = db.writer.as_mut().unwrap();
    let first = writer.next_lsn().get();
    let huge = vec![payload(1, 30_000); 3];
    let error = writer
        .append(&mut commit(&mut { first }, &huge))
        .unwrap_err();
    assert!(matches!(error, PulseDBError::Validation { .. }), "{error}");
    writer
        .append(&mut commit(&mut { first - 1 }, &[payload(1, 1)]))
        .unwrap_err();
    let mut open_ended = commit(&mut { first }, &[payload(1, 1)]);
    open_ended[0].header.closes_commit = false;
    writer.append(&mut open_ended).unwrap_err();
    assert_eq!(vfs.op_count(), operations);
    assert_eq!(writer.append(&mut []).unwrap(), []);
    let (expected, _) = write(&mut db, &[payload(1, 1)]).unwrap();
    drop(db);
    let (_, seen) = open_sim(&vfs, 1, &config).unwrap();
    assert_eq!(seen, expected);
}
