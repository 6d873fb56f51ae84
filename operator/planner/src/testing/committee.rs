//! A committee with everything at its default.

use std::time::Duration;

use weft_protocol::Authority;
use weft_redstuff::Code;

use crate::{Committee, Spread};

/// A committee of so many members with `per_member` shards each, that waits less long than a real one.
///
/// # Panics
/// When there is no such code.
pub fn committee(members: u32, per_member: u16, authority: Authority) -> Committee {
    let n = members as u16 * per_member;
    Committee {
        namespace: "default".to_owned(),
        name: "demo".to_owned(),
        generation: 1,
        members,
        code: Code::new(n, (n - 1) / 3).expect("the default code is good"),
        fleet: None,
        authority: Some(authority),
        unreachable_after: Duration::from_secs(30),
        settle: Duration::from_secs(10),
        interval: None,
        retain_for: Duration::from_secs(60),
        drain: [].into(),
        replace: [].into(),
        declared_lost: [].into(),
        spread: Spread::Preferred,
        inputs: "first".to_owned(),
        maintenance: Vec::new(),
        paused: false,
        deleting: false,
        confirmed_rewind: None,
    }
}
