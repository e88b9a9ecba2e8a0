//! What should an agent know before it starts?
//!
//! Five questions to one snapshot and one moment: what is like the query, what is new, what was derived,
//! how that hangs together, and who is at work. What says the same is answered once, and the budget of
//! tokens is spent in that order.

use std::collections::HashSet;

use crate::{
    error::{PulseDBError, Result},
    model::{
        ContextCandidates, ContextExperience, ContextInsight, ContextRequest, ContextScore,
        DecayConfig, Experience, ExperienceId, ExperienceRelation, InsightHit, RecallWeights,
        RelationFilter, ScoreParts, SearchOptions, Sibling, limits::MAX_K,
    },
    read::{
        activities,
        collapse::{Distinct, collapsed},
        filter::Compiled,
        hybrid::{Asked, Ground},
        insights, list,
        rank::weighted,
        reader::Reader,
        relations::{self, Node},
        search,
        texts::Words,
        trace::Trace,
    },
    state::{Table, Visited},
    sync::Arc,
    text::Question,
    vector::similarity::Query,
};

/// Refuses a request that cannot be answered.
pub fn check(request: &ContextRequest) -> Result<()> {
    for (field, value) in [
        ("max_similar", request.max_similar),
        ("max_recent", request.max_recent),
        ("max_insights", request.max_insights),
        ("max_relations", request.max_relations),
        ("max_agents", request.max_agents),
    ] {
        if value > MAX_K {
            return Err(PulseDBError::validation(
                field,
                value,
                format!("it must be in 0..={MAX_K}"),
            ));
        }
    }
    match request.collapse_above {
        Some(bound) if !(bound > 0.0 && bound <= 1.0) => Err(PulseDBError::validation(
            "collapse_above",
            bound,
            "it must be in (0, 1]",
        )),
        _ => Ok(()),
    }
}

/// What the database is set to, as far as a context depends on it.
pub struct Settings<'a> {
    /// Candidates that a search of the graphs looks at.
    pub ef: usize,
    /// After how many milliseconds without a sign of life an agent is not at work any more.
    pub stale_ms: i64,
    /// What the request says, to be looked for by its words, too.
    pub words: Option<(&'a Question, &'a Words)>,
    /// Counts the tokens of a text.
    pub count: &'a dyn Fn(&str) -> usize,
}

/// The context of a request about `vector` and the words of the settings, one of which there is, from the snapshot: no
/// transaction asks for one.
pub fn candidates(
    reader: &Reader,
    request: &ContextRequest,
    vector: Option<&[f32]>,
    settings: &Settings<'_>,
) -> Result<ContextCandidates> {
    let mut budget = Budget {
        left: request.max_tokens,
        spent: 0,
        left_out: 0,
        count: settings.count,
    };
    let context = Context {
        reader,
        request,
        table: reader.table(request.collective_id)?,
        query: vector.map(Query::new),
        decay: reader.collective(request.collective_id)?.decay.clone(),
        ef: settings.ef,
        words: settings.words,
    };
    let similar = budget.affordable(context.similar(vector)?);
    let insights = budget.affordable(context.insights(vector)?);
    let recent = budget.affordable(context.recent(&similar)?);
    let relations = context.relations(similar.iter().chain(&recent))?;
    let (similar, recent) = (items(similar), items(recent));
    let mut agents = activities::list(reader, request.collective_id, settings.stale_ms, false)?;
    agents.truncate(request.max_agents);
    Ok(ContextCandidates {
        cursor: reader.view.cursor,
        now: reader.now,
        similar,
        recent,
        insights,
        relations,
        agents,
        tokens: budget.spent,
        left_out: budget.left_out,
    })
}

/// What all parts are made from.
struct Context<'a> {
    reader: &'a Reader,
    request: &'a ContextRequest,
    table: &'a Arc<Table>,
    query: Option<Query<'a>>,
    decay: DecayConfig,
    ef: usize,
    words: Option<(&'a Question, &'a Words)>,
}

/// An experience that may be answered, as far as it takes to choose: what is found is more than what is answered.
struct Found<'a> {
    id: ExperienceId,
    row: u32,
    embedding: &'a [f32],
    /// Where a search has found it.
    told: Option<Told>,
}

/// What a search says of what it has found.
#[derive(Clone, Copy)]
struct Told {
    similarity: f32,
    score: f32,
    parts: ScoreParts,
}

impl Found<'_> {
    fn embedding(&self) -> &[f32] {
        self.embedding
    }
}

/// An experience that is answered, and its row, by which its relations are found.
struct Shown {
    item: ContextExperience,
    row: u32,
}

fn items(shown: Vec<Shown>) -> Vec<ContextExperience> {
    shown.into_iter().map(|one| one.item).collect()
}

