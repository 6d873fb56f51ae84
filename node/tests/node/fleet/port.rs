//! Ports that stay their owners' while nobody listens at them.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// A port of 127.0.0.1. A socket is bound to it and never listens: whoever connects is refused, and the kernel gives the port
/// to no other socket that asks for any, be it for a listener or for a connection.
pub(crate) struct Port {
    address: SocketAddr,
    _held: TcpSocket,
}

impl Port {
    pub(crate) fn hold() -> Self {
        let held = TcpSocket::new_v4().expect("there is room for a socket");
        held.set_reuseaddr(true).expect("sockets share addresses");
        held.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        let address = held.local_addr().expect("a bound socket has an address");
        Self { address, _held: held }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens until what is returned is dropped; one at a time.
    pub(crate) async fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address).await.expect("the port is held for this")
    }
}
