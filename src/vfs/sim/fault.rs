//! Does this operation happen, fail, or end the run?
//!
//! Called by `world` once for each operation, before it acts.

use std::{collections::BTreeMap, io};

use super::FaultKind;

/// The count of operations and what is planned for them.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) ops: u64,
    pub(super) trace: Vec<String>,
    pub(super) crash_at: Option<u64>,
    pub(super) at: BTreeMap<u64, FaultKind>,
    pub(super) from: Option<(u64, FaultKind)>,
    pub(super) crashed: bool,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It happens.
    Go,
    /// It fails.
    Fail(FaultKind),
    /// The crash hits in the middle of it.
    Crash,
}

impl Faults {
    /// Counts an operation and decides.
    pub(super) fn step(&mut self, what: String) -> io::Result<Step> {
        self.alive()?;
        let op = self.ops;
        self.ops += 1;
        let step = if self.crash_at.is_some_and(|at| at <= op) {
            self.crashed = true;
            Step::Crash
        } else if let Some(&kind) = self.at.get(&op) {
            Step::Fail(kind)
        } else if let Some((_, kind)) = self.from.filter(|&(first, _)| first <= op) {
            Step::Fail(kind)
        } else {
            Step::Go
        };
        self.trace.push(match step {
            Step::Go => format!("{op}: {what}"),
            Step::Fail(kind) => format!("{op}: {what}: {kind:?}"),
            Step::Crash => format!("{op}: {what}: crash"),
        });
        Ok(step)
    }

    /// Nothing works after a crash.
    pub(super) fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(crash()) } else { Ok(()) }
    }
}

/// The answer of a file system that is gone.
pub(super) fn crash() -> io::Error {
    io::Error::other("simulated crash")
}
