//! How are collections in the ways of TREC read?
//!
//! Documents and queries are either texts whose fields begin with `.I`, `.T`, `.W` and so on, as those of Cranfield, or elements
//! (`<doc>`, `<top>`) of which only what is needed is understood: no attributes, no nesting but that of fields.
//!
//! The qrels of Cranfield know queries by their place, while the queries themselves carry other numbers: where the qrels name
//! queries that do not exist, they are taken to mean places.

use std::{collections::HashSet, fs, path::Path};

use crate::{
    Outcome,
    collection::{Collection, Document, Judgement, Question, join},
    options::Files,
};

/// Codes of Cranfield from 1 (complete) to this (of minimum interest) mean relevant.
const LEAST_RELEVANT: i64 = 4;

pub(crate) fn load(files: &Files) -> Outcome<Collection> {
    let documents = documents(&read(&files.documents)?);
    let mut queries = queries(&read(&files.queries)?);
    let judgements = judgements(&read(&files.qrels)?)
        .map_err(|error| format!("{}: {error}", files.qrels.display()))?;
    by_place(&mut queries, &judgements);
    let found = join("trec", documents, queries, &judgements);
    if found.questions().next().is_none() {
        return Err("no query has a relevant document: do these files belong together?".into());
    }
    Ok(found)
}

/// A file's text; these collections are older than UTF-8.
pub(crate) fn read(file: &Path) -> Outcome<String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn documents(text: &str) -> Vec<Document> {
    let records = records(text, "doc");
    let document = |record: Vec<(String, String)>| {
        let id = field(&record, &["i", "docno", "docid"])?.to_owned();
        let title = field(&record, &["t", "title"]).unwrap_or_default();
        let body = field(&record, &["w", "text"]).unwrap_or_default();
        // Abstracts of Cranfield begin with their title.
        let text = if title.is_empty() || body.starts_with(title) {
            body.to_owned()
        } else {
            format!("{title}\n{body}")
        };
        Some(Document {
            id,
            text: text.trim().to_owned(),
            task: None,
        })
    };
    records.into_iter().filter_map(document).collect()
}

fn queries(text: &str) -> Vec<(String, Question)> {
    let query = |record: Vec<(String, String)>| {
        let id = field(&record, &["i", "num"])?;
        let id = id.strip_prefix("Number:").unwrap_or(id).trim();
        let text = field(&record, &["w", "title", "text"])?;
        let question = Question {
            text: text.to_owned(),
            ..Question::default()
        };
        Some((without_zeros(id).to_owned(), question))
    };
    let records = records(text, "top");
    records.into_iter().filter_map(query).collect()
}

/// `query document code` as Cranfield has it, or `query iteration document grade`.
pub(crate) fn judgements(text: &str) -> Outcome<Vec<Judgement>> {
    let mut judgements = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number_of = |word: &str| -> Outcome<i64> {
            let what = |_| format!("line {number}: `{word}` is no grade");
            Ok(word.parse().map_err(what)?)
        };
        let (query, document, grade) = match words.as_slice() {
            [] => continue,
            [query, document, code] => {
                let relevant = (1..=LEAST_RELEVANT).contains(&number_of(code)?);
                (query, document, u32::from(relevant))
            }
            [query, _, document, grade] => {
                let grade = number_of(grade)?.max(0);
                (query, document, u32::try_from(grade).unwrap_or(u32::MAX))
            }
            _ => return Err(format!("line {number}: neither three nor four columns").into()),
        };
        judgements.push(Judgement {
            query: without_zeros(query).to_owned(),
            document: (*document).to_owned(),
            grade,
        });
    }
    Ok(judgements)
}

/// Renames the queries by their places, if the judgements name queries that do not exist otherwise.
fn by_place(queries: &mut [(String, Question)], judgements: &[Judgement]) {
    let known: HashSet<&str> = queries.iter().map(|(id, _)| id.as_str()).collect();
    let is_place = |query: &str| {
        let place: Option<usize> = query.parse().ok();
        place.is_some_and(|place| (1..=queries.len()).contains(&place))
    };
    let mut asked = judgements.iter().map(|judgement| judgement.query.as_str());
    if asked.clone().any(|query| !known.contains(query)) && asked.all(is_place) {
        for (place, (id, _)) in (1..).zip(queries) {
            *id = usize::to_string(&place);
        }
    }
}

fn without_zeros(id: &str) -> &str {
    let short = id.trim_start_matches('0');
    if short.is_empty() { id } else { short }
}

type Record = Vec<(String, String)>;

fn field<'a>(record: &'a Record, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let (_, value) = record.iter().find(|(field, _)| field == name)?;
        Some(value.as_str())
    })
}

fn records(text: &str, element: &str) -> Vec<Record> {
    if text.trim_start().starts_with('<') {
        elements(text, element)
    } else {
        dotted(text)
    }
}

