//! The rights and policies that the chart gives, to the letter.

use fateh_tests::variable;
use serde::Deserialize;
use serde_json::Value;

#[test]
fn rights_and_policies_are_rendered_as_their_snapshots_say() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rendered = std::process::Command::new(variable("FATEH_HELM"))
        .args(["template", "fateh", "charts/fateh", "--namespace", "fateh-system", "--kube-version", "1.36"])
        .args([
            "--set",
            "operator.image=registry.test/fateh-operator:1",
            "--set",
            "node.image=registry.test/node-runtime:1",
            "--set",
            "hub.enabled=true,hub.image=registry.test/fateh-hub:1,hub.adminEmail=root@example.com",
        ])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let text = String::from_utf8(rendered.stdout).unwrap();
    let mut seen = 0;
    for document in serde_yaml::Deserializer::from_str(&text) {
        let document = Value::deserialize(document).unwrap();
        let (kind, name) = (document["kind"].as_str().unwrap_or_default(), document["metadata"]["name"].as_str());
        let guarded = ["Role", "RoleBinding", "ValidatingAdmissionPolic", "ServiceAccount", "NetworkPolicy"];
        if guarded.iter().any(|guarded| kind.contains(guarded)) {
            seen += 1;
            insta::assert_yaml_snapshot!(format!("{kind}-{}", name.unwrap()), document);
        }
    }
    assert!(seen >= 12, "{seen} documents that give or take rights");
}
