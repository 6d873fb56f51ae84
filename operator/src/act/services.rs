//! The Services of members and gateways.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use weft_crds::Access;

use crate::{names, subject::Subject};

/// The headless Service: a name for each member, and one for all of them, ready or not, since members that aren't
/// must be told what makes them so.
pub fn members(subject: &Subject) -> Service {
    Service {
        metadata: metadata(subject, names::members_service(&subject.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selected(&subject.name, names::MEMBER_COMPONENT)),
            ports: Some(vec![port("grpc", names::MEMBER_PORT), port("admin", names::ADMIN_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Where clients find the gateways.
pub fn gateway(subject: &Subject) -> Service {
    let mut ports = vec![port("https", names::HTTPS_PORT)];
    match subject.spec.gateway.access {
        Access::Token => {}
        Access::Open => ports.push(port("http", names::HTTP_PORT)),
    }
    Service {
        metadata: metadata(subject, names::gateway(&subject.name)),
        spec: Some(ServiceSpec {
            selector: Some(names::selected(&subject.name, names::GATEWAY_COMPONENT)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    }
}

fn metadata(subject: &Subject, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(subject.namespace.name.clone()),
        labels: Some(names::labels(&subject.name)),
        owner_references: Some(vec![subject.owner()]),
        ..ObjectMeta::default()
    }
}
