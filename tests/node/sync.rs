//! What the centre is told: everything, once in effect, whatever becomes of the way to it.

use std::sync::atomic::Ordering;

use fateh_tests::{Postgres, eventually};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    peer,
    running::{become_admin, make, run_with_hub, text},
};

const SYNC: &str = "/api/local/sync";

/// What the node's money adds up to: received, fee and net, less what was given back; and what the ledger says of it.
async fn sums(database: &mut PgConnection) -> ((i64, i64, i64), i64) {
    let rows = sqlx::query_as(
        "SELECT (SELECT coalesce(sum(amount_minor), 0) FROM local_node.local_revenues)::bigint
              - (SELECT coalesce(sum(amount_minor), 0) FROM local_node.local_refunds)::bigint,
                (SELECT coalesce(sum(fee_minor), 0) FROM local_node.local_revenues)::bigint
              - (SELECT coalesce(sum(fee_minor), 0) FROM local_node.local_refunds)::bigint,
                (SELECT coalesce(sum(net_minor), 0) FROM local_node.local_revenues)::bigint
              - (SELECT coalesce(sum(net_minor), 0) FROM local_node.local_refunds)::bigint",
    );
    let ledger = sqlx::query_scalar(
        "SELECT coalesce(sum(CASE WHEN debit = 'received' THEN amount_minor ELSE -amount_minor END), 0)::bigint
         FROM local_node.ledger_transfers",
    );
    (rows.fetch_one(&mut *database).await.unwrap(), ledger.fetch_one(database).await.unwrap())
}

#[tokio::test]
async fn what_happens_reaches_the_centre_and_what_it_refuses_holds_up_nothing() {
    let (hub, url) = peer::start().await;
    hub.refuses_users.store(true, Ordering::Relaxed);
    let node = run_with_hub("synced", Postgres::V18, &url).await;
    let admin = become_admin(&node).await;
    make(&node.users, &admin, "omar", "student").await;
    let money = |key: &str| node.users.with_header("x-node-id: synced").with_header(&format!("Idempotency-Key: {key}"));
    let course = json!({"type": "course", "amount": "100", "currency": "SAR"});
    let recorded = money("a").post("/api/local/revenue", Some(&admin), &course).await.data(201);
    let path = format!("/api/local/revenue/{}/refunds", text(&recorded, "id"));
    money("b").post(&path, Some(&admin), &json!({"amount": "40"})).await.data(201);
    // Without anyone's asking.
    eventually("the centre has the money", 10, async || {
        let sums = hub.sums();
        if sums == (6000, 600, 5400) { Ok(()) } else { Err(sums) }
    })
    .await;
    let one = format!("/api/local/revenue/{}", text(&recorded, "id"));
    eventually("the row is marked", 5, async || {
        let row = node.users.get(&one, Some(&admin)).await.data(200);
        if row["syncedToGlobal"] == true { Ok(()) } else { Err(row) }
    })
    .await;
    let asked = node.users.send("POST", SYNC, Some(&admin), "en", None).await.data(200);
    assert_eq!((asked["pending"].as_i64(), asked["setAside"].as_i64()), (Some(0), Some(2)), "{asked}");
    let metrics = node.management.text("/metrics", None).await;
    assert!(metrics.contains("fateh_node_outbox_items{state=\"refused\"} 2"), "{metrics}");
    let unserved = fateh_tests::unserved_metrics("fateh_node_", &metrics);
    assert!(unserved.is_empty(), "people would never be called by {unserved:?}");

    // The hub goes away, and comes back: nothing is lost, nothing comes twice.
    hub.away.store(true, Ordering::Relaxed);
    for index in 0..5 {
        money(&format!("away-{index}")).post("/api/local/revenue", Some(&admin), &course).await.data(201);
    }
    let refused = node.users.send("POST", SYNC, Some(&admin), "en", None).await;
    assert_eq!(refused.error(503), "hub-away");
    assert!(refused.headers.contains("retry-after:"), "{}", refused.headers);
    hub.away.store(false, Ordering::Relaxed);
    let asked = eventually("the node can tell the centre", 35, async || {
        let answer = node.users.send("POST", SYNC, Some(&admin), "en", None).await;
        if answer.status == 200 { Ok(answer.data(200)) } else { Err(answer) }
    })
    .await;
    assert_eq!(asked["pending"], 0, "{asked}");
    assert_eq!(hub.sums(), (56_000, 5600, 50_400));
    assert_eq!(sums(&mut node.database(Postgres::V18).await).await, (hub.sums(), 56_000));
}

#[tokio::test]
async fn a_centre_that_drops_repeats_delays_and_reorders_ends_with_the_same_sums() {
    let (hub, url) = peer::start().await;
    hub.bad.store(true, Ordering::Relaxed);
    let node = run_with_hub("unsteady", Postgres::V15, &url).await;
    let other = node.replica().await;
    let admin = become_admin(&node).await;
    let mut paying = tokio::task::JoinSet::new();
    for index in 0..120 {
        let http = if index % 2 == 0 { &node } else { &other }.users.clone();
        let http = http.with_header("x-node-id: unsteady").with_header(&format!("Idempotency-Key: {index}"));
        let (admin, body) = (
            admin.clone(),
            json!({"type": "course", "amount": format!("{}.{:02}", index + 1, index % 100), "currency": "SAR"}),
        );
        paying.spawn(async move { http.post("/api/local/revenue", Some(&admin), &body).await.status });
        if index % 20 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    assert!(paying.join_all().await.into_iter().all(|status| status == 201));
    let mut database = node.database(Postgres::V15).await;
    let (expected, ledger) = sums(&mut database).await;
    assert_eq!(ledger, expected.0);
    eventually("nothing waits any more", 90, async || {
        // People ask, too.
        node.users.send("POST", SYNC, Some(&admin), "en", None).await;
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM local_node.outbox").fetch_one(&mut database).await.unwrap();
        if waiting == 0 { Ok(()) } else { Err(waiting) }
    })
    .await;
    assert_eq!(hub.sums(), expected);
    let unsent: i64 = sqlx::query_scalar("SELECT count(*) FROM local_node.local_revenues WHERE NOT synced_to_global")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(unsent, 0);
    println!("{} batches", hub.batches.load(Ordering::Relaxed));
}
