//! Does a checkpoint give back what was put in, and nothing once a bit of it has changed?

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::model::{
    Collective, CollectiveId, DecayConfig, ExperienceKind, InstanceId, Lsn, RelationType, Timeline,
    Timestamp,
};

/// What the sections hold, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) rows: Vec<CheckpointRow>,
    pub(super) versions: Vec<CheckpointVersion>,
    pub(super) graves: Vec<CheckpointGrave>,
    /// (collective, row, key)
    pub(super) keys: Vec<(u32, u32, String)>,
    pub(super) edges: Vec<CheckpointEdge>,
    pub(super) embeddings: Vec<CheckpointEmbedding>,
    pub(super) directory: CheckpointDirectory,
}

pub(super) fn header() -> CheckpointHeader {
    CheckpointHeader {
        instance_id: InstanceId::from_u128(7),
        timeline: Timeline::FIRST,
        lsn: Lsn::new(90),
        horizon: Lsn::new(80),
        frame_segment: 2,
        frame_at: 8192,
        frame_lsn: Lsn::new(90),
        next_collective: 5,
        last_time: Timestamp::from_millis(1_000),
        last_id: 999,
        counts: CheckpointCounts::default(),
        body_crc: 0,
    }
}

/// The file of a checkpoint with this header, but for counts and checksum.
pub(super) fn file(mut header: CheckpointHeader, content: &Content) -> Vec<u8> {
    let mut body = Vec::new();
    let rows = content.rows.len() as u64;
    let mut ids = SlotTable::new(id_slots(rows));
    for (number, row) in (0..).zip(&content.rows) {
        body.extend(row.encode());
        ids.insert(id_hash(row.id), slot_of(number).unwrap());
    }
    for version in &content.versions {
        body.extend(version.encode());
    }
    for grave in &content.graves {
        body.extend(grave.encode());
    }
    body.extend(ids.slots().flat_map(u32::to_le_bytes));
    let keys = content.keys.len() as u64;
    let (mut text, mut table) = (String::new(), SlotTable::new(key_slots(keys)));
    for (number, (collective, row, key)) in (0..).zip(&content.keys) {
        text.push_str(key);
        let record = CheckpointKey {
            collective: *collective,
            row: *row,
            text_end: text.len() as u64,
        };
        body.extend(record.encode());
        let hash = key_hash(*collective, key);
        table.insert(hash, key_slot(hash, slot_of(number).unwrap()));
    }
    body.extend(table.slots().flat_map(u64::to_le_bytes));
    for edge in &content.edges {
        body.extend(edge.encode());
    }
    for embedding in &content.embeddings {
        body.extend(embedding.encode());
    }
    body.extend(text.as_bytes());
    body.resize(body.len().next_multiple_of(8), 0);
    let directory = content.directory.encode();
    body.extend(&directory);
    header.counts = CheckpointCounts {
        rows,
        versions: content.versions.len() as u64,
        graves: content.graves.len() as u64,
        id_slots: id_slots(rows),
        keys,
        key_slots: key_slots(keys),
        key_text: text.len() as u64,
        edges: content.edges.len() as u64,
        embeddings: content.embeddings.len() as u64,
        directory: directory.len() as u64,
    };
    header.body_crc = crc32fast::hash(&body);
    let mut bytes = header.encode().to_vec();
    bytes.extend(body);
    bytes
}

fn parse(bytes: Vec<u8>) -> Result<Checkpoint, FileFault> {
    Checkpoint::parse(Bytes::from(bytes))
}

pub(super) fn definition(id: u128, name: &str) -> Collective {
    Collective {
        id: CollectiveId::from_u128(id),
        name: name.into(),
        owner_id: None,
        embedding_dimension: 4,
        decay: DecayConfig::default(),
        embedder: None,
        created_at: Timestamp::from_millis(0),
        vectors: Default::default(),
        precisions: Default::default(),
    }
}

