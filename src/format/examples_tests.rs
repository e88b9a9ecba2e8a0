//! Are the examples of `storage-format.md` what this code reads and writes?
//!
//! Each `hex` block of the page is decoded, compared with the values that the page gives in words,
//! and encoded again to the same bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{collections::BTreeMap, fmt::Write};

use super::{
    checkpoint_tests::{Content, example_row, file},
    *,
};
use crate::config::VectorElement;
use crate::model::{
    Collective, CollectiveId, ContentHash, DecayConfig, EmbedderIdentity, EventType, ExperienceId,
    ExperienceType, InsightType, InstanceId, Lsn, RelationType, Timeline, Timestamp, UserId,
};

const PAGE: &str = include_str!("../../storage-format.md");
const SEED: u32 = 0x5eed_1234;
const COLLECTIVE: u128 = 0x0190_a0b0_0000_7000_8000_0000_0000_0001;
const EXPERIENCE: u128 = 0x0190_a0b0_0000_7000_8000_0000_0000_0002;
const INSTANCE: u128 = 0x0190_a0b0_0000_7000_8000_0000_0000_00ff;
const START_MS: i64 = 1_720_000_000_000;

/// The bytes of the block that starts with "```hex NAME". An offset in front of each line; `*`
/// stands for zeros up to the next offset.
fn example(name: &str) -> Vec<u8> {
    let fence = format!("```hex {name}\n");
    let Some((_, behind)) = PAGE.split_once(&fence) else {
        return Vec::new();
    };
    let (block, _) = behind.split_once("```").unwrap();
    let mut bytes = Vec::new();
    for line in block.lines().filter(|line| *line != "*") {
        let mut words = line.split_whitespace();
        let offset = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        assert!(offset >= bytes.len(), "{name}: offset {offset:x} is behind");
        bytes.resize(offset, 0);
        bytes.extend(words.map(|word| u8::from_str_radix(word, 16).unwrap()));
    }
    bytes
}

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut skipping = false;
    for (index, line) in bytes.chunks(16).enumerate() {
        let inside = index > 0 && (index + 1) * 16 < bytes.len();
        if inside && line.iter().all(|byte| *byte == 0) {
            if !skipping {
                out.push_str("*\n");
            }
            skipping = true;
            continue;
        }
        skipping = false;
        write!(out, "{:04x} ", index * 16).unwrap();
        for byte in line {
            write!(out, " {byte:02x}").unwrap();
        }
        out.push('\n');
    }
    out
}

/// The page's bytes must be these; otherwise says what the block should be.
fn agree(name: &str, encoded: &[u8]) {
    assert!(
        example(name) == encoded,
        "storage-format.md should say:\n```hex {name}\n{}```",
        dump(encoded)
    );
}

fn header(kind: RecordKind, lsn: u64) -> FrameHeader {
    FrameHeader {
        payload_len: 0,
        payload_crc: 0,
        kind,
        closes_commit: true,
        dimension: 0,
        lsn: Lsn::new(lsn),
        time: Timestamp::from_millis(START_MS + lsn as i64),
        collective: 1,
        row: 0,
        entity: EXPERIENCE,
        durable_upto: Lsn::new(lsn - 1),
    }
}

/// Compares a frame of the page with a header and a payload; answers the payload as the page has it.
fn frame_agrees(name: &str, header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        payload_len: payload.len() as u32,
        payload_crc: payload_crc(payload),
        ..header
    };
    let mut bytes = header.encode(SEED).to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(header.frame_len() as usize, 0);
    agree(name, &bytes);
    let page = example(name);
    let (read, payload) = verify_frame(&page, SEED).unwrap();
    assert_eq!(read, header);
    assert_eq!(page.len() as u64, read.frame_len());
    payload.to_vec()
}

