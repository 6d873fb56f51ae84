//! Members' claims and pods.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource,
        Pod, PodSpec, Volume, VolumeResourceRequirements,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use weft_protocol::{FleetId, PublicKey};

use crate::{act::shape, names, subject::Subject};

const COMPONENT: &str = names::MEMBER_COMPONENT;

/// Which incarnation is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    pub member: u32,
    pub incarnation: u32,
}

/// The claim of an incarnation. It outlives the committee unless the policy says otherwise.
pub fn claim(subject: &Subject, fleet: FleetId, which: Which) -> PersistentVolumeClaim {
    let storage = &subject.spec.storage;
    let size: BTreeMap<_, _> = [("storage".to_owned(), storage.size.to_quantity())].into();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::member_claim(&subject.name, which.member, which.incarnation)),
            namespace: Some(subject.namespace.name.clone()),
            labels: Some(names::member_labels(&subject.name, which.member, which.incarnation)),
            annotations: Some([(names::FLEET.to_owned(), fleet.to_string())].into()),
            owner_references: subject.owners_of_data(&ObjectMeta::default()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Which pod is meant, what it is made of, and the Nodes that it shall keep off.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    pub which: Which,
    /// The incarnation after which its claim is named.
    pub origin: u32,
    pub attempt: u32,
    pub avoid: &'a [String],
    /// What the spec says of it.
    pub inputs: &'a str,
}

/// A pod of an incarnation. `trust` is the key that views are signed with.
pub fn pod(subject: &Subject, fleet: FleetId, trust: PublicKey, placed: Placed<'_>) -> Pod {
    let Placed { which, origin, attempt, avoid, inputs } = placed;
    let claim = names::member_claim(&subject.name, which.member, origin);
    let mut tolerations = shape::tolerate_silence(None);
    tolerations.extend(subject.spec.template.iter().flat_map(|template| template.tolerations.iter().cloned()));
    Pod {
        metadata: ObjectMeta {
            name: Some(names::member_pod(&subject.name, which.member, which.incarnation, attempt)),
            namespace: Some(subject.namespace.name.clone()),
            labels: Some(names::member_labels(&subject.name, which.member, which.incarnation)),
            annotations: Some(
                [(names::ATTEMPT.to_owned(), attempt.to_string()), (names::INPUTS.to_owned(), inputs.to_owned())]
                    .into(),
            ),
            owner_references: Some(vec![subject.owner()]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            hostname: Some(names::member_claim(&subject.name, which.member, which.incarnation)),
            subdomain: Some(names::members_service(&subject.name)),
            containers: vec![container(subject, fleet, trust, &placed)],
            volumes: Some(volumes(&subject.name, claim, which)),
            tolerations: Some(tolerations),
            affinity: shape::avoid(avoid),
            topology_spread_constraints: Some(shape::spread(&subject.name, COMPONENT, &subject.spec.placement)),
            security_context: Some(shape::pod_security()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            restart_policy: Some("Always".to_owned()),
            termination_grace_period_seconds: Some(10),
            ..PodSpec::default()
        }),
        status: None,
    }
}

fn volumes(committee: &str, claim: String, which: Which) -> Vec<Volume> {
    let data = Volume {
        name: "data".to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim, read_only: None }),
        ..Volume::default()
    };
    vec![data, shape::secret_volume("tls", &names::member_tls(committee, which.member, which.incarnation))]
}

fn container(subject: &Subject, fleet: FleetId, trust: PublicKey, placed: &Placed<'_>) -> Container {
    let Placed { which, origin, .. } = placed;
    let template = subject.spec.template.clone().unwrap_or_default();
    let mut env = vec![
        shape::env("WEFT_DATA_DIR", "/data"),
        shape::env("WEFT_LISTEN", format!("0.0.0.0:{}", names::MEMBER_PORT)),
        shape::env("WEFT_ADMIN", format!("0.0.0.0:{}", names::ADMIN_PORT)),
        shape::env("WEFT_TLS_DIR", "/tls"),
        shape::env("WEFT_FLEET", fleet.to_string()),
        shape::env("WEFT_MEMBER", which.member.to_string()),
        shape::env("WEFT_INCARNATION", which.incarnation.to_string()),
        shape::env("WEFT_TRUST_KEY", trust.to_string()),
    ];
    if *origin != which.incarnation {
        // The volume is an earlier incarnation's, until the process has admitted it again (R25).
        env.push(shape::env("WEFT_READMIT", origin.to_string()));
    }
    env.extend(shape::spans(subject.spec.tracing.as_ref()));
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        ..ContainerPort::default()
    };
    Container {
        name: "node".to_owned(),
        image: Some(subject.image().to_owned()),
        command: Some(vec!["/bin/weft-node".to_owned(), "serve".to_owned()]),
        env: Some(env),
        ports: Some(vec![port("grpc", names::MEMBER_PORT), port("admin", names::ADMIN_PORT)]),
        volume_mounts: Some(vec![shape::mount("data", "/data", false), shape::mount("tls", "/tls", true)]),
        resources: Some(template.requirements()),
        // A store is checked when it is opened, which takes its time on a large volume.
        startup_probe: Some(shape::probe("/livez", 1, 600)),
        liveness_probe: Some(shape::probe("/livez", 10, 6)),
        readiness_probe: Some(shape::probe("/readyz", 2, 2)),
        security_context: Some(shape::container_security()),
        ..Container::default()
    }
}
