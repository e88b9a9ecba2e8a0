//! What agents do, as they say it and as others ask for it.

use crate::{
    db::{PulseDB, engine::stopped_error},
    error::{PulseDBError, Result},
    model::{Activity, AgentId, CollectiveId, EntityKind, NewActivity, TaskId, Timestamp},
    read::activities,
    telemetry::Operation,
    write::{
        request::{ActivityChange, Change},
        validate,
    },
};

/// A heartbeat is logged where the last one in the log is at least this part of
/// `ActivityConfig::stale_threshold` old. A quarter: who beats no more seldom than every three quarters of
/// the threshold is stale for nobody, not even for whoever goes by the log alone.
const LOGGED_PART: i64 = 4;

/// Activities: what agents do now, one per agent and collective.
impl PulseDB {
    /// Notes what an agent does from now on, instead of what it did before in this collective. Its
    /// last sign of life is now.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # use pulsedb::{AgentId, Config, EmbeddingDimension, NewActivity, PulseDB};
    /// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
    /// # let team = db.create_collective("team").await?;
    /// let agent = AgentId::from("agent-7");
    /// db.register_activity(NewActivity {
    ///     agent_id: agent.clone(),
    ///     collective_id: team,
    ///     current_task: Some("review".into()),
    ///     context_summary: Some("the parser's error paths".into()),
    /// })
    /// .await?;
    /// db.update_heartbeat(team, &agent).await?; // now and then, while it works
    /// assert_eq!(db.get_active_agents(team).await?[0].agent_id, agent);
    /// db.end_activity(team, &agent).await?;
    /// assert_eq!(db.get_activity(team, &agent).await?, None);
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] unless the agent has 1–256 characters and each text at most 1 KiB,
    /// [`PulseDBError::NotFound`] for an unknown collective.
    pub async fn register_activity(&self, new: NewActivity) -> Result<()> {
        validate::activity(&new)?;
        let task = new
            .current_task
            .map(|task: TaskId| task.as_str().to_owned());
        let texts = [&task, &new.context_summary];
        let bytes = texts.into_iter().flatten().map(String::len).sum();
        let change = ActivityChange::Register {
            current_task: task,
            context_summary: new.context_summary,
        };
        self.change_activity(new.collective_id, new.agent_id, change, bytes)
            .await
    }

    /// Notes a sign of life of an agent. Whoever reads the newest state sees it from here on.
    ///
    /// Cheap, so that it may be called often: it becomes durable only where the last heartbeat in the
    /// log is at least a quarter of `Config::activity.stale_threshold` old. In between it waits for no disk,
    /// and is lost with the process: after an open, and in a [`Snapshot`](crate::Snapshot), which is fixed at a commit,
    /// the last heartbeat may be up to a quarter of the threshold older than it was. An agent that beats
    /// at least every three quarters of the threshold is stale in neither.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`] for an unknown collective, and where the agent has no activity in it:
    /// register it then.
    pub async fn update_heartbeat(&self, collective: CollectiveId, agent: &AgentId) -> Result<()> {
        let engine = self.engine();
        // Where nothing can become durable any more, the agent is told, also in between.
        if let Some(stopped) = engine.committer()?.stopped() {
            return Err(stopped_error(stopped));
        }
        let reader = engine.reader()?;
        let known = activities::find(&reader, collective, agent)?
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Activity, agent))?;
        let quarter = self.stale_ms() / LOGGED_PART;
        let unless_since = Timestamp::from_millis(reader.now.as_millis().saturating_sub(quarter));
        if known.record().last_heartbeat > unless_since {
            known.beat(reader.now);
            return Ok(());
        }
        let change = ActivityChange::Beat { unless_since };
        self.change_activity(collective, agent.clone(), change, 0)
            .await
    }

    /// Ends what an agent does.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`] for an unknown collective, and where the agent has no activity in it.
    pub async fn end_activity(&self, collective: CollectiveId, agent: &AgentId) -> Result<()> {
        self.change_activity(collective, agent.clone(), ActivityChange::End, 0)
            .await
    }

    /// What an agent does, stale or not; `None` where it has registered nothing, or has ended it.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`] for an unknown collective.
    pub async fn get_activity(
        &self,
        collective: CollectiveId,
        agent: &AgentId,
    ) -> Result<Option<Activity>> {
        activities::one(&self.reader()?, collective, agent)
    }

    /// What agents do whose last heartbeat is not more than `Config::activity.stale_threshold` ago, by
    /// their names.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`] for an unknown collective.
    pub async fn get_active_agents(&self, collective: CollectiveId) -> Result<Vec<Activity>> {
        self.list_activities(collective, false).await
    }

    /// What agents have registered and not ended, but have not been heard of for longer than
    /// `Config::activity.stale_threshold`; by their names. They stay until they are ended or registered
    /// anew.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`] for an unknown collective.
    pub async fn list_stale_activities(&self, collective: CollectiveId) -> Result<Vec<Activity>> {
        self.list_activities(collective, true).await
    }

    async fn list_activities(
        &self,
        collective: CollectiveId,
        stale: bool,
    ) -> Result<Vec<Activity>> {
        let stale_ms = self.stale_ms();
        self.read(Operation::ReadActivities.of(collective), move |reader| {
            activities::list(reader, collective, stale_ms, stale)
        })
        .await
    }

    async fn change_activity(
        &self,
        collective: CollectiveId,
        agent: AgentId,
        change: ActivityChange,
        bytes: usize,
    ) -> Result<()> {
        let bytes = bytes + agent.as_str().len();
        let change = Change::Activity(collective, agent, Box::new(change));
        self.commit_one(change, bytes).await.map(drop)
    }

    pub(super) fn stale_ms(&self) -> i64 {
        let threshold = self.config().activity.stale_threshold;
        i64::try_from(threshold.as_millis()).unwrap_or(i64::MAX)
    }
}
