//! An API server that is seen through a bad network: a fifth of the requests fail, reads are stale, events of watches
//! are dropped and repeated. The nodes get where they are to be, without a storm of requests.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{self, Method, StatusCode},
    response::Response,
};
use fateh_tests::{
    Postgres,
    api_proxy::{self, Asked, forward},
    apply_node, differences, gone, kubernetes, pods_serve,
    program::Program,
    snapshot,
};
use futures::StreamExt;
use kube::{Api, Client, api::DeleteParams};
use serde_json::json;

/// Twice the longest that the operator waits between two tries, and some: in bad weather any try may fail.
const PATIENCE: u64 = 150;

/// How bad the network is now, and what went through it.
#[derive(Default)]
struct Weather {
    bad: AtomicBool,
    chance: AtomicU64,
    requests: AtomicU64,
    failed: AtomicU64,
    reads: Mutex<HashMap<String, Bytes>>,
    stale: AtomicU64,
    dropped: AtomicU64,
    repeated: AtomicU64,
}

impl Weather {
    /// A number below `sides`; the same sequence in each run.
    fn roll(&self, sides: u64) -> u64 {
        // A linear congruential generator (Knuth's MMIX): quick, and even enough for a die.
        let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let before = self.chance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(step(state))).unwrap();
        (step(before) >> 33) % sides
    }

    async fn answer(self: Arc<Self>, asked: Asked, upstream: Client) -> Response {
        // A read of one object comes from the quorum and is never stale; a Secret's least of all may be believed to be.
        let listing = asked.method == Method::GET
            && !asked.is_watch()
            && asked.path.rsplit('/').next().is_some_and(|last| last.ends_with('s'));
        if !self.bad.load(Ordering::Relaxed) {
            return if listing { self.list(asked, upstream).await } else { forward(asked, upstream).await };
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.roll(5) == 0 {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return self.fail(asked, upstream).await;
        }
        if asked.is_watch() {
            return self.watch(forward(asked, upstream).await);
        }
        if listing { self.list(asked, upstream).await } else { forward(asked, upstream).await }
    }

    /// A conflict, too many requests, an error, or a time-out, before or after the request was carried out.
    async fn fail(&self, asked: Asked, upstream: Client) -> Response {
        let write = asked.is_write();
        match self.roll(5) {
            0 if write => refusal(StatusCode::CONFLICT, "Conflict"),
            0 | 1 => refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            2 => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            3 => {
                // Carried out, and nobody is told.
                forward(asked, upstream).await;
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                refusal(StatusCode::GATEWAY_TIMEOUT, "Timeout")
            }
        }
    }

    /// A list, or in bad weather the one that was read before it.
    async fn list(&self, asked: Asked, upstream: Client) -> Response {
        let uri = asked.parts.uri.to_string();
        let response = forward(asked, upstream).await;
        if response.status() != StatusCode::OK {
            return response;
        }
        let body = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
        let before = self.reads.lock().unwrap().insert(uri, body.clone());
        let stale = before.filter(|_| self.bad.load(Ordering::Relaxed) && self.roll(3) == 0);
        self.stale.fetch_add(u64::from(stale.is_some()), Ordering::Relaxed);
        json_response(StatusCode::OK, stale.unwrap_or(body))
    }

    /// A watch of which one event in ten is lost, and one in ten comes twice.
    fn watch(self: Arc<Self>, response: Response) -> Response {
        if response.status() != StatusCode::OK {
            return response;
        }
        let (parts, body) = response.into_parts();
        let weather = self;
        let mut rest = Vec::new();
        let lines = body.into_data_stream().map(move |chunk| {
            let chunk = chunk.unwrap_or_default();
            rest.extend_from_slice(&chunk);
            let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let complete: Vec<u8> = rest.drain(..end).collect();
            let mut sent = Vec::with_capacity(complete.len());
            for line in complete.split_inclusive(|byte| *byte == b'\n') {
                match weather.roll(10) {
                    0 => {
                        weather.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                    1 => {
                        weather.repeated.fetch_add(1, Ordering::Relaxed);
                        sent.extend_from_slice(line);
                        sent.extend_from_slice(line);
                    }
                    _ => sent.extend_from_slice(line),
                }
            }
            Ok::<_, std::convert::Infallible>(Bytes::from(sent))
        });
        Response::from_parts(parts, Body::from_stream(lines))
    }
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "bad weather", "reason": reason, "code": code.as_u16()});
    json_response(code, Bytes::from(status.to_string()))
}

