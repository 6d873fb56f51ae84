//! Who is who (R1): a fleet, a member of it, and the incarnation that its present volume makes it.

use std::{fmt, str::FromStr};

use crate::{
    ShardSet,
    codec::{DecodeError, Decoder, Encoder},
    keys::PublicKey,
};

/// A member's number in its committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                let mut id = [0; 16];
                hex::decode_to_slice(text, &mut id).map_err(|error| DecodeError::Invalid {
                    what: stringify!($name),
                    reason: format!("{text:?} is not 32 hexadecimal digits: {error}"),
                })?;
                Ok(Self(id))
            }
        }
    };
}

random_id!(
    /// A fleet: the data that one committee keeps. It outlives the objects that describe it.
    FleetId
);
random_id!(
    /// A volume, named at random when it is first written to.
    VolumeId
);

/// Which volume a member stands on: new each time the volume is replaced or admitted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    pub number: u32,
    pub volume: VolumeId,
}

impl Incarnation {
    pub(crate) fn encode(self, to: Encoder) -> Encoder {
        to.u32(self.number).fixed(&self.volume.0)
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { number: from.u32()?, volume: VolumeId(from.fixed()?) })
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.volume)
    }
}

/// A member's place in a view: which incarnation serves which shards, and the key it signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub member: MemberId,
    pub incarnation: Incarnation,
    pub key: PublicKey,
    pub shards: ShardSet,
}

impl Seat {
    pub(crate) fn encode(&self, to: Encoder) -> Encoder {
        let to = to.u32(self.member.0);
        self.incarnation.encode(to).fixed(&self.key.0).fixed(&self.shards.to_bytes())
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            member: MemberId(from.u32()?),
            incarnation: Incarnation::decode(from)?,
            key: PublicKey(from.fixed()?),
            shards: ShardSet::from_bytes(&from.fixed()?),
        })
    }
}
