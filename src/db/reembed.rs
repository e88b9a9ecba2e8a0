//! Giving a collective the vectors of another model, as the application calls it.
//!
//! ```text
//! begin       one record names the model; from here on a restart goes on with what is durable
//! read/reembed.rs   rows that lack a vector, a batch at a time, each from a snapshot of its own
//! embed       their texts, behind whoever asks a question
//! commit      the vectors, as records beside the bodies; nobody searches them yet
//! end         one record, in the instant in which no row lacks one: from here on everybody goes by them
//! ```
//!
//! *Invariants.* Until the last record the collective answers, and takes writes, as before; whatever ends
//! the work leaves it so. A vector that is durable is not made again for the same model, and those for another
//! one are of no use to anybody. Rows that others record meanwhile are met by the walk, which goes on behind
//! the last row that it has met; where they keep coming, new vectors wait for the end of it (`Ending`), as
//! they wait for room in the index. Snapshots from before go on with the vectors from before: they hold
//! the table that has them (`state/table/reembedding.rs`).

use crate::{
    db::{CHANGE_BYTES, PulseDB, collectives::unexpected, engine::Engine},
    embed::{Embedder, Priority},
    error::{PulseDBError, Result},
    format::RowKind,
    model::{CollectiveId, EmbedderIdentity, Lsn, Progress, ReembedReport, limits::MAX_DIMENSION},
    read::reembed::{self, Text},
    state::Table,
    sync::Arc,
    write::{
        embedding::{EmbeddedRow, NewEmbedding},
        request::{Change, Reply},
    },
};

/// Bytes of a commit of vectors: enough that a sync costs little.
const COMMIT_BYTES: usize = 1024 * 1024;

/// Re-embedding.
impl PulseDB {
    /// Gives all experiences and insights of a collective new vectors, made by `embedder`, or by the store's
    /// own where there is none given. The one way to change a collective's model, and its dimension.
    ///
    /// Searches and recordings go on with the old vectors until all new ones are durable; then one
    /// record makes everybody go by these, snapshots from before aside. Until the graphs are built anew, in the
    /// background, searches compare all vectors. A collective of whose vectors nobody knows whose they are, because
    /// callers brought them, can be re-embedded as well. Afterwards it takes writes and queries in words from a
    /// store that is opened with that embedder (of the same dimension), and vectors of callers from no other.
    ///
    /// Cancel-safe: what was made so far is durable, and calling it again for the same model goes on from there,
    /// also after a crash. Calling it for another one throws that away, as [`PulseDB::cancel_reembed`] does.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{
    ///     Config, EmbedFuture, Embedder, EmbeddingDimension, NewExperience, Priority,
    ///     blocking::PulseDB, model::EmbedderIdentity,
    /// };
    /// use std::sync::Arc;
    ///
    /// /// How long is a text, and how many words has it?
    /// #[derive(Debug)]
    /// struct Shape(EmbedderIdentity);
    ///
    /// impl Embedder for Shape {
    ///     fn identity(&self) -> Option<&EmbedderIdentity> {
    ///         Some(&self.0)
    ///     }
    ///     fn dimension(&self) -> usize {
    ///         3
    ///     }
    ///     fn embed(&self, texts: Vec<String>, _: Priority) -> EmbedFuture<'_> {
    ///         let words = |text: &String| text.split(' ').count() as f32;
    ///         let shape = |text| vec![1.0, String::len(text) as f32, words(text)];
    ///         let shapes = texts.iter().map(shape).collect();
    ///         Box::pin(async move { Ok(shapes) })
    ///     }
    /// }
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// let id = db.record_experience(NewExperience {
    ///     embedding: Some(vec![0.6, 0.8]),
    ///     ..NewExperience::new(team, "agent-1", "Two words")
    /// })?;
    /// let shape = Arc::new(Shape(EmbedderIdentity {
    ///     provider: "example".into(),
    ///     model: "shape".into(),
    ///     fingerprint: "1".into(),
    /// }));
    /// let report = db.reembed(team, Some(shape))?;
    /// assert_eq!(report.embedded, 1);
    /// assert_eq!(db.get_experience(id)?.embedding, [1.0, 9.0, 2.0]);
    /// assert_eq!(db.get_collective(team)?.unwrap().embedding_dimension, 3);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`]; [`PulseDBError::Embedding`] where there is no embedder or it fails;
    /// [`PulseDBError::Validation`] for vectors that no experience may have; [`PulseDBError::Conflict`] where
    /// another re-embedding of the collective began meanwhile, or this one was given up;
    /// [`PulseDBError::ReadOnly`].
    pub async fn reembed(
        &self,
        collective: CollectiveId,
        embedder: Option<Arc<dyn Embedder>>,
    ) -> Result<ReembedReport> {
        self.reembed_with(collective, embedder, |_| {}).await
    }

