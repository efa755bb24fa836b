use fateh_crds::CHILD_NAME;
use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::local_node::validate::ValidNode;

/// The pods' identity. Pods that want its token ask for it.
pub fn build_service_account(node: &ValidNode) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(node, CHILD_NAME),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
