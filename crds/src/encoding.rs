//! The code's two numbers: how many shards there are, and how many may be missing or lying.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The most shards that the arithmetic of the code allows.
pub(crate) const MAX_SHARDS: u32 = 255;

/// The code as the spec asks for it; silent parts are chosen (see [`encoding_for`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.faultTolerance) || has(self.shards)")
    .message("encoding.faultTolerance needs encoding.shards"))]
#[x_kube(validation = Rule::new("!has(self.faultTolerance) || !has(self.shards) || 3 * self.faultTolerance < self.shards")
    .message("encoding.faultTolerance must be less than a third of encoding.shards"))]
pub struct EncodingSpec {
    /// The number of shards, n. Silent: members × min(4, ⌊255 ÷ members⌋).
    #[schemars(range(min = 4, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u16>,
    /// How many shards may be missing or lying, f, with 3f < n. Silent: ⌊(n−1)/3⌋.
    #[schemars(range(min = 1, max = 84))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_tolerance: Option<u16>,
}

/// The code as it was recorded when the committee was made. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encoding {
    /// The number of shards, n.
    pub shards: u16,
    /// How many shards may be missing or lying, f.
    pub fault_tolerance: u16,
}

/// The code that a committee of `members` gets when its spec is silent: n = members × min(4, ⌊255 ÷ members⌋) and
/// f = ⌊(n−1)/3⌋, which survives ⌊(members−1)/3⌋ members.
pub fn encoding_for(members: u32) -> Encoding {
    let members = members.clamp(1, MAX_SHARDS);
    let shards = members * (MAX_SHARDS / members).min(4);
    Encoding { shards: shards as u16, fault_tolerance: fault_tolerance_for(shards as u16) }
}

fn fault_tolerance_for(shards: u16) -> u16 {
    shards.saturating_sub(1) / 3
}

impl EncodingSpec {
    /// The code of a new committee of `members`, silent parts chosen.
    pub fn resolve(&self, members: u32) -> Encoding {
        let Some(shards) = self.shards else { return encoding_for(members) };
        Encoding { shards, fault_tolerance: self.fault_tolerance.unwrap_or(fault_tolerance_for(shards)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_spec_gets_up_to_four_shards_a_member() {
        let code = |members| (encoding_for(members).shards, encoding_for(members).fault_tolerance);
        assert_eq!(code(4), (16, 5));
        assert_eq!(code(7), (28, 9));
        assert_eq!(code(63), (252, 83));
        assert_eq!(code(64), (192, 63));
        assert_eq!(code(128), (128, 42));
        assert_eq!(code(255), (255, 84));
    }

    #[test]
    fn the_chosen_code_survives_a_third_of_the_members() {
        for members in 4..=255 {
            let Encoding { shards, fault_tolerance } = encoding_for(members);
            let most = u32::from(shards).div_ceil(members);
            assert!(3 * fault_tolerance < shards && members * u32::from(fault_tolerance) >= u32::from(shards));
            assert!(most * ((members - 1) / 3) <= u32::from(fault_tolerance), "{members} members");
        }
    }

    #[test]
    fn what_the_spec_says_wins() {
        let said = EncodingSpec { shards: Some(36), fault_tolerance: Some(9) };
        assert_eq!(said.resolve(9), Encoding { shards: 36, fault_tolerance: 9 });
        let half = EncodingSpec { shards: Some(31), fault_tolerance: None };
        assert_eq!(half.resolve(9), Encoding { shards: 31, fault_tolerance: 10 });
        assert_eq!(EncodingSpec::default().resolve(9), encoding_for(9));
    }
}
