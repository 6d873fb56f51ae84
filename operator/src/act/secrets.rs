//! The committee's Secrets: its authority and signing keys, its gateways' token, and those of all leaves.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{PersistentVolumeClaim, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;
use serde_json::json;
use thiserror::Error;
use weft_protocol::{FleetId, PublicKey, SigningKey};

use crate::{
    act::{
        leaves::{LeafSecret, Signing},
        members::Which,
        spare_keys,
    },
    api::{ApiError, Namespace},
    certs::{self, Authority, CertError, MEMBER_NAME, Role},
    env::{Env, calendar},
    names,
    refusals::{Refusals, Want},
    subject::Subject,
};

#[derive(Debug, Error)]
pub enum SecretError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("certify")]
    Cert(#[from] CertError),
    #[error("draw random bytes")]
    Random(#[source] getrandom::Error),
    #[error("Secret {secret} has no usable {key}")]
    Field { secret: String, key: &'static str },
    #[error(
        "a committee of this name was deleted, and the keys and claims of its fleet {fleet} were kept ({kept}). To take \
         the fleet up again, set spec.fleetId to {fleet}: {command}. To begin another one, delete them first"
    )]
    Kept { fleet: String, kept: String, command: String },
    #[error("the objects that were kept are of several fleets: {kept}. Leave those of one, and set spec.fleetId to it")]
    Several { kept: String },
    #[error("Secret {secret} holds the keys of fleet {theirs}, and spec.fleetId is {ours}")]
    OtherFleet { secret: String, theirs: String, ours: FleetId },
    #[error("claim {claim} holds data of fleet {theirs:?}, and spec.fleetId is {ours}")]
    OtherData { claim: String, theirs: String, ours: FleetId },
    #[error(
        "{claim} kept data of a fleet, but Secret {secret} with the fleet's keys is gone: restore it, from a backup or, if the \
         operator kept a copy, with {command}; or delete the claims"
    )]
    NoKeys { claim: String, secret: String, command: String },
    #[error(
        "Secret {secret} with the fleet's keys is gone, and has to be restored, from a backup or, if the operator kept a copy, \
         with {command}"
    )]
    KeysGone { secret: String, command: String },
    #[error(
        "spec.fleetId names a fleet whose keys aren't here, and the operator has a copy of them (Secret {copy}): take it up with \
         {command}"
    )]
    KeysElsewhere { copy: String, command: String },
    #[error("Secret {secret} appeared and went again")]
    Vanished { secret: String },
}

/// The committee's keys.
#[derive(Debug)]
pub struct Keys {
    pub authority: Authority,
    /// Signs views, seal orders and term claims.
    pub views: SigningKey,
    /// Signs deletes; the gateways have it.
    pub deletes: SigningKey,
    /// Whom the members trust, as PEM: the authority, and whoever an issuer has told of.
    pub trusted: String,
    /// Where they are kept.
    pub stored: Secret,
}

impl Keys {
    /// What the next view says of keys.
    pub fn vouched(&self) -> weft_protocol::Authority {
        weft_protocol::Authority { views: self.views.public(), deletes: vec![self.deletes.public()] }
    }

    /// The key that members and gateways are told to trust.
    pub fn trust(&self) -> PublicKey {
        self.views.public()
    }
}

/// Checks, before a fleet is recorded for good, that neither keys nor claims of another one are in its way, and that
/// data which is to be adopted still has its keys: new ones would be worth nothing to it. `adopted`: what `spec.fleetId` names.
pub async fn clear_way(
    subject: &Subject,
    home: &Namespace,
    adopted: Option<FleetId>,
    claims: &[PersistentVolumeClaim],
) -> Result<(), SecretError> {
    let authority = names::authority(&subject.name);
    let secret: Option<Secret> = subject.namespace.get(&authority).await?;
    let of = |annotations: &BTreeMap<String, String>| annotations.get(names::FLEET).cloned().unwrap_or_default();
    let Some(fleet) = adopted else {
        let keys = secret.iter().map(|secret| (of(secret.annotations()), format!("Secret {authority}")));
        let data = claims.iter().map(|claim| (of(claim.annotations()), format!("claim {}", claim.name_any())));
        return is_clear(subject, keys.chain(data), secret.is_some());
    };
    let ours = fleet.to_string();
    if let Some(theirs) = secret.as_ref().map(|secret| of(secret.annotations())).filter(|theirs| *theirs != ours) {
        return Err(SecretError::OtherFleet { secret: authority, theirs, ours: fleet });
    }
    for claim in claims {
        let (name, theirs) = (claim.name_any(), of(claim.annotations()));
        if theirs != ours {
            return Err(SecretError::OtherData { claim: name, theirs, ours: fleet });
        }
        if secret.is_none() {
            let command = adopting(subject, &ours);
            return Err(SecretError::NoKeys { claim: format!("claim {name}"), secret: authority, command });
        }
    }
    if secret.is_none()
        && let Some(copy) = spare_keys::find(subject, home, fleet).await?
    {
        return Err(SecretError::KeysElsewhere { copy, command: adopting(subject, &ours) });
    }
    Ok(())
}

