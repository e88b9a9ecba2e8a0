//! Do requests, crashes and recoveries in any sequence leave what the model says?
//!
//! One function of bytes, so that a fuzzer can drive it as well as a seed: which requests are made, at
//! which operation of the file system the crash comes, what survives it, and so on from what was
//! recovered. Also part of `fuzz/`, so it and what it uses name nothing but the files beside it.

use std::time::Duration;

use pulsedb::{
    SyncMode, blocking,
    sim::{SimVfs, Survival},
};

use super::{
    check::check_state,
    model::State,
    workload::{Chance, Plan},
};

/// Crashes come at one of so many operations: a round has between a hundred and some hundreds.
const CRASH_WITHIN: u64 = 512;

/// Some rounds of requests, each ended by a crash or a close, recovered, compared and verified. Says how
/// many requests it made.
pub fn operations(data: &[u8]) -> u64 {
    let seed = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    rounds(seed, Chance::given(seed, data))
}

/// The same for what follows from a seed.
pub fn seeded(seed: u64) -> u64 {
    rounds(seed, Chance::of(seed))
}

fn rounds(seed: u64, mut chance: Chance) -> u64 {
    let plan = Plan {
        mode: [SyncMode::Normal, SyncMode::Fast, SyncMode::Paranoid][chance.below(3)],
        seed,
        pool: 0,
        flush_interval: Duration::from_secs(60),
        checkpoints: true,
        steps: 8 + chance.below(64),
    };
    let rounds = 1 + chance.below(4);
    let mut vfs = SimVfs::new(seed);
    let mut state = State::default();
    let mut requests = 0;
    for round in 0..rounds {
        // Two bytes of a fuzzer's.
        let op = ((chance.next() % 256) << 8) | (chance.next() % 256);
        vfs.crash_at(op % CRASH_WITHIN);
        let survival = match chance.below(4) {
            0 => Survival::KeepAll,
            1 => Survival::DropAll,
            2 => Survival::Random { stale_bytes: false },
            _ => Survival::Random { stale_bytes: true },
        };
        let run = plan.run_from(vfs, state, round * 100, &mut chance);
        requests += run.requests;
        vfs = run.vfs.reboot(survival);
        // A clock that goes back now and then.
        let session = 1_000 + (rounds - round) as u64;
        let db = plan
            .open(&vfs, session)
            .unwrap_or_else(|error| panic!("{error}: {:#?}", vfs.trace()));
        let db = blocking::PulseDB::from(db);
        let found = State::read(&db).unwrap();
        check_state(&plan, &run, survival, &found);
        let report = db.verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
        db.close().unwrap();
        vfs = vfs.reboot(Survival::KeepAll);
        state = found;
    }
    requests
}
