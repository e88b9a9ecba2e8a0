//! What do agents do, as one call sees it?
//!
//! Heartbeats that are not in the log count for whoever reads the newest state, and for nobody else: they
//! belong to no commit, so that a view of a fixed one could not stay as it is.

use crate::{
    error::Result,
    model::{Activity, AgentId, CollectiveId, Timestamp},
    read::reader::Reader,
    state::Live,
    sync::Arc,
};

/// What an agent does, with all that is known of it.
pub fn find(
    reader: &Reader,
    collective: CollectiveId,
    agent: &AgentId,
) -> Result<Option<Arc<Live>>> {
    let table = reader.table(collective)?;
    Ok(table.activities.get(agent.as_str(), reader.lsn()))
}

/// What an agent does.
pub fn one(reader: &Reader, collective: CollectiveId, agent: &AgentId) -> Result<Option<Activity>> {
    let found = find(reader, collective, agent)?;
    Ok(found.map(|live| live.shown(collective, last_heartbeat(reader, &live))))
}

/// What the agents do that were heard of within the last `stale_ms` milliseconds, or what those do that
/// were not; by name.
pub fn list(
    reader: &Reader,
    collective: CollectiveId,
    stale_ms: i64,
    stale: bool,
) -> Result<Vec<Activity>> {
    let all = reader.table(collective)?.activities.all(reader.lsn());
    let wanted = all.iter().filter_map(|live| {
        let heard = last_heartbeat(reader, live);
        let age = reader.now.as_millis().saturating_sub(heard.as_millis());
        ((age > stale_ms) == stale).then(|| live.shown(collective, heard))
    });
    Ok(wanted.collect())
}

fn last_heartbeat(reader: &Reader, live: &Live) -> Timestamp {
    if reader.fixed {
        live.record().last_heartbeat
    } else {
        live.last_beat()
    }
}
