//! What the operator does for a node, as a trace.

use fateh_crds::LocalNode;
use fateh_tests::{collector::Collector, eventually, kubernetes, ready_node};
use kube::{Api, api::DeleteParams};
use serde_json::json;

#[tokio::test]
async fn a_reconcile_is_a_trace_with_its_requests_and_its_database_and_without_secrets() {
    let collector = Collector::start().await;
    let client = kubernetes().await;
    ready_node(&client, "reconciled", json!({"adminEmail": "nobody.traces@example.com"})).await;
    let database = eventually("the reconcile was sent", 20, async || {
        let reconciles = collector.spans(|span| {
            span.service == "fateh-operator" && span.attributes.iter().any(|said| said.contains("reconciled"))
        });
        let databases = collector.spans(|span| span.name == "ensure_database");
        let within = databases.into_iter().find(|span| reconciles.iter().any(|whole| whole.trace == span.trace));
        within.ok_or(reconciles)
    })
    .await;
    let requests =
        collector.spans(|span| span.trace == database.trace && !span.parent.is_empty() && span.name != database.name);
    assert!(
        requests.iter().any(|span| span.attributes.iter().any(|said| said == "http.method=PATCH")),
        "its requests to the API server are in it: {requests:#?}"
    );
    assert!(!collector.holds("nobody.traces@example.com") && !collector.holds("SCRAM-SHA-256$"));
    Api::<LocalNode>::all(client).delete("reconciled", &DeleteParams::default()).await.unwrap();
    eventually("the deletion was sent", 20, async || {
        let gone = collector.spans(|span| span.name == "release_database");
        if gone.is_empty() { Err("not yet") } else { Ok(()) }
    })
    .await;
}
