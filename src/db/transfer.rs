//! Export and import, as the application calls them.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    db::{CHANGE_BYTES, PulseDB, collectives::unexpected},
    edge::pieces::Pieces,
    embed::Priority,
    error::{PulseDBError, Result},
    format::{Header, Line, LineReader, MAX_LINE_BYTES, RowKind},
    model::{
        CollectiveId, EmbedderIdentity, ExperienceRelation, ExportOptions, ImportOptions,
        ImportReport, InstanceId, Progress,
    },
    read::export::Export,
    sync::Arc,
    write::{
        draft::{Draft, EXTERNAL, Embedded},
        request::{Change, Imported, Reply},
        validate,
    },
};

/// Lines that are read, checked and encoded at a time; about a megabyte where experiences are as long as
/// usual.
const BATCH_LINES: usize = 256;
/// Bytes of lines after which a batch ends.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of a commit of an import, unless one experience needs more: enough that a sync costs little.
const COMMIT_BYTES: usize = 1024 * 1024;

/// The lines of an export, without line feeds; from [`PulseDB::export`].
///
/// It holds about a mebibyte of experiences, reads on when they were taken, and keeps the snapshot that it
/// reads alive. Cancel-safe. It ends after an error; then the last line is missing, and nobody imports what
/// there is by mistake.
#[must_use = "a stream does nothing unless it is polled"]
pub struct ExportStream(pub(crate) Pieces<String>);

impl ExportStream {
    /// The next line; `None` at the end.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// As [`ExperienceStream::recv`](crate::ExperienceStream::recv).
    pub async fn recv(&mut self) -> Option<Result<String>> {
        self.0.recv().await
    }
}

impl Stream for ExportStream {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context)
    }
}

impl fmt::Debug for ExportStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportStream").finish_non_exhaustive()
    }
}

/// Taking collectives along.
impl PulseDB {
    /// A collective as JSON lines, as of now: its definition, its experiences in the order of time,
    /// archived ones too, its insights, its relations, and an end with counts and a checksum. What is committed meanwhile changes
    /// nothing. What is damaged is left out, as from any list, and so are relations of a damaged experience; the end
    /// says how much ([`ExportCounts::unreadable`](crate::model::ExportCounts::unreadable)), `health_check` what.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # use pulsedb::{Config, EmbeddingDimension, NewExperience, PulseDB};
    /// # let config = || Config::external(EmbeddingDimension::Custom(2));
    /// # let db = PulseDB::open(here.path(), config()).await?;
    /// # let team = db.create_collective("team").await?;
    /// # db.record_experience(NewExperience {
    /// #     embedding: Some(vec![0.6, 0.8]), ..NewExperience::new(team, "a", "moved") }).await?;
    /// use pulsedb::{ExportOptions, ImportOptions};
    ///
    /// let lines = db.export(team, ExportOptions::default()).await?;
    /// let other = PulseDB::open(there.path(), config()).await?;
    /// let report = other.import(None, lines, ImportOptions::default()).await?;
    /// assert_eq!((report.collective_id, report.created), (team, 1));
    /// assert_eq!(other.first_n(team, 1).await?, db.first_n(team, 1).await?);
    /// # other.close().await?;
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn export(
        &self,
        collective: CollectiveId,
        options: ExportOptions,
    ) -> Result<ExportStream> {
        let mut export = Export::new(self.reader()?, collective, options)?;
        let readers = Arc::clone(&self.engine().readers);
        let work = move || export.next_piece();
        Ok(ExportStream(Pieces::new(readers, Box::new(work))))
    }

    /// Takes the lines of an export into `collective`, or into the collective that they come from, which is
    /// created with its id where it does not exist. Ids, times, counts and everything else stay what
    /// they were. Vectors come from the lines; where they have none, the store embeds the texts.
    ///
    /// Experiences are committed in batches while lines are read, so that a large import holds
    /// megabytes. The end is compared with all lines before it, and the experiences that came
    /// with it (up to 256) are only recorded if it fits. Where it does not, or an error ends the import,
    /// or the future is dropped, what was committed before stays; importing again, from a source that is
    /// whole, adds what is missing and repeats nothing. Whoever can read the source twice first checks it
    /// with [`ImportOptions::check_only`], which writes nothing.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] naming the line for lines that are not those of an export, or were
    /// changed, cut off or mixed up, and for fields outside their limits; [`PulseDBError::NotFound`] for an
    /// unknown collective; [`PulseDBError::Conflict`] for a dimension that is not the collective's, an id
    /// that is in another collective, or an idempotency key that is another experience's;
    /// [`PulseDBError::Embedding`] naming both models where vectors of two would mix: a store that embeds takes
    /// no others than those of its own; and whatever error the source answers.
    pub async fn import<L, E>(
        &self,
        collective: Option<CollectiveId>,
        lines: impl Stream<Item = Result<L, E>> + Send,
        options: ImportOptions,
    ) -> Result<ImportReport>
    where
        L: AsRef<str> + Send,
        E: Error + Send + Sync + 'static,
    {
        self.import_with(collective, lines, options, |_| {}).await
    }

