//! A committee's gateways through the API server: its token, its certificate authority, and forwarded ports.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, api::ListParams};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use weft_crds::names;

use crate::{
    failure::BoxError as Error,
    kubernetes::{Cluster, KubeOptions},
};

const HTTPS: u16 = 8443;
/// More pods than this needn't be forwarded to.
const PODS: usize = 2;

pub(super) struct Found {
    pub(super) token: Option<String>,
    /// Authorities, PEM: the committee's, or those that come with the certificate that its user gave.
    pub(super) ca: Option<Vec<u8>>,
    /// The gateways show a certificate that the committee's user gave.
    pub(super) user_given: bool,
    pub(super) forward: Forward,
}

/// Local ports that lead to gateway pods, until dropped.
pub(crate) struct Forward {
    ports: Vec<u16>,
    _tasks: JoinSet<()>,
}

impl Forward {
    pub(super) fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("https://127.0.0.1:{port}")).collect()
    }
}

/// Finds a committee, and forwards to its gateways.
pub(super) async fn find(kube: &KubeOptions, committee: Option<&str>) -> Result<Found, Error> {
    let cluster = kube.connect().await.map_err(|error| format!("no --gateway is given, and {error}"))?;
    let committee = cluster.committee(committee).await?;
    let name = committee.metadata.name.unwrap_or_default();
    let mut data = secret(&cluster, &format!("{name}-gateway")).await?;
    let token = data.remove("token").map(String::from_utf8).transpose()?;
    let mut ca = data.remove("ca.crt");
    let given = committee.spec.gateway.tls_secret_name;
    if let Some(given) = &given {
        ca = secret(&cluster, given).await?.remove("ca.crt");
    }
    let forward = forward(&cluster.api(), &name).await?;
    Ok(Found { token, ca, user_given: given.is_some(), forward })
}

async fn secret(cluster: &Cluster, name: &str) -> Result<std::collections::BTreeMap<String, Vec<u8>>, Error> {
    let data = cluster.api::<Secret>().get_opt(name).await?.and_then(|secret| secret.data);
    Ok(data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
}

/// Ports to ready gateway pods.
async fn forward(pods: &Api<Pod>, committee: &str) -> Result<Forward, Error> {
    let selector = names::selector_text(committee, names::GATEWAY_COMPONENT);
    let found = pods.list(&ListParams::default().labels(&selector)).await?;
    let ready = found.items.into_iter().filter(is_ready).filter_map(|pod| pod.metadata.name).take(PODS);
    let (mut tasks, mut ports) = (JoinSet::new(), Vec::new());
    for pod in ready {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        ports.push(listener.local_addr()?.port());
        tasks.spawn(accept(listener, pods.clone(), pod));
    }
    if ports.is_empty() {
        return Err(format!("no gateway of committee {committee} is ready").into());
    }
    Ok(Forward { ports, _tasks: tasks })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready =
        conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

async fn accept(listener: TcpListener, pods: Api<Pod>, pod: String) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connect(stream, pods.clone(), pod.clone()));
    }
}

/// Joins a local connection and one to the pod. Where that fails, the local one ends, and the command tries again.
async fn connect(mut local: TcpStream, pods: Api<Pod>, pod: String) {
    let Ok(mut forwarder) = pods.portforward(&pod, &[HTTPS]).await else { return };
    if let Some(mut remote) = forwarder.take_stream(HTTPS) {
        let _ = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
    }
}
