use fateh_crds::CHILD_NAME;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use super::metadata;
use crate::local_node::validate::ValidNode;

/// The shared ClusterRole that says what a node's pods may do in their own namespace.
const CLUSTER_ROLE: &str = "fateh-node";

/// Binds the node's ServiceAccount to the shared ClusterRole, in its namespace only.
pub fn build_role_binding(node: &ValidNode) -> RoleBinding {
    bind(node, CHILD_NAME, CLUSTER_ROLE, [&node.slug.namespace(), CHILD_NAME])
}

/// A RoleBinding in the node's namespace: a ServiceAccount, by namespace and name, may do what a ClusterRole says.
pub(super) fn bind(node: &ValidNode, name: &str, cluster_role: &str, [namespace, account]: [&str; 2]) -> RoleBinding {
    RoleBinding {
        metadata: metadata(node, name),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: cluster_role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        }]),
    }
}
