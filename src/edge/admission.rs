//! How is the memory of waiting writes bounded?
//!
//! A request reserves its bytes before it enters the queue and gives them back when it is
//! answered. Where there is no room it waits, first come first served, up to the write timeout.
//! Before it is admitted nothing has happened, so a dropped future leaves no trace.

use std::{future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::timer::Sleep;
use crate::error::{PulseDBError, Result};

/// Bytes are counted in units of this size, so that the count fits the semaphore's `u32`.
const UNIT_BYTES: usize = 64;

/// Room for waiting writes.
pub struct Admission {
    room: Arc<Semaphore>,
    units: usize,
    timeout: Duration,
}

/// Reserved room; dropping it gives it back.
pub struct Permit {
    _units: OwnedSemaphorePermit,
}

impl Admission {
    /// Room for `bytes` bytes; whoever finds none waits for at most `timeout`.
    pub fn new(bytes: usize, timeout: Duration) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            room: Arc::new(Semaphore::new(units)),
            units,
            timeout,
        }
    }

    /// Reserves room for `bytes`, which the caller has checked against the largest commit.
    pub async fn admit(&self, bytes: usize) -> Result<Permit> {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, self.units) as u32;
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(units) {
            return Ok(Permit { _units: permit });
        }
        let mut acquire = pin!(Arc::clone(&self.room).acquire_many_owned(units));
        let mut sleep = pin!(Sleep::new(self.timeout));
        std::future::poll_fn(|context| {
            if let Poll::Ready(acquired) = acquire.as_mut().poll(context) {
                return Poll::Ready(match acquired {
                    Ok(permit) => Ok(Permit { _units: permit }),
                    Err(_) => Err(PulseDBError::Closed),
                });
            }
            sleep.as_mut().poll(context).map(|()| {
                Err(PulseDBError::Backpressure {
                    what: "the write queue".into(),
                    limit: format!("{} bytes", self.units * UNIT_BYTES),
                    waited_ms: self.timeout.as_millis() as u64,
                })
            })
        })
        .await
    }

    /// Bytes reserved now.
    pub fn used_bytes(&self) -> usize {
        (self.units - self.room.available_permits()) * UNIT_BYTES
    }
}
