//! What the operator speaks of Gateway API: a node's route, and whether a Gateway serves it. Pure: needs no client.
//!
//! Types of our own, because those of the crate `gateway-api` are for other versions of kube than ours.

use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::conditions;

/// The Gateway at which nodes' hosts are routed, written `namespace/name`, or `namespace/name/listener`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The only listener that is used; none: every listener whose host fits.
    pub listener: Option<String>,
}

impl FromStr for GatewayRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split('/').collect();
        let (namespace, name, listener) = match parts[..] {
            [namespace, name] => (namespace, name, None),
            [namespace, name, listener] => (namespace, name, Some(listener)),
            _ => return Err("expected namespace/name or namespace/name/listener".to_owned()),
        };
        if parts.contains(&"") {
            return Err("no part of it may be empty".to_owned());
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), listener: listener.map(str::to_owned) })
    }
}

/// Which hosts lead to which Service.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    root = "HttpRoute",
    namespaced,
    status = "HttpRouteStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways that are to serve it.
    pub parent_refs: Vec<ParentRef>,
    /// The hosts.
    pub hostnames: Vec<String>,
    /// Where their requests go.
    pub rules: Vec<HttpRouteRule>,
}

/// A Gateway that is to serve a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; none in a status: the route's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Which requests.
    pub matches: Vec<serde_json::Value>,
    /// To which Services.
    pub backend_refs: Vec<BackendRef>,
}

/// A Service that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRef {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Port.
    pub port: i32,
    /// Its share, beside those of others.
    pub weight: i32,
}

/// What Gateways say of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpRouteStatus {
    /// Of each Gateway, by its controller.
    #[serde(default)]
    pub parents: Vec<RouteParentStatus>,
}

/// What one Gateway says of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The Gateway.
    pub parent_ref: ParentRef,
    /// `Accepted`, `ResolvedRefs` and others.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A Gateway, of which only the hosts and the status are read.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "Gateway",
    namespaced,
    status = "GatewayStatus",
    schema = "disabled"
)]
pub struct GatewaySpec {
    /// Where it listens.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// Where a Gateway listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name in the Gateway.
    pub name: String,
    /// `HTTPS`, `HTTP` and others.
    #[serde(default)]
    pub protocol: String,
    /// The hosts that it serves: one, or with `*.` at its start all below one; none: every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Whose routes it takes.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// Whose routes a listener takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedRoutes {
    /// By their namespaces.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
}

/// The namespaces whose routes a listener takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteNamespaces {
    /// `All`, `Selector`, or, as if there were none, `Same`: that of the Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Listener {
    /// Whether it takes routes from nodes' namespaces, as far as can be told without looking at their labels.
    fn admits_nodes(&self) -> bool {
        matches!(self.allowed_routes.namespaces.from.as_deref(), Some("All" | "Selector"))
    }

    fn takes(&self, host: &str) -> bool {
        let Some(hostname) = &self.hostname else { return true };
        match hostname.strip_prefix('*') {
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => hostname == host,
        }
    }
}

/// What a Gateway's controller says of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// `Accepted`, `Programmed` and others.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// How far a node's route has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The Gateway has accepted the route, and is programmed.
    Served,
    /// It has not yet; why.
    Pending(String),
    /// It will not, until a person acts; why.
    Refused(String),
}

/// What a route's status, and its Gateway's, say.
#[must_use]
pub fn standing(route: &HttpRoute, gateway: Option<&Gateway>, wanted: &GatewayRef) -> Standing {
    let GatewayRef { namespace, name, .. } = wanted;
    let parents = route.status.iter().flat_map(|status| &status.parents);
    let of_ours = |parent: &&RouteParentStatus| {
        let their_namespace = parent.parent_ref.namespace.clone().or_else(|| route.namespace());
        parent.parent_ref.name == *name && their_namespace.as_deref() == Some(namespace)
    };
    let generation = route.metadata.generation;
    for parent in parents.filter(of_ours) {
        let said = |kind: &str| {
            let condition = conditions::find(&parent.conditions, kind);
            condition.filter(|condition| condition.observed_generation >= generation)
        };
        let says = |Condition { reason, message, .. }: &Condition| {
            format!("the Gateway {namespace}/{name} says {reason}: {message}")
        };
        if let Some(refused) = said("Accepted").filter(|accepted| accepted.status == "False") {
            return Standing::Refused(says(refused));
        }
        // A Service that was made a moment ago may not have been seen yet.
        if let Some(unresolved) = said("ResolvedRefs").filter(|resolved| resolved.status == "False") {
            return Standing::Pending(says(unresolved));
        }
        if said("Accepted").is_some_and(|accepted| accepted.status == "True") {
            return match gateway {
                Some(gateway) => served(route, gateway, wanted),
                None => Standing::Pending(format!("there is no Gateway {namespace}/{name}")),
            };
        }
    }
    Standing::Pending(format!("the Gateway {namespace}/{name} has not accepted the HTTPRoute yet"))
}

