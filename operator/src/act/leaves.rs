//! Leaves: the certificates of members and gateways, each in a Secret of its own with its key and with whom to trust. The
//! committee's own authority signs them, or an issuer (`spec.tls.issuerRef`).
//!
//! An authority is trusted by all before anyone shows a leaf of it: what one process reads anew another may read a minute later.
//! The own authority stays trusted, and signs whenever an issuer's leaf is not there or won't do: a fleet waits for no issuer.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use weft_protocol::FleetId;

use crate::{
    act::{
        issuer::{Answer, CertificateRequest, Reference},
        secrets::{Keys, SecretError, field, secret},
        trust::Trust,
    },
    api::ApiError,
    certs::{self, Leaf, Role, foreign},
    env::instant,
    names,
    reconcile::chain,
    refusals::{Refusals, Want},
    subject::Subject,
};

/// Annotation: whose leaf it is, if not the own authority's.
const ISSUER: &str = "weft.dev/issuer";
/// The key of the leaf that is asked for.
const NEXT_KEY: &str = "next.key";
const CERTIFY: &str = "Certify";

/// A leaf of an issuer is asked for anew after this share of its life, and isn't relied on after that one.
const OLD: f64 = 2.0 / 3.0;
const SPENT: f64 = 0.9;
/// Who was refused asks again after so long.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);
/// An issuer that takes longer is for a person to look at.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// What the leaves of a committee have in common.
pub(super) struct Signing<'a> {
    pub(super) subject: &'a Subject,
    pub(super) fleet: FleetId,
    pub(super) keys: &'a Keys,
    /// The committee's Secrets.
    pub(super) existing: &'a BTreeMap<String, Secret>,
    pub(super) now: Timestamp,
    pub(super) trust: Trust,
    /// Who is wanted to sign, if not the own authority.
    reference: Option<Reference>,
    /// What was asked, by the names of leaves' Secrets; `None`: it can't be known.
    requests: Option<BTreeMap<String, CertificateRequest>>,
}

impl<'a> Signing<'a> {
    /// Reads who is trusted and what was asked, and adds the authorities of answers that will do to those who are trusted.
    pub(super) async fn begin(
        subject: &'a Subject,
        (fleet, keys): (FleetId, &'a Keys),
        existing: &'a BTreeMap<String, Secret>,
        leaves: &[LeafSecret<'_>],
        refusals: &mut Refusals,
        now: Timestamp,
    ) -> Result<Self, SecretError> {
        let reference = subject.spec.tls.as_ref().and_then(|tls| tls.issuer_ref.as_ref()).map(Reference::from);
        let was_asked = existing.values().any(|secret| field(secret, NEXT_KEY).is_some());
        let requests = if reference.is_some() || was_asked {
            requests(subject, refusals, now).await?
        } else {
            Some(BTreeMap::new())
        };
        let trust = Trust::read(&names::gateway(&subject.name), keys, existing, leaves, now);
        let mut signing = Self { subject, fleet, keys, existing, now, trust, reference, requests };
        for leaf in leaves {
            if let Some(authority) = signing.answered(leaf) {
                signing.trust.add(&authority, now);
            }
        }
        signing.trust.publish(subject, existing, leaves, refusals, now).await?;
        Ok(signing)
    }

    /// The authority of a leaf that an issuer has signed and that will do.
    fn answered(&self, leaf: &LeafSecret<'_>) -> Option<String> {
        let request = self.requests.as_ref()?.get(&leaf.name)?;
        let key = field(self.existing.get(&leaf.name)?, NEXT_KEY)?;
        let Answer::Signed { leaf: signed, authority } = request.answer() else { return None };
        let is_asked = request.is_about(&key, self.reference.as_ref()?);
        let wanted = (self.fleet, leaf.role, &leaf.hosts[..]);
        (is_asked && foreign::check((&signed, &authority), &key, wanted, self.now).is_ok()).then_some(authority)
    }

    /// Takes requests back that are nobody's any more.
    pub(super) async fn end(self, leaves: &[LeafSecret<'_>], refusals: &mut Refusals) -> Result<(), SecretError> {
        for (name, request) in self.requests.iter().flatten() {
            if !leaves.iter().any(|leaf| leaf.name == *name) {
                take_back(self.subject, request, refusals, self.now).await?;
            }
        }
        Ok(())
    }
}

/// The committee's own requests. `None`: they can't be read, which is told.
async fn requests(
    subject: &Subject,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<Option<BTreeMap<String, CertificateRequest>>, SecretError> {
    let labels = format!("{}={}", names::COMMITTEE, subject.name);
    let listed = subject.namespace.list::<CertificateRequest>(&labels).await;
    let want = Want::of_spec(CERTIFY, "spec.tls.issuerRef", "an issuer is asked by cert-manager's CertificateRequests");
    if listed.as_ref().is_err_and(ApiError::is_absent) {
        // That is so until a person changes it.
        refusals.decline(want, "this cluster has no CertificateRequests: cert-manager isn't installed");
        return Ok(None);
    }
    let listed = refusals.note(want, listed, instant(now))?;
    // Others may have been given the same labels.
    let is_own = |request: &CertificateRequest| request.owner_references().iter().any(|owner| owner.uid == subject.uid);
    Ok(listed.map(|listed| listed.into_iter().filter(is_own).map(|request| (request.name_any(), request)).collect()))
}

async fn take_back(
    subject: &Subject,
    request: &CertificateRequest,
    refusals: &mut Refusals,
    now: Timestamp,
) -> Result<(), SecretError> {
    let target = format!("CertificateRequest {}", request.name_any());
    let want = Want { act: "DeleteRequest", target: &target, reason: "its answer isn't waited for", grave: false };
    refusals.note(want, subject.namespace.delete_as_read(request).await, instant(now))?;
    Ok(())
}

/// A Secret that holds a leaf.
pub(super) struct LeafSecret<'a> {
    pub(super) name: String,
    pub(super) role: Role,
    /// The names that it answers to.
    pub(super) hosts: Vec<String>,
    pub(super) more: &'a [(&'static str, String)],
}

/// What keeps a leaf from being the issuer's.
struct Wait {
    by: String,
    /// For a person to see to, if there is no leaf of the issuer's that will do.
    grave: bool,
}

impl Wait {
    fn calm(by: impl Into<String>) -> Self {
        Self { by: by.into(), grave: false }
    }

