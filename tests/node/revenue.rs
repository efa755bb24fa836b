//! Money: recorded once, with the right fee, and given back in parts that add up.

use fateh_tests::{Answer, Http, Postgres};
use serde_json::{Value, json};

use crate::running::{Running, become_admin, make, run, sign_in, text};

const REVENUE: &str = "/api/local/revenue";

/// Requests of one node's admin, each with a key.
struct Till<'a> {
    node: &'a Running,
    admin: String,
}

impl Till<'_> {
    fn http(&self, key: &str) -> Http {
        self.node
            .users
            .with_header(&format!("x-node-id: {}", self.node.name))
            .with_header(&format!("Idempotency-Key: {key}"))
    }

    async fn record(&self, key: &str, body: &Value) -> Answer {
        self.http(key).post(REVENUE, Some(&self.admin), body).await
    }

    async fn refund(&self, key: &str, id: &str, amount: &str) -> Answer {
        self.http(key).post(&format!("{REVENUE}/{id}/refunds"), Some(&self.admin), &json!({"amount": amount})).await
    }

    async fn get(&self, path: &str) -> Value {
        self.node.users.get(path, Some(&self.admin)).await.data(200)
    }
}

fn course(amount: &str) -> Value {
    json!({"type": "course", "amount": amount, "currency": "SAR"})
}

