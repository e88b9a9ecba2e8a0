//! Does every open give back what was acknowledged?

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bytes::Bytes;

use super::*;
use crate::{
    env::SimEnv,
    format::{FrameHeader, RecordKind, payload_crc},
    log::OutFrame,
    vfs::{OsVfs, SimVfs, Survival},
};

mod crash;
mod damage;
mod open;

const DB: &str = "/data/db";

/// What a replay showed: (LSN, payload).
type Seen = Vec<(u64, Vec<u8>)>;

fn small(sync_mode: SyncMode) -> OpenOptions {
    OpenOptions {
        read_only: false,
        sync_mode,
        segment_bytes: 64 * 1024,
        segment_pool: 0,
    }
}

fn open_at(
    vfs: &Arc<dyn Vfs>,
    path: &Path,
    seed: u64,
    config: &OpenOptions,
) -> Result<(Recovered, Seen)> {
    let env: Arc<dyn Env> = Arc::new(SimEnv::new(seed, Timestamp::from_millis(1_000)));
    let mut seen = Seen::new();
    let recovered = open(vfs, &env, path, config, &mut |replayed| {
        if let Replayed::Frame(frame) = replayed {
            seen.push((frame.header.lsn.get(), frame.verified_payload()?.to_vec()));
        }
        Ok(())
    })?;
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "LSNs increase");
    Ok((recovered, seen))
}

fn open_sim(vfs: &SimVfs, seed: u64, config: &OpenOptions) -> Result<(Recovered, Seen)> {
    let vfs: Arc<dyn Vfs> = Arc::new(vfs.clone());
    open_at(&vfs, Path::new(DB), seed, config)
}

/// A commit of records with these payloads, numbered from `next` on.
fn commit(next: &mut u64, payloads: &[Vec<u8>]) -> Vec<OutFrame> {
    let last = payloads.len() - 1;
    payloads
        .iter()
        .enumerate()
        .map(|(index, payload)| {
            let lsn = Lsn::new(*next);
            *next += 1;
            OutFrame {
                header: FrameHeader {
                    payload_len: payload.len() as u32,
                    payload_crc: payload_crc(payload),
                    kind: RecordKind::Vitals,
                    closes_commit: index == last,
                    dimension: 0,
                    lsn,
                    time: Timestamp::from_millis(2_000),
                    collective: 1,
                    row: 1,
                    entity: 7,
                    durable_upto: Lsn::ZERO,
                },
                payload: Bytes::from(payload.clone()),
            }
        })
        .collect()
}

/// Appends one commit and syncs it; answers what a replay has to show of it, and where it stands.
fn write(db: &mut Recovered, payloads: &[Vec<u8>]) -> Result<(Seen, Vec<log::Place>)> {
    let writer = db.writer.as_mut().unwrap();
    let mut next = writer.next_lsn().get();
    let mut frames = commit(&mut next, payloads);
    let places = writer.append(&mut frames)?;
    writer.read_back(&frames, &places)?;
    let durable = writer.sync()?;
    writer.publish_tail(durable)?;
    let seen = frames
        .iter()
        .map(|frame| (frame.header.lsn.get(), frame.payload.to_vec()))
        .collect();
    Ok((seen, places))
}

fn close(db: &mut Recovered) -> Result<()> {
    db.writer
        .as_mut()
        .unwrap()
        .close(Timestamp::from_millis(3_000))
}

/// A payload that tells which record it belongs to.
fn payload(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|i| (i.wrapping_mul(31) ^ number) as u8));
    bytes
}
