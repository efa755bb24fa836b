use fateh_crds::{CHILD_NAME, NodeContent, NodeContentSpec, NodeReport, NodeReportSpec};

use super::metadata;
use crate::local_node::validate::ValidNode;

/// Where the pods report; all of it is status, which the pods write.
pub fn build_node_report(node: &ValidNode) -> NodeReport {
    NodeReport { metadata: metadata(node, CHILD_NAME), spec: NodeReportSpec {}, status: None }
}

/// What the pods are to hold; its items belong to the writer of rollouts.
pub fn build_node_content(node: &ValidNode) -> NodeContent {
    NodeContent { metadata: metadata(node, CHILD_NAME), spec: NodeContentSpec::default(), status: None }
}
