//! The API server harness, against real binaries.

use std::error::Error;

use weft_e2e::ApiServer;

#[test]
fn objects_are_kept_and_validated() -> Result<(), Box<dyn Error>> {
    let server = ApiServer::start()?;
    let kubectl = server.kubectl();
    kubectl.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: kept, namespace: default}, data: {a: b}}")?;
    assert_eq!(kubectl.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"])?, "b");

    let refused = kubectl.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: Capitals, namespace: default}}");
    let message = refused.expect_err("a name with capitals").to_string();
    assert!(message.contains("RFC 1123"), "{message}");
    Ok(())
}

#[test]
fn two_run_side_by_side() -> Result<(), Box<dyn Error>> {
    let (one, other) = (ApiServer::start()?, ApiServer::start()?);
    one.kubectl().run(&["create", "namespace", "only-here"])?;
    assert!(other.kubectl().run(&["get", "namespace", "only-here"]).is_err());

    let folder = one.kubeconfig().parent().ok_or("a folder")?.to_owned();
    drop(one);
    assert!(!folder.exists());
    Ok(())
}