/// Whether nothing was kept of a committee that had the same name. Else says whose it is, and what a person may do: one
/// who makes the committee again decides whether the old data is meant.
fn is_clear(
    subject: &Subject,
    kept: impl Iterator<Item = (String, String)>,
    has_keys: bool,
) -> Result<(), SecretError> {
    let mut fleets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (fleet, object) in kept {
        fleets.entry(fleet).or_default().push(object);
    }
    let told = |objects: &[String]| match objects {
        [first, .., last] if objects.len() > 2 => format!("{first} to {last}, {} objects", objects.len()),
        objects => objects.join(", "),
    };
    let Some((fleet, objects)) = fleets.first_key_value() else { return Ok(()) };
    if fleets.len() > 1 {
        let each = fleets.iter().map(|(fleet, objects)| format!("{fleet:?} ({})", told(objects)));
        return Err(SecretError::Several { kept: each.collect::<Vec<_>>().join(", ") });
    }
    if !has_keys {
        let secret = names::authority(&subject.name);
        return Err(SecretError::NoKeys { claim: told(objects), secret, command: adopting(subject, fleet) });
    }
    let (namespace, name) = (&subject.namespace.name, &subject.name);
    let spec = json!({"spec": {"fleetId": fleet}});
    let command =
        format!("kubectl patch storagecommittee {name} --namespace {namespace} --type=merge --patch='{spec}'");
    Err(SecretError::Kept { fleet: fleet.clone(), kept: told(objects), command })
}

/// The command that puts back what is left of a fleet.
fn adopting(subject: &Subject, fleet: &str) -> String {
    let fleet = if fleet.is_empty() { "ID" } else { fleet };
    format!("kubectl weft adopt {} --namespace {} --fleet {fleet}", subject.name, subject.namespace.name)
}

/// Makes what is missing, renews what is due, removes what belongs to no incarnation any more, and gives the keys.
/// `members` are the incarnations that run or will; `others` have objects still.
pub async fn ensure(
    subject: &Subject,
    fleet: FleetId,
    members: &[Which],
    others: &[Which],
    env: &dyn Env,
    refusals: &mut Refusals,
) -> Result<Keys, SecretError> {
    let listed: Vec<Secret> = subject.namespace.list(&format!("{}={}", names::COMMITTEE, subject.name)).await?;
    let existing: BTreeMap<String, Secret> = listed.into_iter().map(|secret| (secret.name_any(), secret)).collect();
    let now = calendar(env.now());
    let keys = keys(subject, fleet, existing.get(&names::authority(&subject.name)), env).await?;
    let delete_key = [("delete.key", hex::encode(keys.deletes.seed()))];
    let leaves = leaves(subject, members, others, &existing, &delete_key);
    let signing = Signing::begin(subject, (fleet, &keys), &existing, &leaves, refusals, now).await?;
    let gateway = names::gateway(&subject.name);
    if !existing.contains_key(&gateway) {
        let data = [("token", random_hex(env)?), ("ca.crt", signing.trust.text())];
        subject.namespace.create(&secret(subject, &gateway, true, &data)).await?;
    }
    keep_authority(subject, existing.get(&names::authority(&subject.name))).await?;
    for secret in existing.values() {
        let spare = |which: &Which| !members.contains(which) && !others.contains(which);
        if which(secret).as_ref().is_some_and(spare) {
            let target = format!("Secret {}", secret.name_any());
            let deleted = subject.namespace.delete_as_read(secret).await;
            let want = Want::of_spec("DeleteSecret", &target, "its incarnation is gone");
            refusals.note(want, deleted, env.now())?;
        }
    }
    for leaf in &leaves {
        match leaf.ensure(&signing, refusals).await {
            // Its pod waits for it, and nobody else does.
            Err(SecretError::Api(error)) => {
                let target = format!("Secret {}", leaf.name);
                let want = Want::of_spec("Keep", &target, "its pod needs it");
                refusals.note::<()>(want, Err(error), env.now())?;
            }
            other => other?,
        }
    }
    let trusted = signing.trust.text();
    signing.end(&leaves, refusals).await?;
    Ok(Keys { trusted, ..keys })
}

/// The leaves of gateways and members, and those that are left of others: who trusts whom is the same for all.
fn leaves<'a>(
    subject: &Subject,
    members: &[Which],
    others: &[Which],
    existing: &BTreeMap<String, Secret>,
    delete_key: &'a [(&'static str, String)],
) -> Vec<LeafSecret<'a>> {
    let hosts = certs::gateway_names(&names::gateway(&subject.name), &subject.namespace.name);
    let gateways = LeafSecret { name: names::gateway_tls(&subject.name), role: Role::Gateway, hosts, more: delete_key };
    let name = |which: &Which| names::member_tls(&subject.name, which.member, which.incarnation);
    let left = others.iter().filter(|which| !members.contains(which) && existing.contains_key(&name(which)));
    let incarnations: BTreeMap<String, Which> = members.iter().chain(left).map(|which| (name(which), *which)).collect();
    let leaves = incarnations.into_iter().map(|(name, Which { member, incarnation })| LeafSecret {
        name,
        role: Role::Member { id: member, incarnation },
        hosts: vec![MEMBER_NAME.to_owned()],
        more: &[],
    });
    std::iter::once(gateways).chain(leaves).collect()
}

