//! Names that whoever works with a committee's objects shares: the operator, which makes them, and the command, which finds
//! them and may make them again.

use std::collections::BTreeMap;

/// Label of everything that belongs to a committee.
pub const COMMITTEE: &str = "weft.dev/committee";
/// Label of members' pods, claims and Secrets, and of their volumes: the member's number.
pub const MEMBER: &str = "weft.dev/member";
/// Label of members' pods, claims and Secrets, and of their volumes: the incarnation's number.
pub const INCARNATION: &str = "weft.dev/incarnation";
/// Label that tells members from gateways.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Annotation of claims and of the CA's Secret, and label of volumes and of spare keys: the fleet whose data they keep.
pub const FLEET: &str = "weft.dev/fleet";
/// Annotation of the CA's Secret: the newest term, so that it outlives the committee with the keys (R4). Also of the
/// members' disruption budget: that of the leader that wrote it last.
pub const TERM: &str = "weft.dev/term";
/// Annotation of committees, written by a person: the view whose rewind is confirmed (R26).
pub const CONFIRM_REWIND: &str = "weft.dev/confirm-rewind";
/// Annotation of a committee: the incarnations that a person declares lost, `3-1,4-1` (R7).
pub const DECLARE_LOST: &str = "weft.dev/declare-lost";

pub const MEMBER_COMPONENT: &str = "member";
pub const GATEWAY_COMPONENT: &str = "gateway";

/// The name of the claim that is made for an incarnation, which is its pods' host name as well.
pub fn member_claim(committee: &str, member: u32, incarnation: u32) -> String {
    format!("{committee}-{member}-{incarnation}")
}

/// Committee, member and the incarnation that a claim was made for, by its name: a later one may have inherited it (R25).
pub fn claimed(claim: &str) -> Option<(&str, u32, u32)> {
    let (rest, incarnation) = claim.rsplit_once('-')?;
    let (committee, member) = rest.rsplit_once('-')?;
    Some((committee, member.parse().ok()?, incarnation.parse().ok()?))
}

/// The incarnation that a claim was made for, by its name.
pub fn origin(claim: &str) -> Option<u32> {
    claimed(claim).map(|(.., origin)| origin)
}

/// How long a committee's name may be, in characters.
pub const LONGEST: usize = 40;

/// The copy of a fleet's keys that the operator keeps in its own namespace, should the committee's go.
pub fn spare_keys(fleet: &impl std::fmt::Display) -> String {
    format!("weft-keys-{fleet}")
}

/// The Secret with the keys of a committee's fleet.
pub fn authority(committee: &str) -> String {
    format!("{committee}-ca")
}

/// Labels of everything of a committee's.
pub fn labels(committee: &str) -> BTreeMap<String, String> {
    [(COMMITTEE, committee), ("app.kubernetes.io/instance", committee)]
        .into_iter()
        .chain(OURS)
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Labels of everything that the operator makes.
pub const OURS: [(&str, &str); 2] =
    [("app.kubernetes.io/name", "weft"), ("app.kubernetes.io/managed-by", "weft-operator")];

/// Selects a component's pods, as text: for lists and `status.selector`.
pub fn selector_text(committee: &str, component: &str) -> String {
    format!("{COMMITTEE}={committee},{COMPONENT}={component}")
}

/// Labels of a member's objects.
pub fn member_labels(committee: &str, member: u32, incarnation: u32) -> BTreeMap<String, String> {
    let mut labels = labels(committee);
    labels.insert(COMPONENT.to_owned(), MEMBER_COMPONENT.to_owned());
    labels.insert(MEMBER.to_owned(), member.to_string());
    labels.insert(INCARNATION.to_owned(), incarnation.to_string());
    labels
}
