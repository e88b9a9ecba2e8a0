//! Which promises do decoders keep for bytes of any kind?
//!
//! One function per target of `fuzz/`, each a total function of bytes that panics where a promise is
//! broken; the tests run them on the kept corpus and on what a seed makes of it. With the feature `sim`
//! only, and no part of the semver contract.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic here"
)]

use bytes::Bytes;

use crate::{
    config::TextLanguage,
    format::{
        ActivityRecord, BackupManifest, CHECKPOINT_HEADER_LEN, Checkpoint, CheckpointDirectory,
        CheckpointHeader, FRAME_HEADER_LEN, FrameHeader, GraphHeader, Manifest, Record, RecordKind,
        SEGMENT_HEADER_LEN, SegmentHeader, Sha256Digest, Tail, Traits, Vitals, decode_activity_end,
        decode_change, encode_activity_end, encode_change, implied_seed, payload_crc, verify_frame,
    },
    log::{Step, Terms, Walk, survey},
    model::{Lsn, Timestamp},
    text::{Analyser, Question, matching, question::MAX_TERMS},
};

/// A frame in a segment whose seed is in the first four bytes.
pub fn frame(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first_chunk() else {
        return;
    };
    let seed = u32::from_le_bytes(*seed);
    let _ = implied_seed(bytes);
    let Ok((header, payload)) = verify_frame(bytes, seed) else {
        return;
    };
    assert_eq!(payload.len(), header.payload_len as usize);
    assert!(bytes.starts_with(&header.encode(seed)), "{header:?}");
    assert_eq!(implied_seed(bytes), Some((seed, header)));
    let _ = Record::decode(&header, payload);
}

/// A question in words, behind the number of its language, that a text of the same words is asked.
pub fn question(data: &[u8]) {
    let Some(([language], text)) = data.split_first_chunk() else {
        return;
    };
    let all = TextLanguage::ALL;
    let language = all.get(usize::from(*language) % all.len());
    let analyser = Analyser::new(language.copied().unwrap_or_default());
    let text = String::from_utf8_lossy(text);
    let plain = Question::plain(&text, &analyser);
    assert!(plain.constraints.is_empty());
    for question in [plain, Question::expression(&text, &analyser)] {
        assert!(question.terms.len() <= MAX_TERMS);
        for constraint in &question.constraints {
            let _ = matching::holds(&constraint.pattern, &analyser, &text);
        }
    }
}

/// A payload, behind its kind and dimension, as a record.
pub fn record(data: &[u8]) {
    let Some(([kind, low, high], payload)) = data.split_first_chunk() else {
        return;
    };
    let Ok(kind) = RecordKind::try_from(*kind) else {
        return;
    };
    let header = FrameHeader {
        dimension: u16::from_le_bytes([*low, *high]),
        ..header(kind, 1, payload)
    };
    // What is written again says the same.
    match Record::decode(&header, payload) {
        Ok(Record::Vitals(vitals)) => {
            let mut again = Vec::new();
            vitals.encode(&mut again);
            assert_eq!(Vitals::decode(&again), Ok(vitals));
        }
        Ok(Record::Traits(traits)) => {
            let mut again = Vec::new();
            traits.encode(&mut again);
            assert_eq!(Traits::decode(&again).as_ref(), Ok(&*traits));
        }
        Ok(Record::Collective(record)) => {
            let mut again = Vec::new();
            record.encode(&mut again);
            match Record::decode(&header, &again) {
                Ok(Record::Collective(other)) => assert_eq!(other, record),
                other => panic!("{other:?}"),
            }
        }
        Ok(Record::Activity(activity)) => {
            let mut again = Vec::new();
            activity.encode(&mut again);
            assert_eq!(ActivityRecord::decode(&again).as_ref(), Ok(&*activity));
        }
        Ok(Record::ActivityEnded { agent_id }) => {
            let mut again = Vec::new();
            encode_activity_end(agent_id, &mut again);
            assert_eq!(decode_activity_end(&again), Ok(agent_id));
        }
        Ok(Record::Body(body)) => {
            assert_eq!(body.vector_f32().len(), usize::from(header.dimension));
        }
        Ok(_) | Err(_) => {}
    }
}

/// A change of a feed; and the body of one, with length and checksum that are right.
pub fn change(data: &[u8]) {
    let mut right = (data.len() as u32).to_le_bytes().to_vec();
    right.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    right.extend_from_slice(data);
    for bytes in [data, &right] {
        if let Ok(Some((change, len))) = decode_change(bytes) {
            assert_eq!(bytes.get(..len), Some(&*encode_change(&change)));
            assert!(change.to_json().is_ok());
        }
    }
}

