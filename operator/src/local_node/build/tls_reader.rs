use k8s_openapi::api::rbac::v1::RoleBinding;

use super::role_binding::bind;
use crate::{local_node::validate::ValidNode, settings::Settings};

/// Name of the RoleBinding.
pub const TLS_READER: &str = "operator";
/// The ClusterRole that lets the operator see whether a Secret exists.
const CLUSTER_ROLE: &str = "fateh-operator-tls";
/// The operator's ServiceAccount, as the chart names it.
const OPERATOR: &str = "fateh-operator";

/// Lets the operator look for the certificate's Secret, in this namespace only, and only where one is named and used.
#[must_use]
pub fn build_tls_reader(node: &ValidNode, settings: &Settings) -> Option<RoleBinding> {
    let used = node.tls_secret_in_use().filter(|_| settings.routing.gateway.is_none());
    used.map(|_| bind(node, TLS_READER, CLUSTER_ROLE, [&settings.namespace, OPERATOR]))
}
