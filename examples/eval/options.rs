//! What was asked for on the command line?

use std::path::PathBuf;

use crate::Outcome;

pub(crate) const HELP: &str = "\
cargo xtask eval locomo FILE
cargo xtask eval trec   DOCS QUERIES QRELS
cargo xtask eval jsonl  DOCS QUERIES QRELS
    [--name NAME] [--vectors FILE]

Fills a database with a collection of documents, asks it questions whose answers are known, by meaning
(dense), by words (lexical), by both (hybrid) and with neighbouring documents (hybrid_neighbours), and prints
recall@k, nDCG@k, MRR and times. Writes target/eval/NAME.json and target/eval/NAME.svg.

  locomo  the JSON file of LoCoMo: conversations, each a collective; a turn is an experience, a session its task.
          Questions of the categories 1 to 4 with evidence count
  trec    documents and queries as .I/.T/.W texts (Cranfield) or as <doc> and <top> elements; qrels of three
          columns (query, document, code 1 to 4: relevant) or four (query, 0, document, grade)
  jsonl   documents {\"id\", \"text\", \"title\"?, \"task\"?}, queries {\"id\", \"text\", \"category\"?},
          qrels {\"query_id\", \"doc_id\", \"relevance\"?} or columns (query, document, grade)
  --name  of the files that are written (otherwise: the name of the format)
  --vectors  of another model than the built-in one, as lines {\"text\", \"vector\"}, one for each document and
          query, in the words that they are recorded and asked in

LoCoMo and Cranfield do not come with the project; mind their licences.";

#[derive(Debug, PartialEq)]
pub(crate) struct Files {
    pub(crate) documents: PathBuf,
    pub(crate) queries: PathBuf,
    pub(crate) qrels: PathBuf,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Format {
    Locomo(PathBuf),
    Trec(Files),
    Jsonl(Files),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) format: Format,
    pub(crate) name: String,
    pub(crate) vectors: Option<PathBuf>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Mode {
    Help,
    Evaluate(Options),
}

pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Outcome<Mode> {
    let mut name = None;
    let mut vectors = None;
    let mut words: Vec<String> = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Mode::Help),
            "--name" => {
                let given = arguments.next().unwrap_or_default();
                if !is_file_name(&given) {
                    return Err(format!(
                        "--name takes letters, digits, `-`, `_` and `.`, not `{given}`"
                    )
                    .into());
                }
                name = Some(given);
            }
            "--vectors" => {
                let given = arguments.next().ok_or("--vectors takes a file")?;
                vectors = Some(given.into());
            }
            flag if flag.starts_with("--") => {
                return Err(format!("there is no option `{flag}`\n\n{HELP}").into());
            }
            _ => words.push(argument),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let files = |documents: &str, queries: &str, qrels: &str| Files {
        documents: documents.into(),
        queries: queries.into(),
        qrels: qrels.into(),
    };
    let (kind, format) = match words.as_slice() {
        [] => return Ok(Mode::Help),
        [kind @ "locomo", file] => (kind, Format::Locomo((*file).into())),
        [kind @ "trec", a, b, c] => (kind, Format::Trec(files(a, b, c))),
        [kind @ "jsonl", a, b, c] => (kind, Format::Jsonl(files(a, b, c))),
        _ => return Err(format!("that is no collection\n\n{HELP}").into()),
    };
    let name = name.unwrap_or_else(|| (*kind).to_owned());
    Ok(Mode::Evaluate(Options {
        format,
        name,
        vectors,
    }))
}

/// Nothing that could lead out of the directory.
fn is_file_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Outcome<Mode> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_understood_in_any_order() {
        for line in ["locomo a.json --name dev", "--name dev locomo a.json"] {
            let expected = Options {
                format: Format::Locomo("a.json".into()),
                name: "dev".into(),
                vectors: None,
            };
            assert_eq!(of(line).unwrap(), Mode::Evaluate(expected));
        }
        let Mode::Evaluate(options) = of("trec d q r").unwrap() else {
            panic!("that was no call for help");
        };
        assert_eq!((options.name.as_str(), options.vectors), ("trec", None));
        let Mode::Evaluate(options) = of("locomo a --vectors v").unwrap() else {
            panic!("that was no call for help");
        };
        assert_eq!(options.vectors, Some("v".into()));
        assert_eq!(of("").unwrap(), Mode::Help);
        assert_eq!(of("jsonl --help").unwrap(), Mode::Help);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "locomo",
            "locomo a b",
            "trec a b",
            "other a",
            "locomo a --fast",
            "locomo a --name ../x",
            "locomo a --name",
            "locomo a --vectors",
        ] {
            assert!(of(line).is_err(), "{line}");
        }
    }
}