    /// The same as [`PulseDB::import`], telling after each batch of lines how many things in them are
    /// committed, or with [`ImportOptions::check_only`] checked. How many there are, only the last line says.
    ///
    /// # Errors
    /// As [`PulseDB::import`].
    pub async fn import_with<L, E>(
        &self,
        collective: Option<CollectiveId>,
        lines: impl Stream<Item = Result<L, E>> + Send,
        options: ImportOptions,
        mut tell: impl FnMut(Progress) + Send,
    ) -> Result<ImportReport>
    where
        L: AsRef<str> + Send,
        E: Error + Send + Sync + 'static,
    {
        let mut done = 0;
        if !options.check_only {
            self.engine().committer()?;
        }
        let mut lines = pin!(lines);
        let mut reader = LineReader::default();
        let mut import = None;
        loop {
            let (mut batch, mut bytes, mut ended) = (Vec::new(), 0, false);
            while !ended && bytes < BATCH_BYTES && batch.len() < BATCH_LINES {
                match poll_fn(|context| lines.as_mut().poll_next(context)).await {
                    Some(line) => {
                        let line = line.map_err(source_error)?;
                        let line = checked_length(line.as_ref())?;
                        bytes += line.len();
                        batch.push(line.to_owned());
                    }
                    None => ended = true,
                }
            }
            let parsed;
            (reader, parsed) = self.work(move || parse(reader, &batch)).await?;
            let mut parsed = parsed.into_iter();
            if import.is_none() {
                let Some(Line::Header(header)) = parsed.next() else {
                    return Err(reader.finish().err().unwrap_or(PulseDBError::Closed));
                };
                import = Some(self.begin_import(collective, *header, &options).await?);
            }
            let Some(import) = &mut import else { continue };
            if ended {
                import.report.read = reader.finish()?;
            }
            let batch: Vec<Line> = parsed.collect();
            done += batch.iter().filter(|line| line.is_content()).count() as u64;
            self.import_batch(import, batch).await?;
            tell(Progress { done, total: None });
            if ended {
                return Ok(import.report.clone());
            }
        }
    }

    async fn begin_import(
        &self,
        collective: Option<CollectiveId>,
        header: Header,
        options: &ImportOptions,
    ) -> Result<Import> {
        let definition = header.collective;
        let (file, dimension) = (definition.id, definition.embedding_dimension);
        let owner = definition.owner_id.as_ref().map(|owner| owner.as_str());
        validate::collective(&definition.name, owner, usize::from(dimension))?;
        validate::decay(&definition.decay)?;
        let engine = self.engine();
        if !header.vectors && engine.embedder.is_none() && !options.check_only {
            return Err(PulseDBError::validation(
                "lines[1].vectors",
                "false",
                "the store was opened with external embeddings and cannot make vectors; export with them",
            ));
        }
        let embedder = definition.embedder.clone();
        let refusal = match &engine.embedder {
            Some(own) if header.vectors => {
                mixture(embedder.as_ref(), &self.identity_of(&**own).await?)
            }
            _ => None,
        };
        // A collective that never had a vector has no identity, and nothing to refuse.
        if let Some(refusal) = refusal.as_ref().filter(|_| embedder.is_some()) {
            return Err(refusal.clone());
        }
        if !options.check_only {
            match collective {
                Some(known) => {
                    let known = engine.reader()?.collective(known)?;
                    if known.embedding_dimension != dimension {
                        return Err(PulseDBError::conflict(format!(
                            "collective {} has dimension {}, the export {dimension}",
                            known.id, known.embedding_dimension
                        )));
                    }
                }
                None => {
                    let bytes = definition.name.len();
                    let restore = Change::RestoreCollective(Box::new(definition));
                    self.commit_one(restore, bytes).await?;
                }
            }
        }
        let collective_id = collective.unwrap_or(file);
        Ok(Import {
            dimension,
            vectors: header.vectors,
            embedder: embedder.filter(|known| *known != *EXTERNAL).map(Arc::new),
            refusal,
            options: options.clone(),
            report: ImportReport {
                collective_id,
                read: Default::default(),
                created: 0,
                changed: 0,
                unchanged: 0,
            },
        })
    }

    async fn import_batch(&self, import: &mut Import, batch: Vec<Line>) -> Result<()> {
        let (collective, dimension) = (import.report.collective_id, import.dimension);
        let instance = self.instance_id();
        let vectors = import.vectors.then(|| import.embedder.clone());
        let encode = move || encode(batch, collective, instance, dimension, vectors.as_ref());
        let (mut embedded, drafts, relations) = self.work(encode).await?;
        if let Some(refusal) = import.refusal.as_ref().filter(|_| !embedded.is_empty()) {
            return Err(refusal.clone());
        }
        if import.options.check_only {
            return Ok(());
        }
        if !drafts.is_empty() {
            embedded = self.embed_imported(drafts, dimension).await?;
        }
        self.make_room(collective).await?;
        let existing = import.options.existing;
        let with_vectors = embedded.into_iter().map(|one| {
            let bytes = one.bytes();
            let change = match one.row_kind {
                RowKind::Insight => Change::ImportInsight(one),
                RowKind::Experience | RowKind::Relation => Change::Import(one, existing),
            };
            (change, bytes)
        });
        let relations = relations.into_iter().map(|relation| {
            let bytes = relation.metadata.as_ref().map_or(0, String::len);
            (Change::ImportRelation(Box::new(relation)), bytes)
        });
        let limit = COMMIT_BYTES.min(self.config().max_commit_bytes);
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for (change, more) in with_vectors.chain(relations) {
            let all = bytes + more + (changes.len() + 1) * CHANGE_BYTES;
            if all > limit && !changes.is_empty() {
                let full = std::mem::take(&mut changes);
                import.note(self.commit(full, bytes).await?)?;
                bytes = 0;
            }
            bytes += more;
            changes.push(change);
        }
        if !changes.is_empty() {
            import.note(self.commit(changes, bytes).await?)?;
        }
        Ok(())
    }