fn json_response(code: StatusCode, body: Bytes) -> Response {
    http::Response::builder().status(code).header("content-type", "application/json").body(Body::from(body)).unwrap()
}

/// Plays the pods of all nodes until each is as its spec says.
async fn all_ready(client: &Client, nodes: &[String], seconds: u64) {
    let api = Api::<fateh_crds::LocalNode>::all(client.clone());
    fateh_tests::eventually("readiness of all nodes", seconds, async || {
        let mut left = Vec::new();
        for name in nodes {
            let deployments = Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(
                client.clone(),
                &format!("fateh-node-{name}"),
            );
            if matches!(deployments.get_opt("node").await, Ok(Some(_))) {
                pods_serve(client, name).await;
            }
            let node = api.get(name).await.unwrap();
            let ready = node
                .status
                .iter()
                .flat_map(|status| &status.conditions)
                .find(|condition| condition.type_ == "Ready")
                .cloned();
            let done = ready
                .as_ref()
                .is_some_and(|ready| ready.status == "True" && ready.observed_generation == node.metadata.generation);
            if !done {
                left.push((name.clone(), ready.map(|ready| (ready.reason, ready.message))));
            }
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_get_there_through_bad_weather_without_a_storm() {
    const NODES: u64 = 8;
    let client = kubernetes().await;
    let weather = Arc::new(Weather::default());
    let handling = Arc::clone(&weather);
    let api = api_proxy::start(
        &client,
        Arc::new(move |asked, upstream| Box::pin(Arc::clone(&handling).answer(asked, upstream))),
    )
    .await;
    // What a watch has lost for good is found by the next listing.
    let program = Program::start("operator-chaos", &api, &["--resync-interval=10"]).await;
    fateh_tests::ready_node(&client, "calm", json!({})).await;
    let nodes: Vec<_> = (0..NODES).map(|index| format!("storm-{index}")).collect();

    weather.bad.store(true, Ordering::Relaxed);
    for name in &nodes {
        apply_node(&client, name, json!({})).await.unwrap();
    }
    all_ready(&client, &nodes, PATIENCE).await;
    let changed = json!({"displayName": "changed", "fees": {"platformBasisPoints": 500}, "runtime": {"replicas": 2}, "database": {"connectionLimit": 25}});
    for name in nodes.iter().map(String::as_str).chain(["calm"]) {
        apply_node(&client, name, changed.clone()).await.unwrap();
    }
    all_ready(&client, &nodes, PATIENCE).await;

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    fateh_tests::eventually("weather of every kind", 60, async || {
        let met = [&weather.stale, &weather.dropped, &weather.repeated].map(count);
        if met.iter().all(|count| *count > 0) { Ok(()) } else { Err(met) }
    })
    .await;

    // The same end as in fair weather.
    let api = Api::<fateh_crds::LocalNode>::all(client.clone());
    all_ready(&client, &["calm".to_owned()], PATIENCE).await;
    let expected = snapshot(&client, &api.get("calm").await.unwrap(), Postgres::V18).await;
    for name in &nodes {
        fateh_tests::eventually("the same end as in fair weather", PATIENCE, async || {
            let state = snapshot(&client, &api.get(name).await.unwrap(), Postgres::V18).await;
            let different = differences(&state, &expected);
            if different.is_empty() { Ok(()) } else { Err((name, different)) }
        })
        .await;
    }
    for name in &nodes {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for name in &nodes {
        gone(&client, name).await;
    }
    assert!(Postgres::V18.databases("node_storm").await.is_empty());
    assert_eq!(Postgres::V18.databases("deleted_storm").await.len() as u64, NODES);
    println!(
        "{} requests, {} failed; {} stale lists; {} events dropped, {} repeated",
        count(&weather.requests),
        count(&weather.failed),
        count(&weather.stale),
        count(&weather.dropped),
        count(&weather.repeated)
    );
    assert!(count(&weather.failed) * 8 > count(&weather.requests), "a fifth of the requests failed");

    // At rest, however bad the weather: listings, watches, and nothing else that grows.
    let before = count(&weather.requests);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let at_rest = count(&weather.requests) - before;
    println!("{at_rest} requests in 20 s at rest");
    assert!(at_rest < 20 * 40, "{at_rest} requests in 20 s at rest are a storm");
    weather.bad.store(false, Ordering::Relaxed);
    fateh_tests::delete_node(&client, "calm").await;
    program.stop().await;
}
