//! Builds every child of a node. Pure: no client, and nothing here can fail.

mod config_map;
mod deployment;
mod http_route;
mod ingress;
mod namespace;
mod network_policy;
mod node_objects;
mod pod_disruption_budget;
mod role_binding;
mod secrets;
mod service;
mod service_account;
mod tls_reader;

use std::collections::BTreeMap;

use fateh_crds::{CHILD_NAME, DatabaseServerSpec, NODE_LABEL, NodeContent, NodeReport, NodeState};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service, ServiceAccount},
        networking::v1::{Ingress, NetworkPolicy},
        policy::v1::PodDisruptionBudget,
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
pub use namespace::build_namespace;
pub use secrets::{
    DATABASE_SECRET, INVITATION_SECRET, SIGNING_KEY_SECRET, build_database_secret, build_invitation_secret,
    build_signing_key_secret,
};
pub use tls_reader::{TLS_READER, build_tls_reader};

use super::validate::ValidNode;
use crate::{
    gateway::{GatewayRef, HttpRoute},
    settings::Settings,
};

/// Port of the pods that faces users, by name in Services.
const HTTP_PORT: i32 = 8080;
/// Port of health and metrics.
const MANAGEMENT_PORT: i32 = 8081;

/// What the pods of a node are to the cluster.
pub struct Identity {
    /// Who they are.
    pub service_account: ServiceAccount,
    /// What they may do.
    pub role_binding: RoleBinding,
    /// Where they report.
    pub node_report: NodeReport,
    /// What they are to hold.
    pub node_content: NodeContent,
}

/// The other children of a node that hold no secret, in the order in which they are applied.
pub struct Children {
    /// What the runtime is told.
    pub config_map: ConfigMap,
    /// What the pods may reach and be reached by.
    pub network_policy: NetworkPolicy,
    /// The pods.
    pub deployment: Deployment,
    /// How the pods are found.
    pub service: Service,
    /// How users come in.
    pub entrance: Entrance,
    /// Only when there is more than one pod.
    pub pod_disruption_budget: Option<PodDisruptionBudget>,
}

/// How users come in.
#[derive(Debug)]
pub enum Entrance {
    /// They do not: the node is not active.
    Closed,
    /// By an Ingress of the node.
    Ingress(Ingress),
    /// By a route at the platform's Gateway.
    Gateway(HttpRoute, GatewayRef),
}

/// Builds what the pods of `node` are to the cluster.
#[must_use]
pub fn build_identity(node: &ValidNode) -> Identity {
    Identity {
        service_account: service_account::build_service_account(node),
        role_binding: role_binding::build_role_binding(node),
        node_report: node_objects::build_node_report(node),
        node_content: node_objects::build_node_content(node),
    }
}

/// Builds the other children of `node`, whose database lies on `server`. Pods with another fingerprint of the
/// credentials are replaced, because they hold what the database no longer accepts.
#[must_use]
pub fn build(node: &ValidNode, settings: &Settings, server: &DatabaseServerSpec, credentials: &str) -> Children {
    let config_map = config_map::build_config_map(node, settings);
    Children {
        deployment: deployment::build_deployment(node, settings, &config_map, credentials),
        network_policy: network_policy::build_network_policy(node, settings, server),
        service: service::build_service(node),
        entrance: entrance(node, settings),
        pod_disruption_budget: (replicas(node) > 1).then(|| pod_disruption_budget::build_pod_disruption_budget(node)),
        config_map,
    }
}

fn entrance(node: &ValidNode, settings: &Settings) -> Entrance {
    match &settings.routing.gateway {
        _ if node.state != NodeState::Active => Entrance::Closed,
        Some(gateway) => Entrance::Gateway(http_route::build_http_route(node, settings, gateway), gateway.clone()),
        None => Entrance::Ingress(ingress::build_ingress(node, settings)),
    }
}

/// Image of the node's pods.
#[must_use]
pub fn image<'a>(node: &'a ValidNode, settings: &'a Settings) -> &'a str {
    node.image.as_deref().unwrap_or(&settings.runtime.node_image)
}

/// Pods of the node: none unless it is active.
#[must_use]
pub fn replicas(node: &ValidNode) -> i32 {
    if node.state == NodeState::Active { node.replicas } else { 0 }
}

/// Where the node answers.
#[must_use]
pub fn url(node: &ValidNode, settings: &Settings) -> String {
    settings.routing.url(&node.slug.host(&settings.routing.base_domain))
}