impl<'a> Context<'a> {
    fn similar(&self, vector: Option<&[f32]>) -> Result<Vec<Shown>> {
        let request = self.request;
        if request.max_similar == 0 {
            return Ok(Vec::new());
        }
        let mut options = SearchOptions {
            filter: request.filter.clone(),
            weights: request.weights,
            ..SearchOptions::default()
        };
        let similar = self.enough(request.max_similar, Found::embedding, |k| {
            options.k = k;
            match (self.words, vector) {
                (Some(words), vector) => self.by_words(vector, &options, words),
                (None, Some(vector)) => self.by_vector(vector, &options),
                (None, None) => Ok(Vec::new()),
            }
        })?;
        self.answered(similar)
    }

    fn by_words(
        &self,
        vector: Option<&[f32]>,
        options: &SearchOptions,
        (question, words): (&Question, &Words),
    ) -> Result<Vec<Found<'a>>> {
        let asked = Asked { question, vector };
        let limits = (self.ef, words);
        let ground = Ground::new(self.reader, self.table, asked, options, limits)?;
        let found = ground.walk(|row| self.found(row), &mut Trace::default())?;
        let found = found.into_iter().map(|(found, one)| Found {
            told: Some(Told {
                similarity: one.similarity(),
                score: one.score,
                parts: one.parts,
            }),
            ..found
        });
        Ok(found.collect())
    }

    fn by_vector(&self, vector: &[f32], options: &SearchOptions) -> Result<Vec<Found<'a>>> {
        let (reader, table) = (self.reader, self.table);
        let filter = Compiled::new(&options.filter, table)?;
        let read = |row: &Visited<'_>| {
            let Some(found) = self.found(row)? else {
                return Ok(None);
            };
            Ok(Some((found, reader.passes(&filter, row)?)))
        };
        let passes = |read: &(Found<'_>, bool)| read.1;
        let found =
            search::search_rows(reader, table, &[vector], options, self.ef, (read, passes))?;
        let found = found.into_iter().flatten().map(|hit| Found {
            told: Some(Told {
                similarity: hit.similarity,
                score: hit.score,
                parts: ScoreParts::default(),
            }),
            ..hit.item.0
        });
        Ok(found.collect())
    }

    /// `None` where its record is damaged.
    fn found(&self, row: &Visited<'_>) -> Result<Option<Found<'a>>> {
        let reader = self.reader;
        if !reader.is_readable(self.table, row)? {
            return Ok(None);
        }
        let stored = reader.vector(self.table, row)?;
        Ok(stored.map(|stored| Found {
            id: ExperienceId::from_u128(row.row.id),
            row: row.number,
            embedding: stored.vector,
            told: None,
        }))
    }

    fn insights(&self, vector: Option<&[f32]>) -> Result<Vec<ContextInsight>> {
        let request = self.request;
        if request.max_insights == 0 {
            return Ok(Vec::new());
        }
        let filter = &request.insight_filter;
        let collective = request.collective_id;
        let find = |k| match (self.words, vector) {
            (Some((question, words)), vector) => {
                let asked = Asked { question, vector };
                let limits = (self.ef, words);
                insights::with_words(self.reader, collective, asked, k, filter, limits)
            }
            (None, Some(vector)) => {
                insights::similar(self.reader, collective, vector, k, filter, self.ef)
            }
            (None, None) => Ok(Vec::new()),
        };
        let found = self.enough(
            request.max_insights,
            |hit: &InsightHit| &hit.insight.embedding,
            find,
        )?;
        let found = found
            .into_iter()
            .map(|Distinct { one, same }| ContextInsight {
                insight: one.insight,
                similarity: one.similarity,
                score: one.score,
                parts: one.parts,
                tokens: 0,
                siblings: siblings(&same, |hit| hit.insight.id),
            });
        Ok(found.collect())
    }

    /// The newest that are neither among `similar` nor among what was left out for saying the same.
    fn recent(&self, similar: &[Shown]) -> Result<Vec<Shown>> {
        let request = self.request;
        if request.max_recent == 0 {
            return Ok(Vec::new());
        }
        let shown: HashSet<_> = similar
            .iter()
            .flat_map(|Shown { item, .. }| {
                let siblings = item.siblings.iter().map(|sibling| sibling.id);
                siblings.chain([item.experience.id])
            })
            .collect();
        let recent = self.enough(request.max_recent, Found::embedding, |limit| {
            let page = list::newest(limit, &request.filter);
            let newest = list::page_of(self.reader, self.table, &page, &|row| {
                if shown.contains(&ExperienceId::from_u128(row.row.id)) {
                    return Ok(None);
                }
                self.found(row)
            })?;
            Ok(newest.items)
        })?;
        self.answered(recent)
    }

    /// These as they are answered, without those of which a record turns out to be damaged.
    fn answered(&self, found: Vec<Distinct<Found<'_>>>) -> Result<Vec<Shown>> {
        let rows = self.table.rows(self.reader.lsn());
        let mut answered = Vec::with_capacity(found.len());
        for Distinct { one, same } in &found {
            let Some(row) = rows.visible(one.row) else {
                continue;
            };
            let experience = self.reader.assemble(self.table, &row)?;
            answered.extend(experience.map(|experience| Shown {
                item: ContextExperience {
                    score: self.score(&experience, one.told),
                    experience,
                    tokens: 0,
                    siblings: siblings(same, |found| found.id),
                },
                row: one.row,
            }));
        }
        Ok(answered)
    }

    fn score(&self, experience: &Experience, told: Option<Told>) -> ContextScore {
        let energy = self.reader.energy(experience, &self.decay);
        let Told {
            similarity,
            score,
            parts,
        } = told.unwrap_or_else(|| {
            let query = self.query.as_ref();
            let similarity = query.map_or(0.0, |query| query.similarity_to(&experience.embedding));
            let weights = self.request.weights.or(self.decay.default_recall_weights);
            Told {
                similarity,
                score: score(weights, similarity, energy),
                parts: ScoreParts::default(),
            }
        });
        ContextScore {
            similarity,
            energy,
            score,
            parts,
        }
    }

    /// The relations of these experiences, in their order, each once.
    fn relations<'e>(
        &self,
        experiences: impl Iterator<Item = &'e Shown>,
    ) -> Result<Vec<ExperienceRelation>> {
        if self.request.max_relations == 0 {
            return Ok(Vec::new());
        }
        let filter = RelationFilter {
            types: self.request.relation_types.clone(),
            limit: self.request.max_relations,
            ..RelationFilter::default()
        };
        let nodes = experiences.map(|one| Node {
            id: one.item.experience.id,
            row: Some(one.row),
        });
        relations::among(self.reader, self.table, nodes, &filter)
    }

    /// `most` of what `find` finds if it is asked for enough, those that say the same being one.
    fn enough<T>(
        &self,
        most: usize,
        vector: impl Fn(&T) -> &[f32],
        mut find: impl FnMut(usize) -> Result<Vec<T>>,
    ) -> Result<Vec<Distinct<T>>> {
        let Some(bound) = self.request.collapse_above else {
            return Ok(find(most)?.into_iter().map(Distinct::alone).collect());
        };
        let mut asked = (most + most / SPARE_PARTS + 1).min(MAX_K);
        loop {
            let found = find(asked)?;
            let is_all = found.len() < asked || asked == MAX_K;
            let distinct = collapsed(found, &vector, bound, most);
            if is_all || distinct.len() == most {
                return Ok(distinct);
            }
            asked = (asked * 2).min(MAX_K);
        }
    }
}

