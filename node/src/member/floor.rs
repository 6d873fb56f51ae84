//! The fleet's time, as far as this member knows it (R15).

use std::sync::{PoisonError, RwLock};

use weft_protocol::TimeFloor;

use super::MemberError;

/// The latest time floor that was verified here. It is at least the recorded one.
#[derive(Debug, Default)]
pub(crate) struct Floor(RwLock<Option<TimeFloor>>);

impl Floor {
    pub(super) fn new(recorded: Option<TimeFloor>) -> Self {
        Self(RwLock::new(recorded))
    }

    pub(crate) fn known(&self) -> Option<TimeFloor> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn raise(&self, floor: TimeFloor) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some(match known.take() {
            Some(known) => known.later(floor),
            None => floor,
        });
    }

    /// Whether what ends then has ended; what never ends hasn't.
    pub(crate) fn has_reached(&self, expiry: Option<u64>) -> bool {
        let Some(expiry) = expiry else { return false };
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|floor| floor.has_reached(expiry))
    }

    /// Refuses what has expired: it may be gone here, and the floor is all that is left of it.
    pub(super) fn must_be_below(&self, expiry: Option<u64>) -> Result<(), MemberError> {
        let (Some(expiry), Some(floor)) = (expiry, self.known()) else { return Ok(()) };
        if floor.has_reached(expiry) { Err(MemberError::Expired { expiry, floor: Box::new(floor) }) } else { Ok(()) }
    }

    /// The same for what is new. Where no floor is known nothing that expires may begin: the first floor is whatever a
    /// leader's clock shows, and could end it at once.
    pub(super) fn admit(&self, expiry: Option<u64>) -> Result<(), MemberError> {
        if expiry.is_some() && self.known().is_none() {
            return Err(MemberError::NoFloor);
        }
        self.must_be_below(expiry)
    }
}

#[cfg(test)]
mod tests {
    use weft_protocol::{FleetId, SigningKey};

    use super::*;

    fn of(seconds: u64) -> TimeFloor {
        TimeFloor::sign(FleetId([1; 16]), seconds, &SigningKey::from_seed([1; 32]))
    }

    #[test]
    fn r15_a_lower_floor_changes_nothing() {
        let floor = Floor::new(Some(of(100)));
        for (told, known) in [(99, 100), (101, 101), (100, 101)] {
            floor.raise(of(told));
            assert_eq!(floor.known(), Some(of(known)));
        }
    }

    #[test]
    fn r15_what_ends_by_the_floor_is_refused_and_so_is_all_that_ends_while_there_is_none() {
        let floor = Floor::default();
        assert!(floor.admit(None).is_ok());
        assert!(matches!(floor.admit(Some(u64::MAX)), Err(MemberError::NoFloor)));
        assert!(floor.must_be_below(Some(0)).is_ok(), "what was certified is taken: others knew a floor");
        floor.raise(of(100));
        assert!(floor.admit(None).is_ok());
        assert!(floor.admit(Some(101)).is_ok());
        for ended in [100, 99] {
            assert!(matches!(floor.admit(Some(ended)), Err(MemberError::Expired { .. })));
            assert!(floor.has_reached(Some(ended)));
        }
        assert!(!floor.has_reached(Some(101)) && !floor.has_reached(None));
    }
}