    /// The same as [`PulseDB::reembed`], telling after each batch of some hundred texts how far it has come.
    ///
    /// # Errors
    /// As [`PulseDB::reembed`].
    pub async fn reembed_with(
        &self,
        collective: CollectiveId,
        embedder: Option<Arc<dyn Embedder>>,
        mut tell: impl FnMut(Progress) + Send,
    ) -> Result<ReembedReport> {
        self.engine().committer()?;
        let own = || {
            let cached = self.engine().embedder.clone();
            cached.map(|cached| cached as Arc<dyn Embedder>)
        };
        let embedder = embedder.or_else(own);
        let embedder = embedder.ok_or_else(|| {
            PulseDBError::Embedding(
                "the store was opened with external embeddings; name an embedder".into(),
            )
        })?;
        let dimension = u16::try_from(embedder.dimension())
            .ok()
            .filter(|dimension| (1..=MAX_DIMENSION).contains(&usize::from(*dimension)));
        let dimension = dimension.ok_or_else(|| {
            let limit = format!("it must be in 1..={MAX_DIMENSION}");
            PulseDBError::validation("embedder.dimension", embedder.dimension(), limit)
        })?;
        let identity = self.identity_of(&*embedder).await?;
        let bytes = identity.provider.len() + identity.model.len() + identity.fingerprint.len();
        let begin = Change::BeginReembedding(collective, dimension, Box::new(identity.clone()));
        let epoch = match self.commit_one(begin, bytes).await? {
            Reply::Reembedding(Some(epoch)) => epoch,
            Reply::Reembedding(None) => return Ok(ReembedReport::default()),
            other => return Err(unexpected(&other)),
        };
        let target = Target {
            collective,
            epoch,
            dimension,
            embedder,
            identity,
        };
        let total = self
            .ask(move |reader| reembed::rows(reader, collective))
            .await?;
        let mut report = ReembedReport::default();
        let (mut experiences, mut insights) = (0, 0);
        let mut ending = None;
        loop {
            for (kind, met) in [
                (RowKind::Experience, &mut experiences),
                (RowKind::Insight, &mut insights),
            ] {
                let mut told = |report: &ReembedReport| {
                    let done = report.embedded + report.resumed + report.unreadable;
                    let total = Some(total.max(done));
                    tell(Progress { done, total });
                };
                *met = self
                    .embed_rows(&target, (kind, *met), &mut report, &mut told)
                    .await?;
            }
            let (rows, precision) = ((experiences, insights), target.embedder.precision());
            let end = Change::EndReembedding(collective, epoch, rows, precision);
            match self.commit_one(end, 0).await? {
                Reply::Done => break,
                Reply::LookAgain => {}
                other => return Err(unexpected(&other)),
            }
            if ending.is_none() {
                ending = Some(Ending::begin(self.engine(), collective)?);
            }
        }
        drop(ending);
        Ok(report)
    }

    /// Gives up a re-embedding that has begun: what it has made is thrown away, and the collective stays as it
    /// is. Without one, nothing happens.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::ReadOnly`].
    pub async fn cancel_reembed(&self, collective: CollectiveId) -> Result<()> {
        let cancel = Change::CancelReembedding(collective);
        self.commit_one(cancel, 0).await.map(drop)
    }

    /// Gives vectors to the rows of one kind from a row on, and answers the number behind the last one met.
    async fn embed_rows(
        &self,
        target: &Target,
        (kind, from): (RowKind, u32),
        report: &mut ReembedReport,
        told: &mut (impl FnMut(&ReembedReport) + Send),
    ) -> Result<u32> {
        let (collective, epoch) = (target.collective, target.epoch);
        let mut next = from;
        loop {
            let batch = self
                .ask(move |reader| reembed::batch(reader, collective, kind, epoch, next))
                .await?;
            report.resumed += batch.embedded;
            report.unreadable += batch.unreadable;
            let count = batch.texts.len() as u64;
            if count > 0 {
                self.embed_batch(target, kind, batch.texts).await?;
                report.embedded += count;
            }
            told(report);
            match batch.next {
                Some(row) => next = row,
                None => return Ok(batch.end),
            }
        }
    }

    async fn embed_batch(&self, target: &Target, kind: RowKind, texts: Vec<Text>) -> Result<()> {
        let rows: Vec<EmbeddedRow> = texts
            .iter()
            .map(|text| EmbeddedRow {
                kind,
                row: text.row,
                id: text.id,
            })
            .collect();
        let contents = texts.into_iter().map(|text| text.content).collect();
        let (made, identity) = self
            .embedded(&*target.embedder, contents, Priority::Ingest)
            .await?;
        if identity != target.identity {
            return Err(PulseDBError::Embedding(format!(
                "the embedder was {}, and now is {identity}",
                target.identity
            )));
        }
        let Target {
            collective,
            epoch,
            dimension,
            ..
        } = *target;
        let encoded: Vec<NewEmbedding> = self
            .work(move || {
                let pairs = rows.into_iter().zip(&made);
                let encode = |(row, vector): (EmbeddedRow, &Vec<f32>)| {
                    NewEmbedding::new(collective, row, epoch, dimension, vector)
                };
                pairs.map(encode).collect()
            })
            .await?;
        let limit = COMMIT_BYTES.min(self.config().max_commit_bytes);
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for embedding in encoded {
            let more = embedding.bytes();
            let all = bytes + more + (changes.len() + 1) * CHANGE_BYTES;
            if all > limit && !changes.is_empty() {
                self.commit(std::mem::take(&mut changes), bytes).await?;
                bytes = 0;
            }
            bytes += more;
            changes.push(Change::Embed(Box::new(embedding)));
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(changes, bytes).await.map(drop)
    }
}

/// What a collective is to become.
struct Target {
    collective: CollectiveId,
    epoch: Lsn,
    dimension: u16,
    embedder: Arc<dyn Embedder>,
    identity: EmbedderIdentity,
}

/// New vectors of a collective wait for as long as it lives.
struct Ending {
    engine: Arc<Engine>,
    table: Arc<Table>,
}

impl Ending {
    fn begin(engine: &Arc<Engine>, collective: CollectiveId) -> Result<Self> {
        let table = Arc::clone(engine.reader()?.table(collective)?);
        table.set_ending(true);
        Ok(Self {
            engine: Arc::clone(engine),
            table,
        })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.table.set_ending(false);
        self.engine.index_room.changed();
    }
}
