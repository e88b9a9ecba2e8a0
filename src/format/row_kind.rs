//! Which table does a row stand in?
//!
//! The experiences, the relations and the insights of a collective stand in three tables, each with
//! row numbers of its own. A frame names the collective, and its kind says which of the three is meant;
//! in memory and in checkpoints the number of a table is that of the collective, with the kind of its
//! rows in the two highest bits.

/// The greatest number of a collective.
pub const MAX_COLLECTIVE_NUMBER: u32 = (1 << KIND_SHIFT) - 1;

const KIND_SHIFT: u32 = 30;

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    /// Experiences.
    Experience,
    /// Relations between them.
    Relation,
    /// Insights derived from them.
    Insight,
}

impl RowKind {
    /// The number of the table of a collective with rows of this kind.
    #[must_use]
    pub const fn table(self, collective: u32) -> u32 {
        (collective & MAX_COLLECTIVE_NUMBER) | ((self as u32) << KIND_SHIFT)
    }

    /// The collective of a table, and what its rows are; `None` for numbers that no table has.
    #[must_use]
    pub const fn of(table: u32) -> Option<(u32, Self)> {
        let kind = match table >> KIND_SHIFT {
            0 => Self::Experience,
            1 => Self::Relation,
            2 => Self::Insight,
            _ => return None,
        };
        Some((table & MAX_COLLECTIVE_NUMBER, kind))
    }

    /// What the rows of a table are; experiences for numbers that no table has.
    #[must_use]
    pub const fn of_table(table: u32) -> Self {
        match Self::of(table) {
            Some((_, kind)) => kind,
            None => Self::Experience,
        }
    }
}

/// The collective that a table belongs to.
#[must_use]
pub const fn collective_of(table: u32) -> u32 {
    table & MAX_COLLECTIVE_NUMBER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_collective_and_kind() {
        for kind in [RowKind::Experience, RowKind::Relation, RowKind::Insight] {
            for collective in [0, 1, MAX_COLLECTIVE_NUMBER] {
                let table = kind.table(collective);
                assert_eq!(RowKind::of(table), Some((collective, kind)));
                assert_eq!(collective_of(table), collective);
            }
        }
        assert_eq!(RowKind::of(u32::MAX), None);
        assert_eq!(RowKind::Experience.table(7), 7);
    }
}