/// The fields of a manifest, in a file that is otherwise right; and a file that need not be.
pub fn manifest(data: &[u8]) {
    let _ = Manifest::decode(data);
    let file = checked_file(b"PULSEMAN", data);
    if let Ok(manifest) = Manifest::decode(&file) {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

/// The lines of a backup's manifest before its end, with an end that fits them; and any bytes.
pub fn backup_manifest(data: &[u8]) {
    let _ = BackupManifest::decode(data);
    let mut file = data.to_vec();
    let segments = data.iter().filter(|byte| **byte == b'\n').count();
    let sha256 = Sha256Digest::of(data);
    let end = format!(
        "{{\"end\":{{\"segments\":{},\"sha256\":\"{sha256}\"}}}}\n",
        segments.saturating_sub(1)
    );
    file.extend_from_slice(end.as_bytes());
    if let Ok(manifest) = BackupManifest::decode(&file) {
        let again = manifest.encode().expect("what was read can be written");
        assert_eq!(BackupManifest::decode(again.as_bytes()), Ok(manifest));
    }
}

/// What follows magic and version in the header of a graph, with a right checksum; and any bytes.
pub fn graph_header(data: &[u8]) {
    let _ = GraphHeader::decode(data);
    let mut body = data.to_vec();
    body.resize(crate::format::GRAPH_HEADER_LEN - 16, 0);
    let file = checked_file(b"PULSEHNS", &body);
    if let Ok(header) = GraphHeader::decode(&file) {
        let layout = header.layout().expect("a header that decodes has one");
        assert!(layout.graph.end <= layout.rows.start && layout.rows.end <= layout.errors.start);
        assert_eq!(layout.len(), layout.errors.end);
        let again = GraphHeader::decode(&header.encode());
        assert_eq!(again.map(|again| again.encode()), Ok(header.encode()));
    }
}

/// A checkpoint whose checksums are left out of its header, with right ones; and any bytes. Whatever it says, each of its
/// readers comes to an end.
pub fn checkpoint(data: &[u8]) {
    let _ = Checkpoint::parse(Bytes::copy_from_slice(data));
    /// Magic and version in front, the checksums of body and header behind.
    const STATED_LEN: usize = CHECKPOINT_HEADER_LEN - 12 - 8;
    let Some((stated, body)) = data.split_at_checked(STATED_LEN) else {
        return;
    };
    let header = [stated, &crc32fast::hash(body).to_le_bytes()].concat();
    let mut file = checked_file(b"PULSECKP", &header);
    file.extend_from_slice(body);
    let Ok(found) = Checkpoint::parse(file.into()) else {
        return;
    };
    let (header, directory) = (found.header(), found.directory());
    assert_eq!(
        CheckpointHeader::decode(&header.encode()).as_ref(),
        Ok(header)
    );
    let again = CheckpointDirectory::decode(&directory.encode(), header.counts.rows);
    assert_eq!(again.as_ref(), Ok(directory));
    let graves = found.graves().count() as u64;
    assert_eq!(graves, header.counts.graves);
    let mut rows = 0;
    for collective in &directory.collectives {
        let (number, all) = (collective.number, 0..u32::MAX);
        assert_eq!(found.collective(number), Some(collective));
        let _ = found.versions(number, all.clone()).count();
        let _ = found.graves_in(number, all.clone()).count();
        let _ = found.edges(number, all.clone()).count();
        let _ = found.embeddings(number, all.clone()).count();
        for (row, record) in collective.runs_in(all).flat_map(|run| found.rows(run)) {
            rows += 1;
            assert!(found.find_ids(record.id).count() as u64 <= header.counts.id_slots);
            if let Some(key) = found.key_of(number, row) {
                let _ = found.find_key(number, key);
            }
        }
    }
    assert_eq!(rows, header.counts.rows);
}

/// A `TAIL`, and the header block of a segment.
pub fn tail(data: &[u8]) {
    if let Ok(tail) = Tail::decode(data) {
        assert_eq!(tail.encode(), data);
    }
    let mut body = data.to_vec();
    body.resize(SEGMENT_HEADER_LEN - 16, 0);
    let block = checked_file(b"PULSELOG", &body);
    if let Ok(header) = SegmentHeader::decode(&block) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
}

/// A segment of frames that `data` describes, with bytes of it changed: nothing is found in it that was
/// not written, and nothing of what was not touched is missed.
pub fn segment(data: &[u8]) {
    let mut given = data.iter().copied();
    let mut next = || given.next();
    let seed = u32::from_le_bytes([0; 4].map(|_: u8| next().unwrap_or(7)));
    let mut bytes = vec![0; SEGMENT_HEADER_LEN];
    let mut written = Vec::new();
    let (mut lsn, mut closed) = (0, 0);
    for _ in 0..next().unwrap_or(8) % 32 {
        let (Some(len), Some(flags)) = (next(), next()) else {
            break;
        };
        let kind = RecordKind::try_from(flags >> 4).unwrap_or(RecordKind::Vitals);
        // Those with a vector want a dimension.
        let kind = match kind {
            RecordKind::Body => RecordKind::Traits,
            RecordKind::Insight => RecordKind::Relation,
            RecordKind::Embedding | RecordKind::InsightEmbedding => RecordKind::Vitals,
            other => other,
        };
        let payload: Vec<u8> = (0..u32::from(len) * 3)
            .map(|at| (at ^ lsn as u32) as u8)
            .collect();
        lsn += 1 + u64::from(flags & 3);
        let header = FrameHeader {
            closes_commit: flags & 4 != 0,
            durable_upto: Lsn::new(if flags & 8 == 0 { 0 } else { closed }),
            ..header(kind, lsn, &payload)
        };
        if header.closes_commit {
            closed = lsn;
        }
        written.push((bytes.len() as u64, header));
        bytes.extend_from_slice(&header.encode(seed));
        bytes.extend_from_slice(&payload);
        bytes.resize(bytes.len().next_multiple_of(64), 0);
    }
    let end = bytes.len();
    bytes.resize(end + 4096, 0);
    let mut touched = Vec::new();
    while let (Some(low), Some(high), Some(value)) = (next(), next(), next()) {
        let at = usize::from(u16::from_le_bytes([low, high]));
        let span = bytes.len() - SEGMENT_HEADER_LEN;
        let at = SEGMENT_HEADER_LEN + at % span;
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= value;
            touched.push(at as u64);
        }
    }
    check_survey(&bytes, seed, &written, &touched);
}

fn check_survey(bytes: &[u8], seed: u32, written: &[(u64, FrameHeader)], touched: &[u64]) {
    let start = SEGMENT_HEADER_LEN as u64;
    let is_whole = |at: u64, header: &FrameHeader| {
        let end = at + FRAME_HEADER_LEN as u64 + u64::from(header.payload_len);
        !touched.iter().any(|byte| (at..end).contains(byte))
    };
    let terms = Terms {
        seed,
        from: start,
        after: 0,
        limit: bytes.len() as u64,
        durable: 0,
        upto: u64::MAX,
        session: u64::MAX,
    };
    let found = survey(bytes, &terms);
    assert!(found.end >= start && found.end.is_multiple_of(64));
    assert!(found.damage.iter().all(|damage| damage.at < found.end));
    if let Some(torn) = found.torn {
        assert_eq!(torn.at, found.end);
    }
    let mut last = 0;
    let mut seen = Vec::new();
    for step in Walk::new(bytes, seed, start, bytes.len() as u64, 0) {
        if let Step::Frame { at, header } = step {
            assert!(header.lsn.get() > last, "LSNs ascend");
            last = header.lsn.get();
            // A checksum of 32 bits is not forged by flipping some of a few thousand.
            assert!(
                written.contains(&(at, header)),
                "{header:?} was never written"
            );
            seen.push(at);
        }
    }
    for (at, header) in written {
        if is_whole(*at, header) {
            assert!(seen.contains(at), "the frame at {at} is missed");
        }
    }
}

fn header(kind: RecordKind, lsn: u64, payload: &[u8]) -> FrameHeader {
    FrameHeader {
        payload_len: payload.len() as u32,
        payload_crc: payload_crc(payload),
        kind,
        closes_commit: true,
        dimension: 0,
        lsn: Lsn::new(lsn),
        time: Timestamp::from_millis(1),
        collective: 1,
        row: 1,
        entity: 1,
        durable_upto: Lsn::ZERO,
    }
}

/// Magic, version, `body` and the checksum of it all.
fn checked_file(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let mut file = magic.to_vec();
    file.extend_from_slice(&crate::format::FORMAT_VERSION.to_le_bytes());
    file.extend_from_slice(body);
    let crc = crc32fast::hash(&file);
    file.extend_from_slice(&crc.to_le_bytes());
    file
}