async fn money_is_recorded_once_and_given_back_in_parts(server: Postgres) {
    let node = run(&format!("money-{}", server.name()), server).await;
    let till = Till { admin: become_admin(&node).await, node: &node };
    let first = till.record("a", &course("0.15")).await.data(201);
    assert_eq!(
        (text(&first, "platformFee"), text(&first, "netAmount"), text(&first, "amount")),
        ("0.02".into(), "0.13".into(), "0.15".into()),
        "10 % of 15, half up"
    );
    assert_eq!(till.record("a", &course("0.15")).await.data(201), first, "the same request has the same answer");
    assert_eq!(till.record("a", &course("0.16")).await.error(422), "idempotency-key-reused");

    // Two at once, and again: one entry.
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (http, admin) = (till.http("at-once"), till.admin.clone());
        asking.spawn(async move { text(&http.post(REVENUE, Some(&admin), &course("100")).await.data(201), "id") });
    }
    let ids = asking.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    // Each part of 7 gives back what leaves the platform its share of what is left.
    let id = text(&till.record("parts", &course("0.07")).await.data(201), "id");
    let mut fees = Vec::new();
    for part in 0..7 {
        let refund = till.refund(&format!("part-{part}"), &id, "0.01").await.data(201);
        fees.push(text(&refund, "platformFee"));
    }
    assert_eq!(
        fees.iter().filter(|fee| *fee == "0.01").count(),
        1,
        "together they give back the fee of 0.01: {fees:?}"
    );
    assert_eq!(till.refund("part-7", &id, "0.01").await.error(409), "refund-too-large");
    let again = till.refund("part-3", &id, "0.01").await.data(201);
    assert_eq!(text(&again, "platformFee"), fees[3], "a repeated refund is none");
    assert_eq!(till.refund("part-3", &id, "0.02").await.error(422), "idempotency-key-reused");
    assert_eq!(till.refund("x", "00000000-0000-0000-0000-000000000000", "1").await.error(404), "not-found");
    assert_eq!(text(&till.get(&format!("{REVENUE}/{id}")).await, "refunded"), "0.07");

    // Many who give the same money back at once: never more than there was.
    let mut asking = tokio::task::JoinSet::new();
    for index in 0..16 {
        let (http, admin) = (till.http(&format!("greedy-{index}")), till.admin.clone());
        let path = format!("{REVENUE}/{}/refunds", ids[0]);
        asking.spawn(async move { http.post(&path, Some(&admin), &json!({"amount": "10"})).await.status });
    }
    let given = asking.join_all().await.into_iter().filter(|status| *status == 201).count();
    assert_eq!(given, 10);

    // The ledger says the same as the rows, and nobody can change either.
    let mut database = node.database(server).await;
    let (received, net, fee): (i64, i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(amount_minor) FILTER (WHERE debit = 'received'), 0)::bigint
              - coalesce(sum(amount_minor) FILTER (WHERE credit = 'received'), 0)::bigint,
                coalesce(sum(CASE WHEN credit = 'net' THEN amount_minor WHEN debit = 'net' THEN -amount_minor END), 0)::bigint,
                coalesce(sum(CASE WHEN credit = 'fee' THEN amount_minor WHEN debit = 'fee' THEN -amount_minor END), 0)::bigint
         FROM local_node.ledger_transfers",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!((received, net, fee), (15, 13, 2), "what is left is the first entry");
    let outbox: i64 = sqlx::query_scalar("SELECT count(*) FROM local_node.outbox WHERE kind IN ('revenue', 'refund')")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(outbox, 3 + 7 + 10);
    for statement in [
        "UPDATE local_node.local_revenues SET amount_minor = 1",
        "DELETE FROM local_node.local_revenues",
        "UPDATE local_node.ledger_transfers SET amount_minor = 1",
        "DELETE FROM local_node.ledger_transfers",
        "UPDATE local_node.local_refunds SET fee_minor = 0",
        "INSERT INTO local_node.fee_rates VALUES (now(), 0)",
    ] {
        let refused = node.as_runtime(server, statement).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn money_is_recorded_once_and_given_back_in_parts_on_postgresql_15() {
    money_is_recorded_once_and_given_back_in_parts(Postgres::V15).await;
}

#[tokio::test]
async fn money_is_recorded_once_and_given_back_in_parts_on_postgresql_18() {
    money_is_recorded_once_and_given_back_in_parts(Postgres::V18).await;
}

#[tokio::test]
async fn the_fee_is_that_of_the_day_on_which_it_was_paid() {
    let node = run("rates", Postgres::V18).await;
    let till = Till { admin: become_admin(&node).await, node: &node };
    let mut database = node.database(Postgres::V18).await;
    for (from, points) in [("2026-01-01T00:00:00Z", 2000), ("2026-06-01T00:00:00Z", 500)] {
        sqlx::query("INSERT INTO local_node.fee_rates VALUES ($1::text::timestamptz, $2)")
            .bind(from)
            .bind(points)
            .execute(&mut database)
            .await
            .unwrap();
    }
    for (index, (date, fee)) in [
        ("2020-03-01T00:00:00Z", "20.00"),
        ("2026-01-01T00:00:00Z", "20.00"),
        ("2026-05-31T23:59:59.999999Z", "20.00"),
        ("2026-06-01T00:00:00Z", "5.00"),
        ("2026-06-01T02:59:59+03:00", "20.00"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = course("100");
        body["transactionDate"] = date.into();
        let recorded = till.record(&format!("dated-{index}"), &body).await.data(201);
        assert_eq!(text(&recorded, "platformFee"), fee, "{date}");
    }
    let summary = till.get(&format!("{REVENUE}/summary?by=month&until=2026-07-01T00:00:00Z")).await;
    let periods: Vec<_> = summary["periods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sum| (text(sum, "period"), sum["count"].as_i64().unwrap(), text(sum, "platformFee")))
        .collect();
    assert_eq!(
        periods,
        [
            ("2020-03-01".into(), 1, "20.00".into()),
            ("2026-01-01".into(), 1, "20.00".into()),
            ("2026-05-01".into(), 2, "40.00".into()),
            ("2026-06-01".into(), 1, "5.00".into()),
        ]
    );
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = till.get(&format!("{REVENUE}?limit=2&type=course{cursor}")).await;
        listed.extend(
            page["revenue"].as_array().unwrap().iter().map(|row| text(row, "transactionDate").replace('Z', "")),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed.len(), 5);
    assert!(listed.is_sorted(), "{listed:?}");
    let export = node.users.text(&format!("{REVENUE}/export"), Some(&till.admin)).await;
    assert_eq!(export.lines().count(), 6, "{export}");
    assert!(export.starts_with("id,type,amount,currency,"), "{export}");
    assert!(export.contains(",course,100.00,SAR,5.00,95.00,0.00,2026-06-01T00:00:00Z,,false,"), "{export}");
}

#[tokio::test]
async fn bad_money_is_refused_by_the_name_of_its_field() {
    let node = run("bad-money", Postgres::V18).await;
    let till = Till { admin: become_admin(&node).await, node: &node };
    let good = course("100");
    for (field, value, status) in [
        ("type", json!("gift"), 422),
        ("type", json!(1), 400),
        ("amount", json!("-1"), 422),
        ("amount", json!("0"), 422),
        ("amount", json!("1.234"), 422),
        ("amount", json!("١٠٠"), 422),
        ("amount", json!("1e9"), 422),
        ("amount", json!("99999999999999999999"), 422),
        ("amount", json!(100), 400),
        ("currency", json!("USD"), 422),
        ("currency", json!("sar"), 422),
        ("transactionDate", json!("9999-01-01T00:00:00Z"), 422),
        ("transactionDate", json!("1900-01-01T00:00:00Z"), 422),
        ("transactionDate", json!("yesterday"), 422),
        ("userId", json!("somebody"), 422),
        ("metadata", json!([1]), 422),
        ("metadata", json!({"a": "x".repeat(20_000)}), 422),
        ("surprise", json!(1), 400),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let answer = till.record("bad", &body).await;
        assert_eq!(answer.status, status, "{field} {value}: {}", answer.json);
        if status == 422 {
            assert_eq!(answer.json["fields"][0]["field"], field, "{}", answer.json);
        }
    }
    let mut body = good.clone();
    body["userId"] = "00000000-0000-0000-0000-000000000000".into();
    assert_eq!(till.record("bad", &body).await.error(422), "unknown-user");
    for (lines, field) in [
        (&["Idempotency-Key: a"][..], "x-node-id"),
        (&["x-node-id: another", "Idempotency-Key: a"], "x-node-id"),
        (&["x-node-id: bad-money"], "idempotency-key"),
        (&["x-node-id: bad-money", "Idempotency-Key: two words"], "idempotency-key"),
    ] {
        let http = lines.iter().fold(node.users.clone(), |http, line| http.with_header(line));
        let answer = http.post(REVENUE, Some(&till.admin), &good).await;
        assert_eq!(answer.error(422), "invalid-request", "{lines:?}");
        assert_eq!(answer.json["fields"][0]["field"], field);
    }
    make(&node.users, &till.admin, "zayd", "instructor").await;
    let other = Till { admin: text(&sign_in(&node.users, "zayd").await, "accessToken"), node: &node };
    assert_eq!(other.record("a", &good).await.error(403), "forbidden");
    for path in ["", "/summary", "/export", "/00000000-0000-0000-0000-000000000000"] {
        assert_eq!(node.users.get(&format!("{REVENUE}{path}"), Some(&other.admin)).await.status, 403);
    }
    for query in ["from=x", "until=x", "type=gift", "limit=0", "cursor=x"] {
        let answer = node.users.get(&format!("{REVENUE}?{query}"), Some(&till.admin)).await;
        assert_eq!(answer.error(422), "invalid-request", "{query}");
    }
    // Nothing was recorded on the way, and the key is still free.
    assert_eq!(till.get(REVENUE).await["revenue"], json!([]));
    till.record("bad", &good).await.data(201);
}
