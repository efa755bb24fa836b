//! The hub with a thousand nodes and a million entries in its ledger, under load from people, nodes and readers of
//! content. There is no operator meanwhile, and pods there are none: the hub sees what the API server has of the nodes.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    http::{Response, StatusCode},
};
use fateh_crds::LocalNode;
use fateh_tests::{
    api_proxy::{self, Asked, Handler},
    apply_node,
    figures::{Figures, percentile},
    program::{Program, memory},
    ready_node, service_account_token,
};
use futures::{StreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    hub::{self, HUB, Hub},
    load::{Done, Script, Target, send, times},
};

const NODES: usize = 1000;
/// Nodes that send what they took.
const SENDERS: usize = 4;
/// Requests of people in a second.
const RATE: f64 = 500.0;
/// Requests for content in a second, and bytes of one.
const CONTENT_RATE: f64 = 5000.0;
const CONTENT: usize = 20_000;

/// Measures a hub that starts without nodes and comes to have a thousand.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn measure(client: &Client, figures: &mut Figures) {
    let senders: Vec<_> = (0..SENDERS).map(|index| format!("bench-sender-{index}")).collect();
    let operator = Program::start_directly("operator-hub", &[]).await;
    for name in &senders {
        ready_node(client, name, json!({"currency": "SAR"})).await;
    }
    operator.stop().await;
    let mut hub = hub::start("bench").await;
    let admin = hub.admin().await;
    let megabytes = |line| memory(hub.pid(), line) as f64 / 1000.0;
    tokio::time::sleep(Duration::from_secs(5)).await;
    figures.add("hub: resident memory, idle", megabytes("VmRSS:"), "MB", "12");

    thousand_nodes(client).await;
    seed_ledger(client, &hub).await;
    relist(client, &mut hub, figures).await;

    let page = asking(&address(&hub), "/api/global/nodes?limit=100", Some(&admin));
    warm(&page);
    let done = send(&page, 16, Some(RATE), 10_000, 0);
    add(figures, "a page of 100 of 1,000 nodes at 500 requests/s", &done, "3");
    let statistics = asking(&address(&hub), "/api/global/statistics", Some(&admin));
    warm(&statistics);
    let done = send(&statistics, 4, Some(50.0), 1000, 0);
    add(figures, "statistics over 1,000 nodes and 1,000,000 entries, 50 requests/s", &done, "5");
    read_content(&hub, &admin, figures).await;

    let tokens = futures::future::join_all(senders.iter().map(|name| async move {
        let token = service_account_token(client, &format!("fateh-node-{name}"), "node", Some(HUB)).await;
        (name.clone(), token)
    }));
    let tokens = Arc::new(tokens.await);
    for (size, batches, goal) in [(500, 400, "20000"), (1, 20_000, "2000")] {
        let telling = telling(&hub, &tokens, size);
        send(&telling, SENDERS, None, SENDERS as u64, 0);
        let started = Instant::now();
        let done = send(&telling, 2 * SENDERS, None, batches, SENDERS as u64);
        let rate = (done.len() * size) as f64 / started.elapsed().as_secs_f64();
        assert!(done.iter().all(Done::is_good), "every batch is taken");
        figures.add(&format!("entries taken in batches of {size}"), rate, "/s", goal);
    }
    figures.add("hub: resident memory, after all of it", memory(hub.pid(), "VmRSS:") as f64 / 1000.0, "MB", "");
}

fn add(figures: &mut Figures, what: &str, done: &[Done], goal: &str) {
    assert!(done.iter().all(Done::is_good), "{what}: every request is answered well");
    let took = times(done, |_| true);
    figures.add(&format!("{what}, p50"), percentile(&took, 50), "ms", "");
    figures.add(&format!("{what}, p99"), percentile(&took, 99), "ms", goal);
}

