//! The fleet's time (R15), as far as members have shown the operator's word for it.

use tonic::{Code, Status};
use weft_protocol::TimeFloor;
use weft_redstuff::Metadata;

use super::{Fleet, FleetConfig};

impl Fleet {
    /// The latest time floor, in seconds since 1970; `None` while none is known.
    pub fn time(&self) -> Option<u64> {
        self.lock().floor.as_ref().map(|floor| floor.seconds)
    }

    /// Whether a blob has expired: its ID proves when it ends, and the floor that the time has come.
    pub(crate) fn has_expired(&self, metadata: &Metadata) -> bool {
        metadata.expiry.is_some_and(|expiry| self.time().is_some_and(|time| expiry <= time))
    }

    /// Takes an encoded time floor, where it is later than the one that is known, and the operator's.
    pub(super) fn heed(&self, told: &[u8]) {
        let Ok(told) = TimeFloor::decode(told) else { return };
        if self.time().is_some_and(|known| known >= told.seconds) {
            return;
        }
        let FleetConfig { fleet, trust, .. } = &self.0.config;
        if let Err(error) = told.verify(*fleet, trust) {
            tracing::warn!(%error, "a member offers a bad time floor");
            return;
        }
        let known = &mut self.lock().floor;
        *known = Some(match known.take() {
            Some(known) => known.later(told),
            None => told,
        });
    }

    /// The fleet's time, where it has reached `expiry`, maybe by the proof that a member's refusal carries.
    pub(crate) fn expired(&self, refusal: &Status, expiry: u64) -> Option<u64> {
        if refusal.code() != Code::AlreadyExists {
            return None;
        }
        self.heed(refusal.details());
        self.time().filter(|time| expiry <= *time)
    }
}