/// One more is asked for with every so many, in case that some say the same.
const SPARE_PARTS: usize = 4;

fn siblings<T, I>(same: &[(T, f32)], id: impl Fn(&T) -> I) -> Vec<Sibling<I>> {
    let sibling = |(other, similarity): &(T, f32)| Sibling {
        id: id(other),
        similarity: *similarity,
    };
    same.iter().map(sibling).collect()
}

fn score(weights: Option<RecallWeights>, similarity: f32, energy: f32) -> f32 {
    weights
        .filter(|weights| weights.energy > 0.0)
        .map_or(similarity, |weights| weighted(&weights, similarity, energy))
}

/// What takes tokens.
trait Said {
    /// What it says.
    fn text(&self) -> &str;
    /// Notes how long that is.
    fn set_tokens(&mut self, tokens: usize);
}

impl Said for Shown {
    fn text(&self) -> &str {
        &self.item.experience.content
    }

    fn set_tokens(&mut self, tokens: usize) {
        self.item.tokens = tokens;
    }
}

impl Said for ContextInsight {
    fn text(&self) -> &str {
        &self.insight.content
    }

    fn set_tokens(&mut self, tokens: usize) {
        self.tokens = tokens;
    }
}

/// The tokens that are left.
struct Budget<'a> {
    left: Option<usize>,
    spent: usize,
    left_out: usize,
    count: &'a dyn Fn(&str) -> usize,
}

impl Budget<'_> {
    /// Those that the budget suffices for, each in its turn: a long one that does not fit leaves room for
    /// shorter ones behind it.
    fn affordable<T: Said>(&mut self, mut found: Vec<T>) -> Vec<T> {
        found.retain_mut(|one| {
            let tokens = (self.count)(one.text());
            if self.left.is_some_and(|left| tokens > left) {
                self.left_out += 1;
                return false;
            }
            self.left = self.left.map(|left| left - tokens);
            self.spent += tokens;
            one.set_tokens(tokens);
            true
        });
        found
    }
}
