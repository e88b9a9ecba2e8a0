//! What do the models share? How they are run, a pipeline that shows misuse, and small tables.
//!
//! The models drive the shipped functions of `pulsedb::protocol` and `pulsedb::state`, whose locks
//! and atomics are loom's in this build. Loom tries every interleaving with at most
//! `LOOM_MAX_PREEMPTIONS` preemptions, and reports a deadlock where nobody can go on: each model
//! therefore also says that nobody waits for ever.

#[cfg(not(pulsedb_loom))]
compile_error!("run cargo inside loom-tests/, whose .cargo/config.toml puts loom in");

pub mod pipeline;
pub mod tables;

/// Explores `model`. Two preemptions unless the environment says otherwise.
pub fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(2);
    }
    builder.max_branches = 10_000;
    builder.check(model);
}
