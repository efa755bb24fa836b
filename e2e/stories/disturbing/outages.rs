//! The database server, and then the API server, away for a while: nodes lose nothing, are not restarted, and recover.

use std::time::{Duration, Instant};

use fateh_tests::{eventually, variable};

use crate::{
    backbone::{answers, apply, become_admin, host, invitation, kubectl, run, sql, wait_ready},
    platform::pods,
};

/// How long an outage lasts: a minute in `make soak`.
pub fn outage() -> Duration {
    Duration::from_secs(if fateh_tests::soak() { 60 } else { 20 })
}

pub async fn part(act: &str, name: &str) {
    let script = format!("{}/part.sh", variable("FATEH_CLUSTER"));
    run(&script, &[act, name]).await.unwrap_or_else(|error| panic!("{act} {name}: {error}"));
}

async fn condition(node: &str, kind: &str) -> (String, String) {
    let read = format!(
        "jsonpath={{.status.conditions[?(@.type=='{kind}')].status}} {{.status.conditions[?(@.type=='{kind}')].reason}}"
    );
    let both = kubectl(&["get", "localnode", node, "-o", &read]).await;
    let (status, reason) = both.split_once(' ').unwrap_or_default();
    (status.to_owned(), reason.to_owned())
}

/// Everything that an outage must not touch: databases, roles, passwords, pods.
async fn possessions(node: &str) -> [String; 4] {
    let secret =
        kubectl(&["get", "secret", "node-database", "-n", &format!("fateh-node-{node}"), "-o", "jsonpath={.data}"])
            .await;
    let databases = sql(
        "SELECT string_agg(datname || coalesce(datacl::text, ''), ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'node%'",
    );
    let roles = sql(
        "SELECT string_agg(rolname || rolcanlogin || rolconnlimit, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'node%'",
    );
    [databases.await, roles.await, secret, pods(node).await]
}

#[tokio::test]
async fn a_database_server_that_is_away_for_a_while_costs_nothing_but_that_time() {
    apply("patient", "").await;
    wait_ready("patient").await;
    let http = host("patient");
    answers(&http).await;
    let token = become_admin(&http, &invitation("patient").await).await;
    let before = possessions("patient").await;

    part("stop", "postgres").await;
    let started = Instant::now();
    eventually("the node says what is wrong", 20, async || match condition("patient", "Ready").await {
        (status, reason) if status == "False" && ["DatabaseUnreachable", "PodsUnavailable"].contains(&&*reason) => {
            Ok(())
        }
        other => Err(other),
    })
    .await;
    eventually("the server says that it is not reached", 20, async || {
        let reachable = kubectl(&[
            "get",
            "databaseserver",
            "default",
            "-o",
            "jsonpath={.status.conditions[?(@.type=='Reachable')].status}",
        ])
        .await;
        if reachable == "False" { Ok(()) } else { Err(reachable) }
    })
    .await;
    // Made meanwhile, it waits.
    apply("meanwhile", "").await;
    tokio::time::sleep(outage().saturating_sub(started.elapsed())).await;
    assert_eq!(condition("meanwhile", "Reconciling").await.0, "True");

    part("start", "postgres").await;
    let returned = Instant::now();
    eventually("the node is ready again", 30, async || match condition("patient", "Ready").await {
        (status, _) if status == "True" => Ok(()),
        other => Err(other),
    })
    .await;
    println!("ready again {} ms after the database server's return", returned.elapsed().as_millis());
    wait_ready("meanwhile").await;
    super::all_report().await;
    assert_eq!(http.get("/api/local/users", Some(&token)).await.status, 200);
    let after = possessions("patient").await;
    assert_eq!([&before[2], &before[3]], [&after[2], &after[3]], "no new password, no restart");
    for (what, before, after) in [("databases", &before[0], &after[0]), ("roles", &before[1], &after[1])] {
        assert!(before.split(' ').all(|one| after.contains(one)), "{what}: {before} became {after}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_costs_nothing_but_that_time() {
    apply("steadfast", "").await;
    wait_ready("steadfast").await;
    let http = host("steadfast");
    answers(&http).await;
    let before = possessions("steadfast").await;
    part("stop", "kube-apiserver").await;
    let started = Instant::now();
    while started.elapsed() < outage() {
        assert_eq!(http.get("/api/local/node", None).await.status, 200, "the node serves all the while");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    part("start", "kube-apiserver").await;
    eventually("the API server is back", 60, async || run("kubectl", &["get", "--raw", "/readyz"]).await).await;
    let returned = Instant::now();
    apply("afterwards", "").await;
    // Pods reach the API server again when kube-proxy does, which waits up to a minute between two tries.
    kubectl(&["wait", "--for=condition=RouteReady", "--timeout=120s", "localnode/afterwards"]).await;
    let applied = returned.elapsed().as_millis();
    wait_ready("afterwards").await;
    // Most of it is the patience of Kubernetes' own informers.
    println!(
        "a new node was applied {applied} ms, and ready {} ms after the API server's return",
        returned.elapsed().as_millis()
    );
    wait_ready("steadfast").await;
    super::all_report().await;
    let after = possessions("steadfast").await;
    assert_eq!([&before[2], &before[3]], [&after[2], &after[3]], "no new password, no restart");
    assert!(before[0].split(' ').all(|one| after[0].contains(one)));
}
