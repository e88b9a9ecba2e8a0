//! Recording with a policy for what is known already.
//!
//! The look for duplicates runs on the readers' threads, in a snapshot; the committer compares with what
//! was recorded since, and asks for another look where that is too much. A second look continues the
//! first one, so it takes about as long as the rows took to come in, and it may leave more to the committer.

use crate::{
    db::{PulseDB, collectives::unexpected},
    error::Result,
    model::{CollectiveId, DuplicatePolicy, NewExperience, RecordOptions, RecordOutcome},
    read::duplicates::{Question, look, look_on},
    state::sighting::{Sighting, Sought},
    sync::Arc,
    telemetry::Operation,
    write::{
        draft::{Draft, Embedded},
        request::{Change, Reply},
        sequence::{Checked, Looked},
        validate,
    },
};

/// Rows that the committer compares with at first, beside those of the same batch: a dot product each, which
/// together take less than a sync. It doubles with each look, so that looking ends however fast others
/// record; what can come in while one look waits for its turn is bounded by `Config::max_queue_bytes`.
const MOST_SINCE: u32 = 512;

/// What is asked of each snapshot.
type Asked = Arc<Vec<(CollectiveId, Arc<Sought>)>>;

/// Recording with a policy.
impl PulseDB {
    /// Records one experience unless the collective has it already, and does then as `options` says:
    /// decided in the same instant as the commit, so of many who record the same at once with
    /// [`DuplicatePolicy::Skip`], one is recorded.
    ///
    /// An `idempotency_key` comes first: with one that the collective has already seen, nobody looks for
    /// duplicates, nothing is changed, and the id of the first is answered. A key is kept only where
    /// something is recorded.
    ///
    /// The look for near duplicates is an exact search. The first look for the same content reads the
    /// hash of every experience of the collective, and keeps some 18 bytes for each.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{
    ///     Config, DuplicatePolicy, EmbeddingDimension, NewExperience, RecordAction, RecordOptions,
    ///     blocking::PulseDB,
    /// };
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// let options = RecordOptions {
    ///     duplicates: DuplicatePolicy::Reinforce,
    ///     same_content: true,
    ///     similarity_threshold: Some(0.95),
    /// };
    /// let say = |content: &str, embedding: [f32; 2]| NewExperience {
    ///     embedding: Some(embedding.to_vec()),
    ///     ..NewExperience::new(team, "agent-1", content)
    /// };
    /// let first = db.record_experience_with(say("Retry with jitter.", [0.6, 0.8]), options)?;
    /// assert_eq!(first.action, RecordAction::Recorded);
    /// let again = db.record_experience_with(say("Use jitter in retries.", [0.61, 0.79]), options)?;
    /// assert_eq!((again.action, again.id), (RecordAction::Reinforced, first.id));
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`PulseDB::record_experience`]; [`PulseDBError::Validation`](crate::PulseDBError::Validation) for
    /// a threshold outside (0, 1], and for a policy that does not say what a duplicate is.
    pub async fn record_experience_with(
        &self,
        new: NewExperience,
        options: RecordOptions,
    ) -> Result<RecordOutcome> {
        let outcomes = self.record_experiences_with(vec![new], options).await?;
        outcomes
            .into_iter()
            .next()
            .ok_or_else(|| unexpected(&Reply::Done))
    }

    /// The same for a batch in one durable commit: what is done for each is done, or nothing. The
    /// outcomes come in the order of the batch, and each may repeat one before it.
    ///
    /// # Errors
    /// As [`PulseDB::record_experience_with`]; a batch over `Config::max_commit_bytes` is refused.
    pub async fn record_experiences_with(
        &self,
        batch: Vec<NewExperience>,
        options: RecordOptions,
    ) -> Result<Vec<RecordOutcome>> {
        validate::record_options(&options)?;
        let drafts = batch.into_iter().map(Draft::experience);
        let embedded = self.embed_drafts(drafts.collect::<Result<_>>()?).await?;
        let bytes = embedded.iter().map(|one| one.bytes()).sum();
        if options.duplicates == DuplicatePolicy::Insert {
            let changes = embedded.into_iter().map(|embedded| checked(embedded, None));
            return outcomes(self.commit(changes.collect(), bytes).await?);
        }
        let asked = embedded
            .iter()
            .map(|one| Ok((one.collective, Arc::new(one.sought(&options)?))))
            .collect::<Result<Vec<_>>>()?;
        let asked = Arc::new(asked);
        let mut most_since = MOST_SINCE.saturating_add(asked.len() as u32);
        let mut sightings = None;
        loop {
            let seen = self.look_for(&asked, sightings).await?;
            let changes = embedded.iter().zip(asked.iter()).zip(&seen).map(
                |((embedded, (_, sought)), sighting)| {
                    let looked = Looked {
                        policy: options.duplicates,
                        sought: Arc::clone(sought),
                        sighting: sighting.clone(),
                        most_since,
                    };
                    checked(embedded.clone(), Some(looked))
                },
            );
            let replies = self.commit(changes.collect(), bytes).await?;
            if !replies.contains(&Reply::LookAgain) {
                return outcomes(replies);
            }
            sightings = Some(seen);
            most_since = most_since.saturating_mul(2);
        }
    }

    /// What there is now, given what was seen before.
    async fn look_for(
        &self,
        asked: &Asked,
        before: Option<Vec<Sighting>>,
    ) -> Result<Vec<Sighting>> {
        let indexing = Arc::clone(&self.engine().indexing);
        let asked = Arc::clone(asked);
        self.read(Operation::Duplicates, move |reader| {
            indexing.make_loaded(&reader.view);
            let questions: Vec<Question<'_>> = asked
                .iter()
                .map(|(collective, sought)| Question {
                    collective: *collective,
                    sought,
                })
                .collect();
            match before {
                None => look(reader, &questions),
                Some(before) => look_on(reader, &questions, &before),
            }
        })
        .await
    }
}

fn checked(embedded: Embedded, looked: Option<Looked>) -> Change {
    Change::RecordChecked(Box::new(Checked { embedded, looked }))
}

fn outcomes(replies: Vec<Reply>) -> Result<Vec<RecordOutcome>> {
    replies
        .into_iter()
        .map(|reply| match reply {
            Reply::Outcome(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        })
        .collect()
}