fn metadata(node: &ValidNode, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(node.slug.namespace()),
        labels: Some(labels(node)),
        owner_references: Some(vec![node.owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn labels(node: &ValidNode) -> BTreeMap<String, String> {
    [(NODE_LABEL, node.slug.as_str()), ("app.kubernetes.io/managed-by", "fateh-operator")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Labels of the pods, and what selects them; never changed, because a Deployment's selector cannot be.
fn pod_labels(node: &ValidNode) -> BTreeMap<String, String> {
    [(NODE_LABEL, node.slug.as_str()), ("app.kubernetes.io/name", CHILD_NAME)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::local_node::validate::tests::valid;

    pub(crate) fn settings() -> Settings {
        Settings::parse_from([
            "fateh-operator",
            "--node-image=registry.test/node-runtime:1",
            "--api-server-cidrs=10.0.0.1/32",
            "--ingress-namespace=traefik",
            "--ingress-cidrs=10.9.0.0/16",
            "--public-port=8443",
        ])
    }

    pub(crate) fn server() -> DatabaseServerSpec {
        serde_json::from_value(json!({
            "host": "db.test", "adminSecretRef": {"name": "postgres-admin"}, "cidrs": ["10.1.0.5/32"],
            "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "ca"}},
        }))
        .unwrap()
    }

    fn full() -> ValidNode {
        valid(json!({
            "country": "SA", "currency": "SAR", "timezone": "Asia/Riyadh", "settings": {"theme": "green"},
            "runtime": {"replicas": 3, "image": "registry.test/node-runtime:2", "resources": {"limits": {"cpu": "1"}}},
            "routing": {"ingressClassName": "nginx", "extraHosts": ["learn.example.com"], "tlsSecretName": "learn-tls"},
        }))
    }

    fn ingress(entrance: Entrance) -> Ingress {
        let Entrance::Ingress(ingress) = entrance else { panic!("no Ingress: {entrance:?}") };
        ingress
    }

    /// One YAML file per child and node: what would be applied, to the letter.
    #[test]
    fn children_are_built_as_their_snapshots_say() {
        for (name, node) in [("minimal", valid(json!({}))), ("full", full())] {
            let Identity { service_account, role_binding, node_report, node_content } = build_identity(&node);
            let Children { config_map, network_policy, deployment, service, entrance, pod_disruption_budget } =
                build(&node, &settings(), &server(), "c0ffee");
            insta::with_settings!({snapshot_suffix => name}, {
                insta::assert_yaml_snapshot!("namespace", build_namespace(&node));
                insta::assert_yaml_snapshot!("config_map", config_map);
                insta::assert_yaml_snapshot!("service_account", service_account);
                insta::assert_yaml_snapshot!("role_binding", role_binding);
                insta::assert_yaml_snapshot!("node_report", node_report);
                insta::assert_yaml_snapshot!("node_content", node_content);
                insta::assert_yaml_snapshot!("network_policy", network_policy);
                insta::assert_yaml_snapshot!("deployment", deployment);
                insta::assert_yaml_snapshot!("service", service);
                insta::assert_yaml_snapshot!("ingress", ingress(entrance));
                insta::assert_yaml_snapshot!("pod_disruption_budget", pod_disruption_budget);
                insta::assert_yaml_snapshot!("tls_reader", build_tls_reader(&node, &settings()));
            });
        }
    }

    #[test]
    fn a_node_of_a_platform_with_a_hub_is_told_where_and_brings_its_own_token() {
        let mut settings = settings();
        settings.runtime.hub_url = Some("http://fateh-hub.fateh-system:8080".to_owned());
        let children = build(&valid(json!({})), &settings, &server(), "c0ffee");
        let config: serde_json::Value = serde_json::from_str(&children.config_map.data.unwrap()["node.json"]).unwrap();
        assert_eq!(
            (&config["hubUrl"], &config["hubIssuer"]),
            (&json!("http://fateh-hub.fateh-system:8080"), &json!("https://hub.fateh-platform.com"))
        );
        let pod = children.deployment.spec.unwrap().template.spec.unwrap();
        insta::assert_yaml_snapshot!("hub_token", (&pod.volumes, &pod.containers[0].volume_mounts));
    }

    #[test]
    fn certificates_of_extra_hosts_are_asked_for_only_of_nodes_that_bring_none() {
        let mut settings = settings();
        settings.routing.cluster_issuer = Some("letsencrypt".to_owned());
        let asked = |node: &ValidNode| {
            let ingress = ingress(build(node, &settings, &server(), "c0ffee").entrance);
            let secrets = ingress.spec.unwrap().tls.unwrap().into_iter().map(|tls| tls.secret_name);
            (ingress.metadata.annotations.map(|all| format!("{all:?}")), secrets.collect::<Vec<_>>())
        };
        let bringing = full();
        let without = ValidNode { tls_secret: None, ..full() };
        let alone = ValidNode { extra_hosts: Vec::new(), ..without.clone() };
        let annotation = r#"{"cert-manager.io/cluster-issuer": "letsencrypt"}"#.to_owned();
        assert_eq!(asked(&without), (Some(annotation), vec![None, Some("node-extra-hosts-tls".to_owned())]));
        assert_eq!(asked(&bringing), (None, vec![None, Some("learn-tls".to_owned())]));
        assert_eq!(asked(&alone), (None, vec![None]));
    }

    #[test]
    fn at_a_gateway_a_node_has_a_route_and_no_ingress_and_certificates_are_the_listeners() {
        let mut settings = settings();
        settings.routing.gateway = Some("gateways/public/wildcard".parse().unwrap());
        let Entrance::Gateway(route, _) = build(&full(), &settings, &server(), "c0ffee").entrance else {
            panic!("no route at the Gateway")
        };
        insta::assert_yaml_snapshot!("http_route", route);
        let Entrance::Gateway(alone, _) = build(&valid(json!({})), &settings, &server(), "c0ffee").entrance else {
            panic!("no route at the Gateway")
        };
        assert_eq!(alone.spec.parent_refs[0].section_name.as_deref(), Some("wildcard"), "extra hosts have others");
        assert_eq!(build_tls_reader(&full(), &settings), None);
    }

    #[test]
    fn metrics_are_gathered_by_one_namespace_and_only_if_it_is_named() {
        let rules = |settings: &Settings| {
            let policy = build(&valid(json!({})), settings, &server(), "c0ffee").network_policy;
            policy.spec.unwrap().ingress.unwrap_or_default()
        };
        let mut settings = settings();
        assert_eq!(rules(&settings).len(), 1);
        settings.network.monitoring_namespace = Some("monitoring".to_owned());
        insta::assert_yaml_snapshot!("gathering", rules(&settings)[1]);
    }

    #[test]
    fn pods_send_traces_where_the_operator_does_and_may_reach_the_collector() {
        let mut settings = settings();
        settings.telemetry.traces.otlp_endpoint = Some("http://collector.tracing:4318".parse().unwrap());
        settings.telemetry.traces.trace_ratio = 0.1;
        settings.network.tracing_namespace = Some("tracing".to_owned());
        let children = build(&valid(json!({})), &settings, &server(), "c0ffee");
        let pod = children.deployment.spec.unwrap().template.spec.unwrap();
        let egress = children.network_policy.spec.unwrap().egress.unwrap();
        insta::assert_yaml_snapshot!("traces", (&pod.containers[0].env, &egress[3]));
    }

    #[test]
    fn a_node_at_rest_has_no_pods_no_route_and_no_budget() {
        for state in [NodeState::Suspended, NodeState::Inactive] {
            let children = build(&ValidNode { state, ..full() }, &settings(), &server(), "c0ffee");
            assert_eq!(children.deployment.spec.unwrap().replicas, Some(0));
            assert!(matches!(children.entrance, Entrance::Closed) && children.pod_disruption_budget.is_none());
        }
    }

    /// The API server drops an empty list, and each apply that puts it back is a change: a loop without end.
    #[test]
    fn no_child_holds_an_empty_list() {
        fn empty_list(value: &serde_json::Value) -> bool {
            match value {
                serde_json::Value::Array(items) => items.is_empty() || items.iter().any(empty_list),
                serde_json::Value::Object(fields) => fields.values().any(empty_list),
                _ => false,
            }
        }
        let mut bare = settings();
        bare.network.ingress_namespace = None;
        bare.network.ingress_cidrs.clear();
        bare.network.api_server_cidrs.clear();
        let mut server = server();
        server.cidrs.clear();
        let node = valid(json!({}));
        // The list of items is the API server's to keep: a CRD drops nothing.
        let Identity { service_account, role_binding, node_report, node_content: _ } = build_identity(&node);
        let Children { config_map, network_policy, deployment, service, entrance, pod_disruption_budget } =
            build(&node, &bare, &server, "c0ffee");
        let children = json!([
            config_map,
            service_account,
            role_binding,
            node_report,
            network_policy,
            deployment,
            service,
            ingress(entrance),
            pod_disruption_budget
        ]);
        for child in children.as_array().unwrap() {
            assert!(!empty_list(child), "{child:#}");
        }
    }

    #[test]
    fn the_url_carries_the_public_port_when_it_is_not_443() {
        let mut settings = settings();
        assert_eq!(url(&full(), &settings), "https://riyadh.fateh-platform.com:8443");
        settings.routing.public_port = 443;
        assert_eq!(url(&full(), &settings), "https://riyadh.fateh-platform.com");
    }
}
