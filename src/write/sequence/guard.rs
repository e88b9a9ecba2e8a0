//! Is everything still as a transaction has seen it?
//!
//! First committer wins: each thing that was seen must not have been changed by a record that is newer
//! than the transaction's snapshot, in the tables or earlier in this group. Asked before anything of
//! the request is decided, with nothing committed in between.

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    model::{CollectiveId, EntityKind, ExperienceId, Lsn},
    write::guard::Guard,
};

/// What was seen of a collective.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Definition,
    Everything,
}

impl Step<'_> {
    /// Refuses the request of a transaction that has seen what is not so any more.
    pub(super) fn check(&mut self, guard: &Guard) -> Result<()> {
        if guard.has_seen_all_definitions() && self.some_definition_changed(guard.lsn()) {
            return Err(changed(
                "the list of collectives",
                "created, redefined or deleted",
            ));
        }
        for (id, was_there) in guard.definitions() {
            self.collective_as_seen(id, was_there, Seen::Definition, guard.lsn())?;
        }
        for (id, was_there) in guard.collectives() {
            self.collective_as_seen(id, was_there, Seen::Everything, guard.lsn())?;
        }
        guard
            .entities()
            .try_for_each(|(kind, id)| self.entity_as_seen(kind, id, guard))
    }

    fn some_definition_changed(&mut self, since: Lsn) -> bool {
        let tables = self.applier.tables();
        self.pending.redefines(None)
            || tables.last_removal() > since
            || tables.iter().any(|table| table.defined_at() > since)
    }

    fn collective_as_seen(
        &mut self,
        id: CollectiveId,
        was_there: bool,
        seen: Seen,
        since: Lsn,
    ) -> Result<()> {
        let found = self.pending.find_collective(id.as_u128(), self.applier);
        if found.is_some() != was_there {
            let what = if was_there { "deleted" } else { "created" };
            return Err(changed(format!("{} {id}", EntityKind::Collective), what));
        }
        let Some((number, _)) = found else {
            return Ok(());
        };
        let table = self.applier.tables().get(number);
        let (newest, pending) = match seen {
            Seen::Definition => (
                table.map(|table| table.defined_at()),
                self.pending.redefines(Some(number)),
            ),
            Seen::Everything => (
                table.map(|table| table.changed_at()),
                self.pending.changes_collective(number),
            ),
        };
        if pending || newest.is_none_or(|newest| newest > since) {
            let what = match seen {
                Seen::Definition => "redefined",
                Seen::Everything => "changed",
            };
            return Err(changed(format!("{} {id}", EntityKind::Collective), what));
        }
        Ok(())
    }

    fn entity_as_seen(&mut self, kind: EntityKind, id: u128, guard: &Guard) -> Result<()> {
        // All ids look the same.
        let named = || format!("{kind} {}", ExperienceId::from_u128(id));
        let conflict = |what| Err(changed(named(), what));
        if self.pending.changes(id, self.applier) {
            return conflict("changed");
        }
        let Some(at) = self.applier.ids().get(id) else {
            return Ok(());
        };
        let tables = self.applier.tables();
        let Some(table) = tables.get(at.collective) else {
            // With its collective, at the last such deletion or before.
            if tables.last_removal() > guard.lsn() {
                return conflict("deleted");
            }
            return Ok(());
        };
        let newest = table.with_slot(at.row, |slot| slot.changed_at()).flatten();
        if newest.is_some_and(|newest| newest > guard.lsn()) {
            return conflict("changed");
        }
        let expired = table
            .row(at.row, guard.lsn())
            .is_some_and(|row| !row.values.expired(guard.now()) && row.values.expired(self.now()));
        if expired {
            return conflict("expired");
        }
        Ok(())
    }
}

/// A conflict with what was committed first.
pub(super) fn changed(what: impl std::fmt::Display, how: &str) -> PulseDBError {
    PulseDBError::conflict(format!(
        "{what} was {how} after the transaction had begun; begin again and decide anew"
    ))
}