fn activity(agent_id: &str, lsn: u64, lasts: bool) -> CheckpointActivity {
    CheckpointActivity {
        lsn: Lsn::new(lsn),
        agent_id: agent_id.into(),
        record: lasts.then(|| ActivityRecord {
            agent_id: agent_id.into(),
            current_task: Some("t-1".into()),
            context_summary: None,
            started_at: Timestamp::from_millis(1),
            last_heartbeat: Timestamp::from_millis(2),
            unknown: UnknownFields::default(),
        }),
    }
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn place() -> impl Strategy<Value = FramePlace> {
    any::<(u32, u32)>()
}

fn number() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("comparable", |number| !number.is_nan())
}

prop_compose! {
    fn row()(
        (lsn, id, place, frame_bytes, agent, dimension) in (any::<u64>(), any::<u128>(), place(), any::<u32>(), any::<u32>(), any::<u16>()),
        (inverse_norm, importance, confidence) in (number(), number(), number()),
        (kind, pinned, keyed, bounded) in (option::of(Just(ExperienceKind::Fact)), any::<bool>(), any::<bool>(), any::<bool>()),
        (time, expires_at) in (time(), option::of(time())),
    ) -> CheckpointRow {
        CheckpointRow {
            lsn: Lsn::new(lsn), id, time, place, frame_bytes, dimension, agent, inverse_norm, importance,
            confidence, kind, pinned, keyed, expires_at, bounded,
        }
    }
}

prop_compose! {
    fn version()(
        (collective, row, lsn, applications, others) in any::<(u32, u32, u64, u32, u32)>(),
        (importance, confidence, archived, pinned, bounded) in (number(), number(), any::<bool>(), any::<bool>(), any::<bool>()),
        (last_reinforced, updated_at, expires_at) in (time(), time(), option::of(time())),
        (vitals, traits, traits_place, damaged_place) in (any::<u64>(), any::<u64>(), place(), place()),
    ) -> CheckpointVersion {
        CheckpointVersion {
            collective, row, lsn: Lsn::new(lsn), importance, confidence, applications, archived,
            pinned, last_reinforced, updated_at, expires_at, vitals_lsn: Lsn::new(vitals),
            traits_lsn: Lsn::new(traits), traits_place, damaged_place, others, bounded,
        }
    }
}

