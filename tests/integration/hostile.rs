//! Text that would do harm if it were ever taken for anything but text.

use std::path::PathBuf;

use fateh_tests::{Postgres, apply_node, kubernetes, ready_node, secret, variable};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};

const HOSTILE: [&str; 8] = [
    "'; DROP DATABASE node_hostile; --",
    "\"; DROP ROLE node_hostile; --",
    "$$; SELECT pg_sleep(10); $$",
    "line one\nline two\r\n\tlevel: error",
    "\u{202e}right to left\u{202c} \u{2066}isolate\u{2069}",
    "{{ .Values.secret }} ${jndi:ldap://x} %s%n $(id) `id`",
    "- a: &x [*x, *x]\n---\nkind: Secret",
    "\\'; \\\\ E'\\x27' \u{feff}\u{fffd}مدرسة🕌",
];

#[tokio::test]
async fn hostile_text_stays_text_in_sql_yaml_and_logs() {
    let client = kubernetes().await;
    let all = HOSTILE.join(" ");
    let all: String = all.chars().take(128).collect();
    let settings: serde_json::Map<_, _> =
        HOSTILE.iter().enumerate().map(|(index, text)| (format!("{index} {text}"), json!(text))).collect();
    let node = ready_node(&client, "hostile", json!({"displayName": all, "settings": settings})).await;
    for (index, text) in HOSTILE.iter().enumerate() {
        apply_node(&client, "hostile", json!({"displayName": text, "settings": {"text": text, "index": index}}))
            .await
            .unwrap();
        fateh_tests::becomes_ready(&client, "hostile").await;
        let maps = Api::<ConfigMap>::namespaced(client.clone(), "fateh-node-hostile");
        let config: Value = serde_json::from_str(&maps.get("node").await.unwrap().data.unwrap()["node.json"]).unwrap();
        assert_eq!((config["displayName"].as_str(), config["settings"]["text"].as_str()), (Some(*text), Some(*text)));
    }
    // Refused before they reach anything: fields whose text becomes a name somewhere.
    for spec in [
        json!({"region": HOSTILE[0]}),
        json!({"adminEmail": format!("{}@example.com", HOSTILE[1])}),
        json!({"language": HOSTILE[2]}),
        json!({"runtime": {"image": HOSTILE[5]}}),
        json!({"routing": {"extraHosts": [HOSTILE[3]]}}),
        json!({"routing": {"tlsSecretName": HOSTILE[6]}}),
        json!({"routing": {"ingressClassName": HOSTILE[0]}}),
    ] {
        assert!(apply_node(&client, "hostile", spec.clone()).await.is_err(), "{spec}");
    }
    // Annotations are free text too.
    let patch = kube::api::Patch::Merge(json!({"metadata": {"annotations": {
        fateh_crds::ADOPT_ANNOTATION: HOSTILE[0], fateh_crds::INVITE_ANNOTATION: HOSTILE[3],
    }}}));
    let nodes = Api::<fateh_crds::LocalNode>::all(client.clone());
    nodes.patch("hostile", &kube::api::PatchParams::default(), &patch).await.unwrap();
    fateh_tests::becomes_ready(&client, "hostile").await;

    let password = secret(&client, "hostile", "node-database", "password").await;
    Postgres::V18.connect("node_hostile", &password, "node_hostile").await.unwrap();
    let events = Api::<k8s_openapi::api::events::v1::Event>::namespaced(client.clone(), "default");
    assert!(
        events
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .iter()
            .any(|event| { event.regarding.as_ref().and_then(|about| about.uid.clone()) == node.uid() })
    );
    // One line, one JSON object: no text breaks out of its line.
    let log = std::fs::read_to_string(PathBuf::from(variable("FATEH_LOGS")).join("operator.log")).unwrap();
    let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
    for line in complete.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string()), "{line}");
    }
}
