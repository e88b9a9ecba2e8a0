//! Properties of records: what was encoded decodes to the same, and nothing makes a decoder panic. Those of
//! frames and files stand in `file_property_tests`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*};

use super::{
    experience_type::encode_experience_type,
    fields::{Field, FieldWriter},
    *,
};
use crate::model::{
    Collective, CollectiveId, ContentHash, DecayConfig, EmbedderIdentity, EventType, ExperienceId,
    ExperienceType, InsightType, InstanceId, Lsn, NextVectors, Precisions, RecallWeights,
    RelationType, Severity, Timestamp, UserId, VectorEpoch,
};

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn ratio() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0), Just(-0.0), Just(1.0), 0.0f32..1.0]
}

pub(super) fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

pub(super) fn lsn() -> impl Strategy<Value = Lsn> {
    prop_oneof![Just(0), any::<u64>()].prop_map(Lsn::new)
}

/// Fields that no build knows, with tags from 200 on.
pub(super) fn unknown() -> impl Strategy<Value = UnknownFields> {
    proptest::collection::btree_map(200u8.., vec(any::<u8>(), 0..8), 0..3).prop_map(|fields| {
        let mut raw = Vec::new();
        for (tag, value) in fields {
            FieldWriter::new(&mut raw).bytes(tag, &value);
        }
        UnknownFields::keep(&raw)
    })
}

fn event_type() -> impl Strategy<Value = EventType> {
    prop_oneof![
        Just(EventType::Created),
        Just(EventType::Updated),
        Just(EventType::Archived),
        Just(EventType::Unarchived),
        Just(EventType::Reinforced),
        Just(EventType::Deleted),
    ]
}

prop_compose! {
    fn vitals()(
        (importance, confidence) in (ratio(), ratio()),
        applications in prop_oneof![Just(0), any::<u32>()],
        last_reinforced in option::of(time()),
        archived in any::<bool>(),
        change in event_type(),
        (prev, traits_lsn) in (lsn(), lsn()),
        others in prop_oneof![Just(0), any::<u32>()],
        updated_at in option::of(time()),
        unknown in unknown(),
    ) -> Vitals {
        Vitals {
            importance, confidence, applications, last_reinforced, archived, change, prev,
            traits_lsn, others, updated_at, unknown,
        }
    }
}

prop_compose! {
    fn traits()(
        domain in vec(text(), 0..4),
        tags in proptest::collection::btree_map(text(), text(), 0..4),
        related_files in vec(text(), 0..4),
        (expires_at, valid_from, valid_to)
            in (option::of(time()), option::of(time()), option::of(time())),
        pinned in any::<bool>(),
        (prev, vitals_lsn) in (lsn(), lsn()),
        counts in proptest::collection::btree_map(any::<u128>(), any::<u32>(), 0..4),
        updated_at in option::of(time()),
        unknown in unknown(),
    ) -> Traits {
        Traits {
            domain, tags, related_files, expires_at, valid_from, valid_to, pinned, prev,
            vitals_lsn,
            foreign_applications: counts
                .into_iter()
                .map(|(id, count)| (InstanceId::from_u128(id), count))
                .collect(),
            updated_at,
            unknown,
        }
    }
}

prop_compose! {
    fn activity()(
        agent_id in text(),
        (current_task, context_summary) in (option::of(text()), option::of(text())),
        (started_at, last_heartbeat) in (time(), time()),
        unknown in unknown(),
    ) -> ActivityRecord {
        ActivityRecord {
            agent_id, current_task, context_summary, started_at, last_heartbeat, unknown,
        }
    }
}

fn severity() -> impl Strategy<Value = Severity> {
    prop_oneof![
        Just(Severity::Low),
        Just(Severity::Medium),
        Just(Severity::High),
        Just(Severity::Critical),
    ]
}

fn experience_type() -> impl Strategy<Value = ExperienceType> {
    use ExperienceType as T;
    prop_oneof![
        (text(), severity()).prop_map(|(description, severity)| T::Difficulty {
            description,
            severity
        }),
        (option::of(text()), text(), any::<bool>()).prop_map(|(problem_ref, approach, worked)| {
            T::Solution {
                problem_ref,
                approach,
                worked,
            }
        }),
        (text(), text(), text()).prop_map(|(signature, fix, prevention)| T::ErrorPattern {
            signature,
            fix,
            prevention
        }),
        (text(), text(), ratio()).prop_map(|(task_type, approach, quality)| T::SuccessPattern {
            task_type,
            approach,
            quality
        }),
        (text(), text(), ratio()).prop_map(|(category, preference, strength)| {
            T::UserPreference {
                category,
                preference,
                strength,
            }
        }),
        (text(), text()).prop_map(|(decision, rationale)| T::ArchitecturalDecision {
            decision,
            rationale
        }),
        (text(), text()).prop_map(|(technology, insight)| T::TechInsight {
            technology,
            insight
        }),
        (text(), text()).prop_map(|(statement, source)| T::Fact { statement, source }),
        option::of(text()).prop_map(|category| T::Generic { category }),
    ]
}

