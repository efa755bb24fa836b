use std::collections::BTreeMap;

use fateh_crds::CHILD_NAME;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, HTTPGetAction,
            PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements,
            SeccompProfile, SecretVolumeSource, SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount,
            VolumeProjection,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use sha2::{Digest, Sha256};

use super::{DATABASE_SECRET, HTTP_PORT, MANAGEMENT_PORT, SIGNING_KEY_SECRET, image, metadata, pod_labels, replicas};
use crate::{local_node::validate::ValidNode, settings::Settings};

/// Annotation on the pods: a new configuration is a new pod.
const CONFIG_ANNOTATION: &str = "fateh-platform.com/config";
/// Annotation on the pods: new credentials are a new pod.
const CREDENTIALS_ANNOTATION: &str = "fateh-platform.com/credentials";
/// Where the pods find what they mount.
const MOUNTS: &str = "/run/fateh";
/// The image's unprivileged user.
const USER: i64 = 65532;

/// The node's pods: non-root, read-only, without capabilities.
pub fn build_deployment(node: &ValidNode, settings: &Settings, config: &ConfigMap, credentials: &str) -> Deployment {
    Deployment {
        metadata: metadata(node, CHILD_NAME),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas(node)),
            selector: LabelSelector { match_labels: Some(pod_labels(node)), match_expressions: None },
            // A new pod serves before an old one goes, so a change of one replica is no outage.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            revision_history_limit: Some(2),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels(node)),
                    annotations: Some(BTreeMap::from([
                        (CONFIG_ANNOTATION.to_owned(), digest(config)),
                        (CREDENTIALS_ANNOTATION.to_owned(), credentials.to_owned()),
                    ])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(node, settings)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(node: &ValidNode, settings: &Settings) -> PodSpec {
    let config = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: CHILD_NAME.to_owned(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    let mut volumes =
        vec![config, secret_volume("database", DATABASE_SECRET), secret_volume("signing-key", SIGNING_KEY_SECRET)];
    if settings.runtime.hub_url.is_some() {
        volumes.push(hub_token_volume(settings.routing.hub_issuer()));
    }
    PodSpec {
        service_account_name: Some(CHILD_NAME.to_owned()),
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(30),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        containers: vec![Container {
            name: CHILD_NAME.to_owned(),
            image: Some(image(node, settings).to_owned()),
            image_pull_policy: Some(settings.runtime.node_image_pull_policy.clone()),
            ports: Some(vec![port("http", HTTP_PORT), port("management", MANAGEMENT_PORT)]),
            env: Some(environment(node, settings)).filter(|variables| !variables.is_empty()),
            liveness_probe: Some(probe("/livez", 10, 3)),
            // A short pause of the server that all of them share takes no pod away.
            readiness_probe: Some(probe("/readyz", 2, 3)),
            startup_probe: Some(probe("/livez", 1, 60)),
            resources: Some(ResourceRequirements {
                requests: Some(quantities(&node.requests)),
                limits: Some(quantities(&node.limits)),
                claims: None,
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                run_as_non_root: Some(true),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
                ..SecurityContext::default()
            }),
            volume_mounts: Some(volumes.iter().map(|volume| mount(&volume.name)).collect()),
            ..Container::default()
        }],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

fn environment(node: &ValidNode, settings: &Settings) -> Vec<EnvVar> {
    let variable = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let mut variables = Vec::new();
    let traces = &settings.telemetry.traces;
    if let Some(endpoint) = &traces.otlp_endpoint {
        variables.push(variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_string()));
        variables.push(variable("OTEL_TRACES_SAMPLER_ARG", traces.trace_ratio.to_string()));
        variables.push(variable("OTEL_RESOURCE_ATTRIBUTES", format!("fateh.node={}", node.slug)));
    }
    variables
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("management".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn mount(name: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: format!("{MOUNTS}/{name}"),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn secret_volume(name: &str, secret: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A token of the pod's ServiceAccount that is good at the hub alone, and for an hour.
fn hub_token_volume(audience: String) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(audience),
        expiration_seconds: Some(3600),
        path: "token".to_owned(),
    };
    Volume {
        name: "hub-token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(vec![VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() }]),
        }),
        ..Volume::default()
    }
}

fn quantities(wanted: &BTreeMap<&'static str, String>) -> BTreeMap<String, Quantity> {
    wanted.iter().map(|(name, amount)| ((*name).to_owned(), Quantity(amount.clone()))).collect()
}

fn digest(config: &ConfigMap) -> String {
    let mut digest = Sha256::new();
    for (name, text) in config.data.iter().flatten() {
        digest.update(name);
        digest.update(text);
    }
    hex::encode(&digest.finalize()[..8])
}
