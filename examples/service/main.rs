//! How does a service embed PulseDB? A memory for agents over HTTP, made of nothing but axum and the crate.
//!
//! ```text
//! cargo run --example service -- DB [ADDRESS]
//!
//! GET  /health                          200, or 503 where writing has stopped; the checks as JSON
//! GET  /metrics                         for Prometheus
//! POST /collectives/NAME/experiences    records; 201 and the id
//! POST /collectives/NAME/search         finds by text, vector or both
//! GET  /collectives/NAME/watch          server-sent events; `Last-Event-ID` goes on behind that one
//! ```
//!
//! It is configured by the environment's `PULSEDB_*`, see docs/configuration.md.
//!
//! `routes.rs` has the walk of a request, `experiences.rs` and `watching.rs` what is answered, `refusal.rs` how the
//! crate's errors become statuses. It speaks to whoever reaches its address and has no notion of users: put what
//! authenticates, encrypts and limits rates in front of it.
//!
//! On ctrl-c or SIGTERM it accepts nothing more, ends the watches, answers what it has begun, and closes the database.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lists of clippy.toml are about the library"
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod experiences;
mod refusal;
mod routes;
#[cfg(test)]
mod tests;
mod watching;

use std::{error::Error, process::ExitCode};

use pulsedb::{Config, PulseDB};
use tokio::net::TcpListener;

/// Reachable from this machine alone.
const ADDRESS: &str = "127.0.0.1:7700";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: service DB [ADDRESS]");
        return ExitCode::FAILURE;
    };
    let address = arguments.next().unwrap_or_else(|| ADDRESS.to_owned());
    match run(&path, &address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(path: &str, address: &str) -> Outcome<()> {
    // Whoever is asked to end while the database opens, ends once it is open.
    let end = asked_to_end()?;
    let listener = TcpListener::bind(address).await?;
    let db = PulseDB::open(path, Config::from_env()?).await?;
    println!("{path} on http://{}", listener.local_addr()?);
    let served = routes::serve(db.clone(), listener, end).await;
    // Also after a failure: what was acknowledged is durable anyway, and the next open has less to do.
    db.close().await?;
    Ok(served?)
}

/// Completes at the first ctrl-c or SIGTERM.
#[cfg(unix)]
fn asked_to_end() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    // Listened to from here on, so that none is missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes at the first ctrl-c.
#[cfg(not(unix))]
fn asked_to_end() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        // Without a way to hear of it, it is never asked.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
