//! Objects without what nobody here reads.

use std::borrow::Cow;

use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Deserializer};

/// An object as it is kept: without `managedFields`, which can be larger in memory than all else of it. For reading only: whoever
/// writes it back would take the fields from their managers.
#[derive(Clone, Debug)]
pub struct Lean<K>(pub K);

impl<'de, K: Deserialize<'de> + Resource> Deserialize<'de> for Lean<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = K::deserialize(deserializer)?;
        lean(&mut object);
        Ok(Self(object))
    }
}

/// Takes away what nobody here reads.
pub fn lean<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

impl<K: Resource> Resource for Lean<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_managers_claim_isn_t_kept_and_all_else_is() {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": {"zone": "z"}, "managedFields": [
            {"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:zone": {}}}}}]}});
        let Lean(node): Lean<Node> = serde_json::from_value(object.clone()).expect("a Node");
        assert_eq!(node.metadata.managed_fields, None);
        let mut whole: Node = serde_json::from_value(object).expect("a Node");
        lean(&mut whole);
        assert_eq!(whole, node);
        assert_eq!(node.metadata.labels.expect("labels")["zone"], "z");
    }
}
