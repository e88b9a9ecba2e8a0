//! What does a channel hold of an event?
//!
//! Of a new experience the bytes that were written, from which whoever is first to take the event makes it for all: the
//! thread that commits has more urgent things to do. Of everything else the event itself.

use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::{
    log::OutFrame,
    model::{CollectiveId, EntityId, EventType, ExperienceId, InstanceId, Lsn, WatchEvent},
    sync::Arc,
    watch::experience::assembled,
};

/// A record of a new experience, to be told once it is durable.
pub struct Foreseen {
    /// The record.
    pub frame: OutFrame,
    /// Where it belongs.
    pub collective: CollectiveId,
    /// Whose applications the event counts.
    pub instance: InstanceId,
}

impl Foreseen {
    /// The event; `None` where the bytes cannot be read.
    fn event(self) -> Option<WatchEvent> {
        let header = &self.frame.header;
        let as_recorded = (None, None, None);
        let shown = assembled(
            header,
            &self.frame.payload,
            self.collective,
            self.instance,
            as_recorded,
        );
        Some(WatchEvent {
            lsn: header.lsn,
            collective_id: self.collective,
            entity: EntityId::Experience(ExperienceId::from_u128(header.entity)),
            event_type: EventType::Created,
            timestamp: header.time,
            experience: Some(Arc::new(shown.ok()?)),
        })
    }
}

/// An event for many, made at the latest when the first of them takes it.
pub struct Told {
    lsn: Lsn,
    event: OnceLock<Option<Arc<WatchEvent>>>,
    foreseen: Mutex<Option<Foreseen>>,
}

impl Told {
    /// Where it stands among all events.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether it is the last event of a collective: its deletion.
    pub fn ends_collective(&self) -> bool {
        let made = self.event.get().and_then(Option::as_ref);
        made.is_some_and(|event| {
            event.event_type == EventType::Deleted
                && matches!(event.entity, EntityId::Collective(_))
        })
    }

    /// The event; `None` where it could not be made.
    pub fn event(&self) -> Option<&Arc<WatchEvent>> {
        if let Some(event) = self.event.get() {
            return event.as_ref();
        }
        // Whoever comes meanwhile waits here for about a microsecond.
        let mut foreseen = self.foreseen.lock();
        let made = || foreseen.take()?.event().map(Arc::new);
        self.event.get_or_init(made).as_ref()
    }
}

impl From<WatchEvent> for Told {
    fn from(event: WatchEvent) -> Self {
        Self {
            lsn: event.lsn,
            event: OnceLock::from(Some(Arc::new(event))),
            foreseen: Mutex::new(None),
        }
    }
}

impl From<Foreseen> for Told {
    fn from(foreseen: Foreseen) -> Self {
        Self {
            lsn: foreseen.frame.header.lsn,
            event: OnceLock::new(),
            foreseen: Mutex::new(Some(foreseen)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_asked_for_once() {
        let told = Told::from(Foreseen {
            frame: OutFrame {
                payload: Bytes::from_static(b"?"),
                ..OutFrame::default()
            },
            collective: CollectiveId::from_u128(1),
            instance: InstanceId::from_u128(2),
        });
        assert!(!told.ends_collective());
        assert!(told.event().is_none());
        assert!(told.event().is_none());
        assert!(told.foreseen.lock().is_none(), "the bytes are gone");
    }

    #[test]
    fn all_share_one_event() {
        let collective = CollectiveId::from_u128(1);
        let told = Told::from(WatchEvent {
            lsn: Lsn::new(3),
            collective_id: collective,
            entity: EntityId::Collective(collective),
            event_type: EventType::Deleted,
            timestamp: crate::model::Timestamp::default(),
            experience: None,
        });
        assert!(told.ends_collective());
        assert_eq!(told.lsn(), Lsn::new(3));
        let both = told.event().zip(told.event());
        assert!(both.is_some_and(|(one, other)| Arc::ptr_eq(one, other)));
    }
}
