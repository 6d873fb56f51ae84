//! The names that certificates carry.

use weft_protocol::FleetId;

/// The name that every member answers to: members move, so no address is certified.
pub const MEMBER_NAME: &str = "member.weft";

/// Who a leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Operator,
    Gateway,
    Member { id: u32, incarnation: u32 },
}

impl Role {
    /// The URI by which nodes tell callers apart.
    pub fn uri(self, fleet: FleetId) -> String {
        match self {
            Self::Operator => format!("weft://{fleet}/operator"),
            Self::Gateway => format!("weft://{fleet}/gateway"),
            Self::Member { id, incarnation } => format!("weft://{fleet}/member/{id}/{incarnation}"),
        }
    }
}

/// The names under which clients reach a committee's gateway.
pub fn gateway_names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        "gateway.weft".to_owned(),
    ]
}
