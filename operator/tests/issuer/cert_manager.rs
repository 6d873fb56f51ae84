//! The same against cert-manager itself: its controllers and its webhook, as `e2e/kubernetes/build.sh cert-manager` builds them.
//!
//! Its clock is the machine's, the operator's is ahead: a leaf is as old when it is signed as the operator is ahead by then.

use std::{collections::BTreeSet, error::Error, process::Command, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, runtime::wait::await_condition};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use weft_crds::StorageCommitteeStatus;
use weft_e2e::{ApiServer, Beside, Parts, Port, wait_until};
use weft_operator::act::issuer::CertificateRequest;

use super::{Corp, DAY, Mood, Tale};
use crate::{
    Bench, Outcome, make_namespace,
    story::{LIMIT, Story, serves},
};

const HOME: &str = "cert-manager";
/// Generous: other tests may have the processors.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between looks at what it has said.
const LOOK: Duration = Duration::from_millis(50);

/// Installs cert-manager. It ends with what is returned.
async fn install(bench: &Bench) -> Result<Beside, Box<dyn Error>> {
    make_namespace(&bench.client, HOME).await?;
    let webhook = Port::hold()?;
    let running = tokio::task::block_in_place(|| -> Result<Beside, Box<dyn Error>> {
        let (server, program) = (&bench.server, Parts::locate()?.path("cert-manager")?);
        let printed = Command::new(&program).arg("crds").output()?;
        server.kubectl().apply(std::str::from_utf8(&printed.stdout)?)?;
        server.kubectl().run(&["wait", "--for=condition=Established", "--timeout=60s", "--all", "crd"])?;
        let arguments = [format!("--namespace={HOME}"), format!("--webhook-port={}", webhook.number())];
        Ok(server.start_beside("cert-manager", &program, server.kubeconfig(), &arguments)?)
    })?;
    let secrets: Api<Secret> = Api::namespaced(bench.client.clone(), HOME);
    let has_authority = |secret: Option<&Secret>| {
        secret.and_then(|secret| secret.data.as_ref()).is_some_and(|data| data.contains_key("ca.crt"))
    };
    let made = await_condition(secrets.clone(), "cert-manager-webhook-ca", has_authority);
    let made = tokio::time::timeout(PATIENCE, made).await;
    let made = made.map_err(|_| format!("cert-manager has no webhook: {}", running.last_words()))??;
    let authority = made.and_then(|secret| secret.data).and_then(|mut data| data.remove("ca.crt")).ok_or("no CA")?;
    tokio::task::block_in_place(|| admit(&bench.server, webhook.number(), &authority))?;
    Ok(running)
}

/// Lets the webhook say what is admitted, as the chart does, and waits until it answers.
fn admit(server: &ApiServer, port: u16, authority: &ByteString) -> Outcome {
    let hook = |path: &str, operations: &[&str], resource: &str| {
        json!({
            "name": "webhook.cert-manager.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "matchPolicy": "Equivalent",
            "clientConfig": {"url": format!("https://localhost:{port}/{path}"), "caBundle": authority},
            "rules": [{"apiGroups": ["cert-manager.io"], "apiVersions": ["v1"], "operations": operations,
                "resources": [resource]}],
        })
    };
    for (kind, hook) in [
        ("MutatingWebhookConfiguration", hook("mutate", &["CREATE"], "certificaterequests")),
        ("ValidatingWebhookConfiguration", hook("validate", &["CREATE", "UPDATE"], "*/*")),
    ] {
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": "cert-manager-webhook"}, "webhooks": [hook]});
        server.kubectl().apply(&configuration.to_string())?;
    }
    let probe = issuer("ClusterIssuer", "probe", &json!({"selfSigned": {}})).to_string();
    wait_until("the webhook", PATIENCE, || {
        server.kubectl().apply(&probe).map(Some).map_err(|error| error.to_string())
    })?;
    Ok(())
}

fn issuer(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "cert-manager.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The Secret of an authority, the chain of its certificate with it.
fn secret(corp: &Corp, name: &str, chain: &str) -> Value {
    let data = json!({"tls.crt": chain, "tls.key": corp.issuer.key().serialize_pem()});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
        "stringData": data})
}

/// Waits until cert-manager has said something of each request.
pub(super) async fn has_spoken(story: &Story) -> Outcome {
    let is_silent = |request: &CertificateRequest| {
        let said = request.status.iter().flat_map(|status| &status.conditions);
        !said.into_iter().any(|said| said.kind == "Ready")
    };
    let spoken = tokio::time::timeout(PATIENCE, async {
        while story.bench.list::<CertificateRequest>().await?.iter().any(is_silent) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    });
    spoken.await.map_err(|_| "cert-manager says nothing of a request")?
}

