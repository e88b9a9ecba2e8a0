//! How is a long list read piece by piece?

use serde::{Deserialize, Serialize};

use super::{ExperienceId, SearchFilter, Timestamp};

/// Which piece of a list is wanted. Pages are keyset pages: they continue after a key, so that
/// concurrent writes neither repeat nor hide an item, and page n costs what page 1 costs.
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
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub to: Option<Timestamp>,
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
            from: None,
            to: None,
            filter: SearchFilter {
                exclude_archived: false,
                ..SearchFilter::default()
            },
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
    /// Its id.
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
