//! Money of nodes at the centre: everything once, and the sums agree.

use fateh_tests::{Postgres, eventually, service_account_token};
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    hub::{HUB, node_of, start},
    running::become_admin,
};

#[tokio::test]
async fn what_a_node_records_reaches_the_ledger_once_and_the_sums_agree() {
    let hub = start("ledger").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let node = node_of(&hub, "earning").await;
    let owner = become_admin(&node).await;
    let record = async |key: &str, amount: &str| {
        let body = json!({"type": "course", "amount": amount, "currency": "SAR"});
        let http = node.users.with_header("x-node-id: earning").with_header(&format!("Idempotency-Key: {key}"));
        http.post("/api/local/revenue", Some(&owner), &body).await.data(201)
    };
    let first = record("one", "1000.00").await;
    for number in 0..20 {
        record(&format!("more-{number}"), "10.55").await;
    }
    let refunds = format!("/api/local/revenue/{}/refunds", first["id"].as_str().unwrap());
    let refunding = node.users.with_header("x-node-id: earning").with_header("Idempotency-Key: back");
    refunding.post(&refunds, Some(&owner), &json!({"amount": "250.00"})).await.data(201);

    let of_node = async || node.users.get("/api/local/statistics", Some(&owner)).await.data(200);
    eventually("everything is told", 30, async || {
        let statistics = of_node().await;
        if statistics["sync"]["pending"] == 0 { Ok(()) } else { Err(statistics) }
    })
    .await;
    let local = of_node().await["revenue"][0].clone();
    let central = async || {
        let statistics = http.get("/api/global/statistics", Some(&admin)).await.data(200);
        let nodes = statistics["nodes"].as_array().unwrap().clone();
        nodes.into_iter().find(|node| node["slug"] == "earning").unwrap()["revenue"][0].clone()
    };
    assert_eq!(local["gross"], "1211.00");
    eventually("the statistics have it, to the last unit", 5, async || {
        let seen = central().await;
        if seen == local { Ok(()) } else { Err(seen) }
    })
    .await;
    let balance: i64 = sqlx::query_scalar(
        "SELECT sum(CASE WHEN debit = 'received' THEN amount_minor ELSE -amount_minor END)::bigint FROM global_platform.ledger_transfers",
    )
    .fetch_one(&mut hub.database().await)
    .await
    .unwrap();
    assert_eq!(balance, 121_100 - 25_000, "what was moved is what was received less what was given back");

    // Told again, it has no effect; another thing under its name is refused, and neither moves a sum.
    let client = fateh_tests::kubernetes().await;
    let token = service_account_token(&client, "fateh-node-earning", "node", Some(HUB)).await;
    let id = Uuid::new_v4();
    let item = |id: Uuid, amount: i64| {
        json!({"id": id, "at": "2026-11-01T00:00:00Z", "kind": "revenue",
        "payload": {"id": id, "type": "course", "currency": "SAR", "amountMinor": amount, "feeMinor": 100,
            "netMinor": amount - 100, "transactionDate": "2026-11-01T00:00:00Z"}})
    };
    let send = async |items: &[Value]| {
        let batch = json!({"node": "earning", "items": items});
        let answer = http.post("/api/global/v1/sync", Some(&token), &batch).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let results = answer.json["results"].as_array().unwrap().clone();
        results.iter().map(|result| result["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(send(&[item(id, 1000)]).await, ["applied"]);
    let by_node = async || http.get("/api/global/revenue?by=node", Some(&admin)).await.data(200);
    let after = by_node().await;
    assert_eq!(send(&[item(id, 1000), item(id, 1000)]).await, ["repeated"]);
    assert_eq!(send(&[item(id, 2000)]).await, ["refused"]);
    assert_eq!(send(&[json!({"id": Uuid::new_v4(), "at": "2026-11-01T00:00:00Z", "kind": "revenue", "payload":
        {"id": id, "type": "course", "currency": "USD", "amountMinor": 1, "feeMinor": 0, "netMinor": 1, "transactionDate": "2026-11-01T00:00:00Z"}})]).await, ["refused"]);
    assert_eq!(by_node().await, after);
    // Many at once, of several replicas that both believe it is their turn.
    let ids: Vec<_> = (0..200).map(|_| Uuid::new_v4()).collect();
    let items: Vec<_> = ids.iter().map(|id| item(*id, 1000)).collect();
    let (one, two, three) = tokio::join!(send(&items), send(&items), send(&items));
    let applied = [one, two, three].iter().flatten().filter(|outcome| *outcome == "applied").count();
    assert_eq!(applied, 200);
    // One by one as well, beside a batch that holds the same.
    let items: Vec<_> = (0..20).map(|_| item(Uuid::new_v4(), 1000)).collect();
    let singles = join_all(items.iter().chain(&items).map(|item| send(std::slice::from_ref(item))));
    let (batch, singles) = tokio::join!(send(&items), singles);
    let applied = singles.iter().flatten().chain(&batch).filter(|outcome| *outcome == "applied").count();
    assert_eq!(applied, 20);

    let report = http.get("/api/global/revenue?by=month&from=2026-11-01", Some(&admin)).await.data(200);
    let november = report["sums"].as_array().unwrap().iter().find(|sum| sum["key"] == "2026-11").unwrap();
    assert_eq!((&november["gross"], &november["refunded"]), (&json!("3421.00"), &json!("250.00")), "{report}");
    for query in ["by=week", "from=yesterday", "to=2026-13-01"] {
        assert_eq!(http.get(&format!("/api/global/revenue?{query}"), Some(&admin)).await.error(422), "invalid-request");
    }
    // The rows are there for ever, by the rights of the hub's own role.
    let mut own = Postgres::V18.connect(&hub.name, crate::hub::PASSWORD, &hub.name).await.unwrap();
    for statement in [
        "UPDATE global_platform.ledger_entries SET amount_minor = 1",
        "DELETE FROM global_platform.ledger_transfers",
        "DELETE FROM global_platform.received_items",
        "UPDATE global_platform.audit_log SET actor = 'nobody'",
        "CREATE TABLE global_platform.mine ()",
    ] {
        let refused = sqlx::query(statement).execute(&mut own).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
    }
}