impl Corp {
    /// It is cert-manager's to sign in its name.
    fn of_cert_manager(name: &str) -> Self {
        Self { mood: Mood::Absent, ..Self::new(name) }
    }

    /// An authority whose certificate this one has signed.
    fn beneath(&self, name: &str) -> Result<Self, Box<dyn Error>> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Self { certificate, issuer, mood: Mood::Absent })
    }
}

impl Tale {
    /// Applies what a person does, in the committee's namespace, in another or in none.
    fn applies(&self, mut object: Value, namespace: Option<&str>) -> Outcome {
        if object["kind"] != "ClusterIssuer" {
            object["metadata"]["namespace"] = json!(namespace.unwrap_or(&self.story.bench.namespace));
        }
        tokio::task::block_in_place(|| Ok(self.story.bench.server.kubectl().apply(&object.to_string())?))
    }

    fn leaves(&self) -> BTreeSet<String> {
        let leaves = self.seen.last().map(|seen| seen.leaves.values()).into_iter().flatten();
        leaves.map(|[leaf, ..]| leaf.clone()).collect()
    }

    /// Goes on until none of these leaves is shown any more.
    async fn until_renewed(&mut self, old: &BTreeSet<String>) -> Outcome {
        let mut told = StorageCommitteeStatus::default();
        for _ in 0..LIMIT {
            told = self.round().await?;
            if self.leaves().is_disjoint(old) {
                return Ok(());
            }
            assert_eq!(self.signed_by(&self.corp), 8, "nobody else has to step in");
        }
        Err(format!("never renewed: {}", serde_yaml::to_string(&told)?).into())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs cert-manager; make test-long"]
async fn r27_cert_manager_itself_signs_and_everyone_is_trusted_throughout() -> Outcome {
    let bench = Bench::start().await?;
    let _running = install(&bench).await?;
    let mut story = Story::begin(&bench, "cert-manager-signs", None).await?;
    story.is_born().await?;
    story.change(json!({"tls": {"issuerRef": {"name": "corp"}}})).await?;
    let mut tale = Tale { story, corp: Corp::of_cert_manager("one"), seen: Vec::new() };

    tale.until_told("Issuer corp has yet to sign: Referenced \"Issuer\" not found").await?;
    // It would sign with the leaf's own key, which it isn't given.
    tale.applies(issuer("Issuer", "corp", &json!({"selfSigned": {}})), None)?;
    tale.until_told("Issuer corp: Failed: Annotation \"cert-manager.io/private-key-secret-name\" missing").await?;
    tale.applies(issuer("Issuer", "corp", &json!({"ca": {"secretName": "one"}})), None)?;
    tale.until_told("Issuer corp has yet to sign: Referenced issuer does not have a Ready status condition").await?;
    tale.applies(secret(&tale.corp, "one", &tale.corp.certificate), None)?;
    tale.until_told("trusted by all for five minutes").await?;
    assert_eq!(tale.signed_by(&tale.corp), 0);
    tale.until_signed_by(|tale| tale.signed_by(&tale.corp)).await?;
    tale.story.rests("at rest with an issuer", |status| serves(status, 7)).await?;
    assert_eq!(tale.story.bench.count::<CertificateRequest>().await?, 0, "nothing is left to ask");

    // Another issuer, of the whole cluster, whose authority is another's.
    let root = Corp::of_cert_manager("root");
    tale.corp = root.beneath("two")?;
    let chain = [tale.corp.certificate.as_str(), &root.certificate].concat();
    tale.applies(secret(&tale.corp, "two", &chain), Some(HOME))?;
    tale.applies(issuer("ClusterIssuer", "two", &json!({"ca": {"secretName": "two"}})), None)?;
    tale.story.change(json!({"tls": {"issuerRef": {"kind": "ClusterIssuer", "name": "two"}}})).await?;
    tale.until_signed_by(|tale| tale.signed_by(&tale.corp)).await?;
    tale.story.rests("at rest with the other issuer", |status| serves(status, 7)).await?;

    // Two thirds of a leaf's life later, and not before, each is signed anew.
    let old = tale.leaves();
    tale.story.fleet.advance(19 * DAY);
    assert_eq!(tale.goes_on(3).await?, 8);
    assert_eq!(tale.leaves(), old);
    tale.story.fleet.advance(2 * DAY);
    tale.until_renewed(&old).await?;
    assert_eq!(tale.signed_by(&tale.corp), 8);

    tale.story.change(json!({"tls": null})).await?;
    assert_eq!(tale.goes_on(5).await?, 0, "the own authority signs again");
    tale.story.rests("at rest with its own authority", |status| serves(status, 7)).await?;
    assert_eq!(tale.story.bench.count::<CertificateRequest>().await?, 0);
    Ok(())
}
