//! The operator against a real API server: what it records and makes, before any member runs.

mod beyond;
mod budgets;
mod copies;
mod crashes;
mod epochs;
mod lease;
mod machines;
mod members;
mod paths;
mod returns;
mod revoking;
mod rewinds;
mod rights;
mod scenarios;
mod stage;
mod story;
mod watches;
mod wire;

use std::{
    error::Error,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret, Service},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{conditions, wait::await_condition},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use stage::{let_claims_go, take_away, trust, until};
use tokio::sync::Mutex;
use weft_crds::{Epoch, EpochPhase, StorageCommittee, StorageCommitteeStatus};
use weft_e2e::{ApiServer, Scenario, Snapshot};
use weft_operator::{
    act::term::TermError,
    api::Object,
    context::Context,
    controller,
    env::{Env, SystemEnv},
    reconcile::{Next, ReconcileError, reconcile},
    telemetry::Telemetry,
};

type Outcome = Result<(), Box<dyn Error>>;

const NAMESPACE: &str = "default";

const ESTABLISHED: Duration = Duration::from_secs(60);

/// The operator's own.
const HOME: &str = "weft-system";

/// An API server with Weft's definitions.
struct Bench {
    server: Arc<ApiServer>,
    client: Client,
    namespace: String,
    /// Member and incarnation whose pods never start.
    held_back: Option<(u32, u32)>,
}

impl Bench {
    /// One of its own, for what a test does to all of it.
    async fn start() -> Result<Self, Box<dyn Error>> {
        let server = Arc::new(prepared().await?);
        let client = Client::try_from(config(&server).await?)?;
        Ok(Self { server, client, namespace: NAMESPACE.to_owned(), held_back: None })
    }

    /// A namespace on the one that tests share: it ends with the last of those that use it at a time.
    async fn shared(namespace: &str) -> Result<Self, Box<dyn Error>> {
        static SERVER: Mutex<Weak<ApiServer>> = Mutex::const_new(Weak::new());
        let mut shared = SERVER.lock().await;
        let server = match shared.upgrade() {
            Some(server) => server,
            None => Arc::new(prepared().await?),
        };
        *shared = Arc::downgrade(&server);
        drop(shared);
        let client = Client::try_from(config(&server).await?)?;
        make_namespace(&client, namespace).await?;
        Ok(Self { server, client, namespace: namespace.to_owned(), held_back: None })
    }

    /// The same API server, for a story in another namespace.
    fn beside(&self, namespace: &str) -> Self {
        let (server, client) = (self.server.clone(), self.client.clone());
        Self { server, client, namespace: namespace.to_owned(), held_back: None }
    }

    /// What the API server holds, which is this story's alone.
    fn snapshot(&mut self) -> Result<Snapshot, Box<dyn Error>> {
        let server = Arc::get_mut(&mut self.server).ok_or("others use the API server")?;
        Ok(tokio::task::block_in_place(|| server.snapshot())?)
    }

    /// Sets the API server back.
    fn restore(&mut self, snapshot: &Snapshot) -> Outcome {
        let server = Arc::get_mut(&mut self.server).ok_or("others use the API server")?;
        Ok(tokio::task::block_in_place(|| server.restore(snapshot))?)
    }

    /// An operator as it begins to lead.
    fn operator(&self) -> Context {
        self.operator_with(Arc::new(SystemEnv))
    }

    fn operator_with(&self, env: Arc<dyn Env>) -> Context {
        operator(self.client.clone(), env)
    }

    async fn apply(&self, name: &str, more: &str) -> Outcome {
        self.apply_sized(name, 7, more).await
    }

    async fn apply_sized(&self, name: &str, members: u32, more: &str) -> Outcome {
        let manifest = format!(
            "{{apiVersion: weft.dev/v1alpha1, kind: StorageCommittee, metadata: {{name: {name}}}, \
             spec: {{members: {members}, storage: {{size: 1Gi}}{more}}}}}"
        );
        apply(&self.api::<StorageCommittee>(), name, &serde_yaml::from_str(&manifest)?).await
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn committee(&self, name: &str) -> Result<StorageCommittee, Box<dyn Error>> {
        Ok(self.api::<StorageCommittee>().get(name).await?)
    }

    async fn list<K: Object>(&self) -> Result<Vec<K>, Box<dyn Error>> {
        Ok(self.api::<K>().list(&ListParams::default()).await?.items)
    }

    async fn count<K: Object>(&self) -> Result<usize, Box<dyn Error>> {
        Ok(self.api::<K>().list(&ListParams::default().labels("weft.dev/committee")).await?.items.len())
    }
}

/// An API server with Weft's definitions, and the operator's namespace.
async fn prepared() -> Result<ApiServer, Box<dyn Error>> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let server = tokio::task::spawn_blocking(ApiServer::start).await??;
    let client = Client::try_from(config(&server).await?)?;
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in weft_crds::definitions()? {
        let name = format!("{}.weft.dev", definition.plural);
        apply(&crds, &name, &definition.object).await?;
        let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISHED, established).await??;
    }
    make_namespace(&client, HOME).await?;
    Ok(server)
}