    /// The vectors of texts that came without.
    async fn embed_imported(&self, drafts: Vec<Draft>, dimension: u16) -> Result<Vec<Embedded>> {
        let texts = drafts.iter().map(|draft| draft.content().to_owned());
        let (vectors, identity, precision) = self
            .embed_texts(texts.collect(), dimension, Priority::Ingest)
            .await?;
        let embed = move || {
            let pairs = drafts.into_iter().zip(vectors);
            let embed = |(draft, vector): (Draft, Vec<f32>)| {
                let embedded = draft.embed(&vector, dimension, Some(Arc::clone(&identity)))?;
                Ok(embedded.in_precision(precision))
            };
            pairs.map(embed).collect()
        };
        self.work(embed).await
    }

    /// Runs a step that may take milliseconds.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |_| step()).await
    }
}

/// An import under way.
struct Import {
    dimension: u16,
    vectors: bool,
    /// Whose vectors the lines have; `None` for those that callers brought.
    embedder: Option<Arc<EmbedderIdentity>>,
    /// Why the store, which embeds, takes no such vectors.
    refusal: Option<PulseDBError>,
    options: ImportOptions,
    report: ImportReport,
}

impl Import {
    fn note(&mut self, replies: Vec<Reply>) -> Result<()> {
        for reply in replies {
            match reply {
                Reply::Imported(Imported::Created) => self.report.created += 1,
                Reply::Imported(Imported::Changed) => self.report.changed += 1,
                Reply::Imported(Imported::Unchanged) => self.report.unchanged += 1,
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }
}

/// Why vectors of one identity, or of callers, may not enter a store that embeds with another.
fn mixture(file: Option<&EmbedderIdentity>, own: &EmbedderIdentity) -> Option<PulseDBError> {
    let file = file.unwrap_or(&EXTERNAL);
    (file != own).then(|| {
        PulseDBError::Embedding(format!(
            "the export holds vectors of {file}, this store embeds with {own}; export it without \
             vectors, and they are made here"
        ))
    })
}

fn parse(mut reader: LineReader, batch: &[String]) -> Result<(LineReader, Vec<Line>)> {
    let mut lines = Vec::with_capacity(batch.len());
    for text in batch {
        lines.extend(reader.line(text)?);
    }
    Ok((reader, lines))
}

/// Checks and encodes; what comes without vectors is only checked. Experiences stand in front of what rests
/// on them.
fn encode(
    batch: Vec<Line>,
    collective: CollectiveId,
    instance: InstanceId,
    dimension: u16,
    vectors: Option<&Option<Arc<EmbedderIdentity>>>,
) -> Result<(Vec<Embedded>, Vec<Draft>, Vec<ExperienceRelation>)> {
    let (mut embedded, mut drafts, mut relations) = (Vec::new(), Vec::new(), Vec::new());
    for line in batch {
        let mut draft = match line {
            Line::Header(_) | Line::End(_) => continue,
            Line::Relation(relation) => {
                validate::imported_relation(&relation)?;
                relations.push(*relation);
                continue;
            }
            Line::Experience(experience) => Draft::imported(*experience, collective, instance)?,
            Line::Insight(insight) => Draft::imported_insight(*insight, collective)?,
        };
        let vector = draft.take_vector().unwrap_or_default();
        match vectors {
            Some(identity) => embedded.push(draft.embed(&vector, dimension, identity.clone())?),
            None => drafts.push(draft),
        }
    }
    Ok((embedded, drafts, relations))
}

fn checked_length(line: &str) -> Result<&str> {
    if line.len() > MAX_LINE_BYTES {
        return Err(PulseDBError::validation(
            "lines",
            format!("a line of {} bytes", line.len()),
            format!("a line may have {MAX_LINE_BYTES}"),
        ));
    }
    Ok(line)
}

/// The error of a source of lines, which may be an export's.
fn source_error(error: impl Error + Send + Sync + 'static) -> PulseDBError {
    let error: Box<dyn Error + Send + Sync> = Box::new(error);
    match error.downcast::<PulseDBError>() {
        Ok(own) => *own,
        Err(other) => {
            PulseDBError::io("read the next line of", "an import")(std::io::Error::other(other))
        }
    }
}
