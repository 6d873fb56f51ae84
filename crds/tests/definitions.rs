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
