//! The volumes of a fleet, by what the operator has labelled them with.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;
use weft_crds::names;
use weft_protocol::FleetId;

use crate::failure::BoxError as Error;

/// A volume with data of the fleet.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) volume: PersistentVolume,
    pub(super) member: u32,
    pub(super) incarnation: u32,
    /// The incarnation that its claim was made for, which is in the claim's name.
    pub(super) origin: u32,
    /// The committee that its claim was named after, if it had one.
    pub(super) committee: Option<String>,
}

impl Found {
    pub(super) fn size(&self) -> Option<String> {
        Some(self.volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?.0.clone())
    }

    /// Why its data can't be counted on, if it can't.
    fn flaw(&self) -> Option<&'static str> {
        let spec = self.volume.spec.as_ref();
        let phase = self.volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let erased = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) != Some("Retain");
        match phase {
            _ if self.volume.metadata.deletion_timestamp.is_some() => Some("is being deleted"),
            Some("Failed") => Some("has failed"),
            // Bound, it is somebody's, who decides.
            Some("Released") if erased => Some("is released, and will be erased by its reclaim policy"),
            _ => None,
        }
    }
}

/// The volumes, in order of member and incarnation.
pub(super) fn found(volumes: Vec<PersistentVolume>, except: &[String]) -> Result<Vec<Found>, Error> {
    let unknown = except.iter().find(|name| !volumes.iter().any(|volume| volume.name_any() == **name));
    if let Some(unknown) = unknown {
        return Err(format!("no volume {unknown} is labelled with the fleet: there is nothing to leave out").into());
    }
    let mut found: Vec<Found> = Vec::new();
    for volume in volumes.into_iter().filter(|volume| !except.contains(&volume.name_any())) {
        let name = volume.name_any();
        let number = |label| volume.labels().get(label).and_then(|text| text.parse().ok());
        let (Some(member), Some(incarnation)) = (number(names::MEMBER), number(names::INCARNATION)) else {
            return Err(
                format!("volume {name} doesn't say whose it is: label it, or leave it out with --except").into()
            );
        };
        let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.name.as_deref());
        let claimed = claim.and_then(names::claimed).filter(|(_, id, _)| *id == member);
        let committee = claimed.map(|(committee, ..)| committee.to_owned());
        let origin = claimed.map_or(incarnation, |(.., origin)| origin);
        let one = Found { volume, member, incarnation, origin, committee };
        if let Some(flaw) = one.flaw() {
            return Err(format!("volume {name}, of {member}-{incarnation}, {flaw}: leave it out with --except").into());
        }
        let same =
            |other: &&Found| other.member == member && (other.incarnation == incarnation || other.origin == one.origin);
        if let Some(other) = found.iter().find(same) {
            return Err(format!(
                "{} and {name} both have data of {member}-{incarnation}: one is a copy. Leave it out with --except",
                other.volume.name_any()
            )
            .into());
        }
        found.push(one);
    }
    found.sort_by_key(|found| (found.member, found.incarnation));
    Ok(found)
}

/// The committee to take them up: as said, or the only one that claims were named after.
pub(super) fn named(wanted: Option<&str>, found: &[Found], fleet: FleetId) -> Result<String, Error> {
    let named: BTreeSet<&str> = found.iter().filter_map(|found| found.committee.as_deref()).collect();
    let name = match (wanted, named.iter().next()) {
        (Some(wanted), _) => wanted,
        (None, Some(only)) if named.len() == 1 => only,
        (None, Some(_)) => {
            let named = named.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("their claims were those of {named}: say which committee shall have them").into());
        }
        (None, None) if found.is_empty() => {
            return Err(format!(
                "no volume has data of fleet {fleet}. What is there: kubectl get persistentvolumes --label-columns={}. Where only \
                 the keys are gone, name the committee",
                names::FLEET
            )
            .into());
        }
        (None, None) => return Err("no claim of theirs is known: say which committee shall have them".into()),
    };
    let is_label = name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-');
    if name.is_empty() || name.len() > names::LONGEST || !is_label {
        return Err(format!(
            "a committee can't be named {name:?}: a DNS label of at most {} characters",
            names::LONGEST
        )
        .into());
    }
    Ok(name.to_owned())
}

