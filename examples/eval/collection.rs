//! What is asked, of what, and which are the right answers?

use std::collections::{BTreeMap, BTreeSet};

/// Documents that are searched together, and the questions about them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) documents: Vec<Document>,
    pub(crate) questions: Vec<Question>,
}

/// What can be found. Those of one task stand in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) task: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) category: Option<String>,
    /// Places of the right answers among the group's documents, and how right they are, at least 1.
    pub(crate) relevant: BTreeMap<usize, u32>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Collection {
    pub(crate) groups: Vec<Group>,
}

impl Collection {
    pub(crate) fn questions(&self) -> impl Iterator<Item = &Question> {
        self.groups.iter().flat_map(|group| &group.questions)
    }

    pub(crate) fn categories(&self) -> BTreeSet<&str> {
        self.questions()
            .filter_map(|question| question.category.as_deref())
            .collect()
    }

    pub(crate) fn summary(&self) -> String {
        let documents: usize = self.groups.iter().map(|group| group.documents.len()).sum();
        let right: usize = self
            .questions()
            .map(|question| question.relevant.len())
            .sum();
        format!(
            "{documents} documents in {} group(s), {} questions with {right} right answers",
            self.groups.len(),
            self.questions().count()
        )
    }
}

/// Puts together what files of documents, queries and qrels say: questions without a right answer among the
/// documents are left out.
pub(crate) fn join(
    name: &str,
    documents: Vec<Document>,
    questions: Vec<(String, Question)>,
    qrels: &[Judgement],
) -> Collection {
    let places: BTreeMap<&str, usize> = (0..)
        .zip(&documents)
        .map(|(place, document)| (document.id.as_str(), place))
        .collect();
    let mut relevant: BTreeMap<&str, BTreeMap<usize, u32>> = BTreeMap::new();
    for judgement in qrels.iter().filter(|judgement| judgement.grade > 0) {
        if let Some(place) = places.get(judgement.document.as_str()) {
            relevant
                .entry(&judgement.query)
                .or_default()
                .insert(*place, judgement.grade);
        }
    }
    let questions = questions
        .into_iter()
        .filter_map(|(id, question)| {
            let relevant = relevant.get(id.as_str())?.clone();
            Some(Question {
                relevant,
                ..question
            })
        })
        .collect();
    let group = Group {
        name: name.to_owned(),
        documents,
        questions,
    };
    Collection {
        groups: vec![group],
    }
}

/// How right a document is for a query; 0 is not at all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) query: String,
    pub(crate) document: String,
    pub(crate) grade: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_with_right_answers_remain() {
        let document = |id: &str| Document {
            id: id.into(),
            ..Document::default()
        };
        let judged = |query: &str, document: &str, grade| Judgement {
            query: query.into(),
            document: document.into(),
            grade,
        };
        let joined = join(
            "test",
            vec![document("a"), document("b")],
            ["1", "2", "3"]
                .map(|id| (id.into(), Question::default()))
                .into(),
            &[
                judged("1", "b", 2),
                judged("1", "a", 0),
                judged("2", "unknown", 1),
            ],
        );
        let relevant: Vec<_> = joined
            .questions()
            .map(|question| &question.relevant)
            .collect();
        assert_eq!(relevant, [&BTreeMap::from([(1, 2)])]);
    }
}
