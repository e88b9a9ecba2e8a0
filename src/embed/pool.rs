//! On which threads does the model run, and which texts go together?
//!
//! A fixed number of threads, each with a rayon pool of one thread, so that candle does not split a
//! product that is small: a whole forward per thread is faster, and threads do not wait for each
//! other. Callers put texts into one of two bounded queues; a free thread takes what is there, up
//! to a token budget, across callers, and never waits for more. Invariants:
//!
//! - Questions go before texts to be stored, always; a batch holds only one kind. A thread that is busy
//!   with texts to be stored looks for questions every few milliseconds, and answers them in between.
//! - Every text that was taken is answered: with a vector, an error, or because its caller left.
//! - A panic or error of the model fails only the text that causes it, and the thread goes on.
//! - Neither submitting, nor polling, nor dropping anything here waits for the model.
//!
//! Knows nothing of models (they are an [`Encode`]) and of runtimes. Used by `builtin`.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parking_lot::{Condvar, Mutex};

use super::{
    embedder::Priority,
    request::{Pending, Request},
};
use crate::error::{PulseDBError, Result};

/// Most tokens that a thread takes at once of texts that somebody waits for.
const QUERY_TOKENS: usize = 512;
/// Most tokens that a thread takes at once of texts to be stored. More would not be faster; callers that
/// leave save less the more is taken.
const INGEST_TOKENS: usize = 1024;
/// A batch is not split below this among idle threads: the weights have to come through the
/// cache once per batch.
const MIN_TOKENS: usize = 128;
/// A text counts as no more tokens than this: most models look at no more of it.
const MOST_TOKENS: usize = 256;
/// Most bytes of texts that wait, per priority. Far above what the model gets through in the time
/// that anybody waits; the bound keeps a stuck machine from filling its memory.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// What a text costs beside its bytes, so that many tiny ones are bounded too.
const TEXT_OVERHEAD_BYTES: usize = 128;

/// What the threads run.
pub(super) trait Encode: Send + Sync + 'static {
    /// Called before every batch; returns at once when there is nothing to do.
    fn prepare(&self) -> Result<()>;

    /// One vector per text. Where it takes longer than some milliseconds it calls `pause` that often,
    /// which may call `encode` for other texts.
    fn encode(&self, texts: &[&str], priority: Priority, pause: &dyn Fn())
    -> Result<Vec<Vec<f32>>>;
}

/// The threads and their queues. Dropping it ends the threads after their current batch, answers
/// what waits with [`PulseDBError::Closed`], and does not wait.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    encode: Box<dyn Encode>,
    threads: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queries: Lane,
    ingest: Lane,
    started: bool,
    stopped: bool,
    idle: usize,
}

#[derive(Default)]
struct Lane {
    texts: VecDeque<Text>,
    bytes: usize,
    tokens: usize,
}

/// Texts of one kind.
struct Batch {
    texts: Vec<Text>,
    priority: Priority,
}

/// One text on its way.
struct Text {
    text: String,
    index: usize,
    request: Arc<Request>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.shared.threads)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts nothing; the threads start with the first text.
    pub(super) fn new(threads: usize, encode: impl Encode) -> Self {
        Self {
            shared: Arc::new(Shared {
                encode: Box::new(encode),
                threads: threads.max(1),
                state: Mutex::default(),
                work: Condvar::new(),
            }),
        }
    }

    /// Queues `texts`, all or none.
    pub(super) fn submit(&self, texts: Vec<String>, priority: Priority) -> Result<Pending> {
        let request = Arc::new(Request::new(texts.len()));
        if texts.is_empty() {
            return Ok(Pending(request));
        }
        let texts: Vec<Text> = texts
            .into_iter()
            .enumerate()
            .map(|(index, text)| Text {
                text,
                index,
                request: Arc::clone(&request),
            })
            .collect();
        let count = texts.len();
        let mut state = self.shared.state.lock();
        if !state.started {
            start(&self.shared)?;
            state.started = true;
        }
        state.lane(priority).push(texts)?;
        drop(state);
        for _ in 0..count.min(self.shared.threads) {
            self.shared.work.notify_one();
        }
        Ok(Pending(request))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stopped = true;
        let waiting = [
            std::mem::take(&mut state.queries),
            std::mem::take(&mut state.ingest),
        ];
        drop(state);
        self.shared.work.notify_all();
        for text in waiting.into_iter().flat_map(|lane| lane.texts) {
            text.request.fail(&PulseDBError::Closed);
        }
    }
}

/// Starts the threads. They hold `shared`, and end when its pool is dropped.
fn start(shared: &Arc<Shared>) -> Result<()> {
    let pools = (0..shared.threads)
        .map(|number| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(move |_| format!("pulsedb-embed-{number}"))
                .build()
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| PulseDBError::Embedding(format!("no threads to embed on: {e}")))?;
    for pool in pools {
        let shared = Arc::clone(shared);
        // The pool's only thread is busy with this from now on; it ends with it, since the
        // handle of the pool is dropped here.
        pool.spawn(move || shared.work());
    }
    Ok(())
}

impl Shared {
    /// The life of one thread.
    fn work(&self) {
        while let Some(batch) = self.take() {
            self.run(batch);
        }
    }

