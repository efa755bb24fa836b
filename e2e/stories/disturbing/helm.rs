//! The chart's life: tried, uninstalled while nodes go on, and installed again over what was kept.

use crate::{
    backbone::{answers, apply, become_admin, host, invitation, kubectl, kubectl_json, sql, wait_ready},
    platform::{helm, pods, rolled_out, root},
};

#[tokio::test]
async fn an_installation_is_tried_taken_away_and_put_back_with_all_nodes_kept() {
    apply("lasting", "").await;
    wait_ready("lasting").await;
    let http = host("lasting");
    answers(&http).await;
    let token = become_admin(&http, &invitation("lasting").await).await;

    // As its user would try it: a node is made, serves, and is deleted again.
    let tried = helm(&["test", "fateh", "--namespace=fateh-system", "--timeout=5m"]).await;
    assert!(tried.contains("Phase:          Succeeded"), "{tried}");
    let left = kubectl(&["get", "localnodes", "-o", "name"]).await;
    assert!(!left.contains("/trial-"), "{left}");
    let databases = sql("SELECT count(*) FROM pg_database WHERE datname LIKE '%trial%'").await;
    assert_eq!(databases, "0");
    let rights = kubectl(&["get", "clusterroles", "-o", "name"]).await;
    assert!(!rights.contains("fateh-trial"), "the trial's rights are gone with it: {rights}");

    let values = helm(&["get", "values", "fateh", "--namespace=fateh-system", "--output=yaml"]).await;
    let file = std::env::temp_dir().join(format!("fateh-values-{}.yaml", std::process::id()));
    std::fs::write(&file, values).unwrap();
    let before = pods("lasting").await;
    helm(&["uninstall", "fateh", "--namespace=fateh-system", "--wait", "--timeout=2m"]).await;
    helm(&["uninstall", "fateh-crds", "--wait"]).await;
    // Types, nodes, database server and data are kept, and people work on.
    let kept = kubectl_json(&["get", "localnode", "lasting"]).await;
    assert_eq!(kept["status"]["phase"], "Ready");
    kubectl(&["get", "databaseserver", "default"]).await;
    assert_eq!(http.get("/api/local/users", Some(&token)).await.status, 200);

    let root = root();
    helm(&["install", "fateh-crds", &format!("{root}/charts/fateh-crds")]).await;
    let chart = format!("{root}/charts/fateh");
    helm(&["install", "fateh", &chart, "--namespace=fateh-system", "--values", file.to_str().unwrap()]).await;
    std::fs::remove_file(file).unwrap();
    rolled_out().await;
    super::all_report().await;
    wait_ready("lasting").await;
    assert_eq!(pods("lasting").await, before, "no pod was restarted by all of it");
    assert_eq!(http.get("/api/local/users", Some(&token)).await.status, 200);
    // It is looked after again.
    apply("lasting", "  runtime: {replicas: 2}\n").await;
    wait_ready("lasting").await;
    kubectl(&["delete", "localnode", "lasting", "--timeout=60s"]).await;
}
