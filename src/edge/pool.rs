//! Which threads do the work that must not sit on a runtime's worker?
//!
//! A fixed number of threads and one bounded queue. A job whose caller went away before it
//! started is not run. Threads end when the pool is dropped and the queue is empty.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::error::{PulseDBError, Result};

/// Jobs that may wait; at a job of a millisecond this is some seconds of work.
const MAX_WAITING: usize = 8192;

type Job = Box<dyn FnOnce() + Send>;

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

/// A fixed set of threads.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Starts `threads` threads, or one per core for 0.
    pub fn start(name: &str, threads: usize) -> Result<Self> {
        let threads = threads_or_cores(threads);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                closed: false,
            }),
            work: Condvar::new(),
        });
        let pool = Self {
            shared: Arc::clone(&shared),
        };
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            spawn(&format!("{name}-{number}"), move || work(&shared))?;
        }
        Ok(pool)
    }

    /// Runs `job` on one of the threads. Cancel-safe: a dropped future's job is not started.
    pub fn run<T, F>(&self, job: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let queued = self.push(Box::new(move || {
            if !sender.is_closed() {
                // The receiver may have gone meanwhile; then nobody needs the result.
                let _ = sender.send(job());
            }
        }));
        async move {
            queued?;
            // A job that panicked dropped its sender.
            receiver.await.map_err(|_| PulseDBError::Closed)
        }
    }

    fn push(&self, job: Job) -> Result<()> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(PulseDBError::Closed);
        }
        if state.jobs.len() >= MAX_WAITING {
            return Err(PulseDBError::Backpressure {
                what: "the read pool".into(),
                limit: format!("{MAX_WAITING} waiting calls"),
                waited_ms: 0,
            });
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut state = shared.state.lock();
            loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                shared.work.wait(&mut state);
            }
        };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a job of the read pool panicked; its caller was told");
        }
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// So many threads as are configured, or one per core for 0.
fn threads_or_cores(configured: usize) -> usize {
    if configured == 0 { cores() } else { configured }
}

/// Runs one job on a thread of its own.
pub fn run_once<T, F>(
    name: &str,
    job: F,
) -> Result<impl Future<Output = Result<T>> + Send + use<T, F>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    spawn(name, move || {
        // A caller that went away needs no result.
        let _ = sender.send(job());
    })?;
    Ok(async move { receiver.await.map_err(|_| PulseDBError::Closed) })
}

/// Runs one long job on a thread of its own that gives way to others. The job can ask whether its
/// caller went away, and end early then.
pub fn run_beside<T, F>(
    name: &str,
    job: F,
) -> Result<impl Future<Output = Result<T>> + Send + use<T, F>>
where
    T: Send + 'static,
    F: FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    spawn_beside(name, move || {
        let done = job(&|| sender.is_closed());
        // A caller that went away needs no result.
        let _ = sender.send(done);
    })?;
    Ok(async move { receiver.await.map_err(|_| PulseDBError::Closed) })
}

/// Starts one named thread of the crate.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that starts threads"
)]
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(format!("pulsedb-{name}"))
        .spawn(body)
        .map(drop)
        .map_err(PulseDBError::io("start a thread for", name))
}

/// Starts one named thread that gives way to others.
pub fn spawn_beside(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    spawn(name, move || {
        give_way();
        body();
    })
}

#[cfg(target_os = "linux")]
fn give_way() {
    /// Where others want the core, a tenth of what one of them gets.
    const NICENESS: i32 = 10;
    // On Linux this is a property of the thread. That it stays as it was where the system refuses
    // costs others time, nothing else.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}
