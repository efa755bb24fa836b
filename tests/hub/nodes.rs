//! The centre's API over LocalNodes.

use fateh_crds::LocalNode;
use fateh_tests::{apply_node, becomes_ready, delete_node, eventually, gone, kubernetes, ready_node};
use kube::Api;
use serde_json::{Value, json};

use crate::hub::{PASSWORD, start};

const NODES: &str = "/api/global/nodes";

fn wanted(name: &str) -> Value {
    json!({"name": name, "region": "pg18", "country": "SA", "currency": "SAR", "adminEmail": "admin@example.com"})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// What the wildcard route brings to the hub.
#[tokio::test]
async fn hosts_that_no_node_serves_get_a_page_that_says_why() {
    let client = kubernetes().await;
    let hub = start("holding").await;
    ready_node(&client, "held", json!({"state": "Suspended"})).await;
    let page = async |host: &str| hub.http.with_header(&format!("Host: {host}")).get("/any/path", None).await;
    let held = eventually("the page of a suspended node", 10, async || {
        let answer = page("held.fateh-platform.com").await;
        if answer.status == 503 { Ok(answer) } else { Err(answer) }
    })
    .await;
    assert!(held.text.contains("مغلقة مؤقتًا") && held.text.contains("closed for the time being"), "{}", held.text);
    assert!(held.headers.contains("retry-after: 300") && held.headers.contains("text/html"), "{}", held.headers);
    assert!(held.headers.contains("content-security-policy: default-src 'none'"), "{}", held.headers);
    let unknown = page("Nobody.fateh-platform.com:8443").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text.contains("لا توجد مدرسة"), "{}", unknown.text);
    for own in ["hub.fateh-platform.com", "fateh-hub.fateh-system:8080"] {
        assert_eq!(page(own).await.error(404), "not-found", "{own} is the hub");
    }
}

