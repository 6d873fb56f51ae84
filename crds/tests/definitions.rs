//! What the generated definitions promise.

use std::{fs, path::Path};

use weft_crds::{Definition, definitions};

fn each(check: impl Fn(&Definition)) {
    definitions().expect("definitions").iter().for_each(check);
}

#[test]
fn generated_files_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    each(|definition| {
        let manifest = fs::read_to_string(folder.join(definition.file_name())).expect("the generated manifest");
        assert_eq!(
            manifest,
            definition.manifest().expect("a manifest"),
            "run `cargo run -p weft-crds --bin generate-crds`"
        );
        let template = folder.join(format!("../charts/weft/templates/crds/{}.yaml", definition.plural));
        let template = fs::read_to_string(template).expect("the chart's copy");
        assert_eq!(
            template,
            definition.template().expect("a template"),
            "run `cargo run -p weft-crds --bin generate-crds`"
        );
    });
}

#[test]
fn definitions_stay_far_below_the_annotation_limit() {
    each(|definition| {
        let size = definition.object.to_string().len();
        assert!(size < 128 << 10, "{}: {size} bytes", definition.plural);
    });
}

#[test]
fn no_short_name_shadows_a_builtin() {
    each(|definition| {
        let names = definition.object["spec"]["names"]["shortNames"].as_array().expect("short names");
        for builtin in ["sc", "ep", "po", "pv", "pvc", "ns", "no", "cm", "ev"] {
            assert!(!names.iter().any(|name| name == builtin), "{builtin}");
        }
    });
}

#[test]
fn schemas_say_nothing_that_the_api_server_does_not_know() {
    each(|definition| {
        let text = definition.object.to_string();
        for word in ["\"nullable\"", "\"uint", "\"$ref\"", "\"$schema\"", "\"anyOf\":[{\"enum\""] {
            assert!(!text.contains(word), "{}: {word}", definition.plural);
        }
    });
}

/// Reads a manifest, writes it again, and compares: nothing that the schema accepts is lost in the types.
fn survives_the_types<T: serde::de::DeserializeOwned + serde::Serialize>(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/refusals/valid").join(file);
    let text = fs::read_to_string(path).expect("a manifest");
    let said: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    let read: T = serde_json::from_value(said.clone()).expect("the type");
    let written = serde_json::to_value(read).expect("JSON");
    for part in ["spec", "status"] {
        contains(&written[part], &said[part], part);
    }
}

/// Whether all that was said is there; defaults may be there too.
fn contains(written: &serde_json::Value, said: &serde_json::Value, path: &str) {
    match said {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| contains(&written[name], value, &format!("{path}.{name}")));
        }
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| contains(&written[i], item, &format!("{path}[{i}]")));
        }
        _ => assert_eq!(written, said, "{path}"),
    }
}

#[test]
fn the_types_know_every_field_of_the_manifests() {
    use weft_crds::{Epoch, StorageCommittee};
    survives_the_types::<StorageCommittee>("minimal.yaml");
    survives_the_types::<StorageCommittee>("everything.yaml");
    survives_the_types::<StorageCommittee>("report.after.yaml");
    survives_the_types::<Epoch>("epoch.yaml");
    survives_the_types::<Epoch>("epoch-report.after.yaml");
}
