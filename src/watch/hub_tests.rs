//! Are channels there while somebody subscribes, and for no longer? What does compaction spare for whom?

use crate::{
    config::TelemetryConfig,
    env::OsEnv,
    format::Fork,
    log::SegmentSet,
    model::{Cursor, InstanceId, Lsn, Timeline},
    protocol::publish::Published,
    state::{Newest, Snapshot},
    sync::Arc,
    telemetry::Telemetry,
    watch::{
        event::Scope,
        hub::{Hub, Parts, Reach},
    },
};

fn at(timeline: u32, lsn: u64) -> Cursor {
    Cursor {
        timeline: Timeline::new(timeline),
        lsn: Lsn::new(lsn),
    }
}

/// An empty log, up to LSN 100 of timeline 3, whose history begins at `begins`.
fn hub(begins: u64, follows: bool) -> Arc<Hub> {
    let published = Published::new(Arc::new(Snapshot {
        cursor: at(3, 100),
        tables: Arc::default(),
        ids: Arc::default(),
        newest: Newest::default(),
        segments: Arc::new(SegmentSet::default()),
    }));
    let fork = |timeline, first| Fork {
        timeline: Timeline::new(timeline),
        first_lsn: Lsn::new(first),
    };
    Arc::new(Hub::new(Parts {
        capacity: 4,
        instance: InstanceId::from_u128(1),
        published: Arc::new(published),
        history_begins: Lsn::new(begins),
        forks: Box::new(move || vec![fork(2, 40), fork(3, 80)]),
        follows,
        telemetry: Arc::new(Telemetry::new(Arc::new(OsEnv), TelemetryConfig::default())),
    }))
}

#[test]
fn channels_go_with_their_last_subscription() {
    let hub = hub(0, false);
    assert_eq!(hub.count(), (0, 0));
    let one = hub.subscribe(Scope::Collective(7), None);
    let two = hub.subscribe(Scope::Collective(7), None);
    let all = hub.subscribe(Scope::All, None);
    assert_eq!(hub.count(), (2, 3));
    drop(one);
    assert_eq!(hub.count(), (2, 2));
    drop((two, all));
    assert_eq!(hub.count(), (0, 0));
    let many: Vec<_> = (0..10_000)
        .map(|n| hub.subscribe(Scope::Collective(n % 100), None))
        .collect();
    assert_eq!(hub.count(), (100, 10_000));
    drop(many);
    assert_eq!(hub.count(), (0, 0));
    let late = hub.subscribe(Scope::All, None);
    hub.close();
    drop(late);
    assert!(hub.subscribe(Scope::All, None).is_none());
}

#[test]
fn the_log_is_spared_for_who_reads_it() {
    let hub = hub(0, false);
    let now = hub.subscribe(Scope::All, None);
    assert_eq!(hub.lagging(), None, "it has not looked yet");
    let from = hub.subscribe(Scope::Collective(1), Some(Lsn::new(30)));
    assert_eq!(hub.lagging(), Some(Lsn::new(30)));
    let further = hub.subscribe(Scope::All, Some(Lsn::new(20)));
    assert_eq!(hub.lagging(), Some(Lsn::new(20)));
    drop(further);
    if let Some(from) = &from {
        from.heard.advance(Lsn::new(100));
        from.heard.paid();
    }
    assert_eq!(hub.lagging(), None);
    drop((now, from));
}

#[test]
fn a_cursor_reaches_as_far_as_its_history() {
    let reach = |begins, follows, cursor| {
        let answer = hub(begins, follows).view_behind(cursor);
        answer.map(|(_, reach)| reach).ok()
    };
    let from = |lsn| Some(Reach::From(Lsn::new(lsn)));
    assert_eq!(reach(0, false, at(3, 100)), Some(Reach::Whole));
    assert_eq!(reach(0, false, at(3, 0)), Some(Reach::Whole));
    assert_eq!(reach(50, false, at(3, 49)), from(50));
    assert_eq!(reach(50, false, at(3, 50)), Some(Reach::Whole));
    // The future of nobody, or of the one that is followed.
    assert_eq!(reach(0, false, at(3, 101)), from(100));
    assert_eq!(reach(0, true, at(3, 101)), Some(Reach::Whole));
    // The log is empty: of the older histories only their begin is certain.
    assert_eq!(reach(0, false, at(1, 0)), Some(Reach::Whole));
    assert_eq!(reach(0, false, at(1, 20)), from(0));
    assert_eq!(reach(20, false, at(1, 20)), Some(Reach::Whole));
    assert_eq!(reach(60, false, at(2, 60)), Some(Reach::Whole));
    assert_eq!(reach(60, false, at(1, 50)), from(60));
    // Nobody knows these.
    for timeline in [0, 4, 9] {
        assert_eq!(reach(0, false, at(timeline, 10)), from(100), "{timeline}");
    }
}