/// The incarnation that a leaf is for.
fn which(secret: &Secret) -> Option<Which> {
    let number = |label| secret.labels().get(label)?.parse().ok();
    Some(Which { member: number(names::MEMBER)?, incarnation: number(names::INCARNATION)? })
}

/// Keeps the term with the keys, since members refuse a lower one, also from a committee that was made again; and lets the
/// keys go with the committee or outlive it, by the policy.
async fn keep_authority(subject: &Subject, authority: Option<&Secret>) -> Result<(), SecretError> {
    let Some((secret, term)) = authority.zip(subject.status.term) else { return Ok(()) };
    let mut change = json!({"metadata": {}});
    if secret.annotations().get(names::TERM).and_then(|kept| kept.parse().ok()) != Some(term) {
        change["metadata"]["annotations"] = json!({names::TERM: term.to_string()});
    }
    if let Some(owners) = subject.owners_of_data(&secret.metadata).filter(|_| subject.may_settle_data()) {
        change["metadata"]["ownerReferences"] = json!(owners);
    }
    if change["metadata"] != json!({}) {
        change["metadata"]["resourceVersion"] = json!(secret.resource_version());
        subject.namespace.merge::<Secret>(&secret.name_any(), &change).await?;
    }
    Ok(())
}

/// Reads the authority, or makes it. Two operators may try at once: what is stored counts.
async fn keys(
    subject: &Subject,
    fleet: FleetId,
    existing: Option<&Secret>,
    env: &dyn Env,
) -> Result<Keys, SecretError> {
    let name = names::authority(&subject.name);
    if let Some(secret) = existing {
        return read_keys(secret, &name, fleet);
    }
    if subject.status.view.is_some() {
        // New keys would be worth nothing: members trust those that their views name.
        return Err(SecretError::KeysGone { secret: name, command: adopting(subject, &fleet.to_string()) });
    }
    let leaf = Authority::create(fleet, calendar(env.now()))?;
    let data = [
        ("ca.crt", leaf.certificate),
        ("ca.key", leaf.key),
        ("view.key", random_hex(env)?),
        ("delete.key", random_hex(env)?),
    ];
    let mut made = secret(subject, &name, false, &data);
    made.metadata.owner_references = subject.owners_of_data(&made.metadata);
    made.annotations_mut().insert(names::FLEET.to_owned(), fleet.to_string());
    subject.namespace.create(&made).await?;
    let stored: Option<Secret> = subject.namespace.get(&name).await?;
    read_keys(&stored.ok_or_else(|| SecretError::Vanished { secret: name.clone() })?, &name, fleet)
}

fn read_keys(secret: &Secret, name: &str, fleet: FleetId) -> Result<Keys, SecretError> {
    let theirs = secret.annotations().get(names::FLEET).cloned().unwrap_or_default();
    if theirs != fleet.to_string() {
        return Err(SecretError::OtherFleet { secret: name.to_owned(), theirs, ours: fleet });
    }
    let text =
        |key: &'static str| field(secret, key).ok_or_else(|| SecretError::Field { secret: name.to_owned(), key });
    let seed = |key: &'static str| {
        let mut seed = [0; 32];
        let read = hex::decode_to_slice(text(key)?.trim(), &mut seed);
        read.map_err(|_| SecretError::Field { secret: name.to_owned(), key })?;
        Ok::<_, SecretError>(SigningKey::from_seed(seed))
    };
    let authority = Authority::load(text("ca.crt")?, &text("ca.key")?)?;
    let trusted = authority.certificate().to_owned();
    Ok(Keys { authority, views: seed("view.key")?, deletes: seed("delete.key")?, trusted, stored: secret.clone() })
}

pub(super) fn secret(subject: &Subject, name: &str, owned: bool, data: &[(&str, String)]) -> Secret {
    let bytes = |(key, text): &(&str, String)| ((*key).to_owned(), ByteString(text.clone().into_bytes()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(subject.namespace.name.clone()),
            labels: Some(names::labels(&subject.name)),
            owner_references: owned.then(|| vec![subject.owner()]),
            ..ObjectMeta::default()
        },
        data: Some(data.iter().map(bytes).collect()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

pub(super) fn field(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

fn random_hex(env: &dyn Env) -> Result<String, SecretError> {
    let mut bytes = [0; 32];
    env.fill(&mut bytes).map_err(SecretError::Random)?;
    Ok(hex::encode(bytes))
}
