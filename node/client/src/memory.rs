//! A bound on memory that all operations of a client share.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What memory is counted in, so that counts fit.
const UNIT: u64 = 1 << 10;
/// Between askings for memory that others could give back.
const NAG: Duration = Duration::from_millis(50);

/// Memory that operations wait for.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    all: u64,
    free: Arc<Semaphore>,
    wanted: Arc<Notify>,
}

impl Memory {
    /// So many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self { all: bytes, free: Arc::new(Semaphore::new((bytes / UNIT) as usize)), wanted: Arc::default() }
    }

    /// Waits for so many bytes, or for all there are. While it waits, those who hold memory without need are told.
    pub(crate) async fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let units = (bytes.min(self.all) / UNIT) as u32;
        let mut room = std::pin::pin!(Arc::clone(&self.free).acquire_many_owned(units));
        loop {
            match timeout(NAG, &mut room).await {
                Ok(permit) => return permit.expect("the semaphore is never closed"),
                Err(_) => self.wanted.notify_waiters(),
            }
        }
    }

    /// So many bytes, if nobody has to be waited for.
    pub(crate) fn try_room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = (bytes.min(self.all) / UNIT) as u32;
        Arc::clone(&self.free).try_acquire_many_owned(units).ok()
    }

    /// Waits until somebody has waited for memory for a while.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_heard_by_who_holds() {
        let memory = Memory::new(10 * UNIT);
        let held = memory.room(7 * UNIT).await;
        // More than there is takes all.
        let asked = memory.room(100 * UNIT);
        let give_back = async {
            memory.wanted().await;
            drop(held);
        };
        let (all, ()) = tokio::join!(asked, give_back);
        assert_eq!(all.num_permits(), 10);
        assert!(memory.try_room(UNIT).is_none());
        drop(all);
        assert!(memory.try_room(UNIT).is_some());
    }
}
