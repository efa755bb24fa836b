//! The rights and policies that the chart gives, to the letter.

use fateh_tests::variable;
use serde::Deserialize;
use serde_json::Value;

/// What a hub needs.
const HUB: &str = "hub.enabled=true,hub.image=registry.test/fateh-hub:1,hub.adminEmail=root@example.com";

#[test]
fn rights_and_policies_are_rendered_as_their_snapshots_say() {
    let rendered = template(HUB);
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

#[test]
fn both_charts_pass_helm_s_own_look_at_its_strictest() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (chart, settings) in [("charts/fateh-crds", ""), ("charts/fateh", "operator.image=a:1,node.image=b:1")] {
        let linted = std::process::Command::new(variable("FATEH_HELM"))
            .args(["lint", "--strict", chart, "--set", settings])
            .current_dir(&root)
            .output()
            .unwrap();
        assert!(linted.status.success(), "{}", String::from_utf8_lossy(&linted.stdout));
    }
}

fn template(settings: &str) -> std::process::Output {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::process::Command::new(variable("FATEH_HELM"))
        .args(["template", "fateh", "charts/fateh", "--namespace", "fateh-system", "--kube-version", "1.36"])
        .args(["--set", "operator.image=registry.test/fateh-operator:1,node.image=registry.test/node-runtime:1"])
        .args(["--set", settings])
        .current_dir(root)
        .output()
        .unwrap()
}

#[test]
fn a_wrong_value_is_refused_by_the_name_of_its_field() {
    for (settings, field) in [
        ("operator.replicas=0", "/operator/replicas"),
        ("operator.replica=2", "/operator"),
        ("node.image=", "/node/image"),
        ("hub.enabled=true", "/hub"),
        ("baseDomain=no_domain", "/baseDomain"),
        ("publicPort=70000", "/publicPort"),
        ("databaseServer.tls.mode=Maybe", "/databaseServer/tls/mode"),
        ("monitoring.runbooks=here", "/monitoring/runbooks"),
        ("routing.mode=Gateway", "/routing/gateway/name"),
        ("nothing=1", "nothing"),
    ] {
        let refused = template(settings);
        let words = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && words.contains(field), "{settings}: {words}");
    }
}

#[test]
fn at_a_gateway_the_hub_has_routes_and_the_operator_may_read_that_gateway_alone() {
    let kinds = |mode: &str| {
        let gateway =
            "routing.gateway.namespace=gateways,routing.gateway.name=public,routing.gateway.listener=wildcard";
        let rendered = template(&format!("{HUB},{gateway},routing.mode={mode}"));
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        let text = String::from_utf8(rendered.stdout).unwrap();
        let all = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
        all.filter(|document| {
            let name = document["metadata"]["name"].as_str().unwrap_or_default();
            ["HTTPRoute", "Ingress"].contains(&document["kind"].as_str().unwrap_or_default())
                || (document["kind"] == "Role" && name == "fateh-operator-gateway")
        })
        .collect::<Vec<_>>()
    };
    let by_ingress: Vec<_> = kinds("Ingress").iter().map(|document| document["kind"].clone()).collect();
    assert_eq!(by_ingress, ["Ingress", "Ingress"]);
    insta::assert_yaml_snapshot!("gateway", kinds("Gateway"));
}

/// By the API server itself, as `kubectl apply --dry-run=server --validate=strict` asks it.
#[tokio::test]
async fn every_object_of_the_chart_is_taken_by_the_api_server() {
    let client = fateh_tests::kubernetes().await;
    let more = "databaseServer.host=db.example.com,monitoring.namespace=monitoring";
    let rendered = template(&format!("{HUB},{more}"));
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let discovery = kube::discovery::Discovery::new(client.clone()).run().await.unwrap();
    let mut taken = 0;
    for document in serde_yaml::Deserializer::from_str(&String::from_utf8(rendered.stdout).unwrap()) {
        let object = Value::deserialize(document).unwrap();
        if object.is_null() {
            continue;
        }
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = kube::core::GroupVersionKind::gvk(group, version, kind);
        let (resource, capabilities) = discovery.resolve_gvk(&kind).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
        let api: kube::Api<kube::core::DynamicObject> = if namespaced {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("fateh-system");
            kube::Api::namespaced_with(client.clone(), namespace, &resource)
        } else {
            kube::Api::all_with(client.clone(), &resource)
        };
        let parameters = kube::api::PatchParams::apply("chart-tests").force().dry_run().validation_strict();
        let answer = api.patch(name, &parameters, &kube::api::Patch::Apply(&object)).await;
        assert!(answer.is_ok(), "{} {name}: {answer:?}", kind.kind);
        taken += 1;
    }
    assert!(taken > 25, "{taken} objects");
}
