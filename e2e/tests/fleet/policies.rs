//! Network policies, enforced: whoever has to reach members does, and nobody else; and members reach nobody else. Each flow that is
//! denied passes while the policies are gone, so it is they that deny it.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use weft_e2e::demo::{DemoError, Run, Scale, Stage, compare, delete_namespace};
use weft_e2e::{Enforcer, connect_from};

use crate::scenarios::or_dump;
use crate::settle::{LIMIT, kubectl, margin, margins, pause, resume, settled};
use crate::theatre::{Outcome, Theatre};

const NAMESPACE: &str = "policies";
const ELSEWHERE: &str = "policies-elsewhere";
const SCALE: Scale = Scale { members: 4, bytes: 400_000, files: 6, ..Scale::SMALL };

const GRPC: u16 = 7410;
const ADMIN: u16 = 7411;
const HTTPS: u16 = 8443;
const DNS: u16 = 53;
/// Of every stranger.
const WEB: u16 = 8080;

/// What is denied is told at once; this is for what gets no answer at all.
const ANSWER: Duration = Duration::from_secs(10);

/// Strangers in the committee's namespace: one without labels, and a member of another committee.
const NEIGHBOURS: [(&str, &str); 2] =
    [("stranger", ""), ("other", "weft.dev/committee: other, app.kubernetes.io/component: member")];
/// Strangers in another one: a member of a committee of the same name, and what looks like an operator.
const NAMESAKES: [(&str, &str); 2] = [
    ("namesake", "weft.dev/committee: demo, app.kubernetes.io/component: member"),
    (
        "impostor",
        "app.kubernetes.io/name: weft, app.kubernetes.io/instance: weft, app.kubernetes.io/component: operator",
    ),
];

pub(crate) fn hold(theatre: &Theatre) -> Outcome {
    let (stage, enforcer) = (theatre.stage()?, theatre.enforcer()?);
    theatre.wait(async {
        for (namespace, pods) in [(NAMESPACE, NEIGHBOURS), (ELSEWHERE, NAMESAKES)] {
            stage.apply(strangers(namespace, &pods)).await?;
        }
        let run = theatre.run(NAMESPACE, SCALE).await?;
        or_dump(&run, Box::pin(play(&run, &enforcer))).await?;
        run.fleet.delete().await?;
        delete_namespace(&stage, ELSEWHERE).await?;
        Ok(())
    })
}

/// A namespace, and pods in it that listen.
fn strangers(namespace: &str, pods: &[(&str, &str)]) -> String {
    let pod = |(name, labels): &(&str, &str)| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}, \
             spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: it, image: 'localhost/busybox:1', \
             command: [sh, -c, 'exec httpd -f -p {WEB} -h /']}}]}}}}\n"
        )
    };
    let pods: String = pods.iter().map(pod).collect();
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}\n{pods}")
}

async fn play(run: &Run, enforcer: &Enforcer) -> Outcome {
    let cast = Cast::find(run).await?;
    let guarded = cast.guarded();
    let all = |found: &BTreeSet<Ipv4Addr>| guarded.is_subset(found);
    let (allowed, denied) = (cast.allowed(), cast.denied());
    enforcer.until("all of the committee guarded", LIMIT, all).await?;
    pass(&allowed).await?;
    fail(&denied, enforcer).await?;

    // While the operator only watches it puts nothing right.
    pause(run).await?;
    kubectl(run, &["delete", "networkpolicies", "--selector", "weft.dev/committee=demo"]).await?;
    enforcer.until("nobody of it guarded", LIMIT, |found| guarded.is_disjoint(found)).await?;
    pass(&denied).await?;
    resume(run).await?;
    enforcer.until("all of the committee guarded again", LIMIT, all).await?;
    pass(&allowed).await?;
    fail(&denied, enforcer).await?;

    // The operator may be killed by other scenarios meanwhile: that it reaches members is to be seen by what it says of them.
    settled(run, "full margins", |snapshot| margins(snapshot) == Some(margin(snapshot, 0))).await?;
    let wrong = compare(&run.fleet, &run.gateway, &run.stored).await;
    assert_eq!(wrong, Vec::<String>::new());
    println!("{} flows that passed, {} that were denied, each twice", allowed.len(), denied.len());
    Ok(())
}

/// Where connections begin.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    worker: usize,
    process: u32,
    address: Ipv4Addr,
}

impl Place {
    async fn of(stage: &Stage, pod: &Pod) -> Result<Self, DemoError> {
        let name = pod.name_any();
        let unfit = || DemoError::Unfit(format!("{} runs on none of the workers", pod.name_any()));
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).ok_or_else(unfit)?;
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
        let (namespace, pod_name) = (pod.namespace().unwrap_or_default(), name.clone());
        let found = stage.with_cluster(move |cluster| {
            let Some(worker) = cluster.worker_of_node(&node) else { return Ok(None) };
            let processes = cluster.pod_processes(worker, &namespace, &pod_name)?;
            Ok(processes.first().map(|process| (worker, *process)))
        });
        let (worker, process) = found.await?.ok_or_else(unfit)?;
        Ok(Self { name, worker, process, address: address.ok_or_else(unfit)? })
    }

    fn port(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }
}

/// A connection that somebody begins; and the worker that denies it, if it is denied.
struct Flow {
    from: Place,
    to: SocketAddr,
    denied_by: usize,
}

impl Flow {
    async fn try_it(&self) -> Result<io::Result<()>, DemoError> {
        let (process, to) = (self.from.process, self.to);
        Ok(tokio::task::spawn_blocking(move || connect_from(process, to, ANSWER)).await?)
    }
}

