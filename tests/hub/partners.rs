//! Partners: what they see, what they are at their node and at no other, and how its net is divided among them.

use fateh_tests::{Http, eventually, kubernetes, ready_node};
use serde_json::{Value, json};

use crate::{
    hub::{node_of, start},
    running::{become_admin, sign_in, text},
};

const PARTNERS: &str = "/api/global/partners";

fn partner(node: &str, email: &str, role: &str, share: i32) -> Value {
    json!({"node": node, "displayName": "شريك", "email": email, "role": role, "shareBasisPoints": share,
        "contract": {"number": "2026/7"}})
}

async fn account_id(http: &Http, token: &str) -> Value {
    http.get("/api/global/users/me", Some(token)).await.data(200)["id"].clone()
}

#[tokio::test]
async fn an_owner_sees_the_own_node_only_and_signs_in_there_by_an_exchange() {
    let client = kubernetes().await;
    let hub = start("partners").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let (mine, other) = (node_of(&hub, "owned").await, node_of(&hub, "anothers").await);
    ready_node(&client, "third", json!({})).await;
    let sees = async |path: &str, token: &str| http.get(path, Some(token)).await;
    eventually("the hub knows the nodes", 10, async || {
        let slugs = sees("/api/global/nodes?limit=200", &admin).await.data(200);
        let known = slugs["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|node| node["slug"] == "owned" || node["slug"] == "anothers");
        if known.count() == 2 { Ok(()) } else { Err(slugs) }
    })
    .await;

    let owner = hub.account(&admin, "owner@example.com", Value::Null).await;
    assert_eq!(sees("/api/global/nodes", &owner).await.error(403), "forbidden", "a partner of nothing sees nothing");
    let mut wanted = partner("owned", "owner@example.com", "owner", 6000);
    wanted["userId"] = account_id(http, &owner).await;
    let made = http.post(PARTNERS, Some(&admin), &wanted).await.data(201);
    assert_eq!((&made["shareBasisPoints"], &made["contract"]["number"]), (&json!(6000), &json!("2026/7")));

    let nodes = sees("/api/global/nodes", &owner).await.data(200);
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(sees("/api/global/nodes/owned", &owner).await.data(200)["slug"], "owned");
    assert_eq!(sees("/api/global/nodes/anothers", &owner).await.error(404), "not-found");
    let statistics = sees("/api/global/statistics", &owner).await.data(200);
    assert_eq!((statistics["totalNodes"].as_i64(), &statistics["nodes"][0]["slug"]), (Some(1), &json!("owned")));
    let partners = sees(PARTNERS, &owner).await.data(200);
    assert_eq!(partners["partners"].as_array().unwrap().len(), 1);
    for path in ["/api/global/users", "/api/global/audit"] {
        assert_eq!(sees(path, &owner).await.error(403), "forbidden", "{path}");
    }
    assert_eq!(
        http.post(PARTNERS, Some(&owner), &partner("owned", "x@example.com", "owner", 1)).await.error(403),
        "forbidden"
    );

    // One audience: the node that the token was exchanged for.
    let exchange = async |token: &str, node: &str| {
        http.post("/api/global/auth/exchange", Some(token), &json!({"node": node})).await
    };
    let token = text(&exchange(&owner, "owned").await.data(200), "accessToken");
    assert_eq!(mine.users.get("/api/local/statistics", Some(&token)).await.status, 200, "an owner at the own node");
    assert_eq!(other.users.get("/api/local/statistics", Some(&token)).await.error(401), "unauthenticated");
    assert_eq!(http.get("/api/global/users/me", Some(&token)).await.error(401), "unauthenticated");
    assert_eq!(exchange(&owner, "anothers").await.error(404), "not-found");
    assert_eq!(exchange(&owner, "nowhere").await.error(404), "not-found");
    assert_eq!(mine.users.get("/api/local/statistics", Some(&owner)).await.error(401), "unauthenticated");

    // A user of the node is the partner only when the partner says so, signed in here and there.
    become_admin(&mine).await;
    let local = text(&sign_in(&mine.users, "سارة").await["globalToken"], "accessToken");
    assert_eq!(sees("/api/global/nodes", &local).await.error(403), "forbidden");
    let join = async |account: &str, brought: &str| {
        http.post("/api/global/identity/join", Some(account), &json!({"globalToken": brought})).await
    };
    assert_eq!(join(&owner, &owner).await.error(422), "invalid-request", "an account is no user of a node");
    assert_eq!(join(&local, &local).await.error(403), "forbidden", "a node's user has no account by itself");
    join(&owner, &local).await.data(200);
    let joined = sees("/api/global/nodes", &local).await.data(200);
    assert_eq!(joined["nodes"][0]["slug"], "owned");
    let finance = hub.account(&admin, "finance@example.com", json!("finance")).await;
    assert_eq!(join(&finance, &local).await.error(409), "identity-of-another");
    let at_node = text(&exchange(&local, "owned").await.data(200), "accessToken");
    assert_eq!(mine.users.get("/api/local/users/me", Some(&at_node)).await.status, 200, "it is the node's own user");

    // Suspended, the partner is nobody at once; ended, for good.
    let mut replaced = wanted.clone();
    for gone in ["node", "shareBasisPoints"] {
        replaced.as_object_mut().unwrap().remove(gone);
    }
    replaced["status"] = json!("suspended");
    let path = format!("{PARTNERS}/{}", made["id"].as_str().unwrap());
    let changed = http.send("PUT", &path, Some(&admin), "en", Some(&replaced)).await.data(200);
    assert_eq!((&changed["status"], &changed["shareBasisPoints"]), (&json!("suspended"), &json!(6000)));
    assert_eq!(sees("/api/global/nodes", &owner).await.error(403), "forbidden");
    assert_eq!(sees("/api/global/nodes", &local).await.error(403), "forbidden");
    http.send("DELETE", &path, Some(&admin), "en", None).await.data(200);
    assert_eq!(http.send("DELETE", &path, Some(&admin), "en", None).await.error(404), "not-found");
    let ended = http.get(&path, Some(&admin)).await.data(200);
    assert_eq!((&ended["status"], &ended["shareBasisPoints"]), (&json!("ended"), &json!(0)));
}

#[tokio::test]
async fn shares_never_exceed_the_whole_and_the_parts_make_the_net() {
    let hub = start("shares").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let node = node_of(&hub, "divided").await;
    eventually("the hub knows the node", 10, async || {
        let answer = http.get("/api/global/nodes/divided", Some(&admin)).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    let make = async |email: &str, share: i32| {
        http.post(PARTNERS, Some(&admin), &partner("divided", email, "owner", share)).await
    };
    let one = make("one@example.com", 3333).await.data(201);
    let two = make("two@example.com", 3333).await.data(201);
    let refused = make("three@example.com", 3335).await;
    assert_eq!(refused.error(409), "shares-exceed");
    assert!(refused.json["message"].as_str().unwrap().contains("10001"), "{}", refused.json);
    assert_eq!(
        http.get(PARTNERS, Some(&admin)).await.data(200)["partners"].as_array().unwrap().len(),
        2,
        "nothing half made"
    );
    assert_eq!(make("ONE@example.com", 1).await.error(409), "email-taken");
    // Two at once for what is left: one of them gets it.
    let (left, right) = tokio::join!(make("four@example.com", 2000), make("five@example.com", 2000));
    let mut statuses = [left.status, right.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);

    for (field, bad) in [
        ("node", json!("nowhere")),
        ("email", json!("no e-mail")),
        ("role", json!("king")),
        ("shareBasisPoints", json!(10_001)),
        ("shareFrom", json!("2020-01-01")),
        ("shareFrom", json!("soon")),
        ("status", json!("ended")),
        ("contract", json!([1])),
        ("displayName", json!("")),
    ] {
        let mut wanted = partner("divided", "bad@example.com", "owner", 1);
        wanted[field] = bad.clone();
        let answer = http.post(PARTNERS, Some(&admin), &wanted).await;
        assert_eq!(answer.error(422), "invalid-request", "{field} {bad}");
        assert_eq!(answer.json["fields"][0]["field"], field, "{}", answer.json);
    }

    let owner = become_admin(&node).await;
    let record = node.users.with_header("x-node-id: divided").with_header("Idempotency-Key: one");
    let body = json!({"type": "course", "amount": "100.00", "currency": "SAR"});
    record.post("/api/local/revenue", Some(&owner), &body).await.data(201);
    let shares = async || http.get("/api/global/revenue/shares", Some(&admin)).await.data(200);
    let divided = eventually("the revenue arrives", 30, async || {
        let shares = shares().await;
        if shares["nodes"][0]["netAmount"] == "90.00" { Ok(shares["nodes"][0].clone()) } else { Err(shares) }
    })
    .await;
    let part = |id: &Value| {
        let parts = divided["parts"].as_array().unwrap();
        parts.iter().find(|part| part["partnerId"] == *id).unwrap()["amount"].clone()
    };
    assert_eq!((part(&one["id"]), part(&two["id"])), (json!("30.00"), json!("30.00")), "29.997 each: {divided}");
    let parts = divided["parts"].as_array().unwrap().iter().map(|part| &part["amount"]).chain([&divided["unassigned"]]);
    let cents: i64 = parts.map(|text| text.as_str().unwrap().replace('.', "").parse::<i64>().unwrap()).sum();
    assert_eq!(cents, 9000, "{divided}");

    // What the node says it recorded is what arrived.
    let agreed = eventually("the sums agree", 30, async || {
        let compared = http.get("/api/global/revenue/reconciliation", Some(&admin)).await.data(200);
        let own = compared["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "divided").cloned();
        match own {
            Some(own) if own["revenue"]["recorded"] == "100.00" && own["revenue"]["pending"] == "0.00" => Ok(own),
            _ => Err(compared),
        }
    })
    .await;
    assert_eq!((&agreed["revenue"]["received"], &agreed["revenue"]["difference"]), (&json!("100.00"), &json!("0.00")));
    let csv = http.get("/api/global/revenue/export", Some(&admin)).await;
    assert!(csv.headers.contains("text/csv"), "{}", csv.headers);
    assert!(
        csv.text.starts_with("key,currency,revenues,") && csv.text.contains("divided,SAR,1,100.00,10.00,90.00,0,0.00"),
        "{}",
        csv.text
    );
}
