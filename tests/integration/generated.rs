//! Generated files are what the code generates.

use std::path::Path;

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