/// Collectives with gaps between their rows; ids are those that `rows` happen to have.
fn content() -> impl Strategy<Value = Content> {
    let gaps = vec(vec((1..40_u32, 1..30_u32), 0..5), 0..4);
    (gaps, vec(row(), 480), vec(version(), 6)).prop_map(|(gaps, rows, versions)| {
        let mut content = Content::default();
        let mut rows = rows.into_iter();
        for (number, gaps) in (1..).step_by(2).zip(gaps) {
            let start = content.rows.len() as u64;
            let (mut runs, mut end) = (Vec::new(), 0);
            for (gap, count) in gaps {
                let first = end + gap;
                let at = content.rows.len() as u64;
                content.rows.extend(rows.by_ref().take(count as usize));
                runs.push(RowRun { first, count, at });
                end = first + count;
                content.keys.push((number, first, format!("key {first}")));
                content
                    .edges
                    .extend((0..gap).map(|relation| CheckpointEdge {
                        collective: number,
                        row: first,
                        relation,
                        other: end,
                        outgoing: relation % 2 == 0,
                        relation_type: RelationType::Implies,
                        strength: 0.25,
                        has_metadata: relation % 3 == 0,
                    }));
                content
                    .embeddings
                    .extend([7, 9].map(|epoch| CheckpointEmbedding {
                        collective: number,
                        row: first,
                        epoch: Lsn::new(epoch),
                        lsn: Lsn::new(epoch + u64::from(first)),
                        place: (2, first),
                        inverse_norm: 0.5,
                    }));
                content.graves.push(CheckpointGrave {
                    collective: number,
                    row: first,
                    deleted_at: Lsn::new(u64::from(first)),
                });
            }
            for (version, run) in versions.iter().zip(&runs) {
                content.versions.push(CheckpointVersion {
                    collective: number,
                    row: run.first,
                    ..*version
                });
            }
            content.directory.collectives.push(CheckpointCollective {
                number,
                id: CollectiveId::from_u128(number.into()),
                row_count: end + 3,
                at: start,
                definitions: vec![
                    (Lsn::new(1), definition(number.into(), "a")),
                    (Lsn::new(5), definition(number.into(), "b")),
                ],
                agents: vec!["ann".into(), String::new()],
                runs,
                activities: vec![
                    activity("ann", 3, true),
                    activity("ann", 9, false),
                    activity("bob", 4, true),
                ],
                out_of_order: [number % 2 == 0, number % 3 == 0],
            });
        }
        content.directory.segments.push(CheckpointSegment {
            id: 2,
            index: vec![(1, 64), (50, 1088)],
        });
        content.directory.damage.push(CheckpointDamage {
            segment: 2,
            offset: 4096,
            what: "zeros".into(),
        });
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_put_in_is_found(content in content()) {
        let checkpoint = parse(file(header(), &content)).unwrap();
        prop_assert_eq!(checkpoint.directory(), &content.directory);
        prop_assert_eq!(checkpoint.graves().collect::<Vec<_>>(), content.graves.clone());
        for collective in &content.directory.collectives {
            let number = collective.number;
            prop_assert_eq!(checkpoint.collective(number), Some(collective));
            let all = 0..collective.row_count;
            let mut seen = Vec::new();
            for run in collective.runs_in(all.clone()) {
                seen.extend(checkpoint.rows(run));
            }
            for (row, record) in &seen {
                let at = position(collective, *row).unwrap();
                prop_assert_eq!(record, &content.rows[at as usize]);
                prop_assert_eq!(checkpoint.find_id(record.id), Some(((number, *row), record.place)));
                // Any part of the rows is found by itself.
                let part = *row..row + 7;
                let expected: Vec<u32> =
                    seen.iter().map(|(row, _)| *row).filter(|row| part.contains(row)).collect();
                let found: Vec<u32> =
                    collective.runs_in(part).flat_map(|run| run.rows()).collect();
                prop_assert_eq!(found, expected);
            }
            let there: Vec<u32> = seen.iter().map(|(row, _)| *row).collect();
            for row in all.clone().filter(|row| !there.contains(row)) {
                prop_assert_eq!(position(collective, row), None);
            }
            let versions: Vec<_> = checkpoint.versions(number, all.clone()).collect();
            let mine = |one: &&CheckpointVersion| one.collective == number;
            let expected: Vec<_> = content.versions.iter().filter(mine).copied().collect();
            prop_assert_eq!(versions, expected);
            for grave in checkpoint.graves_in(number, all) {
                let only = grave.row..grave.row + 1;
                prop_assert_eq!(checkpoint.graves_in(number, only).next(), Some(grave));
            }
        }
        for row in content.edges.iter().map(|edge| edge.row) {
            for number in [1, 3] {
                let found: Vec<_> = checkpoint.embeddings(number, row..row + 1).collect();
                let owner = (number, row);
                let mine = |one: &&CheckpointEmbedding| (one.collective, one.row) == owner;
                let expected: Vec<_> = content.embeddings.iter().filter(mine).copied().collect();
                prop_assert_eq!(found, expected);
                let found: Vec<_> = checkpoint.edges(number, row..row + 1).collect();
                let mine = |edge: &&CheckpointEdge| (edge.collective, edge.row) == (number, row);
                let expected: Vec<_> = content.edges.iter().filter(mine).copied().collect();
                prop_assert_eq!(found, expected);
            }
        }
        for (collective, row, key) in &content.keys {
            prop_assert_eq!(checkpoint.find_key(*collective, key), Some(*row));
            prop_assert_eq!(checkpoint.key_of(*collective, *row), Some(key.as_str()));
            prop_assert_eq!(checkpoint.find_key(collective + 1, key), None);
        }
        prop_assert_eq!(checkpoint.find_key(1, "no key"), None);
        prop_assert_eq!(checkpoint.key_of(1, u32::MAX), None);
        let ids: Vec<u128> = content.rows.iter().map(|row| row.id).collect();
        let unknown = (0..).find(|id| !ids.contains(id)).unwrap();
        prop_assert_eq!(checkpoint.find_id(unknown), None);
    }

    #[test]
    fn a_header_is_what_was_written(
        numbers in any::<[u64; 14]>(), small in any::<[u32; 4]>(), ids in any::<[u128; 2]>(), time in time(),
    ) {
        let [lsn, horizon, frame_at, frame_lsn, a, b, c, d, e, f, g, h, i, j] = numbers;
        let header = CheckpointHeader {
            instance_id: InstanceId::from_u128(ids[0]),
            timeline: Timeline::new(small[0]),
            lsn: Lsn::new(lsn),
            horizon: Lsn::new(horizon.min(lsn)),
            frame_segment: small[1],
            frame_at,
            frame_lsn: Lsn::new(frame_lsn.min(lsn)),
            next_collective: small[2],
            last_time: time,
            last_id: ids[1],
            counts: CheckpointCounts {
                rows: a, versions: b, graves: c, id_slots: d, keys: e, key_slots: f, key_text: g, directory: h, edges: i, embeddings: j,
            },
            body_crc: small[3],
        };
        prop_assert_eq!(CheckpointHeader::decode(&header.encode()), Ok(header));
        // However long the sections are said to be: no overflow.
        let _ = header.counts.layout();
    }

    /// Bytes whose checksums are right but which nobody has written.
    #[test]
    fn no_bytes_make_it_panic(
        counts in vec(0..4_u64, 10), body in vec(any::<u8>(), 0..600), cut in any::<bool>(),
    ) {
        let mut header = header();
        header.counts = CheckpointCounts {
            rows: counts[0], versions: counts[1], graves: counts[2], id_slots: counts[3],
            keys: counts[4], key_slots: counts[5], key_text: counts[6], edges: counts[8],
            embeddings: counts[9], directory: 12,
        };
        let mut body = body;
        if !cut {
            let len = header.counts.layout().unwrap().directory.end as usize;
            body.resize(len - CHECKPOINT_HEADER_LEN, 0);
        }
        header.body_crc = crc32fast::hash(&body);
        let mut bytes = header.encode().to_vec();
        bytes.extend(body);
        if let Ok(checkpoint) = parse(bytes) {
            look_at_everything(&checkpoint);
        }
    }

    #[test]
    fn no_directory_makes_it_panic(bytes in vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..200)) {
        if let Ok(directory) = CheckpointDirectory::decode(&bytes, 0) {
            prop_assert_eq!(directory.encode(), bytes);
        }
    }
}

/// Which of all rows this one is.
fn position(collective: &CheckpointCollective, row: u32) -> Option<u64> {
    collective.runs_in(row..row + 1).next().map(|run| run.at)
}

fn look_at_everything(checkpoint: &Checkpoint) {
    for collective in &checkpoint.directory().collectives {
        for run in collective.runs_in(0..u32::MAX) {
            for (_, row) in checkpoint.rows(run) {
                let _ = checkpoint.find_id(row.id);
            }
        }
    }
    for number in 0..3 {
        checkpoint.versions(number, 0..u32::MAX).for_each(drop);
        checkpoint.graves_in(number, 0..u32::MAX).for_each(drop);
        let _ = (
            checkpoint.find_key(number, "k"),
            checkpoint.key_of(number, 0),
        );
    }
    checkpoint.graves().for_each(drop);
    let _ = checkpoint.find_id(0);
}

#[test]
fn no_flipped_bit_and_no_other_length_passes() {
    let mut content = Content::default();
    content.rows.push(example_row());
    content.keys.push((1, 0, "key".into()));
    content.directory.collectives.push(CheckpointCollective {
        number: 1,
        id: CollectiveId::from_u128(1),
        row_count: 1,
        at: 0,
        definitions: vec![(Lsn::new(1), definition(1, "a"))],
        agents: vec!["ann".into()],
        runs: vec![RowRun {
            first: 0,
            count: 1,
            at: 0,
        }],
        activities: vec![activity("ann", 1, true), activity("bob", 1, false)],
        out_of_order: [true, false],
    });
    let whole = file(header(), &content);
    assert!(parse(whole.clone()).is_ok());
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(flipped).is_err(), "bit {bit}");
    }
    for len in 0..whole.len() {
        assert!(parse(whole[..len].to_vec()).is_err(), "{len} bytes");
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(parse(longer).unwrap_err(), FileFault::Length);
}