/// The listeners of a Gateway whose controller says that it serves; none of another.
#[must_use]
pub fn serving(gateway: &Gateway) -> Option<&[Listener]> {
    is_programmed(gateway).then_some(&*gateway.spec.listeners)
}

fn is_programmed(gateway: &Gateway) -> bool {
    gateway.status.as_ref().is_some_and(|status| conditions::is_true(&status.conditions, "Programmed"))
}

/// How an accepted route stands: it is accepted if a listener takes one of its hosts, and says nothing of the others.
fn served(route: &HttpRoute, gateway: &Gateway, wanted: &GatewayRef) -> Standing {
    let GatewayRef { namespace, name, .. } = wanted;
    let section = route.spec.parent_refs.iter().find_map(|parent| parent.section_name.as_ref());
    let used = |listener: &&Listener| section.is_none_or(|section| *section == listener.name);
    let of = |protocol: &str| -> Vec<&Listener> {
        let listeners = gateway.spec.listeners.iter().filter(used);
        listeners.filter(|listener| listener.protocol == protocol && listener.admits_nodes()).collect()
    };
    // Beside listeners for HTTPS, those for HTTP only lead there; where there are none, another ends TLS before them.
    let listeners = Some(of("HTTPS")).filter(|listeners| !listeners.is_empty()).unwrap_or_else(|| of("HTTP"));
    let left_out = |host: &&String| listeners.iter().all(|listener| !listener.takes(host));
    let hosts: Vec<_> = route.spec.hostnames.iter().filter(left_out).map(String::as_str).collect();
    if !hosts.is_empty() {
        return Standing::Refused(format!(
            "no listener of the Gateway {namespace}/{name} takes {} from this namespace; give it one, or take out of spec.routing.extraHosts what stands there",
            hosts.join(", ")
        ));
    }
    programmed(gateway, wanted)
}

