use fateh_crds::CHILD_NAME;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use super::metadata;
use crate::local_node::validate::ValidNode;

/// The shared ClusterRole that says what a node's pods may do in their own namespace.
const CLUSTER_ROLE: &str = "fateh-node";

/// Binds the node's ServiceAccount to the shared ClusterRole, in its namespace only.
pub fn build_role_binding(node: &ValidNode) -> RoleBinding {
    RoleBinding {
        metadata: metadata(node, CHILD_NAME),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: CLUSTER_ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: CHILD_NAME.to_owned(),
            namespace: Some(node.slug.namespace()),
            ..Subject::default()
        }]),
    }
}
