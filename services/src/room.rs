//! Room for JSON that takes much memory: of all requests, and of all tasks that are read, at a time. What is small never asks.

use crate::error::TaskError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of memory that one request or task may take without asking.
pub(crate) const FREE: u64 = 256 << 10;
/// What is counted in.
const UNIT: u64 = 64 << 10;
/// How long who asks waits for others to give back theirs.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Rooms {
    units: u32,
    free: Arc<Semaphore>,
}

/// The right to some memory, until it is dropped.
#[derive(Debug, Default)]
pub struct Room(Option<OwnedSemaphorePermit>);

impl Rooms {
    pub(crate) fn new(bytes: u64) -> Self {
        let most = u64::from(u32::MAX).min(Semaphore::MAX_PERMITS as u64);
        // Lossless, as it is at most that.
        let units = (bytes / UNIT).clamp(1, most) as u32;
        let free = Arc::new(Semaphore::new(units as usize));
        Self { units, free }
    }

    /// Waits a while for room. More than there is in all waits for all of it.
    ///
    /// # Errors
    /// Crowded if others do not give back enough in time.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Room, TaskError> {
        let Some(units) = self.units(bytes) else {
            return Ok(Room::default());
        };
        let taking = Arc::clone(&self.free).acquire_many_owned(units);
        match timeout(PATIENCE, taking).await {
            Ok(Ok(taken)) => Ok(Room(Some(taken))),
            Ok(Err(_)) | Err(_) => Err(TaskError::Crowded),
        }
    }

    /// Room, if there is some now.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Room> {
        let Some(units) = self.units(bytes) else {
            return Some(Room::default());
        };
        let taken = Arc::clone(&self.free).try_acquire_many_owned(units);
        taken.ok().map(|taken| Room(Some(taken)))
    }

    /// None if so little needs no room.
    fn units(&self, bytes: u64) -> Option<u32> {
        if bytes <= FREE {
            return None;
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Some(units.min(self.units))
    }
}

impl Room {
    /// Gives back what is over so many bytes.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        if bytes <= FREE {
            self.0 = None;
        }
        if let Some(taken) = &mut self.0 {
            let units = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
            drop(taken.split(taken.num_permits().saturating_sub(units)));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_large_has_room_or_waits_a_while_for_it() {
        let rooms = Rooms::new(10 * FREE);
        let mut large = rooms.take(8 * FREE).await.unwrap();
        let small: Vec<Room> = (0..100)
            .map(|_| rooms.try_take(FREE).expect("it needs none"))
            .collect();
        assert!(rooms.try_take(3 * FREE).is_none());
        let refused = rooms.take(3 * FREE).await;
        assert!(matches!(refused, Err(TaskError::Crowded)));
        large.shrink(7 * FREE);
        let more = rooms.take(3 * FREE).await.unwrap();
        drop((large, small, more));
        // What is larger than all there is has it alone.
        let all = rooms.take(u64::MAX).await.unwrap();
        assert!(rooms.try_take(2 * FREE).is_none());
        drop(all);
        assert!(rooms.try_take(10 * FREE).is_some());
    }
}
