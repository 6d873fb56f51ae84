//! An issuer signs the leaves (R27): a fleet goes from its own authority to the issuer's, from one of the issuer's to its next,
//! and back, and at no moment does anyone show a leaf that others may not trust yet.

mod cert_manager;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::{Duration, UNIX_EPOCH},
};

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    runtime::{conditions, wait::await_condition},
};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use weft_crds::StorageCommitteeStatus;
use weft_operator::{
    act::issuer::{Answer, CertificateRequest},
    certs::{MEMBER_NAME, Role, foreign, gateway_names},
    env::{Env, calendar},
};
use weft_planner::Timestamp;

use crate::{
    Bench, Outcome,
    stage::said,
    story::{LIMIT, Story, serves},
};

/// Others may have read a Secret so long ago.
const BEHIND: Duration = Duration::from_secs(240);
/// So much more than a round's time passes between looks.
const PACE: Duration = Duration::from_secs(27);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an issuer does with what it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Signs,
    Denies,
    /// It signs, and leaves the URIs out.
    Omits,
    /// It leaves all to cert-manager itself.
    Absent,
}

/// cert-manager, in miniature.
struct Corp {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    mood: Mood,
}

impl Corp {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).expect("an authority");
        Self { certificate, issuer, mood: Mood::Signs }
    }

    /// Answers what has no answer.
    async fn answer(&self, story: &Story) -> Outcome {
        if self.mood == Mood::Absent {
            return cert_manager::has_spoken(story).await;
        }
        let api = story.bench.api::<CertificateRequest>();
        for request in story.bench.list::<CertificateRequest>().await? {
            if matches!(request.answer(), Answer::None(_)) {
                let status = json!({"status": self.says(&request, story.fleet.now())?});
                api.patch_status(&request.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
            }
        }
        Ok(())
    }

    fn says(&self, request: &CertificateRequest, now: Timestamp) -> Result<Value, Box<dyn Error>> {
        if self.mood == Mood::Denies {
            let denied = json!({"type": "Denied", "status": "True", "reason": "Policy", "message": "not for fleets"});
            return Ok(json!({"conditions": [denied]}));
        }
        let mut asked = CertificateSigningRequestParams::from_pem(std::str::from_utf8(&request.spec.request.0)?)?;
        if self.mood == Mood::Omits {
            asked.params.subject_alt_names.retain(|name| matches!(name, rcgen::SanType::DnsName(_)));
        }
        let at = |time: Duration| (UNIX_EPOCH + time).into();
        let now = Duration::from_millis(now.0 as u64);
        (asked.params.not_before, asked.params.not_after) =
            (at(now.saturating_sub(Duration::from_secs(60))), at(now + 30 * DAY));
        let leaf = asked.signed_by(&self.issuer)?.pem();
        Ok(json!({
            "conditions": [{"type": "Ready", "status": "True", "reason": "Issued", "message": "signed"}],
            "certificate": ByteString(leaf.into_bytes()), "ca": ByteString(self.certificate.clone().into_bytes()),
        }))
    }
}

/// What is read out of Secrets with leaves, as of some time.
struct Seen {
    at: Timestamp,
    /// By the Secrets' names: leaf, key, and who is trusted.
    leaves: BTreeMap<String, [String; 3]>,
}

/// A fleet, its issuer, and what was seen of its Secrets.
struct Tale {
    story: Story,
    corp: Corp,
    seen: Vec<Seen>,
}

