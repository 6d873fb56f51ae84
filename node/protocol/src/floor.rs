//! The time floor (R15): by how far the fleet knows time to have come. What ends by it is gone for good.

use thiserror::Error;
use weft_redstuff::Hash;

use crate::{
    codec::{DecodeError, Decoder, Encoder},
    identity::FleetId,
    keys::{KeyError, PublicKey, Signature, SigningKey, digest},
};

const CONTEXT: &str = "weft v1 time floor";

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FloorError {
    #[error("the time floor is of fleet {theirs}, not of {ours}")]
    OtherFleet { ours: FleetId, theirs: FleetId },
    #[error("the time floor is not the operator's: {0}")]
    Signature(#[from] KeyError),
}

/// A time that has come, by the operator's word. Of two the later holds, whoever brings it: so it spreads without the
/// operator, and nobody can take it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFloor {
    pub fleet: FleetId,
    /// Since 1970 (UTC).
    pub seconds: u64,
    signature: Signature,
}

impl TimeFloor {
    /// `key` is the operator's for views.
    pub fn sign(fleet: FleetId, seconds: u64, key: &SigningKey) -> Self {
        Self { fleet, seconds, signature: key.sign(&Self::digest(fleet, seconds)) }
    }

    pub fn verify(&self, fleet: FleetId, key: &PublicKey) -> Result<(), FloorError> {
        if self.fleet != fleet {
            return Err(FloorError::OtherFleet { ours: fleet, theirs: self.fleet });
        }
        Ok(key.verify(&Self::digest(self.fleet, self.seconds), &self.signature)?)
    }

    /// Whether what ends at `expiry` (seconds since 1970) has ended.
    pub fn has_reached(&self, expiry: u64) -> bool {
        expiry <= self.seconds
    }

    /// The later of two.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if other.seconds > self.seconds { other } else { self }
    }

    pub fn encode(&self) -> Vec<u8> {
        Encoder::new().fixed(&self.fleet.0).u64(self.seconds).fixed(&self.signature.0).finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder::new("time floor", bytes);
        let floor = Self { fleet: FleetId(from.fixed()?), seconds: from.u64()?, signature: Signature(from.fixed()?) };
        from.finish()?;
        Ok(floor)
    }

    fn digest(fleet: FleetId, seconds: u64) -> Hash {
        digest(CONTEXT, &Encoder::new().fixed(&fleet.0).u64(seconds).finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TermClaim;

    const FLEET: FleetId = FleetId([1; 16]);

    fn key(id: u8) -> SigningKey {
        SigningKey::from_seed([id; 32])
    }

    #[test]
    fn r15_a_floor_holds_by_the_operators_signature_for_its_fleet_and_its_number() {
        let (operator, floor) = (key(1).public(), TimeFloor::sign(FLEET, 1000, &key(1)));
        assert_eq!(TimeFloor::decode(&floor.encode()), Ok(floor.clone()));
        assert_eq!(floor.verify(FLEET, &operator), Ok(()));
        let forged = TimeFloor { seconds: 1001, ..floor.clone() };
        assert!(matches!(forged.verify(FLEET, &operator), Err(FloorError::Signature(_))), "another number");
        let own = TimeFloor::sign(FLEET, 1000, &key(2));
        assert!(matches!(own.verify(FLEET, &operator), Err(FloorError::Signature(_))), "a member's own");
        let ours = FleetId([2; 16]);
        assert_eq!(floor.verify(ours, &operator), Err(FloorError::OtherFleet { ours, theirs: FLEET }));
        let renamed = TimeFloor { fleet: ours, ..floor };
        assert!(matches!(renamed.verify(ours, &operator), Err(FloorError::Signature(_))), "the fleet is signed too");
    }

    #[test]
    fn r15_no_other_statement_of_the_operator_is_a_floor() {
        // A claim has the same bytes: fleet, a number, a signature.
        let claim = TermClaim::sign(FLEET, 1 << 40, &key(1)).encode();
        let floor = TimeFloor::decode(&claim).unwrap();
        assert!(matches!(floor.verify(FLEET, &key(1).public()), Err(FloorError::Signature(_))));
    }

    #[test]
    fn r15_the_later_floor_holds_and_reaches_what_ends_by_then() {
        let [lower, higher] = [1000, 2000].map(|seconds| TimeFloor::sign(FLEET, seconds, &key(1)));
        assert_eq!(lower.clone().later(higher.clone()), higher);
        assert_eq!(higher.clone().later(lower.clone()), higher);
        assert_eq!([999, 1000, 1001].map(|expiry| lower.has_reached(expiry)), [true, true, false]);
    }
}
