//! What does a failing call of the file system cost?
//!
//! Each operation of the workload fails in turn. The request that needed it answers a typed error,
//! nothing is written from then on (above all is no sync tried again), reads go on, and the next
//! open finds everything that was acknowledged.

use std::io::ErrorKind;

use pulsedb::{
    NewExperience, PulseDBError, SyncMode, blocking,
    sim::{FaultKind, SimVfs, Survival},
};

use super::{
    Context, Extent,
    check::{check_state, verify},
    model::State,
    workload::{Plan, Run},
};

#[test]
fn one_operation_fails_normal() {
    fail_everywhere(SyncMode::Normal, 1, SimVfs::fail_at);
}

#[test]
fn one_operation_fails_fast() {
    fail_everywhere(SyncMode::Fast, 2, SimVfs::fail_at);
}

#[test]
fn one_operation_fails_paranoid() {
    fail_everywhere(SyncMode::Paranoid, 3, SimVfs::fail_at);
}

#[test]
fn all_operations_fail_from_one_on() {
    fail_everywhere(SyncMode::Normal, 3, SimVfs::fail_from);
    fail_everywhere(SyncMode::Fast, 3, SimVfs::fail_from);
}

fn fail_everywhere(mode: SyncMode, stride: usize, fail: fn(&SimVfs, u64, FaultKind)) {
    let extent = Extent::get();
    let (mut faults, mut absorbed) = (0, 0);
    for seed in extent.seeds() {
        let plan = Plan::new(seed + 1_000, mode);
        let ops = plan.run(SimVfs::new(seed)).vfs.op_count();
        for op in (0..ops).step_by(extent.stride(stride)) {
            for kind in [FaultKind::Eio, FaultKind::Enospc] {
                let _context = Context(format!("{kind:?} at operation {op} of {ops}, {plan:?}"));
                let vfs = SimVfs::new(seed);
                fail(&vfs, op, kind);
                let mut run = plan.run(vfs);
                let failed = run.vfs.trace()[op as usize].clone();
                run.lying = failed.contains("sync");
                faults += 1;
                if check_failure(&run, kind) {
                    let before = op
                        .checked_sub(1)
                        .map(|op| run.vfs.trace()[op as usize].clone());
                    if before.is_some_and(|line| line.contains("create directory")) {
                        // A directory whose name is lost for good, which nothing tells from one
                        // that is there. The caller heard of it.
                        continue;
                    }
                    let vfs = SimVfs::new(seed);
                    fail(&vfs, op, kind);
                    retry_in_place(&plan, plan.run(vfs), op);
                } else {
                    // Only the loss of what is of no use, or can be made again, costs nothing, and a
                    // compaction that failed.
                    let harmless = failed.contains("remove")
                        || failed.contains(".ckpt")
                        || run.checkpoint_failed
                        || run.compactions_failed > 0;
                    assert!(harmless, "{failed}");
                    absorbed += 1;
                }
                for survival in [Survival::KeepAll, Survival::DropAll] {
                    verify(&plan, &run, survival);
                }
                verify(&plan, &run, Survival::Random { stale_bytes: true });
            }
        }
    }
    println!("{mode:?}: {faults} faults, {absorbed} of them absorbed");
}

/// Whether a request failed; if so, as it should.
fn check_failure(run: &Run, kind: FaultKind) -> bool {
    let Some((what, error)) = &run.failure else {
        return false;
    };
    let PulseDBError::Io { source, .. } = error else {
        panic!("{what}: {error:?}");
    };
    if kind == FaultKind::Enospc {
        assert_eq!(source.kind(), ErrorKind::StorageFull, "{what}: {error}");
    }
    assert_eq!(
        run.vfs.op_count(),
        run.ops_at_failure,
        "after {what}: {:#?}",
        run.vfs.trace()
    );
    true
}

/// Opens again on the same machine, whose page cache may show what a failed sync lost: what is
/// acknowledged from now on is durable, and so is what was acknowledged before.
fn retry_in_place(plan: &Plan, run: Run, op: u64) {
    let lying = run.vfs.trace()[op as usize].contains("sync");
    if plan.mode == SyncMode::Fast && lying {
        return;
    }
    // It fails again where the fault stays.
    let Ok(db) = plan.open(&run.vfs, 900) else {
        let trace = run.vfs.trace();
        let last = trace.last().unwrap();
        assert!(
            trace.len() as u64 > op + 1 && last.contains(": E"),
            "{last}"
        );
        return;
    };
    let db = blocking::PulseDB::from(db);
    let shown = State::read(&db).unwrap();
    check_state(plan, &run, Survival::KeepAll, &shown);
    let team = db.create_collective("in place").unwrap();
    let id = db.record_experience(NewExperience {
        embedding: Some(vec![0.5; plan.config().embedding_dimension.get()]),
        ..NewExperience::new(team, "agent", "acknowledged after the fault")
    });
    let id = id.unwrap();
    db.flush().unwrap();
    drop(db);
    let db = plan.recover(&run.vfs.reboot(Survival::DropAll));
    assert_eq!(
        db.get_experience(id).unwrap().content,
        "acknowledged after the fault"
    );
    let mut found = State::read(&db).unwrap();
    found.teams.remove("in place").unwrap();
    if lying {
        check_state(plan, &run, Survival::KeepAll, &found);
    } else {
        // What an open shows is durable, whether or not it was before.
        assert_eq!(shown.difference(&found), None);
    }
    db.close().unwrap();
}

#[test]
fn a_full_disk_stops_writing_and_loses_nothing() {
    let extent = Extent::get();
    for seed in extent.seeds() {
        for mode in [SyncMode::Normal, SyncMode::Fast] {
            let plan = Plan::new(seed + 2_000, mode);
            for kilobytes in (0..220).step_by(extent.stride(11)) {
                let _context = Context(format!("a disk of {kilobytes} KB, {plan:?}"));
                let vfs = SimVfs::new(seed);
                vfs.set_capacity(kilobytes * 1_000);
                let run = plan.run(vfs);
                if !check_failure(&run, FaultKind::Enospc) {
                    break;
                }
                run.vfs.set_capacity(u64::MAX);
                verify(&plan, &run, Survival::KeepAll);
                verify(&plan, &run, Survival::DropAll);
            }
        }
    }
}
