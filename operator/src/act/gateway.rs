//! The gateways' Deployment.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Affinity, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, PodAffinityTerm, PodAntiAffinity,
            PodSpec, PodTemplateSpec, ResourceRequirements, Volume, WeightedPodAffinityTerm,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use weft_crds::Access;
use weft_protocol::{FleetId, PublicKey};

use crate::{act::shape, names, subject::Subject};

const COMPONENT: &str = names::GATEWAY_COMPONENT;
/// A gateway has no data: one on a silent node is replaced soon.
const SILENCE_SECONDS: i64 = 15;

/// The gateways. `trust` is the key that views are signed with.
pub fn deployment(subject: &Subject, fleet: FleetId, trust: PublicKey) -> Deployment {
    let mut labels = names::labels(&subject.name);
    labels.insert(names::COMPONENT.to_owned(), COMPONENT.to_owned());
    let metadata = ObjectMeta {
        name: Some(names::gateway(&subject.name)),
        namespace: Some(subject.namespace.name.clone()),
        labels: Some(labels.clone()),
        owner_references: Some(vec![subject.owner()]),
        ..ObjectMeta::default()
    };
    let rolling = RollingUpdateDeployment { max_unavailable: Some(IntOrString::Int(0)), max_surge: None };
    Deployment {
        metadata,
        spec: DeploymentSpec {
            replicas: Some(subject.spec.gateway.replicas as i32),
            selector: names::selector(&subject.name, COMPONENT),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(rolling),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod(subject, fleet, trust)),
            },
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

fn pod(subject: &Subject, fleet: FleetId, trust: PublicKey) -> PodSpec {
    let mut volumes = vec![
        shape::secret_volume("tls", &names::gateway_tls(&subject.name)),
        shape::secret_volume("tokens", &names::gateway(&subject.name)),
        Volume { name: "tmp".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
    ];
    let mut mounts = vec![
        shape::mount("tls", "/tls", true),
        shape::mount("tokens", "/tokens", true),
        shape::mount("tmp", "/tmp", false),
    ];
    let mut env = environment(subject, fleet, trust);
    if let Some(secret) = &subject.spec.gateway.tls_secret_name {
        volumes.push(shape::secret_volume("serving-tls", secret));
        mounts.push(shape::mount("serving-tls", "/serving-tls", true));
        env.push(shape::env("WEFT_SERVING_TLS_DIR", "/serving-tls"));
    }
    env.extend(shape::spans(subject.spec.tracing.as_ref()));
    let container = Container {
        name: "gateway".to_owned(),
        image: Some(subject.image().to_owned()),
        command: Some(vec!["/bin/weft-node".to_owned(), "gateway".to_owned()]),
        env: Some(env),
        ports: Some(ports(subject.spec.gateway.access)),
        volume_mounts: Some(mounts),
        resources: Some(resources()),
        startup_probe: Some(shape::probe("/livez", 1, 60)),
        liveness_probe: Some(shape::probe("/livez", 10, 6)),
        readiness_probe: Some(shape::probe("/readyz", 2, 2)),
        security_context: Some(shape::container_security()),
        ..Container::default()
    };
    PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        affinity: Some(apart(subject)),
        tolerations: Some(shape::tolerate_silence(Some(SILENCE_SECONDS))),
        security_context: Some(shape::pod_security()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(30),
        ..PodSpec::default()
    }
}

fn environment(subject: &Subject, fleet: FleetId, trust: PublicKey) -> Vec<EnvVar> {
    let members = names::members_service(&subject.name);
    let access = match subject.spec.gateway.access {
        Access::Token => "Token",
        Access::Open => "Open",
    };
    vec![
        shape::env("WEFT_SEEDS", format!("{members}.{}.svc:{}", subject.namespace.name, names::MEMBER_PORT)),
        shape::env("WEFT_FLEET", fleet.to_string()),
        shape::env("WEFT_TRUST_KEY", trust.to_string()),
        shape::env("WEFT_TLS_DIR", "/tls"),
        shape::env("WEFT_TOKEN_DIR", "/tokens"),
        shape::env("WEFT_ACCESS", access),
    ]
}

fn ports(access: Access) -> Vec<ContainerPort> {
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        ..ContainerPort::default()
    };
    let mut ports = vec![port("https", names::HTTPS_PORT), port("admin", names::ADMIN_PORT)];
    if access == Access::Open {
        ports.push(port("http", names::HTTP_PORT));
    }
    ports
}

fn resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), Quantity((*value).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: quantities(&[("cpu", "100m"), ("memory", "128Mi")]),
        limits: quantities(&[("memory", "512Mi")]),
        claims: None,
    }
}

/// Gateways keep apart, by zone and by host, as far as the nodes at hand allow.
fn apart(subject: &Subject) -> Affinity {
    let term = |weight, key: &str| WeightedPodAffinityTerm {
        weight,
        pod_affinity_term: PodAffinityTerm {
            label_selector: Some(names::selector(&subject.name, COMPONENT)),
            topology_key: key.to_owned(),
            ..PodAffinityTerm::default()
        },
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                term(100, &subject.spec.placement.zone_key),
                term(50, "kubernetes.io/hostname"),
            ]),
            required_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}
