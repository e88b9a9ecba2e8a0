//! What could one ask, and what does the memory answer?

use std::{collections::HashSet, time::Instant};

use pulsedb::{ExperienceKind, SearchFilter, SearchHit, SearchOptions};

use crate::{
    Outcome,
    passage::{Kind, Passage},
    store::Store,
    terminal::{Screen, Tone, clipped, count, duration, wrapped},
};

pub(crate) struct Question {
    pub(crate) text: String,
    /// Only these kinds of experience; empty for all.
    pub(crate) only: Vec<ExperienceKind>,
}

/// Questions in other words than the crates use themselves.
const ABOUT_CRATES: &[(&str, &str)] = &[
    (
        "tokio",
        "How do I wait for several operations and go on with whichever is ready first?",
    ),
    (
        "memmap2",
        "What can go wrong when somebody else changes a file that I have mapped into memory?",
    ),
    (
        "proptest",
        "A random test failed. How do I get the smallest input that still fails?",
    ),
    (
        "parking_lot",
        "Who gets the lock next when many threads are waiting for it?",
    ),
    (
        "tempfile",
        "How do I make sure that scratch files are gone when the program ends?",
    ),
    (
        "crc32fast",
        "How can I detect that bytes were corrupted, using the processor's own instructions?",
    ),
    (
        "indicatif",
        "How do I show how far a long download has got?",
    ),
    (
        "uuid",
        "Which identifiers sort by the time they were created?",
    ),
    (
        "bytes",
        "How can two tasks share one buffer without copying it?",
    ),
    (
        "serde_json",
        "Read a document whose structure I do not know beforehand",
    ),
];
/// More would scroll the first off the screen.
const ASKED: usize = 5;

pub(crate) fn is_about(origin: &str) -> bool {
    ABOUT_CRATES.iter().any(|(name, _)| *name == origin)
}

pub(crate) fn of_crates(origins: &HashSet<String>) -> Vec<Question> {
    let mut questions: Vec<Question> = ABOUT_CRATES
        .iter()
        .filter(|(name, _)| origins.contains(*name))
        .take(ASKED)
        .map(|(_, text)| Question {
            text: (*text).to_owned(),
            only: Vec::new(),
        })
        .collect();
    questions.push(Question {
        text: "memory that was used after it had been freed".to_owned(),
        only: vec![ExperienceKind::Solution],
    });
    questions
}

/// General questions, and one about something that this project is known to have a heading for.
pub(crate) fn of_project(passages: &[Passage]) -> Vec<Question> {
    let ask = |text: &str, only: &[ExperienceKind]| Question {
        text: text.to_owned(),
        only: only.to_vec(),
    };
    let mut questions = vec![
        ask("What is this project for, and who would use it?", &[]),
        ask("How do I build it and run the tests?", &[]),
        ask("What was slow, and what made it faster?", &[]),
    ];
    let heading = passages
        .iter()
        .filter(|passage| passage.kind == Kind::Readme)
        .map(|passage| passage.heading.as_str())
        .find(|heading| heading.split_whitespace().count() >= 3);
    if let Some(heading) = heading {
        questions.push(ask(
            &format!("Tell me about {}", clipped(heading, 80).to_lowercase()),
            &[],
        ));
    }
    if passages.iter().any(|passage| passage.kind == Kind::Commit) {
        questions.push(ask(
            "something broke and had to be mended",
            &[ExperienceKind::ErrorPattern],
        ));
    }
    questions
}

pub(crate) async fn run(store: &Store, questions: &[Question], screen: &Screen) -> Outcome<()> {
    for question in questions {
        ask(store, question, screen).await?;
    }
    Ok(())
}

pub(crate) async fn ask(store: &Store, question: &Question, screen: &Screen) -> Outcome<()> {
    let filter = SearchFilter {
        experience_types: question.only.clone(),
        ..SearchFilter::default()
    };
    let options = SearchOptions {
        k: 3,
        filter,
        ..SearchOptions::default()
    };
    let began = Instant::now();
    let hits = store.ask(&question.text, options).await?;
    let took = began.elapsed();

    screen.say(&format!(
        "\n  {}",
        screen.paint(Tone::Title, &question.text)
    ));
    for hit in &hits {
        screen.say(&answer(hit, screen));
    }
    let all = store.stats().await?.experience_count;
    let only = match question.only.as_slice() {
        [] => String::new(),
        kinds => format!("only {kinds:?} of ").replace(['[', ']'], ""),
    };
    let note = format!(
        "{} from {only}{}, in {}",
        hits.len(),
        count(all, "experience"),
        duration(took)
    );
    screen.say(&format!("  {}", screen.paint(Tone::Faint, &note)));
    Ok(())
}

fn answer(hit: &SearchHit, screen: &Screen) -> String {
    let score = format!("{:.3}", hit.similarity);
    let tone = if hit.similarity >= 0.5 {
        Tone::Good
    } else {
        Tone::Accent
    };
    let tag = |key: &str| hit.experience.tags.get(key).map_or("", String::as_str);
    let file = hit
        .experience
        .related_files
        .first()
        .map_or("", String::as_str);
    let source = [tag("origin"), tag("revision"), tag("source"), file].join(" ");
    let source = match source.trim() {
        "" => format!("said by {}", hit.experience.source_agent),
        named => clipped(named, 80),
    };
    format!(
        "  {}  {}\n         {}",
        screen.paint(tone, &score),
        wrapped(&hit.experience.content, 9, 3),
        screen.paint(Tone::Faint, &source)
    )
}
