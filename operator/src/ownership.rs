//! Who owns the fields of a child, and how what others added is made ours, so that the next apply removes it.
//! Pure: needs no client.
//!
//! Server-side apply never removes what it does not own: a container or a rule added by hand would stay.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

/// The entries with everything that other managers own outside metadata and status given to `manager`;
/// none when there is nothing to take.
///
/// Entries of a subresource (status, scale) are left alone: they belong to controllers.
#[must_use]
pub fn take_over(entries: &[ManagedFieldsEntry], manager: &str) -> Option<Vec<ManagedFieldsEntry>> {
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none()
    };
    let ours = entries.iter().find(|entry| is_ours(entry))?;
    let mut fields = owned(ours);
    let mut kept = Vec::new();
    let mut taken = false;
    for entry in entries.iter().filter(|entry| !is_ours(entry)) {
        let mut theirs = owned(entry);
        let metadata = theirs.remove("f:metadata");
        if entry.subresource.is_some() || theirs.is_empty() || theirs.keys().all(|key| key == "f:status") {
            kept.push(entry.clone());
            continue;
        }
        taken = true;
        merge(&mut fields, theirs);
        kept.extend(metadata.map(|metadata| {
            let left = Map::from_iter([("f:metadata".to_owned(), metadata)]);
            ManagedFieldsEntry { fields_v1: Some(FieldsV1(Value::Object(left))), ..entry.clone() }
        }));
    }
    taken.then(|| {
        kept.push(ManagedFieldsEntry { fields_v1: Some(FieldsV1(Value::Object(fields))), ..ours.clone() });
        kept
    })
}

fn owned(entry: &ManagedFieldsEntry) -> Map<String, Value> {
    entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object()).cloned().unwrap_or_default()
}

/// The union of two sets of fields: each level is a map of paths.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (path, below) in from {
        match (into.get_mut(&path), below) {
            (Some(Value::Object(existing)), Value::Object(below)) => merge(existing, below),
            (Some(_), _) => {}
            (None, below) => {
                into.insert(path, below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, subresource: Option<&str>, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            subresource: subresource.map(str::to_owned),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }
    fn ours() -> ManagedFieldsEntry {
        entry("op", "Apply", None, json!({"f:spec": {"f:replicas": {}}}))
    }

    #[test]
    fn what_controllers_own_is_left_alone() {
        let revision = json!({"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}});
        for other in [
            entry("kube-controller-manager", "Update", Some("status"), json!({"f:status": {}})),
            entry("kube-controller-manager", "Update", None, revision),
            entry("autoscaler", "Update", Some("scale"), json!({"f:spec": {"f:replicas": {}}})),
        ] {
            assert_eq!(take_over(&[ours(), other], "op"), None);
        }
    }

    #[test]
    fn what_was_added_by_hand_becomes_ours() {
        let by_hand =
            json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:template": {"f:x": {}}, "f:replicas": {}}});
        let taken = take_over(&[entry("kubectl-edit", "Update", None, by_hand), ours()], "op").unwrap();
        let fields: Vec<_> =
            taken.iter().map(|entry| (entry.manager.as_deref().unwrap(), entry.fields_v1.clone().unwrap().0)).collect();
        assert_eq!(
            fields,
            [
                ("kubectl-edit", json!({"f:metadata": {"f:labels": {"f:a": {}}}})),
                ("op", json!({"f:spec": {"f:replicas": {}, "f:template": {"f:x": {}}}})),
            ]
        );
    }
}
