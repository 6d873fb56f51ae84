//! A committee's gateways through the API server: its token, its certificate authority, and forwarded ports.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, ListParams},
    config::KubeConfigOptions,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::failure::BoxError as Error;

const HTTPS: u16 = 8443;
/// More pods than this needn't be forwarded to.
const PODS: usize = 2;

/// What the command line says.
pub(super) struct Asked {
    pub(super) context: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) committee: Option<String>,
}

pub(super) struct Found {
    pub(super) token: Option<String>,
    pub(super) ca: Option<Vec<u8>>,
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
pub(super) async fn find(asked: Asked) -> Result<Found, Error> {
    let options = KubeConfigOptions { context: asked.context.clone(), ..KubeConfigOptions::default() };
    let config = if asked.context.is_some() {
        Config::from_kubeconfig(&options).await?
    } else {
        Config::infer().await.map_err(|error| format!("no --gateway is given, and there is no kubeconfig: {error}"))?
    };
    let namespace = asked.namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config)?;
    let committee = match asked.committee {
        Some(name) => name,
        None => only_committee(&client, &namespace).await?,
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let data = secrets.get_opt(&format!("{committee}-gateway")).await?.and_then(|secret| secret.data);
    let mut data = data.unwrap_or_default();
    let token = data.remove("token").map(|token| String::from_utf8(token.0)).transpose()?;
    let ca = data.remove("ca.crt").map(|ca| ca.0);
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let forward = forward(&pods, &committee).await?;
    Ok(Found { token, ca, forward })
}

async fn only_committee(client: &Client, namespace: &str) -> Result<String, Error> {
    let resource = ApiResource {
        group: "weft.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "weft.dev/v1alpha1".to_owned(),
        kind: "StorageCommittee".to_owned(),
        plural: "storagecommittees".to_owned(),
    };
    let committees: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let found = committees.list(&ListParams::default()).await?;
    let mut names: Vec<String> = found.items.into_iter().filter_map(|committee| committee.metadata.name).collect();
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (None, _) => Err(format!("no StorageCommittee in namespace {namespace}").into()),
        (Some(last), false) => {
            names.push(last);
            Err(format!("choose with --committee: {}", names.join(", ")).into())
        }
    }
}

/// Ports to ready gateway pods.
async fn forward(pods: &Api<Pod>, committee: &str) -> Result<Forward, Error> {
    let selector = format!("weft.dev/committee={committee},app.kubernetes.io/component=gateway");
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