prop_compose! {
    fn derivation()(
        insight_type in prop_oneof![
            Just(InsightType::Pattern), Just(InsightType::Synthesis),
            Just(InsightType::Abstraction), Just(InsightType::Correlation),
        ],
        sources in vec(any::<u128>().prop_map(ExperienceId::from_u128), 0..5),
    ) -> Derivation {
        Derivation { insight_type, sources }
    }
}

prop_compose! {
    fn relation()(
        (source, target) in (any::<(u128, u32)>(), any::<(u128, u32)>()),
        relation_type in prop_oneof![
            Just(RelationType::Supports), Just(RelationType::Contradicts),
            Just(RelationType::Elaborates), Just(RelationType::Supersedes),
            Just(RelationType::Implies), Just(RelationType::RelatedTo),
        ],
        strength in ratio(),
        metadata in option::of(text()),
        recorded_at in option::of(time()),
        unknown in unknown(),
    ) -> RelationRecord {
        let end = |(id, row)| RelationEnd { id, row };
        RelationRecord {
            source: end(source), target: end(target), relation_type, strength, metadata,
            recorded_at, unknown,
        }
    }
}

prop_compose! {
    pub(super) fn body()(
        (content, source_agent) in (text(), text()),
        experience_type in experience_type(),
        (source_task, idempotency_key) in (option::of(text()), option::of(text())),
        content_hash in any::<[u8; 16]>(),
        inverse_norm in prop_oneof![Just(f32::MIN_POSITIVE), Just(f32::MAX), 1e-9f32..1e9],
        (vitals, traits) in (vitals(), traits()),
        derivation in option::of(derivation()),
        recorded_at in option::of(time()),
        (type_unknown, unknown) in (unknown(), unknown()),
    ) -> Body {
        Body {
            content, experience_type, source_agent, source_task, idempotency_key,
            content_hash: ContentHash(content_hash), inverse_norm, vitals, traits, derivation, recorded_at,
            type_unknown, unknown,
        }
    }
}

/// Any bits, NaN and infinities included: what is stored is what was given.
pub(super) fn vector() -> impl Strategy<Value = Vec<f32>> {
    vec(any::<u32>().prop_map(f32::from_bits), 1..40)
}

prop_compose! {
    fn vectors()(
        (epoch, since) in any::<(u64, u64)>(),
        next in option::of((1u64.., 1u16..=4096, (text(), text(), text()))),
    ) -> VectorEpoch {
        let next = next.map(|(epoch, dimension, (provider, model, fingerprint))| NextVectors {
            epoch: Lsn::new(epoch),
            dimension,
            embedder: EmbedderIdentity { provider, model, fingerprint },
        });
        VectorEpoch { epoch: Lsn::new(epoch), since: Lsn::new(since), next }
    }
}

prop_compose! {
    fn collective()(
        id in any::<u128>(),
        (name, owner_id) in (text(), option::of(text())),
        embedding_dimension in 1u16..=4096,
        half_life_ms in 1u64..,
        (freq_weight, floor) in (0.0f32..=100.0, ratio()),
        auto_archive_below_floor in any::<bool>(),
        weights in option::of((0.0f32..=f32::MAX, ratio())),
        embedder in option::of((text(), text(), text())),
        created_at in time(),
        vectors in vectors(),
        (f32, bf16) in any::<(bool, bool)>(),
        unknown in unknown(),
    ) -> CollectiveRecord {
        let collective = Collective {
            id: CollectiveId::from_u128(id),
            name,
            owner_id: owner_id.map(UserId::from),
            embedding_dimension,
            decay: DecayConfig {
                half_life_ms, freq_weight, floor, auto_archive_below_floor,
                default_recall_weights: weights
                    .map(|(similarity, energy)| RecallWeights { similarity, energy }),
            },
            embedder: embedder.map(|(provider, model, fingerprint)| {
                EmbedderIdentity { provider, model, fingerprint }
            }),
            created_at,
            vectors,
            precisions: Precisions { f32, bf16 },
        };
        CollectiveRecord { collective, unknown }
    }
}