/// The claim of a volume, as large as that is.
pub(super) fn claim(found: &Found, committee: &str, namespace: &str, fleet: FleetId) -> PersistentVolumeClaim {
    let spec = found.volume.spec.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::member_claim(committee, found.member, found.origin)),
            namespace: Some(namespace.to_owned()),
            labels: Some(names::member_labels(committee, found.member, found.incarnation)),
            annotations: Some([(names::FLEET.to_owned(), fleet.to_string())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: spec.access_modes,
            // None would be the default class.
            storage_class_name: Some(spec.storage_class_name.unwrap_or_default()),
            volume_mode: spec.volume_mode,
            resources: Some(VolumeResourceRequirements { requests: spec.capacity, limits: None }),
            volume_name: Some(found.volume.name_any()),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FLEET: FleetId = FleetId([7; 16]);

    fn volume(name: &str, claim: &str, member: &str, incarnation: &str) -> PersistentVolume {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {
                names::FLEET: FLEET.to_string(), names::MEMBER: member, names::INCARNATION: incarnation}},
            "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"],
                "claimRef": {"namespace": "old", "name": claim, "uid": "1"}},
        }))
        .unwrap()
    }

    fn refused(volumes: Vec<PersistentVolume>, except: &[&str]) -> String {
        let except: Vec<String> = except.iter().map(|name| (*name).to_owned()).collect();
        found(volumes, &except).unwrap_err().to_string()
    }

    #[test]
    fn a_volume_gets_the_claim_that_it_had() {
        // Its claim was inherited: it is named after the first incarnation, and the third has it (R25).
        let found = found(vec![volume("b", "my-demo-3-1", "3", "3")], &[]).unwrap().remove(0);
        assert_eq!((found.committee.as_deref(), found.origin, found.incarnation), (Some("my-demo"), 1, 3));
        let claim = claim(&found, "new", "there", FLEET);
        assert_eq!(claim.name_any(), "new-3-1");
        assert_eq!(claim.labels().get(names::INCARNATION).map(String::as_str), Some("3"));
        let spec = claim.spec.unwrap();
        assert_eq!((spec.volume_name.as_deref(), spec.storage_class_name.as_deref()), (Some("b"), Some("")));
    }

    #[test]
    fn copies_and_strangers_are_for_a_person() {
        let twins = || vec![volume("a", "demo-3-1", "3", "1"), volume("b", "demo-3-1", "3", "1")];
        assert!(refused(twins(), &[]).contains("a and b both have data of 3-1"));
        assert_eq!(found(twins(), &["b".to_owned()]).unwrap().len(), 1);
        assert!(refused(twins(), &["c"]).contains("no volume c"));
        assert!(named(None, &[], FLEET).unwrap_err().to_string().contains("no volume has data of fleet 0707"));
        assert!(refused(vec![volume("a", "demo-3-1", "x", "1")], &[]).contains("a doesn't say whose it is"));
        // Not beside each other, and the same claim all the same.
        let three = [("a", "demo-3-1", "1"), ("b", "demo-3-2", "2"), ("c", "demo-3-1", "3")];
        let three = three.map(|(name, claim, incarnation)| volume(name, claim, "3", incarnation));
        assert!(refused(three.to_vec(), &[]).contains("a and c both have data"));
    }

    #[test]
    fn what_is_going_or_gone_is_not_taken() {
        let mut one = volume("a", "demo-3-1", "3", "1");
        one.status = Some(serde_json::from_value(json!({"phase": "Released"})).unwrap());
        assert!(refused(vec![one.clone()], &[]).contains("will be erased"));
        one.spec.as_mut().unwrap().persistent_volume_reclaim_policy = Some("Retain".to_owned());
        assert_eq!(found(vec![one.clone()], &[]).unwrap().len(), 1);
        one.status = Some(serde_json::from_value(json!({"phase": "Failed"})).unwrap());
        assert!(refused(vec![one], &[]).contains("has failed"));
    }

    #[test]
    fn whose_name_it_gets_is_said_where_it_is_not_clear() {
        let one = found(vec![volume("a", "demo-3-1", "3", "1")], &[]).unwrap();
        assert_eq!(named(None, &one, FLEET).unwrap(), "demo");
        assert_eq!(named(Some("other"), &one, FLEET).unwrap(), "other");
        let two = [volume("a", "demo-3-1", "3", "1"), volume("b", "else-4-1", "4", "1")];
        let two = found(two.to_vec(), &[]).unwrap();
        assert!(named(None, &two, FLEET).unwrap_err().to_string().contains("demo, else"));
        let none = found(vec![volume("a", "by-hand", "3", "1")], &[]).unwrap();
        assert!(named(None, &none, FLEET).is_err());
        assert!(named(Some("Demo"), &none, FLEET).is_err() && named(Some(&"a".repeat(41)), &none, FLEET).is_err());
    }
}
