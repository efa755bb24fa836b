//! One node under load, beside what PostgreSQL does of the same SQL without it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fateh_tests::{
    Postgres,
    figures::{Figures, percentile},
    program, seed_people,
};

use crate::{
    bare_sql,
    load::{Done, Target, flood, goodput, send, times},
    running::{Running, become_admin, run},
    statistics,
};

const USERS: u32 = 100_000;
/// Requests a second, and how many in all.
const RATE: f64 = 500.0;
const REQUESTS: u64 = 100_000;
/// How many find out what can be done.
const SATURATING: u64 = 20_000;
/// Times of what can be done that are offered, with the share of it that is to be done all the same, in %.
const OFFERED: [(f64, &str); 2] = [(2.0, "90"), (4.0, "70")];
/// How often, and for how long each time.
const ROUNDS: usize = 3;
const FLOOD: Duration = Duration::from_secs(10);

/// Someone who is signed in at the node.
#[derive(Clone)]
pub struct Visitor {
    pub address: String,
    pub name: String,
    pub token: String,
    /// Part of every idempotency key: a key of a run before must not come again.
    pub run: u32,
}

impl Visitor {
    pub fn target(&self) -> Arc<Target> {
        let visitor = self.clone();
        Arc::new(Target { address: self.address.clone(), script: Box::new(move |number| visitor.request(number)) })
    }

    /// Of five requests the first writes: a payment; the others read: oneself, or a page of users.
    fn request(&self, number: u64) -> (bool, String) {
        let Self { name, token, run, .. } = self;
        let head = format!("host: node\r\nauthorization: Bearer {token}\r\n");
        match number % 5 {
            0 => {
                let body = r#"{"type":"course","amount":"10","currency":"SAR"}"#;
                let head = format!(
                    "POST /api/local/revenue HTTP/1.1\r\n{head}x-node-id: {name}\r\nidempotency-key: {run}-{number}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                (true, head)
            }
            1 => (false, format!("GET /api/local/users?limit=20 HTTP/1.1\r\n{head}\r\n")),
            _ => (false, format!("GET /api/local/users/me HTTP/1.1\r\n{head}\r\n")),
        }
    }
}

async fn seed(node: &Running) {
    let mut database = node.database(Postgres::V18).await;
    seed_people(&mut database, USERS).await;
    sqlx::query("ANALYZE local_node.local_users").execute(&mut database).await.unwrap();
}

/// Measures a node whose operator is running.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub async fn measure(figures: &mut Figures) {
    let operator = program::Program::start_directly("operator-load", &[]).await;
    let node = run("bench-load", Postgres::V18).await;
    let token = become_admin(&node).await;
    operator.stop().await;
    seed(&node).await;
    statistics::measure(&node, &token, figures).await;
    let address = node.users.base.trim_start_matches("http://").to_owned();
    let visitor = Visitor { address, name: node.name.clone(), token, run: std::process::id() };
    let target = visitor.target();
    let pid = node.child.id().unwrap();
    // Plans, connections and caches.
    send(&target, 8, Some(RATE), 1000, 0);

    let done = send(&target, 32, Some(RATE), REQUESTS, 1000);
    let failed = done.iter().filter(|one| !one.is_good()).count();
    let (reads, writes) = (times(&done, |one| !one.write), times(&done, |one| one.write));
    figures.add("500 requests/s: reads, p50", percentile(&reads, 50), "ms", "1");
    figures.add("500 requests/s: reads, p99", percentile(&reads, 99), "ms", "5");
    figures.add("500 requests/s: writes, p99", percentile(&writes, 99), "ms", "9");
    figures.add("500 requests/s: errors in 100,000 requests", failed as f64, "", "0");
    figures.add(
        "node-runtime: resident memory, under load",
        program::memory(pid, "VmRSS:") as f64 / 1000.0,
        "MB",
        "16",
    );

    let bare = bare_sql::saturate(&node, &visitor).await;
    figures.add("pgbench with the same SQL, 16 clients", bare, "/s", "");
    overload(&target, bare, figures).await;
}

/// What can be done, and what becomes of more than that. The machine is not as quick at one time as at another, so that
/// each share is of what could be done just before and just after.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn overload(target: &Arc<Target>, bare: f64, figures: &mut Figures) {
    let mut first = 1000 + REQUESTS;
    let mut before = saturate(target, &mut first);
    let mut saturations = vec![before];
    let mut rounds = OFFERED.map(|_| (Vec::new(), Vec::new(), Vec::new()));
    for _ in 0..ROUNDS {
        for ((times_over, _), (offered, shares, refusals)) in OFFERED.iter().zip(&mut rounds) {
            let (done, took) = flood_with(target, before * times_over, &mut first).await;
            let after = saturate(target, &mut first);
            let could = f64::midpoint(before, after);
            offered.push(done.len() as f64 / took.as_secs_f64() / could);
            shares.push(goodput(&done, took) / could * 100.0);
            refusals.extend(times(&done, |one| one.status == 503));
            saturations.push(after);
            before = after;
        }
    }
    let saturation = percentile(&saturations, 50);
    let what = format!("saturation: 16 clients, one request after the other, p50 of {}", saturations.len());
    figures.add(&what, saturation, "/s", "");
    figures.add("saturation, of pgbench", saturation / bare * 100.0, "%", "");
    for ((times_over, goal), (offered, shares, refusals)) in OFFERED.iter().zip(&rounds) {
        let what = format!("{times_over} times that");
        figures.add(&format!("{what}: offered, p50 of {ROUNDS}"), percentile(offered, 50), "times", "");
        figures.add(&format!("{what}: goodput, of saturation, p50 of {ROUNDS}"), percentile(shares, 50), "%", goal);
        figures.add(&format!("{what}: goodput, least"), percentile(shares, 0), "%", "");
        assert!(!refusals.is_empty(), "{what}: nothing was refused");
        figures.add(&format!("{what}: 503s, p99"), percentile(refusals, 99), "ms", "20");
    }
}

/// Requests a second that can be done.
fn saturate(target: &Arc<Target>, first: &mut u64) -> f64 {
    let started = Instant::now();
    let done = send(target, 16, None, SATURATING, *first);
    *first += SATURATING;
    goodput(&done, started.elapsed())
}

/// So many requests a second for a while: them, and how long it took.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and far below 2^53")]
async fn flood_with(target: &Arc<Target>, rate: f64, first: &mut u64) -> (Vec<Done>, Duration) {
    let requests = (rate * FLOOD.as_secs_f64()) as u64;
    let (flooded, from) = (Arc::clone(target), *first);
    *first += requests;
    let flooding = tokio::task::spawn_blocking(move || flood(&flooded, 1000, rate, requests, from));
    flooding.await.unwrap()
}
