//! All that a node consists of, in Kubernetes and in PostgreSQL, without what differs from one node to the next.

use fateh_crds::LocalNode;
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::Postgres;

/// Every kind of object in a node's namespace.
const KINDS: [(&str, &str, &str); 12] = [
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
    ("", "v1", "Service"),
    ("", "v1", "ServiceAccount"),
    ("apps", "v1", "Deployment"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("fateh-platform.com", "v1alpha1", "NodeReport"),
    ("fateh-platform.com", "v1alpha1", "NodeContent"),
];

/// Digests, secrets and addresses differ by the node's name and by chance; their presence is what counts.
fn blind(kind: &str, object: &mut Value) {
    if kind == "Secret" {
        for value in object["data"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            *value = "…".into();
        }
    }
    if kind == "Service" {
        object["spec"]["clusterIP"] = "…".into();
        object["spec"]["clusterIPs"] = "…".into();
    }
    if let Some(annotations) = object.pointer_mut("/spec/template/metadata/annotations") {
        for value in annotations.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            *value = "…".into();
        }
    }
}

/// What there is of the node; equal for any two nodes of the same spec.
pub async fn snapshot(client: &Client, node: &LocalNode, server: Postgres) -> Value {
    let name = node.name_any();
    let namespace = format!("fateh-node-{name}");
    let mut objects = Vec::new();
    for (group, version, kind) in KINDS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
        for object in
            api.list(&ListParams::default()).await.unwrap_or_else(|error| panic!("list {kind}: {error}")).items
        {
            let mut value = json!({
                "kind": kind, "name": object.name_any(), "labels": object.metadata.labels,
                "annotations": object.metadata.annotations, "owners": object.metadata.owner_references,
            });
            let mut rest = object.data.clone();
            rest.as_object_mut().map(|rest| rest.remove("status"));
            blind(kind, &mut rest);
            value["rest"] = rest;
            objects.push(value);
        }
    }
    let status = node.status.clone().unwrap_or_default();
    let conditions: Vec<_> = status.conditions.iter().map(|it| (&it.type_, &it.status, &it.reason)).collect();
    let all = json!({
        "objects": objects, "conditions": conditions, "phase": status.phase, "url": status.url,
        "labels": node.labels(), "finalizers": node.finalizers(), "database": database(node, server).await,
    });
    // Named by the node, and marked with its UID, wherever they stand.
    let text = all.to_string().replace(&node.uid().unwrap_or_default(), "UID").replace(&name, "NODE");
    serde_json::from_str(&text.replace(&name.replace('-', "_"), "NODE"))
        .unwrap_or_else(|error| panic!("read the snapshot back: {error}"))
}

/// Role and database, and what the operator wrote inside.
async fn database(node: &LocalNode, server: Postgres) -> Value {
    let name = format!("node_{}", node.name_any().replace('-', "_"));
    let catalog = "SELECT json_build_object(
        'roles', (SELECT json_agg(json_build_object('name', rolname, 'login', rolcanlogin, 'limit', rolconnlimit, 'config', rolconfig,
                    'mark', split_part(shobj_description(oid, 'pg_authid'), ' ', 1),
                    'of', (SELECT json_agg(g.rolname ORDER BY 1) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid)))
                  FROM pg_roles r WHERE starts_with(rolname::text, $1)),
        'databases', (SELECT json_agg(json_build_object('name', datname, 'open', datallowconn, 'limit', datconnlimit,
                        'mark', split_part(shobj_description(oid, 'pg_database'), ' ', 1), 'acl', datacl::text[]))
                      FROM pg_database WHERE starts_with(datname::text, $1)),
        'retired', (SELECT count(*) FROM pg_database WHERE datname LIKE 'deleted\\_' || substr($1, 6) || '\\_%'))";
    let mut outside = server.operator("postgres").await;
    let asked = sqlx::query_scalar(catalog).bind(&name).fetch_one(&mut outside).await;
    let mut found: Value = asked.unwrap_or_else(|error| panic!("ask the catalog: {error}"));
    if found["databases"].is_array() {
        let rows = "SELECT json_build_object(
            'rates', (SELECT json_agg(platform_basis_points ORDER BY valid_from) FROM local_node.fee_rates),
            'invitations', (SELECT count(*) FROM local_node.first_admin_invitation),
            'usage', has_schema_privilege($1, 'local_node', 'USAGE'))";
        let mut inside = server.operator(&name).await;
        let asked = sqlx::query_scalar(rows).bind(&name).fetch_one(&mut inside).await;
        found["inside"] = asked.unwrap_or_else(|error| panic!("ask inside {name}: {error}"));
    }
    found
}

/// Where two such states differ; empty when they are equal.
#[must_use]
pub fn differences(one: &Value, other: &Value) -> Vec<String> {
    fn compare(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
        match (one, other) {
            (Value::Object(left), Value::Object(right)) => {
                let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
                for key in keys {
                    compare(&one[key.as_str()], &other[key.as_str()], &format!("{path}/{key}"), found);
                }
            }
            (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
                for (index, (one, other)) in left.iter().zip(right).enumerate() {
                    compare(one, other, &format!("{path}/{index}"), found);
                }
            }
            _ if one == other => {}
            _ => found.push(format!("{path}: {one} instead of {other}")),
        }
    }
    let mut found = Vec::new();
    compare(one, other, "", &mut found);
    found
}
