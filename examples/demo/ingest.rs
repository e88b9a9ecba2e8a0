//! How fast do passages become searchable memory, and what does a watcher hear of it?

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pulsedb::WatchEvent;
use tokio::task::JoinSet;

use crate::{
    Outcome,
    passage::Passage,
    store::{Events, Store},
    terminal::{Screen, Tone, bytes, clipped, count, duration, grouped},
    typed,
};

/// Passages of one durable commit, and commits under way at the same time: enough that the model
/// always finds a next batch.
const BATCH: usize = 32;
const IN_FLIGHT: usize = 4;
/// How many of the events are shown; all of them are counted.
const SHOWN: u64 = 10;

pub(crate) async fn run(store: &Store, passages: &[Passage], screen: &Screen) -> Outcome<()> {
    let total = passages.len() as u64;
    let heard = watch(
        store.watch().await?,
        total.div_ceil(SHOWN).max(1),
        screen.clone(),
    );

    // The first text loads the model, which is not part of the rate.
    let loading = Instant::now();
    let (first, rest) = passages
        .split_first()
        .ok_or("there is nothing to remember")?;
    store
        .record(typed::experience(store.collective(), first))
        .await?;
    screen.say(&format!(
        "Model loaded and first passage durable after {}.",
        duration(loading.elapsed())
    ));
    screen.say(&format!(
        "A watcher listens; of {} it will show every {}th.\n",
        count(total, "event"),
        grouped(total.div_ceil(SHOWN).max(1))
    ));

    let began = Instant::now();
    let mut progress = screen.progress("passages", rest.len() as u64);
    let mut commits = JoinSet::new();
    for batch in rest.chunks(BATCH) {
        if commits.len() == IN_FLIGHT
            && let Some(done) = commits.join_next().await
        {
            progress.advance(done??);
        }
        let batch: Vec<_> = batch
            .iter()
            .map(|passage| typed::experience(store.collective(), passage))
            .collect();
        let store = store.clone();
        commits.spawn(async move { store.record_all(batch).await.map(|ids| ids.len() as u64) });
    }
    while let Some(done) = commits.join_next().await {
        progress.advance(done??);
    }
    drop(progress);
    let took = began.elapsed();
    let heard = all_heard(&heard, total).await;

    let text: usize = rest.iter().map(|passage| passage.text.len()).sum();
    let seconds = took.as_secs_f64().max(1e-9);
    screen.say("");
    screen.check(
        true,
        &format!(
            "{} embedded and durable in {}: {} a second, {} of text a second",
            count(rest.len() as u64, "passage"),
            duration(took),
            screen.paint(Tone::Accent, &format!("{:.0}", rest.len() as f64 / seconds)),
            bytes((text as f64 / seconds) as u64)
        ),
    );
    let metadata = store.metadata().await?;
    screen.check(
        true,
        &format!(
            "{} of log in {}: texts, vectors and everything else",
            bytes(metadata.log_bytes),
            count(metadata.segments, "segment")
        ),
    );
    screen.check(
        heard == total,
        &format!(
            "the watcher heard {} of {}",
            grouped(heard),
            count(total, "event")
        ),
    );
    Ok(())
}

/// Counts events, and shows every n-th, until the database is closed.
pub(crate) fn watch(mut events: Events, every: u64, screen: Screen) -> Arc<AtomicU64> {
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
                    if number.is_multiple_of(every) {
                        screen.say(&shown(&event, &screen));
                    }
                }
                Err(error) => {
                    screen.check(false, &format!("the watcher was told: {error}"));
                    break;
                }
            }
        }
    });
    heard
}

fn shown(event: &WatchEvent, screen: &Screen) -> String {
    let (kind, text) = event.experience.as_ref().map_or_else(
        || ("gone".to_owned(), String::new()),
        |experience| {
            (
                format!("{:?}", experience.experience_type.kind()),
                clipped(&experience.content, 52),
            )
        },
    );
    let what = format!("{:?}", event.event_type).to_lowercase();
    format!(
        "  {} {} {} {}",
        screen.paint(Tone::Faint, &format!("event {:>6}", event.lsn.get())),
        what,
        screen.paint(Tone::Accent, &format!("{kind:<21}")),
        screen.paint(Tone::Faint, &text)
    )
}

/// Acknowledged means broadcast; the watcher's task may still have to run.
pub(crate) async fn all_heard(heard: &AtomicU64, total: u64) -> u64 {
    let patience = Instant::now();
    while heard.load(Ordering::Relaxed) < total && patience.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    heard.load(Ordering::Relaxed)
}