    fn grave(by: impl Into<String>) -> Self {
        Self { by: by.into(), grave: true }
    }
}

impl LeafSecret<'_> {
    /// Makes it, renews what is due, and goes on with what an issuer is asked.
    pub(super) async fn ensure(&self, signing: &Signing<'_>, refusals: &mut Refusals) -> Result<(), SecretError> {
        let Signing { subject, existing, now, reference, .. } = signing;
        let Some(stored) = existing.get(&self.name) else { return self.create(signing).await };
        let mut change = self.outdated(signing, stored);
        let leaf = field(stored, "tls.crt").unwrap_or_default();
        let issued_by = stored.annotations().get(ISSUER).filter(|_| !signing.keys.authority.has_signed(&leaf));
        let is_issuers = reference.as_ref().is_some_and(|wanted| issued_by == Some(&wanted.to_string()));
        let is_sound = self.will_do(signing, stored, &leaf);
        let is_due = if is_issuers { !is_sound } else { !is_sound || certs::is_due(&leaf, *now) };
        if is_due || reference.is_none() && issued_by.is_some() {
            let Leaf { certificate, key } = self.sign(signing)?;
            change.leaf(certificate, key, Issued::Own);
        }
        let request = signing.requests.as_ref().and_then(|requests| requests.get(&self.name));
        let is_served = reference.is_none() || is_issuers && is_sound && !certs::has_aged(&leaf, OLD, *now);
        if is_served {
            if let Some(request) = request {
                take_back(subject, request, refusals, *now).await?;
            }
            change.drops_key = field(stored, NEXT_KEY).is_some();
        } else if let (Some(reference), Some(_)) = (reference, &signing.requests)
            && let Some(Wait { by, grave }) =
                self.ask(signing, reference, (stored, request), &mut change, refusals).await?
        {
            let (target, reason) = (format!("Secret {}", self.name), "spec.tls.issuerRef signs its leaf");
            let grave = grave && !(is_issuers && is_sound);
            refusals.refuse(Want { act: CERTIFY, target: &target, reason, grave }, by, instant(*now));
        }
        let is_taken = matches!(change.issued, Issued::By(_));
        change.write(subject, stored).await?;
        if let Some(request) = request.filter(|_| is_taken) {
            take_back(subject, request, refusals, *now).await?;
        }
        Ok(())
    }

    /// What of it isn't as it should be, whatever leaf it holds.
    fn outdated(&self, signing: &Signing<'_>, stored: &Secret) -> Change {
        let mut change = Change::default();
        let wanted = self.more.iter().cloned().chain([("ca.crt", signing.trust.text())]);
        for (key, text) in wanted.filter(|(key, text)| field(stored, key).as_ref() != Some(text)) {
            change.set(key, text);
        }
        change
    }

    /// Whether others take the leaf, and will for a while.
    fn will_do(&self, signing: &Signing<'_>, stored: &Secret, leaf: &str) -> bool {
        let key = field(stored, "tls.key").unwrap_or_default();
        let wanted = (signing.fleet, self.role, &self.hosts[..]);
        let checked = foreign::check((leaf, &signing.trust.text()), &key, wanted, signing.now);
        checked.is_ok() && !certs::has_aged(leaf, SPENT, signing.now)
    }

    async fn create(&self, signing: &Signing<'_>) -> Result<(), SecretError> {
        let Leaf { certificate, key } = self.sign(signing)?;
        let mut data = vec![("tls.crt", certificate), ("tls.key", key), ("ca.crt", signing.trust.text())];
        data.extend(self.more.iter().cloned());
        let mut made = secret(signing.subject, &self.name, true, &data);
        if let Role::Member { id, incarnation } = self.role {
            made.metadata.labels = Some(names::member_labels(&signing.subject.name, id, incarnation));
        }
        signing.subject.namespace.create(&made).await?;
        Ok(())
    }

