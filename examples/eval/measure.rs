//! What do the methods find in a collection, and how long does it take?
//!
//! Each group becomes a collective. Every question is asked twice: for many results, and then for a few, whose time is told; so no
//! method pays for loading the model or for making an index. Each metric is of the answer that is just long enough for it, since
//! how many are wanted may change which are the first.

use std::{collections::BTreeMap, path::Path, time::Instant};

use crate::{
    Outcome,
    collection::{Collection, Question},
    metrics::{ndcg, percentile, recall, reciprocal_rank},
    store::{Method, Store},
};

/// Ranks that are judged.
const CUTS: [usize; 4] = [5, 10, 20, 50];
/// Results of the long answer; further down is the same as not found.
const MANY: usize = 50;
/// Results of the short one.
const FEW: usize = 10;

/// Metrics by name.
pub(crate) type Metrics = BTreeMap<String, f64>;

/// What one method found.
pub(crate) struct Measured {
    pub(crate) method: Method,
    /// Means over all questions, and times per question in milliseconds.
    pub(crate) all: Metrics,
    /// Means over the questions of each category.
    pub(crate) categories: BTreeMap<String, Metrics>,
}

/// One answer, judged.
struct Judged<'a> {
    category: Option<&'a str>,
    metrics: Metrics,
    milliseconds: f64,
}

/// With vectors from a file, or by the model.
pub(crate) async fn run(collection: &Collection, vectors: Option<&Path>) -> Outcome<Vec<Measured>> {
    let home = tempfile::tempdir()?;
    let store = Store::create(&home.path().join("eval"), vectors).await?;
    let mut judged: Vec<Vec<Judged<'_>>> = Method::ALL.iter().map(|_| Vec::new()).collect();
    for (number, group) in (1..).zip(&collection.groups) {
        let began = Instant::now();
        let name = format!("{number} {}", group.name);
        let shelf = store.fill(&name, &group.documents).await?;
        println!(
            "{name}: {} documents in {:.1} s, {} questions",
            group.documents.len(),
            began.elapsed().as_secs_f64(),
            group.questions.len()
        );
        for question in &group.questions {
            for (method, judged) in Method::ALL.iter().zip(&mut judged) {
                let many = store.ask(&shelf, *method, &question.text, MANY).await?;
                let began = Instant::now();
                let few = store.ask(&shelf, *method, &question.text, FEW).await?;
                judged.push(Judged {
                    category: question.category.as_deref(),
                    milliseconds: began.elapsed().as_secs_f64() * 1e3,
                    metrics: judge(&few, &many, question),
                });
            }
        }
    }
    store.close().await?;
    let summed = |(method, judged): (&Method, Vec<Judged<'_>>)| summary(*method, &judged);
    Ok(Method::ALL.iter().zip(judged).map(summed).collect())
}

fn judge(few: &[usize], many: &[usize], question: &Question) -> Metrics {
    let relevant = &question.relevant;
    let mut metrics = Metrics::new();
    for k in CUTS {
        let ranking = if k <= FEW { few } else { many };
        metrics.insert(format!("recall@{k}"), recall(ranking, relevant, k));
        metrics.insert(format!("ndcg@{k}"), ndcg(ranking, relevant, k));
    }
    metrics.insert("mrr".into(), reciprocal_rank(many, relevant));
    metrics
}

fn summary(method: Method, judged: &[Judged<'_>]) -> Measured {
    let mut all = means(judged.iter());
    let times: Vec<f64> = judged.iter().map(|judged| judged.milliseconds).collect();
    for (name, share) in [("p50_ms", 0.5), ("p99_ms", 0.99)] {
        all.insert(name.into(), percentile(&times, share));
    }
    let mut categories: BTreeMap<String, Vec<&Judged<'_>>> = BTreeMap::new();
    for answer in judged {
        if let Some(category) = answer.category {
            categories
                .entry(category.to_owned())
                .or_default()
                .push(answer);
        }
    }
    let categories = categories
        .into_iter()
        .map(|(category, judged)| (category, means(judged.into_iter())))
        .collect();
    Measured {
        method,
        all,
        categories,
    }
}

fn means<'a, 'b: 'a>(judged: impl Iterator<Item = &'a Judged<'b>>) -> Metrics {
    let mut sums = Metrics::new();
    let mut count = 0.0;
    for answer in judged {
        count += 1.0;
        for (name, value) in &answer.metrics {
            *sums.entry(name.clone()).or_default() += value;
        }
    }
    sums.into_iter()
        .map(|(name, sum)| (name, sum / count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_all_questions_and_those_of_each_category() {
        let answer = |category, ranking: &[usize], milliseconds| {
            let question = Question {
                relevant: BTreeMap::from([(1, 1), (2, 1)]),
                ..Question::default()
            };
            Judged {
                category,
                metrics: judge(ranking, ranking, &question),
                milliseconds,
            }
        };
        let judged = [
            answer(Some("a"), &[1, 2], 1.0),
            answer(Some("b"), &[0, 1], 3.0),
            answer(None, &[0], 2.0),
        ];
        let summed = summary(Method::Dense, &judged);
        assert!((summed.all["recall@10"] - 0.5).abs() < 1e-9);
        assert!((summed.all["mrr"] - 0.5).abs() < 1e-9);
        assert!((summed.all["p50_ms"] - 2.0).abs() < 1e-9);
        let of = |category: &str| summed.categories[category]["recall@5"];
        assert!((of("a") - 1.0).abs() < 1e-9 && (of("b") - 0.5).abs() < 1e-9);
        assert_eq!(summed.categories.len(), 2);
    }
}
