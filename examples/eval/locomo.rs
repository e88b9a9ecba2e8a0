//! How is LoCoMo read? (Maharana et al., 2024.)
//!
//! A conversation is a group, a turn a document (`speaker: text`, and the caption of its image in parentheses), a session a task.
//! Questions of the categories 1 to 4 count whose evidence names turns that exist; the fifth has no answers. Evidence is
//! sometimes malformed (`D8:6; D9:17`, `D:11:26`, `D04:02`): whatever looks like the id of a turn is taken.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Outcome,
    collection::{Collection, Document, Group, Question},
};

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    sample_id: String,
    conversation: HashMap<String, Value>,
    qa: Vec<Asked>,
}

#[derive(Deserialize)]
struct Turn {
    speaker: String,
    dia_id: String,
    text: String,
    blip_caption: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    #[serde(default)]
    evidence: Value,
    category: u32,
}

pub(crate) fn load(file: &Path) -> Outcome<Collection> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn parse(text: &str) -> Outcome<Collection> {
    let samples: Vec<Sample> = serde_json::from_str(text)?;
    let groups = samples.into_iter().map(group).collect::<Outcome<_>>()?;
    Ok(Collection { groups })
}

fn group(sample: Sample) -> Outcome<Group> {
    let mut sessions: Vec<(u32, Value)> = sample
        .conversation
        .into_iter()
        .filter_map(|(key, value)| {
            let number = key.strip_prefix("session_")?.parse().ok()?;
            Some((number, value))
        })
        .collect();
    sessions.sort_by_key(|(number, _)| *number);
    let mut documents = Vec::new();
    let mut places: HashMap<(u32, u32), usize> = HashMap::new();
    for (number, session) in sessions {
        let turns: Vec<Turn> = serde_json::from_value(session)?;
        for turn in turns {
            for id in turn_ids(&turn.dia_id) {
                places.insert(id, documents.len());
            }
            let caption = turn.blip_caption.filter(|caption| !caption.is_empty());
            let caption = caption.map_or_else(String::new, |caption| format!(" ({caption})"));
            documents.push(Document {
                id: turn.dia_id,
                text: format!("{}: {}{caption}", turn.speaker, turn.text),
                task: Some(format!("session {number}")),
            });
        }
    }
    let questions = sample
        .qa
        .into_iter()
        .filter(|asked| (1..=4).contains(&asked.category))
        .filter_map(|asked| {
            let relevant: BTreeMap<usize, u32> = turn_ids(&asked.evidence.to_string())
                .into_iter()
                .filter_map(|id| Some((*places.get(&id)?, 1)))
                .collect();
            (!relevant.is_empty()).then(|| Question {
                text: asked.question,
                category: Some(asked.category.to_string()),
                relevant,
            })
        })
        .collect();
    Ok(Group {
        name: sample.sample_id,
        documents,
        questions,
    })
}

/// All matches of `D:?(\d+):(\d+)`.
fn turn_ids(text: &str) -> Vec<(u32, u32)> {
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    text.split('D')
        .skip(1)
        .filter_map(|rest| {
            let rest = rest.strip_prefix(':').unwrap_or(rest);
            let (session, rest) = rest.split_at_checked(digits(rest))?;
            let rest = rest.strip_prefix(':')?;
            let (turn, _) = rest.split_at_checked(digits(rest))?;
            Some((session.parse().ok()?, turn.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_evidence_is_understood() {
        let ids = |text: &str| turn_ids(text);
        assert_eq!(ids(r#"["D1:3"]"#), [(1, 3)]);
        assert_eq!(ids(r#"["D8:6; D9:17"]"#), [(8, 6), (9, 17)]);
        assert_eq!(ids(r#"["D:11:26", "D04:02"]"#), [(11, 26), (4, 2)]);
        assert_eq!(ids("D1:1 D1:2"), [(1, 1), (1, 2)]);
        assert_eq!(
            ids(r#"["D", "D:", "D5", "D5:", "null", "D99999999999:1"]"#),
            []
        );
    }

    #[test]
    fn a_conversation_is_a_group_with_its_sessions_in_order() {
        let collection = parse(
            r#"[{"sample_id": "one", "conversation": {
                "speaker_a": "Ann", "session_10": [{"speaker": "Bob", "dia_id": "D10:1", "text": "Hm."}],
                "session_2_date_time": "noon", "session_2": [
                    {"speaker": "Ann", "dia_id": "D2:1", "text": "Look!", "blip_caption": "a photo of a cat"},
                    {"speaker": "Bob", "dia_id": "D2:2", "text": "Nice."}]},
              "qa": [{"question": "Which animal?", "evidence": ["D2:1", "D7:1"], "category": 4, "answer": 1},
                     {"question": "No evidence", "evidence": [], "category": 1},
                     {"question": "Nowhere", "evidence": ["D7:7"], "category": 1},
                     {"question": "No answer", "evidence": ["D2:1"], "category": 5}]}]"#,
        )
        .unwrap();
        let group = &collection.groups[0];
        let texts: Vec<&str> = group.documents.iter().map(|d| d.text.as_str()).collect();
        assert_eq!(
            texts,
            ["Ann: Look! (a photo of a cat)", "Bob: Nice.", "Bob: Hm."]
        );
        let tasks: Vec<_> = group.documents.iter().map(|d| d.task.as_deref()).collect();
        assert_eq!(
            tasks,
            [Some("session 2"), Some("session 2"), Some("session 10")]
        );
        assert_eq!(
            group.questions,
            [Question {
                text: "Which animal?".into(),
                category: Some("4".into()),
                relevant: BTreeMap::from([(0, 1)]),
            }]
        );
        assert!(parse("[{}]").is_err());
    }
}