impl Tale {
    async fn round(&mut self) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        self.story.fleet.advance(PACE);
        let told = self.story.round().await?;
        self.corp.answer(&self.story).await?;
        self.look(&told).await?;
        Ok(told)
    }

    /// Whoever shows a leaf is trusted by all, by those too who read their Secrets a while ago.
    async fn look(&mut self, told: &StorageCommitteeStatus) -> Outcome {
        let now = self.story.fleet.now();
        let mut leaves = BTreeMap::new();
        for secret in self.story.bench.list::<Secret>().await?.iter().filter(|one| one.name_any().ends_with("-tls")) {
            let text = |key: &str| {
                let bytes = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone());
                String::from_utf8(bytes.unwrap_or_default()).expect("PEM")
            };
            leaves.insert(secret.name_any(), ["tls.crt", "tls.key", "ca.crt"].map(text));
        }
        self.seen.push(Seen { at: now, leaves });
        self.seen.retain(|seen| now - seen.at <= BEHIND);
        let fleet = told.fleet_id.as_deref().ok_or("no fleet")?.parse()?;
        let newest = self.seen.last().ok_or("it was added")?;
        let operators = self.story.fleet.trusted();
        let read = self.seen.iter().flat_map(|seen| seen.leaves.values()).map(|[_, _, trusted]| trusted);
        let trusted: BTreeSet<&String> = read.chain([&operators]).collect();
        for (name, [leaf, key, _]) in &newest.leaves {
            let (role, names) = role(name, &self.story.bench.namespace);
            for authorities in &trusted {
                let checked = foreign::check((leaf, authorities), key, (fleet, role, &names), calendar(now));
                checked.map_err(|unfit| format!("{name} isn't trusted by all: {unfit}"))?;
            }
        }
        Ok(())
    }

    /// How many leaves are this issuer's.
    fn signed_by(&self, corp: &Corp) -> usize {
        let leaves = self.seen.last().map(|seen| seen.leaves.values()).into_iter().flatten();
        let of = |[leaf, ..]: &&[String; 3]| {
            let [leaf, authority] =
                [leaf, &corp.certificate].map(|pem| x509_parser::pem::parse_x509_pem(pem.as_bytes()));
            let ((_, leaf), (_, authority)) = (leaf.expect("PEM"), authority.expect("PEM"));
            let (leaf, authority) = (leaf.parse_x509().expect("X.509"), authority.parse_x509().expect("X.509"));
            leaf.issuer() == authority.subject()
        };
        leaves.filter(of).count()
    }

    /// Goes on until all leaves are this issuer's and nothing is told of them.
    async fn until_signed_by(&mut self, corp: fn(&Self) -> usize) -> Outcome {
        let mut told = StorageCommitteeStatus::default();
        for _ in 0..LIMIT {
            told = self.round().await?;
            if corp(self) == 8 && certifying(&told).is_none() {
                return Ok(());
            }
        }
        Err(format!("never: {}", serde_yaml::to_string(&told)?).into())
    }

    /// Goes on for so many rounds, and gives how many leaves are this issuer's then.
    async fn goes_on(&mut self, rounds: usize) -> Result<usize, Box<dyn Error>> {
        for _ in 0..rounds {
            self.round().await?;
        }
        Ok(self.signed_by(&self.corp))
    }

    /// Goes on until this is told of leaves.
    async fn until_told(&mut self, words: &str) -> Result<StorageCommitteeStatus, Box<dyn Error>> {
        let mut told = StorageCommitteeStatus::default();
        for _ in 0..LIMIT {
            told = self.round().await?;
            if certifying(&told).is_some_and(|by| by.contains(words)) {
                return Ok(told);
            }
        }
        Err(format!("never told {words:?}: {}", serde_yaml::to_string(&told)?).into())
    }
}

fn role(secret: &str, namespace: &str) -> (Role, Vec<String>) {
    let mut parts = secret.trim_start_matches("demo-").trim_end_matches("-tls").split('-').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(id)), Some(Ok(incarnation))) => (Role::Member { id, incarnation }, vec![MEMBER_NAME.to_owned()]),
        _ => (Role::Gateway, gateway_names("demo-gateway", namespace)),
    }
}

/// What status says of a leaf that isn't as it shall be.
fn certifying(told: &StorageCommitteeStatus) -> Option<String> {
    told.plan.iter().find(|act| act.act == "Certify")?.withheld_by.clone()
}

/// cert-manager's definition, as far as it matters here.
async fn define(bench: &Bench) -> Outcome {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "certificaterequests.cert-manager.io"},
        "spec": {"group": "cert-manager.io", "scope": "Namespaced",
            "names": {"kind": "CertificateRequest", "plural": "certificaterequests", "singular": "certificaterequest"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": any}}]},
    }))?;
    let api = Api::<CustomResourceDefinition>::all(bench.client.clone());
    api.create(&PostParams::default(), &definition).await?;
    let defined = await_condition(api, "certificaterequests.cert-manager.io", conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(60), defined).await??;
    Ok(())
}

