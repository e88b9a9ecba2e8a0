//! Does a row pass a filter?
//!
//! A [`SearchFilter`] is checked and compiled once per call against the collective, so that most rows
//! are decided by their columns; only domains and tags need the row's traits.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    format::Traits,
    model::{
        DerivedInsight, Experience, ExperienceKind, SearchFilter, Timestamp, holds_at,
        limits::MAX_FILTER_VALUES,
    },
    state::{Table, Visited},
};

/// A filter ready to be asked.
#[derive(Clone)]
pub struct Compiled<'a> {
    filter: &'a SearchFilter,
    /// Codes of the agents asked for; `None` where any will do.
    agents: Option<Vec<u32>>,
    /// Rows that never pass: a transaction has changed them, and sees its own.
    hidden: Option<&'a RoaringBitmap>,
}

/// Refuses a filter that cannot be meant.
pub fn check(filter: &SearchFilter) -> Result<()> {
    let lists = [
        ("filter.domains", filter.domains.len()),
        ("filter.tags_all", filter.tags_all.len()),
        ("filter.experience_types", filter.experience_types.len()),
        ("filter.source_agents", filter.source_agents.len()),
    ];
    for (field, len) in lists {
        if len > MAX_FILTER_VALUES {
            return Err(PulseDBError::validation(
                field,
                format!("{len} entries"),
                format!("there may be {MAX_FILTER_VALUES}"),
            ));
        }
    }
    for (field, value) in [
        ("filter.min_importance", filter.min_importance),
        ("filter.min_confidence", filter.min_confidence),
    ] {
        if let Some(value) = value
            && !(0.0..=1.0).contains(&value)
        {
            return Err(PulseDBError::validation(
                field,
                value,
                "it must be in [0, 1]",
            ));
        }
    }
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since > until
    {
        return Err(PulseDBError::validation(
            "filter.until",
            until,
            format!("it must not be before filter.since ({since})"),
        ));
    }
    Ok(())
}

impl<'a> Compiled<'a> {
    /// Looks up what the filter names in the collective.
    pub fn new(filter: &'a SearchFilter, table: &Table) -> Result<Self> {
        check(filter)?;
        let agents = (!filter.source_agents.is_empty()).then(|| {
            filter
                .source_agents
                .iter()
                .filter_map(|agent| table.agents.code(agent.as_str()))
                .collect()
        });
        Ok(Self {
            filter,
            agents,
            hidden: None,
        })
    }

    /// The same, without these rows.
    pub fn hiding(self, hidden: Option<&'a RoaringBitmap>) -> Self {
        Self { hidden, ..self }
    }

    /// What was asked for.
    pub fn asked(&self) -> &SearchFilter {
        self.filter
    }

    /// Codes of the agents asked for; `None` where any will do.
    pub fn agents(&self) -> Option<&[u32]> {
        self.agents.as_deref()
    }

    /// Whether the columns of a row pass. The cheap checks come first; a damaged row never passes.
    pub fn columns(&self, visited: &Visited<'_>) -> bool {
        if self
            .hidden
            .is_some_and(|rows| rows.contains(visited.number))
        {
            return false;
        }
        let row = visited.row;
        let filter = self.filter;
        let Some(kind) = row.kind else {
            return false;
        };
        if !filter.experience_types.is_empty() && !filter.experience_types.contains(&kind) {
            return false;
        }
        if filter.since.is_some_and(|since| row.time < since)
            || filter.until.is_some_and(|until| row.time >= until)
        {
            return false;
        }
        if let Some(agents) = &self.agents
            && !agents.contains(&row.agent)
        {
            return false;
        }
        let (importance, confidence, archived) = if visited.unchanged() {
            (row.importance, row.confidence, false)
        } else {
            let values = visited.values();
            (values.importance, values.confidence, values.archived)
        };
        !(filter.exclude_archived && archived)
            && filter.min_importance.is_none_or(|min| importance >= min)
            && filter.min_confidence.is_none_or(|min| confidence >= min)
    }

