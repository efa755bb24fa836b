use fateh_crds::CHILD_NAME;
use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{metadata, pod_labels};
use crate::local_node::validate::ValidNode;

/// Lets a drain take one pod at a time.
pub fn build_pod_disruption_budget(node: &ValidNode) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(node, CHILD_NAME),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(pod_labels(node)), match_expressions: None }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
