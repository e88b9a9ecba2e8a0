//! Does each thing that may go wrong turn its check, and no other?

use std::sync::Arc;

use super::*;

const SEGMENT: u64 = 1 << 20;

fn io_error(kind: io::ErrorKind) -> PulseDBError {
    PulseDBError::Io {
        operation: "write",
        path: "/db/log".into(),
        source: Arc::new(kind.into()),
    }
}

fn well() -> Seen {
    Seen {
        now: Timestamp::from_millis(100_000),
        writer: Some(Writer {
            stopped: None,
            queued: (0, 100),
            checkpoint: Some(Behind {
                newest: None,
                bytes: 0,
                due: 10,
            }),
            checkpoint_failure: None,
            overdue: Some(0),
            compaction_failure: None,
        }),
        space: Ok(FileSystemSpace {
            total_bytes: 100 * SEGMENT,
            free_bytes: 50 * SEGMENT,
            total_inodes: 10_000,
            free_inodes: 5_000,
        }),
        segment_bytes: SEGMENT,
        torn: None,
        damage: (0, None),
        vector_tail: (0, 100),
        build_failure: None,
        text_tail: 0,
        follow: None,
        last_write: Timestamp::from_millis(99_000),
    }
}

/// What differs from a database that is well.
fn turned(change: impl FnOnce(&mut Seen)) -> Vec<(CheckName, HealthStatus)> {
    let mut seen = well();
    change(&mut seen);
    let checks = checks(&seen);
    for check in &checks {
        assert_eq!(
            check.advice.is_some(),
            check.status != HealthStatus::Healthy,
            "{check:?}"
        );
    }
    let not_well = checks
        .iter()
        .filter(|one| one.status != HealthStatus::Healthy);
    not_well.map(|one| (one.name, one.status)).collect()
}

fn writer(change: impl FnOnce(&mut Writer)) -> Vec<(CheckName, HealthStatus)> {
    turned(|seen| change(seen.writer.as_mut().unwrap()))
}

fn space(change: impl FnOnce(&mut FileSystemSpace)) -> Vec<(CheckName, HealthStatus)> {
    turned(|seen| change(seen.space.as_mut().unwrap()))
}

#[test]
fn what_is_well_is_said_in_order() {
    let mut seen = well();
    let names: Vec<CheckName> = checks(&seen).iter().map(|one| one.name).collect();
    let of_a_writer = CheckName::ALL
        .iter()
        .filter(|one| **one != CheckName::Follow);
    assert!(names.iter().eq(of_a_writer));
    assert_eq!(worst(&checks(&seen)), HealthStatus::Healthy);
    seen.writer = None;
    seen.follow = Some(FollowHealth::default());
    let of_a_reader: Vec<CheckName> = checks(&seen).iter().map(|one| one.name).collect();
    assert!(of_a_reader.contains(&CheckName::Follow));
    assert!(!of_a_reader.contains(&CheckName::Checkpoint));
}

#[test]
fn each_turns_its_own_check() {
    use {CheckName as Name, HealthStatus::*};
    let now = Timestamp::from_millis(90_000);
    let failure = || Some((now, io_error(io::ErrorKind::PermissionDenied)));
    let follow = |behind_ms, trouble: Option<&str>| {
        turned(|seen| {
            seen.follow = Some(FollowHealth {
                behind_lsns: 3,
                behind_ms,
                trouble: trouble.map(str::to_owned),
            });
        })
    };
    let behind = |bytes| {
        writer(|one| {
            one.checkpoint = Some(Behind {
                newest: None,
                bytes,
                due: 10,
            });
        })
    };
    for (what, turned, expected) in [
        ("nothing", turned(|_| ()), vec![]),
        (
            "stopped",
            writer(|one| one.stopped = Some(io_error(io::ErrorKind::Other))),
            vec![(Name::Writer, Unhealthy)],
        ),
        (
            "queue",
            writer(|one| one.queued.0 = 80),
            vec![(Name::Writer, Degraded)],
        ),
        (
            "little space",
            space(|one| one.free_bytes = 8 * SEGMENT - 1),
            vec![(Name::DiskSpace, Degraded)],
        ),
        (
            "no space",
            space(|one| one.free_bytes = SEGMENT - 1),
            vec![(Name::DiskSpace, Unhealthy)],
        ),
        (
            "few inodes",
            space(|one| one.free_inodes = 999),
            vec![(Name::Inodes, Degraded)],
        ),
        (
            "no inodes",
            space(|one| one.free_inodes = 0),
            vec![(Name::Inodes, Unhealthy)],
        ),
        (
            "no limit of inodes",
            space(|one| (one.total_inodes, one.free_inodes) = (0, 0)),
            vec![],
        ),
        (
            "a file system that is gone",
            turned(|seen| seen.space = Err(io::ErrorKind::NotFound.into())),
            vec![(Name::DiskSpace, Degraded)],
        ),
        (
            "damage",
            turned(|seen| seen.damage = (2, Some(("/db/log/1.seg".into(), 64)))),
            vec![(Name::Damage, Degraded)],
        ),
        (
            "torn",
            turned(|seen| seen.torn = Some(("/db/log/1.seg".into(), 64, 8))),
            vec![(Name::Damage, Degraded)],
        ),
        (
            "half of a tail",
            turned(|seen| seen.vector_tail.0 = 50),
            vec![(Name::VectorIndex, Degraded)],
        ),
        (
            "a full tail",
            turned(|seen| seen.vector_tail.0 = 101),
            vec![(Name::VectorIndex, Unhealthy)],
        ),
        (
            "no graph",
            turned(|seen| seen.build_failure = failure()),
            vec![(Name::VectorIndex, Degraded)],
        ),
        (
            "words",
            turned(|seen| seen.text_tail = TEXT_TAIL_ROWS + 1),
            vec![(Name::TextIndex, Degraded)],
        ),
        ("some log", behind(40), vec![]),
        ("much log", behind(41), vec![(Name::Checkpoint, Degraded)]),
        (
            "no checkpoint",
            writer(|one| one.checkpoint_failure = failure()),
            vec![(Name::Checkpoint, Degraded)],
        ),
        (
            "compaction is late",
            writer(|one| one.overdue = Some(8)),
            vec![(Name::Compaction, Degraded)],
        ),
        (
            "compaction is off",
            writer(|one| one.overdue = None),
            vec![],
        ),
        (
            "compaction fails",
            writer(|one| one.compaction_failure = failure()),
            vec![(Name::Compaction, Degraded)],
        ),
        ("a reader", follow(9_999, None), vec![]),
        (
            "a late reader",
            follow(10_000, None),
            vec![(Name::Follow, Degraded)],
        ),
        (
            "a stuck reader",
            follow(0, Some("no file")),
            vec![(Name::Follow, Degraded)],
        ),
        (
            "a clock set right",
            turned(|seen| seen.last_write = Timestamp::from_millis(105_000)),
            vec![],
        ),
        (
            "a clock set back",
            turned(|seen| seen.last_write = Timestamp::from_millis(105_001)),
            vec![(Name::Clock, Degraded)],
        ),
    ] {
        assert_eq!(turned, expected, "{what}");
    }
}

#[test]
fn the_advice_is_against_the_cause() {
    for (kind, part) in [
        (io::ErrorKind::StorageFull, "free space"),
        (io::ErrorKind::PermissionDenied, "user write"),
        (io::ErrorKind::Other, "medium"),
    ] {
        assert!(remedy(&io_error(kind)).contains(part), "{kind:?}");
    }
}
