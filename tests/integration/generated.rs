//! Generated files are what the code generates.

use std::{path::Path, process::Command};

use fateh_tests::variable;
use serde_json::Value;

#[test]
fn committed_definitions_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, mut definition) in fateh_crds::generate::definitions().unwrap() {
        let committed = |path: String| -> serde_json::Value {
            serde_yaml::from_str(&std::fs::read_to_string(root.join(&path)).unwrap()).unwrap()
        };
        assert_eq!(committed(format!("crds/{file}")), definition, "crds/{file} is stale: run `make generate`");
        definition["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
        let template = format!("charts/fateh-crds/templates/{file}");
        assert_eq!(committed(template.clone()), definition, "{template} is stale: run `make generate`");
    }
}

#[test]
fn the_reference_is_that_of_the_code() {
    let reference = fateh_crds::reference::reference(&fateh_crds::generate::definitions().unwrap());
    let committed =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md")).unwrap();
    assert!(committed == reference, "docs/reference.md is stale: run `make generate`");
}

#[test]
fn the_manifest_for_those_without_helm_is_what_the_charts_render() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rendered = Command::new(root.join("charts/render.sh")).arg(variable("FATEH_HELM")).output().unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let committed = std::fs::read(root.join("manifests/install.yaml")).unwrap();
    assert!(rendered.stdout == committed, "manifests/install.yaml is stale: run `make generate`");
}

/// What `kubectl explain` has nothing to say about, as paths.
fn unexplained(path: &str, schema: &Value, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // Kubernetes' own, which it explains itself.
        if name == "metadata" {
            continue;
        }
        if field["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        unexplained(&path, field, found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            unexplained(&format!("{path}[]"), &schema[inner], found);
        }
    }
}

#[test]
fn every_field_is_explained() {
    let mut found = Vec::new();
    for (file, definition) in fateh_crds::generate::definitions().unwrap() {
        for version in definition["spec"]["versions"].as_array().unwrap() {
            unexplained(file, &version["schema"]["openAPIV3Schema"], &mut found);
        }
    }
    assert!(found.is_empty(), "without a description: {found:#?}");
}
