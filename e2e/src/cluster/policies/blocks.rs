//! Blocks of IPv4 addresses, as network policies write them: one, but for some within it. The firewall takes plain ones.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    first: u32,
    /// How many bits.
    length: u32,
}

impl Block {
    /// One address.
    pub(super) fn one(address: Ipv4Addr) -> Self {
        Self { first: address.to_bits(), length: 32 }
    }

    fn contains(self, other: Self) -> bool {
        self.length <= other.length && (self.first ^ other.first) & mask(self.length) == 0
    }

    /// This block without others, as the largest blocks that are left of it.
    pub(super) fn without(self, others: &[Self]) -> Vec<Self> {
        if others.iter().any(|other| other.contains(self)) {
            return Vec::new();
        }
        if !others.iter().any(|other| self.contains(*other)) {
            return vec![self];
        }
        // It contains one that doesn't contain it, and so is longer than one address.
        let length = self.length + 1;
        let halves = [self.first, self.first | (1 << (32 - length))];
        halves.into_iter().flat_map(|first| Self { first, length }.without(others)).collect()
    }
}

fn mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

impl FromStr for Block {
    type Err = ();

    /// As in `10.0.0.0/8`. Those of IPv6 are none: the local cluster has no such addresses.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, length) = text.split_once('/').ok_or(())?;
        let address: Ipv4Addr = address.parse().map_err(drop)?;
        let length: u32 = length.parse().ok().filter(|length| *length <= 32).ok_or(())?;
        Ok(Self { first: address.to_bits() & mask(length), length })
    }
}

impl fmt::Display for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from_bits(self.first), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(block: &str, others: &[&str]) -> Vec<String> {
        let parse = |text: &str| text.parse::<Block>().expect(text);
        let others: Vec<Block> = others.iter().map(|other| parse(other)).collect();
        parse(block).without(&others).iter().map(Block::to_string).collect()
    }

    #[test]
    fn what_is_excepted_is_cut_out() {
        assert_eq!(without("10.0.0.0/8", &[]), ["10.0.0.0/8"]);
        assert_eq!(without("10.0.0.0/8", &["11.0.0.0/8"]), ["10.0.0.0/8"]);
        assert_eq!(without("10.0.0.0/8", &["10.64.0.0/10"]), ["10.0.0.0/10", "10.128.0.0/9"]);
        assert_eq!(without("10.0.0.0/30", &["10.0.0.1/32", "10.0.0.3/32"]), ["10.0.0.0/32", "10.0.0.2/32"]);
        assert_eq!(without("10.0.0.0/8", &["0.0.0.0/0"]), [""; 0]);
        assert_eq!(without("0.0.0.0/0", &["128.0.0.0/1"]), ["0.0.0.0/1"]);
        assert_eq!(without("10.1.2.3/8", &["10.128.0.0/9"]), ["10.0.0.0/9"]);
    }

    #[test]
    fn what_is_no_block_of_ipv4_is_none() {
        for text in ["10.0.0.0", "10.0.0.0/33", "fd00::/8", "10.0.0/8", ""] {
            assert_eq!(text.parse::<Block>(), Err(()), "{text:?}");
        }
    }
}
