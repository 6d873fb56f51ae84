//! cert-manager's `CertificateRequest`s, by which an issuer is asked to sign (`spec.tls.issuerRef`). The keys stay here.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};
use weft_crds::{IssuerKind, IssuerRef};
use weft_redstuff::Hash;

/// Annotation: a digest of the key that a request is about.
const OF_KEY: &str = "weft.dev/of-key";
/// Annotation: when it was asked for, by the operator's clock.
const ASKED: &str = "weft.dev/asked-at";
/// What is asked for; the issuer may give less, or more.
const LIFE: &str = "720h";
const GROUP: &str = "cert-manager.io";

/// What an issuer is asked for.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "CertificateRequest",
    plural = "certificaterequests",
    namespaced,
    schema = "disabled",
    status = "CertificateRequestStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestSpec {
    /// PEM.
    pub request: ByteString,
    pub issuer_ref: Reference,
    // What others ask for may say less.
    #[serde(default)]
    pub usages: Vec<String>,
    #[serde(default)]
    pub duration: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    #[serde(default)]
    pub group: String,
    #[serde(default)]
    pub kind: String,
    pub name: String,
}

impl From<&IssuerRef> for Reference {
    fn from(IssuerRef { kind, name }: &IssuerRef) -> Self {
        let kind = match kind {
            IssuerKind::Issuer => "Issuer",
            IssuerKind::ClusterIssuer => "ClusterIssuer",
        };
        Self { group: GROUP.to_owned(), kind: kind.to_owned(), name: name.clone() }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CertificateRequestStatus {
    #[serde(default)]
    pub conditions: Vec<Said>,
    /// PEM, with its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ByteString>,
    /// PEM, of the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ByteString>,
}

/// A condition, of which others may say less than Kubernetes' own does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

impl Said {
    fn is(&self, kind: &str, status: &str) -> bool {
        (self.kind.as_str(), self.status.as_str()) == (kind, status)
    }
}

/// An issuer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None yet; and what it says meanwhile.
    None(String),
    Signed {
        leaf: String,
        authority: String,
    },
    /// In its own words.
    Refused(String),
}

impl CertificateRequest {
    /// A request for the leaf of that Secret.
    pub fn of(secret: &str, request: String, key: &str, issuer: Reference, now: Timestamp) -> Self {
        let usages = ["digital signature", "server auth", "client auth"].map(str::to_owned).to_vec();
        let request = ByteString(request.into_bytes());
        let mut made = Self::new(
            secret,
            CertificateRequestSpec { request, issuer_ref: issuer, usages, duration: LIFE.to_owned() },
        );
        made.annotations_mut().insert(OF_KEY.to_owned(), digest(key));
        made.annotations_mut().insert(ASKED.to_owned(), now.to_string());
        made
    }

    /// When it was made, by the operator's clock.
    pub fn asked(&self) -> Option<Timestamp> {
        self.annotations().get(ASKED)?.parse().ok()
    }

    /// Whether it asks this issuer about this key.
    pub fn is_about(&self, key: &str, issuer: &Reference) -> bool {
        self.spec.issuer_ref == *issuer && self.annotations().get(OF_KEY) == Some(&digest(key))
    }

    pub fn answer(&self) -> Answer {
        let Some(status) = &self.status else { return Answer::None("nobody has answered".to_owned()) };
        let is_refusal = |said: &&Said| {
            let is_final = ["Failed", "Denied"].contains(&said.reason.as_str());
            said.is("Denied", "True") || said.is("InvalidRequest", "True") || said.is("Ready", "False") && is_final
        };
        if let Some(Said { reason, message, .. }) = status.conditions.iter().find(is_refusal) {
            return Answer::Refused(format!("{reason}: {message}"));
        }
        let text = |bytes: &Option<ByteString>| {
            bytes.as_ref().and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).unwrap_or_default()
        };
        if status.conditions.iter().any(|said| said.is("Ready", "True")) {
            Answer::Signed { leaf: text(&status.certificate), authority: text(&status.ca) }
        } else {
            let pending = status.conditions.iter().find(|said| said.is("Ready", "False"));
            Answer::None(pending.map_or("nobody has answered", |said| &said.message).to_owned())
        }
    }
}

/// Of a key as PEM: told in public.
fn digest(key: &str) -> String {
    let mut digits = Hash::of(key.as_bytes()).to_string();
    digits.truncate(16);
    digits
}