/// Somebody else's question, which has the committee's labels and says less.
async fn ask_beside(story: &Story) -> Outcome {
    let mut other = DynamicObject::new("beside", &ApiResource::erase::<CertificateRequest>(&())).data(json!({
        "spec": {"request": "", "issuerRef": {"name": "corp"}},
    }));
    other.labels_mut().insert("weft.dev/committee".to_owned(), "demo".to_owned());
    let resource = ApiResource::erase::<CertificateRequest>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(story.bench.client.clone(), &story.bench.namespace, &resource);
    api.create(&PostParams::default(), &other).await?;
    Ok(())
}

/// A committee that waits for an issuer, who is there at last, and a Secret that can't be written.
async fn begun(bench: &Bench) -> Result<Tale, Box<dyn Error>> {
    let mut story = Story::begin(bench, "an-issuer-signs", None).await?;
    story.is_born().await?;
    story.change(json!({"tls": {"issuerRef": {"name": "corp"}}})).await?;
    // Nobody has installed cert-manager.
    let mut told = StorageCommitteeStatus::default();
    for _ in 0..LIMIT {
        told = story.round().await?;
        if said(&told, "Stalled").is_some_and(|(status, _, message)| status == "True" && message.contains("Certify")) {
            define(bench).await?;
            ask_beside(&story).await?;
            let sealed = Patch::Merge(json!({"immutable": true}));
            story.bench.api::<Secret>().patch("demo-3-1-tls", &PatchParams::default(), &sealed).await?;
            return Ok(Tale { story, corp: Corp::new("one"), seen: Vec::new() });
        }
    }
    Err(format!("it isn't told that there is no issuer: {}", serde_yaml::to_string(&told)?).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_leaves_go_from_one_authority_to_another_and_back_and_everyone_is_trusted_throughout() -> Outcome {
    let bench = Bench::start().await?;
    let mut tale = begun(&bench).await?;
    tale.corp.mood = Mood::Denies;
    tale.until_told("Issuer corp: Policy: not for fleets").await?;
    tale.corp.mood = Mood::Omits;
    tale.until_told("it lacks the name weft://").await?;
    tale.corp.mood = Mood::Signs;
    tale.until_told("trusted by all for five minutes").await?;
    assert_eq!(tale.goes_on(20).await?, 0, "one doesn't trust it yet, and can't be told to");
    let secrets = tale.story.bench.api::<Secret>();
    secrets.delete("demo-3-1-tls", &DeleteParams::default()).await?;
    tale.until_signed_by(|tale| tale.signed_by(&tale.corp)).await?;
    tale.story.rests("at rest with an issuer", |status| serves(status, 7)).await?;
    assert_eq!(tale.story.bench.count::<CertificateRequest>().await?, 1, "nothing is left to ask but by others");

    // Two thirds of a leaf's life later the issuer has another authority.
    let one = std::mem::replace(&mut tale.corp, Corp::new("two"));
    tale.story.fleet.advance(19 * DAY);
    tale.round().await?;
    assert_eq!(tale.signed_by(&one), 8);
    tale.story.fleet.advance(2 * DAY);
    tale.until_signed_by(|tale| tale.signed_by(&tale.corp)).await?;

    // It denies them until they have all but run out.
    tale.corp.mood = Mood::Denies;
    tale.story.fleet.advance(26 * DAY);
    assert_eq!(tale.goes_on(3).await?, 8);
    tale.story.fleet.advance(2 * DAY);
    assert_eq!(tale.goes_on(3).await?, 0, "the own authority has stepped in");
    tale.corp.mood = Mood::Signs;
    tale.until_signed_by(|tale| tale.signed_by(&tale.corp)).await?;

    tale.story.change(json!({"tls": null})).await?;
    assert_eq!(tale.goes_on(5).await?, 0, "the own authority signs again");
    tale.story.rests("at rest with its own authority", |status| serves(status, 7)).await?;
    assert_eq!(tale.story.bench.count::<CertificateRequest>().await?, 1);
    Ok(())
}
