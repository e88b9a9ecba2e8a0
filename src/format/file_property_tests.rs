//! Properties of frames and files: what was encoded decodes to the same, nothing makes a decoder panic, and no
//! flipped bit passes the checksums.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::{collection::vec, prelude::*};

use super::{
    frame::{FrameFault, MAX_PAYLOAD},
    graph_tests::graph,
    record_property_tests::{body, decode_spoilt, encoded, lsn, time, unknown, vector},
    *,
};
use crate::model::{InstanceId, Lsn, Timeline};

prop_compose! {
    fn header()(
        (payload_len, payload_crc) in (4 * 4096..=MAX_PAYLOAD, any::<u32>()),
        kind in (1u8..=15).prop_map(|code| RecordKind::try_from(code).unwrap()),
        closes_commit in any::<bool>(),
        dimension in 1u16..=4096,
        lsn in 1u64..,
        below in any::<prop::sample::Index>(),
        time in time(),
        collective in 0..=MAX_COLLECTIVE_NUMBER,
        (row, entity) in any::<(u32, u128)>(),
    ) -> FrameHeader {
        FrameHeader {
            payload_len, payload_crc, kind, closes_commit,
            dimension: if matches!(kind, RecordKind::Body | RecordKind::Insight | RecordKind::Embedding | RecordKind::InsightEmbedding) { dimension } else { 0 },
            lsn: Lsn::new(lsn), time, collective, row, entity,
            durable_upto: Lsn::new(below.index(usize::MAX) as u64 % lsn),
        }
    }
}

prop_compose! {
    fn manifest()(
        (instance_id, created_at) in (any::<u128>(), time()),
        (generation, timeline, next_segment) in any::<(u64, u32, u32)>(),
        forks in proptest::collection::btree_map(any::<u32>(), 1u64..1 << 32, 0..4),
        (retained_from, checkpoint, session) in (lsn(), lsn(), lsn()),
        segments in proptest::collection::btree_map(any::<u64>(), (any::<u32>(), 0u64..1 << 30), 0..5),
        active in any::<bool>(),
        sync_mode in prop_oneof![
            Just(SyncModeCode::Normal), Just(SyncModeCode::Fast), Just(SyncModeCode::Paranoid),
        ],
        unknown in unknown(),
    ) -> Manifest {
        let mut first_lsn = 0;
        let forks = forks.into_iter().map(|(timeline, step)| {
            first_lsn += step;
            Fork { timeline: Timeline::new(timeline), first_lsn: Lsn::new(first_lsn) }
        }).collect();
        let mut segments: Vec<SegmentEntry> = segments.into_iter().map(|(lsn, (id, units))| {
            SegmentEntry { id, first_lsn: Lsn::new(lsn), end: 4096 + units * 64 }
        }).collect();
        if active && let Some(last) = segments.last_mut() {
            last.end = 0;
        }
        Manifest {
            instance_id: InstanceId::from_u128(instance_id), created_at, generation,
            timeline: Timeline::new(timeline), forks, retained_from, next_segment, segments,
            checkpoint, sync_mode, session, unknown,
        }
    }
}

prop_compose! {
    fn segment()(
        (timeline, instance_id, first_lsn, previous_lsn) in any::<(u32, u128, u64, u64)>(),
        (seed, id, cipher, key, cleaned) in any::<(u32, u32, u32, u32, u64)>(),
    ) -> SegmentHeader {
        SegmentHeader {
            timeline: Timeline::new(timeline),
            instance_id: InstanceId::from_u128(instance_id),
            first_lsn: Lsn::new(first_lsn),
            previous_lsn: Lsn::new(previous_lsn),
            seed, id, cipher, key, cleaned: Lsn::new(cleaned),
        }
    }
}

/// A frame around a payload, header and padding included.
fn frame(header: FrameHeader, seed: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        payload_len: payload.len() as u32,
        payload_crc: payload_crc(payload),
        ..header
    };
    let mut out = header.encode(seed).to_vec();
    out.extend_from_slice(payload);
    out.resize(header.frame_len() as usize, 0);
    out
}

