use std::collections::BTreeMap;

use fateh_crds::CHILD_NAME;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::{metadata, url};
use crate::{local_node::validate::ValidNode, settings::Settings};

/// What the runtime is told, as one JSON file.
pub fn build_config_map(node: &ValidNode, settings: &Settings) -> ConfigMap {
    let mut config = json!({
        "slug": node.slug.as_str(),
        "uid": node.uid,
        "displayName": node.display_name,
        "region": node.region,
        "country": node.country,
        "language": node.language,
        "currency": node.currency,
        "timezone": node.timezone,
        "url": url(node, settings),
        "namespace": node.slug.namespace(),
        "poolSize": pool_size(node),
        "reportIntervalSeconds": settings.runtime.report_interval.as_secs(),
        "trustedProxies": settings.network.ingress_cidrs,
        "settings": node.settings,
    });
    if let Some(hub) = &settings.runtime.hub_url {
        config["hubUrl"] = json!(hub);
        config["hubIssuer"] = json!(settings.routing.hub_issuer());
    }
    ConfigMap {
        metadata: metadata(node, CHILD_NAME),
        data: Some(BTreeMap::from([("node.json".to_owned(), format!("{config:#}\n"))])),
        ..ConfigMap::default()
    }
}

/// Connections of one pod: all pods and the extra one of a rolling update stay within the role's limit.
/// Small, because a thousand nodes share a server; a change of `replicas` seldom moves it.
fn pool_size(node: &ValidNode) -> i32 {
    (node.connection_limit / (node.replicas + 1)).clamp(1, 5)
}