#[tokio::test]
async fn a_node_is_made_followed_changed_and_deleted() {
    let client = kubernetes().await;
    let hub = start("nodes").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let made = http.post(NODES, Some(&admin), &with(wanted("مدرسة"), "slug", json!("by-hub"))).await;
    assert!(made.headers.contains("location: /api/global/nodes/by-hub"), "{}", made.headers);
    assert_eq!(made.data(202)["slug"], "by-hub");
    becomes_ready(&client, "by-hub").await;
    let read = async || http.get(&format!("{NODES}/by-hub"), Some(&admin)).await.data(200);
    eventually("the hub sees it Ready", 10, async || {
        let node = read().await;
        if node["ready"] == true && node["phase"] == "Ready" { Ok(()) } else { Err(node) }
    })
    .await;
    let node = read().await;
    assert_eq!((&node["name"], &node["language"], &node["state"]), (&json!("مدرسة"), &json!("ar"), &json!("Active")));

    let again = http.post(NODES, Some(&admin), &with(wanted("other"), "slug", json!("by-hub"))).await;
    assert_eq!(again.error(409), "slug-taken");
    assert_eq!(read().await["name"], "مدرسة", "and nothing was changed");

    let changed =
        with(with(wanted("changed"), "timezone", json!("Asia/Riyadh")), "settings", json!({"theme": "green"}));
    let path = format!("{NODES}/by-hub");
    let changed = http.send("PUT", &path, Some(&admin), "en", Some(&changed)).await.data(202);
    assert_eq!((&changed["name"], &changed["settings"]["theme"]), (&json!("changed"), &json!("green")));
    http.send("PUT", &path, Some(&admin), "en", Some(&wanted("changed"))).await.data(202);
    let node = Api::<LocalNode>::all(client.clone()).get("by-hub").await.unwrap();
    assert_eq!((node.spec.timezone.as_str(), node.spec.settings.len()), ("UTC", 0), "what is absent has its default");

    let misspelt = with(wanted("changed"), "timezoen", json!("Asia/Riyadh"));
    assert_eq!(http.send("PUT", &path, Some(&admin), "en", Some(&misspelt)).await.error(400), "invalid-json");
    let refused = http.send("PATCH", &path, Some(&admin), "en", Some(&json!({}))).await;
    assert_eq!(refused.error(405), "method-not-allowed");
    assert!(refused.headers.contains("allow: get,head,put,delete"), "{}", refused.headers);
    http.send("DELETE", &path, Some(&admin), "en", None).await.data(202);
    gone(&client, "by-hub").await;
    eventually("the hub forgets it", 10, async || {
        let answer = http.get(&path, Some(&admin)).await;
        if answer.status == 404 { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(http.send("DELETE", &path, Some(&admin), "en", None).await.error(404), "not-found");
    let audited = http.get("/api/global/audit", Some(&admin)).await.data(200);
    let actions: Vec<_> =
        audited["records"].as_array().unwrap().iter().map(|record| record["action"].clone()).collect();
    assert_eq!(actions, ["delete-node", "change-node", "change-node", "create-node", "accept-invitation"]);
}

#[tokio::test]
async fn what_another_manager_owns_is_refused_and_named() {
    let client = kubernetes().await;
    let hub = start("owned").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    apply_node(&client, "by-kubectl", json!({"timezone": "Asia/Aden"})).await.unwrap();
    let path = format!("{NODES}/by-kubectl");
    let change = with(wanted("mine"), "timezone", json!("Asia/Riyadh"));
    let refused = http.send("PUT", &path, Some(&admin), "en", Some(&change)).await;
    assert_eq!(refused.error(409), "field-owned");
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.contains("fateh-tests") && message.contains("name") && message.contains("timezone"), "{message}");
    let node = Api::<LocalNode>::all(client.clone()).get("by-kubectl").await.unwrap();
    assert_eq!(node.spec.timezone, "Asia/Aden");
    delete_node(&client, "by-kubectl").await;

    ready_node(&client, "dropped", json!({"database": {"reclaimPolicy": "Delete"}})).await;
    let refused = http.send("DELETE", &format!("{NODES}/dropped"), Some(&admin), "en", None).await;
    assert_eq!(refused.error(409), "node-drops-database");
    delete_node(&client, "dropped").await;
}

#[tokio::test]
async fn each_bad_field_of_a_node_is_refused_by_its_name() {
    let hub = start("bad_nodes").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    let good = with(wanted("good"), "slug", json!("never-made"));
    for (field, value, status) in [
        ("slug", json!("UPPER"), 422),
        ("slug", json!("www"), 422),
        ("slug", json!(7), 400),
        ("name", json!(""), 422),
        ("name", json!("x".repeat(129)), 422),
        ("region", json!("no spaces"), 422),
        ("country", json!("Arabia"), 422),
        ("language", json!("Arabic"), 422),
        ("currency", json!("RIYAL"), 422),
        ("timezone", json!("x".repeat(65)), 422),
        ("adminEmail", json!("nobody"), 422),
        ("state", json!("Asleep"), 422),
        ("settings", json!({"big": "x".repeat(66_000)}), 422),
        ("settings", json!([]), 400),
    ] {
        let answer = http.post(NODES, Some(&admin), &with(good.clone(), field, value.clone())).await;
        assert_eq!(answer.status, status, "{field}: {value}: {}", answer.json);
        if status == 422 {
            assert_eq!(answer.json["fields"][0]["field"], field, "{value}: {}", answer.json);
        }
    }
    let arabic = http.send("POST", NODES, Some(&admin), "ar", Some(&with(good, "region", json!("a b")))).await;
    assert!(arabic.json["fields"][0]["message"].as_str().unwrap().contains("وسم"), "{}", arabic.json);
    for query in ["limit=0", "limit=x", "state=Asleep"] {
        assert_eq!(http.get(&format!("{NODES}?{query}"), Some(&admin)).await.error(422), "invalid-request", "{query}");
    }
}

#[tokio::test]
async fn nodes_are_listed_in_pages_and_by_filters_and_only_to_those_who_may() {
    let client = kubernetes().await;
    let hub = start("listed").await;
    let (http, admin) = (&hub.http, hub.admin().await);
    for (name, state) in [("list-a", "Active"), ("list-b", "Inactive"), ("list-c", "Active")] {
        apply_node(&client, name, json!({"state": state, "country": "YE"})).await.unwrap();
    }
    let slugs = async |query: &str| {
        let page = http.get(&format!("{NODES}?search=list-&{query}"), Some(&admin)).await.data(200);
        page["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["slug"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    eventually("all three are seen", 10, async || {
        let seen = slugs("country=YE").await;
        if seen == ["list-a", "list-b", "list-c"] { Ok(()) } else { Err(seen) }
    })
    .await;
    assert_eq!(slugs("state=Inactive").await, ["list-b"]);
    assert_eq!(slugs("country=SA").await, Vec::<String>::new());
    let first = http.get(&format!("{NODES}?search=list-&limit=2"), Some(&admin)).await.data(200);
    assert_eq!(first["nextCursor"], "list-b");
    assert_eq!(slugs("limit=2&cursor=list-b").await, ["list-c"]);

    let finance = hub.account(&admin, "finance@example.com", json!("finance")).await;
    let partner = hub.account(&admin, "partner@example.com", json!(null)).await;
    http.get(NODES, Some(&finance)).await.data(200);
    assert_eq!(
        http.post(NODES, Some(&finance), &with(wanted("x"), "slug", json!("abc"))).await.error(403),
        "forbidden"
    );
    assert_eq!(http.get(NODES, Some(&partner)).await.error(403), "forbidden");
    assert_eq!(http.get(NODES, None).await.error(401), "unauthenticated");
    assert_eq!(http.get("/api/global/revenue", Some(&finance)).await.status, 200);
    assert_eq!(http.get("/api/global/audit", Some(&finance)).await.error(403), "forbidden");

    // A suspension ends what the tokens of before allow.
    let users = http.get("/api/global/users", Some(&admin)).await.data(200);
    let id =
        users["users"].as_array().unwrap().iter().find(|user| user["email"] == "finance@example.com").unwrap()["id"]
            .clone();
    let path = format!("/api/global/users/{}", id.as_str().unwrap());
    http.send("PATCH", &path, Some(&admin), "en", Some(&json!({"status": "suspended"}))).await.data(200);
    assert_eq!(http.get(NODES, Some(&finance)).await.error(401), "unauthenticated");
    let login = json!({"email": "finance@example.com", "password": PASSWORD});
    assert_eq!(http.post("/api/global/auth/login", None, &login).await.error(403), "account-suspended");
    for name in ["list-a", "list-b", "list-c"] {
        delete_node(&client, name).await;
    }
}