proptest! {
    #[test]
    fn spoilt_manifests_are_answered(
        manifest in manifest(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        decode_spoilt(0, &mut manifest.encode(), at, byte);
    }

    #[test]
    fn files_come_back(
        manifest in manifest(), segment in segment(), graph in graph(), lsn in lsn(),
        timeline in any::<u32>(),
    ) {
        let tail = Tail { lsn, timeline: Timeline::new(timeline) };
        prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        prop_assert_eq!(SegmentHeader::decode(&segment.encode()).unwrap(), segment);
        prop_assert_eq!(Tail::decode(&tail.encode()).unwrap(), tail);
        prop_assert_eq!(GraphHeader::decode(&graph.encode()).unwrap(), graph);
    }

    #[test]
    fn headers_come_back_under_their_own_seed_only(
        header in header(), seed in any::<u32>(), other in any::<u32>(),
    ) {
        let bytes = header.encode(seed);
        prop_assert_eq!(FrameHeader::decode(&bytes, seed), Ok(header));
        prop_assume!(seed != other);
        prop_assert_eq!(FrameHeader::decode(&bytes, other), Err(FrameFault::Checksum));
    }

    #[test]
    fn no_flipped_bit_of_a_frame_passes(
        header in header(), seed in any::<u32>(), body in body(), vector in vector(),
    ) {
        let header = FrameHeader {
            kind: RecordKind::Body,
            dimension: vector.len() as u16,
            ..header
        };
        let payload = encoded(|out| body.encode(out, &vector));
        let good = frame(header, seed, &payload);
        let (_, read) = verify_frame(&good, seed).unwrap();
        prop_assert_eq!(read, payload.as_slice());
        for bit in 0..(FRAME_HEADER_LEN + payload.len()) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let fault = verify_frame(&bad, seed).unwrap_err();
            let expected = if bit < FRAME_HEADER_LEN * 8 {
                FrameFault::Checksum
            } else {
                FrameFault::PayloadChecksum
            };
            prop_assert_eq!(fault, expected);
        }
        for len in 0..FRAME_HEADER_LEN + payload.len() {
            prop_assert_eq!(verify_frame(&good[..len], seed).unwrap_err(), FrameFault::Short);
        }
    }

    #[test]
    fn no_flipped_bit_of_a_file_passes(
        manifest in manifest(), segment in segment(), graph in graph(),
        bit in any::<prop::sample::Index>(),
    ) {
        let flip = |mut bytes: Vec<u8>| {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        prop_assert!(Manifest::decode(&flip(manifest.encode())).is_err());
        prop_assert!(SegmentHeader::decode(&flip(segment.encode().to_vec())).is_err());
        prop_assert!(GraphHeader::decode(&flip(graph.encode().to_vec())).is_err());
        let tail = Tail { lsn: segment.first_lsn, timeline: segment.timeline };
        prop_assert!(Tail::decode(&flip(tail.encode().to_vec())).is_err());
    }

    #[test]
    fn a_frame_implies_its_seed(header in header(), seed: u32) {
        let bytes = header.encode(seed);
        prop_assert_eq!(super::frame::implied_seed(&bytes), Some((seed, header)));
    }

    #[test]
    fn nothing_makes_a_record_decoder_panic(header in header(), bytes in vec(any::<u8>(), 0..256)) {
        let _ = Record::decode(&header, &bytes);
        let _ = super::frame::implied_seed(&bytes);
    }
}

#[test]
fn zeros_were_never_written() {
    for seed in [0, 1, u32::MAX, 0x9d2c_5680] {
        let zeros = [0; FRAME_HEADER_LEN];
        assert_eq!(FrameHeader::decode(&zeros, seed), Err(FrameFault::Zero));
    }
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut manifest = encoded(|out| {
        out.extend_from_slice(b"PULSEMAN");
        out.extend_from_slice(&2u32.to_le_bytes());
    });
    assert_eq!(Manifest::decode(&manifest), Err(FileFault::Checksum));
    let crc = crc32fast::hash(&manifest);
    manifest.extend_from_slice(&crc.to_le_bytes());
    let fault = Manifest::decode(&manifest).unwrap_err();
    assert_eq!(fault, FileFault::Version { found: 2 });
}

#[test]
fn segment_names_say_lsn_and_number() {
    for lsn in [0, 1, 0x1234_5678_9abc_def0, u64::MAX].map(Lsn::new) {
        for id in [1, 0xdead_beef] {
            let name = segment_file_name(lsn, id);
            assert_eq!(parse_segment_file_name(&name), Some((lsn, id)));
        }
    }
    for name in [
        "",
        "1-1.seg",
        "0000000000000001.seg",
        "00000000000000A1-00000001.seg",
        "+000000000000001-00000001.seg",
        "LOCK",
    ] {
        assert_eq!(parse_segment_file_name(name), None);
    }
}
