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
        RelationFilter, SearchHit, SearchOptions, limits::MAX_K,
    },
    read::{
        activities,
        collapse::{Said, collapsed},
        hybrid::{self, Asked},
        insights, list,
        rank::weighted,
        reader::Reader,
        relations, search,
        texts::Words,
    },
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

/// The context of a request about `vector`.
pub fn candidates(
    reader: &Reader,
    request: &ContextRequest,
    vector: &[f32],
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
        query: Query::new(vector),
        decay: reader.collective(request.collective_id)?.decay.clone(),
        ef: settings.ef,
        words: settings.words,
    };
    let similar = budget.affordable(context.similar(vector)?);
    let insights = budget.affordable(context.insights(vector)?);
    let recent = budget.affordable(context.recent(&similar)?);
    let relations = context.relations(similar.iter().chain(&recent))?;
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
    query: Query<'a>,
    decay: DecayConfig,
    ef: usize,
    words: Option<(&'a Question, &'a Words)>,
}

impl Context<'_> {
    fn similar(&self, vector: &[f32]) -> Result<Vec<ContextExperience>> {
        let request = self.request;
        if request.max_similar == 0 {
            return Ok(Vec::new());
        }
        let mut options = SearchOptions {
            filter: request.filter.clone(),
            weights: request.weights,
            ..SearchOptions::default()
        };
        let collective = request.collective_id;
        self.enough(request.max_similar, |k| {
            options.k = k;
            let found = match self.words {
                Some((question, words)) => {
                    let vector = Some(vector);
                    let asked = Asked { question, vector };
                    hybrid::search(self.reader, collective, asked, &options, (self.ef, words))?
                }
                None => {
                    let one = [vector];
                    let (found, _) =
                        search::search(self.reader, collective, &one, &options, self.ef)?;
                    found.into_iter().flatten().collect()
                }
            };
            Ok(found.into_iter().map(|hit| self.scored(hit)).collect())
        })
    }

    fn scored(&self, hit: SearchHit) -> ContextExperience {
        let energy = self.reader.energy(&hit.experience, &self.decay);
        let score = ContextScore {
            similarity: hit.similarity,
            energy,
            score: hit.score,
        };
        of_experience(hit.experience, score)
    }

    fn insights(&self, vector: &[f32]) -> Result<Vec<ContextInsight>> {
        let request = self.request;
        if request.max_insights == 0 {
            return Ok(Vec::new());
        }
        let filter = &request.insight_filter;
        let collective = request.collective_id;
        self.enough(request.max_insights, |k| {
            let found = match self.words {
                Some((question, words)) => {
                    let vector = Some(vector);
                    let asked = Asked { question, vector };
                    let limits = (self.ef, words);
                    insights::with_words(self.reader, collective, asked, k, filter, limits)?
                }
                None => insights::similar(self.reader, collective, vector, k, filter, self.ef)?,
            };
            let found = found.into_iter().map(|hit: InsightHit| ContextInsight {
                insight: hit.insight,
                similarity: hit.similarity,
                tokens: 0,
                siblings: Vec::new(),
            });
            Ok(found.collect())
        })
    }

    /// The newest that are neither among `similar` nor among what was left out for saying the same.
    fn recent(&self, similar: &[ContextExperience]) -> Result<Vec<ContextExperience>> {
        let request = self.request;
        if request.max_recent == 0 {
            return Ok(Vec::new());
        }
        let shown: HashSet<_> = similar
            .iter()
            .flat_map(|one| {
                let siblings = one.siblings.iter().map(|sibling| sibling.id);
                siblings.chain([one.experience.id])
            })
            .collect();
        let table = self.reader.table(request.collective_id)?;
        let weights = request.weights.or(self.decay.default_recall_weights);
        self.enough(request.max_recent, |limit| {
            let page = list::newest(limit, &request.filter);
            let newest = list::page_of(self.reader, table, &page, &|row| {
                if shown.contains(&ExperienceId::from_u128(row.row.id)) {
                    return Ok(None);
                }
                self.reader.assemble(table, row)
            })?;
            let found = newest.items.into_iter().map(|experience| {
                let similarity = self.query.similarity_to(&experience.embedding);
                let energy = self.reader.energy(&experience, &self.decay);
                let score = ContextScore {
                    similarity,
                    energy,
                    score: score(weights, similarity, energy),
                };
                of_experience(experience, score)
            });
            Ok(found.collect())
        })
    }

    /// The relations of these experiences, in their order, each once.
    fn relations<'e>(
        &self,
        experiences: impl Iterator<Item = &'e ContextExperience>,
    ) -> Result<Vec<ExperienceRelation>> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for one in experiences {
            let left = self.request.max_relations - found.len();
            if left == 0 {
                break;
            }
            let filter = RelationFilter {
                types: self.request.relation_types.clone(),
                // Those that were met already may come again.
                limit: (left + seen.len()).min(MAX_K),
                ..RelationFilter::default()
            };
            let around = relations::relations(self.reader, one.experience.id, &filter)?;
            let fresh = around
                .into_iter()
                .filter(|relation| seen.insert(relation.id));
            found.extend(fresh.take(left));
        }
        Ok(found)
    }

    /// `most` of what `find` finds if it is asked for enough, those that say the same being one.
    fn enough<T: Said>(
        &self,
        most: usize,
        mut find: impl FnMut(usize) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let Some(bound) = self.request.collapse_above else {
            return find(most);
        };
        let mut asked = (most + most / SPARE_PARTS + 1).min(MAX_K);
        loop {
            let found = find(asked)?;
            let is_all = found.len() < asked || asked == MAX_K;
            let distinct = collapsed(found, bound, most);
            if is_all || distinct.len() == most {
                return Ok(distinct);
            }
            asked = (asked * 2).min(MAX_K);
        }
    }
}

/// One more is asked for with every so many, in case that some say the same.
const SPARE_PARTS: usize = 4;

fn of_experience(experience: Experience, score: ContextScore) -> ContextExperience {
    ContextExperience {
        experience,
        score,
        tokens: 0,
        siblings: Vec::new(),
    }
}

fn score(weights: Option<RecallWeights>, similarity: f32, energy: f32) -> f32 {
    weights
        .filter(|weights| weights.energy > 0.0)
        .map_or(similarity, |weights| weighted(&weights, similarity, energy))
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
    fn affordable<T: Said>(&mut self, found: Vec<T>) -> Vec<T> {
        let mut kept = Vec::with_capacity(found.len());
        for mut one in found {
            let tokens = (self.count)(one.text());
            if self.left.is_some_and(|left| tokens > left) {
                self.left_out += 1;
                continue;
            }
            self.left = self.left.map(|left| left - tokens);
            self.spent += tokens;
            one.set_tokens(tokens);
            kept.push(one);
        }
        kept
    }
}
