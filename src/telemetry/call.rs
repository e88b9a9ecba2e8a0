//! What is told of one call?
//!
//! Its time and its outcome: to the histograms, to the recorder, in its span and, where it was slow, in a warning. Never
//! what is stored, nor a vector; the text of a query only where the configuration says so. A span costs a look at a
//! number where nobody listens. It is entered on the threads that do the work and around polls
//! ([`tracing::Instrument`]), never held across an await. A call that is dropped before its end, since its caller
//! went away, is not counted.

use std::time::Duration;

use tracing::{Level, Span, field::Empty};

use super::{Counter, Operation, TIMED_OF, Telemetry, is_timed, micros};
use crate::{
    error::{PulseDBError, Result},
    model::{CollectiveId, Lsn},
};

/// What is known of a call when it begins.
#[derive(Debug)]
pub(crate) struct About {
    operation: Operation,
    collective: Option<CollectiveId>,
    query: Option<String>,
}

impl From<Operation> for About {
    fn from(operation: Operation) -> Self {
        Self {
            operation,
            collective: None,
            query: None,
        }
    }
}

impl Operation {
    /// In this collective.
    pub(crate) fn of(self, collective: CollectiveId) -> About {
        About {
            collective: Some(collective),
            ..self.into()
        }
    }
}

impl About {
    /// With this text, which is shown where the configuration says so.
    pub(crate) fn asking(self, query: Option<String>) -> Self {
        Self { query, ..self }
    }
}

/// What is known of a call when it has its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// The operation turned out to be this one.
    pub(crate) operation: Option<Operation>,
    /// The commit that was read, or the newest one when a write was answered.
    pub(crate) lsn: Option<Lsn>,
    /// How many rows the answer has.
    pub(crate) rows: Option<u64>,
}

/// A call under way.
#[must_use = "it is counted by its end"]
pub(crate) struct Call<'a> {
    telemetry: &'a Telemetry,
    about: About,
    began: Option<Duration>,
    span: Span,
}

impl Telemetry {
    /// A call begins.
    pub(crate) fn begin(&self, about: impl Into<About>) -> Call<'_> {
        let about = about.into();
        let span = tracing::debug_span!(
            target: "pulsedb::operation",
            "operation",
            operation = about.operation.name(),
            collective = Empty,
            query = Empty,
            lsn = Empty,
            rows = Empty,
            plan = Empty,
        );
        if !span.is_disabled() {
            if let Some(collective) = &about.collective {
                span.record("collective", tracing::field::display(collective));
            }
            if let Some(query) = self.shown(&about) {
                span.record("query", query);
            }
        }
        let warns = !self.config.slow_operation.is_zero();
        let listens = warns || self.config.metrics || !span.is_disabled();
        Call {
            began: listens.then(|| self.env.monotonic()),
            telemetry: self,
            about,
            span,
        }
    }

    /// The text of a query, where it may be shown.
    fn shown<'a>(&self, about: &'a About) -> Option<&'a str> {
        let query = about.query.as_deref();
        query.filter(|_| self.config.show_queries)
    }

    /// A call of an operation that takes about a microsecond: `work` does it, unless it answers `None`; then it was
    /// no call. One in [`TIMED_OF`] is timed, and there is no span unless somebody listens.
    pub(crate) fn briefly<T>(
        &self,
        operation: Operation,
        work: impl FnOnce() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        if tracing::enabled!(target: "pulsedb::operation", Level::DEBUG) {
            let call = self.begin(operation);
            let outcome = call.span.in_scope(work);
            return match outcome {
                Ok(None) => Ok(None),
                outcome => call.end(outcome, Told::default()),
            };
        }
        if !self.config.metrics {
            return work();
        }
        let began = is_timed().then(|| self.env.monotonic());
        let outcome = work();
        if matches!(outcome, Ok(None)) {
            return outcome;
        }
        match began.map(|began| self.since(began)) {
            Some(took) => self.took(operation, took, TIMED_OF as usize),
            None => self.was_untimed(operation),
        }
        if let Err(error) = &outcome {
            self.failed(operation, error);
        }
        outcome
    }
}

impl Call<'_> {
    /// Its span, for the threads that work for it.
    pub(crate) const fn span(&self) -> &Span {
        &self.span
    }

    /// The work in the background that it is has ended, which health hears of, too.
    pub(crate) fn end_in_background<T>(self, outcome: Result<T>, told: Told) -> Result<T> {
        let (telemetry, operation) = (self.telemetry, self.about.operation);
        telemetry.ended_in_background(operation, outcome.as_ref().err());
        self.end(outcome, told)
    }

    /// It was answered.
    pub(crate) fn end<T>(self, outcome: Result<T>, told: Told) -> Result<T> {
        let Self {
            telemetry,
            about,
            began,
            span,
        } = self;
        let operation = told.operation.unwrap_or(about.operation);
        let took = began.map(|began| telemetry.since(began));
        if let Some(took) = took.filter(|_| telemetry.config.metrics) {
            telemetry.took(operation, took, 1);
        }
        if let Err(error) = &outcome {
            telemetry.failed(operation, error);
        }
        let Some(took) = took else {
            return outcome;
        };
        let lsn = told.lsn.map(Lsn::get);
        let plan = Some(operation.plan()).filter(|plan| !plan.is_empty());
        let result = outcome.as_ref().err().map_or("ok", PulseDBError::kind);
        if !span.is_disabled() {
            span.record("lsn", lsn);
            span.record("rows", told.rows);
            span.record("plan", plan);
            span.in_scope(|| {
                tracing::debug!(
                    target: "pulsedb::operation",
                    elapsed_us = micros(took),
                    outcome = result,
                    "answered"
                );
            });
        }
        let limit = telemetry.config.slow_operation;
        if !limit.is_zero() && took >= limit && !operation.is_long() {
            telemetry.count(Counter::SlowOperations, 1);
            span.in_scope(|| {
                tracing::warn!(
                    target: "pulsedb::slow",
                    operation = operation.name(),
                    elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                    collective = about.collective.map(tracing::field::display),
                    query = telemetry.shown(&about),
                    lsn,
                    rows = told.rows,
                    plan,
                    outcome = result,
                    "a call was slow"
                );
            });
        }
        outcome
    }
}
