//! Selectors of labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};

/// Whether a selector selects what has these labels; an empty one selects everything, and one that the API server wouldn't take
/// nothing.
pub(super) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selected(selector: Value) -> bool {
        let labels = [("app", "web"), ("tier", "front")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        selects(&serde_json::from_value(selector).expect("a selector"), &labels.into())
    }

    #[test]
    fn all_of_a_selector_must_hold() {
        let one = |operator: &str, key: &str, values: &[&str]| {
            let expression = json!({"key": key, "operator": operator, "values": values});
            selected(json!({"matchExpressions": [expression]}))
        };
        assert!(selected(json!({})));
        assert!(selected(json!({"matchLabels": {"app": "web", "tier": "front"}})));
        assert!(!selected(json!({"matchLabels": {"app": "web", "tier": "back"}})));
        assert!(one("In", "app", &["db", "web"]) && !one("In", "app", &["db"]) && !one("In", "zone", &["a"]));
        assert!(!one("NotIn", "app", &["web"]) && one("NotIn", "app", &["db"]) && one("NotIn", "zone", &["a"]));
        assert!(one("Exists", "app", &[]) && !one("Exists", "zone", &[]));
        assert!(!one("DoesNotExist", "app", &[]) && one("DoesNotExist", "zone", &[]));
        let both = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "zone", "operator": "Exists"}]});
        assert!(!selected(both));
    }
}
