//! Who may call what: every call that there is, by every role, over TLS.

use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;
use weft_client::{Connector, TlsConnector};
use weft_protocol::FleetId;

use super::fleet::Fleet;

const ROLES: [&str; 3] = ["operator", "gateway", "member/1/1"];

/// By the roles above.
fn may_call(service: &str) -> [bool; 3] {
    match service {
        "Control" => [true, false, false],
        "Writes" => [false, true, false],
        "Reads" => [true, true, true],
        "Peers" | "Challenges" => [false, false, true],
        _ => panic!("nobody has said who may call {service}"),
    }
}

/// Every call: its service, and its path.
fn calls() -> Vec<(String, PathAndQuery)> {
    let files = protox::compile(["node.proto"], [concat!(env!("CARGO_MANIFEST_DIR"), "/proto/proto")]).unwrap();
    let mut calls = Vec::new();
    for file in files.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                calls.push((service.name().to_owned(), path.parse().unwrap()));
            }
        }
    }
    calls
}

/// Calls with a message that says nothing: whoever isn't let in is told so before it is read.
async fn call(channel: Channel, path: PathAndQuery) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let codec = ProstCodec::<(), ()>::default();
    grpc.server_streaming(Request::new(()), path, codec).await?.into_inner().message().await.map(drop)
}

fn is_refused(outcome: &Result<(), Status>, why: &str) -> bool {
    outcome.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied && status.message().contains(why))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_open_to_its_callers_and_to_nobody_else() {
    let fleet = Fleet::start(4).await;
    let address =
        fleet.members().into_iter().map(|(id, _)| fleet.places[&id].port.address().to_string()).next().unwrap();
    let channels = ROLES.map(|role| fleet.connector(role).channel(&address).unwrap());
    let other = FleetId([99; 16]);
    let foreign = ROLES.map(|role| {
        let (certificate, key) = fleet.authority.issue(&format!("weft://{other}/{role}"));
        TlsConnector::new(&fleet.authority.pem(), &certificate, &key).channel(&address).unwrap()
    });
    let nobody = fleet.connector("nobody").channel(&address).unwrap();
    let calls = calls();
    assert!(calls.len() > 20, "{calls:?}");
    for (service, path) in calls {
        for (at, may) in may_call(&service).into_iter().enumerate() {
            let outcome = call(channels[at].clone(), path.clone()).await;
            assert_eq!(is_refused(&outcome, "may not call"), !may, "{} of {path}: {outcome:?}", ROLES[at]);
            let outcome = call(foreign[at].clone(), path.clone()).await;
            assert!(is_refused(&outcome, "the caller is of fleet"), "{} of {path}: {outcome:?}", ROLES[at]);
        }
        let outcome = call(nobody.clone(), path.clone()).await;
        let is_unknown = outcome.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated);
        assert!(is_unknown, "somebody without a role, of {path}: {outcome:?}");
    }
}
