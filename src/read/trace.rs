//! What happened on the way of a question in words, for whoever wants to know?
//!
//! Filled by the walk of [`hybrid`](super::hybrid). Without a clock, which is how searches are answered, it tells no times and asks
//! for none.

use std::time::Duration;

use crate::{
    env::Env,
    read::{execute::Work, stopwatch::Stages},
};

/// Counts and times of one search.
#[derive(Default)]
pub struct Trace<'a> {
    stages: Option<Stages<'a>>,
    /// Candidates by words.
    pub proposed: u64,
    /// Candidates by vector.
    pub proposed_by_vector: u64,
    /// How these were found, where there is a vector.
    pub work: Option<Work>,
    /// Candidates in all, with the neighbours that joined them.
    pub ranked: u64,
    /// To bring the index up to date and to look up constraints and filter.
    pub planning: Duration,
    /// To find the candidates by words.
    pub words: Duration,
    /// To find the candidates by vector.
    pub vector: Duration,
    /// To give all candidates both scores.
    pub comparing: Duration,
    /// To make one ranking.
    pub ranking: Duration,
    /// To read the results.
    pub reading: Duration,
}

impl<'a> Trace<'a> {
    /// With times from now on.
    pub fn timed(clock: &'a dyn Env) -> Self {
        Self {
            stages: Some(Stages::new(clock)),
            ..Self::default()
        }
    }

    /// A stage ends.
    pub fn lap(&mut self, stage: impl FnOnce(&mut Self) -> &mut Duration) {
        if let Some(took) = self.stages.as_mut().map(Stages::next) {
            *stage(self) = took;
        }
    }
}