fn text_map(pairs: [(&str, &str); 1]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn segment_header() {
    let header = SegmentHeader {
        timeline: Timeline::FIRST,
        instance_id: InstanceId::from_u128(INSTANCE),
        first_lsn: Lsn::new(1),
        previous_lsn: Lsn::ZERO,
        seed: SEED,
        id: 1,
        cipher: 0,
        key: 0,
        cleaned: Lsn::ZERO,
    };
    agree("segment-header", &header.encode());
    let decoded = SegmentHeader::decode(&example("segment-header")).unwrap();
    assert_eq!(decoded, header);
}

#[test]
fn collective() {
    let record = CollectiveRecord {
        collective: Collective {
            id: CollectiveId::from_u128(COLLECTIVE),
            name: "demo".into(),
            owner_id: Some(UserId::from("ann")),
            embedding_dimension: 4,
            decay: DecayConfig::default(),
            embedder: Some(EmbedderIdentity {
                provider: "external".into(),
                model: "toy".into(),
                fingerprint: String::new(),
            }),
            created_at: Timestamp::from_millis(START_MS + 1),
            vectors: Default::default(),
            precisions: Default::default(),
        },
        unknown: UnknownFields::default(),
    };
    let mut payload = Vec::new();
    record.encode(&mut payload);
    let header = FrameHeader {
        entity: COLLECTIVE,
        ..header(RecordKind::Collective, 1)
    };
    let page = frame_agrees("frame-collective", header, &payload);
    let decoded = CollectiveRecord::decode(record.collective.id, &page).unwrap();
    assert_eq!(decoded, record);
}

#[test]
fn body() {
    let vector = [0.5, -0.5, 0.5, -0.5];
    let body = Body {
        content: "Pin the future before polling it.".into(),
        experience_type: ExperienceType::Solution {
            problem_ref: None,
            approach: "Box::pin".into(),
            worked: true,
        },
        source_agent: "agent-7".into(),
        source_task: Some("t-1".into()),
        idempotency_key: Some("k-1".into()),
        content_hash: ContentHash([
            0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d,
            0x1e, 0x1f,
        ]),
        inverse_norm: 1.0,
        vitals: Vitals::initial(0.75, 0.5),
        traits: Traits {
            domain: vec!["rust".into()],
            tags: text_map([("crate", "tokio")]),
            ..Traits::default()
        },
        derivation: None,
        recorded_at: None,
        type_unknown: UnknownFields::default(),
        unknown: UnknownFields::default(),
    };
    let mut payload = Vec::new();
    body.encode(&mut payload, &vector);
    let header = FrameHeader {
        dimension: 4,
        ..header(RecordKind::Body, 2)
    };
    let page = frame_agrees("frame-body", header, &payload);
    assert_eq!(Body::decode(4, &page).unwrap(), body);
    let view = BodyView::parse(4, &page).unwrap();
    assert_eq!(view.vector_f32(), vector);
}

#[test]
fn embedding() {
    let vector = [0.6, 0.8];
    let record = EmbeddingRecord {
        inverse_norm: 1.0,
        epoch: Lsn::new(13),
        unknown: UnknownFields::default(),
    };
    let mut payload = Vec::new();
    record.encode(&vector, &mut payload);
    assert_eq!(payload.len(), 2 * 4 + EMBEDDING_FIELDS_LEN);
    let header = FrameHeader {
        dimension: 2,
        ..header(RecordKind::Embedding, 14)
    };
    let page = frame_agrees("frame-embedding", header, &payload);
    assert_eq!(EmbeddingRecord::decode(2, &page).unwrap(), record);
}

#[test]
fn vitals() {
    let vitals = Vitals {
        applications: 1,
        last_reinforced: Some(Timestamp::from_millis(START_MS + 3)),
        change: EventType::Reinforced,
        ..Vitals::initial(0.75, 0.5)
    };
    let mut payload = Vec::new();
    vitals.encode(&mut payload);
    let page = frame_agrees("frame-vitals", header(RecordKind::Vitals, 3), &payload);
    assert_eq!(Vitals::decode(&page).unwrap(), vitals);
}

#[test]
fn traits() {
    let traits = Traits {
        domain: vec!["rust".into(), "async".into()],
        related_files: vec!["src/main.rs".into()],
        expires_at: Some(Timestamp::from_millis(START_MS + 86_400_000)),
        pinned: true,
        vitals_lsn: Lsn::new(3),
        ..Traits::default()
    };
    let mut payload = Vec::new();
    traits.encode(&mut payload);
    let page = frame_agrees("frame-traits", header(RecordKind::Traits, 4), &payload);
    assert_eq!(Traits::decode(&page).unwrap(), traits);
}

#[test]
fn relation() {
    let end = |id, row| RelationEnd { id, row };
    let relation = RelationRecord {
        source: end(EXPERIENCE + 1, 1),
        target: end(EXPERIENCE, 0),
        relation_type: RelationType::Elaborates,
        strength: 0.5,
        metadata: Some("{\"n\":1}".into()),
        recorded_at: None,
        unknown: UnknownFields::default(),
    };
    let mut payload = Vec::new();
    relation.encode(&mut payload);
    let header = FrameHeader {
        entity: EXPERIENCE + 0x10,
        ..header(RecordKind::Relation, 8)
    };
    let page = frame_agrees("frame-relation", header, &payload);
    assert_eq!(RelationRecord::decode(&page).unwrap(), relation);
}

#[test]
fn insight() {
    let vector = [0.5, 0.5, 0.5, 0.5];
    let insight = Body {
        content: "Pin first.".into(),
        experience_type: ExperienceType::Generic { category: None },
        source_agent: String::new(),
        source_task: None,
        idempotency_key: None,
        content_hash: ContentHash([0x20; 16]),
        inverse_norm: 1.0,
        vitals: Vitals::initial(1.0, 0.75),
        traits: Traits::default(),
        recorded_at: None,
        derivation: Some(Derivation {
            insight_type: InsightType::Synthesis,
            sources: vec![ExperienceId::from_u128(EXPERIENCE)],
        }),
        type_unknown: UnknownFields::default(),
        unknown: UnknownFields::default(),
    };
    let mut payload = Vec::new();
    insight.encode(&mut payload, &vector);
    let header = FrameHeader {
        dimension: 4,
        entity: EXPERIENCE + 0x20,
        ..header(RecordKind::Insight, 9)
    };
    let page = frame_agrees("frame-insight", header, &payload);
    assert_eq!(Body::decode(4, &page).unwrap(), insight);
}

#[test]
fn activity() {
    let doing = ActivityRecord {
        agent_id: "agent-7".into(),
        current_task: Some("t-1".into()),
        context_summary: Some("the parser".into()),
        started_at: Timestamp::from_millis(START_MS + 8),
        last_heartbeat: Timestamp::from_millis(START_MS + 12),
        unknown: UnknownFields::default(),
    };
    let about_nothing = |kind, lsn| FrameHeader {
        entity: 0,
        ..header(kind, lsn)
    };
    let mut payload = Vec::new();
    doing.encode(&mut payload);
    assert_eq!(
        doing.frame_len(),
        (FRAME_HEADER_LEN + payload.len()).next_multiple_of(64) as u64
    );
    let head = about_nothing(RecordKind::Activity, 12);
    let page = frame_agrees("frame-activity", head, &payload);
    assert_eq!(ActivityRecord::decode(&page).unwrap(), doing);
    let mut payload = Vec::new();
    encode_activity_end("agent-7", &mut payload);
    let head = about_nothing(RecordKind::ActivityEnded, 13);
    let page = frame_agrees("frame-activity-ended", head, &payload);
    assert_eq!(decode_activity_end(&page).unwrap(), "agent-7");
}

#[test]
fn records_without_payload() {
    let deleted = header(RecordKind::ExperienceDeleted, 5);
    frame_agrees("frame-experience-deleted", deleted, &[]);
    let deleted = FrameHeader {
        entity: COLLECTIVE,
        ..header(RecordKind::CollectiveDeleted, 6)
    };
    frame_agrees("frame-collective-deleted", deleted, &[]);
    let close = FrameHeader {
        collective: 0,
        entity: 0,
        ..header(RecordKind::Close, 7)
    };
    frame_agrees("frame-close", close, &[]);
}

#[test]
fn manifest() {
    let second = (1 << 32) + 6;
    let manifest = Manifest {
        instance_id: InstanceId::from_u128(INSTANCE),
        created_at: Timestamp::from_millis(START_MS),
        generation: 2,
        timeline: Timeline::new(2),
        forks: vec![Fork {
            timeline: Timeline::new(2),
            first_lsn: Lsn::new(second),
        }],
        retained_from: Lsn::ZERO,
        next_segment: 3,
        segments: vec![
            SegmentEntry {
                id: 1,
                first_lsn: Lsn::new(1),
                end: 5056,
            },
            SegmentEntry {
                id: 2,
                first_lsn: Lsn::new(second),
                end: 0,
            },
        ],
        checkpoint: Lsn::ZERO,
        sync_mode: SyncModeCode::Fast,
        session: Lsn::new(second),
        unknown: UnknownFields::default(),
    };
    agree("manifest", &manifest.encode());
    assert_eq!(Manifest::decode(&example("manifest")).unwrap(), manifest);
}

#[test]
fn tail() {
    let tail = Tail {
        lsn: Lsn::new(7),
        timeline: Timeline::FIRST,
    };
    agree("tail", &tail.encode());
    assert_eq!(Tail::decode(&example("tail")).unwrap(), tail);
}

#[test]
fn graph_header() {
    let header = GraphHeader {
        covered: Covered {
            database: InstanceId::from_u128(INSTANCE),
            timeline: Timeline::FIRST,
            collective: 1,
            first: 0,
            end: 12,
            last_lsn: Lsn::new(12),
            horizon: Lsn::new(9),
        },
        params: GraphParams {
            dimension: 384,
            element: VectorElement::I8,
            connectivity: 16,
            expansion_add: 96,
            unit: 0.001_416_015_6,
        },
        rows: 10,
        graph_len: 5408,
        library: GraphHeader::library_name("2.26.6").unwrap(),
        body_crc: 0x1234_5678,
    };
    agree("graph-header", &header.encode());
    assert_eq!(
        GraphHeader::decode(&example("graph-header")).unwrap(),
        header
    );
    let layout = header.layout().unwrap();
    assert_eq!(layout.graph, 120..5528);
    assert_eq!(layout.matrix, 128..3968);
    assert_eq!(layout.rows, 5568..5608);
    assert_eq!(layout.errors, 5632..5672);
    assert_eq!(layout.len(), 5672);
}

/// After the third frame of section 6.
#[test]
fn checkpoint() {
    let demo = CollectiveRecord::decode(
        CollectiveId::from_u128(COLLECTIVE),
        verify_frame(&example("frame-collective"), SEED).unwrap().1,
    );
    let mut content = Content::default();
    content.rows.push(example_row());
    content.keys.push((1, 0, "k-1".into()));
    content.versions.push(CheckpointVersion {
        collective: 1,
        row: 0,
        lsn: Lsn::new(3),
        importance: 0.75,
        confidence: 0.5,
        applications: 1,
        archived: false,
        pinned: false,
        last_reinforced: Timestamp::from_millis(START_MS + 3),
        updated_at: Timestamp::from_millis(START_MS + 3),
        expires_at: None,
        vitals_lsn: Lsn::new(3),
        traits_lsn: Lsn::ZERO,
        traits_place: (0, 0),
        damaged_place: (0, 0),
        others: 0,
        bounded: false,
    });
    content.directory = CheckpointDirectory {
        segments: vec![CheckpointSegment {
            id: 1,
            index: vec![(1, 64)],
        }],
        damage: Vec::new(),
        collectives: vec![CheckpointCollective {
            number: 1,
            id: CollectiveId::from_u128(COLLECTIVE),
            row_count: 1,
            at: 0,
            definitions: vec![(Lsn::new(1), demo.unwrap().collective)],
            agents: vec!["agent-7".into()],
            runs: vec![RowRun {
                first: 0,
                count: 1,
                at: 0,
            }],
            activities: Vec::new(),
            out_of_order: [false; 2],
        }],
    };
    let header = CheckpointHeader {
        instance_id: InstanceId::from_u128(INSTANCE),
        timeline: Timeline::FIRST,
        lsn: Lsn::new(3),
        horizon: Lsn::new(2),
        frame_segment: 1,
        frame_at: 4608,
        frame_lsn: Lsn::new(3),
        next_collective: 2,
        last_time: Timestamp::from_millis(START_MS + 3),
        last_id: EXPERIENCE,
        counts: CheckpointCounts::default(),
        body_crc: 0,
    };
    agree("checkpoint", &file(header, &content));
    let read = Checkpoint::parse(example("checkpoint").into()).unwrap();
    let run = read.collective(1).unwrap().runs[0];
    assert_eq!(read.rows(run).collect::<Vec<_>>(), [(0, example_row())]);
    assert_eq!(read.versions(1, 0..1).collect::<Vec<_>>(), content.versions);
    assert_eq!(read.directory(), &content.directory);
    assert_eq!(read.find_id(EXPERIENCE).map(|(row, _)| row), Some((1, 0)));
    assert_eq!(read.find_key(1, "k-1"), Some(0));
}
