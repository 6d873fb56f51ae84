//! Handing a lost incarnation's claim to the one that admits its volume again (R25). Who inherits what is in status
//! already; the label on the claim keeps it, should status be lost.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    act::{Means, members::Which},
    api::ApiError,
    names,
};

/// Makes the claim of that UID another incarnation's. A namesake, or one that is on its way out, stays as it is.
pub async fn claim(with: &Means<'_>, which: Which, heir: u32, uid: &str) -> Result<(), ApiError> {
    let namespace = &with.subject.namespace;
    let name = names::member_claim(&with.subject.name, which.member, with.objects.origin(which));
    let live: Option<PersistentVolumeClaim> = namespace.get(&name).await?;
    let meant =
        |live: &PersistentVolumeClaim| live.uid().as_deref() == Some(uid) && live.metadata.deletion_timestamp.is_none();
    let Some(live) = live.filter(meant) else { return Ok(()) };
    let change = json!({"metadata": {
        "uid": uid,
        "resourceVersion": live.resource_version(),
        "labels": {names::INCARNATION: heir.to_string()},
    }});
    namespace.merge::<PersistentVolumeClaim>(&name, &change).await?;
    Ok(())
}
