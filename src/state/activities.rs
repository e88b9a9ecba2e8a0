//! What do the agents of a collective do, and what did they?
//!
//! Per agent the versions that somebody may still see, each from a record of the log. The committer
//! adds; readers look at the newest version at or below their LSN. There is one entry per agent, so a
//! lock that is held for a look is all it takes.
//!
//! Heartbeats are the one thing that is not always logged: [`Live::beat`] raises the time of a version
//! in memory, which whoever reads the newest state sees at once, and which ends with the process. It
//! changes no version's record, so that a view of a fixed moment, which goes by records alone, stays
//! as it is.

use std::collections::BTreeMap;

use crate::{
    format::ActivityRecord,
    model::{Activity, CollectiveId, Lsn, Timestamp},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

/// What an agent does since a record, and when it was heard of last.
#[derive(Debug)]
pub struct Live {
    record: ActivityRecord,
    /// The newest heartbeat in milliseconds, in the log or not.
    beat: AtomicI64,
}

impl Live {
    /// As a record says.
    #[must_use]
    pub fn new(record: ActivityRecord) -> Self {
        Self {
            beat: AtomicI64::new(record.last_heartbeat.as_millis()),
            record,
        }
    }

    /// The record.
    pub fn record(&self) -> &ActivityRecord {
        &self.record
    }

    /// A sign of life that is not logged. One that is older than what is known changes nothing.
    pub fn beat(&self, at: Timestamp) {
        self.beat.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// The newest sign of life, in the log or not.
    pub fn last_beat(&self) -> Timestamp {
        Timestamp::from_millis(self.beat.load(Ordering::Relaxed))
    }

    /// For a reader, who knows of the last sign of life at `last_heartbeat`.
    pub fn shown(&self, collective_id: CollectiveId, last_heartbeat: Timestamp) -> Activity {
        let record = &self.record;
        Activity {
            agent_id: record.agent_id.as_str().into(),
            collective_id,
            current_task: record.current_task.as_deref().map(Into::into),
            context_summary: record.context_summary.clone(),
            started_at: record.started_at,
            last_heartbeat,
        }
    }
}

/// What holds from an LSN on.
#[derive(Clone, Debug)]
pub struct Version {
    /// The record that it is from.
    pub lsn: Lsn,
    /// What the agent does; `None` where its activity is over.
    pub activity: Option<Arc<Live>>,
}

/// The agents of one collective.
#[derive(Debug, Default)]
pub struct Activities(Mutex<BTreeMap<Arc<str>, Versions>>);

/// Those of one agent, oldest first. Never empty.
type Versions = Vec<Version>;

impl Activities {
    /// What the agent does as of `lsn`.
    pub fn get(&self, agent: &str, lsn: Lsn) -> Option<Arc<Live>> {
        self.0
            .lock()
            .get(agent)
            .and_then(|versions| at(versions, lsn))
    }

    /// What all agents do as of `lsn`, by name.
    pub fn all(&self, lsn: Lsn) -> Vec<Arc<Live>> {
        let agents = self.0.lock();
        agents
            .values()
            .filter_map(|versions| at(versions, lsn))
            .collect()
    }

    /// The versions up to `lsn` that somebody at or above `horizon` may see, by agent and LSN.
    pub fn needed(&self, horizon: Lsn, lsn: Lsn) -> Vec<(Arc<str>, Version)> {
        let agents = self.0.lock();
        let mut needed = Vec::new();
        for (agent, versions) in agents.iter() {
            let seen = versions.iter().skip(unseen(versions, horizon));
            let upto = seen.take_while(|version| version.lsn <= lsn);
            needed.extend(upto.map(|version| (Arc::clone(agent), version.clone())));
        }
        needed
    }

    /// Whether somebody at or above `horizon` may see what the record `lsn` said of the agent.
    pub fn is_needed(&self, agent: &str, lsn: Lsn, horizon: Lsn) -> bool {
        let agents = self.0.lock();
        agents.get(agent).is_some_and(|versions| {
            let mut seen = versions.iter().skip(unseen(versions, horizon));
            seen.any(|version| version.lsn == lsn)
        })
    }

    /// Adds what holds from `lsn` on, and drops what nobody at or above `horizon` can see. Whether
    /// something was known of the agent before; else there is nothing to end. For the committer.
    pub(super) fn put(
        &self,
        lsn: Lsn,
        agent: &Arc<str>,
        activity: Option<Arc<Live>>,
        horizon: Lsn,
    ) -> bool {
        let mut agents = self.0.lock();
        let known = agents.contains_key(agent);
        if known || activity.is_some() {
            let versions = agents.entry(Arc::clone(agent)).or_default();
            versions.push(Version { lsn, activity });
            trim(&mut agents, agent, horizon);
        }
        known
    }

    /// Drops what nobody at or above `horizon` can see of the agent. For the committer.
    pub(super) fn forget(&self, agent: &str, horizon: Lsn) {
        trim(&mut self.0.lock(), agent, horizon);
    }
}

fn at(versions: &[Version], lsn: Lsn) -> Option<Arc<Live>> {
    let newest = versions.iter().rfind(|version| version.lsn <= lsn)?;
    newest.activity.clone()
}

/// How many of the oldest versions nobody at or above `horizon` can see. The end of an activity is
/// nothing to see where nothing is in front of it.
fn unseen(versions: &[Version], horizon: Lsn) -> usize {
    let reached = versions.partition_point(|version| version.lsn <= horizon);
    let Some(newest) = reached.checked_sub(1) else {
        return 0;
    };
    match versions.get(newest) {
        Some(Version { activity: None, .. }) => reached,
        _ => newest,
    }
}

fn trim(agents: &mut BTreeMap<Arc<str>, Versions>, agent: &str, horizon: Lsn) {
    if let Some(versions) = agents.get_mut(agent) {
        versions.drain(..unseen(versions, horizon));
        if versions.is_empty() {
            agents.remove(agent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::UnknownFields;

    const NO_HORIZON: Lsn = Lsn::ZERO;

    fn live(task: u64) -> Option<Arc<Live>> {
        Some(Arc::new(Live::new(ActivityRecord {
            agent_id: "ann".into(),
            current_task: Some(task.to_string()),
            context_summary: None,
            started_at: Timestamp::from_millis(10),
            last_heartbeat: Timestamp::from_millis(20),
            unknown: UnknownFields::default(),
        })))
    }

    /// Ann begins at 3, begins anew at 5, ends at 9, begins at 12.
    fn ann() -> Activities {
        let activities = Activities::default();
        put(&activities, 3, true, NO_HORIZON);
        put(&activities, 5, true, NO_HORIZON);
        put(&activities, 9, false, NO_HORIZON);
        put(&activities, 12, true, NO_HORIZON);
        activities
    }

    fn put(activities: &Activities, lsn: u64, lasts: bool, horizon: Lsn) -> bool {
        let activity = live(lsn).filter(|_| lasts);
        activities.put(Lsn::new(lsn), &Arc::from("ann"), activity, horizon)
    }

    fn task(activities: &Activities, lsn: u64) -> Option<u64> {
        let found = activities.get("ann", Lsn::new(lsn))?;
        found.record().current_task.as_ref()?.parse().ok()
    }

    fn needed(activities: &Activities, horizon: u64, lsn: u64) -> Vec<u64> {
        let needed = activities.needed(Lsn::new(horizon), Lsn::new(lsn));
        needed.iter().map(|(_, one)| one.lsn.get()).collect()
    }

    #[test]
    fn each_reader_finds_the_newest_version_it_may_see() {
        let ann = ann();
        let seen = [2, 3, 4, 5, 8, 9, 11, 12, 13].map(|lsn| task(&ann, lsn));
        let (three, five, twelve) = (Some(3), Some(5), Some(12));
        let expected = [None, three, three, five, five, None, None, twelve, twelve];
        assert_eq!(seen, expected);
        assert_eq!(ann.all(Lsn::new(8)).len(), 1);
        assert_eq!(ann.all(Lsn::new(9)).len(), 0);
        assert!(ann.get("bob", Lsn::new(20)).is_none());
    }

    #[test]
    fn what_somebody_may_see_is_needed() {
        let ann = ann();
        assert_eq!(needed(&ann, 0, 20), [3, 5, 9, 12]);
        assert_eq!(needed(&ann, 5, 20), [5, 9, 12]);
        assert_eq!(needed(&ann, 8, 9), [5, 9]);
        assert_eq!(needed(&ann, 9, 20), [12], "the end of nothing is nothing");
        assert!(needed(&ann, 9, 11).is_empty());
        assert_eq!(needed(&ann, 12, 20), [12]);
        for (lsn, horizon, is_needed) in [(3, 4, true), (3, 5, false), (9, 8, true), (9, 9, false)]
        {
            assert_eq!(
                ann.is_needed("ann", Lsn::new(lsn), Lsn::new(horizon)),
                is_needed,
                "{lsn} from {horizon} on"
            );
        }
    }

    #[test]
    fn what_nobody_can_see_is_dropped_and_all_else_stays() {
        for horizon in 0..15 {
            let whole = ann();
            let trimmed = ann();
            trimmed.forget("ann", Lsn::new(horizon));
            for lsn in horizon..15 {
                assert_eq!(task(&trimmed, lsn), task(&whole, lsn), "{lsn}, {horizon}");
            }
            let left = needed(&trimmed, 0, 20);
            assert_eq!(left, needed(&whole, horizon, 20), "{horizon}");
        }
    }

    #[test]
    fn an_agent_that_ended_is_forgotten() {
        let activities = Activities::default();
        assert!(!put(&activities, 2, false, NO_HORIZON), "nothing to end");
        assert!(activities.0.lock().is_empty());
        assert!(!put(&activities, 3, true, NO_HORIZON));
        assert!(put(&activities, 4, false, Lsn::new(3)));
        assert_eq!(task(&activities, 3), Some(3));
        activities.forget("ann", Lsn::new(4));
        assert!(activities.0.lock().is_empty());
        for lsn in 5..1_000 {
            put(&activities, lsn, true, Lsn::new(lsn - 1));
        }
        assert_eq!(needed(&activities, 0, 2_000), [998, 999]);
    }

    #[test]
    fn beats_only_go_forward_and_change_no_record() {
        let live = live(1).unwrap();
        assert_eq!(live.last_beat(), Timestamp::from_millis(20));
        for (beat, last) in [(15, 20), (30, 30), (25, 30)] {
            live.beat(Timestamp::from_millis(beat));
            assert_eq!(live.last_beat(), Timestamp::from_millis(last));
        }
        assert_eq!(live.record().last_heartbeat, Timestamp::from_millis(20));
    }
}
