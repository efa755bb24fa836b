//! Parses a LocalNode into a `ValidNode`. Pure: needs no client. After it nothing reads the raw spec.

use std::collections::BTreeMap;

use fateh_crds::{LocalNode, NodeState, Quantities, Slug};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use crate::failure::Failure;

/// Settings larger than this do not fit a node's ConfigMap beside the rest.
const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// A LocalNode whose every part can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidNode {
    /// Name of the node.
    pub slug: Slug,
    /// UID of the LocalNode.
    pub uid: String,
    /// Generation that this is.
    pub generation: i64,
    /// Owner of every child.
    pub owner: OwnerReference,
    /// Name for people.
    pub display_name: String,
    /// Region and country.
    pub region: String,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// BCP 47.
    pub language: String,
    /// ISO 4217.
    pub currency: String,
    /// IANA.
    pub timezone: String,
    /// What the node is to be.
    pub state: NodeState,
    /// The first admin's e-mail.
    pub admin_email: String,
    /// Number of pods.
    pub replicas: i32,
    /// Image that the node names itself.
    pub image: Option<String>,
    /// Guaranteed resources of a pod, with defaults.
    pub requests: BTreeMap<&'static str, String>,
    /// Limits of a pod, with defaults.
    pub limits: BTreeMap<&'static str, String>,
    /// Connections of all pods together.
    pub connection_limit: i32,
    /// Ingress class that the node names itself.
    pub ingress_class: Option<String>,
    /// Hosts beside its own.
    pub extra_hosts: Vec<String>,
    /// Secret with the certificate of the extra hosts.
    pub tls_secret: Option<String>,
    /// Platform fee.
    pub fee_basis_points: i32,
    /// Handed to the runtime as they are.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl ValidNode {
    /// The Secret whose certificate is served now: none without extra hosts, or while there is no route.
    #[must_use]
    pub fn tls_secret_in_use(&self) -> Option<&str> {
        let served = self.state == NodeState::Active && !self.extra_hosts.is_empty();
        self.tls_secret.as_deref().filter(|_| served)
    }
}

/// Parses `node`, whose extra hosts must lie outside `base_domain`.
///
/// # Errors
/// A stalled [`Failure`] that names the field and says what would be accepted. Most of it is refused
/// by the schema already; what is here holds for objects older than a tightened schema too.
pub fn validate(node: &LocalNode, base_domain: &str) -> Result<ValidNode, Failure> {
    let slug = Slug::parse(&node.name_any()).map_err(|error| Failure::stalled("InvalidName", error.to_string()))?;
    let spec = &node.spec;
    let settings_bytes = serde_json::to_vec(&spec.settings).map_or(usize::MAX, |bytes| bytes.len());
    if settings_bytes > MAX_SETTINGS_BYTES {
        return Err(Failure::stalled(
            "SettingsTooLarge",
            format!("spec.settings has {settings_bytes} bytes; at most {MAX_SETTINGS_BYTES} are accepted"),
        ));
    }
    for (index, host) in spec.routing.extra_hosts.iter().enumerate() {
        if spec.routing.extra_hosts[..index].contains(host) {
            return Err(Failure::stalled(
                "HostNotAllowed",
                format!("spec.routing.extraHosts: {host} is named twice; once is enough"),
            ));
        }
        if host == base_domain || host.ends_with(&format!(".{base_domain}")) {
            return Err(Failure::stalled(
                "HostNotAllowed",
                format!(
                    "spec.routing.extraHosts: {host} lies under {base_domain}, whose hosts belong to nodes by name; use a domain of your own"
                ),
            ));
        }
    }
    let owner = node.controller_owner_ref(&()).ok_or_else(|| {
        Failure::stalled("InvalidName", "the LocalNode has no UID; it was not read from an API server")
    })?;
    Ok(ValidNode {
        slug,
        uid: owner.uid.clone(),
        generation: node.metadata.generation.unwrap_or(0),
        owner,
        display_name: spec.display_name.clone(),
        region: spec.region.clone(),
        country: spec.country.clone(),
        language: spec.language.clone(),
        currency: spec.currency.clone(),
        timezone: spec.timezone.clone(),
        state: spec.state,
        admin_email: spec.admin_email.clone(),
        replicas: spec.runtime.replicas,
        image: spec.runtime.image.clone(),
        requests: with_defaults(&spec.runtime.resources.requests, Some("10m"), "32Mi"),
        limits: with_defaults(&spec.runtime.resources.limits, None, "128Mi"),
        connection_limit: spec.database.connection_limit,
        ingress_class: spec.routing.ingress_class_name.clone(),
        extra_hosts: spec.routing.extra_hosts.clone(),
        tls_secret: spec.routing.tls_secret_name.clone(),
        fee_basis_points: spec.fees.platform_basis_points,
        settings: spec.settings.clone(),
    })
}

fn with_defaults(wanted: &Quantities, cpu: Option<&str>, memory: &str) -> BTreeMap<&'static str, String> {
    let cpu = wanted.cpu.as_deref().or(cpu).map(|cpu| ("cpu", cpu.to_owned()));
    let memory = ("memory", wanted.memory.as_deref().unwrap_or(memory).to_owned());
    cpu.into_iter().chain([memory]).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn node(name: &str, spec: serde_json::Value) -> LocalNode {
        let mut full = json!({"displayName": "مدرسة الرياض", "region": "mena", "adminEmail": "admin@example.com"});
        full.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
        serde_json::from_value(json!({
            "apiVersion": "fateh-platform.com/v1alpha1", "kind": "LocalNode",
            "metadata": {"name": name, "uid": "11111111-2222-3333-4444-555555555555", "generation": 3},
            "spec": full,
        }))
        .unwrap()
    }

    pub(crate) fn valid(spec: serde_json::Value) -> ValidNode {
        validate(&node("riyadh", spec), "fateh-platform.com").unwrap()
    }

    #[test]
    fn a_three_line_node_is_valid_with_every_default() {
        let node = valid(json!({}));
        assert_eq!((node.language.as_str(), node.currency.as_str(), node.timezone.as_str()), ("ar", "USD", "UTC"));
        assert_eq!((node.replicas, node.connection_limit, node.fee_basis_points), (1, 20, 1000));
        assert_eq!(node.limits["memory"], "128Mi");
        assert!(!node.limits.contains_key("cpu"));
    }

    #[test]
    fn what_cannot_be_carried_out_is_stalled_with_a_reason_that_names_the_field() {
        let many = json!({"a": "x".repeat(70_000)});
        for (name, spec, reason, field) in [
            ("www", json!({}), "InvalidName", "reserved"),
            ("riyadh", json!({"settings": many}), "SettingsTooLarge", "spec.settings"),
            (
                "riyadh",
                json!({"routing": {"extraHosts": ["cairo.fateh-platform.com"]}}),
                "HostNotAllowed",
                "extraHosts",
            ),
            ("riyadh", json!({"routing": {"extraHosts": ["fateh-platform.com"]}}), "HostNotAllowed", "extraHosts"),
            ("riyadh", json!({"routing": {"extraHosts": ["a.test", "a.test"]}}), "HostNotAllowed", "twice"),
        ] {
            let failure = validate(&node(name, spec), "fateh-platform.com").unwrap_err();
            assert_eq!(failure.reason(), reason);
            assert!(failure.to_string().contains(field), "{failure}");
        }
        assert!(
            validate(
                &node("riyadh", json!({"routing": {"extraHosts": ["learn.notfateh-platform.com"]}})),
                "fateh-platform.com"
            )
            .is_ok()
        );
    }
}
