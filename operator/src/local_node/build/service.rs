use fateh_crds::CHILD_NAME;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{metadata, pod_labels};
use crate::local_node::validate::ValidNode;

/// Port of the Service.
pub const PORT: i32 = 80;

/// How the ingress controller finds the pods.
pub fn build_service(node: &ValidNode) -> Service {
    Service {
        metadata: metadata(node, CHILD_NAME),
        spec: Some(ServiceSpec {
            selector: Some(pod_labels(node)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: PORT,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String("http".to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
