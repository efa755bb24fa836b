//! A node's report reaches the LocalNode's status; its silence too.

use fateh_crds::LocalNode;
use fateh_tests::{condition, eventually, kubernetes, now, ready_node, report};
use kube::Api;
use serde_json::{Value, json};

fn figures(reported_at: &str, users: i64) -> Value {
    json!({
        "reportedAt": reported_at, "version": "9.9.9", "adminState": "Invited",
        "statistics": {
            "users": {"total": users, "active30d": 1, "byRole": {"student": users, "instructor": 0, "admin": 0}},
            "revenue": [{"currency": "SAR", "gross": 125_000, "fee": 12_500, "net": 112_500, "refunds": 0}],
        },
    })
}

#[tokio::test]
async fn figures_are_copied_when_they_differ_and_silence_is_noticed() {
    let client = kubernetes().await;
    ready_node(&client, "talking", json!({})).await;
    let nodes = Api::<LocalNode>::all(client.clone());
    let first = now().await;
    report(&client, "talking", figures(&first, 7)).await;
    let status = eventually("the figures", 30, async || {
        let status = nodes.get("talking").await.unwrap().status.unwrap();
        if status.statistics.as_ref().is_some_and(|it| it.figures.users.total == 7) { Ok(status) } else { Err(status) }
    })
    .await;
    let statistics = status.statistics.unwrap();
    assert_eq!(statistics.revenue_summary.as_deref(), Some("1,250.00 SAR"));
    assert_eq!(status.runtime.unwrap().version.as_deref(), Some("9.9.9"));
    assert_eq!(condition(&client, "talking", "Reporting", "True").await, "Reporting");

    // A heartbeat with the same figures is no difference: the object is not written.
    let before = nodes.get("talking").await.unwrap();
    report(&client, "talking", figures(&now().await, 7)).await;
    report(&client, "talking", figures(&now().await, 7)).await;
    let after = nodes.get("talking").await.unwrap();
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);

    // Three intervals of 2 s without a report.
    assert_eq!(condition(&client, "talking", "Reporting", "False").await, "Silent");
    assert_eq!(condition(&client, "talking", "Ready", "True").await, "Serving", "silence says nothing of Ready");
    report(&client, "talking", figures(&now().await, 8)).await;
    assert_eq!(condition(&client, "talking", "Reporting", "True").await, "Reporting");
}
