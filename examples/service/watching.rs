//! How does a watch become server-sent events?
//!
//! The id of an event is the cursor behind it. A browser's `EventSource` that was cut off sends the last one along as
//! `Last-Event-ID`, and the watch goes on behind it: nothing is lost, nothing comes twice. What the log does not know
//! any more is an event `gap`; `live` says that everything up to there was told.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use pulsedb::{Cursor, WatchEvent, WatchItem, WatchItems, WatchOptions};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{experiences::find, refusal::Refusal, routes::Service};

pub(crate) async fn watch(
    State(service): State<Service>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let collective = find(&service.db, &name).await?;
    let options = WatchOptions {
        collective: Some(collective),
        from: last_event(&headers)?,
        ..WatchOptions::default()
    };
    let place = service.watches.try_acquire_owned();
    let place = place.map_err(|_| Refusal::busy("all places for watches are taken"))?;
    let watching = Watching {
        items: service.db.watch(options).await?,
        ending: service.ending,
        _place: place,
    };
    let events = stream::unfold(watching, async |mut watching| {
        let event = watching.next().await?;
        Some((Ok(event), watching))
    });
    // Comments now and then, so that nobody in between takes the connection for dead.
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Behind which event to go on, if that was said.
fn last_event(headers: &HeaderMap) -> Result<Option<Cursor>, Refusal> {
    let Some(id) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let wrong = |_| {
        let message = "Last-Event-ID must be the id of an event: TIMELINE/LSN";
        Refusal::new(StatusCode::BAD_REQUEST, "validation", message)
    };
    let id = String::from_utf8_lossy(id.as_bytes());
    id.parse().map(Some).map_err(wrong)
}

struct Watching {
    items: WatchItems,
    ending: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// The next event; `None` once the service, the database or the collective ends.
    async fn next(&mut self) -> Option<Event> {
        let item = tokio::select! {
            item = self.items.recv() => item?,
            _ = self.ending.wait_for(|ending| *ending) => return None,
        };
        let (name, data) = match item {
            Ok(WatchItem::Event(event)) => {
                let mut event = WatchEvent::clone(&event);
                if let Some(experience) = &mut event.experience {
                    Arc::make_mut(experience).embedding.clear();
                }
                ("change", serde_json::to_string(&event))
            }
            Ok(WatchItem::Gap { from, to }) => {
                let gap = json!({ "from": from.to_string(), "to": to.to_string() });
                ("gap", Ok(gap.to_string()))
            }
            Ok(WatchItem::Live(cursor)) => (
                "live",
                Ok(json!({ "cursor": cursor.to_string() }).to_string()),
            ),
            Err(error) => {
                // The client comes again, behind the last event that it has.
                eprintln!("service: a watch ended: {error}");
                return None;
            }
        };
        let data = data.ok()?;
        let id = self.items.cursor().to_string();
        Some(Event::default().event(name).id(id).data(data))
    }
}