/// The row of the page's example.
pub(super) fn example_row() -> CheckpointRow {
    CheckpointRow {
        lsn: Lsn::new(2),
        id: 0x0190_a0b0_0000_7000_8000_0000_0000_0002,
        time: Timestamp::from_millis(1_720_000_000_002),
        place: (1, 67),
        frame_bytes: 320,
        dimension: 4,
        agent: 0,
        inverse_norm: 1.0,
        importance: 0.75,
        confidence: 0.5,
        kind: Some(ExperienceKind::Solution),
        pinned: false,
        keyed: true,
        expires_at: None,
        bounded: false,
    }
}

#[test]
fn a_directory_that_contradicts_itself_is_refused() {
    let collective = |number, runs| CheckpointCollective {
        number,
        id: CollectiveId::from_u128(1),
        row_count: 10,
        at: 0,
        definitions: vec![(Lsn::new(1), definition(1, "a"))],
        agents: Vec::new(),
        runs,
        activities: Vec::new(),
        out_of_order: [false; 2],
    };
    let run = |first, count, at| RowRun { first, count, at };
    let decode = |collectives, rows| {
        let directory = CheckpointDirectory {
            collectives,
            ..CheckpointDirectory::default()
        };
        CheckpointDirectory::decode(&directory.encode(), rows)
    };
    assert!(decode(vec![collective(1, vec![run(0, 4, 0), run(5, 5, 4)])], 9).is_ok());
    for (runs, rows) in [
        (vec![run(0, 4, 0)], 5),
        (vec![run(0, 0, 0)], 0),
        (vec![run(0, 11, 0)], 11),
        (vec![run(0, 4, 0), run(4, 1, 4)], 5),
        (vec![run(5, 4, 0), run(0, 2, 4)], 6),
        (vec![run(u32::MAX, 2, 0)], 2),
    ] {
        assert!(
            decode(vec![collective(1, runs.clone())], rows).is_err(),
            "{runs:?}"
        );
    }
    let none = || collective(1, Vec::new());
    assert!(decode(vec![none(), none()], 0).is_err());
    assert!(decode(vec![collective(0, Vec::new())], 0).is_err());
    let mut undefined = none();
    undefined.definitions.clear();
    assert!(decode(vec![undefined], 0).is_err());
    let doing = |activities| CheckpointCollective {
        activities,
        ..none()
    };
    let ann = |lsn| activity("ann", lsn, true);
    assert!(decode(vec![doing(vec![ann(1), ann(2)])], 0).is_ok());
    assert!(decode(vec![doing(vec![ann(2), ann(2)])], 0).is_err());
    assert!(decode(vec![doing(vec![activity("bob", 1, false), ann(2)])], 0).is_err());
}

#[test]
fn names_are_those_of_lsns() {
    let name = checkpoint_file_name(Lsn::new(0x1f));
    assert_eq!(name, "000000000000001f.ckpt");
    assert_eq!(checkpoint_file_lsn(&name), Some(Lsn::new(0x1f)));
    for other in [
        "1f.ckpt",
        "000000000000001F.ckpt",
        "000000000000001f.ckpt.tmp",
        "1-2.hnsw",
    ] {
        assert_eq!(checkpoint_file_lsn(other), None, "{other}");
    }
}
