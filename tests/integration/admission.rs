//! What the schema refuses, it refuses by the field's name and with what would be accepted.

use fateh_tests::{apply_node, kubernetes};
use serde_json::{Value, json};

/// Refused at admission: returns the message.
async fn refusal(name: &str, spec: Value) -> String {
    let client = kubernetes().await;
    match apply_node(&client, name, spec.clone()).await {
        Err(kube::Error::Api(status)) if status.code == 422 => status.message,
        other => panic!("{name} with {spec} should be refused at admission: {other:?}"),
    }
}

#[tokio::test]
async fn malformed_and_reserved_names_are_refused() {
    for (name, hint) in [
        ("ab", "3 to 40 characters"),
        ("1abc", "beginning with a letter"),
        ("abc-", "ending with a letter or digit"),
        (&*"a".repeat(41), "3 to 40 characters"),
        ("www", "reserved for the platform"),
        ("hub", "reserved for the platform"),
        ("admin", "reserved for the platform"),
    ] {
        let message = refusal(name, json!({})).await;
        assert!(message.contains("metadata.name") && message.contains(hint), "{name}: {message}");
    }
}

#[tokio::test]
async fn malformed_fields_are_refused_with_what_would_be_accepted() {
    for (spec, field, hint) in [
        (json!({"country": "XX"}), "spec.country", "ISO 3166-1"),
        (json!({"country": "sa"}), "spec.country", "in capitals"),
        (json!({"currency": "XXX"}), "spec.currency", "ISO 4217"),
        (json!({"timezone": "Mars/Olympus"}), "spec.timezone", "IANA time zone, for example Asia/Riyadh"),
        (json!({"language": "arabic!"}), "spec.language", "BCP 47"),
        (json!({"adminEmail": "a@b"}), "spec.adminEmail", "e-mail address, for example"),
        (json!({"adminEmail": "a b@c.de"}), "spec.adminEmail", "e-mail address, for example"),
        (json!({"adminEmail": "a@b.de\nBcc: c@d.ef"}), "spec.adminEmail", "e-mail address, for example"),
        (json!({"fees": {"platformBasisPoints": 10001}}), "spec.fees.platformBasisPoints", "from 0 to 10000"),
        (json!({"fees": {"platformBasisPoints": -1}}), "spec.fees.platformBasisPoints", "from 0 to 10000"),
        (json!({"displayName": "   "}), "spec.displayName", "must not be empty"),
        (json!({"region": "-mena"}), "spec.region", "label value"),
        (json!({"state": "Paused"}), "spec.state", "\"Active\", \"Suspended\", \"Inactive\""),
        (json!({"runtime": {"replicas": 0}}), "spec.runtime.replicas", "greater than or equal to 1"),
        (json!({"runtime": {"image": "bad image"}}), "spec.runtime.image", "image reference"),
        (
            json!({"runtime": {"resources": {"limits": {"memory": "lots"}}}}),
            "spec.runtime.resources.limits.memory",
            "at least 16Mi",
        ),
        (
            json!({"runtime": {"resources": {"requests": {"memory": "256Mi"}}}}),
            "spec.runtime.resources",
            "limits.memory (128Mi unless given)",
        ),
        (
            json!({"runtime": {"resources": {"limits": {"cpu": "5m"}}}}),
            "spec.runtime.resources",
            "requests.cpu (10m unless given)",
        ),
        (json!({"routing": {"tlsSecretName": "Not A Name"}}), "spec.routing.tlsSecretName", "name of a Secret"),
        (json!({"routing": {"extraHosts": ["Not A Host"]}}), "spec.routing.extraHosts", "host names in lower case"),
        (
            json!({"settings": (0..65).map(|i| (format!("k{i}"), json!(i))).collect::<serde_json::Map<_, _>>()}),
            "spec.settings",
            "64",
        ),
    ] {
        let message = refusal("well-named", spec.clone()).await;
        assert!(message.contains(field) && message.contains(hint), "{spec}: {message}");
    }
}

#[tokio::test]
async fn several_mistakes_are_named_in_one_answer() {
    let message = refusal("www", json!({"country": "XX", "timezone": "Mars", "adminEmail": "no"})).await;
    for field in ["metadata.name", "spec.country", "spec.timezone", "spec.adminEmail"] {
        assert!(message.contains(field), "{field}: {message}");
    }
}

#[tokio::test]
async fn what_is_immutable_stays() {
    let client = kubernetes().await;
    // An unknown server: the node is stalled, and its server can still be named once.
    apply_node(&client, "immutable", json!({"currency": "SAR", "region": "nowhere"})).await.unwrap();
    let message = refusal("immutable", json!({"currency": "EGP", "region": "nowhere"})).await;
    assert!(message.contains("spec.currency") && message.contains("delete the node and create it again"), "{message}");
    apply_node(
        &client,
        "immutable",
        json!({"currency": "SAR", "region": "nowhere", "database": {"serverRef": "no-such"}}),
    )
    .await
    .unwrap();
    let message =
        refusal("immutable", json!({"currency": "SAR", "region": "nowhere", "database": {"serverRef": "pg18"}})).await;
    assert!(message.contains("spec.database") && message.contains("immutable once set"), "{message}");
}
