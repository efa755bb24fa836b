use std::collections::BTreeMap;

use fateh_crds::{CHILD_NAME, DatabaseServerSpec};
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use http::Uri;

use super::{HTTP_PORT, MANAGEMENT_PORT, metadata};
use crate::{local_node::validate::ValidNode, settings::Settings};

/// Denies everything but: in from the ingress controller, and from those who gather metrics; out to DNS, the hub, the API
/// server, the database and the collector of traces.
pub fn build_network_policy(node: &ValidNode, settings: &Settings, server: &DatabaseServerSpec) -> NetworkPolicy {
    let network = &settings.network;
    let ingress_peers: Vec<_> = network
        .ingress_namespace
        .iter()
        .map(|namespace| in_namespace(namespace))
        .chain(network.ingress_cidrs.iter().map(|cidr| at(cidr)))
        .collect();
    // A rule without peers would let everyone in; no rule lets no one in.
    let mut ingress = Vec::new();
    if !ingress_peers.is_empty() {
        ingress.push(into(ingress_peers, HTTP_PORT));
    }
    ingress.extend(network.monitoring_namespace.iter().map(|name| into(vec![in_namespace(name)], MANAGEMENT_PORT)));
    let mut egress = vec![
        out(vec![in_namespace("kube-system")], vec![port("UDP", 53), port("TCP", 53)]),
        out(vec![in_namespace(&settings.namespace)], vec![port("TCP", HTTP_PORT)]),
    ];
    if !network.api_server_cidrs.is_empty() {
        let peers = network.api_server_cidrs.iter().map(|cidr| at(cidr)).collect();
        egress.push(out(peers, vec![port("TCP", 443), port("TCP", 6443)]));
    }
    let collector = settings.telemetry.traces.otlp_endpoint.as_ref().and_then(Uri::port_u16);
    if let (Some(namespace), Some(listens)) = (&network.tracing_namespace, collector) {
        egress.push(out(vec![in_namespace(namespace)], vec![port("TCP", listens.into())]));
    }
    if !server.cidrs.is_empty() {
        egress.push(out(server.cidrs.iter().map(|cidr| at(cidr)).collect(), vec![port("TCP", server.port)]));
    }
    NetworkPolicy {
        metadata: metadata(node, CHILD_NAME),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            // Never an empty list: the API server drops it, and each apply would put it back.
            ingress: (!ingress.is_empty()).then_some(ingress),
            egress: Some(egress),
        }),
    }
}

fn into(from: Vec<NetworkPolicyPeer>, at: i32) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![port("TCP", at)]) }
}

fn out(to: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: Some(to), ports: Some(ports) }
}

fn port(protocol: &str, port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { protocol: Some(protocol.to_owned()), port: Some(IntOrString::Int(port)), end_port: None }
}

fn at(cidr: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.to_owned(), except: None }),
        ..NetworkPolicyPeer::default()
    }
}

fn in_namespace(name: &str) -> NetworkPolicyPeer {
    let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]);
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector { match_labels: Some(labels), match_expressions: None }),
        ..NetworkPolicyPeer::default()
    }
}
