//! How is a long list read piece by piece?

use std::ops::{Bound, RangeBounds};

use serde::{Deserialize, Serialize};

use super::{ExperienceId, SearchFilter, Timestamp};

/// Which piece of a list is wanted. Pages are keyset pages: they continue after a key, so that
/// concurrent writes neither repeat nor hide an item, and page n costs what page 1 costs.
///
/// Each of the four bounds is open, inclusive or exclusive, and all of them count, whatever the list is
/// sorted by.
///
/// ```
/// use std::ops::Bound;
/// use pulsedb::{OrderBy, Page, Timestamp};
/// let (june, july) = (Timestamp::from_millis(1_717_200_000_000), Timestamp::from_millis(1_719_792_000_000));
/// let page = Page { order_by: OrderBy::Id, limit: 20, ..Page::between(june..july) };
/// assert_eq!((page.from, page.to), (Bound::Included(june), Bound::Excluded(july)));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Sorted by what.
    pub order_by: OrderBy,
    /// In which direction.
    pub direction: Direction,
    /// Most items, 1–1000.
    pub limit: usize,
    /// Continue after this item: the `next` of the page before.
    pub after: Option<PageCursor>,
    /// Recorded from then on.
    pub from: Bound<Timestamp>,
    /// Recorded until then.
    pub to: Bound<Timestamp>,
    /// With ids from this one on.
    pub from_id: Bound<ExperienceId>,
    /// With ids up to this one.
    pub to_id: Bound<ExperienceId>,
    /// Which experiences to list; by default also archived ones.
    pub filter: SearchFilter,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            order_by: OrderBy::Time,
            direction: Direction::Ascending,
            limit: 100,
            after: None,
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            from_id: Bound::Unbounded,
            to_id: Bound::Unbounded,
            filter: SearchFilter {
                exclude_archived: false,
                ..SearchFilter::default()
            },
        }
    }
}

impl Page {
    /// The first 100 that were recorded between two moments, oldest first.
    #[must_use]
    pub fn between(times: impl RangeBounds<Timestamp>) -> Self {
        Self {
            from: times.start_bound().cloned(),
            to: times.end_bound().cloned(),
            ..Self::default()
        }
    }
}

/// The key that a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderBy {
    /// By time of recording, then by id.
    Time,
    /// By id.
    Id,
}

/// The direction of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Oldest or smallest first.
    Ascending,
    /// Newest or largest first.
    Descending,
}

/// The key of a page's last item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PageCursor {
    /// Its time.
    pub timestamp: Timestamp,
    /// Its id; that of a relation or an insight, where the list is one of those.
    pub id: ExperienceId,
}

/// One piece of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageResult<T> {
    /// The items, in the order asked for.
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<PageCursor>,
}