    /// Whether [`Self::traits`] has anything to say about this row. What a row without bounds says holds at
    /// any time.
    pub fn needs_traits(&self, row: &Visited<'_>) -> bool {
        !self.filter.domains.is_empty()
            || !self.filter.tags_all.is_empty()
            || self.asks_validity(row)
    }

    /// Whether the row's validity counts, of which postings know nothing.
    pub fn asks_validity(&self, row: &Visited<'_>) -> bool {
        self.filter.as_of.is_some() && row.bounded()
    }

    /// Whether the traits of a row pass.
    pub fn traits(&self, traits: &Traits) -> bool {
        self.holds(traits.valid_from, traits.valid_to)
            && self.domain_and_tags(&traits.domain, &traits.tags)
    }

    /// Whether the traits of an experience pass.
    pub fn traits_of(&self, experience: &Experience) -> bool {
        self.holds(experience.valid_from, experience.valid_to)
            && self.domain_and_tags(&experience.domain, &experience.tags)
    }

    fn holds(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> bool {
        let as_of = self.filter.as_of;
        as_of.is_none_or(|at| holds_at(from, to, at))
    }

    fn domain_and_tags(&self, domain: &[String], tags: &BTreeMap<String, String>) -> bool {
        domain_and_tags(&self.filter.domains, &self.filter.tags_all, domain, tags)
    }
}

/// What filters ask of something that stands in no row.
pub struct Asked<'a> {
    kind: ExperienceKind,
    time: Timestamp,
    agent: &'a str,
    archived: bool,
    importance: f32,
    confidence: f32,
    valid: (Option<Timestamp>, Option<Timestamp>),
    domain: &'a [String],
    tags: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Experience> for Asked<'a> {
    fn from(experience: &'a Experience) -> Self {
        Self {
            kind: experience.experience_type.kind(),
            time: experience.timestamp,
            agent: experience.source_agent.as_str(),
            archived: experience.archived,
            importance: experience.importance,
            confidence: experience.confidence,
            valid: (experience.valid_from, experience.valid_to),
            domain: &experience.domain,
            tags: &experience.tags,
        }
    }
}

/// As the row of an insight answers.
impl<'a> From<&'a DerivedInsight> for Asked<'a> {
    fn from(insight: &'a DerivedInsight) -> Self {
        static NO_TAGS: BTreeMap<String, String> = BTreeMap::new();
        Self {
            kind: ExperienceKind::Generic,
            time: insight.created_at,
            agent: "",
            archived: false,
            // It has none, and no bound is above this.
            importance: 1.0,
            confidence: insight.confidence,
            valid: (None, None),
            domain: &insight.domain,
            tags: &NO_TAGS,
        }
    }
}

/// Whether it passes a filter that was checked: the same that [`Compiled`] asks of a row.
pub fn admits<'a>(filter: &SearchFilter, asked: impl Into<Asked<'a>>) -> bool {
    // Each field by name, so that a new one is not forgotten here.
    let SearchFilter {
        domains,
        tags_all,
        experience_types,
        min_importance,
        min_confidence,
        since,
        until,
        source_agents,
        exclude_archived,
        as_of,
    } = filter;
    let it = asked.into();
    let (from, to) = it.valid;
    let mut agents = source_agents.iter();
    (experience_types.is_empty() || experience_types.contains(&it.kind))
        && since.is_none_or(|since| it.time >= since)
        && until.is_none_or(|until| it.time < until)
        && (source_agents.is_empty() || agents.any(|agent| agent.as_str() == it.agent))
        && !(*exclude_archived && it.archived)
        && min_importance.is_none_or(|min| it.importance >= min)
        && min_confidence.is_none_or(|min| it.confidence >= min)
        && as_of.is_none_or(|at| holds_at(from, to, at))
        && domain_and_tags(domains, tags_all, it.domain, it.tags)
}

fn domain_and_tags(
    asked: &[String],
    tags_all: &BTreeMap<String, String>,
    domain: &[String],
    tags: &BTreeMap<String, String>,
) -> bool {
    (asked.is_empty() || domain.iter().any(|domain| asked.contains(domain)))
        && tags_all
            .iter()
            .all(|(key, value)| tags.get(key) == Some(value))
}
