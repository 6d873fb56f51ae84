//! Whom a committee's processes trust: `ca.crt`, the same in the Secrets of all leaves, and in the gateways' for their clients.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::json;
use weft_redstuff::Hash;

use crate::{
    act::{
        leaves::LeafSecret,
        secrets::{Keys, SecretError, field},
    },
    certs::Bundle,
    env::instant,
    refusals::{Refusals, Want},
    subject::Subject,
};

/// Annotation of the gateways' Secret: since when all have had this `ca.crt`, and a digest of it.
const TRUSTED: &str = "weft.dev/trusted-since";
/// So long after all Secrets have an authority, everyone trusts it: kubelets bring a Secret to its pods within two minutes, and
/// processes read it anew within one.
const SETTLED: SignedDuration = SignedDuration::from_mins(5);

/// Who is trusted, and since when by all.
#[derive(Debug)]
pub(super) struct Trust {
    bundle: Bundle,
    /// The gateways' Secret.
    published: String,
    /// `None`: some haven't got it yet.
    since: Option<Timestamp>,
}

impl Trust {
    /// The own authority, and whoever is trusted by now: there may be leaves of theirs. Who has expired and signed none of the
    /// leaves goes.
    pub(super) fn read(
        published: &str,
        keys: &Keys,
        existing: &BTreeMap<String, Secret>,
        leaves: &[LeafSecret<'_>],
        now: Timestamp,
    ) -> Self {
        let mut found = Bundle::default();
        let names = leaves.iter().map(|leaf| leaf.name.as_str()).chain([published]);
        let known: Vec<&Secret> = names.filter_map(|name| existing.get(name)).collect();
        for secret in &known {
            found.add(&field(secret, "ca.crt").unwrap_or_default());
        }
        let used: Vec<String> = known.iter().filter_map(|secret| field(secret, "tls.crt")).collect();
        let mut bundle = Bundle::default();
        bundle.add(keys.authority.certificate());
        bundle.add(&found.without_expired(&used, now).text());
        Self { bundle, published: published.to_owned(), since: None }
    }

    pub(super) fn add(&mut self, authority: &str, now: Timestamp) {
        let mut more = Bundle::default();
        more.add(authority);
        self.bundle.add(&more.without_expired(&[], now).text());
    }

    /// As PEM.
    pub(super) fn text(&self) -> String {
        self.bundle.text()
    }

    /// Whether everyone has trusted all for long enough to be shown what began to be valid at that time.
    pub(super) fn has_settled(&self, valid: Timestamp, now: Timestamp) -> bool {
        self.since.is_some_and(|since| now.duration_since(since.max(valid)) >= SETTLED)
    }

    /// Writes it where clients of gateways read it; and once all have it, since when.
    pub(super) async fn publish(
        &mut self,
        subject: &Subject,
        existing: &BTreeMap<String, Secret>,
        leaves: &[LeafSecret<'_>],
        refusals: &mut Refusals,
        now: Timestamp,
    ) -> Result<(), SecretError> {
        let Some(published) = existing.get(&self.published) else { return Ok(()) };
        let text = self.text();
        let has_it = |secret: &Secret| field(secret, "ca.crt").as_ref() == Some(&text);
        let all = leaves.iter().all(|leaf| existing.get(&leaf.name).is_none_or(has_it)) && has_it(published);
        let digest = Hash::of(text.as_bytes()).to_string();
        let noted = published.annotations().get(TRUSTED).and_then(|noted| noted.split_once(' '));
        let noted = noted.filter(|(_, of)| *of == digest).and_then(|(since, _)| since.parse().ok());
        if all && (noted.is_some() || self.bundle.is_single()) {
            self.since = noted;
            return Ok(());
        }
        if !all && has_it(published) {
            return Ok(());
        }
        let mut change = json!({
            "metadata": {"resourceVersion": published.resource_version()}, "stringData": {"ca.crt": text},
        });
        if all {
            change["metadata"]["annotations"] = json!({TRUSTED: format!("{now} {digest}")});
        }
        let target = format!("Secret {}", self.published);
        let want = Want::of_spec("Keep", &target, "gateways' clients trust by it");
        let written = subject.namespace.merge::<Secret>(&self.published, &change).await;
        refusals.note(want, written, instant(now))?;
        Ok(())
    }
}