    /// The next batch; `None` when the pool is gone.
    fn take(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            let batch = state.next_batch();
            if !batch.texts.is_empty() {
                return Some(batch);
            }
            if state.queries.texts.is_empty() && state.ingest.texts.is_empty() {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
            }
        }
    }

    /// Answers the questions that wait, if there are any.
    fn answer_queries(&self) {
        loop {
            let texts = self.state.lock().next_queries();
            if texts.is_empty() {
                return;
            }
            let priority = Priority::Query;
            self.run(Batch { texts, priority });
        }
    }

    fn run(&self, batch: Batch) {
        let Batch {
            texts: batch,
            priority,
        } = batch;
        if let Err(error) = contained(|| self.encode.prepare()) {
            batch.iter().for_each(|text| text.request.fail(&error));
            return;
        }
        let texts: Vec<&str> = batch.iter().map(|text| text.text.as_str()).collect();
        match self.encode(&texts, priority) {
            Ok(vectors) => {
                for (text, vector) in batch.iter().zip(vectors) {
                    text.request.deliver(text.index, vector);
                }
            }
            // Each alone, so that only the caller of the bad one hears of it.
            Err(_) if batch.len() > 1 => {
                for text in batch {
                    let texts = vec![text];
                    self.run(Batch { texts, priority });
                }
            }
            Err(error) => batch.iter().for_each(|text| text.request.fail(&error)),
        }
    }

    fn encode(&self, texts: &[&str], priority: Priority) -> Result<Vec<Vec<f32>>> {
        let pause = || {
            if priority == Priority::Ingest {
                self.answer_queries();
            }
        };
        let vectors = contained(|| self.encode.encode(texts, priority, &pause))?;
        if vectors.len() != texts.len() {
            let what = format!("{} texts gave {} vectors", texts.len(), vectors.len());
            return Err(PulseDBError::Embedding(what));
        }
        Ok(vectors)
    }
}

/// Turns a panic into an error.
fn contained<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    // Unwind safe: the model is immutable once loaded, and a load that panicked left nothing.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(PulseDBError::Embedding(format!(
            "the model panicked: {}",
            text.unwrap_or("?")
        )))
    })
}

impl State {
    /// What the calling thread should do next; empty if there is nothing, or only texts whose
    /// callers left.
    fn next_batch(&mut self) -> Batch {
        let texts = self.next_queries();
        if !texts.is_empty() {
            let priority = Priority::Query;
            return Batch { texts, priority };
        }
        Batch {
            texts: self.ingest.take_share(self.idle, INGEST_TOKENS),
            priority: Priority::Ingest,
        }
    }

    fn next_queries(&mut self) -> Vec<Text> {
        self.queries.take_share(self.idle, QUERY_TOKENS)
    }

    fn lane(&mut self, priority: Priority) -> &mut Lane {
        match priority {
            Priority::Query => &mut self.queries,
            Priority::Ingest => &mut self.ingest,
        }
    }
}

impl Lane {
    /// All of `texts`, or none. A request goes into an empty lane however large it is: its
    /// caller holds the memory already, and refusing it would be for ever.
    fn push(&mut self, texts: Vec<Text>) -> Result<()> {
        let bytes = texts.iter().map(Text::bytes).sum::<usize>();
        if self.bytes + bytes > QUEUE_BYTES {
            self.forget_cancelled();
        }
        if self.bytes > 0 && self.bytes + bytes > QUEUE_BYTES {
            return Err(PulseDBError::Backpressure {
                what: "the queue of texts to embed".into(),
                limit: format!("{QUEUE_BYTES} bytes"),
                waited_ms: 0,
            });
        }
        self.bytes += bytes;
        self.tokens += texts.iter().map(Text::tokens).sum::<usize>();
        self.texts.extend(texts);
        Ok(())
    }

    /// What one thread takes of at most `most` tokens when `idle` others could take something, too.
    fn take_share(&mut self, idle: usize, most: usize) -> Vec<Text> {
        let share = self.tokens.div_ceil(idle + 1);
        self.take(share.clamp(MIN_TOKENS, most))
    }

    /// The oldest texts of at most `tokens`, at least one if there is any.
    fn take(&mut self, tokens: usize) -> Vec<Text> {
        let mut batch = Vec::new();
        let mut taken = 0;
        while let Some(text) = self.texts.pop_front() {
            let cost = text.tokens();
            if !batch.is_empty() && taken + cost > tokens {
                self.texts.push_front(text);
                break;
            }
            self.bytes -= text.bytes();
            self.tokens -= cost;
            if text.request.is_waiting() {
                taken += cost;
                batch.push(text);
            }
        }
        batch
    }

    fn forget_cancelled(&mut self) {
        self.texts.retain(|text| text.request.is_waiting());
        self.bytes = self.texts.iter().map(Text::bytes).sum();
        self.tokens = self.texts.iter().map(Text::tokens).sum();
    }
}

impl Text {
    fn bytes(&self) -> usize {
        self.text.len() + TEXT_OVERHEAD_BYTES
    }

    /// A guess; exact numbers are not worth tokenising under the lock.
    fn tokens(&self) -> usize {
        (self.text.len() / 4 + 2).min(MOST_TOKENS)
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