pub(super) fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// Asks every decoder everything. Whatever it answers, it must answer.
fn decode_with_everything(dimension: u16, bytes: &[u8]) {
    let _ = verify_frame(bytes, 0);
    let _ = SegmentHeader::decode(bytes);
    let _ = Manifest::decode(bytes);
    let _ = GraphHeader::decode(bytes);
    let _ = Tail::decode(bytes);
    let _ = CollectiveRecord::decode(CollectiveId::from_u128(1), bytes);
    let _ = EmbeddingRecord::decode(dimension, bytes);
    let _ = Vitals::decode(bytes);
    let _ = (ActivityRecord::decode(bytes), decode_activity_end(bytes));
    let traits = Traits::decode(bytes).unwrap_or_default();
    let _ = Body::decode(dimension, bytes);
    let _ = RelationRecord::decode(bytes);
    if let Ok(view) = BodyView::parse(dimension, bytes) {
        let head = ExperienceHead {
            id: ExperienceId::from_u128(1),
            collective_id: CollectiveId::from_u128(2),
            timestamp: Timestamp::from_millis(3),
            updated_at: Timestamp::from_millis(4),
            instance_id: InstanceId::from_u128(5),
        };
        let vitals = view.vitals().unwrap_or(Vitals::initial(0.0, 0.0));
        let _ = (
            view.kind(),
            view.content(),
            view.traits(),
            view.derivation(),
        );
        let _ = assemble(&head, &view, &vitals, traits);
    }
}

/// The same of what was cut off `at` a place, and of what has another byte there.
pub(super) fn decode_spoilt(dimension: u16, bytes: &mut [u8], at: prop::sample::Index, byte: u8) {
    let at = at.index(bytes.len().max(1));
    decode_with_everything(dimension, bytes.get(..at).unwrap());
    if let Some(slot) = bytes.get_mut(at) {
        *slot = byte;
    }
    decode_with_everything(dimension, bytes);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(dimension in 0u16..20, bytes in vec(any::<u8>(), 0..300)) {
        decode_with_everything(dimension, &bytes);
    }

    #[test]
    fn any_fields_are_answered(
        dimension in 0u16..4,
        fields in vec((0u8..16, vec(any::<u8>(), 0..24)), 0..16),
    ) {
        let mut bytes = vec![0; usize::from(dimension) * 4];
        for (tag, value) in fields {
            FieldWriter::new(&mut bytes).bytes(tag, &value);
        }
        decode_with_everything(dimension, &bytes);
    }

    #[test]
    fn spoilt_encodings_are_answered(
        (body, vector, vitals, traits) in (body(), vector(), vitals(), traits()),
        (collective, relation, activity) in (collective(), relation(), activity()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let dimension = vector.len() as u16;
        for mut bytes in [
            encoded(|out| body.encode(out, &vector)),
            encoded(|out| vitals.encode(out)),
            encoded(|out| traits.encode(out)),
            encoded(|out| collective.encode(out)),
            encoded(|out| relation.encode(out)),
            encoded(|out| activity.encode(out)),
        ] {
            decode_spoilt(dimension, &mut bytes, at, byte);
        }
    }

    #[test]
    fn bodies_come_back(body in body(), vector in vector()) {
        let bytes = encoded(|out| body.encode(out, &vector));
        let dimension = vector.len() as u16;
        let decoded = Body::decode(dimension, &bytes).unwrap();
        prop_assert_eq!(&decoded, &body);
        prop_assert_eq!(encoded(|out| decoded.encode(out, &vector)), bytes.clone());

        let view = BodyView::parse(dimension, &bytes).unwrap();
        let bits = |v: &[f32]| v.iter().map(|c| c.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&view.vector_f32()), bits(&vector));
        prop_assert_eq!(view.content().unwrap(), body.content);
        prop_assert_eq!(view.kind().unwrap(), body.experience_type.kind());
        prop_assert_eq!(view.experience_type().unwrap(), body.experience_type);
        prop_assert_eq!(view.vitals().unwrap(), body.vitals);
        prop_assert_eq!(view.traits().unwrap(), body.traits);
    }

    #[test]
    fn vitals_come_back(vitals in vitals()) {
        let bytes = encoded(|out| vitals.encode(out));
        let decoded = Vitals::decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &vitals);
        prop_assert_eq!(encoded(|out| decoded.encode(out)), bytes);
    }

    #[test]
    fn traits_come_back(traits in traits()) {
        let bytes = encoded(|out| traits.encode(out));
        let decoded = Traits::decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &traits);
        prop_assert_eq!(encoded(|out| decoded.encode(out)), bytes);
    }

    #[test]
    fn relations_come_back(relation in relation()) {
        let bytes = encoded(|out| relation.encode(out));
        let decoded = RelationRecord::decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &relation);
        prop_assert_eq!(encoded(|out| decoded.encode(out)), bytes);
    }

    #[test]
    fn activities_come_back(activity in activity()) {
        let bytes = encoded(|out| activity.encode(out));
        let decoded = ActivityRecord::decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &activity);
        prop_assert_eq!(encoded(|out| decoded.encode(out)), bytes);
        let end = encoded(|out| encode_activity_end(&activity.agent_id, out));
        prop_assert_eq!(decode_activity_end(&end).unwrap(), activity.agent_id.as_str());
        // A newer build's fields behind the name do not hide it.
        let longer = [end.as_slice(), activity.unknown.raw()].concat();
        prop_assert_eq!(decode_activity_end(&longer).unwrap(), activity.agent_id.as_str());
    }

    #[test]
    fn types_come_back(value in experience_type(), unknown in unknown()) {
        let bytes = encoded(|out| encode_experience_type(&value, &unknown, out));
        let field = Field { tag: 3, offset: 0, bytes: &bytes };
        let decoded = super::experience_type::decode_experience_type(&field).unwrap();
        prop_assert_eq!(decoded, (value, unknown));
    }

    #[test]
    fn collectives_come_back(record in collective()) {
        let bytes = encoded(|out| record.encode(out));
        let decoded = CollectiveRecord::decode(record.collective.id, &bytes).unwrap();
        prop_assert_eq!(&decoded, &record);
        prop_assert_eq!(encoded(|out| decoded.encode(out)), bytes);
    }

}

