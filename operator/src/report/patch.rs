//! The difference between two statuses, as a merge patch (RFC 7396).

use serde_json::{Map, Value};

/// What changes `old` into `new`; `None` when nothing does. Lists are replaced whole.
pub(super) fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
            let changed = new.iter().filter_map(|(key, value)| {
                let change = match old.get(key) {
                    Some(before) => difference(before, value)?,
                    None => value.clone(),
                };
                Some((key.clone(), change))
            });
            Some(Value::Object(gone.chain(changed).collect::<Map<_, _>>()))
        }
        (_, new) => Some(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changed_is_said() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1], "g": 0});
        let new = json!({"a": 1, "b": {"c": 2, "d": 4}, "e": [1, 2], "f": true});
        assert_eq!(difference(&old, &new), Some(json!({"b": {"d": 4}, "e": [1, 2], "f": true, "g": null})));
        assert_eq!(difference(&new, &new), None);
    }
}
