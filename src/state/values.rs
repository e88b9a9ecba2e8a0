//! What of an experience changes, as far as filters, ranking and listing need it in memory?

use crate::{
    log::Place,
    model::{DecayConfig, Lsn, Timestamp},
};

/// The values of one version of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// In [0, 1].
    pub importance: f32,
    /// In [0, 1].
    pub confidence: f32,
    /// How often this instance applied it.
    pub applications: u32,
    /// When it was last applied, or recorded.
    pub last_reinforced: Timestamp,
    /// When anything last changed.
    pub updated_at: Timestamp,
    /// From when on it is gone.
    pub expires_at: Option<Timestamp>,
    /// Whether default searches leave it out.
    pub archived: bool,
    /// Whether it is exempt from expiry.
    pub pinned: bool,
    /// The record that the vitals came from; zero means the body.
    pub vitals_lsn: Lsn,
    /// The record that the traits came from; zero means the body.
    pub traits_lsn: Lsn,
    /// Where that record is; `None` means the body.
    pub traits_place: Option<Place>,
    /// Where the damaged record is that hides the present vitals.
    pub damaged_place: Option<Place>,
    /// How often all other instances applied it.
    pub others: u32,
    /// Whether what it says holds only for a time, which stands in the traits.
    pub bounded: bool,
}

impl Values {
    /// How often it was applied by all instances together.
    #[must_use]
    pub fn all_applications(&self) -> u32 {
        self.applications.saturating_add(self.others)
    }

    /// How warm it is at `now`.
    #[must_use]
    pub fn energy(&self, decay: &DecayConfig, now: Timestamp) -> f32 {
        decay.energy(
            self.importance,
            self.all_applications(),
            self.last_reinforced,
            now,
        )
    }

    /// Its energy at `now`, where that is below the floor and nothing speaks against archiving it.
    #[must_use]
    pub fn cold(&self, decay: &DecayConfig, now: Timestamp) -> Option<f32> {
        if self.pinned || self.archived || self.expired(now) {
            return None;
        }
        Some(self.energy(decay, now)).filter(|energy| *energy < decay.floor)
    }

    /// Whether it has expired at `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        !self.pinned && self.expires_at.is_some_and(|at| at <= now)
    }
}
