//! What clients of Weft do: with a fleet, and offline with plain sliver files.

mod connector;
pub mod offline;

pub use connector::{ConnectError, Connector, MEMBER_NAME, TlsConnector};