    fn sign(&self, signing: &Signing<'_>) -> Result<Leaf, SecretError> {
        Ok(signing.keys.authority.issue(signing.fleet, self.role, &self.hosts, signing.now)?)
    }

    /// The next step towards an issuer's leaf: a key, a request, its answer. The key is kept before anyone is asked about it.
    async fn ask(
        &self,
        signing: &Signing<'_>,
        reference: &Reference,
        (stored, request): (&Secret, Option<&CertificateRequest>),
        change: &mut Change,
        refusals: &mut Refusals,
    ) -> Result<Option<Wait>, SecretError> {
        let Signing { subject, fleet, now, .. } = signing;
        let unanswered = format!("{reference} has yet to sign");
        let key = field(stored, NEXT_KEY);
        let asked = key.as_ref().and_then(|key| foreign::request(*fleet, self.role, &self.hosts, key).ok());
        let (Some(key), Some(asked)) = (key, asked) else {
            change.set(NEXT_KEY, foreign::new_key()?);
            return Ok(Some(Wait::calm(unanswered)));
        };
        let Some(request) = request else {
            let mut made = CertificateRequest::of(&self.name, asked, &key, reference.clone(), *now);
            made.meta_mut().labels = Some(names::labels(&subject.name));
            made.meta_mut().owner_references = Some(vec![subject.owner()]);
            return match subject.namespace.create(&made).await {
                Ok(true) => Ok(Some(Wait::calm(unanswered))),
                Ok(false) => Ok(Some(Wait::grave(format!("CertificateRequest {} is somebody else's", self.name)))),
                Err(error) if error.is_refusal() => Ok(Some(Wait::grave(chain(&error)))),
                Err(error) => Err(error.into()),
            };
        };
        if !request.is_about(&key, reference) {
            take_back(subject, request, refusals, *now).await?;
            return Ok(Some(Wait::calm(unanswered)));
        }
        let age = request.asked().map_or(SignedDuration::MAX, |asked| now.duration_since(asked));
        let words = match request.answer() {
            Answer::None(words) => {
                return Ok(Some(Wait { by: format!("{unanswered}: {words}"), grave: age >= PATIENCE }));
            }
            Answer::Refused(words) => words,
            Answer::Signed { authority, .. } if authority.is_empty() => {
                "it doesn't say who its authority is (status.ca), so that nobody could check its leaves".to_owned()
            }
            Answer::Signed { leaf, authority } => {
                let wanted = (*fleet, self.role, &self.hosts[..]);
                let checked = foreign::check((&leaf, &authority), &key, wanted, *now);
                match checked.and_then(|()| foreign::check((&leaf, &signing.trust.text()), &key, wanted, *now)) {
                    Ok(()) => return Ok(signing.take(reference, leaf, key, change)),
                    Err(unfit) => unfit.to_string(),
                }
            }
        };
        if age >= AGAIN {
            take_back(subject, request, refusals, *now).await?;
        }
        Ok(Some(Wait::grave(format!("{reference}: {words}"))))
    }
}

impl Signing<'_> {
    /// Takes a leaf that will do, once its authority has been trusted by all for long enough, and clocks that are behind call
    /// it valid.
    fn take(&self, reference: &Reference, leaf: String, key: String, change: &mut Change) -> Option<Wait> {
        let valid = certs::lifetime(&leaf).map_or(self.now, |(from, _)| from);
        if !self.trust.has_settled(valid, self.now) {
            return Some(Wait::calm(
                "what it has signed is shown when its authority has been trusted by all for five minutes",
            ));
        }
        change.leaf(leaf, key, Issued::By(reference.to_string()));
        change.drops_key = true;
        None
    }
}

/// Whose leaf is put in.
#[derive(Default)]
enum Issued {
    /// None is.
    #[default]
    Nothing,
    Own,
    By(String),
}

/// What changes of a Secret.
#[derive(Default)]
struct Change {
    data: BTreeMap<&'static str, String>,
    issued: Issued,
    /// The key that an issuer was asked about goes.
    drops_key: bool,
}

impl Change {
    fn set(&mut self, key: &'static str, text: String) {
        self.data.insert(key, text);
    }

    fn leaf(&mut self, certificate: String, key: String, issued: Issued) {
        self.set("tls.crt", certificate);
        self.set("tls.key", key);
        self.issued = issued;
    }

    /// Of the Secret as it was read: two operators may be at it.
    async fn write(self, subject: &Subject, stored: &Secret) -> Result<(), SecretError> {
        if self.data.is_empty() && !self.drops_key {
            return Ok(());
        }
        let mut change = json!({"metadata": {"resourceVersion": stored.resource_version()}, "stringData": self.data});
        match self.issued {
            Issued::Nothing => {}
            Issued::Own => change["metadata"]["annotations"] = json!({ISSUER: Value::Null}),
            Issued::By(issuer) => change["metadata"]["annotations"] = json!({ISSUER: issuer}),
        }
        if self.drops_key {
            change["data"] = json!({NEXT_KEY: Value::Null});
        }
        subject.namespace.merge::<Secret>(&stored.name_any(), &change).await?;
        Ok(())
    }
}