#[test]
fn errors_name_the_field() {
    let bytes = encoded(|out| {
        let mut writer = FieldWriter::new(out);
        writer.f32(1, 0.5);
        writer.f32(2, f32::NAN);
    });
    assert_eq!(
        Vitals::decode(&bytes).unwrap_err().to_string(),
        "vitals.confidence (tag 2, byte 9 of the fields): the number is out of range"
    );
    let twice = encoded(|out| {
        FieldWriter::new(out).f32(1, 0.5);
        FieldWriter::new(out).f32(1, 0.5);
    });
    assert_eq!(
        Vitals::decode(&twice).unwrap_err().what,
        "the tags do not ascend"
    );
}

#[test]
fn applications_are_counted_for_the_instance() {
    let body = Body {
        content: "text".into(),
        experience_type: ExperienceType::Generic { category: None },
        source_agent: "agent".into(),
        source_task: None,
        idempotency_key: None,
        content_hash: ContentHash([1; 16]),
        inverse_norm: 1.0,
        vitals: Vitals::initial(0.5, 0.25),
        traits: Traits::default(),
        derivation: None,
        recorded_at: None,
        type_unknown: UnknownFields::default(),
        unknown: UnknownFields::default(),
    };
    let bytes = encoded(|out| body.encode(out, &[1.0]));
    let view = BodyView::parse(1, &bytes).unwrap();
    let head = ExperienceHead {
        id: ExperienceId::from_u128(1),
        collective_id: CollectiveId::from_u128(2),
        timestamp: Timestamp::from_millis(3),
        updated_at: Timestamp::from_millis(4),
        instance_id: InstanceId::from_u128(5),
    };
    let fresh = assemble(&head, &view, &body.vitals, body.traits.clone()).unwrap();
    assert_eq!(fresh.applications, BTreeMap::new());
    assert_eq!(fresh.last_reinforced, head.timestamp);
    let vitals = Vitals {
        applications: 3,
        last_reinforced: Some(Timestamp::from_millis(9)),
        ..body.vitals.clone()
    };
    let used = assemble(&head, &view, &vitals, body.traits.clone()).unwrap();
    assert_eq!(used.applications, BTreeMap::from([(head.instance_id, 3)]));
    assert_eq!(used.last_reinforced, Timestamp::from_millis(9));
    assert_eq!(used.updated_at, head.updated_at);
}