/// Records that begin with `.I`, in fields that begin with a dot and a letter on a line of their own.
fn dotted(text: &str) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for line in text.lines() {
        if let Some(id) = line.strip_prefix(".I ") {
            records.push(vec![("i".into(), without_zeros(id.trim()).into())]);
            continue;
        }
        let Some(record) = records.last_mut() else {
            continue;
        };
        match line.trim_end().as_bytes() {
            [b'.', name @ b'A'..=b'Z'] => {
                record.push((char::from(name.to_ascii_lowercase()).into(), String::new()));
            }
            _ => {
                if let Some((_, value)) = record.last_mut().filter(|(name, _)| name != "i") {
                    push_line(value, line);
                }
            }
        }
    }
    records
}

/// Records in `<element>`, whose fields begin with a tag and end with the next one.
fn elements(text: &str, element: &str) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut pieces = text.split('<');
    pieces.next();
    for piece in pieces {
        let Some((tag, value)) = piece.split_once('>') else {
            continue;
        };
        let tag = tag.trim().to_ascii_lowercase();
        let value = unescaped(value);
        if tag == element {
            records.push(Vec::new());
        } else if let Some(record) = records.last_mut() {
            match tag.strip_prefix('/') {
                // Text behind the end of an element within a field still belongs to the field before.
                Some(_) => {
                    if let Some((_, last)) = record.last_mut() {
                        push_line(last, &value);
                    }
                }
                None => record.push((tag, value.trim().to_owned())),
            }
        }
    }
    records
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

fn push_line(value: &mut String, line: &str) {
    let line = line.trim();
    if !line.is_empty() {
        if !value.is_empty() {
            value.push('\n');
        }
        value.push_str(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_documents_are_read() {
        let documents = documents(
            ".I 1\n.T\na wing\n.A\nsmith,j.\n.B\nj. ae. 1\n.W\na wing\n  is lifted .\n.I 2\n.T\nflow\n.A\n.B\n.W\n\
             of heat .\n.I 3\n.T\n.A\n.B\n.W\n",
        );
        let found: Vec<(&str, &str)> = documents
            .iter()
            .map(|document| (document.id.as_str(), document.text.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("1", "a wing\nis lifted ."),
                ("2", "flow\nof heat ."),
                ("3", "")
            ]
        );
    }

    #[test]
    fn elements_are_read() {
        let documents = documents(
            "<root><doc>\n<docno>7</docno>\n<title>Heat &amp; flow</title>\n<author>x</author><text>\nof air\n</text>\n</doc>\n\
             <DOC>\n<DOCNO> FT-8 </DOCNO>\n<TEXT>\nup\n</TEXT>\n</DOC></root>",
        );
        let found: Vec<(&str, &str)> = documents
            .iter()
            .map(|document| (document.id.as_str(), document.text.as_str()))
            .collect();
        assert_eq!(found, [("7", "Heat & flow\nof air"), ("FT-8", "up")]);
        let asked = queries(
            "<xml><top>\n<num> Number: 007 \n<title> what now ?\n</top><top><num>8</num><title>why</title></top>",
        );
        let asked: Vec<(&str, &str)> = asked
            .iter()
            .map(|(id, question)| (id.as_str(), question.text.as_str()))
            .collect();
        assert_eq!(asked, [("7", "what now ?"), ("8", "why")]);
    }

    #[test]
    fn judgements_of_three_and_four_columns_are_read() {
        let read = judgements("1 184 2\n1 29  -1\n1 31 5\n\n").unwrap();
        let grades: Vec<u32> = read.iter().map(|judgement| judgement.grade).collect();
        assert_eq!(grades, [1, 0, 0]);
        let read = judgements("007 0 FT-8 3\n007 0 FT-9 -1\n").unwrap();
        assert_eq!((read[0].query.as_str(), read[0].grade), ("7", 3));
        assert_eq!((read[1].document.as_str(), read[1].grade), ("FT-9", 0));
        assert!(judgements("1 2\n").is_err());
        assert!(judgements("1 2 x\n").is_err());
    }

    #[test]
    fn queries_are_known_by_place_where_their_numbers_do_not_fit() {
        let judged = judgements("1 1 1\n2 1 1\n").unwrap();
        let mut asked = queries(".I 001\n.W\nfirst\n.I 004\n.W\nsecond\n");
        by_place(&mut asked, &judged);
        let ids: Vec<&str> = asked.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["1", "2"]);
        let judged = judgements("1 1 1\n4 1 1\n").unwrap();
        let mut asked = queries(".I 001\n.W\nfirst\n.I 004\n.W\nsecond\n");
        by_place(&mut asked, &judged);
        let ids: Vec<&str> = asked.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["1", "4"]);
    }
}
