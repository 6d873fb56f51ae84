//! Ways into pods through the API server, for clusters whose pods have no address that leads there from here.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// One listening address for each pod that was asked for.
pub(crate) struct Tunnels {
    pods: Api<Pod>,
    port: u16,
    open: Mutex<BTreeMap<String, (SocketAddr, JoinHandle<()>)>>,
}

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tunnels").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Tunnels {
    /// To one port of any of these pods.
    pub(crate) fn new(pods: Api<Pod>, port: u16) -> Self {
        Self { pods, port, open: Mutex::default() }
    }

    /// The address on this machine's loopback that leads into the pod.
    pub(crate) async fn to(&self, pod: &str) -> io::Result<SocketAddr> {
        let mut open = self.open.lock().await;
        if let Some((address, _)) = open.get(pod) {
            return Ok(*address);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, self.pods.clone(), pod.to_owned(), self.port));
        open.insert(pod.to_owned(), (address, task));
        Ok(address)
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.open.get_mut().values().for_each(|(_, task)| task.abort());
    }
}

async fn accept(listener: TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    // Accepting fails when this process runs out of descriptors: the client's connect then does too.
    while let Ok((connection, _)) = listener.accept().await {
        let (pods, pod) = (pods.clone(), pod.clone());
        tokio::spawn(async move { forward(connection, &pods, &pod, port).await });
    }
}

/// Whichever side ends ends it: the client sees its connection close, and counts what it didn't get.
async fn forward(mut connection: TcpStream, pods: &Api<Pod>, pod: &str, port: u16) {
    let Ok(mut forwarder) = pods.portforward(pod, &[port]).await else { return };
    let Some(mut stream) = forwarder.take_stream(port) else { return };
    drop(tokio::io::copy_bidirectional(&mut connection, &mut stream).await);
}
