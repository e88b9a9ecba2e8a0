//! Which requests are there, and how does serving them end?

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use pulsedb::{HealthStatus, PulseDB};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{experiences, refusal::Refusal, watching};

/// Bytes of a request's body: 100 KiB of content with every character escaped, and a vector of 4096 components.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Watches at the same time; each holds a connection and a channel of some 50 KiB.
const MAX_WATCHES: usize = 1_000;
/// How long begun requests may take once the service ends: the longest that a write waits for room.
const DRAIN: Duration = Duration::from_secs(10);

/// What all requests share.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) db: PulseDB,
    /// Places for watches.
    pub(crate) watches: Arc<Semaphore>,
    /// Says true once the service ends.
    pub(crate) ending: watch::Receiver<bool>,
}

/// Answers requests until `end` completes, and those that were begun by then.
pub(crate) async fn serve(
    db: PulseDB,
    listener: TcpListener,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (tell, ending) = watch::channel(false);
    let service = Service {
        db,
        watches: Arc::new(Semaphore::new(MAX_WATCHES)),
        ending: ending.clone(),
    };
    let told = async move {
        end.await;
        // Without it, a watch would keep its connection, and the service, for ever.
        tell.send_replace(true);
    };
    let serving = axum::serve(listener, router(service)).with_graceful_shutdown(told);
    let mut serving = Box::pin(serving.into_future());
    let mut ended = ending;
    tokio::select! {
        served = &mut serving => return served,
        // The sender goes with the future that sends, so an error says the same.
        _ = ended.wait_for(|ending| *ending) => {}
    }
    // Whoever does not take its answer by then is let go.
    timeout(DRAIN, serving).await.unwrap_or(Ok(()))
}

fn router(service: Service) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/collectives/{name}/experiences", post(experiences::record))
        .route("/collectives/{name}/search", post(experiences::search))
        .route("/collectives/{name}/watch", get(watching::watch))
        .fallback(async || Refusal::no_such_route())
        .method_not_allowed_fallback(async || Refusal::no_such_method())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(service)
}

async fn health(State(service): State<Service>) -> Result<Response, Refusal> {
    let health = service.db.health_check().await?;
    let status = match health.status {
        HealthStatus::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        // What is degraded still serves; taking it away would help nobody.
        HealthStatus::Healthy | HealthStatus::Degraded => StatusCode::OK,
    };
    Ok((status, Json(health)).into_response())
}

async fn metrics(State(service): State<Service>) -> Result<Response, Refusal> {
    let metrics = service.db.metrics().await?;
    let format = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((format, metrics.to_prometheus()).into_response())
}
