//! Which texts are there to remember, and what could one ask of them?

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
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
    let number = count(all.len() as u64, "passage");
    let place = match dir {
        Some(dir) => format!("the Markdown and the git history of {}", dir.display()),
        None => format!(
            "{} of the local cargo registry",
            count(origins.len() as u64, "crate")
        ),
    };
    screen.say(&format!(
        "Found {number} in {place}, in {}.",
        duration(began.elapsed())
    ));
    if all.is_empty() {
        return Err(
            "there is nothing to remember; name a directory with Markdown or a git history".into(),
        );
    }
    let questions = match dir {
        Some(_) => questions::of_project(&all),
        None => questions::of_crates(&origins),
    };
    let passages = chosen(all, limit);
    for kind in Kind::ALL {
        let number = passages
            .iter()
            .filter(|passage| passage.kind == kind)
            .count() as u64;
        if number > 0 {
            screen.say(&format!("  {:>6} from {}", number, kind.name()));
        }
    }
    Ok(Found {
        passages,
        questions,
    })
}

fn without_repetitions(all: Vec<Passage>) -> Vec<Passage> {
    let mut seen = HashSet::new();
    all.into_iter()
        .filter(|passage| seen.insert(passage.text.to_lowercase()))
        .collect()
}

/// `limit` passages, by turns from every origin and of every kind, so that no crate that talks a
/// lot crowds out the others. Crates that a question is about have more to say at each turn.
fn chosen(all: Vec<Passage>, limit: usize) -> Vec<Passage> {
    let mut heaps: BTreeMap<(String, Kind), VecDeque<Passage>> = BTreeMap::new();
    for passage in first_things_first(all) {
        heaps
            .entry((passage.origin.clone(), passage.kind))
            .or_default()
            .push_back(passage);
    }
    let mut chosen = Vec::new();
    while chosen.len() < limit && !heaps.is_empty() {
        for ((origin, _), heap) in &mut heaps {
            let turn = if questions::is_about(origin) { 40 } else { 1 };
            let room = limit.saturating_sub(chosen.len());
            chosen.extend(heap.drain(..heap.len().min(turn).min(room)));
        }
        heaps.retain(|_, heap| !heap.is_empty());
    }
    chosen
}

/// The first paragraphs of all files, then the second ones, and so on: files begin with what
/// matters most.
fn first_things_first(all: Vec<Passage>) -> Vec<Passage> {
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut ranked: Vec<(usize, Passage)> = all
        .into_iter()
        .map(|passage| {
            let place = seen
                .entry((passage.origin.clone(), passage.file.clone()))
                .or_default();
            *place += 1;
            (*place, passage)
        })
        .collect();
    ranked.sort_by_key(|(place, _)| *place);
    ranked.into_iter().map(|(_, passage)| passage).collect()
}
