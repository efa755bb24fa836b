use std::collections::BTreeMap;

use fateh_crds::UID_ANNOTATION;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::labels;
use crate::local_node::validate::ValidNode;

/// The node's namespace: marked with the node's name and UID, at the `restricted` pod security level.
#[must_use]
pub fn build_namespace(node: &ValidNode) -> Namespace {
    let mut labels = labels(node);
    for mode in ["enforce", "warn", "audit"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), "restricted".to_owned());
    }
    Namespace {
        metadata: ObjectMeta {
            name: Some(node.slug.namespace()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(UID_ANNOTATION.to_owned(), node.uid.clone())])),
            owner_references: Some(vec![node.owner.clone()]),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
