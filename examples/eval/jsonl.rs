//! How are collections of JSON lines read?
//!
//! One object a line. Ids are strings or numbers, under `id` or `_id`. Qrels are objects, too, or columns (query, document, grade) with or
//! without a heading, as in BEIR.

use std::fmt::Display;

use serde_json::Value;

use crate::{
    Outcome,
    collection::{Collection, Document, Judgement, Question, join},
    options::Files,
    trec::read,
};

pub(crate) fn load(files: &Files) -> Outcome<Collection> {
    let of = |file: &std::path::Path, error: &dyn Display| format!("{}: {error}", file.display());
    let documents =
        lines(&read(&files.documents)?, document).map_err(|error| of(&files.documents, &error))?;
    let queries =
        lines(&read(&files.queries)?, query).map_err(|error| of(&files.queries, &error))?;
    let judgements = judgements(&read(&files.qrels)?).map_err(|error| of(&files.qrels, &error))?;
    let found = join("jsonl", documents, queries, &judgements);
    if found.questions().next().is_none() {
        return Err("no query has a relevant document: do these files belong together?".into());
    }
    Ok(found)
}

/// What each line that is not empty says.
fn lines<T>(text: &str, read: impl Fn(&Value) -> Option<T>) -> Outcome<Vec<T>> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
        let what = read(&value)
            .ok_or_else(|| format!("line {number}: a field is missing (see --help)"))?;
        found.push(what);
    }
    Ok(found)
}

fn document(value: &Value) -> Option<Document> {
    let body = one_of(value, &["text", "content", "contents"])?;
    let text = match one_of(value, &["title"]).filter(|title| !title.is_empty()) {
        Some(title) => format!("{title}\n{body}"),
        None => body,
    };
    Some(Document {
        id: one_of(value, &["id", "_id"])?,
        text: text.trim().to_owned(),
        task: one_of(value, &["task", "source_task"]),
    })
}

fn query(value: &Value) -> Option<(String, Question)> {
    let question = Question {
        text: one_of(value, &["text", "query", "question"])?,
        category: one_of(value, &["category"]),
        ..Question::default()
    };
    Some((one_of(value, &["id", "_id"])?, question))
}

fn judgement(value: &Value) -> Option<Judgement> {
    let grade = value.get("relevance").or_else(|| value.get("score"));
    let grade = match grade {
        Some(grade) => u32::try_from(grade.as_i64()?.max(0)).unwrap_or(u32::MAX),
        None => 1,
    };
    Some(Judgement {
        query: one_of(value, &["query_id", "query-id"])?,
        document: one_of(value, &["doc_id", "corpus-id", "document_id"])?,
        grade,
    })
}

fn judgements(text: &str) -> Outcome<Vec<Judgement>> {
    if text.trim_start().starts_with('{') {
        return lines(text, judgement);
    }
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (query, document, grade) = match words.as_slice() {
            [] => continue,
            [query, document, grade] | [query, _, document, grade] => (query, document, grade),
            _ => return Err(format!("line {number}: neither three nor four columns").into()),
        };
        let grade = match grade.parse::<i64>() {
            Ok(grade) => u32::try_from(grade.max(0)).unwrap_or(u32::MAX),
            // The heading.
            Err(_) if found.is_empty() => continue,
            Err(_) => return Err(format!("line {number}: `{grade}` is no grade").into()),
        };
        found.push(Judgement {
            query: (*query).to_owned(),
            document: (*document).to_owned(),
            grade,
        });
    }
    Ok(found)
}

fn one_of(value: &Value, names: &[&str]) -> Option<String> {
    match names.iter().find_map(|name| value.get(name))? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_queries_are_read() {
        let documents = lines(
            "{\"id\": 1, \"text\": \"b\", \"title\": \"a\", \"task\": \"t\"}\n\n{\"_id\": \"x\", \"text\": \"c\", \"title\": \"\"}\n",
            document,
        )
        .unwrap();
        assert_eq!(
            (documents[0].id.as_str(), documents[0].text.as_str()),
            ("1", "a\nb")
        );
        assert_eq!(
            (documents[1].id.as_str(), documents[1].text.as_str()),
            ("x", "c")
        );
        assert_eq!(documents[0].task.as_deref(), Some("t"));
        let asked = lines(
            "{\"_id\": \"q\", \"query\": \"why\", \"category\": 3}",
            query,
        )
        .unwrap();
        assert_eq!(
            (asked[0].0.as_str(), asked[0].1.text.as_str()),
            ("q", "why")
        );
        assert_eq!(asked[0].1.category.as_deref(), Some("3"));
        assert!(
            lines("{\"id\": 1}", document)
                .unwrap_err()
                .to_string()
                .contains("line 1")
        );
        assert!(lines("no json", query).is_err());
    }

    #[test]
    fn judgements_are_read_in_all_their_ways() {
        let expected = Judgement {
            query: "q".into(),
            document: "d".into(),
            grade: 2,
        };
        for text in [
            "{\"query_id\": \"q\", \"doc_id\": \"d\", \"relevance\": 2}",
            "query-id\tcorpus-id\tscore\nq\td\t2\n",
            "q 0 d 2\n",
        ] {
            assert_eq!(
                judgements(text).unwrap(),
                std::slice::from_ref(&expected),
                "{text}"
            );
        }
        let one = judgements("{\"query-id\": \"q\", \"corpus-id\": \"d\"}").unwrap();
        assert_eq!(one[0].grade, 1);
        assert!(judgements("q d 2\nq d x\n").is_err());
    }
}