/// Content by its digest, in turns with the same bytes from a server that has nothing else to do: how long those take is
/// the client's and the machine's own.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn read_content(hub: &Hub, admin: &str, figures: &mut Figures) {
    let path = content(hub, admin).await;
    let bytes = Bytes::from(hub.http.text(&path, None).await);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().fallback(async move || bytes.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let (hub, bare) = (asking(&address(hub), &path, None), asking(&bare, &path, None));
    let (mut done, mut done_bare, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    for target in [&hub, &bare] {
        warm(target);
    }
    for _ in 0..5 {
        let started = Instant::now();
        done.extend(send(&hub, 64, Some(CONTENT_RATE), 10_000, 0));
        took += started.elapsed();
        done_bare.extend(send(&bare, 64, Some(CONTENT_RATE), 10_000, 0));
    }
    serving.abort();
    figures.add("content of 20 KB by digest: requests/s", done.len() as f64 / took.as_secs_f64(), "/s", "5000");
    add(figures, "content of 20 KB by digest at 5,000 requests/s", &done, "5");
    add(figures, "the same bytes from a server that has nothing else to do", &done_bare, "");
}

/// Plans, connections and caches.
fn warm(target: &Arc<Target>) {
    send(target, 4, None, 200, 0);
}

fn address(hub: &Hub) -> String {
    hub.http.base.trim_start_matches("http://").to_owned()
}

fn asking(address: &str, path: &str, token: Option<&str>) -> Arc<Target> {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nhost: hub\r\n{token}\r\n");
    Arc::new(Target { address: address.to_owned(), script: Box::new(move |_| (false, request.clone())) })
}

/// Nodes that tell what they took, so many entries at once, each of them new.
fn telling(hub: &Hub, nodes: &Arc<Vec<(String, String)>>, size: usize) -> Arc<Target> {
    let nodes = Arc::clone(nodes);
    let script: Script = Box::new(move |number| {
        let (name, token) = &nodes[usize::try_from(number).unwrap_or_default() % nodes.len()];
        let mut items = String::new();
        for index in 0..size {
            let id = format!("{size:08x}-0000-4000-8000-{:012x}", number * 1000 + index as u64);
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                items,
                r#"{comma}{{"id":"{id}","at":"2026-11-01T00:00:00Z","kind":"revenue","payload":{{"id":"{id}","type":"course","currency":"SAR","amountMinor":1000,"feeMinor":100,"netMinor":900,"transactionDate":"2026-11-01T00:00:00Z"}}}}"#
            );
        }
        let body = format!(r#"{{"node":"{name}","items":[{items}]}}"#);
        let head = format!(
            "POST /api/global/v1/sync HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        (true, head)
    });
    Arc::new(Target { address: address(hub), script })
}

/// LocalNodes as they are in operation, with what an operator says of them.
async fn thousand_nodes(client: &Client) {
    let api = Api::<LocalNode>::all(client.clone());
    let names = (0..NODES - SENDERS).map(|index| format!("bench-hub-{index}"));
    let making = names.map(|name| {
        let api = api.clone();
        async move {
            let node = apply_node(client, &name, json!({"currency": "SAR", "country": "SA"})).await.unwrap();
            let generation = node.metadata.generation;
            let condition = |kind: &str| {
                json!({"type": kind, "status": "True", "reason": "Serving", "message": "All is as it is to be.",
                    "lastTransitionTime": "2026-11-01T00:00:00Z", "observedGeneration": generation})
            };
            let kinds = ["Ready", "Progressing", "DatabaseReady", "DeploymentAvailable", "RouteReady", "Reporting"];
            let status = json!({"status": {
                "observedGeneration": generation, "phase": "Ready", "url": format!("https://{name}.fateh-platform.com"),
                "conditions": kinds.map(condition),
                "statistics": {"reportedAt": "2026-11-01T00:00:00.000000Z", "users": {"total": 100, "active": 90},
                    "revenue": [{"currency": "SAR", "gross": 100_000, "fee": 10_000, "net": 90_000, "refunds": 0}]},
            }});
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        }
    });
    stream::iter(making).buffer_unordered(16).collect::<Vec<()>>().await;
}

/// A million entries of all nodes, with their transfers and sums as the hub writes them.
async fn seed_ledger(client: &Client, hub: &Hub) {
    let nodes = Api::<LocalNode>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    let (uids, names): (Vec<_>, Vec<_>) = nodes.iter().map(|node| (node.uid().unwrap(), node.name_any())).unzip();
    let mut database = hub.database().await;
    for statement in [
        "CREATE TEMPORARY TABLE seeded AS SELECT uid::uuid, name FROM unnest($1::text[], $2::text[]) AS node (uid, name)",
        "INSERT INTO global_platform.ledger_entries (node_uid, id, node, country, kind, revenue_id, type, currency,
             amount_minor, fee_minor, net_minor, happened_at, received_at)
         SELECT uid, gen_random_uuid(), name, 'SA', 'revenue', gen_random_uuid(), 'course', 'SAR', 1000, 100, 900, t, t
         FROM seeded, generate_series(1, 1000) n, LATERAL (SELECT now() - interval '1 hour' * n AS t) AS time",
        "INSERT INTO global_platform.ledger_transfers (node_uid, entry_id, debit, credit, amount_minor)
         SELECT node_uid, id, 'received', credit, minor FROM global_platform.ledger_entries,
             LATERAL (VALUES ('net', net_minor), ('fee', fee_minor)) AS move (credit, minor)",
        "INSERT INTO global_platform.ledger_days
         SELECT node_uid, currency, happened_at::date, count(*), sum(amount_minor), sum(fee_minor), sum(net_minor), 0, 0, 0, 0
         FROM global_platform.ledger_entries GROUP BY node_uid, currency, happened_at::date",
        "INSERT INTO global_platform.ledger_totals
         SELECT node_uid, currency, node, 'SA', count(*), sum(amount_minor), sum(fee_minor), sum(net_minor), 0, 0, 0, 0
         FROM global_platform.ledger_entries GROUP BY node_uid, currency, node",
        "ANALYZE",
    ] {
        let query = sqlx::query(statement);
        let query = if statement.contains("$1") { query.bind(&uids).bind(&names) } else { query };
        query.execute(&mut database).await.unwrap();
    }
}

/// Leads the hub to the API server by a proxy that says at one moment that what it has seen is too old.
async fn relist(client: &Client, hub: &mut Hub, figures: &mut Figures) {
    let (expired, end) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (ending, telling) = (Arc::clone(&end), Arc::clone(&expired));
    let handler: Handler = Arc::new(move |asked: Asked, upstream| {
        let (expired, end) = (Arc::clone(&telling), Arc::clone(&ending));
        Box::pin(async move {
            if !asked.is_watch() {
                return api_proxy::forward(asked, upstream).await;
            }
            if expired.load(Ordering::Relaxed) {
                let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410});
                let body = Body::from(Bytes::from(gone.to_string()));
                let response = Response::builder().status(StatusCode::GONE).header("content-type", "application/json");
                return response.body(body).unwrap();
            }
            let (parts, body) = api_proxy::forward(asked, upstream).await.into_parts();
            let until = async move { end.notified().await };
            let body = body.into_data_stream().take_until(Box::pin(until));
            Response::from_parts(parts, Body::from_stream(body))
        })
    });
    let api = api_proxy::start_for(client, "fateh-hub", handler).await;
    hub.lead_through(&api).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let megabytes = |line: &str| memory(hub.pid(), line) as f64 / 1000.0;
    figures.add("hub: resident memory with 1,000 nodes", megabytes("VmRSS:"), "MB", "25");
    expired.store(true, Ordering::Relaxed);
    end.notify_waiters();
    tokio::time::sleep(Duration::from_secs(2)).await;
    expired.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    figures.add("hub: most resident memory, with a re-list", megabytes("VmHWM:"), "MB", "25");
}

/// Content that was released, of so many bytes; its address.
async fn content(hub: &Hub, admin: &str) -> String {
    let content = json!({"id": "bench", "type": "Course", "title": {"ar": "درس"}});
    hub.http.post("/api/global/content", Some(admin), &content).await.data(201);
    let version = "/api/global/content/bench/versions/1";
    // Not so regular that it would be sent as nothing.
    let text: String = (0..CONTENT).map(|index| char::from(b'a' + u8::try_from(index * index % 23).unwrap())).collect();
    let draft = json!({"languages": {"ar": {"text": text}}});
    hub.http.send("PUT", version, Some(admin), "en", Some(&draft)).await.data(200);
    hub.http.post(&format!("{version}/release"), Some(admin), &json!({})).await.data(200);
    let released: Value = hub.http.get(version, Some(admin)).await.data(200);
    format!("/content/{}", released["languages"]["ar"].as_str().unwrap_or_else(|| panic!("{released}")))
}
