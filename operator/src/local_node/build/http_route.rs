use fateh_crds::CHILD_NAME;
use serde_json::json;

use super::{metadata, service::PORT};
use crate::{
    gateway::{BackendRef, GatewayRef, HttpRoute, HttpRouteRule, HttpRouteSpec, ParentRef},
    local_node::validate::ValidNode,
    settings::Settings,
};

/// Routes the node's own host and its extra hosts to its pods, at the platform's Gateway.
///
/// Certificates are the listeners'. What the API server would fill in is said, so that all of it is the operator's.
pub fn build_http_route(node: &ValidNode, settings: &Settings, gateway: &GatewayRef) -> HttpRoute {
    let own = node.slug.host(&settings.routing.base_domain);
    let spec = HttpRouteSpec {
        parent_refs: vec![ParentRef {
            group: "gateway.networking.k8s.io".to_owned(),
            kind: "Gateway".to_owned(),
            namespace: Some(gateway.namespace.clone()),
            name: gateway.name.clone(),
            // Extra hosts have listeners of their own.
            section_name: gateway.listener.clone().filter(|_| node.extra_hosts.is_empty()),
        }],
        hostnames: [own].into_iter().chain(node.extra_hosts.iter().cloned()).collect(),
        rules: vec![HttpRouteRule {
            matches: vec![json!({"path": {"type": "PathPrefix", "value": "/"}})],
            backend_refs: vec![BackendRef {
                group: String::new(),
                kind: "Service".to_owned(),
                name: CHILD_NAME.to_owned(),
                port: PORT,
                weight: 1,
            }],
        }],
    };
    HttpRoute { metadata: metadata(node, CHILD_NAME), spec, status: None }
}
