//! Changes of a spec, made of the definition's schema alone: what the API server may accept, sensible or not.

use serde_json::{Map, Value, json};

/// What texts without a pattern become: a name, and a word of Kubernetes' that is right in few places.
const WORDS: [&str; 2] = ["one", "NoExecute"];
const DURATIONS: [&str; 4] = ["0s", "45s", "1m30s", "2h30m"];
/// One in the morning, and one in the evening.
const TIMES: [&str; 2] = ["03:00", "22:30"];
const QUANTITIES: [&str; 4] = ["110m", "1", "200Mi", "2Gi"];

/// A name, an address, and what none can be reached at.
const COLLECTORS: [&str; 3] = ["http://collector:4317", "http://192.0.2.1:4317", "http://collector"];

/// A field of the spec, and what it becomes.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// `gateway.replicas`; `drain[]` for items of a list.
    pub(crate) field: String,
    /// Merged into the spec.
    pub(crate) spec: Value,
}

/// Every field of the schema, by its values: each of them differs from what the field is in `base`.
pub(crate) fn changes(schema: &Value, base: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, property) in properties(schema) {
        for (field, value) in variants(property, base.get(name), name) {
            changes.push(Change { field, spec: json!({ name: value }) });
        }
    }
    changes
}

/// The fields of a schema and what they become, with everything that must be beside them.
fn variants(schema: &Value, base: Option<&Value>, path: &str) -> Vec<(String, Value)> {
    if let Some(items) = schema.get("items") {
        let items = variants(items, None, &format!("{path}[]")).into_iter();
        return items.map(|(field, item)| (field, json!([item]))).collect();
    }
    let mut found = Vec::new();
    for (name, property) in properties(schema) {
        let inner = base.and_then(|base| base.get(name));
        for (field, value) in variants(property, inner, &format!("{path}.{name}")) {
            let mut object = if base.is_none() { required(schema) } else { Map::new() };
            object.insert(name.clone(), value);
            found.push((field, Value::Object(object)));
        }
    }
    if properties(schema).next().is_none() {
        let others = samples(schema, base).into_iter().filter(|sample| Some(sample) != base);
        found.extend(others.map(|sample| (path.to_owned(), sample)));
    }
    found
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// An object with what it can't be without.
fn required(schema: &Value) -> Map<String, Value> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let sample = |schema: &Value| match schema["pattern"].as_str() {
        // The shortest are refused where nothing but a duration is said.
        Some(pattern) if is_duration(pattern) => DURATIONS.last().map(|text| json!(text)),
        _ => samples(schema, None).into_iter().next(),
    };
    names.filter_map(|name| Some((name.to_owned(), sample(&schema["properties"][name])?))).collect()
}

/// Values of a field that has no fields.
fn samples(schema: &Value, base: Option<&Value>) -> Vec<Value> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.clone();
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return QUANTITIES.map(Value::from).into();
    }
    let pattern = schema.get("pattern").and_then(Value::as_str);
    match (schema["type"].as_str(), pattern) {
        (Some("boolean"), _) => vec![json!(true), json!(false)],
        (Some("integer"), _) => numbers(schema, base.and_then(Value::as_i64)).into_iter().map(Value::from).collect(),
        (Some("string"), None) => WORDS.map(Value::from).into(),
        (Some("string"), Some(pattern)) if is_duration(pattern) => DURATIONS.map(Value::from).into(),
        (Some("string"), Some(pattern)) if pattern.ends_with(":[0-5][0-9]$") => TIMES.map(Value::from).into(),
        (Some("string"), Some("^[0-9a-f]{32}$")) => vec![json!("0".repeat(32))],
        (Some("string"), Some("^http://")) => COLLECTORS.map(Value::from).into(),
        _ => panic!("the generator knows no values of {schema}"),
    }
}

fn is_duration(pattern: &str) -> bool {
    pattern.contains("(h|m|s)")
}

/// The bounds, what is beside the present number, and something between.
fn numbers(schema: &Value, base: Option<i64>) -> Vec<i64> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    let (least, most) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(i64::from(i32::MAX)));
    let beside = base.map_or([least, least + 3], |base| [base + 1, base - 1]);
    let mut numbers: Vec<i64> = beside.into_iter().chain([least, most]).collect();
    numbers.retain(|number| (least..=most).contains(number));
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
