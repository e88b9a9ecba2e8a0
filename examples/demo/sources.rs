//! Which texts are there to remember, and what could one ask of them?

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    path::Path,
    time::Instant,
};

use crate::{
    Outcome,
    passage::{Kind, Passage},
    questions::{self, Question},
    terminal::{Screen, count, duration},
    texts,
};

pub(crate) struct Found {
    pub(crate) passages: Vec<Passage>,
    pub(crate) questions: Vec<Question>,
}

pub(crate) fn read(dir: Option<&Path>, limit: usize, screen: &Screen) -> Outcome<Found> {
    let began = Instant::now();
    let all = match dir {
        Some(dir) => texts::of_directory(dir)?,
        None => texts::of_registry(screen)?,
    };
    let all = without_repetitions(all);
    let origins: HashSet<String> = all.iter().map(|passage| passage.origin.clone()).collect();
    let what = if dir.is_some() { "Markdown and history" } else { "local cargo registry" };
    screen.say(&format!(
        "Found {} in {} of the {what}, in {}.",
        count(all.len() as u64, "passage"),
        count(origins.len() as u64, if dir.is_some() { "project" } else { "crate" }),
        duration(began.elapsed())
    ));
    if all.is_empty() {
        return Err("there is nothing to remember; name a directory with Markdown or a git history".into());
    }
    let questions = match dir {
        Some(_) => questions::of_project(&all),
        None => questions::of_crates(&origins),
    };
    let passages = chosen(all, limit);
    for kind in Kind::ALL {
        let number = passages.iter().filter(|passage| passage.kind == kind).count() as u64;
        if number > 0 {
            screen.say(&format!("  {:>6} from {}", number, kind.name()));
        }
    }
    Ok(Found { passages, questions })
}

fn without_repetitions(all: Vec<Passage>) -> Vec<Passage> {
    let mut seen = HashSet::new();
    all.into_iter().filter(|passage| seen.insert(passage.text.to_lowercase())).collect()
}

/// `limit` passages, by turns from every origin and of every kind, so that no crate that talks a
/// lot crowds out the others. Crates that a question is about come up more often.
fn chosen(all: Vec<Passage>, limit: usize) -> Vec<Passage> {
    let mut heaps: BTreeMap<(String, Kind), VecDeque<Passage>> = BTreeMap::new();
    for passage in all {
        heaps.entry((passage.origin.clone(), passage.kind)).or_default().push_back(passage);
    }
    let mut chosen = Vec::new();
    while chosen.len() < limit && !heaps.is_empty() {
        for ((origin, _), heap) in &mut heaps {
            let turn = if questions::is_about(origin) { 6 } else { 1 };
            let room = limit.saturating_sub(chosen.len());
            chosen.extend(heap.drain(..heap.len().min(turn).min(room)));
        }
        heaps.retain(|_, heap| !heap.is_empty());
    }
    chosen
}
