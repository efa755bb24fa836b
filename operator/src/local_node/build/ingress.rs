use fateh_crds::CHILD_NAME;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::metadata;
use crate::{local_node::validate::ValidNode, settings::Settings};

/// Secret in which cert-manager puts the certificate of extra hosts.
const ISSUED_SECRET: &str = "node-extra-hosts-tls";
/// By which cert-manager is asked for it.
const ISSUER_ANNOTATION: &str = "cert-manager.io/cluster-issuer";

/// Routes the node's own host and its extra hosts to its pods.
///
/// The own host names no Secret: the wildcard certificate is the ingress controller's default.
pub fn build_ingress(node: &ValidNode, settings: &Settings) -> Ingress {
    let host = node.slug.host(&settings.routing.base_domain);
    let mut tls = vec![IngressTLS { hosts: Some(vec![host.clone()]), secret_name: None }];
    let mut metadata = metadata(node, CHILD_NAME);
    if !node.extra_hosts.is_empty() {
        let issuer = settings.routing.cluster_issuer.clone().filter(|_| node.tls_secret.is_none());
        let issued = issuer.is_some().then(|| ISSUED_SECRET.to_owned());
        metadata.annotations = issuer.map(|issuer| [(ISSUER_ANNOTATION.to_owned(), issuer)].into());
        let secret_name = node.tls_secret.clone().or(issued);
        tls.push(IngressTLS { hosts: Some(node.extra_hosts.clone()), secret_name });
    }
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: node.ingress_class.clone().or_else(|| settings.routing.ingress_class.clone()),
            rules: Some([host].iter().chain(&node.extra_hosts).map(|host| rule(host)).collect()),
            tls: Some(tls),
            ..IngressSpec::default()
        }),
        status: None,
    }
}

fn rule(host: &str) -> IngressRule {
    IngressRule {
        host: Some(host.to_owned()),
        http: Some(HTTPIngressRuleValue {
            paths: vec![HTTPIngressPath {
                path: Some("/".to_owned()),
                path_type: "Prefix".to_owned(),
                backend: IngressBackend {
                    service: Some(IngressServiceBackend {
                        name: CHILD_NAME.to_owned(),
                        port: Some(ServiceBackendPort { name: Some("http".to_owned()), number: None }),
                    }),
                    resource: None,
                },
            }],
        }),
    }
}
