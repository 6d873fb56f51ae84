//! What a run stands on: etcd, API server, KWOK with its Nodes, and the operator's own program.

use std::{fs, path::Path};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::{
    Api, Client, Config, ResourceExt,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::task::block_in_place;
use weft_crds::StorageCommittee;
use weft_e2e::{ApiServer, AuditLog, Beside, Parts, Port};

use crate::{Failure, MEMBERS};

/// The operator to the API server, which writes down what it calls for.
const OPERATOR: &str = "weft-operator";
const HOME: &str = "weft-system";
const STAGES: &str = include_str!("stages.yaml");

/// As many pods as a Node has where it is as full as Kubernetes advises, and enough Nodes for one committee.
const PODS_OF_A_NODE: usize = 100;
const LEAST_NODES: usize = 10;
const ZONES: usize = 5;
/// Teams that share a cluster have a namespace each.
const COMMITTEES_OF_A_NAMESPACE: usize = 10;
/// Objects that are made at a time.
const TOGETHER: usize = 8;

/// It ends when it is dropped.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) nodes: Vec<String>,
    kwok: Beside,
    admin: Port,
    server: ApiServer,
}

impl Cluster {
    /// Starts it, with room for so many committees, and without the operator.
    pub(crate) async fn start(committees: usize) -> Result<Self, Failure> {
        let server = block_in_place(|| ApiServer::audited(OPERATOR))?;
        let config = Kubeconfig::read_from(server.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let count = (committees * usize::from(MEMBERS)).div_ceil(PODS_OF_A_NODE).max(LEAST_NODES);
        let nodes = (0..count).map(|number| format!("node-{number}")).collect();
        let kwok = block_in_place(|| prepare(&server))?;
        let cluster = Self { client, nodes, kwok, admin: Port::hold()?, server };
        cluster.make_nodes().await?;
        let ready = ["wait", "node", "--all", "--for=condition=Ready", "--timeout=60s"];
        let waited = block_in_place(|| cluster.server.kubectl().run(&ready));
        waited.map_err(|error| format!("{error}; KWOK says:\n{}", cluster.kwok.last_words()))?;
        Ok(cluster)
    }

    /// Starts the operator.
    pub(crate) fn operator(&self) -> Result<Beside, Failure> {
        let admin = self.admin.address().to_string();
        let arguments = ["run", "--node-image", "example.com/weft:1", "--namespace", HOME, "--admin", &admin];
        let kubeconfig = self.server.kubeconfig_of(OPERATOR)?;
        let program = Path::new(env!("CARGO_BIN_EXE_weft-operator"));
        Ok(self.server.start_beside(OPERATOR, program, &kubeconfig, &arguments.map(str::to_owned))?)
    }

    /// What the operator calls for from now on.
    pub(crate) fn audit_log(&self) -> AuditLog {
        self.server.audit_log()
    }

    /// Asks for so many committees.
    pub(crate) async fn make_committees(&self, count: usize) -> Result<(), Failure> {
        let namespaces = (0..count.div_ceil(COMMITTEES_OF_A_NAMESPACE)).map(|number| async move {
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": format!("team-{number}")}}))?;
            create(&Api::all(self.client.clone()), &namespace).await
        });
        stream::iter(namespaces).buffer_unordered(TOGETHER).try_collect::<()>().await?;
        let committees = (0..count).map(|number| async move {
            let (team, fleet) = (number / COMMITTEES_OF_A_NAMESPACE, number % COMMITTEES_OF_A_NAMESPACE);
            let committee: StorageCommittee = serde_json::from_value(json!({
                "apiVersion": "weft.dev/v1alpha1", "kind": "StorageCommittee",
                "metadata": {"name": format!("fleet-{fleet}")},
                // No Deployment would get its pods here.
                "spec": {"members": MEMBERS, "storage": {"size": "1Gi"}, "gateway": {"replicas": 0}},
            }))?;
            create(&Api::namespaced(self.client.clone(), &format!("team-{team}")), &committee).await
        });
        stream::iter(committees).buffer_unordered(TOGETHER).try_collect::<()>().await
    }

    async fn make_nodes(&self) -> Result<(), Failure> {
        let nodes = self.nodes.iter().enumerate().map(|(number, name)| async move {
            let zone = format!("zone-{}", number % ZONES);
            let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone});
            let node: Node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
            create(&Api::all(self.client.clone()), &node).await
        });
        stream::iter(nodes).buffer_unordered(TOGETHER).try_collect::<()>().await
    }
}

async fn create<K>(api: &Api<K>, object: &K) -> Result<(), Failure>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let made = api.create(&PostParams::default(), object).await;
    made.map_err(|error| format!("make {}: {error}", object.name_any()))?;
    Ok(())
}

/// Makes the definitions, the operator's namespace and rights, and starts KWOK.
fn prepare(server: &ApiServer) -> Result<Beside, Failure> {
    let kubectl = server.kubectl();
    for definition in weft_crds::definitions()? {
        kubectl.apply(&definition.object.to_string())?;
    }
    kubectl.run(&["wait", "crd", "--all", "--for=condition=Established", "--timeout=60s"])?;
    kubectl.run(&["create", "namespace", HOME])?;
    // What the chart grants is tried in `operator/tests/rights`.
    kubectl.run(&["create", "clusterrolebinding", OPERATOR, "--clusterrole=cluster-admin", "--user", OPERATOR])?;
    let stages = server.kubeconfig().with_file_name("stages.yaml");
    fs::write(&stages, STAGES)?;
    let arguments = [
        format!("--kubeconfig={}", server.kubeconfig().display()),
        format!("--config={}", stages.display()),
        "--manage-all-nodes=true".to_owned(),
    ];
    let program = Parts::locate()?.path("kwok")?;
    Ok(server.start_beside("kwok", &program, server.kubeconfig(), &arguments)?)
}