async fn pass(flows: &[Flow]) -> Outcome {
    for flow in flows {
        let result = flow.try_it().await?;
        assert!(result.is_ok(), "{} to {}: {result:?}", flow.from.name, flow.to);
    }
    Ok(())
}

async fn fail(flows: &[Flow], enforcer: &Enforcer) -> Outcome {
    for flow in flows {
        let before = enforcer.denied(flow.denied_by)?;
        let result = flow.try_it().await?;
        let told = result.as_ref().map_err(io::Error::kind);
        assert_eq!(told, Err(io::ErrorKind::ConnectionRefused), "{} to {}", flow.from.name, flow.to);
        let after = enforcer.denied(flow.denied_by)?;
        assert!(after > before, "{} to {}: refused, and not by the firewall", flow.from.name, flow.to);
    }
    Ok(())
}

/// Everybody who plays.
struct Cast {
    members: Vec<Place>,
    gateways: Vec<Place>,
    strangers: Vec<Place>,
    /// By the address of its Service, and by its own, which is no pod's.
    api: [SocketAddr; 2],
    dns: SocketAddr,
}

impl Cast {
    async fn find(run: &Run) -> Result<Self, Box<dyn Error>> {
        let stage = run.fleet.stage();
        for (namespace, pods) in [(NAMESPACE, NEIGHBOURS), (ELSEWHERE, NAMESAKES)] {
            let names = pods.map(|(name, _)| format!("pod/{name}"));
            let limit = format!("--timeout={}s", LIMIT.as_secs());
            let wait = ["--namespace", namespace, "wait", "--for=condition=Ready", &names[0], &names[1], &limit];
            stage.kubectl(&wait).await?;
        }
        let mut strangers = Vec::new();
        for (namespace, pods) in [(NAMESPACE, NEIGHBOURS), (ELSEWHERE, NAMESAKES)] {
            for (name, _) in pods {
                let pods = Api::<Pod>::namespaced(stage.client().clone(), namespace);
                strangers.push(Place::of(stage, &pods.get(name).await?).await?);
            }
        }
        let component = |name: &str| format!("weft.dev/committee=demo,app.kubernetes.io/component={name}");
        let services = |namespace: &str| Api::<Service>::namespaced(stage.client().clone(), namespace);
        let address = |service: Service| -> Option<Ipv4Addr> { service.spec?.cluster_ip?.parse().ok() };
        let api = address(services("default").get("kubernetes").await?).ok_or("the API server's address")?;
        let dns = address(services("kube-system").get("kube-dns").await?).ok_or("the address of DNS")?;
        let path = "jsonpath={.clusters[0].cluster.server}";
        let server = stage.kubectl(&["config", "view", "--minify", "-o", path]).await?;
        Ok(Self {
            members: places(stage, NAMESPACE, &component("member")).await?,
            gateways: places(stage, NAMESPACE, &component("gateway")).await?,
            strangers,
            api: [(api, 443).into(), server.trim_start_matches("https://").parse()?],
            dns: (dns, DNS).into(),
        })
    }

    fn guarded(&self) -> BTreeSet<Ipv4Addr> {
        self.members.iter().chain(&self.gateways).map(|place| place.address).collect()
    }

    /// Members that are connected to: on one machine and on another, so that some are on that of whoever connects and
    /// some aren't.
    fn targets(&self) -> Vec<&Place> {
        let first = &self.members[0];
        let other = self.members.iter().find(|member| member.worker != first.worker);
        std::iter::once(first).chain(other).collect()
    }

    fn allowed(&self) -> Vec<Flow> {
        let targets = self.targets();
        let peer = self.members.iter().find(|member| targets.iter().all(|target| target.address != member.address));
        let (peer, stranger) = (peer.expect("a third member"), &self.strangers[0]);
        let mut flows = Vec::new();
        for target in targets {
            flows.extend([peer, &self.gateways[0]].map(|from| between(from, target, GRPC)));
            flows.push(between(stranger, target, ADMIN));
        }
        for gateway in &self.gateways {
            flows.extend([HTTPS, ADMIN].map(|port| between(stranger, gateway, port)));
            flows.push(out(gateway, self.dns));
        }
        flows
    }

    fn denied(&self) -> Vec<Flow> {
        let mut flows = Vec::new();
        for target in self.targets() {
            flows.extend(self.strangers.iter().map(|stranger| between(stranger, target, GRPC)));
        }
        for from in [&self.members[0], &self.gateways[0]] {
            flows.extend(self.api.map(|api| out(from, api)));
            flows.extend(self.strangers.iter().map(|stranger| out(from, stranger.port(WEB))));
        }
        flows.push(out(&self.members[0], self.dns));
        flows.extend([HTTPS, ADMIN].map(|port| out(&self.members[0], self.gateways[0].port(port))));
        flows
    }
}

/// It is for the machine of whoever is connected to, to deny it.
fn between(from: &Place, to: &Place, port: u16) -> Flow {
    Flow { from: from.clone(), to: to.port(port), denied_by: to.worker }
}

/// It is for the machine of whoever connects, to deny it.
fn out(from: &Place, to: SocketAddr) -> Flow {
    Flow { from: from.clone(), to, denied_by: from.worker }
}

/// The pods with these labels that aren't going away.
async fn places(stage: &Stage, namespace: &str, labels: &str) -> Result<Vec<Place>, Box<dyn Error>> {
    let pods = Api::<Pod>::namespaced(stage.client().clone(), namespace);
    let mut places = Vec::new();
    for pod in pods.list(&ListParams::default().labels(labels)).await? {
        if pod.metadata.deletion_timestamp.is_none() {
            places.push(Place::of(stage, &pod).await?);
        }
    }
    Ok(places)
}