/// As kubectl does it.
async fn apply<K>(api: &Api<K>, name: &str, manifest: &Value) -> Outcome
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    api.patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(manifest)).await?;
    Ok(())
}

async fn make_namespace(client: &Client, name: &str) -> Outcome {
    let mut wanted = Namespace::default();
    wanted.metadata.name = Some(name.to_owned());
    Api::all(client.clone()).create(&PostParams::default(), &wanted).await?;
    Ok(())
}

/// How an administrator reaches an API server.
async fn config(server: &ApiServer) -> Result<Config, Box<dyn Error>> {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig())?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// An operator as it begins to lead.
fn operator(client: Client, env: Arc<dyn Env>) -> Context {
    operator_of(client, env, "example.com/weft:1")
}

/// One that comes with this image.
fn operator_of(client: Client, env: Arc<dyn Env>, image: &str) -> Context {
    let (stores, _) = controller::stores(&client);
    Context::new(client, env, stores, Telemetry::new(), ("test", HOME), image.to_owned())
}

/// Reconciles until the pods of all members are made, which takes a few rounds: each is one step of the story.
async fn settle(operator: &Context, bench: &Bench, name: &str) -> Outcome {
    for _ in 0..6 {
        reconcile(operator, &bench.namespace, name).await?;
        if bench.count::<Pod>().await? == 7 {
            break;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimal_committee_gets_its_fleet_and_objects() -> Outcome {
    let bench = Bench::shared("a-minimal-committee-gets-its-fleet-and").await?;
    let operator = bench.operator();
    bench.apply("demo", "").await?;
    settle(&operator, &bench, "demo").await?;

    let committee = bench.committee("demo").await?;
    let status = committee.status.clone().ok_or("no status")?;
    assert_eq!(status.term, Some(1));
    assert_eq!(status.fleet_id.map(|fleet| fleet.len()), Some(32));
    assert_eq!(status.encoding.map(|code| (code.shards, code.fault_tolerance)), Some((28, 9)));
    assert_eq!(status.image.as_deref(), Some("example.com/weft:1"));
    assert_eq!(status.members.len(), 7);
    assert_eq!((bench.count::<Pod>().await?, bench.count::<PersistentVolumeClaim>().await?), (7, 7));
    assert_eq!(bench.count::<Service>().await?, 2);
    assert_eq!(bench.count::<Deployment>().await?, 1);

    let pod = bench.api::<Pod>().get("demo-3-1-1").await?;
    assert_eq!(pod.spec.and_then(|spec| spec.hostname).as_deref(), Some("demo-3-1"));
    let secret = bench.api::<Secret>().get("demo-3-1-tls").await?;
    let keys: Vec<String> = secret.data.unwrap_or_default().into_keys().collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_leader_is_fenced() -> Outcome {
    let bench = Bench::shared("an-older-leader-is-fenced").await?;
    bench.apply("demo", "").await?;
    let (old, new) = (bench.operator(), bench.operator());
    reconcile(&old, &bench.namespace, "demo").await?;
    reconcile(&new, &bench.namespace, "demo").await?;
    let before = bench.committee("demo").await?.resource_version();

    let refused = reconcile(&old, &bench.namespace, "demo").await.expect_err("an old term");
    assert!(
        matches!(refused, ReconcileError::Term(TermError::Fenced { ours: 1, theirs: 2 })),
        "refused, but because of {refused:?}"
    );
    assert_eq!(bench.committee("demo").await?.resource_version(), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_object_stalls_no_healthy_one() -> Outcome {
    let bench = Bench::start().await?;
    // An older definition let in what the present types can't read.
    let loose = serde_json::json!([{"op": "replace",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        {"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations"}]);
    let patch = loose.to_string();
    let kubectl = bench.server.kubectl();
    kubectl.run(&["patch", "crd", "storagecommittees.weft.dev", "--type=json", "-p", &patch])?;
    kubectl.apply(
        "{apiVersion: weft.dev/v1alpha1, kind: StorageCommittee, metadata: {name: odd, namespace: default}, \
         spec: {members: 7}}",
    )?;
    bench.apply("demo", "").await?;
    let context = Arc::new(bench.operator());
    let (_, nodes) = controller::stores(&bench.client);
    let running = tokio::spawn(controller::run(context, bench.client.clone(), None, nodes));
    let minted = |committee: Option<&StorageCommittee>| {
        committee.and_then(|committee| committee.status.as_ref()).is_some_and(|status| status.fleet_id.is_some())
    };
    let waited = kube::runtime::wait::await_condition(bench.api::<StorageCommittee>(), "demo", minted);
    tokio::time::timeout(std::time::Duration::from_secs(60), waited).await??;
    running.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_committee_leaves_claims_and_keys() -> Outcome {
    let scenario = Scenario::begins("a_deleted_committee_leaves_claims_and_keys", &[24]);
    let bench = Bench::shared("a-deleted-committee-leaves-claims-and-keys").await?;
    let operator = bench.operator();
    bench.apply("demo", "").await?;
    settle(&operator, &bench, "demo").await?;
    bench.api::<StorageCommittee>().delete("demo", &DeleteParams::default()).await?;
    assert_eq!(reconcile(&operator, &bench.namespace, "demo").await?, Next::Change);

    // No garbage collector runs here: what has no owner is what it would leave.
    let claims = bench.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
    assert_eq!(claims.items.iter().filter(|claim| claim.owner_references().is_empty()).count(), 7);
    assert!(bench.api::<Secret>().get("demo-ca").await?.owner_references().is_empty());
    assert_eq!(bench.api::<Secret>().get("demo-gateway").await?.owner_references().len(), 1);
    let pods = bench.api::<Pod>().list(&ListParams::default()).await?;
    assert!(pods.items.iter().all(|pod| pod.owner_references().len() == 1));

    let fleet = bench.api::<Secret>().get("demo-ca").await?.annotations()["weft.dev/fleet"].clone();
    assert_eq!(
        spare_keys(&bench, &fleet).await?.map(|spare| spare.data),
        Some(bench.api::<Secret>().get("demo-ca").await?.data)
    );

    // A namesake would be another fleet: it stands still rather than take these keys for its own.
    bench.apply("demo", "").await?;
    let (reason, message) = stalls(&bench, &operator).await?;
    assert_eq!(reason, "DataKept");
    assert!(message.contains("Secret demo-ca to claim demo-6-1, 8 objects"), "{message}");
    assert_eq!(stalls(&bench, &operator).await?, (reason, message), "what is told doesn't change");
    // Two candidates are refused, and so is data whose keys are gone.
    let claims = bench.api::<PersistentVolumeClaim>();
    let other = serde_json::json!({"metadata": {"annotations": {"weft.dev/fleet": "0".repeat(32)}}});
    claims.patch("demo-3-1", &PatchParams::default(), &Patch::Merge(other)).await?;
    let (reason, message) = stalls(&bench, &operator).await?;
    assert_eq!(reason, "SeveralFleets");
    assert!(message.contains(&format!("{:?} (claim demo-3-1)", "0".repeat(32))), "{message}");
    claims.delete("demo-3-1", &DeleteParams::default()).await?;
    let_claims_go(&bench).await?;
    bench.api::<Secret>().delete("demo-ca", &DeleteParams::default()).await?;
    let (reason, message) = stalls(&bench, &operator).await?;
    assert_eq!(reason, "NoKeys");
    assert!(
        message.contains(&format!("kubectl weft adopt demo --namespace {} --fleet {fleet}", bench.namespace)),
        "{message}"
    );
    scenario.ends();
    Ok(())
}

/// The copy of a fleet's keys that the operator keeps.
async fn spare_keys(bench: &Bench, fleet: &str) -> Result<Option<Secret>, Box<dyn Error>> {
    let kept: Api<Secret> = Api::namespaced(bench.client.clone(), HOME);
    Ok(kept.get_opt(&format!("weft-keys-{fleet}")).await?)
}

/// Why a committee that has no fleet yet waits for a person: reason and message.
async fn stalls(bench: &Bench, operator: &Context) -> Result<(String, String), Box<dyn Error>> {
    reconcile(operator, &bench.namespace, "demo").await.expect_err("another fleet's objects are there");
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    assert_eq!((status.fleet_id, status.encoding), (None, None));
    let stalled = status.conditions.into_iter().find(|said| said.type_ == "Stalled").ok_or("not told")?;
    assert_eq!(stalled.status, "True");
    Ok((stalled.reason, stalled.message))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_begins_and_mends_the_loss_of_a_member() -> Outcome {
    let bench = Bench::shared("a-fleet-begins-and-mends-the-loss").await?;
    bench.apply("demo", ", epochs: {settle: 10s}").await?;
    let first = bench.operator();
    settle(&first, &bench, "demo").await?;
    // Another leader takes over: what it knows is what status and members tell it.
    let operator = bench.operator_with(Arc::new(members::Fleet::new(trust(&bench).await?)));
    let status = until(&operator, &bench, "a first view", |status| status.view.is_some()).await?;
    let view = status.view.ok_or("no view")?;
    assert_eq!((view.predecessor, view.in_effect, view.members.len()), (None, true, 7));
    assert_eq!(status.term, Some(2));

    take_away(&bench, 2).await?;
    let custody =
        |status: &StorageCommitteeStatus| -> usize { status.members.iter().map(|member| member.custody.len()).sum() };
    let status = until(&operator, &bench, "the lost member's four shards in custody", |status| {
        status.view.as_ref().is_some_and(|view| view.revision == 1 && view.in_effect) && custody(status) == 4
    })
    .await?;
    assert!(status.view.is_some_and(|view| view.members.iter().all(|member| member.id != 2)));

    let epochs = bench.api::<Epoch>().list(&ListParams::default()).await?.items;
    keeps_its_keys(&bench, &operator).await?;
    let phases: Vec<Option<EpochPhase>> = epochs.into_iter().map(|epoch| epoch.status.and_then(|s| s.phase)).collect();
    assert!(!phases.is_empty() && phases.iter().all(Option::is_some), "{phases:?}");
    Box::pin(adopts_again(&bench, &operator)).await
}

/// Keys that members trust are never made anew: where they are gone, a person has to restore them.
async fn keeps_its_keys(bench: &Bench, operator: &Context) -> Outcome {
    let secrets = bench.api::<Secret>();
    let kept = secrets.get("demo-ca").await?;
    secrets.delete("demo-ca", &DeleteParams::default()).await?;
    reconcile(operator, &bench.namespace, "demo").await.expect_err("no keys");
    assert!(secrets.get_opt("demo-ca").await?.is_none());
    let status = bench.committee("demo").await?.status.ok_or("no status")?;
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").ok_or("not told")?;
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "NoKeys"));
    let mut restored = kept.clone();
    restored.metadata.resource_version = None;
    restored.metadata.uid = None;
    secrets.create(&PostParams::default(), &restored).await?;
    Ok(())
}

/// The committee is deleted, and made again by someone who knows nothing of its fleet, and wants a member more: told what
/// to do, and doing it, takes claims, keys, members and code up.
async fn adopts_again(bench: &Bench, operator: &Context) -> Outcome {
    let before = bench.committee("demo").await?.status.ok_or("no status")?;
    let fleet = before.fleet_id.ok_or("no fleet")?;
    bench.api::<StorageCommittee>().delete("demo", &DeleteParams::default()).await?;
    // The garbage collector's work.
    let all = ListParams::default().labels("weft.dev/committee=demo");
    bench.api::<Pod>().delete_collection(&DeleteParams::default(), &all).await?;
    bench.api::<Epoch>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    bench.apply_sized("demo", 8, ", epochs: {settle: 10s}").await?;
    let (reason, message) = stalls(bench, operator).await?;
    assert_eq!(reason, "DataKept");
    assert!(message.contains(&format!("set spec.fleetId to {fleet}:")), "{message}");
    let (_, command) = message.split_once("kubectl ").ok_or("no command")?;
    let (command, _) = command.split_once(". ").ok_or("no end of the command")?;
    // As the shell takes it.
    let command = command.replace('\'', "");
    let words: Vec<&str> = command.split_whitespace().collect();
    tokio::task::block_in_place(|| bench.server.kubectl().run(&words))?;

    let status = until(operator, bench, "its view again", |status| status.view.is_some()).await?;
    let status = match status.encoding {
        Some(_) => status,
        None => until(operator, bench, "its code again", |status| status.encoding.is_some()).await?,
    };
    assert_eq!(status.encoding.map(|code| (code.shards, code.fault_tolerance)), Some((28, 9)));
    assert_eq!(status.fleet_id.as_ref(), Some(&fleet));
    assert!(status.term > before.term, "{:?} follows {:?}", status.term, before.term);
    let hash = |view: Option<weft_crds::View>| view.map(|view| view.hash);
    assert_eq!(hash(status.view), hash(before.view));
    Ok(())
}
