//! Who looks at the segments of a long log while it is replayed?
//!
//! A second thread: it surveys the next segment, which is mostly checksums and page faults, while the
//! caller replays the one before, and ends within the call. It reads mapped bytes and nothing else, a
//! survey depends on its segment alone, and segments are handed over in the order of the log: so an open
//! finds what it would find by itself, and a simulated run stays what it was. Called by `recover`.

use std::{sync::mpsc, thread};

use crate::error::{PulseDBError, Result};

use super::{
    file::OpenFile,
    scan::{Survey, Terms, survey},
};

/// Surveyed segments that may wait. Looking at a segment takes about as long as replaying it, so that more
/// would only push more out of the cache before it is read again.
const AHEAD: usize = 1;

/// A segment that is to be looked at.
pub(super) struct Unread {
    pub(super) open: OpenFile,
    /// Which of the segments of the manifest it is.
    pub(super) position: usize,
    pub(super) terms: Terms,
    /// Its sparse index, up to where looking begins.
    pub(super) index: Vec<(u64, u32)>,
}

impl Unread {
    fn survey(&self) -> Survey {
        if self.terms.upto <= self.terms.after {
            return Survey::nothing(&self.terms);
        }
        let map = &self.open.map;
        survey(map.get(0..map.len()).unwrap_or_default(), &self.terms)
    }
}

/// Surveys the segments, and shows each to `visitor`.
///
/// # Errors
/// What the visitor answers, and `Io` where the system gives no thread.
#[allow(clippy::disallowed_methods, reason = "the thread ends within the open")]
pub(super) fn survey_all(
    segments: Vec<Unread>,
    mut visitor: impl FnMut(Unread, Survey) -> Result<()>,
) -> Result<()> {
    if segments.len() < 2 {
        return segments.into_iter().try_for_each(|segment| {
            let found = segment.survey();
            visitor(segment, found)
        });
    }
    thread::scope(|scope| {
        let (sender, surveyed) = mpsc::sync_channel(AHEAD);
        let thread = thread::Builder::new().name("pulsedb-survey".to_owned());
        thread
            .spawn_scoped(scope, move || {
                for segment in segments {
                    let found = segment.survey();
                    if sender.send((segment, found)).is_err() {
                        // The replay has ended early.
                        return;
                    }
                }
            })
            .map_err(PulseDBError::io("start a thread for", "survey"))?;
        surveyed
            .into_iter()
            .try_for_each(|(segment, found)| visitor(segment, found))
    })
}