fn programmed(gateway: &Gateway, GatewayRef { namespace, name, .. }: &GatewayRef) -> Standing {
    if is_programmed(gateway) {
        return Standing::Served;
    }
    let said = gateway.status.as_ref().and_then(|status| conditions::find(&status.conditions, "Programmed"));
    let why = said.map_or(" yet".to_owned(), |said| format!(": {}", said.message));
    Standing::Pending(format!("the Gateway {namespace}/{name} is not programmed{why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wanted() -> GatewayRef {
        "gateways/public".parse().unwrap()
    }

    fn condition(kind: &str, status: &str, generation: i64) -> Value {
        json!({"type": kind, "status": status, "reason": "Because", "message": "of it", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn route(parents: &Value) -> HttpRoute {
        serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "node", "namespace": "fateh-node-riyadh", "generation": 2},
            "spec": {"parentRefs": [], "hostnames": [], "rules": []}, "status": {"parents": parents},
        }))
        .unwrap()
    }

    fn gateway(conditions: &Value) -> Gateway {
        serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "public"}, "status": {"conditions": conditions},
            "spec": {"listeners": [
                {"name": "wildcard", "protocol": "HTTPS", "hostname": "*.fateh.example", "allowedRoutes": {"namespaces": {"from": "All"}}},
                {"name": "school", "protocol": "HTTPS", "hostname": "school.example", "allowedRoutes": {"namespaces": {"from": "Selector"}}},
                {"name": "own", "protocol": "HTTPS", "hostname": "own.example"},
                {"name": "redirect", "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}},
                {"name": "mail", "protocol": "TCP", "allowedRoutes": {"namespaces": {"from": "All"}}},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_route_is_served_once_this_gateway_has_taken_this_generation_of_it() {
        let parent = |namespace: &str, conditions: Value| {
            json!([{"parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": namespace, "name": "public"},
                "controllerName": "x", "conditions": conditions}])
        };
        let programmed = gateway(&json!([condition("Programmed", "True", 1)]));
        let good = json!([condition("Accepted", "True", 2), condition("ResolvedRefs", "True", 2)]);
        for (parents, gateway, expected, words) in [
            (json!([]), Some(&programmed), "Pending", "has not accepted"),
            (parent("gateways", json!([])), Some(&programmed), "Pending", "has not accepted"),
            (parent("others", good.clone()), Some(&programmed), "Pending", "has not accepted"),
            (parent("gateways", json!([condition("Accepted", "True", 1)])), Some(&programmed), "Pending", "has not"),
            (parent("gateways", json!([condition("Accepted", "False", 1)])), Some(&programmed), "Pending", "has not"),
            (
                parent("gateways", json!([condition("Accepted", "False", 2)])),
                Some(&programmed),
                "Refused",
                "Because: of it",
            ),
            (
                parent("gateways", json!([condition("Accepted", "True", 2), condition("ResolvedRefs", "False", 2)])),
                Some(&programmed),
                "Pending",
                "Because: of it",
            ),
            (parent("gateways", good.clone()), None, "Pending", "there is no Gateway gateways/public"),
            (parent("gateways", good.clone()), Some(&gateway(&json!([]))), "Pending", "not programmed yet"),
            (
                parent("gateways", good.clone()),
                Some(&gateway(&json!([condition("Programmed", "False", 1)]))),
                "Pending",
                "not programmed: of it",
            ),
            (parent("gateways", good), Some(&programmed), "Served", ""),
        ] {
            let standing = format!("{:?}", standing(&route(&parents), gateway, &wanted()));
            assert!(standing.starts_with(expected) && standing.contains(words), "{parents}: {standing}");
        }
    }

    #[test]
    fn a_host_that_no_listener_takes_is_named() {
        let parents = json!([{"parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway",
            "namespace": "gateways", "name": "public"}, "conditions": [condition("Accepted", "True", 2)]}]);
        let gateway = gateway(&json!([condition("Programmed", "True", 1)]));
        let of = |section: Option<&str>, hosts: &[&str]| {
            let mut route = route(&parents);
            route.spec.hostnames = hosts.iter().map(|host| (*host).to_owned()).collect();
            let parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "sectionName": section});
            route.spec.parent_refs = vec![serde_json::from_value(parent).unwrap()];
            standing(&route, Some(&gateway), &wanted())
        };
        for (section, hosts, left_out) in [
            (None, &["riyadh.fateh.example"][..], &[][..]),
            (None, &["riyadh.fateh.example", "school.example"], &[]),
            (None, &["deep.below.fateh.example"], &[]),
            (Some("wildcard"), &["riyadh.fateh.example"], &[]),
            (Some("wildcard"), &["riyadh.fateh.example", "school.example"], &["school.example"]),
            (None, &["riyadh.fateh.example", "other.example"], &["other.example"]),
            (None, &["fateh.example", "notfateh.example"], &["fateh.example", "notfateh.example"]),
            // Its listener is for routes beside the Gateway alone.
            (None, &["own.example"], &["own.example"]),
        ] {
            let standing = of(section, hosts);
            match left_out {
                [] => assert_eq!(standing, Standing::Served, "{hosts:?}"),
                hosts => assert!(
                    matches!(&standing, Standing::Refused(why) if why.contains(&format!("takes {} from", hosts.join(", ")))),
                    "{standing:?}"
                ),
            }
        }
        let mut any = route(&parents);
        any.spec.hostnames = vec!["other.example".to_owned()];
        let mut without_tls = gateway;
        without_tls.spec.listeners.retain(|listener| listener.protocol != "HTTPS");
        assert_eq!(standing(&any, Some(&without_tls), &wanted()), Standing::Served);
    }

    #[test]
    fn a_gateway_is_named_in_two_or_three_parts() {
        assert_eq!("a/b".parse::<GatewayRef>().unwrap().listener, None);
        assert_eq!("a/b/c".parse::<GatewayRef>().unwrap().listener.as_deref(), Some("c"));
        for wrong in ["", "a", "a/", "/b", "a//c", "a/b/", "a/b/c/d"] {
            wrong.parse::<GatewayRef>().unwrap_err();
        }
    }
}
