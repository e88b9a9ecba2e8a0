//! Which row does a new experience become?

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    format::RecordKind,
    log::{OutFrame, Place},
    state::{Mutation, Row, RowRef, replay::first_values},
    sync::Arc,
    write::{
        draft::Embedded,
        pending::{Item, Present},
    },
};

impl Step<'_> {
    /// Where the next row of a table stands.
    pub(super) fn next_row(&self, table: u32) -> Result<RowRef> {
        let at = RowRef {
            collective: table,
            row: self.end_of(table),
        };
        if at.row == u32::MAX {
            return Err(PulseDBError::conflict(
                "the collective has used up its 2^32 - 1 row numbers; continue in a new one",
            ));
        }
        Ok(at)
    }

    /// The number behind those that a table has given out.
    pub(super) fn end_of(&self, table: u32) -> u32 {
        let in_table = self.applier.tables().get(table);
        let given_out = in_table.map_or(0, |table| table.row_count());
        self.pending.next_row(table, given_out)
    }

    /// Adds the next row to a table, made by a record of this kind.
    pub(super) fn append(
        &mut self,
        (table, kind): (u32, RecordKind),
        embedded: Embedded,
        id: u128,
    ) -> Result<()> {
        let at = self.next_row(table)?;
        let mut header = self.header(kind, at, id);
        header.dimension = embedded.dimension;
        header.payload_crc = embedded.payload_crc;
        header.payload_len = embedded.payload.len() as u32;
        let origin = embedded.origin;
        let row = Row {
            lsn: header.lsn,
            id,
            time: origin.as_ref().map_or(header.time, |it| it.recorded_at),
            place: Place::NOWHERE,
            frame_bytes: header.frame_len() as u32,
            dimension: header.dimension,
            agent: 0,
            inverse_norm: embedded.inverse_norm,
            importance: embedded.importance,
            confidence: embedded.confidence,
            kind: Some(embedded.kind),
            pinned: embedded.pinned,
            keyed: embedded.key.is_some(),
            expires_at: embedded.expires_at,
            bounded: embedded.bounded,
        };
        let first = origin
            .as_ref()
            .and_then(|origin| first_values(&row, &origin.vitals));
        // A row that this group may change: its traits are nowhere else yet.
        let after = origin.map(|origin| Present {
            at,
            row,
            values: first
                .as_deref()
                .copied()
                .unwrap_or_else(|| row.initial_values()),
            traits: Some(Arc::new(origin.traits)),
        });
        self.pending.push(Item {
            frame: OutFrame {
                header,
                payload: embedded.payload.into(),
            },
            mutation: Mutation::Record {
                at,
                row,
                agent: embedded.agent,
                key: embedded.key,
                first,
            },
            after,
        });
        Ok(())
    }
}
