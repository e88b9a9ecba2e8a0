//! Does the manifest of a backup come back as it was written, and in no other way?

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    format::{FORMAT_VERSION, Fork, SegmentEntry, SyncModeCode},
    model::{BackupId, Cursor, InstanceId, Timeline, Timestamp},
};

fn piece() -> impl Strategy<Value = (u64, [u8; 32], BackupCompression, u64)> {
    (
        1_u64..2_000,
        any::<[u8; 32]>(),
        prop_oneof![
            Just(BackupCompression::None),
            Just(BackupCompression::Lz4),
            Just(BackupCompression::Zstd)
        ],
        1_u64..1 << 40,
    )
}

fn segments() -> impl Strategy<Value = Vec<BackupSegment>> {
    vec((any::<u32>(), any::<u32>(), vec(piece(), 1..4)), 0..4).prop_map(|segments| {
        let made = segments
            .into_iter()
            .zip(1..)
            .map(|((id, header_crc, pieces), lsn)| {
                let mut at = 0;
                let pieces: Vec<BackupPiece> = pieces
                    .into_iter()
                    .map(|(units, sha256, compression, stored)| {
                        let from = at;
                        at += units * FRAME_ALIGN + SEGMENT_HEADER_LEN as u64;
                        BackupPiece {
                            from,
                            to: at,
                            sha256: Sha256Digest(sha256),
                            compression,
                            stored: stored.max(at - from),
                        }
                    })
                    .collect();
                BackupSegment {
                    id,
                    first_lsn: Lsn::new(lsn),
                    header_crc,
                    end: at,
                    pieces,
                }
            });
        made.collect()
    })
}

prop_compose! {
    fn manifest()(
        segments in segments(),
        numbers: [u64; 8],
        ids: [u128; 3],
        has_parent: bool,
        times: [i64; 2],
    ) -> BackupManifest {
        let instance_id = InstanceId::from_u128(ids[0]);
        let timeline = Timeline::new(2);
        BackupManifest {
            info: BackupInfo {
                id: BackupId::from_u128(ids[1]),
                parent: has_parent.then(|| BackupId::from_u128(ids[2])),
                created_at: Timestamp::from_millis(times[0]),
                instance_id,
                cursor: Cursor { timeline, lsn: Lsn::new(numbers[0].max(9)) },
                last_write: Timestamp::from_millis(times[1]),
                history_from: Lsn::new(numbers[1]),
                format_version: FORMAT_VERSION,
                compression: BackupCompression::Lz4,
                segments: segments.len() as u64,
                bytes: numbers[2],
                new_bytes: numbers[3],
                stored_bytes: numbers[4],
                shared_bytes: numbers[5],
            },
            database: Manifest {
                instance_id,
                created_at: Timestamp::from_millis(times[0]),
                generation: numbers[6],
                timeline,
                forks: vec![Fork { timeline, first_lsn: Lsn::new(5) }],
                retained_from: Lsn::ZERO,
                next_segment: 7,
                segments: vec![SegmentEntry { id: 1, first_lsn: Lsn::new(1), end: 0 }],
                checkpoint: Lsn::ZERO,
                sync_mode: SyncModeCode::Normal,
                session: Lsn::new(numbers[7]),
                unknown: Default::default(),
            },
            segments,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(manifest in manifest()) {
        let text = manifest.encode().unwrap();
        prop_assert_eq!(BackupManifest::decode(text.as_bytes()), Ok(manifest));
    }

    #[test]
    fn nothing_else_is_read(manifest in manifest(), at: prop::sample::Index, bit in 0..8_u32) {
        let mut bytes = manifest.encode().unwrap().into_bytes();
        let at = at.index(bytes.len());
        prop_assert!(BackupManifest::decode(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        prop_assert!(BackupManifest::decode(&bytes).is_err(), "byte {}", at);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = BackupManifest::decode(&bytes);
    }
}

/// `lines`, behind which stands an end that fits them.
fn ended(lines: &str, segments: u64) -> String {
    let end = End {
        segments,
        sha256: Sha256Digest::of(lines.as_bytes()),
    };
    let mut text = lines.to_owned();
    push(&mut text, &Line::End(end)).unwrap();
    text
}

#[test]
fn a_newer_version_is_no_damage() {
    let header = r#"{"header":{"format":"pulsedb-backup","version":2,"what":[1]}}"#;
    let newer = ended(&format!("{header}\n{{\"more\":1}}\n"), 0);
    assert_eq!(
        BackupManifest::decode(newer.as_bytes()),
        Err(BackupFault::Version { found: 2 })
    );
    let other = ended(&newer.replace("pulsedb-backup", "pulsedb-export"), 0);
    let fault = BackupManifest::decode(other.as_bytes()).unwrap_err();
    assert!(fault.to_string().contains("pulsedb-export"), "{fault}");
}

#[test]
fn a_segment_has_no_gaps() {
    let segment = |pieces: &[(u64, u64, u64)], end| BackupSegment {
        id: 1,
        first_lsn: Lsn::new(1),
        header_crc: 0,
        end,
        pieces: pieces
            .iter()
            .map(|&(from, to, stored)| BackupPiece {
                from,
                to,
                sha256: Sha256Digest([0; 32]),
                compression: BackupCompression::None,
                stored,
            })
            .collect(),
    };
    assert!(segment(&[(0, 4096, 4096), (4096, 8192, 9000)], 8192).is_whole());
    for (pieces, end) in [
        (&[(0, 4096, 4096)][..], 8192),
        (&[(0, 4096, 4096), (4160, 8192, 9000)], 8192),
        (&[(0, 4096, 4096), (4000, 8192, 9000)], 8192),
        (&[(64, 8192, 9000)], 8192),
        (&[(0, 8192, 8191)], 8192),
        (&[(0, 4096, 4096), (4096, 4096, 1)], 4096),
        (&[(0, 64, 64)], 64),
        (&[(0, 5000, 5000)], 5000),
        (&[], 0),
    ] {
        assert!(!segment(pieces, end).is_whole(), "{pieces:?} {end}");
    }
}
