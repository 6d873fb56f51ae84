//! Selectors of labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

type Labels = BTreeMap<String, String>;

/// Whether a selector selects what has these labels; an empty one selects everything.
pub(super) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let LabelSelector { match_labels, match_expressions } = selector;
    match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().flatten().all(|expression| holds(expression, labels))
}

fn holds(expression: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let label = labels.get(&expression.key);
    let listed = || label.is_some_and(|label| expression.values.iter().flatten().any(|value| value == label));
    match expression.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        // The API server takes no others.
        _ => false,
    }
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
