//! What the schema refuses, it refuses by the field's name and with what would be accepted.

use fateh_crds::ContentDistribution;
use fateh_tests::{TESTER, apply_node, kubernetes};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
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

/// Applies a distribution, which would be accepted, with some of its fields replaced.
async fn apply_distribution(name: &str, changes: &[(&str, Value)]) -> Result<ContentDistribution, kube::Error> {
    let mut spec = json!({
        "content": {"id": name, "type": "Course", "version": "1", "title": {"ar": "الجمع"}, "source": {"inline": {"ar": {"text": "١"}}}},
        "targets": {"nodes": ["nobody"]}, "languages": {"want": ["ar"]}, "localChanges": {"policy": "Merge"},
        "rollout": {"stages": [{"name": "all"}]},
    });
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    let body = json!({"apiVersion": "fateh-platform.com/v1alpha1", "kind": "ContentDistribution", "metadata": {"name": name}, "spec": spec});
    let api = Api::<ContentDistribution>::all(kubernetes().await);
    api.patch(name, &PatchParams::apply(TESTER).force(), &Patch::Apply(&body)).await
}

#[tokio::test]
async fn a_distribution_with_a_mistake_is_refused_with_what_would_be_accepted() {
    let stage = |field: &str, value: Value| json!([{"name": "all", field: value}]);
    for (at, value, field, hint) in [
        ("/rollout/stages", stage("percent", json!(101)), "stages[0].percent", "less than or equal to 100"),
        ("/rollout/stages", stage("percent", json!(0)), "stages[0].percent", "greater than or equal to 1"),
        ("/rollout/stages", json!([]), "spec.rollout.stages", "at least 1 items"),
        ("/rollout/stages", json!([{"name": "a"}, {"name": "a"}]), "spec.rollout.stages", "different names"),
        ("/rollout/stages", json!([{"name": "a", "percent": 5, "count": 5}]), "stages[0]", "at most one of"),
        ("/rollout/stages", stage("nodes", json!([])), "stages[0].nodes", "at least 1 items"),
        ("/rollout/stages", stage("minSuccessTime", json!("-5m")), "stages[0].minSuccessTime", "not negative"),
        ("/rollout/stages", stage("progressDeadline", json!("-1s")), "stages[0].progressDeadline", "not negative"),
        ("/rollout/stages", stage("maxConcurrency", json!("0%")), "stages[0].maxConcurrency", "from 1% to 100%"),
        ("/rollout/stages", stage("maxConcurrency", json!(0)), "stages[0].maxConcurrency", "a number from 1"),
        ("/rollout/stages", stage("maxFailures", json!("101%")), "stages[0].maxFailures", "from 0% to 100%"),
        ("/rollout/stages", stage("maxFailures", json!(-1)), "stages[0].maxFailures", "a number from 0"),
        ("/content/source", json!({"inline": {"ar": {}}, "catalog": {}}), "spec.content.source", "exactly one of"),
        ("/content/source", json!({}), "spec.content.source", "exactly one of"),
        ("/content/source", json!({"inline": {"arabic!": {}}}), "spec.content.source.inline", "BCP 47"),
        ("/content/title", json!({"Arabic": "الجمع"}), "spec.content.title", "BCP 47"),
        ("/languages/want", json!(["ar", "x"]), "spec.languages.want", "BCP 47"),
        ("/content/id", json!("Not An Id"), "spec.content.id", "for example algebra-1"),
        ("/content/version", json!("one two"), "spec.content.version", "for example 1.2.0"),
        ("/content/type", json!("Film"), "spec.content.type", "\"Course\", \"Lesson\", \"Quiz\", \"Resource\""),
        ("/localChanges/lockedFields", json!(["title"]), "spec.localChanges.lockedFields", "for example /title"),
    ] {
        match apply_distribution("mistaken", &[(at, value.clone())]).await {
            Err(kube::Error::Api(status)) if status.code == 422 => {
                assert!(
                    status.message.contains(field) && status.message.contains(hint),
                    "{at} {value}: {}",
                    status.message
                );
            }
            other => panic!("{at} with {value} should be refused at admission: {other:?}"),
        }
    }
    apply_distribution("content-stays", &[]).await.unwrap();
    match apply_distribution("content-stays", &[("/content/id", json!("another"))]).await {
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let message = status.message;
            assert!(message.contains("spec.content.id") && message.contains("immutable"), "{message}");
        }
        other => panic!("another id should be refused: {other:?}"),
    }
    let api = Api::<ContentDistribution>::all(kubernetes().await);
    api.delete("content-stays", &DeleteParams::default()).await.unwrap();
}
