//! Every field of the spec, changed and changed back: the state after is the state before, and what lies between
//! leaves no trace. A field of the schema that has no row here fails the suite.

use std::collections::BTreeSet;

use fateh_crds::LocalNode;
use fateh_tests::{Postgres, apply_node, becomes_ready, differences, kubernetes, ready_node, snapshot};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

/// Two other values for a field, beside the one that nodes start with.
const MUTABLE: [(&str, &str, &str); 18] = [
    ("displayName", r#""second""#, r#""third \"'; DROP TABLE x; -- ${y}""#),
    ("region", r#""asia""#, r#""europe""#),
    ("country", r#""SA""#, r#""EG""#),
    ("language", r#""en""#, r#""id""#),
    ("timezone", r#""Asia/Riyadh""#, r#""Africa/Cairo""#),
    ("state", r#""Suspended""#, r#""Inactive""#),
    ("adminEmail", r#""second@example.com""#, r#""third@example.com""#),
    ("runtime.replicas", "2", "3"),
    ("runtime.resources.requests.cpu", r#""20m""#, r#""30m""#),
    ("runtime.resources.requests.memory", r#""40Mi""#, r#""50Mi""#),
    ("runtime.resources.limits.cpu", r#""500m""#, r#""1""#),
    ("runtime.resources.limits.memory", r#""200Mi""#, r#""300Mi""#),
    ("runtime.image", r#""registry.test/other:1""#, r#""registry.test/other:2""#),
    ("database.connectionLimit", "30", "10"),
    ("database.reclaimPolicy", r#""Delete""#, r#""Retain""#),
    ("routing.ingressClassName", r#""nginx""#, r#""traefik""#),
    ("fees.platformBasisPoints", "0", "10000"),
    ("settings", r#"{"theme": "green"}"#, r#"{"theme": "blue", "nested": {"a": [1, 2]}}"#),
];
/// Fields whose values name the node.
const NAMED: [&str; 2] = ["routing.extraHosts", "routing.tlsSecretName"];
/// Fields that cannot be changed back, each with two values: the second is refused after the first.
const FIXED: [(&str, &str, &str); 2] =
    [("currency", r#""SAR""#, r#""EGP""#), ("database.serverRef", r#""pg18""#, r#""pg15""#)];

/// The paths of all fields under `schema` that hold a value.
fn leaves(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) => {
            for (name, below) in properties {
                leaves(below, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, found);
            }
        }
        None => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn every_field_of_the_spec_has_a_row() {
    let definitions = fateh_crds::generate::definitions().unwrap();
    let (_, node) = definitions.iter().find(|(file, _)| *file == "localnodes.yaml").unwrap();
    let mut fields = BTreeSet::new();
    leaves(&node["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &mut fields);
    let rows = MUTABLE.iter().chain(&FIXED).map(|(path, ..)| *path).chain(NAMED);
    assert_eq!(fields, rows.map(str::to_owned).collect());
}

/// The spec that nodes start with, with one field set otherwise.
fn spec(node: &str, path: &str, value: Option<&Value>) -> Value {
    let mut spec = json!({"routing": {"extraHosts": [format!("{node}.example.com")], "tlsSecretName": "first-tls"}});
    let Some(value) = value else { return spec };
    let pointer = path.split('.').collect::<Vec<_>>();
    let mut at = &mut spec;
    for name in &pointer {
        at = &mut at[*name];
    }
    *at = value.clone();
    spec
}

/// Applies the spec and returns what there is of the node then. Fees are only ever appended: the newest counts.
async fn state(client: &Client, node: &str, spec: Value) -> Value {
    apply_node(client, node, spec).await.unwrap();
    becomes_ready(client, node).await;
    let found = Api::<LocalNode>::all(client.clone()).get(node).await.unwrap();
    let mut state = snapshot(client, &found, Postgres::V18).await;
    let rates = &mut state["database"]["inside"]["rates"];
    *rates = rates.as_array().and_then(|rates| rates.last().cloned()).unwrap_or_default();
    state
}

/// A node at its first spec, with the certificates that it may name.
async fn start(client: &Client, node: &str) {
    apply_node(client, node, json!({})).await.unwrap();
    becomes_ready(client, node).await;
    let secrets = Api::<Secret>::namespaced(client.clone(), &format!("fateh-node-{node}"));
    for name in ["first-tls", "second-tls", "third-tls"] {
        let secret = json!({"metadata": {"name": name}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": "certificate", "tls.key": "key"}});
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }
    state(client, node, spec(node, "", None)).await;
}

fn assert_same(what: &str, one: &Value, other: &Value) {
    let different = differences(one, other);
    assert!(different.is_empty(), "{what}: {different:#?}");
}

#[tokio::test]
async fn a_field_that_is_changed_and_changed_back_leaves_no_trace() {
    let client = kubernetes().await;
    let (winding, direct) = ("mutable-winding", "mutable-direct");
    futures::future::join(start(&client, winding), start(&client, direct)).await;
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let rows = MUTABLE.iter().map(|(path, b, c)| (*path, [parse(b), parse(c)], [parse(b), parse(c)]));
    let hosts = |node: &str| [json!([format!("{node}-b.example.com")]), json!([])];
    let named = [
        ("routing.extraHosts", hosts(winding), hosts(direct)),
        ("routing.tlsSecretName", [json!("second-tls"), json!("third-tls")], [json!("second-tls"), json!("third-tls")]),
    ];
    for (path, [b, c], [_, direct_c]) in rows.chain(named) {
        // A → B → C → A on one node, A → C → A on the other, at the same time.
        let long = async {
            let before = state(&client, winding, spec(winding, path, None)).await;
            let changed = state(&client, winding, spec(winding, path, Some(&b))).await;
            let through = state(&client, winding, spec(winding, path, Some(&c))).await;
            let after = state(&client, winding, spec(winding, path, None)).await;
            (before, changed, through, after)
        };
        let short = async {
            let there = state(&client, direct, spec(direct, path, Some(&direct_c))).await;
            (there, state(&client, direct, spec(direct, path, None)).await)
        };
        let ((before, changed, through, after), (there, back)) = futures::future::join(long, short).await;
        assert_same(&format!("{path}: changed and changed back"), &after, &before);
        assert_same(&format!("{path}: by way of another value"), &through, &there);
        assert_same(&format!("{path}: straight there and back"), &back, &before);
        // What is carried out at once shows; a first admin is invited once, a policy shows at deletion.
        if !["adminEmail", "database.reclaimPolicy"].contains(&path) {
            assert!(!differences(&changed, &before).is_empty(), "{path}: the change is carried out");
        }
    }
}

#[tokio::test]
async fn a_field_that_is_fixed_says_so() {
    let client = kubernetes().await;
    for (index, (path, first, second)) in FIXED.iter().enumerate() {
        let node = format!("fixed-{index}");
        let with = |text: &str| {
            let mut spec = spec(&node, path, Some(&serde_json::from_str(text).unwrap()));
            spec.as_object_mut().unwrap().remove("routing");
            spec
        };
        ready_node(&client, &node, with(first)).await;
        match apply_node(&client, &node, with(second)).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.code == 422 && status.message.contains("immutable"), "{path}: {}", status.message);
            }
            other => panic!("{path} should be refused: {other:?}"),
        }
    }
}
